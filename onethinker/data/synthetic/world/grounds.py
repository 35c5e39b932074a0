"""What stands behind things: sky, hills, sea, rooms, streets, wood, bricks and others, painted from noise."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]


Color = tuple[int, int, int]


SIDE = 288
"""Side of a ground in pixels, before a part is cut out."""


def _noise(rng: np.random.Generator, cells_x: int, cells_y: int | None = None, octaves: int = 4) -> Field:
    """Return cloudy noise between 0 and 1."""
    import cv2

    total = np.zeros((SIDE, SIDE), np.float32)
    for octave in range(octaves):
        shape = (min(SIDE, (cells_y or cells_x) << octave), min(SIDE, cells_x << octave))
        total += cv2.resize(rng.random(shape, np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) / 2**octave
    low, high = np.quantile(total, (0.02, 0.98))
    noise: Field = np.clip((total - low) / (high - low), 0, 1)
    return noise


def _mix(a: Color | Field, b: Color | Field, fraction: Field) -> Field:
    start, end = np.asarray(a, np.float32), np.asarray(b, np.float32)
    return start + (end - start) * fraction[..., None]


def _rows() -> Field:
    return np.repeat(np.linspace(0, 1, SIDE, dtype=np.float32)[:, None], SIDE, axis=1)


def _pick(rng: np.random.Generator, *colors: Color) -> Color:
    return colors[int(rng.integers(len(colors)))]


def _gradient(rng: np.random.Generator) -> Field:
    first = _pick(rng, (38, 44, 66), (236, 232, 222), (190, 205, 220), (88, 92, 100), (214, 200, 178), (60, 84, 80))
    second = tuple(int(v) for v in np.clip(np.array(first) + rng.integers(-45, 46, 3), 10, 245))
    turn = rng.random() * 2 * np.pi
    fraction = _rows() * np.float32(np.cos(turn)) + _rows().T * np.float32(np.sin(turn))
    fraction = (fraction - fraction.min()) / np.ptp(fraction)
    return _mix(first, (second[0], second[1], second[2]), fraction)


def _clouds(rng: np.random.Generator) -> Field:
    base = _mix(_pick(rng, (96, 158, 214), (120, 170, 220), (84, 130, 190)), (206, 226, 240), _rows())
    return _mix(base, (244, 246, 248), np.clip(1.8 * _noise(rng, 4, 6) - 0.7, 0, 1))


def _grass(rng: np.random.Generator) -> Field:
    dark, light = (
        _pick(rng, (48, 98, 44), (70, 110, 40), (60, 104, 66)),
        _pick(rng, (122, 168, 78), (150, 176, 90), (106, 150, 92)),
    )
    return _mix(dark, light, 0.6 * _noise(rng, 90, 24, 3) + 0.4 * _noise(rng, 4))


def _sand(rng: np.random.Generator) -> Field:
    return _mix(
        _pick(rng, (196, 168, 122), (210, 184, 146)),
        (234, 216, 178),
        0.5 * _noise(rng, 120, None, 2) + 0.5 * _noise(rng, 3, 9),
    )


def _water(rng: np.random.Generator) -> Field:
    return _mix(
        _pick(rng, (28, 78, 120), (40, 104, 130), (52, 96, 148)),
        (128, 182, 200),
        0.7 * _noise(rng, 8, 40, 3) + 0.3 * _rows(),
    )


def _snow(rng: np.random.Generator) -> Field:
    return _mix(_pick(rng, (186, 202, 222), (200, 208, 218)), (244, 247, 250), _noise(rng, 5))


def _wood(rng: np.random.Generator) -> Field:
    dark, light = _pick(rng, (104, 68, 40), (134, 94, 58), (84, 60, 46)), _pick(rng, (186, 138, 92), (204, 164, 116))
    grain = 0.5 + 0.5 * np.sin(60 * _noise(rng, 2, 1, 2) + 90 * _rows().T + 4 * _noise(rng, 60, 3, 2))
    boards = _mix(dark, light, (0.55 * grain + 0.45 * _noise(rng, 70, 2, 2)).astype(np.float32))
    boards[:, :: SIDE // int(rng.integers(3, 6))] *= 0.55
    return boards.transpose(1, 0, 2) if rng.integers(2) else boards


def _bricks(rng: np.random.Generator) -> Field:
    height, width = SIDE // 16, SIDE // 8
    y, x = np.indices((SIDE, SIDE))
    row = y // height
    column = (x + (row % 2) * width // 2) // width
    tone = rng.random((17, 10)).astype(np.float32)[row, column]
    wall = _mix(
        _pick(rng, (140, 76, 60), (150, 128, 112), (112, 104, 104)),
        (190, 140, 118),
        0.6 * tone + 0.4 * _noise(rng, 40, None, 2),
    )
    seam = (y % height < 2) | ((x + (row % 2) * width // 2) % width < 2)
    wall[seam] = (186, 180, 170)
    return wall


def _cloth(rng: np.random.Generator) -> Field:
    base = _pick(rng, (176, 152, 148), (130, 146, 166), (206, 198, 182), (92, 100, 92))
    y, x = np.indices((SIDE, SIDE))
    count = int(rng.integers(6, 14))
    stripes = ((x * count // SIDE) % 2 + (y * count // SIDE) % 2 * int(rng.integers(2))) / 2
    weave = 0.5 + 0.25 * np.sin(x * 1.6) + 0.25 * np.sin(y * 1.6)
    cloth: Field = np.asarray(base, np.float32) * (0.84 + 0.2 * stripes + 0.08 * weave)[..., None].astype(np.float32)
    return cloth


def _paper(rng: np.random.Generator) -> Field:
    return _mix(
        _pick(rng, (214, 204, 184), (222, 222, 216), (206, 212, 220)),
        (246, 243, 235),
        0.5 * _noise(rng, 6) + 0.5 * _noise(rng, 150, None, 1),
    )


def _stone(rng: np.random.Generator) -> Field:
    return _mix(
        _pick(rng, (92, 94, 98), (118, 110, 102), (70, 76, 84)),
        (176, 174, 170),
        0.6 * _noise(rng, 8, None, 5) + 0.4 * _noise(rng, 100, None, 2),
    )


def _lights(rng: np.random.Generator) -> Field:
    """A town at night, out of focus."""
    import cv2

    picture = _mix((16, 18, 34), _pick(rng, (52, 44, 66), (30, 52, 70), (64, 48, 44)), _rows())
    for _ in range(34):
        glow = picture.copy()
        x, y, radius = int(rng.integers(SIDE)), int(rng.integers(SIDE)), int(rng.integers(8, 34))
        color = _pick(rng, (240, 190, 110), (230, 130, 90), (130, 170, 220), (210, 210, 190), (190, 120, 170))
        cv2.circle(glow, (x, y), radius, color, -1, cv2.LINE_AA)
        picture = picture + (glow - picture) * np.float32(rng.uniform(0.12, 0.35))
    blurred: Field = cv2.GaussianBlur(picture, (0, 0), 2.5)
    return blurred


def _hills(rng: np.random.Generator) -> Field:
    """A sky above three rows of hills, the nearest the darkest."""
    dusk = bool(rng.integers(2))
    sky = (
        _mix((90, 150, 214), (214, 230, 240), _rows())
        if not dusk
        else _mix((80, 84, 140), (246, 186, 132), _rows() * 1.4)
    )
    picture = _mix(sky, (246, 240, 236), np.clip(1.5 * _noise(rng, 3, 7) - 0.9, 0, 1))
    near = _pick(rng, (62, 96, 54), (92, 98, 56), (56, 88, 78))
    x = np.arange(SIDE) / SIDE
    for depth in range(3):
        waves = sum(np.sin(2 * np.pi * (k * x + rng.random())) / k for k in (1, 2, 3, 5))
        line = SIDE * (0.42 + 0.17 * depth + 0.045 * np.asarray(waves))
        fraction = (np.arange(SIDE)[:, None] > line[None]).astype(np.float32)
        color = tuple(
            int(0.33 * (2 - depth) * far + (1 - 0.33 * (2 - depth)) * own)
            for far, own in zip((168, 186, 204), near, strict=True)
        )
        lit = _mix(
            (color[0], color[1], color[2]), (color[0] + 36, color[1] + 36, color[2] + 20), _noise(rng, 20, 30, 3)
        )
        picture = _mix(picture, lit, fraction)
    return picture


def _beach(rng: np.random.Generator) -> Field:
    picture = _mix((120, 176, 222), (218, 232, 240), _rows() * 2)
    sea, shore = int(SIDE * rng.uniform(0.28, 0.4)), int(SIDE * rng.uniform(0.5, 0.66))
    picture[sea:] = _water(rng)[sea:]
    edge = shore + (10 * np.sin(np.linspace(0, 2 * np.pi * rng.uniform(1, 3), SIDE))).astype(int)
    below = (np.arange(SIDE)[:, None] - edge[None]).astype(np.float32)
    picture = _mix(picture, (240, 244, 244), np.exp(-np.abs(below) / 4).astype(np.float32))
    return _mix(picture, _sand(rng), np.clip(below / 6, 0, 1))


def _room(rng: np.random.Generator) -> Field:
    """A wall with light from a window, above a wooden floor."""
    wall = _mix(
        _pick(rng, (198, 186, 166), (170, 186, 186), (192, 170, 164), (150, 158, 172)),
        (236, 230, 220),
        _noise(rng, 2, 2, 2),
    )
    floor = int(SIDE * rng.uniform(0.6, 0.75))
    y, x = np.indices((SIDE, SIDE))
    start = int(rng.integers(SIDE // 8, SIDE // 2))
    lit = ((x + y // 3 > start) & (x + y // 3 < start + SIDE // 3) & (y > SIDE // 8) & (y < SIDE // 2)).astype(
        np.float32
    )
    wall = wall * (1 + 0.1 * lit)[..., None].astype(np.float32)
    wall[floor:] = _wood(rng)[floor:] * np.linspace(0.8, 1.1, SIDE - floor, dtype=np.float32)[:, None, None]
    wall[floor - 6 : floor] = (228, 224, 216)
    return wall


def _street(rng: np.random.Generator) -> Field:
    """A row of fronts, a pavement and a road."""
    picture = _mix((150, 186, 216), (222, 230, 234), _rows() * 2)
    left = 0
    while left < SIDE:
        width, top = int(rng.integers(50, 110)), int(rng.integers(20, 110))
        color = _pick(rng, (170, 130, 110), (190, 176, 150), (146, 150, 156), (160, 140, 128), (120, 128, 140))
        picture[top : SIDE * 6 // 10, left : left + width] = color
        for y in range(top + 14, SIDE * 6 // 10 - 24, 30):
            for x in range(left + 10, min(left + width, SIDE) - 16, 24):
                picture[y : y + 16, x : x + 12] = np.array(color) * 0.66
        left += width
    road = SIDE * 6 // 10
    picture[road : road + 28] = (178, 174, 168)
    picture[road + 28 :] = _mix((88, 90, 94), (116, 116, 118), _noise(rng, 80, None, 2))[road + 28 :]
    for x in range(int(rng.integers(40)), SIDE, 90):
        picture[SIDE * 84 // 100 : SIDE * 84 // 100 + 6, x : x + 48] = (216, 214, 204)
    return picture


PAINTERS: dict[str, Callable[[np.random.Generator], Field]] = {
    "gradient": _gradient,
    "paper": _paper,
    "sand": _sand,
    "snow": _snow,
    "stone": _stone,
    "clouds": _clouds,
    "grass": _grass,
    "water": _water,
    "wood": _wood,
    "bricks": _bricks,
    "cloth": _cloth,
    "lights": _lights,
    "hills": _hills,
    "beach": _beach,
    "room": _room,
    "street": _street,
}


CALM = ("gradient", "paper", "sand", "snow", "stone", "water", "grass", "cloth", "hills")
"""Grounds without edges that could be taken for writing."""
