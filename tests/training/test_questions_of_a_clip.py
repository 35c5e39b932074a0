"""Several questions about one clip, which SFT reads, encodes and attends to once, against each of them by itself."""

import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from onethinker.clip import Clip
from onethinker.data.formats import write_records
from onethinker.data.mixing import Mixture
from onethinker.media.reading import read_clip
from onethinker.models.engine import Request
from onethinker.models.prompt import encode_requests, split_questions
from onethinker.models.tiny import TINY_BUDGET
from onethinker.synthetic import write_dataset
from onethinker.training import run as training_run
from onethinker.training.checkpoint import RunFolder
from onethinker.training.config import SftRecipe
from onethinker.training.packing import Tree, pack, split_prompts
from onethinker.training.run import score
from onethinker.training.sft import train_sft

PROBLEMS = ("What is it?", "How many shapes are there in all?", "Which color is the left one?", "Is there a star?")


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


def train(folder: Path, questions: Path, together: int) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """Return the weights and the journal of two steps over all questions."""
    recipe = SftRecipe(
        steps=2,
        batch_size=16,
        max_row_tokens=1024,
        data={"files": [questions], "questions_per_clip": together},
        optimizer={"learning_rate": 1e-4},
    )
    model = train_sft(recipe, folder)
    return load_file(model / "model.safetensors"), RunFolder(folder).rows()


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


def test_two_processes_that_share_out_whole_clips_equal_one(tmp_path, questions):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'steps = 2\nbatch_size = 16\nmax_row_tokens = 1024\ndata = {{ files = ["{questions}"], questions_per_clip = 4 }}\n'
        "optimizer = { learning_rate = 1e-4 }\n"
    )
    rows = []
    for processes in ("1", "2"):
        output = tmp_path / processes
        command = [sys.executable, "-m", "onethinker", "sft", str(recipe), "--output", str(output), "--processes", processes]
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

    def counted_score(model, row):
        patches.append(sum(len(row.inputs[name]) for name in ("pixel_values", "pixel_values_videos") if name in row.inputs))
        return score(model, row)

    monkeypatch.setattr(training_run, "read_clip", counted_read)
    monkeypatch.setattr(training_run, "score", counted_score)
    train(tmp_path / "shared", questions, 4)
    shared, patches[:] = sum(patches), []
    assert set(opened.values()) == {2}  # two steps
    train(tmp_path / "apart", questions, 1)
    assert sum(patches) == 4 * shared


@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_question_that_follows_shared_media_has_the_tokens_and_positions_of_its_own_prompt(tiny, questions, kind):
    model, processor = tiny
    [path] = sorted(questions.parent.glob("media/*.png" if kind == "image" else "media/*.mp4"))[:1]
    clip = read_clip(path, TINY_BUDGET)
    requests = [Request(problem, (clip,)) for problem in PROBLEMS]
    own = split_questions(processor, requests)
    assert own is not None
    prompts = split_prompts(encode_requests(processor, requests), requests, model)
    trunk = prompts[0].beginning(len(prompts[0].input_ids) - len(own[0]))
    answer = torch.tensor([50, 51, 52])
    row = pack([Tree(trunk, tuple(torch.cat([question, answer]) for question in own), unscored=tuple(map(len, own)))])
    start = len(trunk.input_ids)
    for prompt, question in zip(prompts, own, strict=True):
        mine = slice(start, start + len(question))
        assert torch.cat([trunk.input_ids, row.inputs["input_ids"][0, mine]]).tolist() == prompt.input_ids.tolist()
        assert torch.cat([trunk.positions, row.inputs["position_ids"][:, 0, mine]], 1).tolist() == prompt.positions.tolist()
        start += len(question) + len(answer)
    assert row.targets_S.tolist() == answer.tolist() * 4
    assert row.answer_S.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_media_behind_something_of_a_questions_own_are_not_shared(tiny, questions):
    _, processor = tiny
    [path] = sorted(questions.parent.glob("media/*.png"))[:1]
    clip = read_clip(path, TINY_BUDGET)
    requests = [Request("What is it?", (clip,), system) for system in ("Be short.", "Be kind.")]
    assert split_questions(processor, requests) is None


def test_questions_about_a_clip_follow_each_other_and_every_record_comes_once(questions):
    mixture = Mixture.open([questions], ("numerical/video",), {}, seed=4, questions_per_clip=3)
    for epoch in (0, 1):
        samples = [mixture.sample(8 * epoch + number) for number in range(8)]
        assert len({(sample.media, sample.problem) for sample in samples}) == 8
        changes = sum(one.media != other.media for one, other in pairwise(samples))
        assert changes <= 3  # each clip's four come as three and one
