"""The worlds that synthetic scenes can be drawn from."""

from typing import Literal

WorldName = Literal["shapes", "things", "where", "few", "unseen-styles", "unseen-things", "long-clips"]
"""Shapes on plain grounds; named things; for first lessons, where a thing is and few things in a picture; and, to
test with, things in other drawing styles, other things, and longer clips.
"""
HELD_OUT = "test"
"""The split that training never draws from."""
