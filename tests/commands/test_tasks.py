import json

import pytest

from onethinker.cli import main
from onethinker.tasks import all_tasks


def output_of(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_the_table_names_every_problem_type(capsys):
    table = output_of(capsys, "tasks")
    assert all(task.problem_type in table for task in all_tasks())


def test_json_holds_every_task_with_an_example_that_parses(capsys):
    rows = json.loads(output_of(capsys, "tasks", "--json"))
    assert len({row["key"] for row in rows}) == len(rows) == len(all_tasks())
    for row, task in zip(rows, all_tasks(), strict=True):
        assert row["instructions"]
        task.parse(row["example"])
