import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from onethinker.core.errors import CheckpointError, DataError, EngineError, StorageError
from onethinker.core.request import Request, SamplingParams
from onethinker.core.sample import Sample
from onethinker.data.synthetic import make_sample
from onethinker.evaluation.answering import MAX_FAILURES_IN_A_ROW
from onethinker.evaluation.metrics import mean_accuracy, score_tasks
from onethinker.evaluation.results import read_answers, read_results, read_settings
from onethinker.evaluation.stages import NOT_ASKED, answer, score
from onethinker.inference.engine import Completion
from onethinker.inference.openai import RemoteEngine
from onethinker.inference.scheduler import BatchedEngine
from onethinker.media.budget import MediaBudget
from onethinker.storage.folders import ANSWERS_FILE, RESULTS_FILE
from onethinker.tasks import all_tasks
from onethinker.tasks.template import PromptTemplate
from tests.evaluation.asking import evaluate

SCENES = [make_sample(5, index, split="test") for index in range(22)]
TEXTS = {sample.id: sample.response for sample in SCENES}


@dataclass(frozen=True)
class SceneEngine(BatchedEngine):
    """Answers a scene with the text that stands for it, and remembers which scenes it was asked about."""

    texts: dict[str, str]
    name: str = "scene engine"
    prompt_template: PromptTemplate = field(default_factory=PromptTemplate)
    budget: MediaBudget = field(default_factory=MediaBudget)
    max_in_flight: int = 8
    refuses: tuple[str, ...] = ()
    stops_after: int | None = None
    asked: list[str] = field(default_factory=list)

    def complete_batch(self, requests: Sequence[Request], params: SamplingParams) -> list[Completion]:
        names = [request.media[0].name for request in requests]
        if self.stops_after is not None and len(self.asked) >= self.stops_after:
            raise KeyboardInterrupt
        if refused := [name for name in names if name in self.refuses]:
            raise EngineError(f"no answer for {refused}")
        self.asked.extend(names)
        return [Completion(self.texts[name], 100, 10, "stop", 0.1) for name in names]


def test_the_truth_gets_full_accuracy_in_every_task(tmp_path):
    scores = score_tasks(evaluate(SceneEngine(TEXTS), SCENES, output=tmp_path))
    assert {score.task for score in scores} <= {task.key for task in all_tasks()}
    assert len(scores) >= 10
    assert {score.task: score.format.mean for score in scores if score.format.mean != 1} == {}
    assert all(score.num_failed == 0 for score in scores)


def test_nonsense_gets_nothing_and_says_why(tmp_path):
    results = evaluate(SceneEngine(dict.fromkeys(TEXTS, "I do not know.")), SCENES, output=tmp_path)
    assert mean_accuracy(score_tasks(results)) == 0
    assert all(result.grade.reward == 0 and result.grade.problems for result in results)


