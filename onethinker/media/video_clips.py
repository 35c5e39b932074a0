"""A video file to the frames that are shown of it, and to what is damaged or missing among them."""

from collections.abc import Callable, Sequence
from typing import IO, Any

import numpy as np

from onethinker.core.errors import MediaError
from onethinker.core.frames import Clip
from onethinker.core.sources import VideoPart
from onethinker.media.budget import MediaBudget
from onethinker.media.damage import cut_problems, decoding_problems, size_problems
from onethinker.media.files import SharedFile, joined_kind
from onethinker.media.gop import decode_groups
from onethinker.media.packets import Scan, scan_video
from onethinker.media.sampling import choose_frames, target_times
from onethinker.media.sizing import frame_size
from onethinker.media.videos import converted, decode_frames, open_video, quarter_turns

Keep = Callable[[int, Any], None]


def read_video(file: IO[bytes], name: str, budget: MediaBudget, part: VideoPart | None = None) -> Clip:
    """Return what the model sees of a video, or of a part of it, whose times then begin at 0; what cannot be decoded is
    left out and named.

    Raises: MediaError
    """
    shared = SharedFile(file)
    scan = _scan(shared)
    start_s, duration_s = _extent(scan.duration_s, part)
    targets = target_times(duration_s, budget)
    # A part is looked at as a video of its own would be: no frame from outside is shown.
    shown = range(len(scan.times_s)) if part is None else _between(scan.times_s, start_s, start_s + duration_s)
    times_s = [time_s - start_s for time_s in scan.times_s]
    wanted = [shown[n] for n in choose_frames([times_s[index] for index in shown], targets)]
    damaged: set[int] = set()
    with open_video(shared) as (container, stream):
        first = next((frame for _, frame in decode_frames(container, stream, scan, wanted, damaged)), None)
    if first is None:
        raise MediaError("has a video of which no frame can be decoded")
    turns = quarter_turns(first)
    source_size = (first.width, first.height) if turns % 2 == 0 else (first.height, first.width)
    size = frame_size(*source_size, len(targets), budget)
    frames = np.empty((len(wanted), size[1], size[0], 3), np.uint8)
    shapes: set[tuple[int, int]] = set()

    def keep(position: int, frame: Any) -> None:
        shapes.add((frame.width, frame.height))
        frames[position] = converted(frame, size, turns)

    chosen = _decode(shared, scan, wanted, keep, damaged)
    return Clip(
        "video",
        frames[: len(chosen)],
        tuple(times_s[n] for n in chosen),
        tuple(chosen),
        *source_size,
        duration_s,
        name,
        (*_file_problems(shared, scan), *decoding_problems(scan, wanted, chosen, damaged), *size_problems(shapes)),
    )


def _scan(shared: SharedFile) -> Scan:
    """Return what the packets of a file tell. Raises: MediaError: it is several files, of which the first can be
    read.
    """
    with open_video(shared) as (container, stream):
        scan, container_format = scan_video(container, stream), container.format.name
    if kind := joined_kind(shared, container_format, scan.last_position):
        raise MediaError(
            f"is several {kind} files joined byte by byte, of which only the first {scan.duration_s:.2f} s can be read;"
            " join the files with ffmpeg's concat instead"
        )
    return scan


def _decode(shared: SharedFile, scan: Scan, wanted: Sequence[int], keep: Keep, damaged: set[int]) -> Sequence[int]:
    """Hand the wanted frames, or their neighbours, to `keep` by position and return their indices.

    Raises: MediaError: nothing of a further part is among them.
    """
    if decode_groups(shared, scan, wanted, keep, damaged):
        return wanted
    chosen: list[int] = []
    with open_video(shared) as (container, stream):
        for index, frame in decode_frames(container, stream, scan, wanted, damaged):
            keep(len(chosen), frame)
            chosen.append(index)
    for joint in scan.joints:
        after = [index for index in wanted if scan.pts[index] >= joint]
        if after and not set(after) & set(chosen):
            at_s = (joint - scan.pts[0]) * scan.tick_s
            raise MediaError(
                f"is joined from parts that one decoder cannot read: nothing after {at_s:.2f} s can be shown; encode it"
                " again"
            )
    return chosen


def _file_problems(shared: SharedFile, scan: Scan) -> list[str]:
    """Return what is wrong with a video as a file: cut short, unlike its header, or joined out of several."""
    problems = [*cut_problems(shared)]
    if scan.joints:
        at_s = ", ".join(f"{(joint - scan.pts[0]) * scan.tick_s:.2f} s" for joint in scan.joints[:3])
        more = f" and {len(scan.joints) - 3} more" if len(scan.joints) > 3 else ""
        problems.append(f"its times start again at {at_s}{more}: the parts are shown one after the other")
    return [*problems, *scan.problems]


def _extent(duration_s: float, part: VideoPart | None) -> tuple[float, float]:
    """Return the second at which a part of a video begins, and how long it is. Raises: MediaError: it is empty."""
    if part is None:
        return 0.0, duration_s
    end_s = duration_s if part.end_s is None else min(part.end_s, duration_s)
    if not 0 <= part.start_s < end_s:
        asked = f"{part.start_s:g} to {'the end' if part.end_s is None else f'{part.end_s:g} s'}"
        raise MediaError(f"has nothing from second {asked}: it lasts {duration_s:.2f} s")
    return part.start_s, end_s - part.start_s


def _between(times_s: Sequence[float], start_s: float, end_s: float) -> Sequence[int]:
    """Return the indices of the frames from one second to another. Raises: MediaError: there are none."""
    inside = [index for index, time_s in enumerate(times_s) if start_s <= time_s <= end_s]
    if not inside:
        raise MediaError(f"shows no frame from second {start_s:g} to {end_s:g}")
    return inside
