"""Conversations in SFT: what is read of a record, what the model is shown, and which tokens are learned."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from onethinker.commands.dispatch import dispatch
from onethinker.core.errors import DataError
from onethinker.data.formats.records import write_records
from onethinker.data.formats.released import read_samples, record_from_sample, write_samples
from onethinker.data.mixture import Mixture
from onethinker.data.synthetic import write_dataset
from onethinker.data.validate import check_files
from onethinker.evaluation.results import result_key
from onethinker.families.tiny import TINY_BUDGET, TINY_TEMPLATE
from onethinker.inference.encode import build_request, encode_requests
from onethinker.training.config import SftRecipe
from onethinker.training.conversation import conversation_groups
from onethinker.training.data_source import DataSource
from onethinker.training.lengths import Lengths
from onethinker.training.packing.row import PrefixGroup, pack
from onethinker.training.parallel.collectives import Collectives
from onethinker.training.scoring import score
from onethinker.training.sft import train_sft
from onethinker.training.state.run_folder import RunFolder
from tests.training.test_thinking_templates import make_writing

TURNS = [
    {"role": "system", "content": "You look at shapes."},
    {"role": "user", "content": "<image>What is it?"},
    {"role": "assistant", "content": "A square, it seems."},
    {"role": "user", "content": "Are you sure?"},
    {"role": "assistant", "content": "I looked too fast: no.", "learn": False},
    {"role": "user", "content": "<video>\nAnd what moves here?"},
    {"role": "assistant", "content": "<think>It rolls.</think><answer>a ball</answer>"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a picture, a clip of 5 frames and a conversation about them."""
    folder = tmp_path_factory.mktemp("talk")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 96, 3), np.uint8)).save(folder / "a.png")
    clips = write_dataset(folder / "scenes", num_samples=33).parent.glob("media/*.mp4")
    shutil.copy(next(clips), folder / "clip.mp4")
    write(folder, TURNS)
    return folder


def write(folder, turns, name="talk.jsonl", **media):
    record = {"messages": turns, "images": ["a.png"], "videos": ["clip.mp4"], **media}
    write_records(folder / name, [record])
    return folder / name


def read(folder, turns=None, **media):
    path = folder / "talk.jsonl" if turns is None else write(folder, turns, "other.jsonl", **media)
    (sample,) = read_samples(path)
    return sample


def source(tiny) -> DataSource:
    from accelerate import Accelerator

    model, processor = tiny
    mixture = Mixture.open((), (), {}, 0)
    return DataSource(
        mixture, model, processor, TINY_TEMPLATE, TINY_BUDGET, 0.0, False, Collectives(Accelerator(cpu=True))
    )


def groups_of(tiny, sample) -> list[PrefixGroup]:
    return conversation_groups(source(tiny), sample, build_request(sample, TINY_TEMPLATE, TINY_BUDGET))


def test_a_conversation_is_read_with_its_media_where_they_are_shown(folder):
    sample = read(folder)
    assert (sample.system, sample.problem) == ("You look at shapes.", "And what moves here?")
    assert [(turn.question, turn.learn) for turn in sample.earlier] == [("What is it?", True), ("Are you sure?", False)]
    assert sample.media == (folder / "a.png", folder / "clip.mp4")
    assert sample.shown == (1, 0, 1)
    assert (sample.response, sample.truth) == (TURNS[-1]["content"], "a ball")


def test_a_conversation_is_written_back_as_it_was_read(folder):
    sample = read(folder)
    assert record_from_sample(sample, root=folder)["messages"][0] == TURNS[0]
    write_samples(folder / "again.jsonl", [sample])
    (again,) = read_samples(folder / "again.jsonl")
    assert replace(again, id=sample.id) == sample


def test_what_comes_after_the_last_learned_answer_is_not_read(folder):
    turns = [*TURNS[:-1], {**TURNS[-1], "learn": False}]
    sample = read(folder, turns)
    assert (sample.problem, sample.response, sample.earlier) == ("What is it?", "A square, it seems.", ())
    assert (sample.media, sample.shown) == ((folder / "a.png",), (1,))


