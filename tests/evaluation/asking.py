"""How a test evaluates with an engine of its own: the stages that the runner has, one after the other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onethinker.core.sample import Sample
from onethinker.evaluation.examples import draw_examples
from onethinker.evaluation.results import Result
from onethinker.evaluation.stages import answer, score
from onethinker.inference.engine import Engine
from onethinker.rewards.judge import Judge


def evaluate(
    engine: Engine, samples: Sequence[Sample], *, output: Path, judge: Judge | None = None, **how: Any
) -> list[Result]:
    """Ask, grade and draw; return a result a sample."""
    answer(engine, samples, output=output, judge=judge, **how)
    results = score(samples, output=output, judge=judge)
    draw_examples(samples, results, output)
    return results
