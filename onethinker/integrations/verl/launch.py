"""A run of verl from a recipe: rows in the order of our own run, its configuration, and the command."""

import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from onethinker.core.errors import ConfigError, DataError, OneThinkerError
from onethinker.core.sample import Sample
from onethinker.data.formats import verl as form
from onethinker.data.formats.form import write_rows
from onethinker.data.formats.records import Record
from onethinker.data.formats.released import media_kinds
from onethinker.data.mixture import Mixture
from onethinker.integrations.verl.recipe import ACTOR, OURS, ROLLOUT, Values, to_verl
from onethinker.integrations.verl.version import VERL_VERSION, check_version
from onethinker.media.budget import MediaBudget
from onethinker.storage.atomic import write_atomically
from onethinker.tasks.template import PromptTemplate
from onethinker.training.config import RlRecipe

ROWS_FILE, CONFIG_FILE = "rows.parquet", "verl.yaml"
NODES, GPUS = "trainer.nnodes", "trainer.n_gpus_per_node"
PROMPTS, ANSWERS = f"{ACTOR}.ppo_mini_batch_size", f"{ROLLOUT}.n"
MODULES = "VERL_USE_EXTERNAL_MODULES"
_KEPT = ("data_source", "images", "videos", "ability", "reward_model", "extra_info")
"""Fields of a row; the store of verl keeps them all with every answer."""
_VERSIONS = """
from importlib.metadata import PackageNotFoundError, version
for name in ("verl", "onethinker"):
    try:
        print(version(name))
    except PackageNotFoundError:
        print()
"""


@dataclass(frozen=True)
class VerlRun:
    """What a run of verl is started from."""

    recipe: RlRecipe
    folder: Path
    gpus: int
    """Of each node."""
    budget: MediaBudget
    opening: str = ""
    """What the chat template writes of each answer."""
    settings: tuple[str, ...] = ()
    """Settings of verl, name=value, that replace those of the recipe."""
    nodes: int = 1

    @property
    def config(self) -> dict[str, Values]:
        """Return verl's settings by what they come from: fields of the recipe, then what the run itself is.

        Raises: ConfigError: a field has no counterpart.
        """
        rows = str(self.folder / ROWS_FILE)
        return {
            **to_verl(self.recipe),
            "budget": {"data.onethinker.budget": self.budget.model_dump(), "data.mm_processor_kwargs.do_resize": False},
            "data": {
                "data.train_files": rows,
                "data.val_files": rows,
                "data.val_max_samples": 1,
                "data.shuffle": False,
                "data.gen_batch_size": 1,
                "data.custom_cls.path": f"{OURS}.dataset",
                "data.custom_cls.name": "OneThinkerDataset",
            },
            "this run": {
                "reward.custom_reward_function.reward_kwargs.opening": self.opening,
                "trainer.v1.sampler.custom_sampler.path": f"{OURS}.groups",
                "trainer.v1.sampler.custom_sampler.name": "SignalBuffer",
                "trainer.v1.sampler.sync_refill_failed_groups": True,
                "trainer.total_epochs": 1,
                "trainer.val_before_train": False,
                "trainer.test_freq": -1,
                "trainer.default_local_dir": str(self.folder / "checkpoints"),
                "trainer.experiment_name": self.folder.name,
                GPUS: self.gpus,
                NODES: self.nodes,
                "critic.enable": False,
                "actor_rollout_ref.model.use_remove_padding": True,
                f"{ROLLOUT}.name": "vllm",
                f"{ROLLOUT}.tensor_model_parallel_size": 1,
                **{
                    f"ray_kwargs.ray_init.runtime_env.env_vars.{name}": value
                    for name, value in self.environment.items()
                },
            },
        }

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that each process of verl needs; modules that verl is told to load already stay."""
        modules = [*filter(None, [os.environ.get(MODULES)]), "onethinker.integrations.verl.plugin"]
        plugins = {"ONETHINKER_PLUGINS": ",".join(self.recipe.plugins)} if self.recipe.plugins else {}
        return {MODULES: ",".join(modules), **plugins}

    def command(self, python: str) -> list[str]:
        """Return the command that runs verl in the environment of this Python."""
        where = ["--config-path", str(self.folder), "--config-name", Path(CONFIG_FILE).stem]
        return [python, "-m", "verl.trainer.main_ppo", *where, *self.settings]

    def check_batch(self) -> None:
        """Do nothing where the answers of each optimizer step divide by all GPUs, as verl wants it.

        Raises: ConfigError: they do not.
        """
        settings = {name: value for values in self.config.values() for name, value in values.items()}
        for setting in self.settings:
            name, _, text = setting.partition("=")
            settings[name.lstrip("+")] = int(text) if text.isdecimal() else text
        prompts, answers, nodes, gpus = found = [settings[name] for name in (PROMPTS, ANSWERS, NODES, GPUS)]
        if not all(isinstance(value, int) and value > 0 for value in found):
            return  # an expression, or an error, of verl's own
        if prompts * answers % (nodes * gpus):
            raise ConfigError(
                f"{nodes} nodes of {gpus} GPUs (--nodes, --processes): verl divides the {prompts * answers} answers of"
                f" an optimizer step ({prompts} prompts, which is rollout.generation_batch_size /"
                f" loss.updates_per_batch, x {answers} of rollout.group_size) evenly over the GPUs, and they are not"
                f" divisible by {nodes * gpus}"
            )

    def write(self, mixture: Mixture, template: PromptTemplate) -> int:
        """Write rows and configuration into the folder, and return how many rows. Raises: DataError, ConfigError."""
        settings = nested(self.config)  # a recipe that is refused leaves no rows behind
        count = self.recipe.steps * self.recipe.rollout.generation_batch_size
        write_rows(self.folder / ROWS_FILE, rows(mixture, count, template))
        write_config(self.folder / CONFIG_FILE, settings)
        return count


def write_config(path: Path, settings: Mapping[str, Any]) -> None:
    """Write settings as a configuration on top of verl's own."""
    head = {"hydra": {"searchpath": ["pkg://verl.trainer.config"]}, "defaults": ["ppo_trainer", "_self_"]}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({**head, **settings}, sort_keys=False, allow_unicode=True)
    write_atomically(path, f"# For verl {VERL_VERSION}, by `onethinker rl --engine verl`.\n{text}")


