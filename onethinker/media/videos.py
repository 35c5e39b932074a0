"""Videos through PyAV: the true time of every frame from the container, then only those decoded that are shown.

A file is read twice. The first pass reads the packets without decoding them, which gives all times, the number of
frames and the length even where the header has none. The second decodes what is needed: `groups.py` quickly where the
file is sound and has an index, else `decode_frames`, which reads from start to end and makes the best of what is
damaged.
"""

import math
import os
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import IO, Any

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition
from av.video.reformatter import Interpolation

from onethinker.core.errors import MediaError

Frame = npt.NDArray[np.uint8]

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf"
"""Containers that may be opened; playlists and other formats that name further files are not among them."""
INDEXED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Those of them that say where each group of pictures starts."""
MAX_FRAME_PIXELS = 36_000_000
"""A larger frame is refused; 8K video has 33 million pixels."""
MAX_PACKETS = 1_000_000
"""A video of more frames is refused: nine hours at 30 a second."""
_MOST_BOXES = 1000
BROADCASTS = ("mpegts", "mpeg")
"""Formats in which clocks are known to leap. Source: FFmpeg, AVFMT_TS_DISCONT."""
_LEAP_S = 10.0
"""A longer step from one frame to the next is a leap of their clock. Source: FFmpeg, dts_delta_threshold."""
_TAIL = 1 << 22
"""Bytes behind the last packet in which another file may begin; more than any packet has."""
MAX_DURATION_S = 24 * 3600.0
THREADS = min(4, os.cpu_count() or 1)
"""Threads that decode one video."""
_SCALING = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)


class SharedFile:
    """A file that several threads read, each from its own place."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._lock = file, threading.Lock()
        self.size = file.seek(0, os.SEEK_END)

    def read_at(self, place: int, size: int) -> bytes:
        """Return so many bytes from there on, fewer at the end."""
        with self._lock:
            self._file.seek(place)
            return self._file.read(size)


class _Reader:
    """A place in a file, without the file's name, which FFmpeg would take as a hint at the format and repeat in its
    errors.
    """

    def __init__(self, file: SharedFile) -> None:
        self._file, self._place = file, 0

    def read(self, size: int) -> bytes:
        content = self._file.read_at(self._place, size)
        self._place += len(content)
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._file.size}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        return self._place


@dataclass(frozen=True)
class Scan:
    """What a video's packets tell. `pts` are the frames' times in ticks of `tick_s`, rising; `times_s` start at 0."""

    pts: tuple[int, ...]
    tick_s: float
    duration_s: float
    group_starts: tuple[int, ...]
    """Numbers of the packets with which decoding can start, in file order; the first is 0."""
    packet_of: dict[int, int]
    """For each time, that of frames and of what is only there to be decoded, the number of its packet."""
    group_pts: tuple[int, ...]
    """Time of the first packet of each group; frames of a group that come before it lean on the group before."""
    is_indexed: bool
    """Whether the container can jump to a group, and each packet is known by its time."""
    joints: tuple[int, ...] = ()
    """Times at which a further part begins in a file that was joined out of several, whose own clocks all start
    anew.
    """
    last_place: int | None = None
    """The byte at which the last packet lies, where the container says so."""

    @property
    def times_s(self) -> list[float]:
        """Seconds from the first frame of the video."""
        return [(pts - self.pts[0]) * self.tick_s for pts in self.pts]

    def group_of(self, pts: int) -> int:
        """Return the group whose packets hold the frame of this time."""
        return bisect_right(self.group_starts, self.packet_of[pts]) - 1


