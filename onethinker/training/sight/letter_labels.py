"""What each visual token of a picture shows: a thing or something written, its colour and box, and the characters in
its halves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from onethinker.core.geometry import Box
from onethinker.data.synthetic.world.characters import Character, characters
from onethinker.data.synthetic.world.pages import CHARACTERS
from onethinker.data.synthetic.world.rendering import Shot
from onethinker.data.synthetic.world.things import SEEN
from onethinker.data.synthetic.world.writing import DARK_INKS, LIGHT_INKS
from onethinker.training.sight.things import COLOR_NAMES, LEAST_COVER, TOKEN_PX, place_of

# V visual tokens of a picture, N boxes
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

THINGS = tuple(kind.name for kind in SEEN)
WRITTEN = 1 + len(THINGS)  # the class of what is written; 0 is that of nothing
UNKNOWN = -1  # a colour that nothing is learned from
_CLASSES = {name: n + 1 for n, name in enumerate(THINGS)}
_INKS = {ink: name for name, ink in (DARK_INKS | LIGHT_INKS).items()}
_COVERED = 0.15  # of a token by a word, or
_HELD = 0.4  # of a word by a token, for the token to show it
_SEEN_CHARACTER = 0.25  # of a character or of the half, for the half to show it


@dataclass(frozen=True)
class Labels:
    """Of V visual tokens: what each shows (0: nothing, then THINGS, then WRITTEN), in which colour, in which box (as
    `place_of` says), and the characters (0: none, then CHARACTERS) in its left and right half, (2, V).
    """

    names: Ints
    colors: Ints
    boxes: Floats
    halves: Ints


def labels(shot: Shot, side: int) -> Labels:
    """Return the labels of a picture that is seen as `side` x `side` visual tokens, whatever its own size."""
    found = Labels(
        np.zeros(side**2, np.int64),
        np.zeros(side**2, np.int64),
        np.tile(place_of(None), (side**2, 1)),
        np.zeros((2, side**2), np.int64),
    )
    covered = _label_things(found, shot, side)
    cells = _cells(side)
    placed = [(w, characters(w, shot.owners.shape[1])) for w in shot.scene.writings]
    for written, placed_characters in placed:
        for n in sorted({character.word for character in placed_characters}):
            boxes = np.array([character.box for character in placed_characters if character.word == n])
            shows = _shows(boxes, cells, covered)
            found.names[shows] = WRITTEN
            found.colors[shows] = COLOR_NAMES.get(_INKS.get(written.ink, ""), UNKNOWN)
            found.boxes[shows] = place_of(_box_around(boxes))
    _label_halves(found, [character for _, placed_characters in placed for character in placed_characters], cells)
    return found


def joined(parts: Sequence[Labels]) -> Labels:
    """Return the labels of several pictures as those of one list of visual tokens."""
    return Labels(
        np.concatenate([part.names for part in parts]),
        np.concatenate([part.colors for part in parts]),
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.halves for part in parts], axis=1),
    )


def _label_things(found: Labels, shot: Shot, side: int) -> Floats:
    """Label the tokens that things cover; return by which fraction of its pixels each token is covered so far."""
    things = shot.scene.things
    if not things:
        return np.zeros(side**2)
    owners = cv2.resize(shot.owners[0], (side * TOKEN_PX, side * TOKEN_PX), interpolation=cv2.INTER_NEAREST)
    pixels = owners.reshape(side, TOKEN_PX, side, TOKEN_PX).transpose(0, 2, 1, 3).reshape(side**2, -1)
    covers = np.stack([(pixels == n + 1).mean(1) for n in range(len(things))], 1)
    places = [place_of(shot.box(n)) for n in range(len(things))]
    for token in np.flatnonzero(covers.max(1) >= LEAST_COVER):
        n = int(covers[token].argmax())
        found.names[token] = _CLASSES[things[n].kind.name]
        found.colors[token] = COLOR_NAMES[things[n].color]
        found.boxes[token] = places[n]
    covered: Floats = covers.max(1)
    return covered


def _shows(boxes: Floats, cells: Floats, covered: Floats) -> npt.NDArray[np.bool_]:
    """Return which tokens show a word of characters in these boxes, and write down how much of them it covers."""
    overlap = _overlaps(boxes, cells).sum(0)
    fraction = overlap * len(cells)
    shows: npt.NDArray[np.bool_] = ((fraction >= _COVERED) | (overlap >= _HELD * _areas(boxes).sum())) & (
        fraction > covered
    )
    covered[shows] = fraction[shows]
    return shows


def _label_halves(found: Labels, placed: list[Character], cells: Floats) -> None:
    if not placed:
        return
    boxes = np.array([character.box for character in placed])
    classes = np.array([CHARACTERS.index(character.text) + 1 for character in placed])
    middle = cells[:, [0, 2]].mean(1)
    for half, edge in enumerate((2, 0)):
        halves = cells.copy()
        halves[:, edge] = middle
        fraction = _overlaps(boxes, halves) / np.minimum(_areas(boxes)[:, None], _areas(halves))
        best = fraction.argmax(0)
        found.halves[half] = np.where(fraction.max(0) >= _SEEN_CHARACTER, classes[best], 0)


def _cells(side: int) -> Floats:
    rows, columns = np.divmod(np.arange(side**2), side)
    return np.stack([columns, rows, columns + 1, rows + 1], 1) / side


def _areas(boxes: Floats) -> Floats:
    areas: Floats = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def _overlaps(boxes: Floats, cells: Floats) -> Floats:
    """Return how much of the picture each box and each cell share, (N, V)."""
    left, top = (np.maximum(boxes[:, None, n], cells[None, :, n]) for n in (0, 1))
    right, bottom = (np.minimum(boxes[:, None, n], cells[None, :, n]) for n in (2, 3))
    overlaps: Floats = np.clip(right - left, 0, None) * np.clip(bottom - top, 0, None)
    return overlaps


def _box_around(boxes: Floats) -> Box:
    corners = 1000 * np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])
    return Box(*corners.tolist())
