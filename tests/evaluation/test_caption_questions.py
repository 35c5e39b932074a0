"""Descriptions of lectures that a judge answers questions out of, as Video-MMLU's captions are measured."""

import json

import pytest

from onethinker.core.sample import Sample
from onethinker.evaluation.benchmarks.published import PAPER_MODEL
from onethinker.evaluation.benchmarks.registry import find_benchmark
from onethinker.evaluation.scoring import score_benchmark
from onethinker.evaluation.stages import score
from onethinker.inference.scripted import ScriptedEngine
from onethinker.rewards.judge import Judge
from onethinker.storage.folders import JUDGE_FILE
from onethinker.tasks.template import PromptTemplate
from tests.evaluation.asking import evaluate
from tests.evaluation.test_judge import said, server, verdict

QUESTIONS = (("Which theorem?", "Pythagoras"), ("How long is c?", "5"), ("Who speaks?", "a woman"))
SAMPLES = [
    Sample(name, name, "open-ended", "video", (), truth="A proof.", questions=questions)
    for name, questions in (("whole", QUESTIONS), ("half", QUESTIONS[:2]), ("silent", QUESTIONS))
]
TEXTS = {
    "whole": said("A woman shows that c is 5, by the theorem of Pythagoras"),
    "half": said("The theorem of Pythagoras"),
    "silent": "I cannot see it.",
}
ENGINE = ScriptedEngine(lambda request: TEXTS[request.text], prompt_template=PromptTemplate(template="{question}"))


def text(content: str) -> tuple[int, dict[str, object]]:
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return 200, {"choices": [choice], "usage": {"prompt_tokens": 50, "completion_tokens": 3}}


def reader(asked: dict[str, str]) -> tuple[int, object]:
    """A judge that answers with the words of the description, and finds those right that have the reference in them."""
    if "description" in asked:
        assert set(asked) == {"description", "question"}
        return text(asked["description"])
    return verdict(1.0 if asked["reference"].lower() in asked["answer"].lower() else 0.0)


def test_a_description_is_worth_the_questions_that_can_be_answered_out_of_it(tmp_path):
    with server(reader) as (settings, asked):
        results = evaluate(ENGINE, SAMPLES, output=tmp_path / "run", judge=Judge(settings, tmp_path / JUDGE_FILE))
    assert [result.grade.accuracy for result in results] == [1, 0.5, 0]
    assert len(asked) == 10  # what cannot be read is not asked about
    rows = {row.metric: row for row in score_benchmark(find_benchmark("VideoMMLU-Caption"), results)}
    # Of the questions 3 + 1 + 0 of 3 + 2 + 3; of each video's last question, as the paper's code counts, 1 of 3.
    assert rows["questions answered"].estimate.mean == pytest.approx(4 / 8)
    assert rows["questions answered (paper)"].estimate.mean == pytest.approx(1 / 3)
    assert rows["questions answered (paper)"].published[PAPER_MODEL] == 28.0
    assert rows["questions answered"].published == {}


def test_a_judge_is_not_paid_twice_and_what_it_failed_at_is_asked_again(tmp_path):
    def broken(asked: dict[str, str]) -> tuple[int, object]:
        return (400, {}) if asked["question"] == "How long is c?" and "answer" in asked else reader(asked)

    with server(broken) as (settings, _):
        results = evaluate(ENGINE, SAMPLES, output=tmp_path / "run", judge=Judge(settings, tmp_path / JUDGE_FILE))
        assert [result.grade is None for result in results] == [True, True, False]
        assert "judge sage" in results[0].error
    with server(reader) as (settings, second):
        results = score(SAMPLES, output=tmp_path / "run", judge=Judge(settings, tmp_path / JUDGE_FILE))
    assert [result.grade.accuracy for result in results] == [1, 0.5, 0]
    assert [item["question"] for item in second] == ["How long is c?"] * 2
    assert all("answer" in item for item in second)


@pytest.mark.parametrize("reply", [text(""), (200, {"choices": []})], ids=["nothing", "no completion"])
def test_an_answer_that_is_none_leaves_no_grade(tmp_path, reply):
    with server(lambda asked: reply if "description" in asked else reader(asked)) as (settings, _):
        [result, *_] = evaluate(ENGINE, SAMPLES[:1], output=tmp_path / "run", judge=Judge(settings))
    assert result.grade is None


def test_without_a_judge_both_numbers_are_withheld_and_a_caption_of_science_has_none_of_ours_beside_the_papers(
    tmp_path,
):
    results = evaluate(ENGINE, SAMPLES, output=tmp_path / "run")
    rows = score_benchmark(find_benchmark("VideoMMLU-Caption"), results)
    assert {row.missing for row in rows} == {"needs --judge"}
    rows = {row.metric: row for row in score_benchmark(find_benchmark("MMSci-Caption"), results)}
    assert rows["judge"].published == rows["ROUGE-L"].published == {}
    assert rows["unnamed (paper)"].published[PAPER_MODEL] == 25.7
    assert rows["unnamed (paper)"].estimate is None
    assert "does not define this number" in rows["unnamed (paper)"].missing
    json.dumps([row.missing for row in rows.values()])
