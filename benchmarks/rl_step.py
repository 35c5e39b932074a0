"""One RL step against TRL's GRPOTrainer: the same model, pictures, questions, number of answers and tokens an answer.

Run: python benchmarks/rl_step.py --peer PYTHON [--side 512] [--steps 3] [--rounds 2] [--hybrid]

PYTHON belongs to an environment of its own with the peer, made once:
    python -m venv /tmp/trl-env && /tmp/trl-env/bin/pip install trl==1.16 datasets torch==2.14.1 torchvision==0.29.1
    transformers==5.24.0

A step has two prompts of one picture each, 8 answers of 64 tokens (no end is ever sampled), a reward, a token-mean
clipped loss without divergence, one AdamW step. A picture of 512 pixels a side gives 294 prompt tokens, of 992 pixels
999. The two sides take turns, each in fresh processes with one thread; the time is the process's own, the first step of
a process does not count. With --hybrid the model is a Qwen3.5. Ours is made of what `onethinker rl` calls; journal and
grading processes are left out (benchmarks/grading.py). Figures: docs/results/training_speed.md.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from measuring import parser_of
from small_model import QUESTION, build, pictures

GROUP, PROMPTS, TOKENS, RATE = 8, 2, 64, 1e-5


def reward(text: str) -> float:
    """Return something that differs between answers and costs nothing."""
    return float(len(text) % 7)


def run_ours(side: int, steps: int, *, hybrid: bool) -> dict[str, object]:
    """Return prompt tokens and seconds of each step by OneThinker, with the parts of the last."""
    from onethinker.core.request import Request
    from onethinker.families.folder import ModelSettings, save_model
    from onethinker.media.budget import MediaBudget
    from onethinker.media.reading import read_clip
    from onethinker.rl.advantages import find_estimator
    from onethinker.rl.in_process import sample_answers
    from onethinker.rl.loss import GradedPrefixGroup, PolicyLoss
    from onethinker.tasks.template import PromptTemplate
    from onethinker.training.config import RlRecipe
    from onethinker.training.opening import open_session

    with tempfile.TemporaryDirectory() as folder:
        start, budget = Path(folder) / "model", MediaBudget(image_max_pixels=side * side)
        save_model(
            start,
            *build(hybrid=hybrid),
            settings=ModelSettings(prompt_template=PromptTemplate(template=QUESTION), budget=budget),
        )
        paths = [Path(folder) / f"{number}.png" for number in range(8)]
        for path, picture in zip(paths, pictures(side, 8), strict=True):
            picture.save(path)
        recipe = RlRecipe(
            model=str(start),
            steps=steps,
            budget=budget,
            rollout={"generation_batch_size": PROMPTS, "group_size": GROUP, "max_new_tokens": TOKENS},
            loss={"kl_coefficient": 0},
            optimizer={"learning_rate": RATE},
        )
        run = open_session(recipe, Path(folder) / "run")
        settings, tokenizer, times, parts, length, ema = recipe.advantage, run.processor.tokenizer, [], [], 0, {}
        for step in range(steps):
            parts = [time.process_time()]
            asked = [Request(QUESTION, (read_clip(paths[(PROMPTS * step + n) % 8], budget),)) for n in range(PROMPTS)]
            prompts = run.data.prompts(asked)
            length = len(prompts[0].input_ids)
            parts.append(time.process_time())
            uniforms = torch.rand(PROMPTS, GROUP, TOKENS, generator=torch.Generator().manual_seed(step))
            groups = sample_answers(
                run.model,
                prompts,
                uniforms,
                temperature=1.0,
                end_token=-1,
                forbidden_tokens=(run.model.config.image_token_id, run.model.config.video_token_id),
            )
            parts.append(time.process_time())
            rewards = torch.tensor(
                [[reward(tokenizer.decode(answer.ids)) for answer in answers] for answers in groups],
                dtype=torch.float64,
            )
            advantages, ema = find_estimator(settings.algorithm)(rewards, ["tracking"] * PROMPTS, ema, settings)
            prefix_groups = [
                GradedPrefixGroup(
                    prompt,
                    tuple(answer.ids for answer in answers),
                    "tracking",
                    torch.cat([answer.logps for answer in answers]),
                    advantages[n].float(),
                    torch.ones(GROUP),
                )
                for n, (prompt, answers) in enumerate(zip(prompts, groups, strict=True))
            ]
            loss = PolicyLoss(recipe, PROMPTS * GROUP * TOKENS, PROMPTS * GROUP)
            optimizer_step = run.optimization.begin(prefix_groups, step, tokens=PROMPTS * GROUP * TOKENS)
            for scored in optimizer_step.rows():
                optimizer_step.backward(scored, loss(scored))
            optimizer_step.finish()
            parts.append(time.process_time())
            times.append(parts[-1] - parts[0])
        names = ("media and text", "rollout", "update")
        shares = {name: round(after - before, 3) for name, before, after in zip(names, parts, parts[1:], strict=False)}
        return {"prompt_tokens": length, "seconds": times, "parts": shares}


def run_trl(side: int, steps: int, *, hybrid: bool) -> dict[str, object]:
    """Return prompt tokens and seconds of each step by TRL."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    model, processor = build(hybrid=hybrid)
    rows = Dataset.from_list(
        [{"prompt": [{"role": "user", "content": QUESTION}], "image": picture} for picture in pictures(side, 8)]
    )
    times, last = [], [0.0]

    class Clock(TrainerCallback):
        def on_step_begin(self, *_, **__) -> None:
            last[0] = last[0] or time.process_time()

        def on_step_end(self, *_, **__) -> None:
            now = time.process_time()
            times.append(now - last[0])
            last[0] = now

    never = [model.config.image_token_id, model.config.video_token_id, processor.tokenizer.eos_token_id]
    with tempfile.TemporaryDirectory() as folder:
        arguments = GRPOConfig(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=PROMPTS * GROUP,
            num_generations=GROUP,
            max_completion_length=TOKENS,
            generation_kwargs={"suppress_tokens": never},
            use_cpu=True,
            bf16=False,
            report_to=[],
            gradient_checkpointing=False,
            beta=0.0,
            save_strategy="no",
            learning_rate=RATE,
            disable_tqdm=True,
        )
        lengths: list[int] = []

        def rewards(completions, completion_ids, **_) -> list[float]:
            lengths.extend(map(len, completion_ids))
            return [reward(str(completion)) for completion in completions]

        trainer = GRPOTrainer(
            model, rewards, arguments, train_dataset=rows, processing_class=processor, callbacks=[Clock()]
        )
        # The first step's batch is sampled before its `on_step_begin`; it is the one that does not count.
        trainer.train()
    assert set(lengths) == {TOKENS}, f"answers of {set(lengths)} tokens"
    return {"seconds": times}


