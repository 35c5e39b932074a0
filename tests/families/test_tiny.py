import pytest
import torch

from onethinker.data.synthetic import make_sample
from onethinker.data.synthetic.world.things import SEEN
from onethinker.families.tiny import SHAPES_WORLD, THINGS_WORLD, build_tiny, build_tiny_processor


def test_the_tiny_model_has_2_to_6_million_parameters_and_follows_its_seed():
    first, again, other = (build_tiny(seed)[0].state_dict() for seed in (1, 1, 2))
    assert 2e6 < sum(tensor.numel() for name, tensor in first.items() if name != "lm_head.weight") < 6e6
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_building_it_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    build_tiny()
    assert torch.equal(before, torch.get_rng_state())


def test_every_digit_and_every_answer_tag_is_one_token():
    tokenizer = build_tiny_processor().tokenizer
    text = '<think>3</think><answer>{"boxes":[12,345]}</answer>'
    tokens = tokenizer.tokenize(text)
    assert {"<think>", "</think>", "<answer>", "</answer>"} <= set(tokens)
    assert [token for token in tokens if token.isdigit()] == list("312345")
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_words_of_the_synthetic_world_are_one_token_each():
    tokenizer = build_tiny_processor().tokenizer
    words = {word for number in range(400) for word in make_sample(0, number).problem.split() if word.isalpha()}
    split = sorted(
        word for word in words if len(tokenizer.tokenize(f" {word}")) > 1 and len(tokenizer.tokenize(word)) > 1
    )
    assert split == []


def test_any_text_survives_the_tokenizer():
    tokenizer = build_tiny_processor().tokenizer
    for text in ("Wo ist die Katze? — 東京 🐈", "\n\t x  y", "a_b-c/d"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_tiny_model_starts_with_colours_places_and_words_of_one_strength():
    model, _ = build_tiny()
    vision = model.model.visual
    gray, red = torch.ones(1, 1536), torch.zeros(1, 3, 512)
    red[:, 0] = 1
    # Brightness, red against green, yellow against blue of the whole patch; what changes inside a patch comes after
    # them.
    assert vision.patch_embed(gray)[0, :3].tolist() == pytest.approx([0.99, 0, 0], abs=1e-4)
    assert vision.patch_embed(red.reshape(1, 1536))[0, :3].tolist() == pytest.approx([0.33, 1, 0.5], abs=1e-4)
    assert vision.patch_embed(gray)[0, 3:].abs().max() < 1e-4
    assert 0.2 < vision.pos_embed.weight[:, :18].std() < 1
    assert 0.05 < model.get_input_embeddings().weight.std() < 0.2


def test_the_model_for_the_world_of_things_has_at_most_12_million_parameters_and_knows_its_words():
    model, processor = build_tiny(0, THINGS_WORLD)
    assert sum(tensor.numel() for tensor in model.parameters()) < 12e6
    lengths = [len(processor.tokenizer.tokenize(f" {kind.name}")) for kind in SEEN]
    assert max(lengths) <= 2
    assert lengths.count(1) > 0.8 * len(lengths)
    processor_of_shapes = build_tiny_processor(SHAPES_WORLD)
    assert len(processor.tokenizer) <= THINGS_WORLD.tokens
    assert len(processor_of_shapes.tokenizer) < SHAPES_WORLD.tokens
