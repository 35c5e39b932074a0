"""Batches that give nothing finite: they are named and not learned from, and nothing that is not finite is ever
saved.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from onethinker.cli import main
from onethinker.core.errors import CheckpointError, ConfigError, TrainingError
from onethinker.data.formats.records import write_records
from onethinker.families.folder import ModelSettings, save_model
from onethinker.families.tiny import TINY_BUDGET, TINY_TEMPLATE, build_tiny
from onethinker.rl.loop import train_rl
from onethinker.rl.loss import GradedPrefixGroup, PolicyLoss
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.metrics.bad_steps import BadStep, first_not_finite
from onethinker.training.packing.row import PackedRow, Prompt
from onethinker.training.sft import train_sft
from onethinker.training.state.progress import Progress, load_progress, save_progress
from onethinker.training.state.run_folder import RunFolder
from onethinker.training.step import ScoredRow
from tests.training.test_runs import StopRunError, journal, stop_after
from tests.training.test_sharding import train_sharded
from tests.training.test_zero import needs_deepspeed

BAD_WORD = "Ω"
"""The model below has a broken embedding for it, and for nothing else."""
FROZEN = ["model.language_model.embed_tokens", "model.visual"]
QUESTION = {
    "problem": "Which?",
    "answer": "<answer>A</answer>",
    "options": ["A. x", "B. y"],
    "problem_type": "multiple choice",
}
QUESTION |= {"data_type": "image", "response": "<think>I see.</think><answer>A</answer>"}


def broken_model(folder: Path, value: float) -> str:
    """Write a tiny model that reads one word as `value`; head and embeddings are two matrices, so that no other word
    suffers.
    """
    model, processor = build_tiny(seed=3)
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    model.config.tie_word_embeddings = model.config.text_config.tie_word_embeddings = False
    (*_, token) = processor.tokenizer(BAD_WORD, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        model.model.language_model.embed_tokens.weight[token] = value
    save_model(folder, model, processor, settings=ModelSettings(prompt_template=TINY_TEMPLATE, budget=TINY_BUDGET))
    return str(folder)


def questions(folder: Path, *, bad: set[int], count: int = 8) -> str:
    """Write questions, those with a number in `bad` with the word that the model cannot read."""
    records = [
        {**QUESTION, "id": f"q{number}", "problem": f"Which? {BAD_WORD if number in bad else ''}"}
        for number in range(count)
    ]
    write_records(folder / "questions.jsonl", records)
    return str(folder / "questions.jsonl")


def sft(tmp_path: Path, value: float = torch.nan, *, bad: set[int], **changes: object) -> SftRecipe:
    """Return a recipe in which each step sees one question after the other, in an order of its own."""
    settings = {
        "model": broken_model(tmp_path / "broken", value),
        "steps": 8,
        "batch_size": 1,
        "save_every": 1,
        "frozen": FROZEN,
        "data": {"files": [questions(tmp_path, bad=bad)]},
        "optimizer": {"learning_rate": 1e-3},
    }
    return SftRecipe.model_validate({**settings, **changes})


def state(folder: Path, step: int) -> dict[str, torch.Tensor]:
    """Return weights and moving averages of a checkpoint."""
    checkpoint = folder / f"checkpoints/step-{step:08d}"
    files = sorted(checkpoint.rglob("*.safetensors"))
    return {f"{file.name}/{name}": tensor for file in files for name, tensor in load_file(file).items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Tell whether tensors are the same bit for bit; the broken embedding is a NaN, which equals nothing."""
    return one.keys() == other.keys() and all(
        tensor.numpy().tobytes() == other[name].numpy().tobytes() for name, tensor in one.items()
    )


