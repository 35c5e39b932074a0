"""Words and numbers on signs and walls: what is written, how large, in which colour and how turned."""

from dataclasses import replace

import numpy as np

from onethinker.core.geometry import Span
from onethinker.data.synthetic.questions import Question
from onethinker.data.synthetic.world.asking import ORDINALS, Ask, Asker, Family, tenths
from onethinker.data.synthetic.world.backgrounds import Background, draw_background, is_dark
from onethinker.data.synthetic.world.characters import characters
from onethinker.data.synthetic.world.lettering import BOARD_PADDING, FONTS, width_of
from onethinker.data.synthetic.world.phrasing import say
from onethinker.data.synthetic.world.scene import Scene, World, Writing, draw_look
from onethinker.data.synthetic.world.things import KINDS_OF_THINGS

Color = tuple[int, int, int]

_SIGNS = """
    open closed stop exit sale free new hello welcome menu coffee tea milk water bread shop hotel taxi park
    school bank zoo farm market station street north south east west left right push pull hot cold big small
    fast slow up down in out yes no good bad day night summer winter music game love home help time year today
    quiet warning danger keep clean please thank you lost found price ticket art food fresh red green blue white
    black yellow salt sugar paper gold silver king queen team
""".split()  # noqa: SIM905
WORDS = tuple(dict.fromkeys([*_SIGNS, *(name for name in KINDS_OF_THINGS if " " not in name)]))
"""What signs say, besides numbers."""
DARK_INKS: dict[str, Color] = {
    "black": (22, 22, 26),
    "red": (196, 28, 36),
    "blue": (28, 66, 190),
    "green": (16, 112, 50),
    "purple": (120, 40, 150),
}
LIGHT_INKS: dict[str, Color] = {"white": (246, 246, 242), "yellow": (250, 222, 70), "orange": (255, 164, 64)}
_LIGHT_BOARDS: tuple[Color, ...] = ((248, 246, 238), (236, 240, 246), (250, 240, 206))
_DARK_BOARDS: tuple[Color, ...] = ((30, 34, 44), (26, 60, 110), (24, 84, 52), (120, 26, 30))
_ROOM = 0.92  # of the frame, for a text


def draw_words(rng: np.random.Generator, count: int) -> tuple[str, ...]:
    """Return words, and now and then a number, all different."""
    texts: list[str] = []
    while len(texts) < count:
        text = WORDS[int(rng.integers(len(WORDS)))] if rng.random() < 0.8 else str(rng.integers(10, 1000))
        if text not in texts:
            texts.append(text)
    return tuple(texts)


def draw_writing(
    rng: np.random.Generator,
    background: Background,
    lines: tuple[str, ...],
    *,
    largest: float = 0.3,
    turn: float = 14.0,
    colorful: bool = True,
) -> Writing:
    """Return lines in a font and colour that can be read on the ground or on a sign, as large as there is room; at
    times turned.
    """
    a, b, c, d, e = rng.random(5).tolist()
    font = int(rng.integers(len(FONTS)))
    board = None
    on_dark = is_dark(background)
    if a < 0.55:
        on_dark = b < 0.45
        boards = _DARK_BOARDS if on_dark else _LIGHT_BOARDS
        board = boards[int(rng.integers(len(boards)))]
    inks = list((LIGHT_INKS if on_dark else DARK_INKS).values())
    angle = turn * (2 * d - 1) if c < 0.5 else 0.0
    if turn and c > 0.93:
        angle = 90.0 if d < 0.5 else -90.0
    height = fitting_height(lines, font, angle=angle, has_board=board is not None, largest=largest) * (0.8 + 0.2 * e)
    x, y = _free_position(rng, _extent(lines, font, height, angle, has_board=board is not None))
    return Writing(
        lines, font, inks[int(rng.integers(len(inks)))] if colorful else inks[0], board, (x, y), height, angle
    )


def fitting_height(
    lines: tuple[str, ...], font: int, *, angle: float = 0.0, has_board: bool = False, largest: float = 0.3
) -> float:
    """Return the height of a line, at most `largest`, at which the lines fit into the frame."""
    width, height = _extent(lines, font, 1.0, angle, has_board=has_board)
    return min(largest, _ROOM / width, _ROOM / height)


def _extent(lines: tuple[str, ...], font: int, height: float, angle: float, *, has_board: bool) -> tuple[float, float]:
    """Return how wide and tall lines of a height are when they are turned, with the sign behind them."""
    padding = 2 * BOARD_PADDING * has_board
    wide = (max(width_of(line, font) for line in lines) + padding) * height
    tall = (len(lines) * 1.35 + 0.3 * (len(lines) - 1) + padding) * height
    cos, sin = abs(np.cos(np.deg2rad(angle))), abs(np.sin(np.deg2rad(angle)))
    return float(wide * cos + tall * sin), float(wide * sin + tall * cos)


def _free_position(rng: np.random.Generator, extent: tuple[float, float]) -> tuple[float, float]:
    wide, tall = extent
    a, b = rng.random(2).tolist()
    room_x, room_y = max(0.0, _ROOM - wide), max(0.0, _ROOM - tall)
    return 0.5 + room_x * (a - 0.5), 0.5 + room_y * (b - 0.5)


def draw_text(rng: np.random.Generator, _: World) -> Scene:
    """Return one to three words, in one line, or wrapped into several."""
    background = draw_background(rng, calm=True)
    count = (1, 1, 1, 2, 2, 3)[int(rng.integers(6))]
    words = draw_words(rng, count)
    if count == 2 and sum(map(len, words)) <= 8 and rng.random() < 0.5:
        words = (" ".join(words),)
    return Scene(background, writings=(draw_writing(rng, background, words),), look=draw_look(rng))


