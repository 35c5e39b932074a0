"""`onethinker models`: which models can be asked and trained."""

from dataclasses import asdict

from onethinker.families.table import HEADINGS, OTHERS, cells_of, family_rows
from onethinker.storage.strict_json import to_json


def models(*, json: bool = False) -> None:
    """Show the supported model families: what each can be used for, and how they differ.

    Args:
        json: Print a JSON list with one record per family.
    """
    rows = family_rows()
    if json:
        print(to_json([asdict(row) for row in rows], ensure_ascii=False, indent=2))
        return
    from rich.console import Console

    console = Console(highlight=False)
    for row in rows:
        words = dict(zip(HEADINGS, cells_of(row), strict=True))
        console.print(f"{words.pop('family')} ({words.pop('model type')})", style="bold")
        differs = words.pop("what differs")
        console.print("  " + ", ".join(f"{name}: {value}" for name, value in words.items()), soft_wrap=True)
        console.print(f"  {differs}", soft_wrap=True)
    console.print(OTHERS, soft_wrap=True)
