"""The one road of an evaluation: its parts are read, answered, graded, given masks and pictures, stage by stage."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from onethinker.core.addresses import split_addresses
from onethinker.core.errors import ConfigError
from onethinker.data.spreading import Shard
from onethinker.evaluation.config import EvaluationConfig, GradingConfig
from onethinker.evaluation.examples import draw_examples
from onethinker.evaluation.masking import has_segmentation, measure_masks
from onethinker.evaluation.parts import Part, read_parts
from onethinker.evaluation.results import Result, read_settings, write_unusable
from onethinker.evaluation.rewarded import Rewards
from onethinker.evaluation.sharding import parts_of, take_in_shards
from onethinker.evaluation.stages import answer, score
from onethinker.inference.loading import load_engine
from onethinker.inference.model_checks import check_model, check_quantize, is_ours
from onethinker.inference.scripted import SCRIPTED
from onethinker.media.prefetch import Decoders
from onethinker.rewards.config import JudgeSettings
from onethinker.rewards.judge import Judge
from onethinker.segmenters.base import Segmenter, load_segmenter
from onethinker.storage.atomic import check_writable
from onethinker.storage.folders import JUDGE_FILE, SETTINGS_FILE
from onethinker.tasks import Coordinates, ReadingMode, RewardScheme
from onethinker.tasks.template import PromptTemplate
from onethinker.training.config import RlRecipe


class Listener(Protocol):
    """Receives notes and progress of an evaluation."""

    def note(self, text: str) -> None:
        """Take what a reader of the numbers must know."""

    def progress(self, what: str) -> AbstractContextManager[Callable[[int, int], None]]:
        """Return a context with a function of (done, total)."""


@dataclass(frozen=True)
class PartResults:
    """What became of a part: its results, none where it was only asked, and which samples have no grade, and why."""

    part: Part
    results: Sequence[Result]
    failed: Sequence[tuple[str, str | None]]


def run_evaluation(config: EvaluationConfig, listener: Listener) -> list[PartResults]:
    """Return what became of every part once the stages that the settings name are done.

    Stopped at any time, the same call resumes, and the numbers are those of a run that was never stopped.
    Mistakes that can be found without the model are reported before it is loaded.

    Raises: ConfigError, DataError, EngineError, CheckpointError.
    """
    config.check()
    assert config.output is not None
    prompt_template = (
        PromptTemplate.load(config.asking.prompt_template) if config.asking.prompt_template is not None else None
    )
    check_writable(config.output, "folder", flag="--output")
    if config.asks:
        if config.asking.quantize is not None:
            check_quantize(config.asking.model)
        check_model(config.asking.model, settings=config.asking.settings)
    _rewards(config.grading)  # plug-ins that it names may be of tasks that the samples have
    parts = _parts(config, config.output, listener)
    segmenter = _open_segmenter(config.grading.segmenter, parts)
    judge = open_judge(config, config.output)
    answered = _answer(config, parts, prompt_template, judge, listener) if config.asks else []
    if config.stage == "answer":
        return answered
    done = [_grade(config, part, segmenter, judge, listener) for part in parts]
    if config.draws:
        for graded in done:
            draw_examples(graded.part.samples, graded.results, graded.part.folder)
    if judge is not None:
        listener.note(judge.cost())
    if config.asking.model == SCRIPTED:
        listener.note(
            "the answers are scripted: the numbers only show that everything runs, and say nothing about a model"
        )
    return done


def _parts(config: EvaluationConfig, output: Path, listener: Listener) -> list[Part]:
    """Return what is asked about: all, with what shards have answered of it, or what is a shard's."""
    shard = Shard.parse(config.shard) if config.shard is not None else None
    parts = read_parts(config.samples, output, note=listener.note)
    if shard is not None:
        return parts_of(parts, shard)
    for part in parts:
        take_in_shards(part.folder)
    return parts


