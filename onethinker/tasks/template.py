"""The words around a question: our own by default, or those that a set of weights was trained with."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from onethinker.core.errors import ConfigError
from onethinker.core.nearest import no_such
from onethinker.core.sample import Sample
from onethinker.core.settings import explain
from onethinker.tasks import all_tasks, task_of
from onethinker.tasks.places import FrameSize
from onethinker.tasks.registry import ALIASES
from onethinker.tasks.tracking import with_first_box


class PromptTemplate(BaseModel):
    """How a sample becomes the text of one user message.

    `template` may use {question}, {options}, {frame} and {instructions}; `instructions` replaces a task's own wording
    by task key ("tracking", "segmentation/video", …). `system` is a system message, absent by default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str | None = None
    template: str = "{question}{options}\n\n{frame}\n{instructions}"
    frame: str = (
        "Look closely and reason step by step. Put your reasoning between <think> and </think>, then give only the"
        " final answer between <answer> and </answer>."
    )
    instructions: dict[str, str] = Field(default_factory=dict)

    @field_validator("template")
    @classmethod
    def _fills(cls, template: str) -> str:
        try:
            template.format(question="", options="", frame="", instructions="")
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError(
                f"may use {{question}}, {{options}}, {{frame}} and {{instructions}} only, got {template!r}"
            ) from error
        return template

    @classmethod
    def load(cls, path: Path) -> "PromptTemplate":
        """Return the prompt template that a TOML file holds. Raises: ConfigError."""
        try:
            template = cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise ConfigError(f"{path}: cannot be read as a prompt template: {explain(error, cls)}") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read as a prompt template: {error}") from error
        known = [task.key for task in all_tasks()]
        for key in template.instructions:
            if key not in known:
                raise ConfigError(f"{path}: instructions: {no_such('task', key, known, aliases=ALIASES)}")
        return template

    def text(self, sample: Sample, frame_px: FrameSize | None = None) -> str:
        """Return the complete text of the user message for a sample, media not included.

        For a model that counts pixels of frames of this size the task's own instructions say so; boxes in the question
        are `tasks.pixels.sample_to_px`'s.
        """
        task = task_of(sample)
        return self.template.format(
            question=sample.problem if sample.first_box is None else with_first_box(sample.problem, sample.first_box),
            options=options_text(sample),
            frame=self.frame,
            instructions=self.instructions.get(task.key, task.wording(frame_px)),
        )


def options_text(sample: Sample) -> str:
    """Return what a question's choices look like behind it, "" for a question without."""
    return "\nOptions:\n" + "\n".join(sample.options) if sample.options else ""
