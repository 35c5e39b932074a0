"""The process in which answers are graded: it reads a question a line, answers a grade a line, and may be killed at any
time.

Started by `rewards.py`. It loads the tasks and nothing of training; grading mathematics starts the process that it
always has.
"""

import json
import os
import sys
import traceback
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from onethinker.core.errors import OneThinkerError
from onethinker.processes.endings import end_with_parent
from onethinker.storage.strict_json import json_line
from onethinker.tasks import find_task, grade_response

READY = {"ready": True}


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Return {"grade": …}, or what was raised: {"error": [class, text]} on purpose, {"crash": traceback} by mistake."""
    try:
        task = find_task(question["problem_type"], question["data_type"])
        grade = grade_response(
            question["response"],
            question["truth"],
            task=task,
            options=tuple(question["options"]),
            profile=question["profile"],
        )
    except OneThinkerError as error:
        return {"error": [type(error).__name__, str(error)]}
    except Exception:
        # Whatever it is, the training process raises it: a mistake of ours is never a grade.
        return {"crash": traceback.format_exc()}
    return {"grade": asdict(grade)}


def serve() -> None:
    """Answer questions from stdin on stdout until it closes or the process of the number in the command line ends."""
    end_with_parent(int(sys.argv[1]))
    replies = os.dup(1)
    os.dup2(2, 1)  # nothing that a library prints may look like a grade
    with suppress(BrokenPipeError):  # whoever asked is gone
        os.write(replies, json_line(READY))
        for line in sys.stdin.buffer:
            reply = memoryview(json_line(answer(json.loads(line))))
            while reply:
                reply = reply[os.write(replies, reply) :]


if __name__ == "__main__":
    serve()
