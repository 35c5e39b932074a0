"""Responses to each task with what they are worth by themselves, for the rewards of every trainer."""

from dataclasses import dataclass

from onethinker.core.sample import Sample
from onethinker.tasks import all_tasks, grade_response

OPTIONS = ("A. a cat", "B. a dog")
RIGHT, NO_FORMAT, EMPTY = "<think>Seen.</think><answer>{}</answer>", "<answer>{}</answer>", "I do not know."


@dataclass(frozen=True)
class Case:
    sample: Sample
    response: str
    reward: float


def cases() -> list[Case]:
    """Every task, answered right, right without a think block, and not at all."""
    found = []
    for task in all_tasks():
        options = OPTIONS if task.problem_type == "multiple choice" else ()
        truth = "A" if options else task.example
        sample = Sample(task.key, "What is seen?", task.problem_type, task.data_types[0], (), truth, options)
        for form in (RIGHT, NO_FORMAT, EMPTY):
            response = form.format(truth)
            grade = grade_response(response, truth, task=task, options=options)
            found.append(Case(sample, response, grade.reward))
    return found


def columns(found: list[Case]) -> dict[str, list]:
    """The columns of a table of the cases."""
    samples = [case.sample for case in found]
    return {
        "problem_type": [sample.problem_type for sample in samples],
        "data_type": [sample.data_type for sample in samples],
        "options": [list(sample.options) for sample in samples],
        "answer": [f"<answer>{sample.truth}</answer>" for sample in samples],
    }
