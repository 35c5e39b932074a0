"""A packed row against the stock model that reads every prompt with every answer by itself."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from onethinker.training.packing import attention
from onethinker.training.packing.attention import joined_branches
from onethinker.training.packing.row import PrefixGroup, pack, packed_rows
from onethinker.training.scoring import score

SHORT = ((7,), (5, 9, 3), (1, 4), (12, 2, 2, 6))
VERY_UNEQUAL = ((1,), (150, 1, 3, 40), (2, 90), (1, 1))


def some_groups(prompts, lengths=SHORT) -> list[PrefixGroup]:
    generator = torch.Generator().manual_seed(0)
    return [
        PrefixGroup(prompt, tuple(torch.randint(20, 250, (length,), generator=generator) for length in several))
        for prompt, several in zip(prompts, lengths, strict=True)
    ]


def one_by_one(model, prefix_groups: list[PrefixGroup]) -> Tensor:
    """Return the log-probabilities of all answer tokens from the stock model with its stock attention, patches and
    positions.
    """
    model.config.text_config._attn_implementation = "sdpa"
    patches = model.model.visual.patch_embed.proj.__dict__.pop("forward")
    logps = []
    for prefix_group in prefix_groups:
        for answer in prefix_group.answers:
            ids = torch.cat([prefix_group.prompt.input_ids, answer])[None]
            types = torch.cat([prefix_group.prompt.mm_token_type_ids, torch.zeros_like(answer)])[None]
            logits = model(
                input_ids=ids,
                mm_token_type_ids=types,
                attention_mask=torch.ones_like(ids),
                **prefix_group.prompt.pixels,
            ).logits[0]
            logps_RV = torch.log_softmax(logits[len(prefix_group.prompt.input_ids) - 1 : -1], -1)
            logps.append(logps_RV[range(len(answer)), answer])
    model.config.text_config._attn_implementation = "onethinker_packed"
    model.model.visual.patch_embed.proj.forward = patches
    return torch.cat(logps)


@pytest.mark.parametrize("lengths", [SHORT, VERY_UNEQUAL], ids=["short answers", "very unequal answers"])
@pytest.mark.parametrize("kinds", [(0, 2), (1, 3), (0, 1, 2, 3)], ids=["pictures", "clips", "mixed"])
@pytest.mark.parametrize("road", ["merged", "joined"])
def test_packed_log_probabilities_and_gradients_equal_one_by_one_ones(tiny, prompts, kinds, lengths, road, monkeypatch):
    model, _ = tiny
    if road == "joined":
        # What other devices than the CPU do.
        monkeypatch.setattr(attention, "_merged_branches", joined_branches)
    prefix_groups = [some_groups(prompts, lengths)[kind] for kind in kinds]
    weights = torch.linspace(
        -1, 1, sum(len(answer) for prefix_group in prefix_groups for answer in prefix_group.answers)
    )

    expected = one_by_one(model, prefix_groups)
    (expected * weights).sum().backward()
    expected_gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()

    packed, _ = score(model, pack(prefix_groups))
    (packed * weights).sum().backward()
    largest = max(
        float((parameter.grad - expected_gradients[name]).norm() / expected_gradients[name].norm())
        for name, parameter in model.named_parameters()
    )
    model.zero_grad()
    # float32 sums in another order: both figures are a few times its precision of 1.2e-7.
    assert float((packed - expected).detach().abs().max()) < 1e-5
    assert largest < 1e-5


def test_packing_is_exact_under_gradient_checkpointing(tiny, prompts):
    model, _ = tiny
    row = pack(some_groups(prompts))
    plain, _ = score(model, row)
    plain.sum().backward()
    gradient = model.lm_head.weight.grad.clone()
    model.zero_grad()
    model.gradient_checkpointing_enable()
    model.train()
    try:
        score(model, row)[0].sum().backward()
    finally:
        model.eval()
        model.gradient_checkpointing_disable()
    assert torch.allclose(model.lm_head.weight.grad, gradient, rtol=1e-5, atol=1e-6)
    model.zero_grad()


def test_an_answer_does_not_see_its_sisters_or_its_neighbours(tiny, prompts):
    model, _ = tiny
    prefix_groups = some_groups(prompts)
    row = pack(prefix_groups)
    before, _ = score(model, row)
    changed = [replace(prefix_groups[0], answers=(prefix_groups[0].answers[0].flip(0),)), *prefix_groups[1:3]]
    last = replace(prefix_groups[3], answers=(prefix_groups[3].answers[0].flip(0), *prefix_groups[3].answers[1:]))
    after, _ = score(model, pack([*changed, last]))
    touched = (row.answer_S == 0) | (row.answer_S == 6)
    assert torch.allclose(before[~touched], after[~touched], atol=1e-5)
    assert not torch.allclose(before[touched], after[touched], atol=1e-3)


def test_media_and_prompt_stand_in_a_row_once_however_many_answers_there_are(tiny, prompts):
    prefix_group = some_groups(prompts)[3]
    row = pack([replace(prefix_group, answers=prefix_group.answers * 2)])
    assert row.inputs["pixel_values_videos"].shape == prefix_group.prompt.pixels["pixel_values_videos"].shape
    assert row.inputs["input_ids"].shape[1] == len(prefix_group.prompt.input_ids) + 2 * sum(
        len(answer) for answer in prefix_group.answers
    )


def test_the_first_token_of_every_answer_is_scored_from_the_end_of_its_prompt(prompts):
    prefix_group = some_groups(prompts)[1]
    row = pack([prefix_group])
    firsts = [0, 5, 14]
    assert row.scored_S[firsts].tolist() == [len(prefix_group.prompt.input_ids) - 1] * 3
    assert row.targets_S.tolist() == torch.cat(prefix_group.answers).tolist()


def test_every_answer_starts_at_the_position_after_the_largest_of_its_prompt(prompts):
    prefix_group = some_groups(prompts)[1]
    row = pack([prefix_group])
    first = len(prefix_group.prompt.input_ids)
    starts = row.inputs["position_ids"][:, 0, [first, first + 5, first + 14]]
    assert starts.tolist() == [[int(prefix_group.prompt.positions.max()) + 1] * 3] * 3


def test_rows_hold_every_group_once_and_no_more_tokens_than_allowed(prompts):
    prefix_groups = some_groups(prompts) * 3
    rows = packed_rows(prefix_groups, 250)
    assert sorted(id(prefix_group) for row in rows for prefix_group in row) == sorted(map(id, prefix_groups))
    assert all(sum(prefix_group.num_tokens for prefix_group in row) <= 250 for row in rows)
    assert len(rows) < len(prefix_groups)


def test_a_group_longer_than_a_row_gets_one_of_its_own(prompts):
    prefix_groups = some_groups(prompts)
    assert [len(row) for row in packed_rows(prefix_groups, 64)] == [1, 1, 1, 1]


def test_padding_is_a_small_share_of_what_is_attended_however_unequal_the_answers(prompts):
    [prefix_group] = some_groups(prompts[:1], ((400, 1, 2, 30, 31, 350, 3, 3),))
    [branches] = pack([prefix_group]).inputs["layout"].branches
    assert sorted(map(len, branches.groups)) == [1, 2, 2, 3]
    assert sum(group.numel() for group in branches.groups) < 1.3 * branches.num_tokens


def test_a_layout_grows_with_the_tokens_of_a_row_and_not_with_their_square(prompts):
    def places(length: int) -> int:
        layout = pack(some_groups(prompts, ((length, 5), (3, length), (length,), (9, 9)))).inputs["layout"]
        return sum(
            t.numel()
            for t in [
                layout.gather_N,
                *layout.stems,
                *(g for prefix_group in layout.branches for g in prefix_group.groups),
            ]
        )

    assert places(2000) < 2.2 * places(1000)


def test_no_groups_are_no_row():
    with pytest.raises(ValueError, match="at least one prefix group"):
        pack([])
