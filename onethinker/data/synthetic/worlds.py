"""The worlds that synthetic scenes can be drawn from."""

from typing import Literal

WorldName = Literal[
    "shapes",
    "things",
    "where",
    "few",
    "told",
    "notes",
    "moments",
    "unseen-styles",
    "unseen-things",
    "long-clips",
    "composed",
    "by-name",
]
"""Shapes on plain grounds; named things; for first lessons, where a thing is and few things in a picture; and, to
test with, things in other drawing styles, other things, longer clips, and how long or when the thing beside another is
there, which the last world asks with the thing's own name.
"""
HELD_OUT = "test"
"""The split that training never draws from."""
Responses = Literal["true", "erring", "formats"]
"""What SFT learns from: true responses, those of a teacher that errs, or right forms about other scenes."""
