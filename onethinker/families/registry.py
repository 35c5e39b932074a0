"""Which family a model is of."""

from collections.abc import Sequence
from functools import cache
from inspect import isroutine
from typing import Any

from onethinker.core.errors import ConfigError, EngineError
from onethinker.core.plugins import is_own, load_plugins, name_mistakes, named_plugins, naming, source_of
from onethinker.families.base import ModelFamily
from onethinker.families.glm4v import Glm4V, Glm4VMoe
from onethinker.families.internvl import InternVL
from onethinker.families.qwen2_5_vl import Qwen25VL
from onethinker.families.qwen3_5 import Qwen35, Qwen35Moe
from onethinker.families.qwen3_vl import Qwen3VL
from onethinker.families.qwen3_vl_moe import Qwen3VLMoe
from onethinker.families.smolvlm import SmolVLM
from onethinker.media.budget import MediaBudget
from onethinker.tasks import Coordinates

FAMILIES: Sequence[ModelFamily] = (
    Qwen3VL(),
    Qwen3VLMoe(),
    Qwen35(),
    Qwen35Moe(),
    Qwen25VL(),
    Glm4V(),
    Glm4VMoe(),
    InternVL(),
    SmolVLM(),
)
"""A row for each family of ours that can be trained."""
GROUP = "onethinker.families"
"""The group under which other packages name their subclasses of `ModelFamily`."""


def families() -> Sequence[ModelFamily]:
    """Return our families, then those of other packages. Raises: ConfigError: one of these is none, or known."""
    return _families(named_plugins())


@cache
def _families(named: tuple[str, ...]) -> Sequence[ModelFamily]:
    found = list(FAMILIES)
    for plugin in load_plugins(GROUP):
        kind = plugin.value
        if not (isinstance(kind, type) and issubclass(kind, ModelFamily)):
            raise ConfigError(
                f"{plugin.where} must be a subclass of onethinker.families.base.ModelFamily, got {kind!r}"
            )
        if lacking := sorted(getattr(kind, "__abstractmethods__", ())):
            raise ConfigError(f"{plugin.where} lacks {', '.join(lacking)}: {source_of(kind)}")
        family = _made(kind)
        for known in found:
            if same := set(known.model_types) & set(family.model_types):
                raise ConfigError(f"{plugin.where}: {', '.join(sorted(same))} is of {known.name}: {source_of(kind)}")
        found.append(family)
    return tuple(found)


def _made(kind: type[ModelFamily]) -> ModelFamily:
    """Return a family of another package whose mistakes are named with their file and line."""
    what = f"family {kind.name!r}"
    with naming(kind, what):
        family = kind()
    public = [name for name in dir(kind) if not name.startswith("_") and isroutine(getattr(kind, name))]
    name_mistakes(family, [name for name in public if not is_own(getattr(kind, name))], what)
    return family


def family_of(model: Any) -> ModelFamily:
    """Return the family of a model, or of its config. Raises: ConfigError: it is of none that is known."""
    kind = getattr(getattr(model, "config", model), "model_type", None)
    for family in families():
        if kind in family.model_types:
            return family
    raise ConfigError(f"{type(model).__name__}: this model is not of a supported family ({known()}); got {kind!r}")


def family_of_processor(processor: Any) -> ModelFamily | None:
    """Return a family whose inputs this processor makes, None where none is known: it can be asked, and not trained."""
    kinds = {kind.__name__ for kind in type(processor).__mro__}
    return next((family for family in families() if kinds & set(family.processors)), None)


def check_asking(processor: Any) -> None:
    """Do nothing where a processor makes inputs of pictures, and has a chat template that writes a question.

    Raises: EngineError.
    """
    from jinja2 import TemplateError

    if not hasattr(processor, "image_processor"):
        raise EngineError(
            "not a vision-language model, because it has no image processor; choose one such as"
            " Qwen/Qwen3-VL-8B-Instruct"
        )
    if not getattr(processor, "chat_template", None):
        raise EngineError(
            "its processor has no chat template, which is needed to write questions in the model's format; copy"
            " chat_template.jinja of this model, or of its base model, into the folder"
        )
    try:
        processor.apply_chat_template([{"role": "user", "content": [{"type": "text", "text": "?"}]}], tokenize=False)
    except (TemplateError, TypeError, ValueError) as error:
        raise EngineError(
            f"its chat template cannot write a question: {error}; copy chat_template.jinja of this model, or of its"
            " base model, into the folder"
        ) from error


def check_processor(model: Any, processor: Any) -> None:
    """Do nothing where a processor makes a model's inputs, as far as the family is known, and has a chat template.

    Raises: EngineError: it is no processor of pictures, has no chat template that works, or is of another model.
    """
    check_asking(processor)
    words, table = len(processor.tokenizer), model.get_input_embeddings().weight
    if words > len(table):
        raise EngineError(
            f"the tokenizer belongs to another model: it has {words:,} tokens, but the model has {len(table):,}; copy"
            " the tokenizer files of this model"
        )
    if any(model.config.model_type in family.model_types for family in families()):
        family_of(model).check_processor(model.config, processor)


def fit_budget(budget: MediaBudget, processor: Any) -> MediaBudget:
    """Return a budget that counts in the visual tokens of a processor's family; as it is where that is not known."""
    family = family_of_processor(processor)
    return family.fit_budget(budget, processor) if family is not None else budget


def coordinates_of(processor: Any) -> Coordinates:
    """Return what models with this processor count places in, thousandths where the family is not known."""
    family = family_of_processor(processor)
    return family.coordinates if family is not None else "thousandths"


def known() -> str:
    """Return the names of the known families for a sentence.

    >>> known()
    'Qwen3-VL, Qwen3-VL-MoE, Qwen3.5, Qwen3.5-MoE, Qwen2.5-VL, GLM-4V, GLM-4V-MoE, InternVL or SmolVLM'
    """
    *others, last = (family.name for family in families())
    return f"{', '.join(others)} or {last}" if others else last
