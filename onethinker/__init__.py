"""Ten visual tasks, one model: ask, train, evaluate."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onethinker.clip import Clip
    from onethinker.errors import OneThinkerError
    from onethinker.geometry import Box, Point, Span
    from onethinker.inference import Thinker, Thought
    from onethinker.media.budget import MediaBudget
    from onethinker.models.engine import Sampling
    from onethinker.models.wording import Wording

__all__ = ["Box", "Clip", "MediaBudget", "OneThinkerError", "Point", "Sampling", "Span", "Thinker", "Thought", "Wording"]

_HOMES = {
    "Box": "geometry",
    "Clip": "clip",
    "MediaBudget": "media.budget",
    "OneThinkerError": "errors",
    "Point": "geometry",
    "Sampling": "models.engine",
    "Span": "geometry",
    "Thinker": "inference",
    "Thought": "inference",
    "Wording": "models.wording",
}


def __getattr__(name: str) -> Any:
    """Return a public name, imported when it is first asked for: `import onethinker` alone loads nothing heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module 'onethinker' has no attribute {name!r}")
    return getattr(import_module(f"onethinker.{_HOMES[name]}"), name)
