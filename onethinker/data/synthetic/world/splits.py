"""Which combinations training may meet: a hash of thing, colour, position and relation decides.

No question of one split is about a combination of another, whatever the seed. Of a hundred combinations 80 are for
training and 10 each for validation and for tests.
"""

from hashlib import blake2b

from onethinker.core.errors import DataError
from onethinker.core.nearest import no_such

SPLITS = {"train": range(80), "validation": range(80, 90), "test": range(90, 100)}
"""Names of the splits, and which hundredths of all combinations are theirs."""

SPLIT_ALIASES = {"val": ("validation",), "dev": ("validation",), "training": ("train",), "eval": ("test",)}


def split_of(thing: str, color: str | None, position: str, relation: str) -> str:
    """Return the split of a combination; the same on every machine.

    >>> split_of("cat", None, "top left", "locate"), split_of("cat", None, "top", "locate")
    ('train', 'train')
    """
    bucket = stable_hash(f"{thing}|{color or ''}|{position}|{relation}") % 100
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)


def stable_hash(text: str) -> int:
    """Return a number below 2^32 that any change of the text changes, the same on every machine."""
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big")


def check_split(split: str) -> None:
    """Raises: DataError: there is no such split."""
    if split not in SPLITS:
        raise DataError(no_such("split", split, SPLITS, aliases=SPLIT_ALIASES))
