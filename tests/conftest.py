import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ["tests.models"]

for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)  # readline sets them for the workers of pytest-xdist, and output would wrap


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of 256 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("a small disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
