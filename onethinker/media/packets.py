"""The packets of a video, read without decoding: the time of every frame, its length, and where decoding can start."""

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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
_FILLING_BYTES, _MOST_BEHIND = 4096, 0.1
"""So many bytes, or such a share, of a broadcast may follow the last packet of its video: sound and filling."""
MAX_DURATION_S = 24 * 3600.0
_SHORT_S, _SHORT_SHARE = 0.25, 0.02
"""A video may be so much shorter or longer than its header says, in seconds or as a share: lengths are rounded."""
_MOST_HOLES = 0.1
"""A larger share of frames that last longer than they say is a video of an uneven rate."""
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")


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
    problems: tuple[str, ...] = ()
    """What the packets lack that the header, or the steps from one to the next, promise."""

    @property
    def times_s(self) -> list[float]:
        """Seconds from the first frame of the video."""
        return [(pts - self.pts[0]) * self.tick_s for pts in self.pts]

    def group_of(self, pts: int) -> int:
        """Return the group whose packets hold the frame of this time."""
        return bisect_right(self.group_starts, self.packet_of[pts]) - 1


@dataclass
class _Packets:
    """What the packets of a video tell, one after the other."""

    stream: Any
    count: int = 0
    timed_count: int = 0
    lasting: dict[int, int] = field(default_factory=dict)
    """How many ticks each shown frame lasts, by its time."""
    packet_of: dict[int, int] = field(default_factory=dict)
    group_starts: list[int] = field(default_factory=list)
    group_pts: list[int] = field(default_factory=list)
    last: Any = None

    def add(self, packet: Any) -> None:
        """Take the next packet. Raises: MediaError: it is one too many."""
        if self.count >= MAX_PACKETS:
            raise MediaError(f"has more than {MAX_PACKETS} frames")
        pts = time_of(packet)
        if packet.is_keyframe or self.count == 0:
            self.group_starts.append(self.count)
            self.group_pts.append(pts if pts is not None else 0)
        if pts is not None and not _is_hidden(packet, self.stream):
            self.lasting[pts] = packet.duration or 0
            self.packet_of[pts] = self.count
        elif pts is not None:
            self.packet_of.setdefault(pts, self.count)
        self.timed_count += packet.pts is not None
        self.count, self.last = self.count + 1, packet


def scan_video(container: Any, stream: Any) -> Scan:
    """Return what the packets of a video tell about its frames, without decoding any.

    Raises: MediaError: no frames, or too many, or over too long a time.
    """
    joints: list[int] = []
    broken: list[str] = []
    read = _Packets(stream)
    for packet in continuous(packets_of(container, stream, broken), container.format.name, joints):
        read.add(packet)
    lasting = read.lasting
    if not lasting:
        raise MediaError("has a video stream without frames")
    pts_rising = sorted(lasting)
    tick_s = float(stream.time_base)
    duration_s = _duration_s(pts_rising, lasting[pts_rising[-1]], tick_s)
    # In an MP4 a packet lasts until the next to be decoded, however long a screen recording stands still.
    has_no_holes = bool(joints) or container.format.name == INDEXED[0]
    problems = [
        *(f"its packets cannot be read after {duration_s:.2f} s ({reason})" for reason in broken),
        *_behind(container, read.last, duration_s),
        *(unlike_header(container, stream, read.count, duration_s) or ([] if has_no_holes else holes(lasting, tick_s))),
    ]
    return Scan(
        tuple(pts_rising),
        tick_s,
        duration_s,
        tuple(read.group_starts),
        read.packet_of,
        tuple(read.group_pts),
        is_indexed=container.format.name in INDEXED
        and not joints
        and read.timed_count == read.count == len(read.packet_of),
        joints=tuple(joints),
        last_position=read.last.pos,
        problems=tuple(problems),
    )


