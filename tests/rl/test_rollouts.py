"""Prefill-once sampling against transformers' own generation, and the count of what is encoded."""

import json

import pytest
import torch

from onethinker.rl.in_process import sample_answers
from onethinker.rl.loop import train_rl
from onethinker.training.config import RlRecipe
from onethinker.training.packing.row import PrefixGroup, pack
from onethinker.training.scoring import score

LIMIT = 12


def sample(model, processor, prompts, uniforms, temperature=1.0):
    return sample_answers(
        model,
        prompts,
        uniforms,
        temperature=temperature,
        end_token=processor.tokenizer.eos_token_id,
        forbidden_tokens=(model.config.image_token_id, model.config.video_token_id),
    )


def test_greedy_answers_equal_those_of_transformers_one_prompt_at_a_time(tiny, prompts):
    model, processor = tiny
    rollouts = sample(model, processor, prompts, torch.zeros(len(prompts), 2, LIMIT), temperature=0)
    for prompt, (first, second) in zip(prompts, rollouts, strict=True):
        ids = prompt.input_ids[None]
        expected = model.generate(
            input_ids=ids,
            mm_token_type_ids=prompt.mm_token_type_ids[None],
            attention_mask=torch.ones_like(ids),
            **prompt.pixels,
            max_new_tokens=LIMIT,
            do_sample=False,
            suppress_tokens=[model.config.image_token_id, model.config.video_token_id],
        )[0, ids.shape[1] :]
        assert first.ids.tolist() == second.ids.tolist() == expected.tolist()


def test_log_probabilities_of_a_rollout_are_those_of_the_packed_update(tiny, prompts):
    model, processor = tiny
    uniforms = torch.rand(len(prompts), 3, LIMIT, generator=torch.Generator().manual_seed(0))
    rollouts = sample(model, processor, prompts, uniforms)
    row = pack(
        [
            PrefixGroup(prompt, tuple(answer.ids for answer in answers))
            for prompt, answers in zip(prompts, rollouts, strict=True)
        ]
    )
    with torch.no_grad():
        logps, _ = score(model, row)
    assert torch.allclose(logps, torch.cat([answer.logps for answers in rollouts for answer in answers]), atol=1e-5)


@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_the_update_scores_answers_at_the_temperature_that_they_were_sampled_at(tiny, prompts, temperature):
    model, processor = tiny
    uniforms = torch.rand(len(prompts), 3, LIMIT, generator=torch.Generator().manual_seed(0))
    rollouts = sample(model, processor, prompts, uniforms, temperature)
    row = pack(
        [
            PrefixGroup(prompt, tuple(answer.ids for answer in answers))
            for prompt, answers in zip(prompts, rollouts, strict=True)
        ]
    )
    sampled = torch.cat([answer.logps for answers in rollouts for answer in answers])
    with torch.no_grad():
        logps, entropy = score(model, row, temperature=temperature)
        logits = model(**row.inputs, logits_to_keep=row.scored_S).logits[0]
    assert torch.allclose(logps, sampled, atol=1e-5)
    drawn_from = torch.log_softmax(logits / temperature, -1)
    assert torch.allclose(drawn_from.gather(1, row.targets_S[:, None])[:, 0], sampled, atol=1e-5)
    assert torch.allclose(-(drawn_from.exp() * drawn_from).sum(1), entropy, atol=1e-4)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5])
def test_the_first_update_of_a_batch_finds_no_ratio_but_1_and_no_divergence_at_any_temperature(
    taught, tmp_path, temperature
):
    recipe = RlRecipe(
        model=taught.model,
        steps=1,
        max_row_tokens=1024,
        data={"files": [taught.questions]},
        rollout={
            "generation_batch_size": 2,
            "max_new_tokens": 24,
            "min_accuracy": -1.0,
            "max_accuracy": 2.0,
            "temperature": temperature,
        },
        grading={"workers": 0},
        loss={"clip_low": 1e-4, "clip_high": 1e-4, "kl_coefficient": 0.1},
    )
    train_rl(recipe, tmp_path / "run")
    [row] = map(json.loads, (tmp_path / "run/journal.jsonl").read_text().splitlines())
    # A single token whose ratio is off by more than a ten-thousandth would count as clipped.
    assert row["clip_fraction"] == 0
    assert row["kl"] == pytest.approx(0, abs=1e-8)