@contextmanager
def open_video(file: SharedFile, *, threads: int = THREADS) -> Iterator[tuple[Any, Any]]:
    """Yield the opened container and its video stream, nothing decoded yet.

    Raises: MediaError: not a known container, no video in it, or frames too large. FFmpegError: damaged.
    """
    # An empty list of protocols would mean all of them: "none" is the name of no protocol, so no other file is opened.
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
    try:
        opened = av.open(_Reader(file), "r", options=options, metadata_errors="ignore")
    except av.FFmpegError as error:
        raise MediaError(f"cannot be read as a picture or video ({_what_is_wrong(file)})") from error
    with opened as container:
        streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
        if not streams:
            raise MediaError("has no video in it" + (", only sound" if container.streams.audio else ""))
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


def scan_video(container: Any, stream: Any) -> Scan:
    """Return what the packets of a video tell about its frames, without decoding any.

    Raises: MediaError: no frames, or too many, or over too long a time.
    """
    lasting: dict[int, int] = {}
    packet_of: dict[int, int] = {}
    group_starts, group_pts = [], []
    count, place = 0, None
    joints: list[int] = []
    for number, packet in enumerate(continuous(packets_of(container, stream), container.format.name, joints)):
        if number >= MAX_PACKETS:
            raise MediaError(f"has more than {MAX_PACKETS} frames")
        pts = _time_of(packet)
        if packet.is_keyframe or number == 0:
            group_starts.append(number)
            group_pts.append(pts if pts is not None else 0)
        if pts is not None and not _is_hidden(packet, stream):
            lasting[pts] = packet.duration or 0
            packet_of[pts] = number
        elif pts is not None:
            packet_of.setdefault(pts, number)
        count += packet.pts is not None
        place = packet.pos
    if not lasting:
        raise MediaError("has a video without frames")
    pts_rising = sorted(lasting)
    tick_s = float(stream.time_base)
    steps = [after - before for before, after in pairwise(pts_rising)]
    last_step = lasting[pts_rising[-1]] or (median(steps) if steps else 0)
    duration_s = (pts_rising[-1] - pts_rising[0] + last_step) * tick_s
    if duration_s > MAX_DURATION_S:
        raise MediaError(f"claims to last {duration_s / 3600:.1f} hours; at most {MAX_DURATION_S / 3600:.0f} are read")
    is_indexed = container.format.name in INDEXED and not joints and count == number + 1 == len(packet_of)
    return Scan(
        tuple(pts_rising),
        tick_s,
        duration_s,
        tuple(group_starts),
        packet_of,
        tuple(group_pts),
        is_indexed,
        tuple(joints),
        place,
    )


