"""Pictures, videos and masks that are small and true files."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from onethinker.media.writing import write_video

WIDTH, HEIGHT = 96, 64


def picture(path: Path, colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT), colour).save(path)
    return path


def base64_picture(colour: str = "red") -> str:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def video(path: Path, *, seconds: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shades = np.linspace(0, 250, 2 * seconds).astype(np.uint8)
    write_video(path, np.broadcast_to(shades[:, None, None, None], (2 * seconds, HEIGHT, WIDTH, 3)).copy(), fps=2)
    return path


def frames(folder: Path, count: int, *, digits: int = 5, first: int = 0) -> list[str]:
    """Pictures named as the field names frames, 00000.jpg and on; return their names without the suffix."""
    names = [f"{number:0{digits}d}" for number in range(first, first + count)]
    for name in names:
        picture(folder / f"{name}.jpg")
    return names


def rectangle(x1: int = 20, y1: int = 10, x2: int = 60, y2: int = 40) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y1:y2, x1:x2] = True
    return mask
