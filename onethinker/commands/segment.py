"""`onethinker segment`: masks of what a question or a box names, in a picture or through a video."""

import sys
import time as clock
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from onethinker.commands.console import progress_bar
from onethinker.commands.options import ASKING, AskingOptions, Flags
from onethinker.core.suffixes import WRITTEN_PICTURES, WRITTEN_VIDEO
from onethinker.families.built_in import TINY
from onethinker.inference.settings import MODEL_HELP
from onethinker.storage.strict_json import to_json

if TYPE_CHECKING:
    from onethinker.core.frames import Clip
    from onethinker.inference.thought import Thought
    from onethinker.media.budget import MediaBudget
    from onethinker.segmenters.base import ObjectMasks, Segmenter
    from onethinker.tasks.segmentation import Selection

QUIET_S = 2.0
"""Work that takes longer shows how much is left."""


def segment(  # noqa: D417 (the help of --model is MODEL_HELP)
    source: Annotated[Path, tyro.conf.Positional],
    question: Annotated[str | None, tyro.conf.Positional] = None,
    *,
    model: Annotated[str | None, tyro.conf.arg(help=MODEL_HELP)] = None,
    box: tuple[float, float, float, float] | None = None,
    time: float = 0.0,
    segmenter: str = "grabcut",
    fps: float = 10.0,
    draw: Path | None = None,
    masks: Path | None = None,
    asking: Flags[AskingOptions] = ASKING,
    json: bool = False,
) -> None:
    """Segment the object that a question or a box names, and follow it through a video.

    A model answers the question with a box, points and a moment. A segmenter turns these into masks at the size of the
    source, from that moment to the end and back to the start. With --box no model is needed.

    Args:
        source: Picture or video file.
        question: What to segment, e.g. "the shorter one".
        box: Instead of a question: the box of the object, as left top right bottom in thousandths of the frame.
        time: With --box, in a video: the second at which the box applies.
        segmenter: "grabcut" (no download, not for benchmark numbers), or SAM 2 or SAM 3: facebook/sam2.1-hiera-large,
            facebook/sam3 or a folder. With facebook/sam3:text, SAM 3 finds what the words of the question name, and the
            model's box selects which of them is meant.
        fps: Masks per second of video; 60 gives a mask for every frame of most videos.
        draw: Write the picture (.png, .jpg) or video (.mp4) with the masks drawn in.
        masks: Write the masks: COCO run lengths (.json), a palette picture (.png), or a folder in the layout of
            YouTube-VOS and DAVIS.
        asking: Model and sampling options.
        json: Print one JSON object: segmenter, selection, media_problems, and for each frame its index, time and run
            lengths.
    """
    check_words(question, box, model)
    model = model or TINY
    budget, sampling = check_rate(fps), asking.sampling()
    # Mistakes that show without a model are reported before one is loaded.
    from onethinker.inference.model_checks import check_model
    from onethinker.media.damage import check_undamaged
    from onethinker.media.reading import look_at
    from onethinker.segmenters.base import load_segmenter

    clip = look_at(source)
    if asking.strict_media:
        check_undamaged([clip], [source])
    check_targets(clip.kind, draw, masks)
    if box is not None:
        check_selection(clip, box, time)
    if question is not None:
        check_model(model)
    cutter, thought = load_segmenter(segmenter, clip.kind), None
    with reporting("masks") as on_progress:
        if question is not None:
            with asking.load(model, sampling) as thinker:
                thought = thinker.ask(source, question, task="segmentation")
            found = thought.segment(cutter, budget=budget, on_progress=on_progress)
        else:
            assert box is not None
            found = cut_box(cutter, source, box, time, budget, on_progress=on_progress)
    if asking.strict_media:
        check_undamaged([found.clip], [source])
    record = as_record(found, thought)
    for problem in record["media_problems"]:
        print(f"problem: {problem}", file=sys.stderr)
    write(found, record, draw, masks)
    print(to_json(record) if json else summary(found))


def check_words(question: str | None, box: tuple[float, float, float, float] | None, model: str | None) -> None:
    """Raise ConfigError unless there is either a question or a box, and with a box no model."""
    from onethinker.core.errors import ConfigError

    if (question is None) == (box is None):
        raise ConfigError('give either a question, such as "the shorter one", or --box')
    if box is not None and model is not None:
        raise ConfigError("--box needs no model: leave out --model")


def cut_box(
    segmenter: "Segmenter",
    source: Path,
    box: tuple[float, float, float, float],
    time_s: float,
    budget: "MediaBudget",
    *,
    on_progress: Callable[[int, int], None],
) -> "ObjectMasks":
    """Return the masks of what a box typed by a user holds. Raises: ConfigError, MediaError."""
    from onethinker.media.reading import read_clip
    from onethinker.segmenters.base import cut_out

    clip = read_clip(source, budget)
    return cut_out(segmenter, clip, check_selection(clip, box, time_s), on_progress=on_progress)