def _behind(container: Any, last: Any, duration_s: float) -> list[str]:
    """Return that much of a broadcast lies behind the last packet of its video: another stream goes on there."""
    if container.format.name not in BROADCASTS or last.pos is None:
        return []
    left = container.size - last.pos - last.size
    if left <= max(_FILLING_BYTES, _MOST_BEHIND * container.size):
        return []
    return [f"{left:,} bytes of other streams, which are not shown, follow the last video frame at {duration_s:.2f} s"]


def unlike_header(container: Any, stream: Any, count: int, duration_s: float) -> list[str]:
    """Return in what a video's packets, so many over so many seconds, fall short of what its header says."""
    if stream.frames:
        step_s = 1 / float(stream.average_rate or 25)
        missing = stream.frames - count
        # A frame that repeats the one before has no packet in some AVIs; their times go on meanwhile.
        if missing <= 0 or (container.format.name == "avi" and stream.frames * step_s - duration_s < _SHORT_S):
            return []
        return [
            f"its header says {stream.frames} frames, but {missing} of them are missing; the last frame is at"
            f" {duration_s - step_s:.2f} s"
        ]
    promised_s = _promised_s(container, stream)
    if promised_s is None or abs(promised_s - duration_s) <= max(_SHORT_S, _SHORT_SHARE * promised_s):
        return []
    return [f"its header says it lasts {promised_s:.2f} s, but its frames end at {duration_s:.2f} s"]


def _promised_s(container: Any, stream: Any) -> float | None:
    """Return how long the header of a Matroska or FLV says that its video lasts; None where it does not say."""
    if container.format.name not in (INDEXED[1], "flv"):
        return None
    if clock := _CLOCK.fullmatch(stream.metadata.get("DURATION", "")):
        return int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3])
    # The length of all streams together may be that of the sound.
    return container.duration / av.time_base if container.duration and len(container.streams) == 1 else None


def holes(lasting: Mapping[int, int], tick_s: float) -> list[str]:
    """Return where frames are missing from a video of an even rate, given how long each lasts by its time, in ticks.

    >>> holes({0: 40, 40: 40, 400: 40, 440: 40, **{480 + 40 * n: 40 for n in range(20)}}, 0.001)
    ['frames are missing, or the recording paused, for 0.32 s: none between 0.04 s and 0.40 s']
    """
    pts = sorted(lasting)
    steps = [(before, after) for before, after in pairwise(pts) if lasting[before]]
    open_steps = [(before, after) for before, after in steps if after - before > 1.5 * lasting[before]]
    if not open_steps or len(open_steps) > _MOST_HOLES * len(steps):
        return []
    lost_s = sum(after - before - lasting[before] for before, after in open_steps) * tick_s
    first, last = open_steps[0][0] - pts[0], open_steps[-1][1] - pts[0]
    where = "none" if len(open_steps) == 1 else f"{len(open_steps)} holes"
    span = f"between {first * tick_s:.2f} s and {last * tick_s:.2f} s"
    return [f"frames are missing, or the recording paused, for {lost_s:.2f} s: {where} {span}"]


def _duration_s(pts_rising: list[int], last_step: int, tick_s: float) -> float:
    """Return how long a video lasts; a last frame of unknown length lasts as long as the median. Raises: MediaError."""
    steps = [after - before for before, after in pairwise(pts_rising)]
    step = last_step or (median(steps) if steps else 0)
    duration_s = (pts_rising[-1] - pts_rising[0] + step) * tick_s
    if duration_s > MAX_DURATION_S:
        raise MediaError(f"claims to last {duration_s / 3600:.1f} hours; at most {MAX_DURATION_S / 3600:.0f} are read")
    return duration_s


def packets_of(container: Any, stream: Any, broken: list[str] | None = None) -> Iterator[Any]:
    """Yield the packets of a stream up to its end, or to where the file is damaged; `broken` gets the reason."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except IndexError:
        return  # PyAV's way to end a file in which streams begin that its start does not list; all has been read
    except av.FFmpegError as error:
        if broken is not None:
            broken.append(error.strerror or str(error))


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
