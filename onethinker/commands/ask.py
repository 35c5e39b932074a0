"""`onethinker ask`: questions about pictures and videos."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from onethinker.commands.options import ASKING, AskingOptions, Flags
from onethinker.core.errors import AnswerError, ConfigError, MediaError, OneThinkerError
from onethinker.core.suffixes import WRITTEN_PICTURES, WRITTEN_VIDEO
from onethinker.families.built_in import TINY
from onethinker.inference.settings import MODEL_HELP
from onethinker.storage.strict_json import to_json

if TYPE_CHECKING:
    from onethinker.commands.asked import Item
    from onethinker.core.frames import Clip
    from onethinker.core.sample import Medium
    from onethinker.inference.question import Failed
    from onethinker.inference.thinker import Thinker
    from onethinker.inference.thought import Thought

DRAWN_SUFFIXES = (*WRITTEN_PICTURES, WRITTEN_VIDEO)


def ask(  # noqa: D417 (the help of --model is MODEL_HELP)
    words: Annotated[tuple[str, ...], tyro.conf.Positional],
    *,
    model: Annotated[str, tyro.conf.arg(help=MODEL_HELP)] = TINY,
    task: str | None = None,
    box: tuple[float, float, float, float] | None = None,
    options: tuple[str, ...] = (),
    earlier: tuple[str, ...] = (),
    questions: Path | None = None,
    each: bool = False,
    start: Annotated[str | None, tyro.conf.arg(name="from")] = None,
    to: str | None = None,
    allow_remote: bool = False,
    allow_private: bool = False,
    draw: Path | None = None,
    asking: Flags[AskingOptions] = ASKING,
    top_p: float = 1.0,
    json: bool = False,
) -> None:
    """Ask a model about pictures and videos and print its answer.

    Several files before the question are asked about together. A folder, or a pattern in quotes, is asked about file by
    file. Without a question, on a terminal, you type questions one after the other, and the model is given your earlier
    questions and its answers. A single answer is printed as text, several as one JSON line each.

    An answer that does not have the form of its task is printed unchanged, and stderr says what is wrong with it. With
    --draw that is an error (exit 1), because there is nothing to draw. Damage in a file is reported on stderr too.

    Args:
        words: Pictures and videos, then the question, e.g. a.jpg b.jpg "Which is older?". Instead of a file also a
            folder, a pattern such as "photos/*.jpg", - for standard input, or with --allow-remote an address.
        task: Problem type, e.g. "spatial grounding"; `onethinker tasks` lists them. By default the task is guessed from
            the question and the media, and printed on stderr.
        box: For tracking: the target in the first frame, as left top right bottom in thousandths of the frame.
        options: Choices of a multiple choice question, e.g. --options "A. red" "B. blue".
        earlier: Earlier questions about the same media, each followed by its answer, e.g. --earlier "Where is the cat?"
            "On the left."
        questions: JSONL file with "question" in each line and optionally "id", "media", "task", "box", "options",
            "earlier" (pairs), "from" and "to". Media paths are relative to the file.
        each: Ask the question about each file separately.
        start: Ask only about the part of a video from this time on: 12.5, 1:05 or 1:02:03. Times in the answer count
            from there.
        to: Ask only about the part of a video up to this time.
        allow_remote: Allow http and https addresses on the public internet as media.
        allow_private: With --allow-remote, also allow addresses on this machine and its network.
        draw: Write the picture (.png, .jpg) or video (.mp4) with the answer drawn in; for several answers, a folder.
        asking: Model and sampling options.
        top_p: Nucleus sampling: draw only from the most likely tokens whose probabilities sum up to this.
        json: Print one JSON object, with the fields that several answers have in each line: answer, thinking, problems,
            media_problems, media, frames, timing. `onethinker data from-answers` and `data export` read it.
    """
    from onethinker.commands.asked import Opening, gather, split_words

    # Mistakes that show without the model are reported before it is loaded.
    sampling = asking.sampling(top_p=top_p)
    media, question = split_words(words)
    rows = _questions(question, questions)
    opening = Opening(_part(start, to), allow_remote, allow_private)
    defaults = {"task": task, "box": box, "options": options, "earlier": _pairs(earlier)}
    items = gather(media, rows or [{"question": "?"}], opening, each=each, defaults=defaults)
    guessed = _check(items, draw, strict_media=asking.strict_media)
    if draw is not None and not rows:
        raise ConfigError(f"--draw {draw}: give the question whose answer is to be drawn, after the pictures or videos")
    if rows and guessed:
        print(f"task: {', '.join(sorted(guessed))}, guessed; --task to change", file=sys.stderr)
    with asking.load(model, sampling) as thinker:
        if not rows:
            _converse(thinker, items, json=json)
        elif len(items) == 1 and questions is None:
            _ask_one(thinker, items[0], draw, json=json)
        else:
            _ask_many(thinker, items, draw)


def _questions(question: str | None, file: Path | None) -> list[Mapping[str, Any]]:
    """Return what is asked, [] where it is asked for on the terminal. Raises: ConfigError, DataError."""
    from onethinker.commands.asked import read_questions

    if file is not None:
        if question is not None:
            raise ConfigError(f"give a question or --questions FILE, not both; got {question!r}")
        return [*read_questions(file)]
    if question is not None:
        return [{"question": question}]
    if not sys.stdin.isatty():
        raise ConfigError('give a question after the pictures or videos, such as "Where is the cat?"')
    return []


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """Return each earlier question with its answer. Raises: ConfigError: one lacks its answer."""
    if len(words) % 2:
        raise ConfigError(f"--earlier takes pairs of a question and its answer; {words[-1]!r} has no answer")
    return [*zip(words[::2], words[1::2], strict=True)]


def _part(start: str | None, to: str | None) -> tuple[float | None, float | None]:
    from onethinker.commands.asked import parse_seconds

    parts = []
    for name, text in (("from", start), ("to", to)):
        try:
            parts.append(None if text is None else parse_seconds(text))
        except ValueError as error:
            raise ConfigError(f"--{name}: {error}") from error
    return parts[0], parts[1]


def _check(items: Sequence["Item"], draw: Path | None, *, strict_media: bool) -> set[str]:
    """Look at all that is asked about before a model is loaded, and return the guessed tasks.

    Raises: ConfigError, DataError, MediaError
    """
    from onethinker.inference.question import question_sample
    from onethinker.media.damage import check_undamaged

    clips, unreadable = _look_at_all(items)
    readable = [item for item in items if not unreadable.keys() & set(item.media)]
    if unreadable and (strict_media or not readable):
        raise next(iter(unreadable.values()))
    if strict_media:
        check_undamaged([*clips.values()], [*clips])
    guessed = set()
    for item in readable:
        asked, media = item.question, [clips[medium] for medium in item.media]
        sample = question_sample(
            media, asked.question, task=asked.task, box=asked.box, options=asked.options, earlier=asked.turns
        )
        if asked.task is None:
            guessed.add(sample.problem_type)
    if draw is not None:
        _check_drawing(items, clips, draw)
    return guessed


def _look_at_all(items: Sequence["Item"]) -> "tuple[dict[Medium, Clip], dict[Medium, MediaError]]":
    """Return the media that can be read, and why others cannot.

    Raises: MediaError: the only item, or what is no file, cannot be read.
    """
    from onethinker.media.reading import look_at

    clips: dict[Medium, Clip] = {}
    unreadable: dict[Medium, MediaError] = {}
    for medium in dict.fromkeys(medium for item in items for medium in item.media):
        try:
            clips[medium] = look_at(medium)
        except MediaError as error:
            # Of many, one damaged file fails in its turn; a file that is not there is a mistake of the command line.
            if len(items) == 1 or not (isinstance(medium, Path) and medium.exists()):
                raise
            unreadable[medium] = error
            print(f"note: {error}; continuing with the other files", file=sys.stderr)
    return clips, unreadable


def _check_drawing(items: Sequence["Item"], clips: "Mapping[Medium, Clip]", draw: Path) -> None:
    """Raise ConfigError where the answers cannot be drawn there: one into a file, several into a folder."""
    from onethinker.media.writing import check_target
    from onethinker.storage.atomic import check_writable

    if len(items) == 1:
        check_target("video" if any(clip.kind == "video" for clip in clips.values()) else "image", draw, flag="--draw")
        return
    if draw.suffix.lower() in DRAWN_SUFFIXES or draw.is_file():
        raise ConfigError(f"--draw {draw}: {len(items)} answers are drawn into a folder; name a folder, not a file")
    check_writable(draw, "folder", flag="--draw")


def _ask_one(thinker: "Thinker", item: "Item", draw: Path | None, *, json: bool) -> "Thought":
    """Print one answer and return it, on a terminal while it is generated."""
    asked = item.question
    thought = thinker.ask(**vars(asked)) if json or not sys.stdout.isatty() else _stream(thinker, item)
    if json:
        print(to_json(_line(item, thought)))
    elif not sys.stdout.isatty():
        text = (thought.text,) if thought.answer is None else (thought.thinking, thought.answer_text)
        print(*filter(None, text), sep="\n\n")
    for problem in (*thought.media_problems, *thought.problems):
        print(f"problem: {problem}", file=sys.stderr)
    timing = thought.timing
    print(
        f"{timing.decode_s:.2f} s decoding, {timing.prompt_s:.2f} s prompt, {timing.answer_s:.2f} s answer",
        file=sys.stderr,
    )
    if draw is not None:
        if thought.answer is None:
            raise AnswerError(f"{draw} not written: there is no usable answer to draw")
        thought.save(draw)
        print(f"wrote {draw}", file=sys.stderr)
    return thought


def _stream(thinker: "Thinker", item: "Item") -> "Thought":
    for piece in thinker.stream(**vars(item.question)):
        if isinstance(piece, str):
            print(piece, end="", flush=True)
        else:
            print()
            return piece
    raise AssertionError("a stream ends with its thought")


def _ask_many(thinker: "Thinker", items: Sequence["Item"], draw: Path | None) -> None:
    """Print a JSON line for each answer, and go on after a question that fails. Raises: OneThinkerError: some did."""
    from onethinker.commands.console import progress_bar
    from onethinker.inference.question import Failed

    if draw is not None:
        draw.mkdir(parents=True, exist_ok=True)
    failed = 0
    with progress_bar("asking") as on_progress:
        on_progress(0, len(items))
        for index, (item, outcome) in enumerate(zip(items, _outcomes(thinker, items), strict=True)):
            print(to_json(_line(item, outcome)), flush=True)
            failed += isinstance(outcome, Failed)
            if draw is not None and not isinstance(outcome, Failed) and outcome.answer is not None:
                suffix = WRITTEN_VIDEO if outcome.clip.kind == "video" else ".png"
                outcome.save(draw / f"{index:04d}_{Path(outcome.clip.name).stem}{suffix}")
            on_progress(index + 1, len(items))
    if failed:
        raise OneThinkerError(f"{failed} of {len(items)} questions have no answer; their output lines say why")


def _outcomes(thinker: "Thinker", items: Sequence["Item"]) -> "Iterator[Thought | Failed]":
    return thinker.ask_many(item.question for item in items)


def _line(item: "Item", outcome: "Thought | Failed") -> dict[str, Any]:
    named = {} if item.id is None else {"id": item.id}
    options = {"options": list(item.question.options)} if item.question.options else {}
    clips = {"clips": item.clips} if item.clips else {}
    return {**named, **outcome.to_dict(), **options, "media": item.names, **clips}


def _converse(thinker: "Thinker", items: Sequence["Item"], *, json: bool) -> None:
    """Ask for questions on the terminal until an empty line; each follows what was asked and answered before."""
    from dataclasses import replace

    items = list(items)
    print("One question a line; an empty line ends.", file=sys.stderr)
    while True:
        try:
            question = input("> ").strip()
        except EOFError:
            return
        if not question:
            return
        for index, item in enumerate(items):
            asked = replace(item, question=replace(item.question, question=question))
            try:
                thought = _ask_one(thinker, asked, None, json=json)
                if asked.question.task is None:
                    print(f"task: {thought.task}, guessed; --task to change", file=sys.stderr)
            except OneThinkerError as error:
                print(f"error: {error}", file=sys.stderr)
                continue
            items[index] = replace(item, question=replace(item.question, source=thought, earlier=()))
