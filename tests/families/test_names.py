"""What is known of a model family stands in `onethinker/families`, so that another family is one file there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OF_ONE_MODEL = set((ROOT / "onethinker/training/sight").rglob("*.py"))
"""Lessons for the vision tower of the model in the box, which is of one family."""
IN_FAMILIES = set((ROOT / "onethinker/families").rglob("*.py"))
OUTSIDE = sorted(set((ROOT / "onethinker").rglob("*.py")) - IN_FAMILIES - OF_ONE_MODEL)

HUB_IDS = re.compile(r"(Qwen/)?Qwen3-VL-\d+B-Instruct")
"""Models that texts suggest and the paper compares with."""
OF_A_FAMILY = re.compile(
    r"(image|video|vision_start|vision_end)_token_id|_token_id\"|\bmodel\.visual\b|\bvisual\.[a-z]|deepstack"
    r"|merger_list|\.merger\b|lm_head|text_config(?!\()|vision_config|language_model|pixel_values_videos|_grid_thw|\bQwen"
)
"""Names that one family gives to its tokens, modules, inputs and classes."""


def names_in(text: str) -> list[str]:
    return [match[0] for match in OF_A_FAMILY.finditer(HUB_IDS.sub("", text).replace("get_text_config()", ""))]


def test_no_name_of_a_family_stands_outside_the_families() -> None:
    found = {str(path.relative_to(ROOT)): names for path in OUTSIDE if (names := names_in(path.read_text("utf-8")))}
    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "token = processor.image_token_id",
        'token = getattr(processor, f"{kind}_token_id", None)',
        "patches = model.model.visual.patch_embed",
        'if name.startswith("model.visual"):',
        "for merger in vision.deepstack_merger_list:",
        'if name.endswith("lm_head.weight"):',
        "cache = DynamicCache(config=model.config.text_config)",
        "from transformers import Qwen3VLProcessor",
        'batch["image_grid_thw"]',
    ],
)
def test_the_search_finds_such_names(line: str) -> None:
    assert names_in(line)


@pytest.mark.parametrize(
    "line",
    ["model.config.get_text_config()", 'choose one such as "Qwen/Qwen3-VL-8B-Instruct"', "batch.visual, length.prompt"],
)
def test_the_search_lets_other_names_pass(line: str) -> None:
    assert names_in(line) == []
