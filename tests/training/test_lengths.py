"""The length of every record is known before a run begins, and a record longer than a row is never trained as a longer
row.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from onethinker.commands.dispatch import dispatch
from onethinker.core.errors import ConfigError, DataError
from onethinker.data.formats.records import write_records
from onethinker.data.synthetic import write_dataset
from onethinker.data.validate import check_files
from onethinker.families.tiny import TINY_BUDGET, TINY_TEMPLATE, build_tiny_processor
from onethinker.inference.encode import build_request, encode_requests
from onethinker.rl.loop import train_rl
from onethinker.training.config import RlRecipe, SftRecipe
from onethinker.training.lengths import Lengths
from onethinker.training.opening import open_session
from onethinker.training.sft import train_sft
from onethinker.training.state.run_folder import RunFolder


@pytest.fixture(scope="module")
def processor():
    return build_tiny_processor()


def lengths_of(file: Path, processor, *, max_new_tokens: int | None = None) -> Lengths:
    checked = check_files([file], need="response" if max_new_tokens is None else "truth")
    more = {
        "processor": processor,
        "prompt_template": TINY_TEMPLATE,
        "budget": TINY_BUDGET,
        "max_new_tokens": max_new_tokens,
    }
    return Lengths([record.sample for record in checked.records], checked.headers, **more)


def records(folder: Path, lengths: list[int]) -> Path:
    """A file of questions about a picture with responses of so many words."""
    Image.new("RGB", (64, 64)).save(folder / "a.png")
    asked = {"problem": "<image>What is it?", "images": ["a.png"], "problem_type": "open-ended", "data_type": "image"}
    answers = [f"<answer>{'word ' * words}</answer>" for words in lengths]
    write_records(
        folder / "data.jsonl",
        [
            {**asked, "problem_id": f"n{n}", "answer": answer, "response": f"<think>x</think>{answer}"}
            for n, answer in enumerate(answers)
        ],
    )
    return folder / "data.jsonl"


def test_samples_that_share_a_row_count_what_they_both_show_once(tmp_path, processor):
    lengths = lengths_of(records(tmp_path, [3, 9]), processor)
    (one, other), (first, second) = lengths.samples, lengths.all()
    lengths.forget_samples()
    assert lengths.tokens_of([one]) == first.total
    assert lengths.tokens_of([one, other]) == first.total + second.total - first.visual
    assert second.total - first.total == second.answer - first.answer > 0


def test_lengths_are_those_of_what_a_model_reads_for_every_kind_of_question(tmp_path, processor):
    file = write_dataset(tmp_path / "data", num_samples=33)
    lengths = lengths_of(file, processor)
    found = lengths.longer_than(-1)
    assert len(found) == 33
    for n, sample in enumerate(lengths.samples):
        [ids] = encode_requests(processor, [build_request(sample, TINY_TEMPLATE, TINY_BUDGET)])["input_ids"].tolist()
        answer = processor.tokenizer(sample.response, add_special_tokens=False)["input_ids"]
        assert found[n].answer == len(answer) + 1
        assert found[n].visual == sum(
            ids.count(token) for token in (processor.image_token_id, processor.video_token_id)
        )
        if sample.data_type == "image":
            assert found[n].prompt == len(ids)
        else:
            assert len(ids) <= found[n].prompt <= len(ids) + 6
        bound = lengths.bounds[n]
        assert bound.prompt >= found[n].prompt
        assert bound.answer >= found[n].answer
        assert bound.visual >= found[n].visual


def test_the_longest_is_found_without_tokenizing_the_others(tmp_path, processor, monkeypatch):
    lengths = lengths_of(records(tmp_path, [3] * 2000 + [400] + [3] * 2000), processor)
    tokenized: list[int] = []
    count = lengths._count
    monkeypatch.setattr(lengths, "_count", lambda texts: tokenized.append(len(texts)) or count(texts))
    place, length = lengths.longest(lambda length: length.total)
    assert place == 2000
    assert length.answer > 400
    assert list(lengths.longer_than(300)) == [2000]
    assert sum(tokenized) < 1000


def test_the_bound_of_a_video_whose_container_names_no_length_is_that_of_the_longest_and_its_packets_say_the_truth(
    tmp_path, processor, record_video: Callable[..., Path]
):
    record_video(tmp_path / "a.mkv")
    asked = {
        "problem": "<video>What?",
        "videos": ["a.mkv"],
        "problem_type": "open-ended",
        "data_type": "video",
        "answer": "x",
    }
    write_records(tmp_path / "f.jsonl", [asked])
    lengths = lengths_of(tmp_path / "f.jsonl", processor, max_new_tokens=10)
    [ids] = encode_requests(processor, [build_request(lengths.samples[0], TINY_TEMPLATE, TINY_BUDGET)])[
        "input_ids"
    ].tolist()
    assert len(ids) <= lengths.longer_than(0)[0].prompt <= len(ids) + 6


@pytest.fixture
def record_video() -> Callable[..., Path]:
    """Write two seconds of video."""
    import av
    import numpy as np

    def write(path: Path) -> Path:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            for number in range(50):
                container.mux(
                    stream.encode(
                        av.VideoFrame.from_ndarray(np.full((64, 96, 3), 5 * number, np.uint8), format="rgb24")
                    )
                )
            container.mux(stream.encode(None))
        return path

    return write


def test_a_record_longer_than_a_row_stops_a_run_before_it_begins_and_is_named_with_its_tokens(tmp_path):
    file = records(tmp_path, [3, 400, 3, 600])
    with pytest.raises(
        DataError, match=r"2 of 4 records are longer than a row; .*\n.*, row 4: 1,8\d\d tokens"
    ) as caught:
        train_sft(SftRecipe(steps=1, batch_size=2, max_row_tokens=512, data={"files": [file]}), tmp_path / "run")
    for way in ("Raise max_row_tokens", "[budget]", 'data.too_long = "skip"', '"truncate"'):
        assert way in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_records_that_are_too_long_can_be_left_out_and_are_named(tmp_path, caplog):
    file = records(tmp_path, [3, 200, 3])
    recipe = SftRecipe(steps=2, batch_size=2, max_row_tokens=512, data={"files": [file], "too_long": "skip"})
    train_sft(recipe, tmp_path / "run")
    assert {open_session(recipe, tmp_path / "run").data.mixture.sample(n).id for n in range(8)} == {"n0", "n2"}
    assert "1 of 3 records are too long (left out, data.too_long)" in caplog.text
    [left_out] = map(json.loads, (tmp_path / "run/left_out.jsonl").read_text().splitlines())
    assert (left_out["file"], left_out["row"]) == (str(file), 2)
    assert re.match(r"6\d\d tokens", left_out["reason"])


def test_the_end_of_a_response_that_is_too_long_can_be_cut(tmp_path, caplog):
    file = records(tmp_path, [3, 700])
    train_sft(
        SftRecipe(steps=1, batch_size=2, max_row_tokens=512, data={"files": [file], "too_long": "truncate"}),
        tmp_path / "run",
    )
    [row] = RunFolder(tmp_path / "run").rows()
    assert row["tokens_by_phase"]["update"] <= 2 * 512
    assert row["answer_tokens"] > 450
    assert "their responses are cut" in caplog.text


def test_a_prompt_that_fills_a_row_is_never_cut(tmp_path):
    file = records(tmp_path, [3])
    [record] = [json.loads(line) for line in file.read_text().splitlines()]
    write_records(file, [{**record, "problem": f"<image>{'word ' * 600}"}])
    with pytest.raises(DataError, match="1 of 1 records have prompts that fill a row alone"):
        train_sft(
            SftRecipe(steps=1, batch_size=1, max_row_tokens=512, data={"files": [file], "too_long": "truncate"}),
            tmp_path / "run",
        )


def test_in_rl_the_prompt_and_the_longest_answer_must_fit_into_a_row(tmp_path):
    rollout = {"generation_batch_size": 2, "group_size": 2, "max_new_tokens": 500}
    with pytest.raises(DataError, match=r"rollout\.max_new_tokens 500\), a row has max_row_tokens = 512"):
        train_rl(
            RlRecipe(max_row_tokens=512, rollout=rollout, data={"files": [records(tmp_path, [3])]}), tmp_path / "run"
        )
    with pytest.raises(ValueError, match="in RL, which has no responses to cut"):
        RlRecipe(data={"too_long": "truncate"})
    scenes = RlRecipe(steps=1, max_row_tokens=512, rollout=rollout, grading={"workers": 0})
    with pytest.raises(DataError, match=r"sample .*a row has max_row_tokens = 512"):
        train_rl(scenes, tmp_path / "scenes")


def test_a_scene_longer_than_a_row_stops_the_run_with_its_name(tmp_path):
    with pytest.raises(DataError, match=r"sample '.*': \d+ tokens \(prompt \d+, of which \d+ are visual"):
        train_sft(SftRecipe(steps=1, batch_size=11, max_row_tokens=64), tmp_path / "run")


def test_a_dry_run_says_how_long_the_longest_record_is_and_refuses_what_a_run_would(tmp_path, capsys):
    file = records(tmp_path, [3, 200, 3])
    settings = ["model=untrained", f'data.files=["{file}"]', "batch_size=2"]
    assert dispatch(["sft", "tiny_sft", "--dry-run", "--set", *settings, "max_row_tokens=2048"]) == 0
    said = capsys.readouterr().out
    assert re.search(
        r"longest      6\d\d tokens \(prompt \d+, of which 4 are visual; answer \d+\): .*data\.jsonl, row 2", said
    )
    assert re.search(r"answer       up to 6\d\d tokens", said)
    with pytest.raises((DataError, ConfigError), match="1 of 3 records are longer than a row"):
        dispatch(["sft", "tiny_sft", "--dry-run", "--set", *settings, "max_row_tokens=512"])