def test_placeholders_among_words_are_words_where_others_stand_for_the_media(folder):
    turns = [dict(turn) for turn in TURNS]
    turns[3]["content"] = "What is the tag <image> for?"
    sample = read(folder, turns)
    assert sample.earlier[1].question == "What is the tag <image> for?"
    assert sample.shown == (1, 0, 1)


def changed(number: int, **fields) -> list[dict]:
    return [{**turn, **fields} if n == number else turn for n, turn in enumerate(TURNS)]


@pytest.mark.parametrize(
    ("turns", "media", "said"),
    [
        (TURNS[:-1], {}, "end with an assistant turn, got roles"),
        ([TURNS[1], TURNS[0], TURNS[2]], {}, "must alternate between user and assistant"),
        ([], {"images": []}, "'messages'|missing"),
        (changed(4, content="  "), {}, "turn 5: 'content' must be a text"),
        (changed(4, learn="no"), {}, "turn 5: 'learn' must be true or false"),
        (changed(3, learn=False), {}, "turn 4: 'learn' must be true or false, in an assistant turn"),
        (changed(4, loss=False), {}, "turn 5: there is no field 'loss'; did you mean 'learn'"),
        (changed(4, weight=0), {}, "turn 5: there is no field 'weight'"),
        (
            [{**turn, "learn": False} if turn["role"] == "assistant" else turn for turn in TURNS],
            {},
            "no turn to train on",
        ),
        (changed(0, content="<image> is above"), {}, "turn 1: <image> must be in a user turn"),
        (TURNS, {"images": ["a.png", "a.png"]}, "1 times <image> in user turns, but there are 2 images"),
        (changed(3, content="<image>And this?"), {}, "2 times <image> in user turns, but there are 1 images"),
        (changed(1, content="<image>"), {}, "question 1 is empty"),
    ],
)
def test_a_conversation_that_cannot_be_learned_is_named(folder, turns, media, said):
    with pytest.raises(DataError, match=said):
        read(folder, turns, **media)


def test_the_tokens_are_those_of_the_familys_chat_template_and_only_marked_answers_are_learned(tiny, folder):
    processor, sample = tiny[1], read(folder)
    (group,) = groups_of(tiny, sample)
    request = build_request(sample, TINY_TEMPLATE, TINY_BUDGET)
    messages = [{"role": turn["role"], "content": [{"type": "text", "text": turn["content"]}]} for turn in TURNS]
    messages[1]["content"] = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
    messages[5]["content"] = [{"type": "video"}, {"type": "text", "text": "And what moves here?"}]
    before = processor.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
    from onethinker.families.processing import encode

    expected = encode(processor, [before], [request])["input_ids"][0].tolist()
    whole = processor.apply_chat_template(messages, tokenize=False)
    ids = [*group.prompt.input_ids.tolist(), *group.answers[0].tolist()]
    assert group.prompt.input_ids.tolist() == expected
    tokenizer = processor.tokenizer
    assert (
        tokenizer(whole, add_special_tokens=False)["input_ids"][-len(group.answers[0]) - 1 : -1]
        == ids[-len(group.answers[0]) :]
    )
    row = pack([group])
    assert tokenizer.decode(row.targets_S) == "A square, it seems.<|im_end|>" + TURNS[-1]["content"] + "<|im_end|>"
    assert [ids[int(position) + 1] for position in row.scored_S] == row.targets_S.tolist()
    assert group.num_scored == len(row.targets_S)


def test_log_probabilities_and_gradients_are_those_of_each_answer_by_itself(tiny, folder):
    model, sample = tiny[0], read(folder)
    (group,) = groups_of(tiny, sample)
    first = replace(
        sample, problem=sample.earlier[0].question, response=sample.earlier[0].answer, earlier=(), shown=(1,)
    )
    first = replace(first, media=sample.media[:1], data_type="image")
    unlearned = tuple(replace(turn, learn=False) for turn in sample.earlier)
    parts = [*groups_of(tiny, first), *groups_of(tiny, replace(sample, earlier=unlearned))]
    assert [part.learned for part in parts] == [(), ()]

    def learned(groups):
        model.zero_grad()
        logps, _ = score(model, pack(groups))
        logps.sum().backward()
        return logps.detach(), {
            name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None
        }

    whole, alone = learned([group]), learned(parts)
    torch.testing.assert_close(whole[0], alone[0], rtol=1e-4, atol=1e-5)
    assert whole[1].keys() == alone[1].keys()
    for name in whole[1]:
        torch.testing.assert_close(whole[1][name], alone[1][name], rtol=1e-3, atol=1e-4)
    model.zero_grad()


