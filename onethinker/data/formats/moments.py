"""Moments of videos with a sentence each, in the files of Charades-STA and ActivityNet Captions."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from onethinker.core.errors import DataError, MediaError
from onethinker.core.grammar import show
from onethinker.core.sample import Sample
from onethinker.core.sources import VideoPart
from onethinker.data.formats.form import Read, SetForm
from onethinker.data.formats.published import found_in, numbered
from onethinker.data.formats.records import dump_record, read_members
from onethinker.data.published.files import load_lines
from onethinker.data.published.temporal import CHARADES_LINE, read_activitynet_captions, read_charades_sta, sentence_of
from onethinker.media.headers import read_header
from onethinker.storage.atomic import opened_atomically, write_atomically, writing
from onethinker.tasks import task_of

TASK = "temporal grounding"
Moment = tuple[str, float, float, str, float]
"""Video, start, end, sentence, and length of the video, 0 where that is not known."""


def is_charades(path: Path) -> bool:
    """Tell whether the first line of a text file is a moment."""
    with suppress(OSError, UnicodeDecodeError):
        if path.suffix.lower() == ".txt":
            with path.open(encoding="utf-8-sig") as file:
                return CHARADES_LINE.fullmatch(file.readline().strip()) is not None
    return False


def is_activitynet(path: Path) -> bool:
    """Tell whether the first video of a JSON object has moments."""
    with suppress(DataError):
        if path.suffix.lower() == ".json":
            return any(
                isinstance(video, dict) and {"timestamps", "sentences"} <= video.keys()
                for _, video in islice(read_members(path), 1)
            )
    return False


def read_charades(path: Path, root: Path, split: str) -> Iterator[Read]:
    """Yield the sample of each line. Raises: DataError: the file cannot be read."""
    load_lines(path)
    yield from numbered(lambda bad: found_in(root, read_charades_sta(path, root, bad)))


def read_activitynet(path: Path, root: Path, split: str) -> Iterator[Read]:
    """Yield the sample of each sentence. Raises: DataError: the file cannot be read."""
    yield from numbered(lambda bad: found_in(root, read_activitynet_captions(path, root, bad)))


def write(sample: Sample, root: Path) -> Moment:
    """Return the moment of a sample, of a video whose length is not asked for. Raises: DataError: it has none."""
    if sample.problem_type != TASK or len(sample.media) != 1 or not sample.truth:
        raise DataError(f"a moment is a {TASK} question about one video with its time; this is {sample.problem_type}")
    task = task_of(sample)
    span = task.span(task.parse_truth(sample.truth))
    assert span is not None
    [video] = sample.media
    if not isinstance(video, Path):
        lost = f"that only {video} is meant ('clips')" if isinstance(video, VideoPart) else str(video.name)
        raise DataError(f"a moment is of a whole video file; lost: {lost}")
    sentence = " ".join(sentence_of(sample.problem).split())
    return video.stem, span.start, span.end, sentence, 0.0


def write_line(sample: Sample, root: Path) -> Moment:
    """Return the moment of a sample that a line can hold. Raises: DataError."""
    moment = write(sample, root)
    if CHARADES_LINE.fullmatch(_line(moment)) is None:
        raise DataError(f"a line is VIDEO START END##sentence, the video without spaces, got {show(_line(moment))}")
    return moment


def write_captions(sample: Sample, root: Path) -> Moment:
    """Return the moment of a sample with the length of the video. Raises: DataError."""
    name, start, end, sentence, _ = write(sample, root)
    [video] = sample.media
    assert isinstance(video, Path)
    try:
        length_s = read_header(video).duration_s
    except MediaError as error:
        raise DataError(f"'duration' must be the length of the video: {error}") from error
    if not length_s:
        raise DataError(f"'duration' must be the length of the video, but the header of {video} has none")
    return name, start, end, sentence, length_s


def _line(moment: Moment) -> str:
    """Return a line of Charades-STA; seconds to the microsecond, without zeros at the end."""
    video, start, end, sentence, _ = moment
    first, last = (f"{second:.6f}".rstrip("0").rstrip(".") for second in (start, end))
    return f"{video} {first} {last}##{sentence}"


def write_charades(path: Path, made: Iterable[Moment]) -> None:
    """Write a line a moment, whole or not at all. Raises: StorageError."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with opened_atomically(path) as file:
        for moment in made:
            file.write(f"{_line(moment)}\n".encode())


def write_activitynet(path: Path, made: Iterable[Moment]) -> None:
    """Write the moments by video, whole or not at all. Raises: StorageError."""
    videos: dict[str, dict[str, object]] = {}
    spans: dict[str, list[list[float]]] = {}
    sentences: dict[str, list[str]] = {}
    for video, start, end, sentence, length_s in made:
        spans.setdefault(video, []).append([start, end])
        sentences.setdefault(video, []).append(sentence)
        videos[video] = {"duration": length_s, "timestamps": spans[video], "sentences": sentences[video]}
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, dump_record(videos) + "\n")


CHARADES = SetForm(
    "charades-sta",
    "Charades-STA's lines of moments",
    is_charades,
    read_charades,
    write_line,
    write_charades,
    has_bare_names=True,
)
ACTIVITYNET = SetForm(
    "activitynet-captions",
    "ActivityNet Captions, moments by video",
    is_activitynet,
    read_activitynet,
    write_captions,
    write_activitynet,
    has_bare_names=True,
)
