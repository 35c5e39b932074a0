"""`onethinker ask`: one question about one picture or video."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from onethinker.commands.options import ASKING, MODEL_HELP, AskingOptions, Flags
from onethinker.core.suffixes import WRITTEN_PICTURES, WRITTEN_VIDEO

DRAWN_SUFFIXES = (*WRITTEN_PICTURES, WRITTEN_VIDEO)


def ask(  # noqa: D417 (the help of --model is MODEL_HELP)
    source: Annotated[Path, tyro.conf.Positional],
    question: Annotated[str, tyro.conf.Positional],
    *,
    model: Annotated[str, tyro.conf.arg(help=MODEL_HELP)],
    task: str = "open-ended",
    box: tuple[float, float, float, float] | None = None,
    options: tuple[str, ...] = (),
    draw: Path | None = None,
    asking: Flags[AskingOptions] = ASKING,
    top_p: float = 1.0,
    json: bool = False,
) -> None:
    """Ask a model about a picture or video and print its answer.

    An answer that is not of the task's form is printed as it came, and what is wrong with it on stderr; with --draw
    that is an error (exit 1), because there is nothing to draw.

    Args:
        source: Picture or video file.
        question: What to ask, e.g. "Where is the cat?".
        task: Problem type, e.g. "spatial grounding"; `onethinker tasks` lists them.
        box: Target in the first frame, for tracking: left top right bottom in thousandths of the frame.
        options: Choices of a multiple choice question, e.g. --options "A. red" "B. blue".
        draw: Write the picture (.png, .jpg) or video (.mp4) with the answer drawn in.
        asking: How the model is asked.
        top_p: Fraction of the probability that is sampled from.
        json: Print one JSON object: answer, thinking, problems, frames, timing.
    """
    from onethinker.core.errors import AnswerError, ConfigError

    if draw is not None and draw.suffix.lower() not in DRAWN_SUFFIXES:
        raise ConfigError(f"--draw {draw}: expected a name that ends in {', '.join(DRAWN_SUFFIXES)}")
    from onethinker.inference.question import question_sample
    from onethinker.media.reading import look_at
    from onethinker.media.writing import check_target

    # Mistakes that show without the model are reported before it is loaded.
    seen = look_at(source)
    question_sample(seen, question, task=task, box=box, options=options)
    if draw is not None:
        check_target(seen.kind, draw)
    with asking.load(model, asking.sampling(top_p=top_p)) as thinker:
        thought = thinker.ask(source, question, task=task, box=box, options=options)
    if json:
        print(thought.to_json())
    elif thought.answer is None:
        print(thought.text)
    else:
        print(*filter(None, (thought.thinking, thought.answer_text)), sep="\n\n")
    for problem in thought.problems:
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
