"""Files of masks: run lengths in JSON, palette pictures, and folders as DAVIS and YouTube-VOS lay them out."""

import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from onethinker.core.errors import DataError
from onethinker.core.masks import Mask
from onethinker.storage.atomic import folder_atomically, write_atomically
from onethinker.storage.strict_json import to_json

OBJECT = 1
"""Colour of the one object in a palette picture; 0 is the background."""
META_FILE = "meta.json"


def palette() -> bytes:
    """Return the 256 colours of DAVIS, YouTube-VOS and Pascal VOC, three bytes each: the bits of a number spread over
    them.

    >>> list(palette()[:12])
    [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
    """
    numbers = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= ((numbers >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return colors.tobytes()


def palette_png(mask: Mask, comment: str = "") -> bytes:
    """Return a PNG of one byte a pixel, 1 on the object and 0 beside it, in the colours of DAVIS; `comment` stays in
    its header.
    """
    return indices_png(mask.astype(np.uint8) * OBJECT, comment)


def indices_png(indices: npt.NDArray[np.uint8], comment: str = "") -> bytes:
    """Return a PNG of the number of the object at each pixel, 0 for none."""
    image = Image.fromarray(indices, "P")
    image.putpalette(palette())
    notes = PngInfo()
    if comment:
        notes.add_text("Comment", comment)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=notes)
    return buffer.getvalue()


def write_mask_png(path: Path, mask: Mask, comment: str = "") -> None:
    """Write one mask as a palette picture. Raises: StorageError."""
    write_atomically(path, palette_png(mask, comment))


def write_mask_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write run lengths and what belongs to them as JSON. Raises: StorageError."""
    write_atomically(path, to_json(record) + "\n")


def write_mask_folder(folder: Path, name: str, masks: Mapping[int, Mask], *, category: str, comment: str = "") -> None:
    """Write a video's masks by frame index as YouTube-VOS and DAVIS do; other videos in the folder stay.

    `Annotations/<name>/00042.png` is a palette picture of the frame with index 42, and `meta.json` names the object
    and the frames that show it. Masks that were there for this video are replaced once the new ones are complete.

    Raises: DataError: `meta.json` is not that of YouTube-VOS. StorageError: the folder cannot be written.
    """
    meta = read_meta(folder)
    shown = [f"{index:05}" for index, mask in sorted(masks.items()) if mask.any()]
    entry = {"objects": {str(OBJECT): {"category": category, "frames": shown}}, "comment": comment}
    meta["videos"][name] = entry
    target = folder / "Annotations" / name
    old = target.with_name(f".{name}.{os.getpid()}.old")
    try:
        with folder_atomically(target) as fresh:
            for index, mask in masks.items():
                (fresh / f"{index:05}.png").write_bytes(palette_png(mask, comment))
            if target.exists():
                target.rename(old)
        write_atomically(folder / META_FILE, to_json(meta, indent=1) + "\n")
    finally:
        shutil.rmtree(old, ignore_errors=True)


def read_meta(folder: Path) -> dict[str, Any]:
    """Return what a folder's `meta.json` says of its videos; of a folder without one, that there are none.

    Raises: DataError: the file is not of YouTube-VOS's form.
    """
    path = folder / META_FILE
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"videos": {}}
    except (OSError, ValueError) as error:
        raise DataError(
            f'{path}: expected {{"videos": {{…}}}} as YouTube-VOS has it ({error}); give another folder'
        ) from error
    if not isinstance(meta, dict) or not isinstance(meta.get("videos"), dict):
        raise DataError(f'{path}: expected {{"videos": {{…}}}} as YouTube-VOS has it; give another folder')
    return meta
