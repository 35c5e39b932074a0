"""The process in which answers are graded: it reads a question a line, answers a grade a line, and may be killed at any
time.

Started by `grader.py`. It loads the tasks and nothing of training; grading mathematics starts the process that it
always has.
"""

import traceback
from dataclasses import asdict
from typing import Any

from onethinker.core.errors import OneThinkerError
from onethinker.processes.line_process import serve
from onethinker.rewards.extra import AnswerGroup, add_rewards
from onethinker.storage.strict_json import json_line
from onethinker.tasks import Grade, Reader, find_task, grade_response


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Return {"grade": …} or, for a group, {"grades": […]}, or what was raised: {"error": [class, text]} on purpose,
    {"crash": traceback} by mistake.
    """
    try:
        if "group" in question:
            return {"grades": [asdict(grade) for grade in add_rewards(_group(question["group"]), question["weights"])]}
        task = find_task(question["problem_type"], question["data_type"])
        grade = grade_response(
            question["response"],
            question["truth"],
            task=task,
            options=tuple(question["options"]),
            reward_scheme=question["reward_scheme"],
            reader=Reader(frame_px=question["frame_px"]),
        )
    except OneThinkerError as error:
        return {"error": [type(error).__name__, str(error)]}
    except Exception:
        # Whatever it is, the training process raises it: a mistake of ours is never a grade.
        return {"crash": traceback.format_exc()}
    return {"grade": asdict(grade)}


def _group(fields: dict[str, Any]) -> AnswerGroup:
    grades = tuple(Grade(**grade) for grade in fields.pop("grades"))
    lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    return AnswerGroup(**{**fields, **lists, "grades": grades})


if __name__ == "__main__":
    serve(lambda question: [json_line(answer(question))])
