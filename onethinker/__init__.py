"""Ten visual tasks, one model: ask, train, evaluate."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onethinker.core.errors import OneThinkerError
    from onethinker.core.frames import Clip
    from onethinker.core.geometry import Box, Point, Span
    from onethinker.core.request import SamplingParams
    from onethinker.inference.question import Failed, Question
    from onethinker.inference.thinker import Thinker
    from onethinker.inference.thought import Thought
    from onethinker.media.budget import MediaBudget
    from onethinker.tasks.template import PromptTemplate

__all__ = [
    "Box",
    "Clip",
    "Failed",
    "MediaBudget",
    "OneThinkerError",
    "Point",
    "PromptTemplate",
    "Question",
    "SamplingParams",
    "Span",
    "Thinker",
    "Thought",
]

_HOMES = {
    "Box": "core.geometry",
    "Clip": "core.frames",
    "Failed": "inference.question",
    "MediaBudget": "media.budget",
    "OneThinkerError": "core.errors",
    "Point": "core.geometry",
    "Question": "inference.question",
    "SamplingParams": "core.request",
    "Span": "core.geometry",
    "Thinker": "inference.thinker",
    "Thought": "inference.thought",
    "PromptTemplate": "tasks.template",
}


def __getattr__(name: str) -> Any:
    """Return a public name, imported when it is first asked for: `import onethinker` alone loads nothing heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module 'onethinker' has no attribute {name!r}")
    return getattr(import_module(f"onethinker.{_HOMES[name]}"), name)
