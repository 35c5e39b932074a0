"""How many synthetic samples a second one core makes, by problem type.

Run: python benchmarks/synthetic.py [--samples 400] [--world things]

Target (issue 2): 500 image samples a second. Measured on 2026-11-24 on a shared 2-core machine without a GPU:
2,200 image samples and 1,100 clips a second of one core's time. The world of things: docs/world.md.
"""

from functools import partial
from typing import get_args

import cv2
import numpy as np
from measuring import parser_of, seconds

from onethinker.data.synthetic import KINDS, make_sample
from onethinker.data.synthetic.worlds import WorldName


def measure_rate(problem_type: str, data_type: str, num_samples: int, world: WorldName) -> float:
    """Return samples a second of processor time."""
    make = partial(make_sample, 0, problem_type=problem_type, data_type=data_type, world=world)
    return num_samples / seconds(lambda: [make(index) for index in range(num_samples)])


def main() -> None:
    """Print one line a problem type and data type, and the rate of an even mixture of each data type."""
    parser = parser_of(__doc__)
    parser.add_argument("--samples", type=int, default=400, help="samples of each problem type")
    parser.add_argument("--world", choices=get_args(WorldName), default="shapes", help="what the scenes show")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    # Backgrounds and sprites are made when they are first needed: a few seconds, once.
    for index in range(4 * options.samples):
        make_sample(1, index, world=options.world)
    for data_type in ("image", "video"):
        rates = {p: measure_rate(p, d, options.samples, options.world) for p, d in KINDS if d == data_type}
        for problem_type, rate in rates.items():
            print(f"{data_type:6} {problem_type:28} {rate:7.0f} samples/s")
        print(
            f"{data_type:6} {'all, evenly mixed':28} "
            f"{len(rates) / np.sum(1 / np.array(list(rates.values()))):7.0f} samples/s"
        )


if __name__ == "__main__":
    main()
