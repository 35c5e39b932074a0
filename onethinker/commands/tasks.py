"""`onethinker tasks`: what can be asked."""

from onethinker.storage.strict_json import to_json
from onethinker.tasks import all_tasks


def tasks(*, json: bool = False) -> None:
    """Show every task: its problem type, which media it is asked about and what its answers look like.

    Args:
        json: Print a JSON list, including the instructions that the model gets.
    """
    if json:
        names = ("problem_type", "key", "data_types", "instructions", "example")
        rows = [{name: getattr(task, name) for name in names} for task in all_tasks()]
        print(to_json(rows, ensure_ascii=False, indent=2))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("problem type", "asked about", "an answer")
    for task in all_tasks():
        table.add_row(task.problem_type, ", ".join(task.data_types), Text(task.example))
    Console().print(table)
