"""Which models may be trained on packed rows: those of whose layers a test shows that rows are exact."""

from typing import Any

from torch import nn

from onethinker.core.errors import ConfigError
from onethinker.families.registry import families, family_of, known

_TOKEN_BY_TOKEN = (nn.Linear, nn.Embedding, nn.ModuleList, nn.Dropout)
_ACTIVATIONS = ("torch.nn.modules.activation", "transformers.activations")


def check_packing(model: Any, row_tokens: int | None = None) -> None:
    """Do nothing where packed rows of at most so many tokens are proven to be exact for every layer of the language
    model.

    Gated delta nets, state spaces and convolutions read on from one sample into the next, and windows and chunks of
    attention, and rotations that follow the largest position, would be counted over a whole row; nothing would say so.
    `dynamic` rotations do so beyond `max_position_embeddings` only.

    Raises: ConfigError: the model is of no known family, or there are layers of another kind; it names them.
    """
    kind = getattr(model.config, "model_type", None)
    proven = [family for family in families() if kind in family.model_types] or families()
    strange = _unproven_types(model, {word for family in proven for word in family.packed_layer_types})
    parts = tuple(part for family in proven for part in family.packed_parts)
    strange += _unproven_modules(model, {module for family in proven for module in family.packed_modules}, parts)
    strange += _unproven_positions(model, row_tokens)
    if strange:
        raise ConfigError(
            f"{type(model).__name__}: training packs several samples into one row, which is proven exact only for"
            f" {known()}. This model has layers of other kinds, which may mix one sample with the next:"
            f" {', '.join(strange)}. Train a model of these families; `onethinker ask` and `evaluate` work without"
            " packing"
        )
    family_of(model)


def unpackable(model: Any) -> list[str]:
    """Return what keeps a model of any family out of packed rows: layers that do not attend to all tokens before, and
    rotations that follow the length of a row. A comparison on short samples would not show these.
    """
    window = getattr(_language(model).config, "sliding_window", None)
    kinds = getattr(_language(model).config, "layer_types", None)
    windows = [f"a sliding window of {window} tokens"] if window is not None and kinds is None else []
    return [*windows, *_unproven_types(model, {"full_attention"}), *_unproven_positions(model, None)]


def _unproven_types(model: Any, proven: set[str]) -> list[str]:
    kinds = getattr(_language(model).config, "layer_types", None) or ()
    return [f"layer {index}: {kind}" for index, kind in enumerate(kinds) if kind not in proven]


def _unproven_positions(model: Any, row_tokens: int | None) -> list[str]:
    """Return how tokens are turned by their positions, where that depends on the largest position of a whole row."""
    config = _language(model).config
    kind = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if kind == "dynamic" and row_tokens is not None:
        most = config.max_position_embeddings
        return [f"positions: rope_type dynamic beyond max_row_tokens = {most}"] if row_tokens > most else []
    return [f"positions: rope_type {kind}"] if "dynamic" in kind or kind == "longrope" else []


def _unproven_modules(model: Any, proven: set[str], parts: tuple[str, ...]) -> list[str]:
    """Return the kinds of modules that neither take each token by itself nor are proven, each with where it stands."""
    found: dict[str, list[str]] = {}
    for name, module in (("model", model), *_language(model).named_modules(prefix="language_model")):
        home = type(module).__module__
        if parts and name.endswith(parts):
            continue
        if not isinstance(module, _TOKEN_BY_TOKEN) and home not in proven and home not in _ACTIVATIONS:
            found.setdefault(type(module).__name__, []).append(name)
    return [f"{kind} ({names[0]}{f' and {len(names) - 1} more' if names[1:] else ''})" for kind, names in found.items()]


def _language(model: Any) -> Any:
    """Return the language model of a vision-language model, or what is there in its place."""
    network = getattr(model, "model", model)
    return getattr(network, "language_model", getattr(network, "text_model", network))
