"""From words on the command line to a command: one function each, made into flags by tyro when it is asked for."""

import ast
import errno
import io
import re
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from typing import Any

from onethinker.core.errors import ConfigError, OneThinkerError, StorageError
from onethinker.core.nearest import no_such
from onethinker.core.plugins import use_plugins

EXAMPLES: dict[str, str] = {
    "ask": 'onethinker ask drawing.png "Where is the cat?"',
    "serve": "onethinker serve",
    "segment": "onethinker segment clip.mp4 --box 330 360 470 990 --time 8.8 --draw cut.mp4",
    "inspect": "onethinker inspect clip.mp4 --sheet frames.png",
    "tasks": "onethinker tasks",
    "models": "onethinker models",
    "grade": "onethinker grade --input answers.jsonl --output graded.jsonl",
    "data check": "onethinker data check samples.jsonl",
    "data stats": "onethinker data stats samples.jsonl --html data.html",
    "data view": "onethinker data view samples.jsonl --output data.html --task tracking",
    "data filter": "onethinker data filter samples.jsonl --output kept.jsonl --faultless",
    "data mix": "onethinker data mix a.jsonl b.jsonl --output mixed.jsonl --videos 0.5",
    "data annotate": "onethinker data annotate rl.jsonl --teacher http://gpu/v1 --output sft.jsonl",
    "data from-answers": "onethinker data from-answers answers.jsonl --output corrected.jsonl",
    "data export": "onethinker data export answers.jsonl pre.json --to label-studio",
    "data convert": "onethinker data convert samples.jsonl swift.jsonl --to swift",
    "data synthetic": "onethinker data synthetic --output runs/scenes --num-samples 1000",
    "sft": "onethinker sft tiny_sft --output runs/sft --set steps=200",
    "dpo": "onethinker dpo tiny_dpo --output runs/dpo --set model=runs/sft/model",
    "rl": "onethinker rl tiny_rl --output runs/rl --set model=runs/sft/model steps=20",
    "launch slurm": "onethinker launch slurm rl rl_8b --output /shared/rl --nodes 4 > job.sh",
    "launch kubernetes": "onethinker launch kubernetes rl rl_8b --output /shared/r --nodes 4 --image I",
    "watch": "onethinker watch runs/rl",
    "rollouts": "onethinker rollouts runs/rl --task tracking --min-spread 0.5",
    "evaluate": "onethinker evaluate --model runs/rl/model --synthetic 120 --output runs/eval",
    "report": "onethinker report runs/eval --output report.html",
    "export": "onethinker export runs/rl --output my-thinker --results runs/eval",
    "push": "onethinker push runs/rl my-lab/my-thinker --license apache-2.0",
    "quickstart": "onethinker quickstart",
    "doctor": "onethinker doctor",
}
"""The commands in the order of their use, each with a line to copy; `commands/NAME.py` holds the function NAME,
"data check" the function `data_check`.
"""
GROUPS = tuple({name.partition(" ")[0]: None for name in EXAMPLES if " " in name})
"""First words that only a second one makes a command."""

