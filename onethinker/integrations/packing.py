"""Packed rows in a training loop of your own: all answers to a prompt are learned from in one row in which the prompt
and its media stand once. Log-probabilities and gradients are those of the answers one by one.

packed = PackedModel(model)
group = packed.group(processor(text=prompt, images=images, return_tensors="pt"), answers)
loss = -sum(advantage * logps.sum() for advantage, logps in zip(advantages, packed.logps([group])[0]))

Dimensions: P tokens of a prompt, R tokens of an answer, T tokens of a prompt with an answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from onethinker.core.errors import ConfigError, DataError
from onethinker.families.packing import check_packing, unpackable
from onethinker.families.processing import token_types
from onethinker.families.registry import families, family_of
from onethinker.training.packing.attention import PACKED_ATTENTION, use_packed_attention
from onethinker.training.packing.row import PrefixGroup, Prompt, pack, packed_rows
from onethinker.training.scoring import score

__all__ = ["PackedModel", "PrefixGroup", "packed_rows"]

_TOKENS = ("input_ids", "attention_mask", "mm_token_type_ids")
LARGEST_DIFFERENCE = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.1}
"""How far log-probabilities of a packed row may be from those of answers one by one: rounding alone."""


class PackedModel:
    """A vision-language model of transformers that reads packed rows, and all else as before.

    Of the families of `onethinker models` rows are proven to be exact. Any other model is compared with itself on the
    first groups: what its rows give, and what it gives when it goes on from a prompt with one answer.

    `model` is what is called: put it into DistributedDataParallel there, after this object is made.

    Raises: ConfigError: layers look at a window, or turn tokens by the length of a row, or do not attend by
    transformers' interface.
    """

    def __init__(self, model: Any) -> None:
        self.model = self._network = model
        self._is_known = any(model.config.model_type in family.model_types for family in families())
        self._is_checked = self._is_known
        if self._is_known:
            check_packing(model)
            use_packed_attention(model)
            return
        if found := unpackable(model):
            raise ConfigError(f"{type(model).__name__} cannot read packed rows: {', '.join(found)}")
        text = model.config.get_text_config()
        names = [name for name in model.config.sub_configs if getattr(model.config, name) is text]
        model.set_attn_implementation(dict.fromkeys(names, PACKED_ATTENTION) if names else PACKED_ATTENTION)
        if text._attn_implementation != PACKED_ATTENTION:
            raise ConfigError(
                f"{type(model).__name__} cannot read packed rows: its language model does not use the"
                " AttentionInterface of transformers"
            )

    def group(self, inputs: Mapping[str, Any], answers: Sequence[Sequence[int] | Tensor]) -> PrefixGroup:
        """Return a prompt with its answers, on the model's device: `inputs` are what the processor made of the one
        prompt, each of `answers` token ids with the end token.

        Raises: DataError: there are several prompts, no answers, one without tokens or one with tokens of media.
        """
        device = self._network.device
        ids = inputs["input_ids"]
        if ids.ndim != 2 or len(ids) != 1:
            raise DataError(f"expected the inputs of one prompt, (1, P), got input_ids of shape {tuple(ids.shape)}")
        tensors = {name: torch.as_tensor(value).to(device) for name, value in inputs.items()}
        kept = tensors.get("attention_mask", torch.ones_like(tensors["input_ids"]))[0].bool()
        tokens = {
            "mm_token_type_ids": token_types(self._network.config, tensors["input_ids"]),
            **{name: tensors[name] for name in _TOKENS if name in tensors},
            "attention_mask": kept[None].long(),
        }
        pixels = {name: value for name, value in tensors.items() if name not in _TOKENS}
        prompt = Prompt(
            tokens["input_ids"][0, kept],
            tokens["mm_token_type_ids"][0, kept],
            self._positions({**tokens, **pixels})[:, 0, kept],
            pixels,
        )
        made = tuple(torch.as_tensor(answer, dtype=torch.long, device=device) for answer in answers)
        if not made:
            raise DataError("expected at least one answer to a prompt, got none")
        for index, answer in enumerate(made):
            if not len(answer):
                raise DataError(f"answer {index} has no tokens")
            if token_types(self._network.config, answer).any():
                raise DataError(f"answer {index} has a media token, and media are allowed in prompts only")
        return PrefixGroup(prompt, made)

    def logps(self, groups: Sequence[PrefixGroup], *, temperature: float = 1.0) -> list[list[Tensor]]:
        """Return for each group the log-probabilities (R,) of the tokens of each of its answers, by one forward pass
        over one row; `packed_rows` deals many groups into rows.

        The logits are divided by `temperature`, and never exist all at once.

        Raises: ConfigError: a model of no known family gives something else when it reads the answers one by one.
        """
        if groups and not self._is_checked:
            self._check(groups[0])
        row = pack(groups)
        logps_S, _ = score(self.model, row, temperature=temperature)
        answers = iter(torch.split(logps_S, row.answer_S.bincount(minlength=row.num_answers).tolist()))
        return [[next(answers) for _ in group.answers] for group in groups]

    def largest_difference(self, groups: Sequence[PrefixGroup]) -> float:
        """Return how far the log-probabilities of a packed row are, at most, from those that the model itself gives
        each answer after its prompt, without a row; both without dropout and autocast.
        """
        with torch.no_grad(), _quiet(self._network):
            logps_S, _ = score(self._network, pack(groups))
            alone = [self._alone(group.prompt, answer) for group in groups for answer in group.answers]
            return float((logps_S - torch.cat(alone)).abs().max())

    def _check(self, group: PrefixGroup) -> None:
        # Twice, and every answer twice: a row in which something could be read that stands beside it.
        twice = replace(group, answers=group.answers * 2)
        found, allowed = self.largest_difference([twice, twice]), LARGEST_DIFFERENCE[self._network.dtype]
        if not found <= allowed:
            raise ConfigError(
                f"{type(self._network).__name__} cannot read packed rows: their log-probabilities differ by up to"
                f" {found:.2g} from those of the answers computed one by one, and rounding explains at most"
                f" {allowed:g}. Its layers may attend to later tokens, or count positions in another way"
            )
        self._is_checked = True

    def _alone(self, prompt: Prompt, answer: Tensor) -> Tensor:
        """Return the log-probabilities (R,) of an answer as the model generates it: after its prompt, by a cache."""
        network = self._network
        if hasattr(network.model, "rope_deltas"):
            network.model.rope_deltas = None  # of the prompt before, which a prompt without media would keep
        types = {"mm_token_type_ids": prompt.mm_token_type_ids[None]}
        taken = types if types.keys() <= signature(network.forward).parameters.keys() else {}
        cache = DynamicCache(config=network.config.get_text_config())
        first = network(input_ids=prompt.input_ids[None], **taken, **prompt.pixels, cache=cache, use_cache=True)
        others = network(input_ids=answer[None], cache=cache, use_cache=True)
        logps_RV = torch.log_softmax(torch.cat([first.logits[0, -1:], others.logits[0, :-1]]).float(), -1)
        return logps_RV.gather(1, answer[:, None])[:, 0]

    def _positions(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the positions (axes, 1, P) of a prompt."""
        if self._is_known:
            return family_of(self._network).positions(self._network, batch)
        count: Any = getattr(self._network.model, "get_rope_index", None)
        if count is None:
            return (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)[None]
        taken = signature(count).parameters
        positions: Tensor = count(**{name: value for name, value in batch.items() if name in taken})[0]
        return positions


@contextmanager
def _quiet(network: nn.Module) -> Iterator[None]:
    """Let a model compute without dropout and in the precision of its weights while this is open."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.autocast(next(network.parameters()).device.type, enabled=False):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
