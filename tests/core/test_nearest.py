"""Which names a misspelt one may have meant."""

import pytest

from onethinker.commands.dispatch import ALIASES as COMMAND_ALIASES
from onethinker.commands.dispatch import EXAMPLES, GROUPS, dispatch
from onethinker.core.errors import DataError
from onethinker.core.nearest import did_you_mean, near_path, no_such
from onethinker.core.settings import dotted_names
from onethinker.tasks import all_tasks, find_task
from onethinker.tasks.registry import ALIASES as TASK_ALIASES
from onethinker.training.aliases import SETTING_ALIASES
from onethinker.training.config import RlRecipe, SftRecipe


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("evalute", "evaluate"),
        ("qickstart", "quickstart"),
        ("eval", "evaluate"),
        ("train", "'sft' or 'rl'"),
        ("segement", "segment"),
        ("Ask", "ask"),
        ("--verson", "--version"),
    ],
)
def test_a_misspelt_command_is_wrong_usage_and_the_right_one_is_offered(typed, meant, capsys):
    assert dispatch([typed]) == 2
    assert f"did you mean {meant if ' or ' in meant else repr(meant)}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "medium", "meant"),
    [
        ("grounding", "image", "'spatial grounding'"),
        ("grounding", "video", "'temporal grounding' or 'spatial-temporal grounding'"),
        ("spacial grounding", "video", "'spatial grounding'"),
        ("trakcing", "video", "'tracking'"),
        ("caption", "image", "'open-ended'"),
        ("OCR-reading", "image", None),
    ],
)
def test_of_tasks_as_near_those_for_the_medium_are_offered(typed, medium, meant):
    with pytest.raises(DataError) as error:
        find_task(typed, medium)
    assert (f"did you mean {meant}?" if meant else f"no task {typed!r}. There are: multiple choice, ") in str(
        error.value
    )


def test_every_alias_means_a_name_that_there_is():
    settings = {*dotted_names(SftRecipe), *dotted_names(RlRecipe)}
    tasks = {task.problem_type for task in all_tasks()}
    for aliases, known in ((COMMAND_ALIASES, {*EXAMPLES, *GROUPS}), (TASK_ALIASES, tasks), (SETTING_ALIASES, settings)):
        assert {name for meant in aliases.values() for name in meant} <= set(known)


def test_no_right_name_is_an_alias_of_another():
    assert not set(COMMAND_ALIASES) & set(EXAMPLES)
    assert not set(TASK_ALIASES) & {task.problem_type for task in all_tasks()}


def test_a_name_far_from_all_is_told_all_and_a_long_list_is_not_repeated():
    many = [f"{chr(97 + n) * 6}" for n in range(26)]
    assert no_such("benchmark", "zzz", ["a", "b"]) == "no benchmark 'zzz'. There are: a, b"
    assert len(no_such("benchmark", "ccccc", many, see="`--list` shows all")) < 80
    assert len(no_such("task", "x" * 5000, ["a"])) < 120
    assert did_you_mean("", ["a"]) == ()


def test_the_nearest_file_of_the_same_folder_is_offered(tmp_path):
    (tmp_path / "photo.jpg").touch()
    assert near_path(tmp_path / "phto.jpg") == f"; did you mean {str(tmp_path / 'photo.jpg')!r}?"
    assert near_path(tmp_path / "nosuch" / "photo.jpg") == ""
