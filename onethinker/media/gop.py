"""The quick way through a video: of each group of pictures that holds a wanted frame, only the packets that it takes.

Groups are decoded several at once, each by a decoder with one thread: that divides the work better than threads within
one decoder, and a group's end costs nothing. Whatever is not as the packets promised ends it, and
`videos.decode_frames` reads all, carefully.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import av

from onethinker.media.files import SharedFile
from onethinker.media.packets import Scan, packets_of
from onethinker.media.videos import THREADS, decode_packet, open_video

_MOST_PASSED = 1000
"""Packets that may be read in vain after a jump; more mean that the index is none."""
_H264_SLICES = (1, 2, 5)


@dataclass(frozen=True)
class Run:
    """Packets to be decoded in one go: indices of the first and last, when the first is shown, and the frames wanted of
    them.
    """

    first: int
    last: int
    first_pts: int
    wanted: dict[int, int]
    """For each frame's time in ticks, its position among all wanted frames."""


def plan_runs(scan: Scan, wanted: Sequence[int]) -> list[Run]:
    """Return what has to be decoded for the frames of these indices, rising; frames that lean on the group before take
    it along.

    >>> scan = Scan((0, 1, 2, 3, 4, 5), 0.04, 0.24, (0, 3), {0: 0, 1: 2, 2: 1, 3: 3, 4: 5, 5: 4}, (0, 3), True)
    >>> [(run.first, run.last, run.wanted) for run in plan_runs(scan, [1, 3, 5])]
    [(0, 2, {1: 0}), (3, 4, {3: 1, 5: 2})]
    """
    runs: list[Run] = []
    for position, index in enumerate(wanted):
        pts = scan.pts[index]
        packet = scan.packet_of[pts]
        group = scan.group_of(pts)
        start = max(0, group - 1) if pts < scan.group_pts[group] else group
        if runs and scan.group_starts[start] <= runs[-1].last:
            before = runs.pop()
            runs.append(Run(before.first, max(before.last, packet), before.first_pts, {**before.wanted, pts: position}))
        else:
            runs.append(Run(scan.group_starts[start], packet, scan.group_pts[start], {pts: position}))
    return runs


def decode_groups(
    file: SharedFile, scan: Scan, wanted: Sequence[int], keep: Callable[[int, Any], None], damaged: set[int]
) -> bool:
    """Hand `keep` position and PyAV frame of each frame of these indices, from several threads; False where one did
    not come. `damaged` gets the times of packets that do not decode, and of frames that do in part.

    Raises: what `keep` raises.
    """
    if not scan.is_indexed:
        return False
    runs = plan_runs(scan, wanted)
    workers = min(THREADS, len(runs))
    pending = iter(runs)
    lock, lost = threading.Lock(), threading.Event()

    def work() -> None:
        with open_video(file, threads=max(1, THREADS // workers)) as (container, stream):
            while not lost.is_set():
                with lock:
                    run = next(pending, None)
                if run is None:
                    return
                missing = set(run.wanted)
                for pts, frame in _decode_run(container, stream, scan, run, damaged):
                    missing.discard(pts)
                    keep(run.wanted[pts], frame)
                if missing:
                    lost.set()

    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(work) for _ in range(workers)]:
            future.result()
    return not lost.is_set()


def is_h264_disposable(packet: bytes | memoryview, extradata: bytes | None) -> bool:
    """Return whether no other frame needs this one: the reference mark of each of its slices is 0. What cannot be read
    is needed.

    >>> avcc = bytes([1, 100, 0, 31, 255])
    >>> is_h264_disposable(bytes([0, 0, 0, 2, 0x01, 7]), avcc), is_h264_disposable(bytes([0, 0, 0, 2, 0x41, 7]), avcc)
    (True, False)

    Source: ITU-T H.264, 7.3.1 (nal_ref_idc), 5.2.4.1.1 of ISO 14496-15 (the size of a length).
    """
    if not extradata or extradata[0] != 1 or len(extradata) < 5:
        return False
    width, at, slices = (extradata[4] & 3) + 1, 0, 0
    while at + width < len(packet):
        size = int.from_bytes(packet[at : at + width], "big")
        head = packet[at + width]
        if head & 31 in _H264_SLICES:
            if head >> 5 & 3:
                return False
            slices += 1
        at += width + size
    return slices > 0 and at == len(packet)


def _decode_run(container: Any, stream: Any, scan: Scan, run: Run, damaged: set[int]) -> Iterator[tuple[int, Any]]:
    """Yield time and frame of what a run is wanted for; less when the file is not as it was scanned."""
    decoder = stream.codec_context
    is_h264, extradata = decoder.name == "h264", decoder.extradata
    try:
        container.seek(run.first_pts, stream=stream)
    except av.FFmpegError:
        return
    due = run.first
    for packet in packets_of(container, stream):
        index = scan.packet_of.get(packet.pts)
        if index is None or index > due or index < run.first - _MOST_PASSED:
            return
        if index < due:
            continue
        if packet.pts in run.wanted or not (is_h264 and is_h264_disposable(memoryview(packet), extradata)):
            yield from _wanted(decode_packet(stream, packet, damaged), run, damaged)
        due += 1
        if due > run.last:
            break
    yield from _wanted(decode_packet(stream, None, damaged), run, damaged)


def _wanted(frames: list[Any], run: Run, damaged: set[int]) -> Iterator[tuple[int, Any]]:
    damaged.update(
        frame.pts for frame in frames if frame.is_corrupt and frame.pts is not None and frame.pts >= run.first_pts
    )
    return ((frame.pts, frame) for frame in frames if frame.pts in run.wanted)
