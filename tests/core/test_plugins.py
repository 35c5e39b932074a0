"""Parts from modules that a user names: found by name or path, and every mistake in one named with file and line."""

import json
from pathlib import Path

import pytest
import torch

from onethinker.core.errors import ConfigError, DataError, EngineError, OneThinkerError, PluginError
from onethinker.core.plugins import VARIABLE, load_plugins, named_plugins, use_plugins
from onethinker.data.formats.records import read_records
from onethinker.data.formats.released import read_samples
from onethinker.evaluation.benchmarks.data import read_benchmark
from onethinker.evaluation.benchmarks.registry import find_benchmark
from onethinker.families.folder import check_config
from onethinker.families.registry import families
from onethinker.rl.advantages import compute_advantages, find_estimator
from onethinker.tasks import all_tasks, find_task, grade_response
from onethinker.training.rl_settings import AdvantageSettings

POINTING = Path(__file__).parents[2] / "examples/my_lab/my_lab/pointing.py"
COUNT = """
from onethinker.tasks import Score, Task

class Count(Task[int]):
    problem_type = key = "KEY"
    instructions, example, metrics = "Count.", "3", ("off by",)

    def parse(self, text, options=()):
        return int(text)

    def score(self, answer, truth, reward_scheme):
        return SCORE

    def draw(self, clip, answer):
        return clip

TASKS = {"count": Count}
"""

FROZEN = "import dataclasses\n\n@dataclasses.dataclass(frozen=True)\nclass"


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")


def module(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name}.py"
    path.write_text(text)
    return str(path)


def test_a_task_is_used_by_the_path_of_its_file_or_the_name_of_its_module(tmp_path, monkeypatch) -> None:
    use_plugins([str(POINTING)])
    assert find_task("pointing", "image").key == "pointing"
    (tmp_path / "some_lab").mkdir()
    (tmp_path / "some_lab/tasks.py").write_text(COUNT.replace("KEY", "lab counting"))
    monkeypatch.chdir(tmp_path)
    use_plugins(["some_lab.tasks"])
    assert named_plugins() == (str(POINTING), "some_lab.tasks")
    assert [task.key for task in all_tasks()][-2:] == ["pointing", "lab counting"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "bad_import",
            "import math\nfrom math import nothing_at_all\n",
            r"bad_import\.py, line 2, in <module>: ImportError",
        ),
        ("bad_syntax", "x = 1\ny = (\n", r"bad_syntax\.py, line 2: SyntaxError"),
        ("bad_zero", "def f():\n    return 1 / 0\n\nf()\n", r"bad_zero\.py, line 2, in f: ZeroDivisionError"),
        ("bad_empty", "x = 1\n", r"bad_empty\.py offers nothing; expected one or more of TASKS, REWARDS"),
        ("bad_list", "TASKS = [1]\n", r"TASKS must be a dictionary .* in .*bad_list\.py"),
    ],
    ids=lambda value: value if value.startswith("bad") else "",
)
def test_a_module_that_cannot_be_used_is_named_with_its_line(tmp_path, name, text, said) -> None:
    with pytest.raises(ConfigError, match=said):
        use_plugins([module(tmp_path, name, text)])
    assert named_plugins() == ()


def test_a_module_that_is_not_there_is_named_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"plug-in no_lab.tasks cannot be loaded.*name its file: no_lab/tasks\.py"):
        use_plugins(["no_lab.tasks"])
    with pytest.raises(ConfigError, match=r"plug-in no_lab\.py: no such file"):
        use_plugins(["no_lab.py"])


@pytest.mark.parametrize(
    ("name", "score", "said"),
    [
        ("task_crash", "Score(1 / 0, {'off by': 0})", r"score failed in .*task_crash\.py, line 12, in score: ZeroDiv"),
        ("task_nan", "Score(float('nan'), {'off by': 0})", r"task_nan\.py, line 4\) must have an accuracy from 0 to 1"),
        ("task_two", "Score(2.0, {'off by': 0})", "must have an accuracy from 0 to 1, got 2.0"),
        ("task_none", "None", "must be an onethinker.tasks.Score, got None"),
        ("task_metric", "Score(1.0, {})", "must have a finite number for each of its metrics, off by; got {}"),
    ],
    ids=lambda value: value if value.startswith("task") else "",
)
def test_a_task_that_fails_is_named_with_its_line_and_scores_nothing(tmp_path, name, score, said) -> None:
    text = COUNT.replace("KEY", name).replace("SCORE", score)
    use_plugins([module(tmp_path, name, text)])
    with pytest.raises(PluginError, match=said):
        grade_response("<think>x</think><answer>3</answer>", "3", task=find_task(name, "image"))