def test_a_stopped_evaluation_goes_on_and_ends_like_one_that_was_never_stopped(tmp_path):
    whole = evaluate(SceneEngine(TEXTS, max_in_flight=4), SCENES, output=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        evaluate(SceneEngine(TEXTS, stops_after=8, max_in_flight=4), SCENES, output=tmp_path / "stopped")
    again = SceneEngine(TEXTS, max_in_flight=4)
    assert evaluate(again, SCENES, output=tmp_path / "stopped") == whole
    assert len(again.asked) == len(SCENES) - 8
    assert [result.sample_id for result in whole] == [sample.id for sample in SCENES]
    assert (tmp_path / "stopped" / RESULTS_FILE).read_bytes() == (tmp_path / "whole" / RESULTS_FILE).read_bytes()


def test_a_batch_that_a_kill_cut_in_two_is_asked_whole_and_written_once(tmp_path):
    whole = evaluate(SceneEngine(TEXTS, max_in_flight=4), SCENES[:8], output=tmp_path)
    journal = tmp_path / ANSWERS_FILE
    content = journal.read_bytes()
    journal.write_bytes(content[: content.index(b"\n", len(content) * 3 // 4) - 20])
    again = SceneEngine(TEXTS, max_in_flight=4)
    assert evaluate(again, SCENES[:8], output=tmp_path) == whole
    assert sorted(again.asked) == sorted(sample.id for sample in SCENES[4:8])
    assert journal.read_bytes() == content


def test_other_settings_are_refused_and_shown(tmp_path):
    evaluate(SceneEngine(TEXTS), SCENES[:2], output=tmp_path)
    before = (tmp_path / RESULTS_FILE).read_bytes()
    changed = SceneEngine(TEXTS, budget=MediaBudget(fps=1), prompt_template=PromptTemplate(system="Be brief."))
    with pytest.raises(CheckpointError, match=r"budget.fps: 2.0 → 1.0\n  prompt_template.system: None → 'Be brief.'"):
        evaluate(changed, SCENES[:2], output=tmp_path)
    with pytest.raises(CheckpointError, match="reward_scheme: 'paper' → 'release'"):
        evaluate(SceneEngine(TEXTS), SCENES[:2], output=tmp_path, reward_scheme="release")
    assert (tmp_path / RESULTS_FILE).read_bytes() == before


def test_a_sample_that_changed_since_is_refused(tmp_path):
    evaluate(SceneEngine(TEXTS), SCENES[:2], output=tmp_path)
    with pytest.raises(CheckpointError, match=f"sample '{SCENES[1].id}' has changed"):
        evaluate(SceneEngine(TEXTS), [SCENES[0], replace(SCENES[1], problem="Another question?")], output=tmp_path)


def test_more_samples_may_join_later(tmp_path):
    evaluate(SceneEngine(TEXTS, max_in_flight=4), SCENES[:4], output=tmp_path)
    engine = SceneEngine(TEXTS, max_in_flight=4)
    assert len(evaluate(engine, SCENES[:8], output=tmp_path)) == 8
    assert sorted(engine.asked) == sorted(sample.id for sample in SCENES[4:8])


def test_a_sample_that_the_engine_refuses_has_no_grade_and_is_tried_again(tmp_path):
    bad = SCENES[2].id
    results = evaluate(SceneEngine(TEXTS, refuses=(bad,)), SCENES[:4], output=tmp_path)
    assert [result.grade is None for result in results] == [False, False, True, False]
    assert bad in results[2].error
    healed = evaluate(SceneEngine(TEXTS), SCENES[:4], output=tmp_path)
    assert all(result.grade is not None for result in healed)
    assert list(read_results(tmp_path).values()) == healed


def test_media_that_cannot_be_read_are_an_error_and_never_an_answer(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    broken = Sample("broken", "How many?", "numerical", "image", (tmp_path / "broken.png",), truth="2")
    results = evaluate(SceneEngine(TEXTS), [SCENES[0], broken], output=tmp_path / "out")
    assert results[0].grade is not None
    assert results[1].grade is None
    assert "broken.png" in results[1].error


def test_an_engine_that_is_gone_stops_the_evaluation(tmp_path):
    gone = SceneEngine(TEXTS, refuses=tuple(TEXTS))
    with pytest.raises(EngineError, match=f"{MAX_FAILURES_IN_A_ROW} samples in a row"):
        evaluate(gone, SCENES, output=tmp_path)
    assert {answer.error is None for answer in read_answers(tmp_path).values()} == {False}
    assert not (tmp_path / RESULTS_FILE).exists()


@pytest.mark.parametrize(
    ("samples", "complaint"),
    [
        ([], "no samples"),
        ([SCENES[0], SCENES[0]], "used more than once"),
        ([replace(SCENES[0], problem_type="juggling")], "juggling"),
        ([SCENES[1], Sample("s7", "Where?", "spatial grounding", "image", (), truth='{"boxes": [1]}')], "sample 's7'"),
    ],
    ids=["none", "same id", "no such task", "bad truth"],
)
def test_bad_samples_are_refused_before_anything_is_asked_or_written(tmp_path, samples, complaint):
    engine = SceneEngine(TEXTS)
    with pytest.raises(DataError, match=complaint):
        evaluate(engine, samples, output=tmp_path / "out")
    assert engine.asked == []
    assert not (tmp_path / "out").exists()


def test_two_processes_cannot_write_one_journal(tmp_path):
    class Nested(SceneEngine):
        def complete_batch(self, requests, params):
            evaluate(SceneEngine(TEXTS), SCENES[:2], output=tmp_path)
            raise AssertionError("the second evaluation should have been refused")

    with pytest.raises(CheckpointError, match="another process"):
        evaluate(Nested(TEXTS), SCENES[:2], output=tmp_path)


def test_progress_is_told_in_samples(tmp_path):
    seen = []
    evaluate(
        SceneEngine(TEXTS, max_in_flight=2), SCENES[:5], output=tmp_path, on_progress=lambda *state: seen.append(state)
    )
    assert seen == [(0, 5), (2, 5), (4, 5), (5, 5)]


def test_settings_say_how_to_get_the_numbers_again(tmp_path):
    evaluate(SceneEngine(TEXTS), SCENES[:1], output=tmp_path, sampling=SamplingParams(seed=3))
    stored = read_settings(tmp_path)
    assert stored["settings"]["model"] == "scene engine"
    assert stored["settings"]["sampling"]["seed"] == 3
    assert {"machine", "versions", "date"} <= stored["about"].keys()


def test_a_damaged_journal_names_its_line(tmp_path):
    evaluate(SceneEngine(TEXTS), SCENES[:2], output=tmp_path)
    journal = tmp_path / RESULTS_FILE
    journal.write_bytes(journal.read_bytes() + json.dumps({"key": "x"}).encode() + b"\n")
    with pytest.raises(CheckpointError, match="line 3"):
        read_results(tmp_path)


def test_an_output_that_is_a_file_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(StorageError, match="taken"):
        evaluate(SceneEngine(TEXTS), SCENES[:1], output=tmp_path / "taken")


def test_answers_are_graded_anew_without_the_model(tmp_path):
    results = evaluate(SceneEngine(TEXTS), SCENES[:6], output=tmp_path)
    written = (tmp_path / RESULTS_FILE).read_bytes()
    (tmp_path / RESULTS_FILE).unlink()
    assert score(SCENES[:6], output=tmp_path) == results
    assert (tmp_path / RESULTS_FILE).read_bytes() == written
    with pytest.raises(CheckpointError, match="reward_scheme: 'paper' → 'release'"):
        score(SCENES[:6], output=tmp_path, reward_scheme="release")
    with pytest.raises(CheckpointError, match=r"settings\.json"):
        score(SCENES[:6], output=tmp_path / "nothing")


def test_samples_without_an_answer_are_named_by_scoring_and_asked_by_the_next_run(tmp_path):
    answer(SceneEngine(TEXTS, max_in_flight=2), SCENES[:4], output=tmp_path)
    results = score(SCENES[:6], output=tmp_path)
    assert [result.error for result in results] == [None] * 4 + [NOT_ASKED] * 2
    engine = SceneEngine(TEXTS, max_in_flight=2)
    assert answer(engine, SCENES[:6], output=tmp_path) == []
    assert sorted(engine.asked) == sorted(sample.id for sample in SCENES[4:6])


def test_samples_about_one_clip_follow_each_other_in_batches_of_similar_length(tmp_path):
    clips = [SCENES[0].media, SCENES[1].media]
    samples = [
        Sample(f"q{n}", f"How many? {'x' * (n * 200)}", "numerical", "image", clips[n % 2], truth="2")
        for n in range(12)
    ]
    batches = []

    class Noting(SceneEngine):
        def complete_batch(self, requests, params):
            batches.append([(request.media[0].name, len(request.text)) for request in requests])
            return [Completion("2", 1, 1, "stop", 0.0) for _ in requests]

    evaluate(Noting({}, max_in_flight=2), samples, output=tmp_path)
    names = [name for batch in batches for name, _ in batch]
    assert names == sorted(names, key=[SCENES[0].id, SCENES[1].id].index)
    lengths = [length for batch in batches for _, length in batch]
    assert lengths[2:6] == sorted(lengths[2:6])


class Server(ThreadingHTTPServer):
    """Answers chat requests once `together` of them were under way at once, a slow one after `fast` others; knows how
    many were, and with which seeds.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.changed, self.under_way, self.most, self.seeds, self.done = threading.Condition(), 0, 0, [], []
        self.together, self.fast = 1, 0


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][-1]["content"][-1]["text"]
        with (changed := self.server.changed):
            self.server.under_way += 1
            self.server.most = max(self.server.most, self.server.under_way)
            self.server.seeds.append(body["seed"])
            changed.notify_all()
            changed.wait_for(lambda: self.server.most >= self.server.together, 60)
            changed.wait_for(lambda: "slow" not in question or len(self.server.done) >= self.server.fast, 60)
            self.server.under_way -= 1
            self.server.done.append(question)
            changed.notify_all()
        status, content = (
            (400, {"error": {"message": "refused"}})
            if "refuse" in question
            else (200, reply("<think>x</think><answer>2</answer>"))
        )
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        return None


def reply(text: str) -> dict[str, object]:
    return {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
    }


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield http
        http.shutdown()
        thread.join()


def questions(count: int, **named: str) -> list[Sample]:
    return [Sample(f"q{n}", named.get(f"q{n}", "How many?"), "numerical", "image", (), truth="2") for n in range(count)]


def test_a_server_is_kept_busy_and_a_slow_answer_holds_up_nothing_but_itself(tmp_path, server):
    engine = RemoteEngine(f"http://127.0.0.1:{server.server_port}/v1", "served", max_in_flight=4, max_tries=1)
    samples = questions(24, q0="slow", q5="refuse")
    server.together, server.fast = 4, 23
    with engine:
        results = evaluate(engine, samples, output=tmp_path)
    assert [result.sample_id for result in results] == [sample.id for sample in samples]
    assert [result.sample_id for result in results if result.grade is None] == ["q5"]
    assert "refused" in results[5].error
    assert server.most == 4
    assert "slow" in server.done[-1]
    assert len(set(server.seeds)) == 24
    seeds = set(server.seeds)
    with engine:
        evaluate(engine, samples, output=tmp_path)
    assert len(server.done) == 25
    assert set(server.seeds) == seeds


def test_a_server_that_is_gone_stops_the_evaluation_and_what_was_answered_stays(tmp_path, server):
    engine = RemoteEngine(f"http://127.0.0.1:{server.server_port}/v1", "served", max_in_flight=2, max_tries=1)
    with engine, pytest.raises(EngineError, match=f"{MAX_FAILURES_IN_A_ROW} samples in a row"):
        evaluate(engine, questions(40, **{f"q{n}": "refuse" for n in range(4, 40)}), output=tmp_path)
    said = read_answers(tmp_path).values()
    assert sum(answer.error is None for answer in said) == 4
    assert len(said) < 40
