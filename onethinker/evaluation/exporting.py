"""Answers of `onethinker ask` and `evaluate` as annotations: what each places in its medium, for other tools."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from onethinker.core.errors import DataError, MediaError
from onethinker.core.frames import Clip
from onethinker.core.masks import decode_rle
from onethinker.core.sample import Medium, Sample
from onethinker.core.sources import VideoPart
from onethinker.data.annotation_files import Marked, Tool
from onethinker.data.annotations import LABEL, Annotation
from onethinker.data.corrections import Find, asked_sample, said_frame_px, said_text
from onethinker.data.formats.records import read_records
from onethinker.evaluation.masking import newest_masks
from onethinker.evaluation.results import read_results, read_settings
from onethinker.media.reading import look_at
from onethinker.storage.folders import RESULTS_FILE
from onethinker.tasks import Reader, read_response, task_of


@dataclass
class Exported:
    """How many answers there were, those that are written, and why others are not."""

    rows: int = 0
    marked: list[Marked] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def export_answers(
    run: Path, tool: Tool, output: Path, *, find: Find | None = None, on_progress: Callable[[int], None] | None = None
) -> Exported:
    """Write the answers in a JSONL file of `ask`, or a folder of `evaluate`, in the form of another tool.

    `find` gives the sample that was asked about by its id, which a folder of `evaluate` needs. An answer that cannot be
    read, or that the form has no place for, is left out. Nothing is written where none is left.

    Raises: DataError: a row is no answer. CheckpointError: the folder is none of `evaluate`. StorageError.
    """
    done = Exported()
    look = lru_cache(maxsize=64)(look_at)
    for where, found in _of_folder(run, find) if run.is_dir() else _of_file(run, find):
        done.rows += 1
        try:
            marked = _marked(found, look)
            why = tool.refuses(marked)
        except (DataError, MediaError) as error:
            done.left_out.append(f"{where}: {error}")
        else:
            done.left_out += [f"{where}: {why}"] if why else []
            done.marked += [] if why else [marked]
        if on_progress:
            on_progress(done.rows)
    if done.marked:
        tool.write(output, done.marked)
    return done


@dataclass(frozen=True)
class _Answer:
    sample: Sample
    text: str
    reader: Reader
    model: str
    masks: dict[str, object]


def _of_file(path: Path, find: Find | None) -> Iterator[tuple[str, _Answer]]:
    """Yield the answers in a file of `ask`, or results.jsonl."""
    for row, record in read_records(path):
        where = f"{path}, row {row}"
        try:
            sample = asked_sample(record, path, row, find)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        yield (
            where,
            _Answer(
                sample, said_text(record), Reader(frame_px=said_frame_px(record)), str(record.get("model") or ""), {}
            ),
        )


def _of_folder(folder: Path, find: Find | None) -> Iterator[tuple[str, _Answer]]:
    """Yield the answers of an evaluation with the masks of its last segmenter."""
    if find is None:
        raise DataError(
            f"{folder}: results of an evaluation do not name the media; name the file of samples with --data"
        )
    masks = {made.result_key: made.masks or {} for made in newest_masks(folder)}
    model = str(read_settings(folder)["settings"].get("model") or "")
    for result in read_results(folder).values():
        where = f"{folder / RESULTS_FILE}, {result.sample_id!r}"
        sample = find(result.sample_id)
        if sample is None:
            raise DataError(f"{where}: this sample is not in --data")
        yield where, _Answer(sample, result.response, result.reader, model, dict(masks.get(result.key, {})))


def _marked(answer: _Answer, look: Callable[[Medium], Clip]) -> Marked:
    """Return what an answer places. Raises: DataError: it cannot be read. MediaError: its medium cannot."""
    sample, task = answer.sample, task_of(answer.sample)
    reading = read_response(answer.text, task, sample.options, answer.reader)
    if reading.answer is None:
        raise DataError(f"no answer: {'; '.join(reading.reasons)}")
    if not sample.media:
        raise DataError("the question has no picture or video")
    if part := next((medium for medium in sample.media if isinstance(medium, VideoPart)), None):
        raise DataError(f"{part}: is only a part of a video, but the other tool counts the frames of the whole file")
    clips = [look(medium) for medium in sample.media]
    index = next((number for number, clip in enumerate(clips) if clip.kind == "video"), 0)
    medium = sample.media[index]
    annotation = Annotation(
        clip=clips[index],
        name=str(medium) if isinstance(medium, Path) else clips[index].name,
        question=sample.problem,
        text=reading.text,
        boxes=task.boxes(reading.answer),
        span=task.span(reading.answer),
        points=task.points(reading.answer),
        model=answer.model,
        label=str(sample.extra.get("category") or LABEL),
    )
    return Marked(sample.id, annotation, {name: decode_rle(rle) for name, rle in answer.masks.items()})
