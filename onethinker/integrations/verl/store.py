"""What verl's store of a batch (TransferQueue) gives back."""

from collections.abc import Mapping
from typing import Any


def values(found: Mapping[str, Any], name: str) -> list[Any]:
    """Return the values of a column that holds no tensors, each as it was written.

    >>> values({"uid": ["a", "b"]}, "uid")
    ['a', 'b']
    """
    return [getattr(value, "data", value) for value in found[name]]
