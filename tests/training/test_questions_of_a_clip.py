"""Several questions about one clip, which SFT reads, encodes and attends to once, against each of them by itself."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from onethinker.core.frames import Clip
from onethinker.core.request import Request
from onethinker.data.formats.records import write_records
from onethinker.data.synthetic import write_dataset
from onethinker.families.tiny import TINY_BUDGET
from onethinker.inference.encode import encode_requests, split_questions
from onethinker.media import ahead as media_ahead
from onethinker.media.reading import read_clip
from onethinker.training import step as optimizer_step
from onethinker.training.config import SftRecipe
from onethinker.training.packing.row import PrefixGroup, Prompt, pack, split_prompts
from onethinker.training.scoring import score
from onethinker.training.sft import train_sft
from onethinker.training.state.run_folder import RunFolder

PROBLEMS = ("What is it?", "How many shapes are there in all?", "Which color is the left one?", "Is there a star?")


class StopRunError(Exception):
    """Raised by a watcher to stop a run between two steps."""


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    """A folder with pictures and clips, 000000 to 000032."""
    return write_dataset(tmp_path_factory.mktemp("scenes"), num_samples=33).parent


@pytest.fixture(scope="module")
def questions(media) -> Path:
    """Four questions about each of two pictures and two clips."""
    pictures, clips = sorted(media.glob("media/*.png"))[:2], sorted(media.glob("media/*.mp4"))[:2]
    records = [
        {
            "problem": f"<{kind}>{problem}",
            "answer": f"<answer>{number}</answer>",
            f"{kind}s": [f"media/{path.name}"],
            "problem_type": "numerical",
            "data_type": kind,
            "response": f"<think>I see {'one more ' * number}shape.</think><answer>{number}</answer>",
        }
        for kind, paths in (("image", pictures), ("video", clips))
        for path in paths
        for number, problem in enumerate(PROBLEMS)
    ]
    path = media / "questions.jsonl"
    write_records(path, records)
    return path


def train(
    folder: Path, questions: Path, together: int, *, on_step=None, **settings
) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """Return the weights and the journal of two steps over all questions."""
    data = {"files": [questions], "questions_per_clip": together, "max_corrupt_fraction": 0.5}
    recipe = SftRecipe(
        **{"steps": 2, "batch_size": 16, "max_row_tokens": 1024, **settings},
        data=data,
        optimizer={"learning_rate": 1e-4},
    )
    model = train_sft(recipe, folder, on_step=on_step)
    return load_file(model / "model.safetensors"), RunFolder(folder).rows()


def asked_about(kind: str, questions: Path, tiny) -> tuple[list[torch.Tensor], list[Prompt]]:
    """Return of four questions about one picture or clip what each has for itself, and their whole prompts."""
    model, processor = tiny
    clip = read_clip(min(questions.parent.glob("media/*.png" if kind == "image" else "media/*.mp4")), TINY_BUDGET)
    requests = [Request(problem, (clip,)) for problem in PROBLEMS]
    own = split_questions(processor, requests)
    assert own is not None
    return own, split_prompts(encode_requests(processor, requests), requests, model)


def shared_group(prompt: Prompt, own: list[torch.Tensor], answers: list[torch.Tensor]) -> PrefixGroup:
    """Return the prefix group of questions after what they share of the first prompt, each with its answer."""
    branches = tuple(torch.cat([question, answer]) for question, answer in zip(own, answers, strict=True))
    return PrefixGroup(prompt.beginning(len(prompt.input_ids) - len(own[0])), branches, unscored=tuple(map(len, own)))


def test_questions_that_share_a_clip_teach_what_each_by_itself_teaches(tmp_path, questions):
    apart, shared = train(tmp_path / "apart", questions, 1), train(tmp_path / "shared", questions, 4)
    assert max(float((apart[0][name] - shared[0][name]).abs().mean()) for name in apart[0]) < 1e-6
    for one, other in zip(apart[1], shared[1], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)
        assert one["answer_tokens"] == other["answer_tokens"]
        assert one["shared_prompt_tokens"] == {"update": 0}
        read, saved = (other["tokens_by_phase"]["update"], other["shared_prompt_tokens"]["update"])
        assert read + saved == one["tokens_by_phase"]["update"]
        assert saved > read / 2


@pytest.mark.parametrize("kind", ["image", "video"])
def test_the_gradient_of_a_shared_clip_is_the_sum_of_each_questions_own(tiny, questions, kind):
    model, processor = tiny
    own, prompts = asked_about(kind, questions, tiny)
    answers = [
        processor.tokenizer(f"It is {'very ' * number}red.", return_tensors="pt")["input_ids"][0] for number in range(4)
    ]
    together = shared_group(prompts[0], own, answers)

    def learned(*prefix_groups: PrefixGroup) -> tuple[float, dict[str, torch.Tensor]]:
        """Return loss and gradient of prefix groups that have a row each."""
        model.zero_grad()
        losses = [-score(model, pack([prefix_group]))[0].sum() for prefix_group in prefix_groups]
        sum(losses).backward()
        return sum(loss.item() for loss in losses), {name: weight.grad for name, weight in model.named_parameters()}

    apart = [PrefixGroup(prompt, (answer,)) for prompt, answer in zip(prompts, answers, strict=True)]
    (loss, gradients), (expected, each) = learned(together), learned(*apart)
    model.zero_grad()
    assert loss == pytest.approx(expected, rel=1e-5)
    for name, gradient in each.items():
        assert float((gradients[name] - gradient).norm()) <= 1e-5 * float(gradient.norm()), name
    assert together.num_tokens == sum(prefix_group.num_tokens for prefix_group in apart) - 3 * len(
        together.prompt.input_ids
    )


def test_questions_that_do_not_fit_into_one_row_are_split_over_several(tmp_path, questions):
    rows, weights = [], []
    for max_row_tokens in (1024, 128):
        tensors, journal = train(tmp_path / str(max_row_tokens), questions, 4, max_row_tokens=max_row_tokens)
        weights.append(tensors)
        rows.append(journal)
    for one, other in zip(*rows, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert 0 < other["shared_prompt_tokens"]["update"] < one["shared_prompt_tokens"]["update"]
    assert max(float((weights[0][name] - weights[1][name]).abs().mean()) for name in weights[0]) < 1e-6


def test_a_run_that_is_stopped_between_shared_clips_goes_on_bit_for_bit(tmp_path, questions):
    def stop(row: dict) -> None:
        if row["step"] == 2:
            raise StopRunError

    def timeless(rows: list[dict]) -> list[dict]:
        return [{name: value for name, value in row.items() if "seconds" not in name} for row in rows]

    whole, rows = train(tmp_path / "whole", questions, 4, batch_size=8, save_every=1)
    with pytest.raises(StopRunError):
        train(tmp_path / "stopped", questions, 4, batch_size=8, save_every=1, on_step=stop)
    assert [path.name for path in RunFolder(tmp_path / "stopped").checkpoints.all()] == ["step-00000001"]
    resumed, resumed_rows = train(tmp_path / "stopped", questions, 4, batch_size=8, save_every=1)
    assert all(resumed[name].equal(whole[name]) for name in whole)
    assert timeless(resumed_rows) == timeless(rows)


def test_a_clip_that_cannot_be_read_is_counted_once_a_question_and_another_clips_questions_stand_in(
    tmp_path, questions
):
    records = [json.loads(line) for line in questions.read_text().splitlines()]
    (questions.parent / "media/broken.mp4").write_bytes(b"no video")
    for number, record in enumerate(record for record in records if record["data_type"] == "video"):
        if number < 4:
            record["videos"] = ["media/broken.mp4"]
    mixed = questions.parent / "broken.jsonl"
    write_records(mixed, [record for record in records if record["data_type"] == "video"])
    _, rows = train(tmp_path / "run", mixed, 4, steps=1, batch_size=8)
    assert sorted(skipped["index"] for skipped in rows[0]["skipped_samples"]) in ([0, 1, 2, 3], [4, 5, 6, 7])
    assert all("broken.mp4" in skipped["reason"] for skipped in rows[0]["skipped_samples"])
    assert len({skipped["id"] for skipped in rows[0]["skipped_samples"]}) == 4
    # Both turns are the four questions about the clip that can be read: two prefix groups of the same tokens.
    assert rows[0]["shared_prompt_tokens"]["update"] % 6 == 0 < rows[0]["shared_prompt_tokens"]["update"]


def test_two_processes_that_share_out_whole_clips_equal_one(tmp_path, questions):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'steps = 2\nbatch_size = 16\nmax_row_tokens = 1024\ndata = {{ files = ["{questions}"], questions_per_clip = 4'
        " }\noptimizer = { learning_rate = 1e-4 }\n"
    )
    rows = []
    for processes in ("1", "2"):
        output = tmp_path / processes
        command = [
            sys.executable,
            "-m",
            "onethinker",
            "sft",
            str(recipe),
            "--output",
            str(output),
            "--processes",
            processes,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        rows.append(RunFolder(output).rows())
    for one, two in zip(*rows, strict=True):
        assert [one[name] for name in ("tokens_by_phase", "shared_prompt_tokens")] == [
            two[name] for name in ("tokens_by_phase", "shared_prompt_tokens")
        ]
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)
        assert one["grad_norm"] == pytest.approx(two["grad_norm"], rel=1e-3)


def test_a_clip_is_opened_once_and_encoded_once_in_a_step(tmp_path, questions, monkeypatch):
    opened: Counter[str] = Counter()
    patches: list[int] = []

    def counted_read(medium, budget) -> Clip:
        opened[medium.name] += 1
        return read_clip(medium, budget)

    def counted_score(model, row, **settings):
        if torch.is_grad_enabled():  # not when a checkpoint makes sure that the model still works
            patches.append(
                sum(len(row.inputs[name]) for name in ("pixel_values", "pixel_values_videos") if name in row.inputs)
            )
        return score(model, row, **settings)

    monkeypatch.setattr(media_ahead, "read_clip", counted_read)
    monkeypatch.setattr(optimizer_step, "score", counted_score)
    train(tmp_path / "shared", questions, 4)
    shared, patches[:] = sum(patches), []
    assert set(opened.values()) == {2}  # two steps
    train(tmp_path / "apart", questions, 1)
    assert sum(patches) == 4 * shared


@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_question_that_follows_shared_media_has_the_tokens_and_positions_of_its_own_prompt(tiny, questions, kind):
    own, prompts = asked_about(kind, questions, tiny)
    answer = torch.tensor([50, 51, 52])
    prefix_group = shared_group(prompts[0], own, [answer] * 4)
    trunk, row = prefix_group.prompt, pack([prefix_group])
    start = len(trunk.input_ids)
    for prompt, question in zip(prompts, own, strict=True):
        mine = slice(start, start + len(question))
        assert torch.cat([trunk.input_ids, row.inputs["input_ids"][0, mine]]).tolist() == prompt.input_ids.tolist()
        assert (
            torch.cat([trunk.positions, row.inputs["position_ids"][:, 0, mine]], 1).tolist()
            == prompt.positions.tolist()
        )
        start += len(question) + len(answer)
    assert row.targets_S.tolist() == answer.tolist() * 4
    assert row.answer_S.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_media_behind_something_of_a_questions_own_are_not_shared(tiny, questions):
    _, processor = tiny
    [path] = sorted(questions.parent.glob("media/*.png"))[:1]
    clip = read_clip(path, TINY_BUDGET)
    requests = [Request("What is it?", (clip,), system) for system in ("Be short.", "Be kind.")]
    assert split_questions(processor, requests) is None