def decode_frames(container: Any, stream: Any, scan: Scan, wanted: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """Yield the number and the PyAV frame of the frames of these numbers, rising; for a damaged one its nearest
    neighbour.

    Each frame comes once, so there may be fewer than wanted.
    """
    targets = [scan.pts[number] for number in wanted]
    for pts, frame in _nearest(_decoded(container, stream, scan, _needed_groups(scan, targets)), targets):
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


def _what_is_wrong(file: SharedFile) -> str:
    """Return why a file could not be opened: an MP4 has its index in one box, often the last, which a cut or half
    loaded one lacks.
    """
    place, box = 0, file.read_at(0, 16)
    if box[4:8] != b"ftyp":
        return "of no known format, or damaged at its start"
    for _ in range(_MOST_BOXES):
        size = int.from_bytes(box[8:16] if box[:4] == b"\0\0\0\1" else box[:4], "big")
        if box[4:8] == b"moov" and place + size <= file.size:
            return "an MP4 whose index is damaged"
        if size < 8 or place + size >= file.size:
            break
        place += size
        box = file.read_at(place, 16)
    return "an MP4 without its index, so most likely cut short: copy or download it again"


def missing_bytes(file: SharedFile) -> int:
    """Return how many bytes the boxes of an MP4 promise beyond the end of the file; 0 for a whole one, and for other
    containers.
    """
    place, box = 0, file.read_at(0, 16)
    if box[4:8] != b"ftyp":
        return 0
    for _ in range(_MOST_BOXES):
        size = int.from_bytes(box[8:16] if box[:4] == b"\0\0\0\1" else box[:4], "big")
        if size < 8 or place + size >= file.size:
            return max(0, place + size - file.size) if size >= 8 else 0
        place += size
        box = file.read_at(place, 16)
    return 0


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

    So it is in files that were joined byte by byte. Clocks of broadcasts may also leap ahead. `joints` gets the time of
    each part but the first.
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
        if (shown := _time_of(packet)) is not None:
            step = packet.duration or (int(shown - end + step) if shown > end - step > -math.inf else step)
            end = max(end, shown + max(1, step))
        yield packet


def joined_kind(file: SharedFile, container_format: str, last: int | None) -> str | None:
    """Return what a file is joined out of whose reader stops at the end of the first part; None for all others.

    `last` is the place of the last packet that was read.
    """
    if container_format == INDEXED[0]:
        place, box = 0, file.read_at(0, 16)
        for number in range(_MOST_BOXES):
            if number and box[4:8] == b"ftyp":
                return "MP4"
            size = int.from_bytes(box[8:16] if box[:4] == b"\0\0\0\1" else box[:4], "big")
            if size < 8 or place + size >= file.size:
                return None
            place += size
            box = file.read_at(place, 16)
    if container_format == "flv" and last is not None and b"FLV\x01" in file.read_at(last, _TAIL):
        return "FLV"
    return None


def _time_of(unit: av.Packet | av.VideoFrame) -> int | None:
    """Return when a packet or frame is shown, in ticks; AVI has only the order of decoding, which is at most a few
    frames off.
    """
    time: int | None = unit.pts if unit.pts is not None else unit.dts
    return time


def _is_hidden(packet: Any, stream: Any) -> bool:
    """Return whether a packet is only there to be decoded: cut off by an edit list, or a reference picture of VP8."""
    return bool(packet.is_discard) or (stream.codec_context.name == "vp8" and not memoryview(packet)[0] & 0x10)


def _needed_groups(scan: Scan, targets: Sequence[int]) -> set[int]:
    groups = {scan.group_of(pts) for pts in targets}
    leaning = {scan.group_of(pts) - 1 for pts in targets if pts < scan.group_pts[scan.group_of(pts)]}
    return groups | {group for group in leaning if group >= 0}


def _decoded(container: Any, stream: Any, scan: Scan, groups: set[int]) -> Iterator[tuple[int, Any]]:
    """Yield the time and frame of all frames of these groups that can be decoded, in order of their times."""
    last_pts: int | None = None
    for earliest, frame in _fed(container, stream, scan, groups):
        pts = _time_of(frame)
        if pts is not None and pts >= earliest and (last_pts is None or pts > last_pts):
            last_pts = pts
            yield pts, frame


def _fed(container: Any, stream: Any, scan: Scan, groups: set[int]) -> Iterator[tuple[float, Any]]:
    """Yield what the decoder makes of the packets of these groups: the earliest time at which its frames are whole, and
    each.
    """
    starts = {number: group for group, number in enumerate(scan.group_starts)}
    feeding, earliest = False, -math.inf
    for number, packet in enumerate(continuous(packets_of(container, stream), container.format.name, [])):
        if number in starts:
            needed = starts[number] in groups
            if feeding and not needed:
                yield from ((earliest, frame) for frame in decode_packet(stream, None))
                stream.codec_context.flush_buffers()
            elif needed and not feeding and number:
                # Frames before the one that starts after a gap lean on what was left out.
                earliest = scan.group_pts[starts[number]]
            feeding = needed
        if feeding:
            yield from ((earliest, frame) for frame in decode_packet(stream, packet))
    if feeding:
        yield from ((earliest, frame) for frame in decode_packet(stream, None))


def decode_packet(stream: Any, packet: Any) -> list[Any]:
    """Return the frames that a packet completes, or of None the last ones; a damaged packet completes none."""
    try:
        return list(stream.codec_context.decode(packet))
    except av.FFmpegError:
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