def strict_rows(folder: Path) -> list[dict]:
    """Return the journal's rows, read as other programs read JSON: without NaN."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in (folder / "journal.jsonl").read_text().splitlines()]


LORA = {"frozen": [], "lora": {"rank": 2}}


@pytest.mark.parametrize(
    ("value", "changes", "what", "parts"),
    [
        (torch.nan, {}, "the loss (nan)", {"head", "language"}),
        (3e38, {}, "the norm of the gradient (nan)", {"head", "language"}),
        (torch.nan, {"dtype": "mixed"}, "the loss (nan)", {"head", "language"}),
        (torch.nan, LORA, "the loss (nan)", {"language"}),
        (torch.nan, {"optimizer": {"kind": "muon", "learning_rate": 1e-3}}, "the loss (nan)", {"head", "language"}),
    ],
    ids=["loss", "gradient alone", "mixed", "adapters", "muon"],
)
def test_a_bad_batch_is_named_and_leaves_weights_and_averages_as_they_were(tmp_path, value, changes, what, parts):
    # The order of the data shows question 4 second.
    recipe = sft(tmp_path, value, bad={3}, steps=2, **changes)
    train_sft(recipe, tmp_path / "run")
    good, bad = strict_rows(tmp_path / "run")
    assert (good["bad_steps"], good["not_finite"]) == ([], [])
    (step,) = bad["bad_steps"]
    assert (step["what"], step["samples"], step["last_good_step"]) == (what, ["questions-4"], 1)
    assert step["learning_rate"] == bad["learning_rate"] == 5e-4
    assert set(step["largest_gradients"]) == parts
    assert None in step["largest_gradients"].values()
    assert "grad_norm" in bad["not_finite"]
    assert bad["grad_norm"] is None
    assert equal(state(tmp_path / "run", 1), state(tmp_path / "run", 2))


def test_a_run_with_bad_steps_that_is_stopped_and_resumed_equals_one_that_was_not(tmp_path):
    recipe = sft(tmp_path, bad={3}, steps=4)
    train_sft(recipe, tmp_path / "whole")
    with pytest.raises(StopRunError):
        train_sft(recipe, tmp_path / "stopped", on_step=stop_after(3))
    # It goes on from a step that was bad.
    assert load_progress(tmp_path / "stopped/checkpoints/step-00000002/progress.json").streak.bad == 1
    train_sft(recipe, tmp_path / "stopped")
    assert journal(tmp_path / "stopped") == journal(tmp_path / "whole")
    assert equal(state(tmp_path / "stopped", 4), state(tmp_path / "whole", 4))
    progress = "checkpoints/step-00000004/progress.json"
    assert (tmp_path / "stopped" / progress).read_text() == (tmp_path / "whole" / progress).read_text()


def test_too_many_bad_steps_in_a_row_end_the_run_at_the_last_good_checkpoint(tmp_path):
    # Good, bad, and then six more of which three in a row end it: two are allowed.
    recipe = sft(tmp_path, bad=set(range(8)) - {1}, optimizer={"learning_rate": 1e-3, "max_bad_steps": 2})
    with pytest.raises(
        TrainingError, match=r"3 optimizer steps in a row, .*max_bad_steps = 2 allows: the loss \(nan\) is"
    ) as raised:
        train_sft(recipe, tmp_path / "run")
    rows = strict_rows(tmp_path / "run")
    assert [bool(row["bad_steps"]) for row in rows][-3:] == [True] * 3
    last = RunFolder(tmp_path / "run").checkpoints.all()[-1]
    assert f"{last.name} is the last good checkpoint" in str(raised.value)
    assert first_not_finite(load_file(last / "optimizer.safetensors").items()) is None
    assert not (tmp_path / "run/model").exists()
    assert "\n" not in str(raised.value)
    # More are allowed now: it goes on where it stopped, without --allow-changes.
    patient = recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"max_bad_steps": 9})})
    train_sft(patient, tmp_path / "run")
    assert len(strict_rows(tmp_path / "run")) == 8


def test_no_bad_step_at_all_can_be_asked_for(tmp_path):
    recipe = sft(tmp_path, bad={3}, optimizer={"learning_rate": 1e-3, "max_bad_steps": 0})
    with pytest.raises(TrainingError, match=r"step 2, .*= 0 allows: the loss \(nan\).*samples 'questions-4'"):
        train_sft(recipe, tmp_path / "run")
    assert [path.name for path in RunFolder(tmp_path / "run").checkpoints.all()] == ["step-00000001"]


@pytest.mark.parametrize("save_every", [1, 100], ids=["at a checkpoint", "before any"])
@pytest.mark.parametrize("stage", ["sft", "rl"])
def test_a_rate_that_destroys_the_model_ends_the_command_with_1_and_one_line(
    tmp_path, capsys, taught, stage, save_every
):
    settings = [
        "steps=20",
        "optimizer.learning_rate=1e30",
        "optimizer.warmup_steps=0",
        "optimizer.kind=adamw",
        f"save_every={save_every}",
    ]
    settings += {
        "sft": ["batch_size=2"],
        "rl": [
            f"model={taught.model}",
            f'data.files=["{taught.questions}"]',
            "rollout.generation_batch_size=2",
            "rollout.max_new_tokens=8",
            "rollout.min_accuracy=-1",
        ],
    }[stage]
    with pytest.raises(SystemExit) as left:
        main([stage, f"tiny_{stage}", "--output", str(tmp_path / "run"), "--set", *settings])
    assert left.value.code == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert "after step 1, is not finite (last good step none, learning rate 1e+30, samples '" in said[0]
    assert "largest gradient by part: " in said[0]
    assert "unknown" not in said[0]
    assert len(strict_rows(tmp_path / "run")) == (1 if save_every == 1 else 5)
    assert RunFolder(tmp_path / "run").checkpoints.all() == []
    assert not (tmp_path / "run/model").exists()


def test_a_run_that_breaks_keeps_the_checkpoint_from_before(tmp_path):
    recipe = sft(tmp_path, bad=set(), save_every=2)
    with pytest.raises(StopRunError):
        train_sft(recipe, tmp_path / "run", on_step=stop_after(4))
    before = state(tmp_path / "run", 2)
    broken = recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"learning_rate": 1e30})})
    with pytest.raises(
        TrainingError,
        match=(
            r"step 4 is not saved: .*, after step 3, is not finite .last good step 2, .*step-00000002 is the last good"
            r" checkpoint"
        ),
    ):
        train_sft(broken, tmp_path / "run", allow_changes=True)
    assert [path.name for path in RunFolder(tmp_path / "run").checkpoints.all()] == ["step-00000002"]
    assert equal(state(tmp_path / "run", 2), before)


def test_answers_that_the_model_cannot_score_are_not_learned_from_and_leave_the_averages_of_rewards(tmp_path):
    rollout = {
        "generation_batch_size": 1,
        "group_size": 2,
        "max_new_tokens": 4,
        "min_accuracy": -1,
        "max_refills": 0,
    }
    recipe = RlRecipe(
        model=broken_model(tmp_path / "broken", torch.nan),
        steps=2,
        save_every=1,
        frozen=FROZEN,
        data={"files": [questions(tmp_path, bad={3})]},
        rollout=rollout,
        grading={"workers": 0},
        optimizer={"learning_rate": 1e-3, "weight_decay": 0.1},
    )
    train_rl(recipe, tmp_path / "run")
    good, bad = strict_rows(tmp_path / "run")
    assert (good["updates"], good["bad_steps"]) == (1, [])
    (step,) = bad["bad_steps"]
    assert (step["what"], step["samples"]) == ("a log-probability of sampled answers", ["questions-4"])
    assert (bad["updates"], bad["loss"], bad["tasks"]) == (0, None, {})
    assert equal(state(tmp_path / "run", 1), state(tmp_path / "run", 2))
    averages = [load_progress(tmp_path / f"run/checkpoints/step-{number:08d}/progress.json") for number in (1, 2)]
    assert averages[0].ema == averages[1].ema != {}
    assert averages[1].cursor == averages[0].cursor + 1, "the batch is not asked again"


def test_an_update_of_rl_that_is_bad_leaves_the_averages_of_rewards_too(tmp_path, taught):
    recipe = RlRecipe(
        model=taught.model,
        steps=2,
        save_every=1,
        max_row_tokens=512,
        data={"files": [taught.questions]},
        rollout={
            "generation_batch_size": 4,
            "group_size": 4,
            "max_new_tokens": 16,
            "min_accuracy": -1,
            "max_refills": 0,
        },
        grading={"workers": 0},
        # At the first step there is no divergence yet; after it, this much of it is too much for float32.
        loss={"kl_coefficient": 3e38},
        optimizer={"learning_rate": 1e-2, "weight_decay": 1.0},
    )
    train_rl(recipe, tmp_path / "run")
    first, second = strict_rows(tmp_path / "run")
    assert (first["updates"], first["bad_steps"]) == (1, [])
    assert (second["updates"], second["loss"], second["grad_norm"]) == (0, None, None)
    assert set(second["bad_steps"][0]["samples"]) <= {f"questions-{number}" for number in range(1, 9)}
    assert equal(state(tmp_path / "run", 1), state(tmp_path / "run", 2))
    averages = [load_progress(tmp_path / f"run/checkpoints/step-{number:08d}/progress.json").ema for number in (1, 2)]
    assert averages[0] == averages[1]


@pytest.mark.parametrize(
    ("logp", "old", "reference", "cause"),
    [
        (torch.nan, -1.0, -1.0, "log-probabilities"),
        (-1.0, torch.nan, -1.0, "log-probabilities at sampling"),
        (-1.0, -1.0, -torch.inf, "the reference's log-probabilities"),
        (-1.0, -200.0, -1.0, "a ratio of probabilities that is too large to be a number"),
    ],
    ids=["policy", "sampling", "reference", "ratio"],
)
def test_a_loss_of_rl_that_is_not_finite_names_its_cause(logp, old, reference, cause):
    ids = torch.zeros(5, dtype=torch.long)
    prompt = Prompt(ids, ids, torch.zeros(3, 5, dtype=torch.long), {})
    prefix_group = GradedPrefixGroup(
        prompt, (ids[:1],), "math", torch.tensor([old]), torch.tensor([-1.0]), torch.ones(1)
    )
    row = PackedRow({}, ids[:1], ids[:1], ids[:1], 1)
    loss = PolicyLoss(RlRecipe(loss={"kl_coefficient": 0.1}), num_tokens=1, num_answers=1)
    logps_S = torch.tensor([logp], requires_grad=True)
    scored = ScoredRow(row, [prefix_group], logps_S, torch.zeros(1), torch.tensor([reference]))
    assert not loss(scored).isfinite()
    assert loss.not_finite == {cause}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "sharding", ["processes", "fsdp2", pytest.param("deepspeed_zero2", marks=[needs_deepspeed, pytest.mark.long])]
)
def test_processes_agree_which_step_is_bad(tmp_path, capfd, sharding):
    # Two questions a step, one for each process: in the second one of them cannot read its own, and neither takes the
    # step.
    recipe = sft(tmp_path, bad={7}, steps=2, batch_size=2)
    train_sft(recipe, tmp_path / "one")
    if sharding == "processes":
        file = tmp_path / "recipe.toml"
        settings = [
            "save_every=1",
            "batch_size=2",
            "steps=2",
            f"model={recipe.model}",
            f'data.files=["{recipe.data.files[0]}"]',
        ]
        file.write_text(f"frozen = {json.dumps(FROZEN)}")
        settings += ["optimizer.learning_rate=1e-3"]
        with pytest.raises(SystemExit) as left:
            main(["sft", str(file), "--output", str(tmp_path / "two"), "--processes", "2", "--set", *settings])
        assert left.value.code == 0, capfd.readouterr().err
    else:
        reports = train_sharded(recipe, tmp_path / "two", sharding)
        assert all(report["resumed_equal"] for report in reports)
    one, two = strict_rows(tmp_path / "one"), strict_rows(tmp_path / "two")
    assert [bool(row["bad_steps"]) for row in two] == [bool(row["bad_steps"]) for row in one]
    (bad,) = [row for row in two if row["bad_steps"]]
    assert bad["step"] == 2
    assert bad["bad_steps"][0]["samples"] == ["questions-8"]
    assert set(bad["bad_steps"][0]["largest_gradients"]) == {"head", "language"}
    assert equal(state(tmp_path / "two", bad["step"]), state(tmp_path / "two", bad["step"] - 1))


def test_the_sentence_names_a_few_samples_and_every_part():
    bad = BadStep("the loss (nan)", tuple(f"q{number}" for number in range(7)), {"head": 3.0, "vision": None}, 0, 1e-5)
    assert (
        bad.text()
        == "the loss (nan) is not finite (last good step none, learning rate 1e-05, samples 'q0', 'q1', 'q2', 'q3',"
        " 'q4' and 2 more; largest gradient by part: head 3, vision not finite)"
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_one_number_among_many_is_found(dtype, value):
    tensors = {
        "counts": torch.arange(3),
        "empty": torch.empty(0),
        "large": torch.full((2,), torch.finfo(dtype).max, dtype=dtype),
    }
    assert first_not_finite(tensors.items()) is None
    weights = torch.zeros(50, 40, dtype=dtype)
    weights[31, 7] = value
    assert first_not_finite({**tensors, "weights": weights}.items()) == "weights"


def test_progress_that_lacks_a_part_is_refused_by_name(tmp_path):
    save_progress(Progress(step=7, cursor=70), tmp_path / "progress.json")
    old = json.loads((tmp_path / "progress.json").read_text())
    del old["streak"]
    (tmp_path / "progress.json").write_text(json.dumps(old))
    with pytest.raises(CheckpointError, match=r"progress\.json: cannot be read as the progress of a run: 'streak'"):
        load_progress(tmp_path / "progress.json")


@pytest.mark.parametrize(
    "setting",
    ["optimizer.max_grad_norm=inf", "optimizer.learning_rate=nan", "optimizer.max_bad_steps=-1", "budget.fps=nan"],
)
def test_a_recipe_holds_only_numbers_that_json_has(setting):
    with pytest.raises(ConfigError, match=setting.split("=")[0]):
        SftRecipe.load("tiny_sft", [setting])
