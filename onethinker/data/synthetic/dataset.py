"""Synthetic samples as files: pictures, videos and records in the released form."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from onethinker.core.errors import DataError
from onethinker.core.frames import Clip
from onethinker.core.sample import Sample
from onethinker.data.synthetic.painting import FPS
from onethinker.data.synthetic.samples import make_sample, make_unseeing
from onethinker.data.synthetic.teacher import taught
from onethinker.data.synthetic.worlds import Responses, WorldName
from onethinker.storage.atomic import folder_atomically, writing

_RECORDS = "samples.jsonl"


def write_dataset(
    folder: Path,
    *,
    num_samples: int,
    seed: int = 0,
    split: str = "train",
    side_px: int | None = None,
    world: WorldName = "shapes",
    responses: Responses = "true",
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the first samples of an endless list into a new folder and return the path of its samples.jsonl.

    Pictures are PNG (exact), clips MP4 (truth stays that of the painted frames). The folder appears when it is
    complete, or not at all. `responses` says what SFT is to learn from (`teacher.py`); truths are exact all the same.
    `on_progress` hears how many samples are written, and of how many.

    Raises: DataError when there is something in the folder already.
    """
    from onethinker.data.formats.released import write_samples

    if num_samples < 1:
        raise DataError(f"a dataset needs at least 1 sample, got {num_samples}")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(f"{folder}: is there already; name a new or an empty folder")
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)

    def make(index: int) -> Sample:
        make_one = make_unseeing if responses == "formats" else make_sample
        sample = make_one(seed, index, split=split, side_px=side_px, world=world)
        return taught(sample, seed) if responses == "erring" else sample

    with folder_atomically(folder) as unfinished:
        (unfinished / "media").mkdir()
        write_samples(unfinished / _RECORDS, _saved_samples(unfinished, num_samples, make, on_progress))
    return folder / _RECORDS


def _saved_samples(
    folder: Path,
    num_samples: int,
    make: Callable[[int], Sample],
    on_progress: Callable[[int, int], None] | None,
) -> Iterator[Sample]:
    """Yield samples whose media lie in the folder, each saved just before it is yielded."""
    from onethinker.media.writing import save_picture, write_video

    for index in range(num_samples):
        sample = make(index)
        saved = []
        for clip in sample.media:  # one, or none where the scene is told in words
            assert isinstance(clip, Clip)
            path = folder / "media" / f"{index:06d}.{'png' if clip.kind == 'image' else 'mp4'}"
            if clip.kind == "image":
                save_picture(clip.frames[0], path)
            else:
                write_video(path, clip.frames, fps=FPS)
            saved.append(path)
        yield replace(sample, media=tuple(saved))
        if on_progress:
            on_progress(index + 1, num_samples)
