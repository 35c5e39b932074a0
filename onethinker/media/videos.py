"""Videos through PyAV: the true time of every frame from the container, then only those decoded that are shown.

A file is read twice. The first pass reads the packets without decoding them, which gives all times, the number of
frames and the length even where the header has none. The second decodes what is needed: `gop.py` quickly where the
file is sound and has an index, else `decode_frames`, which reads from start to end and makes the best of what is
damaged.
"""

import math
import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition
from av.video.reformatter import Interpolation

from onethinker.core.errors import MediaError
from onethinker.media.files import Reader, SharedFile, why_unreadable
from onethinker.media.packets import Scan, continuous, packets_of, time_of

Frame = npt.NDArray[np.uint8]

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf"
"""Containers that may be opened; playlists and other formats that name further files are not among them."""
MAX_FRAME_PIXELS = 36_000_000
"""A larger frame is refused; 8K video has 33 million pixels."""
THREADS = min(4, os.cpu_count() or 1)
"""Threads that decode one video."""
_SCALING = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)


@contextmanager
def open_video(file: SharedFile, *, threads: int = THREADS) -> Iterator[tuple[Any, Any]]:
    """Yield the opened container and its video stream, nothing decoded yet.

    Raises: MediaError: not a known container, no video in it, or frames too large. FFmpegError: damaged.
    """
    # An empty list of protocols would mean all of them: "none" is the name of no protocol, so no other file is opened.
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
    try:
        opened = av.open(Reader(file), "r", options=options, metadata_errors="ignore")
    except av.FFmpegError as error:
        raise MediaError(f"cannot be read as a picture or video ({why_unreadable(file)})") from error
    with opened as container:
        streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
        if not streams:
            raise MediaError("contains no video" + (", only sound" if container.streams.audio else ""))
        stream = streams[0]
        decoder = stream.codec_context
        if decoder is None:
            raise MediaError("has a video of an unknown codec")
        if decoder.width * decoder.height > MAX_FRAME_PIXELS:
            raise MediaError(
                f"has frames of {decoder.width} x {decoder.height} pixels; at most {MAX_FRAME_PIXELS / 1e6:.0f} million"
                " are read"
            )
        stream.thread_type = "AUTO"
        decoder.thread_count = threads
        decoder.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
        yield container, stream


def decode_frames(
    container: Any, stream: Any, scan: Scan, wanted: Sequence[int], damaged: set[int]
) -> Iterator[tuple[int, Any]]:
    """Yield index and PyAV frame of the frames of these indices, rising; for a damaged one its nearest
    neighbour.

    Each frame comes once, so there may be fewer than wanted. `damaged` gets the times of packets that do not decode.
    """
    targets = [scan.pts[index] for index in wanted]
    shown = _decoded(container, stream, scan, _needed_groups(scan, targets), damaged)
    for pts, frame in _nearest(shown, targets):
        yield min(bisect_left(scan.pts, pts), len(scan.pts) - 1), frame


def quarter_turns(frame: Any) -> int:
    """Return how often a decoded frame has to be turned left by 90 degrees to stand upright, 0 to 3."""
    return int(round(frame.rotation / 90) % 4)


def converted(frame: Any, size: tuple[int, int], turns: int = 0) -> Frame:
    """Return a PyAV frame as an upright RGB array of this width and height, scaled in one step.

    FFmpeg writes three planes in less than half the time of packed colours, to the same values.
    """
    width, height = size if turns % 2 == 0 else size[::-1]
    array = frame.reformat(width=width, height=height, format="gbrp", interpolation=_SCALING, threads=1).to_ndarray()
    return np.rot90(array, turns)


def scaled(frame: Frame, size: tuple[int, int]) -> Frame:
    """Return an RGB array at this width and height, as the same frame read from a file would be."""
    if (frame.shape[1], frame.shape[0]) == size:
        return frame
    return converted(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"), size)


def _needed_groups(scan: Scan, targets: Sequence[int]) -> set[int]:
    groups = {scan.group_of(pts) for pts in targets}
    leaning = {scan.group_of(pts) - 1 for pts in targets if pts < scan.group_pts[scan.group_of(pts)]}
    return groups | {group for group in leaning if group >= 0}


def _decoded(container: Any, stream: Any, scan: Scan, groups: set[int], damaged: set[int]) -> Iterator[tuple[int, Any]]:
    """Yield the time and frame of all frames of these groups that can be decoded, in order of their times."""
    last_pts: int | None = None
    for earliest, frame in _fed(container, stream, scan, groups, damaged):
        pts = time_of(frame)
        if pts is not None and pts >= earliest and (last_pts is None or pts > last_pts):
            if frame.is_corrupt:
                damaged.add(pts)
            last_pts = pts
            yield pts, frame


def _fed(container: Any, stream: Any, scan: Scan, groups: set[int], damaged: set[int]) -> Iterator[tuple[float, Any]]:
    """Yield each frame decoded from these groups, after the earliest time at which frames are complete."""
    starts = {index: group for group, index in enumerate(scan.group_starts)}
    feeding, earliest = False, -math.inf
    for index, packet in enumerate(continuous(packets_of(container, stream), container.format.name, [])):
        if index in starts:
            needed = starts[index] in groups
            if feeding and not needed:
                yield from ((earliest, frame) for frame in decode_packet(stream, None, damaged))
                stream.codec_context.flush_buffers()
            elif needed and not feeding and index:
                # Frames before the one that starts after a gap lean on what was skipped.
                earliest = scan.group_pts[starts[index]]
            feeding = needed
        if feeding:
            yield from ((earliest, frame) for frame in decode_packet(stream, packet, damaged))
    if feeding:
        yield from ((earliest, frame) for frame in decode_packet(stream, None, damaged))


def decode_packet(stream: Any, packet: Any, damaged: set[int]) -> list[Any]:
    """Return the frames that a packet completes, or of None the last ones; a damaged packet completes none, and its
    time is added to `damaged`.
    """
    try:
        return list(stream.codec_context.decode(packet))
    except av.FFmpegError:
        pts = time_of(packet) if packet is not None else None
        if pts is not None:
            damaged.add(pts)
        return []


def _nearest(shown: Iterator[tuple[int, Any]], targets: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """Yield for each target the nearest of what is shown, each only once; both rise."""
    before: tuple[int, Any] | None = None
    yielded: int | None = None
    position = 0
    for now in shown:
        while position < len(targets) and targets[position] <= now[0]:
            target = targets[position]
            best = before if before is not None and target - before[0] <= now[0] - target else now
            if best[0] != yielded:
                yielded = best[0]
                yield best
            position += 1
        if position == len(targets):
            return
        before = now
    if before is not None and before[0] != yielded:
        yield before
