"""`onethinker models` and docs/models.md say the same, and what they say is so."""

import json
from pathlib import Path

import pytest

from onethinker.cli import main
from onethinker.families.registry import families
from onethinker.families.table import HEADINGS, OTHERS, cells_of, family_rows

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/models.md"


def output_of(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_the_document_holds_the_table_of_the_registry() -> None:
    table = [HEADINGS, ["---"] * len(HEADINGS), *map(cells_of, family_rows())]
    lines = ["| " + " | ".join(cells) + " |" for cells in table]
    assert "\n".join(lines) in DOCUMENT.read_text("utf-8")
    assert OTHERS in DOCUMENT.read_text("utf-8")


def test_the_command_names_every_family_and_its_model_types(capsys) -> None:
    shown = output_of(capsys, "models")
    assert all(family.name in shown and family.differs in shown for family in families())
    assert OTHERS in shown


def test_json_has_a_record_for_each_family(capsys) -> None:
    rows = json.loads(output_of(capsys, "models", "--json"))
    assert [row["family"] for row in rows] == [family.name for family in families()]
    trained = {row["family"] for row in rows if row["sft"] and row["dpo"] and row["rl"]}
    assert trained == {
        "Qwen3-VL",
        "Qwen3-VL-MoE",
        "Qwen3.5",
        "Qwen3.5-MoE",
        "Qwen2.5-VL",
        "GLM-4V",
        "GLM-4V-MoE",
        "InternVL",
        "SmolVLM",
    }
    assert {word for row in rows for word in row["model_types"]} >= {"qwen3_vl", "qwen3_vl_moe"}


def test_every_family_says_what_differs() -> None:
    assert [family.name for family in families() if not vars(type(family))["differs"].endswith(".")] == []