def _answer(
    config: EvaluationConfig,
    parts: Sequence[Part],
    prompt_template: PromptTemplate | None,
    judge: Judge | None,
    listener: Listener,
) -> list[PartResults]:
    """Have the model answer what has no answer yet."""
    asking, (scheme, rewards), done = config.asking, _rewards(config.grading), list[PartResults]()
    with Decoders() as decoders:
        if config.samples.synthetic is None:
            decoders.warm_up()
        with load_engine(
            asking.model,
            prompt_template=prompt_template,
            settings=asking.settings,
            batch_size=asking.batch_size,
            patience_s=asking.patience,
            timeout_s=asking.timeout,
            quantization=asking.quantize,
        ) as engine:
            for part in parts:
                with listener.progress(f"asking {part.folder.name}") as on_progress:
                    failed = answer(
                        engine,
                        part.samples,
                        output=part.folder,
                        reward_scheme=scheme,
                        rewards=rewards,
                        reading=_reading(config, part),
                        coordinates=_coordinates(config, part),
                        sampling=asking.sampling(),
                        strict_media=asking.strict_media,
                        judge=judge,
                        decoders=decoders,
                        on_progress=on_progress,
                    )
                done.append(PartResults(part, (), [(one.sample_id, one.error) for one in failed]))
    return done


def _grade(
    config: EvaluationConfig, part: Part, segmenter: Segmenter | None, judge: Judge | None, listener: Listener
) -> PartResults:
    """Grade a part's answers anew, with masks where there is a segmenter or masks were made before."""
    scheme, rewards = _rewards(config.grading)
    results = score(
        part.samples,
        output=part.folder,
        reward_scheme=scheme,
        rewards=rewards,
        reading=_reading(config, part),
        coordinates=_coordinates(config, part) or "thousandths",
        judge=judge,
    )
    write_unusable(part.folder, part.unusable)
    if segmenter is not None:
        with listener.progress(f"masks of {part.folder.name}") as on_progress:
            results = measure_masks(segmenter, part.samples, results, output=part.folder, on_progress=on_progress)
    return PartResults(part, results, [(one.sample_id, one.error) for one in results if one.grade is None])


def _rewards(grading: GradingConfig) -> tuple[RewardScheme, Rewards]:
    """Return the reward scheme, and the rewards beside the tasks' own. Raises: ConfigError."""
    if grading.recipe is None:
        return grading.rewards or "paper", {}
    recipe = RlRecipe.load(grading.recipe)
    return grading.rewards or recipe.rewards, recipe.grading.rewards


def _reading(config: EvaluationConfig, part: Part) -> ReadingMode:
    """Return how a part's answers are read: as asked for, as the folder's were before, else by whose model it is."""
    if config.grading.reading is not None:
        return config.grading.reading
    if (part.folder / SETTINGS_FILE).exists():
        return "lenient" if read_settings(part.folder)["settings"].get("reading") == "lenient" else "strict"
    return "strict" if is_ours(config.asking.model, settings=config.asking.settings) else "lenient"


def open_judge(config: EvaluationConfig, output: Path) -> Judge | None:
    """Return the judge, tried out, its memory in the output folder. Raises: ConfigError, EngineError."""
    address, asking = config.grading.judge, config.asking
    if address is None:
        return None
    split_addresses(address, field="--judge")
    settings = JudgeSettings(
        address=address, model=config.grading.judge_model, patience_s=asking.patience, timeout_s=asking.timeout
    )
    judge = Judge(settings, output / JUDGE_FILE)
    judge.try_out()
    return judge


def _coordinates(config: EvaluationConfig, part: Part) -> Coordinates | None:
    """Return what places are counted in: as asked for, else as in the folder before; None for what the engine says."""
    if config.grading.coordinates is not None:
        return config.grading.coordinates
    if not (part.folder / SETTINGS_FILE).exists():
        return None
    return "pixels" if read_settings(part.folder)["settings"].get("coordinates") == "pixels" else "thousandths"


def _open_segmenter(name: str | None, parts: Sequence[Part]) -> Segmenter | None:
    """Return the segmenter of a name, for samples with work for it. Raises: ConfigError, DataError, EngineError."""
    if name is None:
        return None
    work = [has_segmentation(part.samples) for part in parts]  # each is looked at, and may be refused
    if not any(work):
        raise ConfigError(f"--segmenter {name}: no sample is a segmentation question; leave it out")
    kinds = {sample.data_type for part in parts for sample in part.samples if sample.problem_type == "segmentation"}
    return load_segmenter(name, "video" if "video" in kinds else "image")
