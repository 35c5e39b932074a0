"""The recipes that ship: the paper's settings, models of the right size on the meta device, data in the released
form.
"""

import json
from pathlib import Path

import pytest
from PIL import Image

from onethinker.data.formats.records import write_records
from onethinker.data.mixture import Mixture
from onethinker.data.synthetic import write_dataset
from onethinker.inference.encode import build_request
from onethinker.inference.loading import load_meta_model
from onethinker.media.budget import MediaBudget
from onethinker.media.reading import read_clip
from onethinker.media.sizing import count_tokens
from onethinker.tasks.template import PromptTemplate
from onethinker.training.config import Recipe, RlRecipe, SftRecipe
from onethinker.training.memory import peak
from onethinker.training.plan import make_plan
from onethinker.training.sharding import Sharding
from tests.training.test_plan import CONFIGS

GIB = 2**30


def kind_of(name: str) -> type[Recipe]:
    return SftRecipe if name.startswith("sft") else RlRecipe


def test_sft_of_8b_has_the_papers_settings():
    recipe = SftRecipe.load("sft_8b")
    assert (recipe.batch_size, recipe.optimizer.learning_rate, recipe.optimizer.kind) == (32, 1e-5, "adamw")
    assert recipe.budget is not None
    assert recipe.budget.max_frames == 128
    assert recipe.model == "Qwen/Qwen3-VL-8B-Instruct"


def test_rl_of_8b_has_the_papers_settings():
    recipe = RlRecipe.load("rl_8b")
    assert (recipe.rollout.generation_batch_size, recipe.rollout.group_size, recipe.rollout.max_new_tokens) == (
        128,
        8,
        4096,
    )
    assert (recipe.optimizer.learning_rate, recipe.optimizer.min_lr_ratio, recipe.optimizer.kind) == (
        2e-6,
        1.0,
        "adamw",
    )
    assert (recipe.advantage.algorithm, recipe.advantage.ema_decay, recipe.advantage.clip) == ("ema_grpo", 0.99, 5.0)
    assert recipe.loss.kl_coefficient == 0.01
    assert recipe.budget is not None
    assert recipe.budget.max_frames == 128


def test_pictures_and_frames_have_one_size_in_both_stages():
    assert SftRecipe.load("sft_8b").budget == RlRecipe.load("rl_8b").budget


@pytest.mark.parametrize(
    ("name", "config", "processes", "sharding", "card"),
    [
        ("sft_8b", "qwen3_vl_8b", 8, Sharding("fsdp2"), 80),
        ("rl_8b", "qwen3_vl_8b", 8, Sharding("fsdp2"), 80),
        ("rl_2b_lora_24gb", "qwen3_vl_2b", 1, None, 24),
    ],
)
def test_a_large_recipe_divides_and_fits_its_card_by_estimate(name, config, processes, sharding, card):
    recipe = kind_of(name).load(name)
    model = load_meta_model(recipe.model, config=CONFIGS / f"{config}.json")
    assert recipe.budget is not None
    plan = make_plan(recipe, processes=processes, model=model, budget=recipe.budget, sharding=sharding)
    # A tenth stays free for what an estimate leaves out.
    assert 0.3 * card * GIB < peak(list(plan.memory)) < 0.9 * card * GIB
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", ["sft_8b", "rl_8b", "rl_2b_lora_24gb"])
def test_a_large_recipe_reads_files_in_the_released_form_within_its_budget(tmp_path, name):
    recipe = kind_of(name).load(name)
    for file in recipe.data.files:
        released_file(tmp_path / file, stage="sft" if kind_of(name) is SftRecipe else "rl")
    files = [tmp_path / file for file in recipe.data.files]
    data = Mixture.open(files, recipe.data.problem_types, recipe.data.weights, recipe.data.seed)
    budget = recipe.budget or MediaBudget()
    seen = set()
    for number in range(8):
        sample = data.sample(number)
        request = build_request(sample, PromptTemplate(), budget)
        seen |= {clip.kind for clip in request.media}
        assert sum(count_tokens(clip, budget) for clip in request.media) <= 128 // 2 * budget.frame_max_pixels // 1024
        assert sample.response if recipe.need == "response" else sample.truth
    assert seen == {"image", "video"}


def released_file(path: Path, *, stage: str) -> None:
    """Write four records as the released JSON has them, with a picture or a clip each."""
    kind = "video" if "video" in path.name else "image"
    scenes = write_dataset(path.parent / f"scenes-{path.stem}", num_samples=24, side_px=96)
    rows = []
    for line in scenes.read_text().splitlines():
        record = json.loads(line)
        media = {
            f"{name}s": [str(scenes.parent / item) for item in record.get(f"{name}s", [])]
            for name in ("image", "video")
        }
        record |= media
        options = record.get("options")
        if stage == "sft":
            turns = [
                {"role": "user", "content": record["problem"]},
                {"role": "assistant", "content": record["response"]},
            ]
            record = {
                "messages": turns,
                **media,
                "problem_type": record["problem_type"],
                "data_type": record["data_type"],
            }
            record["options"] = options
            if record["data_type"] != kind:
                continue
        rows.append(record)
    write_records(path, rows)


def test_adapters_can_be_tried_on_a_cpu():
    recipe = RlRecipe.load("tiny_cpu")
    assert recipe.lora is not None
    assert recipe.gradient_checkpointing


def test_pictures_of_a_recipe_are_as_large_as_its_budget_says(tmp_path):
    Image.new("RGB", (4000, 3000)).save(tmp_path / "large.png")
    for name in ("sft_8b", "rl_8b", "rl_2b_lora_24gb"):
        budget = kind_of(name).load(name).budget
        assert budget is not None
        clip = read_clip(tmp_path / "large.png", budget)
        assert 0.9 * budget.image_max_pixels < clip.width * clip.height
