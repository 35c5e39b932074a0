"""What a hybrid model keeps of a sequence in place of keys and values, as the dry run counts it."""

from dataclasses import replace

import torch
from transformers import DynamicCache
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from onethinker.families.base import PARTS, Widths
from onethinker.families.registry import family_of
from onethinker.media.budget import MediaBudget
from onethinker.training.adapters import Count
from onethinker.training.batch import plan_batch
from onethinker.training.config import RlRecipe
from onethinker.training.memory import estimate_memory
from tests.families.test_exact import qwen3_5

RECIPE = RlRecipe()
BATCH = plan_batch(RECIPE, MediaBudget(), 1)


def sizes(widths: Widths) -> dict[str, float]:
    counts, state = dict.fromkeys(PARTS, Count(10, 10, 0)), dict.fromkeys(PARTS, 0.0)
    return {term.name: term.size for term in estimate_memory(RECIPE, counts, state, widths, BATCH)}


def test_states_are_counted_by_the_numbers_that_recurrent_layers_keep_of_a_sequence() -> None:
    model, processor = qwen3_5()
    widths, cache = family_of(model).widths(model.config), DynamicCache(config=model.config.get_text_config())
    ids = torch.tensor([processor.tokenizer("what is it?")["input_ids"]])
    model(input_ids=ids, past_key_values=cache, use_cache=True)
    kept = [
        sum(states[0].numel() for states in (layer.conv_states, layer.recurrent_states))
        for layer in cache.layers
        if isinstance(layer, LinearAttentionCacheLayerMixin)
    ]
    assert kept == [widths.state] * widths.recurrent_layers
    assert (widths.attention_layers, widths.layers) == (1, 4)
    prompts = min(RECIPE.rollout.decode_batch_size, BATCH.prompts_per_process)
    assert sizes(widths)["recurrent states"] == prompts * (1 + BATCH.answers) * sum(kept) * 4
    dense = replace(widths, recurrent_layers=0)
    assert "recurrent states" not in sizes(dense)
    assert sizes(dense)["keys and values"] == 4 * sizes(widths)["keys and values"]
