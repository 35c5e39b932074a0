"""A plain training loop of RL, and the same loop with packed rows, side by side from the same weights.

Run: python examples/packed_loop.py [--model FOLDER] [--steps 4] [--group 8] [--pictures 16] [--tokens 32]

The model answers a question about pictures of noise several times, and learns that short answers are better. One copy
of it reads the prompt and the pictures with each answer, as a batch of whole sequences; the other reads them once, in a
packed row. Both say the same losses; the table has the seconds that each step of learning took.
"""

import argparse
import copy
import statistics
import time
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

from onethinker.families.built_in import WEIGHTS
from onethinker.integrations.packing import PackedModel


def plain_logps(model: Any, inputs: dict[str, Tensor], answers: list[Tensor]) -> list[Tensor]:
    """Return the log-probabilities of each answer from a batch in which each has a copy of prompt and pictures."""
    count, first = len(answers), inputs["input_ids"].shape[1]
    padded = torch.nn.utils.rnn.pad_sequence(answers, batch_first=True)
    seen = torch.nn.utils.rnn.pad_sequence([torch.ones_like(answer) for answer in answers], batch_first=True)
    batch = {name: torch.cat([value] * count) for name, value in inputs.items()}
    batch["input_ids"] = torch.cat([batch["input_ids"], padded], 1)
    batch["attention_mask"] = torch.cat([batch["attention_mask"], seen], 1)
    if "mm_token_type_ids" in batch:
        batch["mm_token_type_ids"] = torch.cat([batch["mm_token_type_ids"], torch.zeros_like(padded)], 1)
    logits = model(**batch, use_cache=False).logits[:, first - 1 : -1].float()
    logps = torch.log_softmax(logits, -1).gather(-1, padded[..., None])[..., 0]
    return [row[: len(answer)] for row, answer in zip(logps, answers, strict=True)]


def packed_logps(packed: PackedModel, inputs: dict[str, Tensor], answers: list[Tensor]) -> list[Tensor]:
    """Return the same from one row in which prompt and pictures stand once: all that changes in the loop."""
    [logps] = packed.logps([packed.group(inputs, answers)])
    return logps


def sample(model: Any, inputs: dict[str, Tensor], count: int, tokens: int) -> list[Tensor]:
    """Return so many answers of at most so many tokens, each up to its end token."""
    ids = model.generate(**inputs, do_sample=True, num_return_sequences=count, max_new_tokens=tokens, temperature=1.2)
    end = model.generation_config.eos_token_id
    ends = {end} if isinstance(end, int) else set(end)
    answers = []
    for row in ids[:, inputs["input_ids"].shape[1] :].tolist():
        length = next((index + 1 for index, token in enumerate(row) if token in ends), len(row))
        answers.append(torch.tensor(row[:length]))
    return answers


def step(optimizer: torch.optim.Optimizer, logps: list[Tensor], advantages: Tensor) -> float:
    """Take a step, and return the loss."""
    loss = -sum(advantage * answer.mean() for advantage, answer in zip(advantages, logps, strict=True)) / len(logps)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def main() -> None:
    """Print a line for each step, and how many times faster packed rows were."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=WEIGHTS, help="a folder of transformers; by default the model in the box")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--group", type=int, default=8, help="answers to a prompt")
    parser.add_argument("--pictures", type=int, default=16, help="in the prompt")
    parser.add_argument("--tokens", type=int, default=32, help="of an answer, at most")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    processor = AutoProcessor.from_pretrained(arguments.model)
    model = AutoModelForImageTextToText.from_pretrained(arguments.model, dtype=torch.float32)
    packed = PackedModel(copy.deepcopy(model))
    optimizers = [torch.optim.AdamW(each.parameters(), lr=1e-5) for each in (model, packed.model)]
    content = [*[{"type": "image"}] * arguments.pictures, {"type": "text", "text": "What is there?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    ratios = []
    print("step  prompt  answers  plain loss  packed loss  plain s  packed s")
    for index in range(arguments.steps):
        noise = torch.randint(0, 256, (arguments.pictures, 128, 128, 3), dtype=torch.uint8).numpy()
        pictures = [Image.fromarray(each) for each in noise]
        inputs = dict(processor(text=[text], images=[pictures], return_tensors="pt"))
        answers = sample(model, inputs, arguments.group, arguments.tokens)
        lengths = torch.tensor([len(answer) for answer in answers], dtype=torch.float32)
        advantages = lengths.mean() - lengths

        start = time.process_time()
        plain_loss = step(optimizers[0], plain_logps(model, inputs, answers), advantages)
        middle = time.process_time()
        packed_loss = step(optimizers[1], packed_logps(packed, inputs, answers), advantages)
        plain_s, packed_s = middle - start, time.process_time() - middle
        ratios.append(plain_s / packed_s)
        counts = f"{index:4} {inputs['input_ids'].shape[1]:7} {int(lengths.sum()):8}"
        print(f"{counts} {plain_loss:11.6f} {packed_loss:12.6f} {plain_s:8.2f} {packed_s:9.2f}", flush=True)
    ratio = statistics.median(ratios)
    print(f"packed rows: {ratio:.1f} times faster, the median of the steps (seconds of the process)")


if __name__ == "__main__":
    main()
