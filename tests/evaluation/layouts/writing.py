"""Files and masks of the layouts, made small on the spot."""

import json
from pathlib import Path

import numpy as np


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def rectangle(x1: int, y1: int, x2: int, y2: int, size: tuple[int, int] = (64, 96)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[y1:y2, x1:x2] = True
    return mask
