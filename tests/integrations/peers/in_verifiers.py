"""verifiers loads our taskset and scores by our graders: run by `make test-integrations`, where it is installed."""

import asyncio
from dataclasses import replace

import pytest
import verifiers.v1 as vf
from PIL import Image
from verifiers.v1.graph import MessageNode
from verifiers.v1.utils.loaders import load_taskset, taskset_config_type

from onethinker.core.errors import DataError
from onethinker.data.formats.released import write_samples
from tests.integrations.cases import Case, cases

MODULE = "from onethinker.integrations.verifiers import OneThinkerTaskset\n__all__ = ['OneThinkerTaskset']\n"


@pytest.fixture
def taskset(tmp_path, monkeypatch):
    (tmp_path / "onethinker_tasks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)

    def load(samples):
        write_samples(tmp_path / "samples.jsonl", samples)
        kind = taskset_config_type("onethinker_tasks")
        return load_taskset(kind(id="onethinker_tasks", data=tmp_path / "samples.jsonl"))

    return load


def scored(task, response: str) -> vf.Trace:
    said = MessageNode(message=vf.AssistantMessage(content=response), sampled=True)
    about = vf.TraceTask(type=type(task).__name__, data=task.data)
    trace = vf.Trace(task=about, agent=vf.AgentInfo(config=vf.AgentConfig()), nodes=[said])
    asyncio.run(task.score(trace))
    return trace


def test_verifiers_gives_every_task_our_reward(tmp_path, taskset):
    Image.new("RGB", (64, 48), "red").save(tmp_path / "a.png")
    found = [
        Case(replace(case.sample, id=str(number), media=(tmp_path / "a.png",)), case.response, case.reward)
        for number, case in enumerate(cases())
        if case.sample.data_type == "image"
    ]
    tasks = list(taskset([case.sample for case in found]))
    assert len(tasks) == len(found) > 10
    for task, case in zip(tasks, found, strict=True):
        trace = scored(task, case.response)
        assert trace.rewards["onethinker"].value == case.reward
        assert {*trace.metrics} == {"accuracy", "format"}
    [message] = tasks[0].data.prompt
    assert message.content[0].image_url.url.startswith("data:image/png;base64,")
    assert "What is seen?" in message.content[1].text


def test_videos_are_refused_by_name(tmp_path, taskset):
    video = next(case.sample for case in cases() if case.sample.data_type == "video")
    (tmp_path / "a.mp4").touch()
    with pytest.raises(DataError, match="verifiers does not support videos"):
        list(taskset([replace(video, media=(tmp_path / "a.mp4",))]))