def test_a_task_that_is_a_frozen_dataclass_is_guarded_too(tmp_path) -> None:
    text = COUNT.replace("KEY", "task_frozen").replace("SCORE", "None").replace("class", FROZEN)
    use_plugins([module(tmp_path, "task_frozen", text)])
    with pytest.raises(PluginError, match="got None"):
        grade_response("<think>x</think><answer>3</answer>", "3", task=find_task("task_frozen", "image"))


def test_a_task_that_reads_an_answer_by_mistake_is_named(tmp_path) -> None:
    use_plugins([module(tmp_path, "task_parse", COUNT.replace("KEY", "task_parse"))])
    with pytest.raises(PluginError, match=r"task_parse\.py, line 9, in parse: ValueError: invalid literal"):
        grade_response("<think>x</think><answer>three</answer>", "3", task=find_task("task_parse", "image"))


def test_a_task_that_lacks_something_is_refused_with_what(tmp_path) -> None:
    text = (
        COUNT.replace("KEY", "task_lacks")
        .replace("def draw", "def paint")
        .replace('"3", (', '"3", "x", (')
        .replace("example, metrics =", "example, metric, metricss =")
    )
    use_plugins([module(tmp_path, "task_lacks", text)])
    with pytest.raises(ConfigError, match=r"TASKS\['count'\] of .*task_lacks\.py lacks draw, metrics: .*line 4"):
        all_tasks()


def test_two_parts_of_one_name_are_both_named(tmp_path) -> None:
    for name, value in (("same_one", "print"), ("same_two", "len")):
        use_plugins([module(tmp_path, name, f"ESTIMATORS = {{'same': {value}}}\n")])
    with pytest.raises(ConfigError, match=r"two estimators are named 'same': .*same_one\.py, and .*same_two\.py"):
        load_plugins("onethinker.estimators")


FORM = """
def read_talk(record):
    question, answer = record.pop("conversations")
    record |= {"problem_type": "ocr", "data_type": "image"}
    return {**record, "problem": question["value"], "answer": answer["value"]}

FORMS = {"conversations": read_talk}
"""


def test_a_form_from_outside_is_read_wherever_samples_are(tmp_path) -> None:
    use_plugins([module(tmp_path, "talk_form", FORM)])
    rows = [
        {
            "conversations": [{"value": "<image>What is written?"}, {"value": "<answer>exit</answer>"}],
            "images": ["a.png"],
        }
    ]
    (tmp_path / "talk.json").write_text(json.dumps(rows))
    (sample,) = read_samples(tmp_path / "talk.json")
    assert (sample.problem, sample.truth, sample.media) == ("What is written?", "exit", (tmp_path / "a.png",))
    (tmp_path / "talk.json").write_text(json.dumps([{"conversations": [1]}]))
    with pytest.raises(PluginError, match=r"talk.json, row 1: form 'conversations' failed in .*talk_form\.py, line 3"):
        list(read_records(tmp_path / "talk.json"))


BENCHMARK = """
from onethinker.data.formats.released import read_samples
from onethinker.evaluation.benchmarks.base import Benchmark, Layout, Metric

BENCHMARKS = {"points": Benchmark(
    "My Points", "pointing", ("ocr",), "image", None,
    (Layout(("points.jsonl",), lambda root, bad: read_samples(root / "points.jsonl")),), (Metric("CER"),),
)}
"""


def test_a_benchmark_from_outside_is_found_by_name(tmp_path) -> None:
    use_plugins([module(tmp_path, "points_benchmark", BENCHMARK)])
    assert find_benchmark("my points").key == "my_points"


FAMILY = """
from onethinker.families.qwen3_vl import Qwen3VL

class Mine(Qwen3VL):
    name = 'Mine'
    model_types = (KIND,)

FAMILIES = {'mine': Mine}
"""


def test_a_family_from_outside_stands_beside_ours_and_no_type_is_of_two(tmp_path) -> None:
    use_plugins([module(tmp_path, "my_family", FAMILY.replace("KIND", "'my_vl'"))])
    assert families()[-1].name == "Mine"
    use_plugins([module(tmp_path, "rival_family", FAMILY.replace("KIND", "'qwen3_vl'").replace("'mine'", "'rival'"))])
    with pytest.raises(ConfigError, match=r"FAMILIES\['rival'\] of .*rival_family\.py: qwen3_vl is of Qwen3-VL"):
        families()


