"""The models of the tests of training, also here."""

from tests.training.conftest import one_thread, prompts, taught, tiny

__all__ = ["one_thread", "prompts", "taught", "tiny"]
