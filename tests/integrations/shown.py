"""A picture and an animation with what a model is shown of them: recorded, because transformers inside other trainers
is another than ours.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onethinker.core.sample import Sample
from onethinker.families.built_in import WEIGHTS
from onethinker.media.budget import MediaBudget

BUDGET = MediaBudget(fps=2, max_frames=6, frame_max_pixels=64 * 64)
MODEL = WEIGHTS
RECORDED = Path(__file__).with_name("shown.json")


def make_samples(folder: Path) -> dict[str, Sample]:
    """Return a question about each, whose files are written into the folder."""
    frames = [
        Image.fromarray(np.random.default_rng(index).integers(0, 255, (90, 70, 3), np.uint8)) for index in range(5)
    ]
    frames[0].save(folder / "a.png")
    # Named as a video, by which rows tell media apart; read by its content, without a codec that differs by version.
    frames[0].save(folder / "b.mp4", "WEBP", save_all=True, append_images=frames[1:], duration=400, lossless=True)
    words, box = "What is <|im_end|> here?", '{"boxes": {"0": [1, 2, 3, 4]}}'
    return {
        "image": Sample("7", words, "numerical", "image", (folder / "a.png",), "3"),
        "video": Sample("8", words, "tracking", "video", (folder / "b.mp4",), box),
    }


def shown(ids: list[int], inputs: Any) -> dict[str, Any]:
    """Return tokens, grids, and the mean and spread of each patch, rounded."""
    kind = "pixel_values" if "pixel_values" in inputs else "pixel_values_videos"
    grid = inputs["image_grid_thw" if kind == "pixel_values" else "video_grid_thw"]
    patches = inputs[kind].double()
    marks = [patches.mean(1), patches.std(1)]
    return {"ids": ids, "grid": grid.tolist(), "patches": [[round(float(each), 5) for each in row] for row in marks]}


def recorded() -> dict[str, Any]:
    """Return what was recorded for each."""
    found: dict[str, Any] = json.loads(RECORDED.read_text())
    return found
