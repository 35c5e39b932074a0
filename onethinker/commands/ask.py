"""`onethinker ask`: one question about one picture or video."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from onethinker.core.suffixes import WRITTEN_PICTURES, WRITTEN_VIDEO

DRAWN_SUFFIXES = (*WRITTEN_PICTURES, WRITTEN_VIDEO)


def ask(
    source: Annotated[Path, tyro.conf.Positional],
    question: Annotated[str, tyro.conf.Positional],
    *,
    model: str,
    task: str = "open-ended",
    box: tuple[float, float, float, float] | None = None,
    options: tuple[str, ...] = (),
    draw: Path | None = None,
    prompt_template: Path | None = None,
    settings: Path | None = None,
    max_new_tokens: int = 4096,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Ask a model about a picture or video and print its answer.

    An answer that is not of the task's form is printed as it came, and what is wrong with it on stderr; with --draw
    that is an error (exit 1), because there is nothing to draw.

    Args:
        source: Picture or video file.
        question: What to ask, e.g. "Where is the cat?".
        model: A Hugging Face id, a model folder, "tiny", or the address of a server such as http://host:8000/v1.
        task: Problem type, e.g. "spatial grounding"; `onethinker tasks` lists them.
        box: Target in the first frame, for tracking: left top right bottom in thousandths of the frame.
        options: Choices of a multiple choice question, e.g. --options "A. red" "B. blue".
        draw: Write the picture (.png, .jpg) or video (.mp4) with the answer drawn in.
        prompt_template: TOML file with the words around a question, for weights trained with other ones.
        settings: Model folder whose words and media budget to use, for a model that a server serves.
        max_new_tokens: Longest answer, in tokens.
        temperature: 0 gives the most likely answer, more gives variety.
        top_p: Share of the probability that is sampled from.
        seed: Seed of the sampling.
        json: Print one JSON object: answer, thinking, problems, frames, timing.
    """
    from onethinker.core.errors import AnswerError, ConfigError

    if draw is not None and draw.suffix.lower() not in DRAWN_SUFFIXES:
        raise ConfigError(f"--draw {draw}: expected a name that ends in {', '.join(DRAWN_SUFFIXES)}")
    from onethinker.core.request import SamplingParams
    from onethinker.inference.thinker import Thinker, question_sample
    from onethinker.media.reading import look_at
    from onethinker.media.writing import check_target

    # What can be said without the model is said before it is loaded.
    seen = look_at(source)
    question_sample(seen, question, task=task, box=box, options=options)
    if draw is not None:
        check_target(seen.kind, draw)
    sampling = SamplingParams(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed)
    with Thinker.load(model, prompt_template=prompt_template, settings=settings, sampling=sampling) as thinker:
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
