"""The release's evaluation form: one file in "path", and beside a video one picture in "additional_path".

Source: Evaluation/Eval/eval_bench.py of the release.
"""

from pathlib import Path

from onethinker.core.errors import DataError
from onethinker.core.sample import Sample
from onethinker.data.formats.form import Form, need_question, record_with, with_box_in_words, without
from onethinker.data.formats.own import read
from onethinker.data.formats.records import Record


def write(sample: Sample, root: Path) -> Record:
    """Return a sample in the evaluation form. Raises: DataError: it has no place for all media, or for their order."""
    need_question(sample, "evaluation")
    sample = with_box_in_words(sample)
    record = record_with(sample, root, ("solution", "path", "additional_path"))
    images, videos = record.get("images", []), record.get("videos", [])
    if not sample.media:
        raise DataError("there is no picture and no video, but the evaluation form needs one")
    if len(videos) > 1 or len(images) > 1:
        lost = [*videos[1:], *images[1:]]
        raise DataError(f"the evaluation form holds one picture, one video, or one of each; lost: {', '.join(lost)}")
    if videos and images and str(record["problem"]).startswith("<image>"):
        raise DataError("the evaluation form shows the video before the picture; lost: that the picture comes first")
    own: Record = {"problem": sample.problem, "solution": record["answer"], "path": (videos or images)[0]}
    if videos and images:
        own |= {"additional_path": images[0], "data_type": "video-image"}
    return {**without(record, "images", "videos", "answer"), **own}


EVALUATION = Form(
    "evaluation", "the release's evaluation form", lambda record: "path" in record, read, write, can_embed=False
)
