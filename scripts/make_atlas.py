"""Make the sprite atlas of the world of named things out of four free emoji sets.

Needs resvg, which nothing else here needs, and the icon sets of npm:

    npm pack @iconify-json/noto @iconify-json/fluent-emoji-flat @iconify-json/twemoji @iconify-json/openmoji
    for f in *.tgz; do mkdir -p sets/$f && tar xzf $f -C sets/$f; done
    python -m venv .venv-atlas && .venv-atlas/bin/pip install resvg_py pillow numpy
    PYTHONPATH=. .venv-atlas/bin/python scripts/make_atlas.py --sets sets --output onethinker/synthetic/world/atlas

Licences of what is shipped are in NOTICE.
"""

import argparse
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image

from onethinker.data.synthetic.world.things import KINDS_OF_THINGS, STYLES

PACKAGES = {"noto": "noto", "fluent": "fluent-emoji-flat", "twemoji": "twemoji", "openmoji": "openmoji"}
COLUMNS = 16
DRAWN_PX = 512  # an icon is drawn this large, cut to what is not clear, and made smaller once


def read_sets(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the icons of each style as Iconify describes them."""
    sets = {}
    for style in STYLES:
        (path,) = folder.glob(f"*{PACKAGES[style]}-*/package/icons.json")
        sets[style] = json.loads(path.read_text())
    return sets


def draw_icon(icons: dict[str, Any], name: str, cell_px: int) -> Image.Image:
    """Return an icon cut to its extent, its longer side `cell_px`."""
    name = icons.get("aliases", {}).get(name, {}).get("parent", name)
    icon = icons["icons"][name]
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {width} {height}">{icon["body"]}</svg>'
    )
    drawn = Image.open(
        io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=DRAWN_PX, height=DRAWN_PX)))
    ).convert("RGBA")
    drawn = drawn.crop(drawn.getchannel("A").point(lambda alpha: 255 * (alpha >= 128)).getbbox())
    scale = cell_px / max(drawn.size)
    size = tuple(max(1, round(side * scale)) for side in drawn.size)
    return drawn.convert("RGBa").resize(size, Image.Resampling.BOX).convert("RGBA")


def pack(sprites: list[Image.Image], cell_px: int) -> Image.Image:
    """Return the sprites in rows of COLUMNS, each at the upper left of its cell."""
    atlas = np.zeros((-(-len(sprites) // COLUMNS) * cell_px, COLUMNS * cell_px, 4), np.uint8)
    for index, sprite in enumerate(sprites):
        row, column = divmod(index, COLUMNS)
        pixels = np.array(sprite)
        pixels[pixels[..., 3] < 8] = 0  # the rest of an edge that nobody sees costs bytes
        pixels[..., 3][pixels[..., 3] > 247] = 255
        atlas[row * cell_px :, column * cell_px :][: sprite.height, : sprite.width] = pixels
    return Image.fromarray(atlas)


def main() -> None:
    """Write one lossless WebP file a style, and index.json with what is where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, required=True, help="folder with the four unpacked npm packages")
    parser.add_argument("--output", type=Path, required=True, help="folder of the atlas")
    parser.add_argument("--cell-px", type=int, default=88, help="longer side of a sprite")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {
        "cell_px": options.cell_px,
        "columns": COLUMNS,
        "names": list(KINDS_OF_THINGS),
        "sizes": {},
    }
    for style, icons in read_sets(options.sets).items():
        sprites = [draw_icon(icons, kind.icon, options.cell_px) for kind in KINDS_OF_THINGS.values()]
        index["sizes"][style] = [list(sprite.size) for sprite in sprites]
        path = options.output / f"{style}.webp"
        pack(sprites, options.cell_px).save(path, lossless=True, quality=100, method=6)
        print(f"{path}: {path.stat().st_size:,} bytes")
    (options.output / "index.json").write_text(json.dumps(index, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