def rows(mixture: Mixture, count: int, template: PromptTemplate) -> Iterator[Record]:
    """Yield the first rows of the endless order, each with the words that our own run would ask. Raises: DataError."""
    for index in range(count):
        sample = mixture.sample(index)
        try:
            yield row_of(sample, template)
        except DataError as error:
            raise DataError(f"sample {sample.id!r}: {error}") from error


def row_of(sample: Sample, template: PromptTemplate) -> Record:
    """Return a sample as verl reads it: its media, then the words. Raises: DataError: verl cannot have it so."""
    text = template.text(sample)
    if found := next((tag for tag in ("<image>", "<video>", "<audio>") if tag in text), None):
        raise DataError(f"the question contains {found}, which verl would read as a medium: write it in another way")
    absolute = replace(
        sample, media=tuple(each.absolute() if isinstance(each, Path) else each for each in sample.media)
    )
    row = form.write(absolute, Path("/"))
    system = [] if template.system is None else [{"role": "system", "content": template.system}]
    tags = "".join(f"<{kind}>" for kind in media_kinds(sample))
    prompt = [*system, {"role": "user", "content": f"{tags}{text}"}]
    return {"prompt": prompt, **{name: row[name] for name in _KEPT if name in row}}


def nested(config: Mapping[str, Values]) -> dict[str, Any]:
    """Return settings by dotted names as groups in groups.

    >>> nested({"steps": {"trainer.a": 1}, "seed": {"trainer.b": 2, "c": 3}})
    {'trainer': {'a': 1, 'b': 2}, 'c': 3}
    """
    found: dict[str, Any] = {}
    for values in config.values():
        for name, value in values.items():
            *groups, last = name.split(".")
            inside = found
            for group in groups:
                inside = inside.setdefault(group, {})
            inside[last] = value
    return found


def check_environment(python: str) -> None:
    """Do nothing where a Python has the verl that this is written for, and us.

    Raises: ConfigError: it does not run, or has another verl, or not this package.
    """
    try:
        done = subprocess.run([python, "-c", _VERSIONS], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"--verl-python {python}: this Python cannot be run: {error}") from error
    verl, own = done.stdout.splitlines()
    try:
        check_version(verl or None)
    except ConfigError as error:
        raise ConfigError(f"--verl-python {python}: {error}") from error
    if not own:
        raise ConfigError(
            f"--verl-python {python}: onethinker is not installed there: in a clone, run"
            f" `{python} -m pip install --no-deps .` (cluster/verl/ has what else it needs)"
        )


def compose(run: VerlRun, python: str) -> None:
    """Let verl itself compose the configuration of a folder, and train nothing. Raises: ConfigError: it cannot."""
    command = [*run.command(python), "--cfg", "job", "--resolve"]
    done = subprocess.run(command, env={**os.environ, **run.environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"verl does not accept this configuration: {done.stderr.strip()[-2000:]}")


def start(run: VerlRun, python: str) -> None:
    """Run verl to its end, its words on this terminal. Raises: OneThinkerError: it failed."""
    done = subprocess.run(run.command(python), env={**os.environ, **run.environment}, check=False)
    if done.returncode:
        raise OneThinkerError(f"verl exited with code {done.returncode}; its output is above")


def shell_words(words: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the words of a command as a shell reads them.

    >>> " ".join(shell_words(["python", "-m", "a b"], {"A": "1"}))
    "A=1 python -m 'a b'"
    """
    return [*(f"{name}={shlex.quote(value)}" for name, value in environment.items()), *map(shlex.quote, words)]
