"""Our tasks as a taskset of verifiers, out of a file of records: `onethinker.integrations.verifiers.OneThinkerTaskset`.

verifiers finds a taskset by the name of a module without dots, so one of your own names it:

    # onethinker_tasks.py
    from onethinker.integrations.verifiers import OneThinkerTaskset
    __all__ = ["OneThinkerTaskset"]
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import verifiers.v1 as vf

from onethinker.core.errors import DataError
from onethinker.core.request import SamplingParams
from onethinker.core.sample import Sample
from onethinker.data.formats.released import read_samples
from onethinker.inference.chat import chat_request
from onethinker.inference.encode import build_request
from onethinker.inference.openai import message_text
from onethinker.integrations.rows import grade_row
from onethinker.media.budget import MediaBudget
from onethinker.tasks import Grade, RewardScheme
from onethinker.tasks.template import PromptTemplate

__all__ = ["OneThinkerTaskset"]


class OneThinkerConfig(vf.TasksetConfig):  # type: ignore[misc, unused-ignore]
    """Which records are asked, and how answers are rewarded."""

    data: Path
    """Records in the released form, JSON or JSONL (docs/data.md), about pictures."""
    reward_scheme: RewardScheme = "paper"
    """The paper's rewards or those of the released code."""


class OneThinkerData(vf.TaskData):  # type: ignore[misc, unused-ignore]
    """A question, with all that decides the grade of an answer."""

    row: dict[str, Any]
    reward_scheme: RewardScheme


class OneThinkerTask(vf.Task[OneThinkerData, vf.State, vf.TaskConfig]):  # type: ignore[misc, unused-ignore]
    """A sample, rewarded by its task."""

    @vf.reward  # type: ignore[untyped-decorator, unused-ignore]
    async def onethinker(self, trace: Any) -> float:
        """Return the reward of the answer, 0 where the model gave none. Raises: DataError."""
        return self._grade(trace).reward

    @vf.metric  # type: ignore[untyped-decorator, unused-ignore]
    async def accuracy(self, trace: Any) -> float:
        """Return how right the answer is, 0 to 1."""
        return self._grade(trace).accuracy

    @vf.metric  # type: ignore[untyped-decorator, unused-ignore]
    async def format(self, trace: Any) -> float:
        """Return whether the answer has the form that was asked for, 0 or 1."""
        return self._grade(trace).format

    def _grade(self, trace: Any) -> Grade:
        said = [message_text(message.model_dump()) or "" for message in trace.assistant_messages]
        return grade_row(self.data.row, said[-1] if said else "", reward_scheme=self.data.reward_scheme)


class OneThinkerTaskset(vf.Taskset[OneThinkerTask, OneThinkerConfig]):  # type: ignore[misc, unused-ignore]
    """The samples of a file, each with its pictures sized by the default budget, as they stand in the prompt."""

    def load(self) -> Iterator[OneThinkerTask]:
        """Yield a task for each record. Raises: DataError: one cannot be read, or is about a video. MediaError."""
        for sample in read_samples(self.config.data):
            yield OneThinkerTask(_data(sample, self.config.reward_scheme), self.config.task)


def _data(sample: Sample, reward_scheme: RewardScheme) -> OneThinkerData:
    if sample.data_type == "video":
        raise DataError(f"sample {sample.id!r}: verifiers does not support videos in a prompt; leave such samples out")
    request = build_request(sample, PromptTemplate(), MediaBudget())
    row = {
        "problem_type": sample.problem_type,
        "data_type": sample.data_type,
        "options": list(sample.options),
        "answer": sample.truth,
    }
    prompt = chat_request(request, SamplingParams(), model="")["messages"]
    return OneThinkerData(id=sample.id, prompt=prompt, row=row, reward_scheme=reward_scheme)
