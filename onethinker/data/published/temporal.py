"""Moments in videos as published: Charades-STA's lines, ActivityNet Captions' objects and ActivityNet-RTL's questions.

Charades-STA     3MSZA 24.3 30.4##person turn a light on.
ActivityNet      {"v_uqiMw7tQ1Cc": {"duration": 55.1, "timestamps": [[0.3, 12.8], …], "sentences": ["A man sits …", …]}}
ActivityNet-RTL  [{"question_id": 0, "vid": "uqiMw7tQ1Cc", "duration": 55.1, "question": "When is …?",
                   "answer": "<0.3> <12.8> He is sitting, so …"}]
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from onethinker.core.errors import AnswerError, DataError
from onethinker.core.grammar import show
from onethinker.core.sample import Sample
from onethinker.core.values import as_span
from onethinker.data.published.files import (
    Bad,
    field,
    find_folder,
    find_video,
    load_json,
    load_lines,
    number_field,
    refuse,
)
from onethinker.storage.strict_json import to_json

_ASKED = "When does this happen in the video: "
_RTL_SECONDS = re.compile(r"<([0-9]+\.?[0-9]*|\.[0-9]+)>")
CHARADES_LINE = re.compile(r"(\S+) ([0-9.]+) ([0-9.]+)##(.+)")


def read_charades_sta(path: Path, root: Path, bad: Bad = refuse) -> Iterator[Sample]:
    """Yield a sample for every line of Charades-STA. Raises: DataError: names the file and the line."""
    folder = find_folder(root, "Charades_v1_480", "Charades_v1")
    for number, line in enumerate(load_lines(path), 1):
        if not line.strip():
            continue
        try:
            match = CHARADES_LINE.fullmatch(line.strip())
            if match is None:
                raise DataError(f"{path}, line {number}: expected 'VIDEO START END##sentence', got {show(line)}")
            video, start, end, sentence = match.groups()
            sample = _sample(f"{number}", find_video(folder, video), sentence, [start, end], f"{path}, line {number}")
        except DataError as error:
            bad(error)
            continue
        yield sample


def read_activitynet_captions(path: Path, root: Path, bad: Bad = refuse) -> Iterator[Sample]:
    """Yield a sample for every sentence of ActivityNet Captions; ends beyond the video, or before the start, are put
    right.

    Such rows are few. 2D-TAN and others cut the first; the second are spans whose ends are swapped.

    Raises: DataError: names the file, the video and the sentence.
    """
    folder = find_folder(root, "activitynet/videos", "activitynet")
    videos = load_json(path)
    if not isinstance(videos, dict):
        raise DataError(f"{path}: expected an object of videos, got {show(videos)}")
    for video, record in videos.items():
        where = f"{path}, {video!r}"
        try:
            duration_s = number_field(record, "duration", where)
            spans, sentences = field(record, "timestamps", list, where), field(record, "sentences", list, where)
            if len(spans) != len(sentences):
                raise DataError(f"{where}: {len(spans)} 'timestamps' for {len(sentences)} 'sentences'")
        except DataError as error:
            bad(error)
            continue
        for index, (span, sentence) in enumerate(zip(spans, sentences, strict=True)):
            location = f"{where}, sentence {index}"
            try:
                if not isinstance(sentence, str) or not sentence.strip():
                    raise DataError(f"{location}: 'sentences' must be texts, got {show(sentence)}")
                if (
                    not isinstance(span, list)
                    or len(span) != 2
                    or not all(isinstance(second, int | float) for second in span)
                ):
                    raise DataError(f"{location}: 'timestamps' must be [start, end], got {show(span)}")
                inside = sorted(min(max(0.0, float(second)), duration_s) for second in span)
                sample = _sample(f"{video}-{index}", find_video(folder, video), sentence, inside, location)
            except DataError as error:
                bad(error)
                continue
            yield sample


def read_activitynet_rtl(path: Path, root: Path, bad: Bad = refuse) -> Iterator[Sample]:
    """Yield a sample for every question of ActivityNet-RTL: its span is the first two seconds in angle brackets in the
    answer, cut to the video; the questions of one video are a group.

    Source: LITA, lita/eval/eval_model_rtl.py, which averages over videos; VideoMind reads the same file
    ("activitynet_rtl").

    Raises: DataError: names the file and the question.
    """
    folder = find_folder(root, "activitynet/videos", "activitynet")
    questions = load_json(path)
    if not isinstance(questions, list):
        raise DataError(f"{path}: expected a list of questions, got {show(questions)}")
    for index, record in enumerate(questions):
        where = f"{path}, question {index}"
        try:
            duration_s = number_field(record, "duration", where)
            video, answer = field(record, "vid", str, where), field(record, "answer", str, where)
            question = field(record, "question", str, where)
            seconds = [float(second) for second in _RTL_SECONDS.findall(answer)[:2]]
            if len(seconds) != 2 or not question.strip():
                raise DataError(f"{where}: 'answer' must have two seconds as <12.5>, got {show(answer)}")
            inside = sorted(min(second, duration_s) for second in seconds)
            sample = _sample(f"{index}", find_video(folder, f"v_{video}"), "", inside, where)
            sample = replace(sample, problem=question.strip(), group=video)
        except DataError as error:
            bad(error)
            continue
        yield sample


def sentence_of(problem: str) -> str:
    """Return the sentence whose moment a question asks for, which may be the question itself.

    >>> sentence_of('When does this happen in the video: "a man sits"')
    'a man sits'
    """
    return problem.removeprefix(_ASKED)[1:-1] if problem.startswith(_ASKED) else problem


def grouped_by_video(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Yield samples, those about one video as a group."""
    for sample in samples:
        yield replace(sample, group=str(sample.media[0]))


def _sample(name: str, video: Path, sentence: str, span: list[float] | list[str], where: str) -> Sample:
    try:
        start, end = as_span([float(second) for second in span], "'time'")
    except (ValueError, AnswerError) as error:
        raise DataError(f"{where}: {error}") from error
    problem = f'{_ASKED}"{sentence.strip()}"'
    return Sample(
        name,
        problem,
        "temporal grounding",
        "video",
        (video,),
        truth=to_json({"time": [start, end]}),
    )
