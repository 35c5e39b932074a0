"""The models that need no download, by name."""

from pathlib import Path

from onethinker.core.sources import home_path

TINY = "tiny"
"""The trained model that comes with OneThinker."""
WEIGHTS = Path(__file__).with_name("weights")
"""Its folder."""
LONGEST_ANSWER = 448
"""Tokens. About clips of up to 6 seconds it writes about 200 at most, about ones of 12 seconds 350."""
UNTRAINED = ("untrained", "untrained-things")
"""Models with random weights, built in memory: for the world of shapes, which is learned in minutes, and for the world
of things.
"""


def folder_of(model: str) -> Path:
    """Return the folder of a model that is named by its folder, or as the one that comes with OneThinker."""
    return WEIGHTS if model == TINY else home_path(model)