def ask(python: str, kind: str, side: int, steps: int, *, hybrid: bool) -> dict[str, object]:
    """Return what a process of its own measures."""
    command = [python, __file__, "--measure", kind, "--side", str(side), "--steps", str(steps)]
    command += ["--hybrid"] if hybrid else []
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print the seconds of both sides, and how many times faster ours is."""
    parser = parser_of(__doc__)
    parser.add_argument("--peer", default="/tmp/trl-env/bin/python", help="Python of the environment with TRL")
    parser.add_argument("--side", type=int, default=512, help="side of the pictures in pixels")
    parser.add_argument("--steps", type=int, default=3, help="steps of a process, the first of which does not count")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each side, in turn")
    parser.add_argument("--hybrid", action="store_true", help="a Qwen3.5 in place of a Qwen3-VL")
    parser.add_argument(
        "--measure", choices=["ours", "trl"], help="used by the command itself for the processes it starts"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.measure:
        measure = run_ours if arguments.measure == "ours" else run_trl
        print(json.dumps(measure(arguments.side, arguments.steps, hybrid=arguments.hybrid)))
        return
    seconds: dict[str, list[float]] = {"ours": [], "trl": []}
    for _ in range(arguments.rounds):
        for kind, python in (("ours", sys.executable), ("trl", arguments.peer)):
            found = ask(python, kind, arguments.side, arguments.steps, hybrid=arguments.hybrid)
            print(kind, found, flush=True)
            seconds[kind] += found["seconds"][1:]
    ours, trl = (statistics.median(seconds[kind]) for kind in ("ours", "trl"))
    print(f"side {arguments.side}: ours {ours:.2f} s, TRL {trl:.2f} s, {trl / ours:.2f} times faster")


if __name__ == "__main__":
    main()
