"""DPO: its loss by hand, a model that comes to prefer what was chosen, stops and resumes, and records that are no
preferences.
"""

import json
import math

import pytest
import torch
from pydantic import ValidationError

from onethinker.core.errors import DataError
from onethinker.data.formats.records import read_records, write_records
from onethinker.data.formats.released import read_samples, record_from_sample
from onethinker.data.synthetic import make_pair
from onethinker.training.dpo import implicit_rewards, preference_loss, train_dpo
from onethinker.training.dpo_recipe import DpoRecipe, PreferenceLossSettings
from onethinker.training.inputs import check_data
from onethinker.training.metrics.alarms import find_alarms
from tests.training.test_runs import StopRunError, files, journal, stop_after


@pytest.fixture(scope="module")
def pairs(taught, tmp_path_factory):
    """Right answers preferred to wrong ones, about the picture that the taught model has seen."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    records = [record for _, record in read_records(taught.questions)][:4]
    for index, record in enumerate(records):
        thought = "I see." if index % 2 else "Look."
        record["images"] = [str(taught.questions.parent / "red.png")]
        record["chosen"] = f"<think>{thought}</think><answer>A</answer>"
        record["rejected"] = f"<think>{thought}</think><answer>B</answer>"
        del record["response"]
    write_records(path, records)
    return path


def recipe_of(taught, pairs, **more) -> DpoRecipe:
    settings = {
        "steps": 6,
        "batch_size": 4,
        "save_every": 2,
        "max_row_tokens": 512,
        "optimizer": {"learning_rate": 1e-3},
    }
    return DpoRecipe(**settings | {"model": taught.model, "data": {"files": [pairs]}} | more)


def test_the_loss_is_that_of_the_paper_by_hand():
    rewards = torch.tensor([[2.0, 1.0], [-1.0, 0.5]], requires_grad=True)
    sigmoid = [1 / (1 + math.exp(-margin)) for margin in (1.0, -1.5)]
    assert preference_loss(rewards).tolist() == pytest.approx([-math.log(s) for s in sigmoid])
    smoothed = [-0.9 * math.log(s) - 0.1 * math.log(1 - s) for s in sigmoid]
    assert preference_loss(rewards, 0.1).tolist() == pytest.approx(smoothed)
    preference_loss(rewards).sum().backward()
    assert rewards.grad[:, 0].tolist() == pytest.approx([s - 1 for s in sigmoid])
    assert (rewards.grad.sum(1) == 0).all()


@pytest.mark.parametrize(("normalized", "expected"), [(False, [[0.2, -0.3]]), (True, [[0.1, -0.3]])])
def test_a_response_earns_beta_times_the_log_of_how_much_likelier_it_is(normalized, expected):
    settings = PreferenceLossSettings(beta=0.1, length_normalized=normalized)
    logps, reference = torch.tensor([-1.0, -2.0, -5.0]), torch.tensor([-2.0, -3.0, -2.0])
    found = implicit_rewards(logps, reference, torch.tensor([0, 0, 1]), 2, settings)
    assert found.tolist() == [pytest.approx(row) for row in expected]


def test_a_model_comes_to_prefer_what_was_chosen_and_a_stopped_run_ends_the_same(taught, pairs, tmp_path):
    recipe = recipe_of(taught, pairs)
    train_dpo(recipe, tmp_path / "whole")
    rows = journal(tmp_path / "whole")
    first, last = rows[0], rows[-1]
    assert (first["stage"], first["margin"], first["preference_accuracy"]) == ("dpo", 0, 0)
    assert first["loss"] == pytest.approx(math.log(2))
    assert last["preference_accuracy"] == 1
    assert last["margin"] > 0.1
    assert last["margin"] == pytest.approx(last["chosen_reward"] - last["rejected_reward"])
    assert last["shared_prompt_tokens"]["update"] > 0
    assert find_alarms(rows, recipe, rows) == ()
    with pytest.raises(StopRunError):
        train_dpo(recipe, tmp_path / "stopped", on_step=stop_after(5))
    train_dpo(recipe, tmp_path / "stopped")
    assert journal(tmp_path / "stopped") == rows
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_under_adapters_the_reference_is_the_model_without_them(taught, pairs, tmp_path):
    train_dpo(recipe_of(taught, pairs, lora={"rank": 4}, steps=3), tmp_path / "run")
    rows = journal(tmp_path / "run")
    assert rows[0]["loss"] == pytest.approx(math.log(2))
    assert rows[-1]["margin"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rejected": None}, "'chosen' \\(or 'response'\\) and 'rejected'; one of them is missing"),
        ({"chosen": None}, "'chosen' \\(or 'response'\\) and 'rejected'; one of them is missing"),
        ({"rejected": "<think>Look.</think><answer>A</answer>"}, "same text"),
        ({"response": "<think></think><answer>A</answer>"}, "'chosen' is another name for 'response'"),
        ({"chosen": "A."}, "no <answer>"),
        ({"rejected": 3}, "'rejected' must be a text"),
    ],
)
def test_a_record_that_is_no_preference_is_named(taught, pairs, tmp_path, change, message):
    records = [record for _, record in read_records(pairs)]
    records[0] |= change
    write_records(tmp_path / "pairs.jsonl", records)
    with pytest.raises(DataError, match=rf"row 1: .*{message}"):
        check_data(recipe_of(taught, tmp_path / "pairs.jsonl"))


def test_pairs_are_read_and_written_back(pairs, tmp_path):
    sample = next(read_samples(pairs))
    record = record_from_sample(sample, root=tmp_path)
    assert (record["response"], record["rejected"]) == (sample.response, sample.rejected)
    write_records(tmp_path / "again.jsonl", [json.loads(json.dumps(record))])
    assert next(read_samples(tmp_path / "again.jsonl")).rejected == sample.rejected


def test_a_scene_prefers_its_own_response_to_that_of_another_scene():
    for index in range(6):
        sample = make_pair(3, index)
        assert sample.response is not None
        assert sample.truth in sample.response
        assert f"<answer>{sample.truth}</answer>" not in (sample.rejected or "")
        assert "<answer>" in (sample.rejected or "")


def test_responses_are_compared_whole():
    with pytest.raises(ValidationError, match="compares whole responses"):
        DpoRecipe(data={"too_long": "truncate"})
    with pytest.raises(ValidationError, match=r"lora\.dropout"):
        DpoRecipe(lora={"dropout": 0.1})
