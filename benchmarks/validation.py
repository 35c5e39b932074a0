"""How well a model answers questions about pictures of the validation split: half a minute on 2 cores.

Run: python benchmarks/validation.py runs/sft/model

Scenes are `make_sample(7, n, split="validation")`; greedy answers, accuracy in the paper scheme with its standard
error. Of colour questions it also says how often the list of what is seen was right, and how often such a list got the
right answer. Table: docs/results/shapes.md.
"""

import re
import statistics
from collections import defaultdict

import torch
from measuring import parser_of

from onethinker.core.request import SamplingParams
from onethinker.core.sample import Sample
from onethinker.data.synthetic import make_sample
from onethinker.inference.encode import build_request
from onethinker.inference.loading import load_local
from onethinker.tasks import grade_response, task_of

COUNTS = {"multiple choice": 1200, "numerical": 128, "spatial grounding": 128, "math": 128, "OCR": 128}
"""Questions of each problem type; a third of the first are about colours."""
AT_ONCE = 64


def seen(response: str) -> list[str]:
    """Return the things that a response lists."""
    found = re.search(r"I see (.*?)\.", response)
    return sorted(found[1].split(", ")) if found else []


def main() -> None:
    """Print accuracy by kind of question."""
    parser = parser_of(__doc__)
    parser.add_argument("model", help="a model folder")
    engine = load_local(parser.parse_args().model)
    torch.set_num_threads(2)
    accuracies: dict[str, list[float]] = defaultdict(list)
    right_lists: list[float] = []
    for problem_type, count in COUNTS.items():
        samples = [
            make_sample(7, index, problem_type=problem_type, data_type="image", split="validation")
            for index in range(count)
        ]
        for first in range(0, count, AT_ONCE):
            some = samples[first : first + AT_ONCE]
            replies = engine.complete(
                [build_request(s, engine.prompt_template, engine.budget) for s in some],
                SamplingParams(max_new_tokens=160),
            )
            for sample, reply in zip(some, replies, strict=True):
                accuracy = accuracy_of(sample, reply.text)
                words = " ".join(sample.problem.split()[:3])
                for kind in (problem_type, f"{problem_type}: {words} …"):
                    accuracies[kind].append(accuracy)
                if words == "What color is" and seen(reply.text) == seen(sample.response or ""):
                    right_lists.append(accuracy)
    for kind, values in accuracies.items():
        error = statistics.stdev(values) / len(values) ** 0.5
        print(f"{kind:40} {statistics.mean(values):.3f} ± {error:.3f} of {len(values)}")
    print(f"colour questions with a right list: {len(right_lists)}, of them answered right {sum(right_lists):.0f}")


def accuracy_of(sample: Sample, text: str) -> float:
    """Return the accuracy of an answer in the paper scheme."""
    task = task_of(sample)
    return grade_response(text, sample.truth, task=task, options=sample.options, reward_scheme="paper").accuracy


if __name__ == "__main__":
    main()