def check_selection(clip: "Clip", box: tuple[float, float, float, float], time_s: float) -> "Selection":
    """Return what a box typed by a user selects. Raises: ConfigError: it is no box, or the clip has no such second."""
    from onethinker.core.errors import ConfigError
    from onethinker.inference.question import check_box
    from onethinker.tasks.segmentation import Selection

    if not 0 <= time_s <= clip.duration_s:
        raise ConfigError(f"--time must lie within the {clip.duration_s:.3f} s of {clip.name}, got {time_s:g}")
    return Selection(check_box(box), (), (), time_s)


def check_rate(fps: float) -> "MediaBudget":
    """Return how many frames get a mask. Raises: ConfigError."""
    from onethinker.core.errors import ConfigError
    from onethinker.segmenters.base import MASK_BUDGET

    if not 0 < fps <= 60:
        raise ConfigError(f"--fps must be more than 0 and at most 60, got {fps:g}")
    return MASK_BUDGET.model_copy(update={"fps": fps})


def check_targets(kind: str, draw: Path | None, masks: Path | None) -> None:
    """Refuse names that do not fit, before the work is done. Raises: ConfigError, DataError."""
    from onethinker.core.errors import ConfigError
    from onethinker.drawing.mask_files import read_meta
    from onethinker.storage.atomic import check_writable

    drawn = (*WRITTEN_PICTURES,) if kind == "image" else (WRITTEN_VIDEO,)
    if draw is not None and draw.suffix.lower() not in drawn:
        raise ConfigError(f"--draw {draw}: expected a name that ends in {' or '.join(drawn)} for this {kind}")
    if (
        masks is not None
        and masks.suffix
        and masks.suffix.lower() not in ((".json", ".png") if kind == "image" else (".json",))
    ):
        raise ConfigError(
            f"--masks {masks}: expected a .json file{', a .png picture' if kind == 'image' else ''} or a folder without"
            " suffix"
        )
    for flag, path in (("--draw", draw), ("--masks", masks)):
        if path is not None:
            check_writable(path, "file" if path.suffix else "folder", flag=flag)
            if path.suffix and not path.parent.is_dir():
                raise ConfigError(f"{flag} {path}: there is no folder {path.parent}")
    if masks is not None and not masks.suffix:
        read_meta(masks)


@contextmanager
def reporting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (done, total) that shows a bar with the time left once the work takes longer than two
    seconds.
    """
    with ExitStack() as stack:
        started_s: float | None = None
        show: Callable[[int, int], None] | None = None

        def on_progress(done: int, total: int) -> None:
            nonlocal started_s, show
            now_s = clock.monotonic()
            started_s = now_s if started_s is None else started_s
            if show is None and now_s - started_s > QUIET_S:
                show = stack.enter_context(progress_bar(what))
            if show is not None:
                show(done, total)

        yield on_progress


def as_record(found: "ObjectMasks", thought: "Thought | None") -> dict[str, Any]:
    """Return the masks, what the file lacks, and the model's completion if one was asked, as plain values."""
    from onethinker.media.damage import all_problems

    record = {**found.to_dict(), "media_problems": list(all_problems([found.clip]))}
    if thought is not None:
        record |= {
            "question": thought.question,
            "model": thought.model,
            "thinking": thought.thinking,
            "problems": list(thought.problems),
        }
    return record


def write(found: "ObjectMasks", record: dict[str, Any], draw: Path | None, masks: Path | None) -> None:
    """Write what was asked for, each file completely or not at all. Raises: MediaError, DataError."""
    from onethinker.drawing.mask_files import write_mask_folder, write_mask_json, write_mask_png
    from onethinker.media.writing import save_clip

    if masks is not None and masks.suffix.lower() == ".json":
        write_mask_json(masks, record)
    elif masks is not None and masks.suffix:
        write_mask_png(masks, found.mask(0), found.label)
    elif masks is not None:
        by_frame = {frame: found.mask(index) for index, frame in enumerate(found.clip.indices)}
        category = str(record.get("question", "object"))
        write_mask_folder(masks, Path(found.clip.name).stem, by_frame, category=category, comment=found.label)
    if draw is not None:
        save_clip(found.draw(), draw)
    for path in (masks, draw):
        if path is not None:
            print(f"wrote {path}", file=sys.stderr)


def summary(found: "ObjectMasks") -> str:
    """Return in a line where the object was found, and who found it."""
    areas, clip = found.areas(), found.clip
    if clip.kind == "image":
        return (
            f"{clip.name}: {areas[0] / (clip.source_width * clip.source_height):.1%} of the picture; by {found.label}"
        )
    shown = [time_s for time_s, area in zip(clip.times_s, areas, strict=True) if area]
    span = f", between {shown[0]:.3f} s and {shown[-1]:.3f} s" if shown else ""
    return f"{clip.name}: in {len(shown)} of {len(areas)} frames{span}; by {found.label}"
