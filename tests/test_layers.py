"""The shape of the package: imports run one way, tasks stay light, and nothing in the tree can run a stranger's
code.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from onethinker.storage import folders
from onethinker.storage.strict_json import to_json

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "onethinker"
MODULES = sorted(PACKAGE.rglob("*.py"))

ROOMS = (
    "core",
    "storage",
    "processes",
    "drawing",
    "tasks",
    "media",
    "data",
    "families",
    "segmenters",
    "inference",
    "rewards",
    "training",
    "rl",
    "integrations",
    "evaluation",
    "report",
    "serving",
    "commands",
    "cli",
    "__main__",
)
"""From the ground up; a module may import from its own room and from those below."""
HEIGHT = {name: height for height, name in enumerate(ROOMS)}

HEAVY = ("torch", "transformers", "scipy", "cv2", "supervision", "av", "matplotlib", "accelerate", "peft")


def part_of(module: str) -> str:
    """'onethinker.tasks.ocr' belongs to 'tasks'; the package's own __init__ is ''."""
    return module.removeprefix("onethinker").lstrip(".").split(".")[0]


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """All (line, module) of the package that a file imports, inside functions and for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "onethinker")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the whole name, not a relative import"
            if node.module == "onethinker":
                yield from ((node.lineno, f"onethinker.{alias.name}") for alias in node.names)
            elif (node.module or "").startswith("onethinker."):
                yield node.lineno, node.module or ""
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def module_name(path: Path) -> str:
    """'onethinker/tasks/__init__.py' is 'onethinker.tasks'."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_every_part_of_the_package_is_a_room() -> None:
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES} - {"__init__"}
    assert parts - set(HEIGHT) == set()


def test_no_module_imports_from_a_room_above_its_own() -> None:
    upward = []
    for path in MODULES:
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for line, module in imports_of(path):
            if HEIGHT.get(part_of(module), 0) > HEIGHT[own]:
                upward.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert upward == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    names = {module_name(path): path for path in MODULES}
    below = {
        name: {other for _, other in imports_of(path) if other in names and other != name}
        for name, path in names.items()
    }
    while leaves := {name for name, others in below.items() if not others}:
        below = {name: others - leaves for name, others in below.items() if name not in leaves}
    assert below == {}


def test_every_public_name_is_found_and_listed() -> None:
    code = (
        "import onethinker\n"
        "assert sorted(onethinker._HOMES) == sorted(onethinker.__all__)\n"
        "for name in onethinker.__all__: getattr(onethinker, name)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "module", ["onethinker", "onethinker.tasks", "onethinker.cli", "onethinker.core.sample", "onethinker.media.budget"]
)
def test_importing_a_light_part_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert shown == []


FORBIDDEN = {
    "a pickle that may name classes": re.compile(
        r"^\s*(import|from)\s+(pickle|dill|cloudpickle|shelve|marshal)\b", re.MULTILINE
    ),
    "eval or exec": re.compile(r"(?<![\w.])(eval|exec)\("),
    "a shell": re.compile(r"shell\s*=\s*True|os\.(system|popen)\("),
    "code from a model folder": re.compile(r"trust_remote_code\s*=\s*True"),
    "torch.load of more than weights": re.compile(r"torch\.load\((?![^)]*weights_only\s*=\s*True)"),
    "unsafe YAML": re.compile(r"yaml\.(load|unsafe_load)\("),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_the_package_never_uses(name: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0].strip()}"
        for path in MODULES
        if (name, path.name) != ("a pickle that may name classes", "pickles.py")
        for match in FORBIDDEN[name].finditer(path.read_text("utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("a pickle that may name classes", "import pickle"),
        ("eval or exec", "x = eval(text)"),
        ("a shell", "run(command, shell=True)"),
        ("torch.load of more than weights", "torch.load(path)"),
    ],
)
def test_the_search_for_forbidden_code_finds_it(name: str, code: str) -> None:
    assert FORBIDDEN[name].search(code)


@pytest.mark.parametrize("code", ["model.eval()", "torch.load(path, weights_only=True)", "cursor.exec(x)"])
def test_the_search_for_forbidden_code_lets_harmless_code_pass(code: str) -> None:
    assert not any(pattern.search(code) for pattern in FORBIDDEN.values())


def test_only_strict_json_writes_json() -> None:
    """Python writes NaN and Infinity unless it is told not to, and JSON has no such words."""
    # The script of the math worker imports nothing of the package.
    allowed = {PACKAGE / "storage/strict_json.py", PACKAGE / "tasks/math/worker.py"}
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES
        if path not in allowed
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("dump", "dumps")
    ]
    assert found == [], "write it with onethinker.storage.strict_json"


def test_the_one_function_that_writes_json_refuses_what_other_programs_cannot_read() -> None:
    for value in (float("nan"), [float("inf")], {"a": -float("inf")}):
        with pytest.raises(ValueError, match="not JSON compliant"):
            to_json(value)


def test_every_file_name_of_a_run_stands_in_one_place() -> None:
    names = {name for name in vars(folders).values() if isinstance(name, str) and re.fullmatch(r"\w+\.\w+", name)}
    assert "journal.jsonl" in names
    written_again = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.value}"
        for path in MODULES
        if path != PACKAGE / "storage/folders.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert written_again == [], "take it from onethinker.storage.folders"
