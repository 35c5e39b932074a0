"""A teacher that errs in ways of its own: what a cold start learns from before RL, as written reasonings often are.

The truth of a sample stays exact; only the response to learn from is the teacher's. Its faults are systematic, so
a model takes them over, and of different size from sample to sample, so its answers differ and RL can choose.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from onethinker.core.geometry import FULL
from onethinker.core.grammar import parse_json, parse_response
from onethinker.core.sample import Sample
from onethinker.data.synthetic.questions import compact_json, conclude, read_option

LOOSENESS = (0.05, 0.45)
"""By which part of its width and height a box is moved outward on each side, drawn evenly in between."""
LATENESS_S = (0.0, 0.5, 1.0, 1.5)
"""By how many seconds a span begins too late, all equally likely; it ends where it should."""
MISCOUNTED = 0.5
"""How often a count of 2 or more is one too high."""
EXCESS = (0.0, 0.5)
"""By which part a measured number is too large, drawn evenly in between."""
WRONG_CHOICES = 0.3
"""How often another option than the right one is chosen."""
SHORT_CAPTIONS = 0.5
"""How often a caption leaves out the thing that it names last."""

Random = np.random.Generator
Json = dict[str, Any]


def taught(sample: Sample, seed: int = 0) -> Sample:
    """Return the sample with the response of the teacher that errs; the same sample and seed, the same faults.

    OCR and math are answered rightly: a word or a sum has no systematic fault.

    Raises: ValueError: the sample has no response, as records that were not drawn here may.
    """
    if sample.response is None:
        raise ValueError(f"{sample.id}: has no response that a teacher could have written")
    response = parse_response(sample.response)
    err = _FAULTS.get(sample.problem_type)
    if err is None:
        return sample
    rng = np.random.default_rng([seed, *sample.id.encode()])
    thinking, answer = err(rng, sample, response.thinking, response.answer)
    return replace(sample, response=f"<think>{thinking}</think><answer>{answer}</answer>")


def _misplace(rng: Random, sample: Sample, thinking: str, answer: str) -> tuple[str, str]:
    """Loosen every box by the same part, and begin the span too late."""
    places = parse_json(answer)
    assert isinstance(places, dict)
    if isinstance(places.get("time"), list):
        places = _delay(rng, places)
    part = rng.uniform(*LOOSENESS)
    boxes = places.get("boxes")
    if isinstance(boxes, dict):
        places["boxes"] = {second: _loosen(box, part) for second, box in boxes.items()}
    elif boxes is not None:
        places["boxes"] = _loosen(boxes, part)
    return thinking, compact_json(places)


def _loosen(box: list[int], part: float) -> list[int]:
    x1, y1, x2, y2 = box
    dx, dy = part * (x2 - x1), part * (y2 - y1)
    return [round(min(max(value, 0), FULL)) for value in (x1 - dx, y1 - dy, x2 + dx, y2 + dy)]


def _delay(rng: Random, places: Json) -> Json:
    """Return an answer whose span begins too late, with the boxes that are still within; as it was where none would be
    left.
    """
    start, end = places["time"]
    late = start + float(rng.choice(LATENESS_S))
    delayed = {**places, "time": [late, end]}
    if "boxes" in places:
        delayed["boxes"] = {second: box for second, box in places["boxes"].items() if int(second) >= late}
    return delayed if late < end and delayed.get("boxes", True) else places


def _miscount(rng: Random, sample: Sample, thinking: str, answer: str) -> tuple[str, str]:
    wrong = answer.isdecimal() and int(answer) > 1 and rng.random() < MISCOUNTED
    return (thinking, str(int(answer) + 1)) if wrong else (thinking, answer)


def _exceed(rng: Random, sample: Sample, thinking: str, answer: str) -> tuple[str, str]:
    value = float(answer) * (1 + rng.uniform(*EXCESS))
    return thinking, str(round(value)) if answer.isdecimal() else str(round(2 * value) / 2)


def _choose_wrongly(rng: Random, sample: Sample, thinking: str, answer: str) -> tuple[str, str]:
    """Read the options up to a wrong one as if that were right, and answer that."""
    letters = [option[0] for option in sample.options]
    others = [letter for letter in letters if letter != answer]
    if not others or rng.random() >= WRONG_CHOICES:
        return thinking, answer
    chosen = str(rng.choice(others))
    seen = [line for line in thinking.splitlines() if not line.startswith(sample.options)]
    right, wrong = (sample.options[letters.index(letter)] for letter in (answer, chosen))
    seen = [line.replace(conclude(right[3:]), conclude(wrong[3:])) for line in seen]
    read = [read_option(option) for option in sample.options[: letters.index(chosen)]]
    return "\n".join([*seen, *read, read_option(wrong, is_right=True)]), chosen


def _leave_out(rng: Random, sample: Sample, thinking: str, answer: str) -> tuple[str, str]:
    named, comma, last = answer.rpartition(" and " if " and " in answer else ", ")
    return (thinking, f"{named}.") if comma and last and rng.random() < SHORT_CAPTIONS else (thinking, answer)


_FAULTS: dict[str, Callable[[Random, Sample, str, str], tuple[str, str]]] = {
    "multiple choice": _choose_wrongly,
    "numerical": _miscount,
    "regression": _exceed,
    "open-ended": _leave_out,
    "spatial grounding": _misplace,
    "segmentation": _misplace,
    "temporal grounding": _misplace,
    "spatial-temporal grounding": _misplace,
    "tracking": _misplace,
}
