"""What this process runs on: command, commit, machine, versions."""

import os
import platform
import shlex
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

_LIBRARIES = ("onethinker", "torch", "transformers", "av", "numpy", "pillow")


def about_this_machine() -> dict[str, Any]:
    """Return what a reader needs, besides the settings, to get the same number again."""
    return {
        "command": _command(),
        "folder": str(Path.cwd()),
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
        "machine": f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _LIBRARIES},
    }


def default_device() -> str:
    """Return the device that a model runs on by default: the first GPU, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _command() -> str | None:
    """Return the command line that this process was started with, None where it is not one of ours."""
    program = Path(sys.argv[0])
    is_ours = program.name == "onethinker" or program == Path(__file__).parents[1] / "__main__.py"
    return shlex.join(["onethinker", *sys.argv[1:]]) if is_ours else None


def _commit() -> str | None:
    """Return the commit of the checkout that this package runs from, with + where files differ from it; None without a
    checkout.
    """
    root = Path(__file__).parents[2]
    git = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    try:
        found = (
            subprocess.run(git, capture_output=True, text=True, check=True, timeout=10)
            if (root / ".git").exists()
            else None
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() if found else None
