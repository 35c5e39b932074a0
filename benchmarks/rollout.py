"""Answers sampled by vLLM's servers against those of our own decoder, and what a weight update costs.

Run: python benchmarks/rollout.py ADDRESS [ADDRESS …] [--model tiny] [--answers 8 64 256] [--rounds 3]

The servers serve the model as `rollout.engine = "vllm"` wants it (docs/training.md); cluster/vllm/serve_cpu.sh starts
one on the CPU. Pictures and clips of the world of things, 8 answers to each prompt, at most 96 tokens each, all of them
in flight at once. In each round ours and the fleet's take turns over the same prompts; what counts is the wall clock,
because the servers are other processes: on a busy machine compare within a round. "scored" is what the model in
training takes to compute the log-probabilities of the fleet's answers again, which RL does and the fleet's rate leaves
out. Figures: docs/results/rollouts.md.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import torch
from measuring import parser_of

from onethinker.core.request import SamplingParams
from onethinker.data.synthetic import make_sample
from onethinker.inference.encode import build_request
from onethinker.rl.in_process import InProcessSampler
from onethinker.rl.remote import RemoteSampler
from onethinker.rl.rescoring import rescored
from onethinker.rl.sampler import Rollout, RolloutRequest
from onethinker.training.config import RlRecipe
from onethinker.training.opening import open_session
from onethinker.training.session import TrainingSession

GROUP, TOKENS = 8, 96


def prompts_of(session: TrainingSession, count: int) -> list[RolloutRequest]:
    """Return questions about pictures and clips in turn."""
    data = session.data
    samples = [make_sample(3, index, world="things") for index in range(count)]
    requests = [build_request(sample, data.prompt_template, data.budget) for sample in samples]
    return [RolloutRequest(*pair) for pair in zip(requests, data.prompts(requests), strict=True)]


def tokens_of(groups: Sequence[Sequence[Rollout]]) -> int:
    """Return how many tokens were sampled."""
    return sum(len(rollout.ids) for group in groups for rollout in group)


def compare(ours: InProcessSampler, fleet: RemoteSampler, answers: int, rounds: int) -> None:
    """Print the tokens a second of both, with so many answers in flight."""
    requests, params = prompts_of(ours.session, answers // GROUP), SamplingParams(TOKENS, 1.0)
    rates: dict[str, list[float]] = {"ours": [], "fleet": []}
    scored = []
    for index in range(rounds + 1):
        started = time.perf_counter()
        own = tokens_of(ours.sample(requests, params, GROUP)) / (time.perf_counter() - started)
        started = time.perf_counter()
        sampling = fleet.begin(requests, params, GROUP)
        sampling.wait()
        answered = time.perf_counter()
        groups = [(requests[asked].prompt, rollouts) for asked, rollouts in sampling.rollouts()]
        tokens = tokens_of(rescored(fleet.session, groups, temperature=params.temperature))
        if index:  # the first round warms both up
            rates["ours"].append(own)
            rates["fleet"].append(tokens / (answered - started))
            scored.append((time.perf_counter() - answered) / (answered - started))
    ratio = statistics.median(fleet / own for own, fleet in zip(*rates.values(), strict=True))
    own, theirs = (statistics.median(rates[kind]) for kind in ("ours", "fleet"))
    print(
        f"{answers} in flight: ours {own:.0f} tokens/s, fleet {theirs:.0f}, fleet / ours {ratio:.2f} (median of"
        f" {rounds} rounds); scored in {statistics.median(scored):.0%} of the fleet's time",
        flush=True,
    )


def update(fleet: RemoteSampler, rounds: int) -> None:
    """Print the seconds that new weights take until every server has them."""
    written, told = [], []
    addresses = [server.address for server in fleet.fleet.servers]
    for index in range(rounds + 1):
        started = time.perf_counter()
        fleet.weights.write(index + 1)
        done = time.perf_counter()
        fleet.fleet.submit_coroutine(fleet.weights.tell_all(addresses)).result()
        if index:
            written.append(done - started)
            told.append(time.perf_counter() - done)
    size = sum(file.stat().st_size for file in fleet.weights.folder.rglob("*.safetensors")) / 1e6
    print(
        f"weight update of {size:.1f} MB: written in {statistics.median(written):.2f} s, read by {len(addresses)}"
        f" servers in {statistics.median(told):.2f} s (medians of {rounds})"
    )


def main() -> None:
    """Print the rates of both at each number of answers, and the cost of an update."""
    parser = parser_of(__doc__)
    parser.add_argument("endpoints", nargs="+", metavar="ADDRESS", help="of a server: http://127.0.0.1:8899/v1")
    parser.add_argument("--model", default="tiny", help="what they serve")
    parser.add_argument("--answers", type=int, nargs="+", default=[8, 64, 256], help="in flight; multiples of 8")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, after one that does not count")
    parser.add_argument("--lora", type=int, metavar="RANK", help="send adapters in place of whole weights")
    arguments = parser.parse_args()
    if wrong := [count for count in arguments.answers if count < GROUP or count % GROUP]:
        parser.error(f"--answers must be multiples of {GROUP}, got {wrong[0]}")
    torch.set_num_threads(1)
    recipe = RlRecipe(
        model=arguments.model,
        steps=1,
        data={"world": "things"},
        lora={"rank": arguments.lora, "parts": ["language"]} if arguments.lora else None,
        rollout={
            "engine": "vllm",
            "endpoints": arguments.endpoints,
            "group_size": GROUP,
            "generation_batch_size": 1,
            "max_new_tokens": TOKENS,
        },
        loss={"kl_coefficient": 0},
    )
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(recipe, Path(folder) / "run")
        with closing(RemoteSampler.open(session)) as fleet:
            for answers in arguments.answers:
                compare(InProcessSampler(session), fleet, answers, arguments.rounds)
            update(fleet, arguments.rounds)


if __name__ == "__main__":
    main()
