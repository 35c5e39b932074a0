"""SIGKILL at random moments of a real process that evaluates pictures and clips in files, in batches and as of a
server.
"""

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from onethinker.core.request import Request, SamplingParams
from onethinker.core.sample import Sample
from onethinker.data.formats.released import read_samples
from onethinker.data.synthetic import write_dataset
from onethinker.evaluation.results import read_answers
from onethinker.inference.engine import Completion, Engine
from onethinker.inference.scheduler import BatchedEngine
from onethinker.media.budget import MediaBudget
from onethinker.media.prefetch import Decoders
from onethinker.storage.folders import ANSWERS_FILE, RESULTS_FILE
from onethinker.storage.jsonl_log import open_log
from onethinker.tasks.template import PromptTemplate
from tests.evaluation.asking import evaluate

SAMPLES, BATCH = 14, 2
PAUSE_S = 0.03


def answer_and_log(
    texts: dict[str, str], log: Path, requests: Sequence[Request], params: SamplingParams
) -> list[Completion]:
    """Return the truth with the seed that it was asked with, after writing to a file that it was answered."""
    time.sleep(PAUSE_S * len(requests))
    said = [texts[request.text].replace("?", str(request.seed)) for request in requests]
    with log.open("a") as file:
        file.write("".join("answered\n" for _ in requests))
    return [Completion(text, 100, 10, "stop", 0.1) for text in said]


@dataclass(frozen=True)
class LoggingEngine(BatchedEngine):
    """Answers in batches, in this process."""

    texts: dict[str, str]
    log: Path
    name: str = "logging engine"
    prompt_template: PromptTemplate = field(default_factory=PromptTemplate)
    budget: MediaBudget = field(default_factory=MediaBudget)
    max_in_flight: int = BATCH

    def complete_batch(self, requests: Sequence[Request], params: SamplingParams) -> list[Completion]:
        return answer_and_log(self.texts, self.log, requests, params)


@dataclass(frozen=True)
class LoggingServer(Engine):
    """Answers each request when it is answered, three at once."""

    texts: dict[str, str]
    log: Path
    name: str = "logging engine"
    prompt_template: PromptTemplate = field(default_factory=PromptTemplate)
    budget: MediaBudget = field(default_factory=MediaBudget)
    max_in_flight: int = 3
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(3))

    def submit(self, request: Request, params: SamplingParams) -> Future[Completion]:
        return self.pool.submit(lambda: answer_and_log(self.texts, self.log, [request], params)[0])


IN_FLIGHT = {LoggingEngine: BATCH, LoggingServer: 3}
Kind = type[LoggingEngine] | type[LoggingServer]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, num_samples=SAMPLES, seed=3, split="test")
    return list(read_samples(folder / "samples.jsonl"))


def run(kind: Kind, samples: Sequence[Sample], output: Path) -> None:
    texts = {PromptTemplate().text(sample): f"<think>?</think><answer>{sample.truth}</answer>" for sample in samples}
    engine = kind(texts, output.with_suffix(".log"))
    with Decoders(1) as decoders:
        evaluate(
            engine,
            samples,
            output=output,
            decoders=decoders,
            sampling=SamplingParams(temperature=1, seed=7),
        )


def start(kind: Kind, samples: Sequence[Sample], output: Path) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=run, args=(kind, samples, output))
    process.start()
    return process


def kill_and_finish(kind: Kind, samples: Sequence[Sample], output: Path, after_s: float) -> None:
    """Kill a run after so long, check what it kept, and finish it."""
    process = start(kind, samples, output)
    time.sleep(after_s)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    log = output.with_suffix(".log")
    answered = log.read_text().count("\n") if log.exists() else 0
    journal = output / ANSWERS_FILE
    kept = journal.read_bytes().count(b"\n") if journal.exists() else 0
    assert answered - IN_FLIGHT[kind] <= kept <= answered
    log.unlink(missing_ok=True)
    process = start(kind, samples, output)
    process.join()
    assert process.exitcode == 0
    again = log.read_text().count("\n") if log.exists() else 0
    assert again <= SAMPLES - kept + IN_FLIGHT[kind] - 1


def check_kills(kind: Kind, samples: Sequence[Sample], folder: Path, *, kills: int, seed: int) -> None:
    began = time.monotonic()
    process = start(kind, samples, folder / "whole")
    process.join()
    assert process.exitcode == 0
    lasted_s = time.monotonic() - began
    whole = (folder / "whole" / RESULTS_FILE).read_bytes()
    rng = random.Random(seed)
    for number in range(kills):
        output = folder / f"killed {number}"
        kill_and_finish(kind, samples, output, rng.uniform(0, lasted_s))
        assert (output / RESULTS_FILE).read_bytes() == whole


@pytest.mark.parametrize("kind", IN_FLIGHT)
def test_kill_9_loses_what_was_in_flight_and_changes_no_result(samples, tmp_path, kind):
    check_kills(kind, samples, tmp_path, kills=3, seed=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", IN_FLIGHT)
def test_kill_9_at_fifty_more_points_of_either_road(samples, tmp_path, kind):
    check_kills(kind, samples, tmp_path, kills=50, seed=2)


def test_a_journal_cut_at_any_byte_of_its_last_record_recovers_all_others(samples, tmp_path):
    run(LoggingEngine, samples, tmp_path / "run")
    results = (tmp_path / "run" / RESULTS_FILE).read_bytes()
    journal = tmp_path / "run" / ANSWERS_FILE
    content = journal.read_bytes()
    last = content.rindex(b"\n", 0, -1) + 1
    others = {json.loads(line)["key"] for line in content[:last].splitlines()}
    for cut in range(last, len(content)):
        journal.write_bytes(content[:cut])
        with open_log(journal):
            assert read_answers(tmp_path / "run").keys() == others
    for cut in (last, last + 1, len(content) - 1):
        journal.write_bytes(content[:cut])
        run(LoggingEngine, samples, tmp_path / "run")
        assert (tmp_path / "run" / RESULTS_FILE).read_bytes() == results
        assert journal.read_bytes() == content