def test_the_config_of_a_family_from_outside_may_call_its_parts_as_it_likes(tmp_path) -> None:
    use_plugins([module(tmp_path, "parts_family", FAMILY.replace("KIND", "'parts_vl'").replace("'mine'", "'parts'"))])
    (tmp_path / "config.json").write_text('{"model_type": "parts_vl", "llm_config": {}, "vit_config": {}}')
    check_config(tmp_path / "config.json")
    (tmp_path / "config.json").write_text('{"model_type": "qwen3_vl", "llm_config": {}, "vit_config": {}}')
    with pytest.raises(EngineError, match='it has no "text_config", which a model of type qwen3_vl has'):
        check_config(tmp_path / "config.json")


@pytest.mark.parametrize("kind", ["plain", "frozen"])
def test_a_family_that_fails_is_named_with_its_line(tmp_path, kind) -> None:
    text = FAMILY.replace("KIND", f"'{kind}_failing_vl'").replace("'mine'", f"'{kind}_failing'")
    text = text.replace("\nFAMILIES", "    def side_of(self, config):\n        return config.no_such_field\n\nFAMILIES")
    text = text.replace("class", FROZEN) if kind == "frozen" else text
    use_plugins([module(tmp_path, f"{kind}_family", text)])
    family = next(family for family in families() if f"{kind}_failing_vl" in family.model_types)
    with pytest.raises(
        PluginError,
        match=rf"family 'Mine': side_of failed in .*{kind}_family\.py, line \d+, in side_of: AttributeError",
    ):
        family.side_of(object())


def test_a_reader_of_a_benchmark_that_fails_is_named_with_its_line(tmp_path) -> None:
    text = BENCHMARK.replace("My Points", "Bad Points").replace("'points'", "'bad'")
    text = text.replace('read_samples(root / "points.jsonl")', "iter([root.no_such_field])")
    use_plugins([module(tmp_path, "bad_points", text)])
    (tmp_path / "points.jsonl").write_text("")
    with pytest.raises(PluginError, match=r"the reader of benchmark 'Bad Points' failed in .*bad_points\.py, line 7"):
        list(read_benchmark(find_benchmark("bad points"), tmp_path))


ESTIMATOR_FAULTS = """
from onethinker.training.state.progress import Moments

def crash(rewards_PG, tasks, state, settings):
    return rewards_PG / 0 + [], state

def lone(rewards_PG, tasks, state, settings):
    return rewards_PG

def wide(rewards_PG, tasks, state, settings):
    return rewards_PG.repeat(2, 1), state

def numbers(rewards_PG, tasks, state, settings):
    return rewards_PG, {"ocr": 1.0}

ESTIMATORS = {"crash": crash, "lone": lone, "wide": wide, "numbers": numbers}
"""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("crash", r"estimator 'crash' failed in .*faulty_estimators_\w+\.py, line 5, in crash: TypeError"),
        ("lone", r"'lone' \(.*faulty_estimators_\w+\.py, line 7\) must return advantages and the state after them"),
        ("wide", r"'wide' \(.*line 10\) must give a finite advantage for each of \(1, 2\) rewards"),
        ("numbers", r"'numbers' \(.*line 13\) must return a state that has Moments for each task, got \{'ocr': 1\.0\}"),
    ],
    ids=["crash", "lone", "wide", "numbers"],
)
def test_an_estimator_that_fails_is_named_with_its_line(tmp_path, name, said) -> None:
    use_plugins([module(tmp_path, f"faulty_estimators_{name}", ESTIMATOR_FAULTS)])
    rewards = torch.tensor([[1.0, 0.0]])
    settings = AdvantageSettings(algorithm=name)
    with pytest.raises(PluginError, match=said):
        compute_advantages(find_estimator(name), rewards, ["ocr"], {}, settings)


def test_an_estimator_with_the_name_of_ours_is_refused(tmp_path) -> None:
    use_plugins([module(tmp_path, "own_grpo", "def mine(*given): pass\n\nESTIMATORS = {'grpo': mine}\n")])
    with pytest.raises(ConfigError, match=r"two estimators are named 'grpo': onethinker's own, and .*own_grpo\.py"):
        find_estimator("grpo")


def test_all_that_a_plug_in_raises_is_told_without_a_traceback() -> None:
    assert issubclass(PluginError, OneThinkerError)
    assert not issubclass(PluginError, DataError)
