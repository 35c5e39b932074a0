"""Adding a task inside the package takes exactly two edits: its file, and its row."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_task_inside_the_package_is_a_file_and_a_row(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "onethinker", tmp_path / "onethinker", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    # The two edits.
    pointing = (ROOT / "examples/my_lab/my_lab/pointing.py").read_text()
    (tmp_path / "onethinker/tasks/pointing.py").write_text(
        pointing.replace("from onethinker import Clip", "from onethinker.core.frames import Clip").replace(
            "from onethinker.tasks import RewardScheme", "from onethinker.tasks.base import RewardScheme"
        )
    )
    registry = tmp_path / "onethinker/tasks/registry.py"
    text = registry.read_text().replace("    VideoSegmentation,\n)", "    VideoSegmentation,\n    Pointing,\n)")
    text = text.replace(
        "from onethinker.tasks.regression",
        "from onethinker.tasks.pointing import Pointing\nfrom onethinker.tasks.regression",
    )
    registry.write_text(text)
    chosen = "pointing or json_holds or stretch or key_of_its_own or threads"
    files = ["tests/tasks/test_all_tasks.py", "tests/commands/test_tasks.py", "tests/data/test_mixture.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-o", "addopts=--import-mode=importlib", "-k", chosen, *files],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert sum("pointing" in line and "PASSED" in line for line in done.stdout.splitlines()) > 20, (
        "the laws of all tasks hold it"
    )
