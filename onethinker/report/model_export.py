"""From a run or a checkpoint to a folder that others load: adapters merged, a model card beside the weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from safetensors import SafetensorError

from onethinker.core.errors import CheckpointError, ConfigError
from onethinker.evaluation.runs import Evaluation, Training, load_evaluation, load_training
from onethinker.families.built_in import folder_of
from onethinker.families.folder import ADAPTER_SETTINGS_FILE, ModelSettings, save_model
from onethinker.inference.loading import load_local
from onethinker.inference.model_checks import check_model
from onethinker.media.sampling import most_frames
from onethinker.storage.atomic import check_writable
from onethinker.storage.folders import MODEL_FOLDER, RECIPE_FILE
from onethinker.storage.strict_json import to_json
from onethinker.tasks import Coordinates, all_tasks
from onethinker.tasks.template import PromptTemplate
from onethinker.training.state.run_folder import RunFolder

CARD_FILE = "README.md"
FEW_STEPS = 10
"""Steps at the beginning and at the end whose means a card shows."""


@dataclass(frozen=True)
class Source:
    """A model folder with weights or adapters, and the run that it comes from where that is known."""

    model: Path
    run: Path | None


def find_source(path: Path) -> Source:
    """Return the model in a run's folder (the finished one, else its newest checkpoint), a checkpoint, or a model's
    folder itself, that of the one in the box too.

    Raises: CheckpointError: it is none of these, or a run that has saved nothing yet.
    """
    path = path if path.exists() else folder_of(str(path))
    if (path / RECIPE_FILE).is_file():
        run = RunFolder(path)
        start = None if run.model.is_dir() else run.checkpoints.find_start().checkpoint
        if start is None and not run.model.is_dir():
            raise CheckpointError(
                f"{path}: the run has not saved a checkpoint yet; let it train longer, or lower save_every"
            )
        return Source(start / MODEL_FOLDER if start else run.model, path)
    model = path / MODEL_FOLDER if (path / MODEL_FOLDER).is_dir() else path
    if not any((model / name).is_file() for name in ("config.json", ADAPTER_SETTINGS_FILE)):
        raise CheckpointError(f"{path}: expected the folder of a run, of a checkpoint or of a model")
    run_folder = next((folder for folder in path.resolve().parents[:2] if (folder / RECIPE_FILE).is_file()), None)
    return Source(model, run_folder)


def export_model(
    path: Path,
    output: Path,
    *,
    results: Sequence[Path] = (),
    dtype: str | None = None,
    license_id: str | None = None,
) -> None:
    """Write an ordinary Hugging Face folder with the weights of a run, adapters merged, and a model card.

    `dtype` is that of the weights, by default the run's own. `results` are folders of evaluations for the
    card, `license_id` is the license in it, as the hub calls it.

    Raises: CheckpointError, EngineError; ConfigError: something is at `output` already.
    """
    if output.exists():
        raise ConfigError(f"--output {output}: exists already; choose another")
    check_writable(output, "folder", flag="--output")
    source = find_source(path)
    check_model(str(source.model))
    evaluations = [load_evaluation(folder) for folder in results]
    training = load_training(source.run) if source.run else None
    recipe = training.recipe if training else None
    # Mistakes that show without torch are reported; from here on it is imported.
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    own = {"bfloat16": "bfloat16"}.get((recipe or {}).get("dtype", ""), "float32") if recipe else "auto"
    engine = load_local(str(source.model), device="cpu", dtype=dtype or own)
    try:
        save_model(output, engine.model, engine.processor, settings=engine.settings)
        card = model_card(output.resolve().name, training, evaluations, settings=engine.settings, license_id=license_id)
        (output / CARD_FILE).write_text(card, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{output}: the model cannot be written: {error}") from error


def model_card(
    name: str,
    training: Training | None,
    evaluations: Sequence[Evaluation],
    *,
    settings: ModelSettings,
    license_id: str | None = None,
) -> str:
    """Return the text of a model card: what the model is, how others ask it, how it was trained, and how it did in
    evaluations.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    template = Environment(
        loader=PackageLoader("onethinker.report", ""),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701
    ).get_template("card.md.jinja")
    recipe = (training.recipe if training else None) or {}
    base = str(recipe.get("model", ""))
    return template.render(
        name=name,
        **_python_words(settings.prompt_template, settings.coordinates),
        coordinates=settings.coordinates,
        budget=settings.budget,
        max_frames=most_frames(settings.budget),
        step=f"{1 / settings.budget.fps:g}",
        version=version("onethinker"),
        license_id=license_id,
        base=base if base.count("/") == 1 and not Path(base).exists() else "",
        training=training,
        merged=recipe.get("lora") is not None,
        changes=_changes(training) if training else [],
        recipe=to_json(recipe, indent=2),
        evaluations=evaluations,
    )


def _python_words(prompt_template: PromptTemplate, coordinates: Coordinates | None) -> dict[str, Any]:
    """Return what the card's Python needs to build the text of a question, as Python writes it: all tasks have their
    instructions.
    """
    frame_px = ("WIDTH", "HEIGHT") if coordinates == "pixels" else None
    words = {task.key: prompt_template.instructions.get(task.key, task.wording(frame_px)) for task in all_tasks()}
    return {
        "system": repr(prompt_template.system),
        "template": repr(prompt_template.template),
        "frame": repr(prompt_template.frame),
        "instructions": {repr(task): repr(text) for task, text in words.items()},
    }


def _changes(training: Training) -> list[tuple[str, str, str]]:
    """Return the means over the first and over the last steps of what a journal records of a run and of each
    task.
    """
    curves = [(name, training.curve(name)) for name in ("loss", "kl", "entropy")]
    curves += [
        (f"{name}, {task}", training.curve(name, task)) for task in training.tasks for name in ("reward", "accuracy")
    ]
    return [(name, _mean(points[:FEW_STEPS]), _mean(points[-FEW_STEPS:])) for name, points in curves if points]


def _mean(points: Sequence[tuple[float, float]]) -> str:
    return f"{fmean(value for _, value in points):.3f}"