def test_other_words_of_a_turn_that_is_not_learned_change_no_learned_token(tiny, folder):
    (group,) = groups_of(tiny, read(folder))
    (other,) = groups_of(tiny, read(folder, changed(4, content="Quite other words, and more of them.")))
    assert pack([group]).targets_S.tolist() == pack([other]).targets_S.tolist()
    assert len(group.prompt.input_ids) != len(other.prompt.input_ids)


def test_where_the_template_rewrites_what_was_said_each_answer_stands_after_what_is_shown_then(folder, tiny):
    from onethinker.families.tiny import build_tiny_processor

    processor = build_tiny_processor()
    template = processor.chat_template.replace(
        "{{ part['text'] }}",
        "{{ part['text'].split('</think>')[-1] if message['role'] == 'assistant' else part['text'] }}",
    )
    assert template != processor.chat_template
    processor.chat_template = processor.tokenizer.chat_template = template
    turns = changed(2, content="<think>Four sides.</think>A square.")
    groups = groups_of((tiny[0], make_writing(processor, "")), read(folder, turns))
    texts = [processor.tokenizer.decode(torch.cat([group.prompt.input_ids, group.answers[0]])) for group in groups]
    assert len(texts) == 2
    assert texts[0].endswith("<|im_start|>assistant\n<think>Four sides.</think>A square.<|im_end|>")
    assert "Four sides." not in texts[1]
    assert "<|im_start|>assistant\nA square.<|im_end|>" in texts[1]
    assert [group.learned for group in groups] == [(), ()]


def test_lengths_are_those_of_the_whole_conversation(tiny, folder):
    checked = check_files([folder / "talk.jsonl"], need="response")
    (record,) = checked.records
    lengths = Lengths(
        [record.sample],
        checked.headers,
        processor=tiny[1],
        prompt_template=TINY_TEMPLATE,
        budget=TINY_BUDGET,
        max_new_tokens=None,
    )
    (group,) = groups_of(tiny, record.sample)
    length = lengths.longest(lambda length: length.total)[1]
    assert length.answer == len(group.answers[0])
    assert 0 <= length.prompt - len(group.prompt.input_ids) <= 9


def test_sft_learns_conversations_beside_single_questions(folder, tmp_path):
    records = [json.loads(line) for line in (folder / "talk.jsonl").read_text().splitlines()]
    single = {
        "problem": "<image>Which?",
        "response": "<think>.</think><answer>A</answer>",
        "images": ["a.png"],
        "data_type": "image",
    }
    write_records(folder / "both.jsonl", [*records, {**single, "problem_type": "open-ended"}])
    recipe = SftRecipe(epochs=2, batch_size=2, max_row_tokens=1024, data={"files": [folder / "both.jsonl"]})
    train_sft(recipe, tmp_path / "run")
    (row, _) = RunFolder(tmp_path / "run").rows()
    assert row["answer_tokens"] > 20
    assert row["skipped_samples"] == []


def test_data_check_says_that_words_are_not_added_and_asks_no_answer_block_of_a_talk(folder, capsys):
    plain = write(folder, [*TURNS[:-1], {"role": "assistant", "content": "A ball."}], "plain.jsonl")
    checked = check_files([plain], need="response")
    assert checked.lines() == ["1 of 1 records are conversations: each is used as written, without the prompt template"]
    assert dispatch(["data", "check", str(plain)]) == 0
    assert capsys.readouterr().out == ""


def test_a_conversation_is_asked_as_it_was_learned_and_its_answer_filed_under_all_of_it(tiny, folder):
    sample = read(folder)
    (group,) = groups_of(tiny, sample)
    asked = encode_requests(tiny[1], [build_request(sample, TINY_TEMPLATE, TINY_BUDGET)])["input_ids"][0]
    assert asked.tolist() == group.prompt.input_ids.tolist()
    other = read(folder, changed(2, content="A circle."))
    assert result_key(sample, {}) != result_key(replace(other, id=sample.id), {})
