"""The models of the tests of training, also here."""

from tests.training.conftest import one_thread, taught, tiny

__all__ = ["one_thread", "taught", "tiny"]