def test_log_probabilities_stay_those_of_the_update_while_answers_and_whole_groups_leave(tiny, prompts):
    model, processor = tiny
    uniforms = torch.rand(len(prompts), 6, 40, generator=torch.Generator().manual_seed(4))
    # The answers to the first prompt are alike, and so end all at once.
    uniforms[0] = uniforms[0, :1]
    free = [answer.ids.tolist() for answers in sample(model, processor, prompts, uniforms) for answer in answers]
    # The end is a token that comes for the first time at many different places: answers leave one by one.
    end = max(
        {token for ids in free for token in ids},
        key=lambda token: len({ids.index(token) for ids in free if token in ids}),
    )
    rollouts = sample_answers(
        model,
        prompts,
        uniforms,
        temperature=1.0,
        end_token=end,
        forbidden_tokens=(model.config.image_token_id, model.config.video_token_id),
    )
    lengths = [[len(answer.ids) for answer in answers] for answers in rollouts]
    assert len(set(lengths[0])) == 1
    assert len({length for several in lengths for length in several}) >= 4
    with torch.no_grad():
        logps, _ = score(
            model,
            pack([PrefixGroup(p, tuple(a.ids for a in answers)) for p, answers in zip(prompts, rollouts, strict=True)]),
        )
    assert torch.allclose(logps, torch.cat([answer.logps for answers in rollouts for answer in answers]), atol=1e-5)


def test_an_answer_does_not_depend_on_what_shares_its_batch(tiny, prompts):
    model, processor = tiny
    uniforms = torch.rand(len(prompts), 3, LIMIT, generator=torch.Generator().manual_seed(1))
    together = sample(model, processor, prompts, uniforms)
    for number, prompt in enumerate(prompts):
        [alone] = sample(model, processor, [prompt], uniforms[number : number + 1])
        assert [answer.ids.tolist() for answer in alone] == [answer.ids.tolist() for answer in together[number]]


def test_the_media_of_a_prompt_are_encoded_once_a_rollout_and_once_an_update(tiny, prompts):
    model, processor = tiny
    patches = []
    hook = model.model.visual.register_forward_pre_hook(
        lambda module, args, kwargs: patches.append(len(args[0])), with_kwargs=True
    )
    try:
        rollouts = sample(
            model, processor, prompts, torch.rand(len(prompts), 4, LIMIT, generator=torch.Generator().manual_seed(2))
        )
        in_rollout = sum(patches)
        patches.clear()
        score(
            model,
            pack([PrefixGroup(p, tuple(a.ids for a in answers)) for p, answers in zip(prompts, rollouts, strict=True)]),
        )
        in_update = sum(patches)
    finally:
        hook.remove()
    of_the_media = sum(
        len(values) for prompt in prompts for name, values in prompt.pixels.items() if name.startswith("pixel_values")
    )
    assert in_rollout == in_update == of_the_media


def test_a_uniform_draws_each_token_as_often_as_it_is_likely(tiny, prompts):
    model, processor = tiny
    uniforms = ((torch.arange(4000) + 0.5) / 4000).reshape(1, 4000, 1)
    [answers] = sample(model, processor, prompts[:1], uniforms)
    counts = torch.bincount(torch.cat([answer.ids for answer in answers]), minlength=len(processor.tokenizer))
    likely = torch.zeros(len(processor.tokenizer))
    for answer in answers:
        likely[answer.ids] = answer.logps.exp()
    # 4,000 evenly spread uniforms: every token's count is within one of 4,000 times its probability, but for the
    # forbidden two.
    assert float((counts - likely * 4000).abs().max()) < 2 + 4000 * 0.005
    assert counts[[model.config.image_token_id, model.config.video_token_id]].sum() == 0


def test_an_answer_ends_with_the_end_token_and_finished_ones_leave_the_batch(tiny, prompts):
    model, processor = tiny
    end = processor.tokenizer.eos_token_id
    uniforms = torch.rand(len(prompts), 16, 60, generator=torch.Generator().manual_seed(3))
    bias = model.lm_head.register_forward_hook(
        lambda module, args, logits: logits + 6.0 * torch.nn.functional.one_hot(torch.tensor(end), logits.shape[-1])
    )
    try:
        answers = [answer for several in sample(model, processor, prompts, uniforms) for answer in several]
    finally:
        bias.remove()
    assert any(not answer.truncated for answer in answers)
    for answer in answers:
        assert (end in answer.ids.tolist()) is not answer.truncated
        assert end not in answer.ids[:-1].tolist()
        assert len(answer.ids) == len(answer.logps)
