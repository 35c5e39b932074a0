"""The worlds that synthetic scenes can be drawn from."""

from typing import Literal

WorldName = Literal["shapes", "things", "unseen-styles", "unseen-things", "long-clips"]
"""Shapes on plain grounds; named things; and, to test with, named things in other drawing styles, other things, and
longer clips.
"""
