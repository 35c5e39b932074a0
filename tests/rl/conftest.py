"""The taught tiny model of the training tests, for runs here."""

from tests.training.conftest import one_thread, prompts, taught, tiny

__all__ = ["one_thread", "prompts", "taught", "tiny"]
