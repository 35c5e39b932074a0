"""What the documents name exists: tests, files, commands with their flags, and settings."""

import functools
import json
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import tyro
from pydantic import BaseModel

from onethinker.commands.dispatch import EXAMPLES, find_command, tyro_settings
from onethinker.data.formats.released import sample_from_record
from onethinker.tasks import grade_response, task_of
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.dpo_recipe import DpoRecipe
from onethinker.training.metrics.rl_rules import RL_RULES, TASK_RULES
from onethinker.training.metrics.run_rules import RECIPE_RULES, RUN_RULES, SFT_RULES
from tests.test_layers import ROOMS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "onethinker"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *PACKAGE.glob("**/*.md")])
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"def (test_\w+)", path.read_text("utf-8"))
}


def commands_in(text: str) -> list[list[str]]:
    """Return the `onethinker …` lines of all code blocks, long ones joined, as words."""
    blocks = "\n".join(re.findall(r"```(?:sh|console|bash)\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    lines = [*blocks.splitlines(), *EXAMPLES.values()]
    return [
        shlex.split(line.partition(" > ")[0], comments=True)[1:]
        for line in lines
        if line.removeprefix(".venv/bin/").startswith("onethinker ")
    ]


def test_every_row_of_the_fidelity_table_names_a_test_that_exists() -> None:
    rows = [row for row in (ROOT / "docs/fidelity.md").read_text("utf-8").splitlines() if row.startswith("| ")]
    rows = [row for row in rows if not row.startswith(("| what |", "| --- |"))]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= TESTS, row


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_to_one(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text("utf-8"))
    assert [target for target in targets if "://" not in target and not (document.parent / target).exists()] == []


ARCHITECTURE = (ROOT / "docs/architecture.md").read_text("utf-8")
ROOM_ROWS = re.findall(r"^\| `(\w+)/`(?:, `cli\.py`)? \| (.*) \|$", ARCHITECTURE, re.MULTILINE)


def test_the_architecture_names_every_room_from_the_ground_up() -> None:
    there = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert [room for room, _ in ROOM_ROWS] == [room for room in ROOMS if room in there]
    assert {room for room, _ in ROOM_ROWS} == there


@pytest.mark.parametrize(("room", "text"), ROOM_ROWS, ids=[room for room, _ in ROOM_ROWS])
def test_every_path_in_the_row_of_a_room_is_in_that_room_or_written_in_full(room: str, text: str) -> None:
    named = re.findall(r"`([a-z_0-9/]+(?:\.py|/))`", text)
    assert [name for name in named if not any((base / name).exists() for base in (PACKAGE / room, PACKAGE))] == []


def test_every_path_that_the_architecture_names_exists() -> None:
    named = set(re.findall(r"`([a-z_0-9/]+(?:\.py|/))`", ARCHITECTURE)) - {"families/my_family.py"}
    tops = [ROOT / name for name in ("onethinker", "tests", "examples")]
    paths = [path for top in tops for path in (top, *top.rglob("*"))]
    there = [f"/{path.relative_to(ROOT).as_posix()}{'/' if path.is_dir() else ''}" for path in paths]
    assert len(named) > 120
    assert sorted(name for name in named if not any(path.endswith(f"/{name}") for path in there)) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_line_in_a_document_fits_its_command(document: Path) -> None:
    for words in commands_in(document.read_text("utf-8")):
        size = 2 if " ".join(words[:2]) in EXAMPLES else 1  # "data check" is one command
        if not words[0].startswith("-"):
            parse_only(find_command(" ".join(words[:size])), without_plugins(words[size:]))


def without_plugins(words: list[str]) -> list[str]:
    """Return arguments without `--plugins`, which every command takes before it reads its own."""
    if "--plugins" not in words:
        return words
    place = words.index("--plugins")
    return words[:place] + words[place + 2 :]


def parse_only(command: Callable[..., None], arguments: list[str]) -> None:
    """Read the flags of a command without running it; wrong ones leave with SystemExit."""

    @functools.wraps(command)
    def nothing(*_: object, **__: object) -> None:
        return None

    tyro.cli(nothing, args=arguments, config=tyro_settings())


def test_a_flag_that_does_not_exist_would_be_noticed() -> None:
    with pytest.raises(SystemExit):
        parse_only(find_command("inspect"), ["clip.mp4", "--jsn"])


def settings_of(model: type[BaseModel], before: str = "") -> set[str]:
    """Return the dotted names of all settings of a recipe, groups too."""
    found = set()
    for name, field in model.model_fields.items():
        found.add(before + name)
        kinds = [field.annotation, *get_args(field.annotation)]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found |= settings_of(kind, f"{before}{name}.")
    return found


def test_every_setting_that_a_document_names_exists() -> None:
    settings = settings_of(SftRecipe) | settings_of(DpoRecipe) | settings_of(RlRecipe)
    groups = {name.split(".")[0] for name in settings if "." in name}
    named = {
        (document.name, name)
        for document in DOCUMENTS
        for name in re.findall(r"`((?:\w+\.)+\w+)(?: ?=[^`]*)?`", document.read_text("utf-8"))
        if name.split(".")[0] in groups and not name.endswith((".py", ".jsonl", ".json", ".yaml"))
    }
    assert len(named) > 30
    assert sorted((document, name) for document, name in named if name not in settings) == []


def test_each_alarm_has_a_row_in_the_training_guide_with_whose_it_is_and_what_to_change() -> None:
    text = (ROOT / "docs/training.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \| [^|]+ \|$", text.split("| alarm | of |")[1], re.MULTILINE)
    whose = (
        (RECIPE_RULES, "the recipe"),
        (RUN_RULES, "a run"),
        (SFT_RULES, "SFT"),
        (RL_RULES, "RL"),
        (TASK_RULES, "a task"),
    )
    expected: dict[str, str] = {}
    for rules, owner in whose:
        for name in dict.fromkeys(rule.name for rule in rules):
            expected[name] = f"{expected[name]}, and each task" if name in expected else owner
    assert dict(rows) == expected


def test_the_record_of_the_first_week_can_be_learned_from_and_graded() -> None:
    text = (ROOT / "docs/training.md").read_text("utf-8").split("## A lab's first week")[1]
    block = re.search(r"```json\n(.*?)```", text, re.DOTALL)
    assert block is not None
    sample = sample_from_record(json.loads(block[1]), root=Path("mine"), default_id="1")
    assert sample.media == (Path("mine/pictures/1.png"),)
    assert sample.response is not None
    grade = grade_response(sample.response, sample.truth, task=task_of(sample), options=sample.options)
    assert (grade.accuracy, grade.problems) == (1.0, {})


def test_the_recipe_of_the_first_week_is_one() -> None:
    text = (ROOT / "docs/training.md").read_text("utf-8").split("## A lab's first week")[1]
    block = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert block is not None
    recipe = SftRecipe(**tomllib.loads(block[1]))
    assert recipe.validation is not None
    assert recipe.steps % recipe.validation.every == 0
