"""The taught tiny model of the training tests, for runs here."""

from tests.training.conftest import one_thread, taught, tiny

__all__ = ["one_thread", "taught", "tiny"]
