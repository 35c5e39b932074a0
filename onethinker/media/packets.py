"""The packets of a video, read without decoding: the time of every frame, its length, and where decoding can start."""

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import av

from onethinker.core.errors import MediaError
from onethinker.media.files import INDEXED

MAX_PACKETS = 1_000_000
"""A video of more frames is refused: nine hours at 30 a second."""
BROADCASTS = ("mpegts", "mpeg")
"""Formats in which clocks are known to leap. Source: FFmpeg, AVFMT_TS_DISCONT."""
_LEAP_S = 10.0
"""A longer step from one frame to the next is a leap of their clock. Source: FFmpeg, dts_delta_threshold."""
MAX_DURATION_S = 24 * 3600.0


@dataclass(frozen=True)
class Scan:
    """What a video's packets reveal. `pts` are the frames' times in ticks of `tick_s`, rising; `times_s` start at 0."""

    pts: tuple[int, ...]
    tick_s: float
    duration_s: float
    group_starts: tuple[int, ...]
    """Indices of the packets with which decoding can start, in file order; the first is 0."""
    packet_of: dict[int, int]
    """For each time, that of frames and of what is only there to be decoded, the index of its packet."""
    group_pts: tuple[int, ...]
    """Time of the first packet of each group; frames of a group that come before it lean on the group before."""
    is_indexed: bool
    """Whether the container can jump to a group, and each packet is known by its time."""
    joints: tuple[int, ...] = ()
    """Times at which a further part begins in a file that was joined out of several, whose own clocks all start
    anew.
    """
    last_position: int | None = None
    """The byte at which the last packet lies, where the container says so."""

    @property
    def times_s(self) -> list[float]:
        """Seconds from the first frame of the video."""
        return [(pts - self.pts[0]) * self.tick_s for pts in self.pts]

    def group_of(self, pts: int) -> int:
        """Return the group whose packets hold the frame of this time."""
        return bisect_right(self.group_starts, self.packet_of[pts]) - 1


def scan_video(container: Any, stream: Any) -> Scan:
    """Return what the packets of a video tell about its frames, without decoding any.

    Raises: MediaError: no frames, or too many, or over too long a time.
    """
    lasting: dict[int, int] = {}
    packet_of: dict[int, int] = {}
    group_starts, group_pts = [], []
    timed_count, last_position = 0, None
    joints: list[int] = []
    for index, packet in enumerate(continuous(packets_of(container, stream), container.format.name, joints)):
        if index >= MAX_PACKETS:
            raise MediaError(f"has more than {MAX_PACKETS} frames")
        pts = time_of(packet)
        if packet.is_keyframe or index == 0:
            group_starts.append(index)
            group_pts.append(pts if pts is not None else 0)
        if pts is not None and not _is_hidden(packet, stream):
            lasting[pts] = packet.duration or 0
            packet_of[pts] = index
        elif pts is not None:
            packet_of.setdefault(pts, index)
        timed_count += packet.pts is not None
        last_position = packet.pos
    if not lasting:
        raise MediaError("has a video without frames")
    pts_rising = sorted(lasting)
    tick_s = float(stream.time_base)
    is_indexed = container.format.name in INDEXED and not joints and timed_count == index + 1 == len(packet_of)
    return Scan(
        tuple(pts_rising),
        tick_s,
        _duration_s(pts_rising, lasting[pts_rising[-1]], tick_s),
        tuple(group_starts),
        packet_of,
        tuple(group_pts),
        is_indexed,
        tuple(joints),
        last_position,
    )


def _duration_s(pts_rising: list[int], last_step: int, tick_s: float) -> float:
    """Return how long a video lasts; a last frame of unknown length lasts as long as the median. Raises: MediaError."""
    steps = [after - before for before, after in pairwise(pts_rising)]
    step = last_step or (median(steps) if steps else 0)
    duration_s = (pts_rising[-1] - pts_rising[0] + step) * tick_s
    if duration_s > MAX_DURATION_S:
        raise MediaError(f"claims to last {duration_s / 3600:.1f} hours; at most {MAX_DURATION_S / 3600:.0f} are read")
    return duration_s


def packets_of(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the packets of a stream up to its end, or to where the file is damaged beyond reading."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except av.FFmpegError:
        return


def continuous(packets: Iterator[Any], container_format: str, joints: list[int]) -> Iterator[Any]:
    """Yield packets from the start of a file, with their times moved on where its clock starts anew: each part follows
    the one before.

    Files that were joined byte by byte are like this; clocks of broadcasts may also leap forward. `joints` gets the
    time of each part but the first.
    """
    shift, end, last, step = 0, -math.inf, -math.inf, 0
    for packet in packets:
        now, pts = packet.dts if packet.dts is not None else packet.pts, packet.pts
        if now is not None:
            leap_s = (now - last) * float(packet.time_base or 0)
            if (
                packet.is_keyframe
                and last > -math.inf
                and (leap_s <= 0 or (leap_s > _LEAP_S and container_format in BROADCASTS))
            ):
                first = pts if pts is not None else now
                shift = int(end) - first
                joints.append(int(end))
            last = now
        if packet.dts is not None:
            packet.dts += shift
        if pts is not None:
            packet.pts = pts + shift
        if (shown := time_of(packet)) is not None:
            step = packet.duration or (int(shown - end + step) if shown > end - step > -math.inf else step)
            end = max(end, shown + max(1, step))
        yield packet


def time_of(unit: av.Packet | av.VideoFrame) -> int | None:
    """Return when a packet or frame is shown, in ticks; AVI has only the order of decoding, which is at most a few
    frames off.
    """
    time: int | None = unit.pts if unit.pts is not None else unit.dts
    return time


def _is_hidden(packet: Any, stream: Any) -> bool:
    """Return whether a packet is only there to be decoded: cut off by an edit list, or a reference picture of VP8."""
    return bool(packet.is_discard) or (stream.codec_context.name == "vp8" and not memoryview(packet)[0] & 0x10)
