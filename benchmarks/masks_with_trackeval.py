"""Measure J and F of made-up videos with TrackEval, in an environment of its own, for our tests to agree with.

    python3 -m venv /tmp/trackeval
    /tmp/trackeval/bin/pip install trackeval==1.3.0 scikit-image pycocotools opencv-python-headless
    /tmp/trackeval/bin/python benchmarks/masks_with_trackeval.py tests/evaluation/trackeval.json

Every case is one object in a video of four frames of another size: its true masks, the answered ones, and the
values of TrackEval. Blobs are moved, grown, torn and emptied, so that outlines are at all distances around the
tolerance.
"""

import json
from pathlib import Path

import cv2
import numpy as np
from measuring import parser_of
from pycocotools import mask as coco

SIZES = ((64, 96), (120, 90), (240, 426), (31, 47))
CASES = 24


def blob(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a few ellipses, some of them with a hole."""
    mask = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, 4)):
        center = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(2, width // 3)), int(rng.integers(2, height // 3)))
        cv2.ellipse(mask, center, axes, float(rng.integers(180)), 0, 360, int(rng.random() < 0.85), -1)
    return mask


def changed(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """Return a mask moved by a few pixels, grown or shrunk, sometimes with other pixels or none at all."""
    if rng.random() < 0.1:
        return np.zeros_like(mask)
    shift = np.float32([[1, 0, rng.integers(-4, 5)], [0, 1, rng.integers(-4, 5)]])
    moved = cv2.warpAffine(mask, shift, mask.shape[::-1], flags=cv2.INTER_NEAREST)
    kernel = np.ones((int(rng.integers(1, 5)),) * 2, np.uint8)
    moved = (cv2.dilate if rng.random() < 0.5 else cv2.erode)(moved, kernel)
    return moved ^ (rng.random(mask.shape) < 0.002).astype(np.uint8) if rng.random() < 0.5 else moved


def encoded(mask: np.ndarray) -> dict:
    """Return COCO's run lengths, as bytes, for TrackEval."""
    return coco.encode(np.asfortranarray(mask))


def written(rle: dict) -> dict:
    """Return run lengths that JSON can hold."""
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def main() -> None:
    """Write the cases."""
    parser = parser_of(__doc__)
    parser.add_argument("output", type=Path, help="the JSON file to write")
    output = parser.parse_args().output
    # Only the environment of its own has TrackEval; the help does without.
    from trackeval.metrics import JAndF

    rng = np.random.default_rng(17)
    cases = []
    for index in range(CASES):
        size = SIZES[index % len(SIZES)]
        truths = [blob(rng, *size) if rng.random() < 0.9 else np.zeros(size, np.uint8) for _ in range(4)]
        answers = [changed(rng, truth) for truth in truths]
        gt, found = ([[encoded(mask)] for mask in masks] for masks in (truths, answers))
        sequence = {"num_timesteps": 4, "num_tracker_ids": 1, "num_gt_ids": 1, "gt_dets": gt, "tracker_dets": found}
        sequence |= {"gt_ids": [np.array([0])] * 4, "tracker_ids": [np.array([0])] * 4}
        result = JAndF().eval_sequence(sequence)
        masks = {
            "truths": [written(encoded(mask)) for mask in truths],
            "answers": [written(encoded(mask)) for mask in answers],
        }
        cases.append({**masks, "J": float(result["J-Mean"]), "F": float(result["F-Mean"]), "J&F": float(result["J&F"])})
    output.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