def draw_two_texts(rng: np.random.Generator, _: World) -> Scene:
    """Return two or three words below each other in different colours, on the ground."""
    background = draw_background(rng, calm=True)
    inks = LIGHT_INKS if is_dark(background) else DARK_INKS
    words = draw_words(rng, int(rng.integers(2, 4)))
    colors = [list(inks)[int(n)] for n in rng.permutation(len(inks))[: len(words)]]
    font = int(rng.integers(len(FONTS)))
    writings = []
    for row, (word, color) in enumerate(zip(words, colors, strict=True)):
        height = fitting_height((word,), font, largest=0.5 / len(words))
        wide = width_of(word, font) * height
        x = 0.5 + float(rng.uniform(-0.5, 0.5)) * max(0.0, _ROOM - wide)
        writings.append(Writing((word,), font, inks[color], None, (x, (row + 0.5) / len(words)), height))
    return Scene(background, writings=tuple(writings), look=draw_look(rng))


def _admits(asker: Asker, text: str, writing: Writing, relation: str) -> bool:
    column, row = (min(2, int(3 * fraction)) for fraction in writing.center)
    return asker.admits(text, str(writing.ink), f"{column}{row}", f"{relation} {FONTS[writing.font]}")


def spell(writing: Writing, side_px: int, *, line: int | None = None) -> str:
    """Return a text, or one line of it, as reasoning spells it before the answer: where each character is, in tenths of
    the frame, and which one, then the word if it has several, as in "2 3 r, 3 3 e, 4 3 d red, 2 6 1, 3 6 7 17, 5 6 x".

    A small model that only lists the letters of a word reads the first and guesses the rest (docs/results/things.md).
    """
    counts = [len(text.split()) for text in writing.lines]
    first, last = (0, sum(counts)) if line is None else (sum(counts[:line]), sum(counts[: line + 1]))
    words = " ".join(writing.lines).split()
    notes: list[list[str]] = [[] for _ in words]
    for character in characters(writing, side_px):
        notes[character.word].append(f"{character.point} {character.text}")
    spelled = [", ".join(notes[k]) + (f" {words[k]}" if len(words[k]) > 1 else "") for k in range(first, last)]
    return ", ".join(spelled)


def read(asker: Asker) -> Question | None:
    """Ask for all that is written."""
    writings = asker.shot.scene.writings
    lines = [line for writing in writings for line in writing.lines]
    if not _admits(asker, " ".join(lines), writings[0], "read"):
        return None
    text = " ".join(lines)
    count = len(text.split())
    spelled = ", ".join(spell(writing, asker.shot.clip.width) for writing in writings)
    reasoning = f"{count} word{'s' if count > 1 else ''}: {spelled}."
    return Question(asker.shot, say(asker.rng, "read"), reasoning, text)


def spell_in_turn(asker: Asker) -> str:
    """Return the texts of a clip, spelled, each behind the second at which it appears."""
    width = asker.shot.clip.width
    return ", ".join(f"{w.visible.start} {spell(w, width)}" for w in asker.shot.scene.writings if w.visible)


def read_color(asker: Asker) -> Question | None:
    """Ask for the word of one colour."""
    names = {value: name for name, value in (DARK_INKS | LIGHT_INKS).items()}
    ways = [w for w in asker.shot.scene.writings if _admits(asker, w.lines[0], w, "color")]
    chosen = asker.pick(range(len(ways)))
    if chosen is None:
        return None
    color = names[ways[chosen].ink]
    problem, text = say(asker.rng, "read_color", color=color), ways[chosen].lines[0]
    lines = [f"{' '.join(tenths(1000 * side) for side in w.center)} {names[w.ink]}" for w in asker.shot.scene.writings]
    spelled = spell(ways[chosen], asker.shot.clip.width)
    return Question(asker.shot, problem, f"{', '.join(lines)}. the {color} {spelled}.", text)


def read_line(asker: Asker) -> Question | None:
    """Ask for one of several lines."""
    writings = asker.shot.scene.writings
    lines = [(line, writing, k) for writing in writings for k, line in enumerate(writing.lines)]
    ways = [n for n, (line, writing, _) in enumerate(lines) if _admits(asker, line, writing, f"line {n}")]
    n = asker.pick(ways)
    if n is None or len(lines) < 2 or abs(lines[n][1].angle) > 45:
        return None
    text, writing, k = lines[n]
    reasoning = f"there are {len(lines)} lines, the {ORDINALS[n]}: {spell(writing, asker.shot.clip.width, line=k)}."
    return Question(asker.shot, say(asker.rng, "read_line", ordinal=ORDINALS[n]), reasoning, text)


def in_turn(
    rng: np.random.Generator, background: Background, texts: tuple[str, ...], duration_s: float
) -> tuple[Writing, ...]:
    """Return texts that are shown one after the other in one hand, each for the same time, with a quarter of a second
    between.
    """
    longest = max(texts, key=len)
    first = draw_writing(rng, background, (longest,), turn=0.0)
    each_s = duration_s / len(texts)
    return tuple(
        replace(first, lines=(text,), visible=Span(k * each_s, (k + 1) * each_s - 0.25)) for k, text in enumerate(texts)
    )


OCR_QUESTIONS: tuple[tuple[Family, tuple[Ask, ...]], ...] = (
    (draw_text, (read,)),
    (draw_text, (read,)),
    (draw_two_texts, (read, read_color, read_line)),
)
"""Sorts of pictures with text, and what can be asked about them."""