ALIASES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("train", "fit", "finetune", "fine tune"), ("sft", "rl")),
    **dict.fromkeys(("grpo", "ema grpo", "reinforce"), ("rl",)),
    **dict.fromkeys(("preference", "preferences", "rlhf", "orpo", "simpo", "kto"), ("dpo",)),
    **dict.fromkeys(("eval", "test", "benchmark", "bench"), ("evaluate",)),
    **dict.fromkeys(("infer", "predict", "chat", "run", "generate", "query"), ("ask",)),
    **dict.fromkeys(("server", "api", "http", "deploy", "ui", "web", "gui", "page", "app"), ("serve",)),
    **dict.fromkeys(("mask", "cut", "sam"), ("segment",)),
    **dict.fromkeys(("info", "show", "view", "probe"), ("inspect",)),
    **dict.fromkeys(("merge", "convert", "save"), ("export",)),
    **dict.fromkeys(("upload", "publish", "hub", "share"), ("push",)),
    **dict.fromkeys(("monitor", "tail", "log", "logs", "status"), ("watch",)),
    **dict.fromkeys(("check", "env", "diagnose"), ("doctor",)),
    **dict.fromkeys(("demo", "start", "init", "tutorial"), ("quickstart",)),
    **dict.fromkeys(("score", "reward"), ("grade", "evaluate")),
    **dict.fromkeys(("dataset", "synthetic", "synth"), ("data",)),
    **dict.fromkeys(("compare", "html", "card"), ("report",)),
    **dict.fromkeys(("slurm", "sbatch", "kubernetes", "k8s", "cluster", "torchrun", "accelerate"), ("launch",)),
    "list": ("tasks", "models"),
    **dict.fromkeys(("families", "family", "bases", "base", "model"), ("models",)),
}
"""What other programs call our commands; words are apart by a space."""
DATA_ALIASES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("validate", "verify", "lint", "test"), ("check",)),
    **dict.fromkeys(("statistics", "count", "describe", "summary", "info"), ("stats",)),
    **dict.fromkeys(("select", "dedup", "deduplicate", "decontaminate", "prune", "clean"), ("filter",)),
    **dict.fromkeys(("sample", "balance", "blend", "merge", "combine", "concat"), ("mix",)),
    **dict.fromkeys(("show", "browse", "inspect", "visualize", "visualise", "draw", "look", "head"), ("view",)),
    **dict.fromkeys(("distill", "distil", "label", "reason", "teach", "cot"), ("annotate",)),
    **dict.fromkeys(("corrections", "corrected", "feedback", "from answers"), ("from-answers",)),
    **dict.fromkeys(("import", "transform", "translate", "to"), ("convert",)),
    **dict.fromkeys(("generate", "make", "synth", "scenes"), ("synthetic",)),
}
LAUNCH_ALIASES: dict[str, tuple[str, ...]] = {"sbatch": ("slurm",), **dict.fromkeys(("k8s", "job"), ("kubernetes",))}
"""The same below `onethinker data` and `onethinker launch`."""
PLUGINS_HELP = "  --plugins MODULE,MODULE adds your own tasks, rewards and other parts."
USAGE_ERROR = 2
BROKEN_PIPE = 141
DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""What no program can do anything about, whoever was writing: a full disk, a quota, a limit, a disk that is read-only
or broken.
"""


def module_of(command: str) -> str:
    """Return the name of the module, and of the function in it, of a command.

    >>> module_of("data from-answers")
    'data_from_answers'
    """
    return command.replace(" ", "_").replace("-", "_")


def read_docstring(command: str) -> str:
    """Return the docstring of a command's function without importing it, so that the list of commands stays fast."""
    name = module_of(command)
    tree = ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    return ast.get_docstring(function) or ""


def list_commands(group: str = "") -> str:
    """Return the help of `onethinker` itself, or of a group such as `onethinker data`: every command, what it does in a
    sentence, and lines to copy.
    """
    names = [name for name in EXAMPLES if name.startswith(f"{group} ".lstrip())]
    about = "One vision-language model that reasons about pictures and video in ten tasks."
    indent, columns = max(map(len, EXAMPLES)) + 4, terminal_columns()
    rows = [
        textwrap.fill(
            f"  {name}".ljust(indent) + read_docstring(name).splitlines()[0],
            max(columns, 2 * indent),
            subsequent_indent=" " * indent,
            break_on_hyphens=False,
        )
        for name in names
    ]
    return "\n".join(
        [
            f"usage: onethinker {group} COMMAND [OPTIONS]".replace("  ", " "),
            "",
            *([] if group else [about, ""]),
            "commands:",
            *rows,
            "",
            "examples:",
            *(f"  {EXAMPLES[name]}" for name in (names if group else ("quickstart", "ask", "inspect", "grade"))),
            "",
            "`onethinker COMMAND --plugins MODULE,MODULE` adds your own tasks and parts.",
            "`onethinker COMMAND --help` shows the options of a command. Results go to",
            "stdout, everything else to stderr; the exit code is 0 for success, 1 for",
            "an error and 2 for wrong usage.",
        ]
    )


def terminal_columns() -> int:
    """Return how many characters a line of help may have: as many as the terminal shows, 120 where there is none."""
    return shutil.get_terminal_size((120, 24)).columns


def find_command(name: str) -> Callable[..., Any]:
    """Return the function behind a command; only its module is imported."""
    module = module_of(name)
    return getattr(import_module(f"onethinker.commands.{module}"), module)  # type: ignore[no-any-return]


def run_command(name: str, arguments: Sequence[str]) -> None:
    """Parse the flags of one command and run it; leaves with 2 when they do not fit."""
    parse_flags(name, arguments)()


