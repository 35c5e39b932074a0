"""The release's RL form: our own record with the two fields that its reward code needs, as its loader takes media.

Source: EasyR1 fork of the release, verl/utils/dataset.py and verl/workers/reward/function.py.
"""

from pathlib import Path

from onethinker.core.errors import DataError
from onethinker.core.sample import Sample
from onethinker.data.formats.form import Form, need_question, record_with, with_box_in_words, without
from onethinker.data.formats.records import Record

_TEXT = "problem_reserved_text"
"""The question without placeholders, for the reward model."""


def read(record: Record, root: Path) -> Record:
    """Return a record without the copy of its question."""
    question, copy = record.get("problem"), record.get(_TEXT)
    if isinstance(question, str) and isinstance(copy, str) and question.endswith(copy):
        return without(record, _TEXT)
    return record


def write(sample: Sample, root: Path) -> Record:
    """Return a sample in the release's form. Raises: DataError: its loader would lose media."""
    need_question(sample, "rl")
    sample = with_box_in_words(sample)
    record = {_TEXT: sample.problem, **record_with(sample, root)}
    videos = record.get("videos", [])
    if not sample.media:
        raise DataError("there is no picture and no video, and the release's loader fails on questions without media")
    if videos and record.get("images"):
        raise DataError(f"there are both pictures and videos: the release's loader would lose {', '.join(videos)}")
    if len(videos) > 1:
        raise DataError(
            f"there are {len(videos)} videos: the release's loader would lose all but the last,"
            f" {', '.join(videos[:-1])}"
        )
    return record


RL = Form("rl", "the release's RL form", lambda record: "problem" in record and _TEXT in record, read, write)