def parse_flags(name: str, arguments: Sequence[str]) -> Callable[[], Any]:
    """Return a command with its arguments, not run yet. Raises: SystemExit: after its help, or what does not fit."""
    import tyro

    about = read_docstring(name).split("\nArgs:")[0].strip().split("\n\n")
    # tyro joins lines that begin with a letter, however long that makes them: these begin with blanks.
    wrap = partial(textwrap.fill, width=max(terminal_columns(), 40), initial_indent="  ", subsequent_indent="  ")
    example = f"  Example:\n    {EXAMPLES[name]}"
    command = find_command(name)
    # The help breaks lines where its own end: a description below "Args:" is one line.
    command.__doc__ = re.sub(r"\n {12,}", " ", command.__doc__ or "")
    parsed = wraps(command)(lambda *args, **kwargs: partial(command, *args, **kwargs))
    defaults_in = getattr(sys.modules[command.__module__], "defaults_in", None)

    def parse() -> Callable[[], Any]:
        return tyro.cli(
            partial(parsed, **defaults_in(arguments)) if defaults_in else parsed,
            prog=f"onethinker {name}",
            description="\n\n".join([*map(wrap, about), example, PLUGINS_HELP]),
            args=arguments,
            config=tyro_settings(),
        )

    try:
        with redirect_stderr(io.StringIO()):
            return parse()
    except SystemExit as left:
        if left.code != USAGE_ERROR:
            raise
        if wrong := misspelt_word(name, parsed, arguments):
            complain(wrong)
            raise
    return parse()  # what else does not fit is told by tyro, as the terminal is


def misspelt_word(name: str, command: Callable[..., Any], arguments: Sequence[str]) -> str | None:
    """Return what to say of a word that is no flag, or no choice of its flag; None where each is."""
    import tyro

    from onethinker.commands.misspelt import misspelt

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it is the only public way to a list of the flags
        parser = tyro.extras.get_parser(command, prog=f"onethinker {name}", config=tyro_settings())
    return misspelt(parser, arguments)


def tyro_settings() -> tuple[Any, ...]:
    """Return how flags look: `--json` without a `--no-json`, no "None" to type, positional words by their name."""
    from tyro.conf import DisallowNone, FlagCreatePairsOff, PositionalMetavarFromFieldName

    return FlagCreatePairsOff, DisallowNone, PositionalMetavarFromFieldName


def take_plugins(arguments: Sequence[str]) -> list[str]:
    """Return a command line without `--plugins MODULE,MODULE`, which every command takes: their parts are used.

    Raises: ConfigError: one cannot be loaded.
    """
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag != "--plugins":
            rest.append(word)
            continue
        names = value if equals else next(words, "")
        if not names.strip(", ") or names.startswith("--"):
            raise ConfigError("--plugins takes modules separated by commas, such as my_lab.tasks or my_lab/tasks.py")
        use_plugins([name.strip() for name in names.split(",") if name.strip()])
    return rest


def dispatch(arguments: Sequence[str]) -> int:
    """Answer one command line and return the exit code."""
    arguments = take_plugins(arguments)
    group = arguments[0] if arguments and arguments[0] in GROUPS else ""
    words = arguments[1:] if group else arguments
    if not words:
        print(list_commands(group), file=sys.stderr)
        return USAGE_ERROR
    name, *rest = words
    if name in ("-h", "--help", "help"):
        print(list_commands(group))
        return 0
    if name == "--version" and not group:
        from importlib.metadata import version

        print(version("onethinker"))
        return 0
    full = f"{group} {name}".lstrip()
    if full not in EXAMPLES:
        complain(_no_such(group, name))
        return USAGE_ERROR
    run_command(full, rest)
    return 0


def _no_such(group: str, name: str) -> str:
    if name.startswith("-"):
        return no_such("option", name, ("--help",) if group else ("--help", "--version"), aliases=ALIASES)
    if group:
        known = [full.partition(" ")[2] for full in EXAMPLES if full.startswith(f"{group} ")]
        return (
            f"{group}: {no_such('command', name, known, aliases=LAUNCH_ALIASES if group == 'launch' else DATA_ALIASES)}"
        )
    return no_such("command", name, tuple({full.partition(" ")[0]: None for full in EXAMPLES}), aliases=ALIASES)


def complain(text: str) -> None:
    """Print an error on stderr, in red where that is a terminal."""
    from rich.console import Console

    # A terminal gets whole words a line, and a path in one piece; a pipe gets the lines as they are.
    console = Console(stderr=True)
    how: dict[str, Any] = {"overflow": "ignore", "crop": False} if console.is_terminal else {"soft_wrap": True}
    console.print(f"error: {text}", style="red", markup=False, highlight=False, **how)


def describe(error: BaseException) -> str | None:
    """Return the message of an error, None where it is a mistake of ours and its traceback is wanted."""
    if isinstance(error, StorageError):
        return f"{error}. Fix this and run the same command again: it resumes"
    if isinstance(error, OSError) and error.errno in DISK_TROUBLE:
        where = error.filename or "the output, or a file of a library"
        return f"{where}: cannot be written: {error.strerror}. Fix this and run the same command again"
    return str(error) if isinstance(error, OneThinkerError) else None
