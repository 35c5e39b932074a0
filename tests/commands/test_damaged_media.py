"""Damaged media: every command uses what can be read and names what is lost; with --strict-media it is an error."""

import io
import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from onethinker.cli import main
from onethinker.core.sample import Sample
from onethinker.data.formats.released import write_samples

LOSS = "its end is missing: the file is cut short"
REFUSED = f"{LOSS} (an error because of strict media)"
THOUGHT = "<think>I see two.</think><answer>2</answer>"
PLACE = (
    '<think>It is left.</think><answer>{"boxes": [100, 200, 500, 800], "positive_points": [[300, 500], [200, 400],'
    ' [400, 600]], "negative_points": [[800, 500], [900, 500], [700, 900]]}</answer>'
)


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code


@pytest.fixture
def photo(tmp_path) -> Path:
    """A picture without its last chunk, whose pixels are all there."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save(buffer, "PNG")
    (tmp_path / "cut.png").write_bytes(buffer.getvalue()[:-12])
    return tmp_path / "cut.png"


@pytest.fixture
def samples(photo) -> Path:
    """A sample about the damaged picture and one about a sound one."""
    Image.new("RGB", (64, 48)).save(photo.with_name("sound.png"))
    asked = [
        Sample(name, f"How many on {name}?", "numerical", "image", (photo.with_name(f"{name}.png"),), truth="2")
        for name in ("cut", "sound")
    ]
    write_samples(photo.with_name("samples.jsonl"), asked)
    return photo.with_name("samples.jsonl")


def test_inspect_makes_it_an_error_if_asked_to(photo, capsys):
    assert run("inspect", photo) == 0
    assert f"problem: {LOSS}" in capsys.readouterr().out
    assert run("inspect", photo, "--strict-media") == 1
    assert REFUSED in capsys.readouterr().err.replace("\n", "")


def test_ask_says_it_on_stderr_and_in_its_json(photo, serve, capsys):
    question = ("ask", photo, "How many?", "--task", "numerical", "--model", serve(THOUGHT)[0])
    assert run(*question, "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["media_problems"] == [f"cut.png: {LOSS}"]
    assert f"problem: cut.png: {LOSS}\n" in said.err
    assert run(*question) == 0
    assert f"problem: cut.png: {LOSS}\n" in capsys.readouterr().err


def test_ask_about_many_says_it_in_each_line(photo, samples, serve, capsys):
    files = (photo, photo.with_name("sound.png"))
    assert run("ask", *files, "How many?", "--each", "--task", "numerical", "--model", serve(THOUGHT)[0]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["media_problems"] for line in lines] == [[f"cut.png: {LOSS}"], []]


def test_strict_ask_refuses_before_the_model_is_asked(photo, serve, capsys):
    address, asked = serve(THOUGHT)
    assert run("ask", photo, "How many?", "--model", address, "--strict-media") == 1
    said = capsys.readouterr()
    assert (said.out, asked) == ("", [])
    assert f"{photo}: {REFUSED}" in said.err.replace("\n", "")


@pytest.mark.parametrize("by", ["box", "model"])
def test_segment_says_it_on_stderr_and_in_its_json(photo, serve, capsys, by):
    what = ("--box", 100, 200, 500, 800) if by == "box" else ("the cup", "--model", serve(PLACE)[0])
    assert run("segment", photo, *what, "--masks", photo.with_name("masks.json"), "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["media_problems"] == [f"cut.png: {LOSS}"]
    assert said.err.count(f"problem: cut.png: {LOSS}\n") == 1
    assert json.loads(photo.with_name("masks.json").read_text())["media_problems"] == [f"cut.png: {LOSS}"]


def test_strict_segment_refuses_and_writes_nothing(photo, capsys):
    target = photo.with_name("masks.json")
    assert run("segment", photo, "--box", 1, 2, 500, 800, "--masks", target, "--strict-media") == 1
    assert REFUSED in capsys.readouterr().err.replace("\n", "")
    assert not target.exists()


def test_evaluate_says_it_in_each_result_the_note_the_summary_and_the_page(samples, capsys):
    output = samples.with_name("run")
    evaluation = ("evaluate", "--model", "scripted", "--data", samples, "--output", output, "--json")
    assert run(*evaluation) == 0
    said = capsys.readouterr()
    expected = [f"cut.png: {LOSS}"]
    results = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    assert {result["sample_id"]: result["media_problems"] for result in results} == {"cut": expected, "sound": []}
    assert json.loads(said.out)["media_problems"] == {"run": {"cut": expected}}
    assert f"run: media of 1 samples are damaged: cut: cut.png: {LOSS}" in said.err.replace("\n", " ")
    assert (output / "report.html").read_text().count(f"Damaged media: cut.png: {LOSS}") == 1


def test_strict_evaluate_does_not_ask_about_the_damaged_sample(samples, capsys):
    output = samples.with_name("run")
    assert run("evaluate", "--model", "scripted", "--data", samples, "--output", output, "--strict-media") == 1
    assert "1 of 2 samples have no grade" in capsys.readouterr().err
    results = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    assert [REFUSED in (result["error"] or "") for result in results] == [True, False]


@pytest.fixture
def videos(tmp_path) -> Path:
    """Records about a sound video, one whose end is missing, and one with a hole of zeros, which only decoding
    shows.
    """
    with av.open(str(tmp_path / "sound.mp4"), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for pixels in np.random.default_rng(0).integers(0, 256, (40, 48, 64, 3), np.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    content = (tmp_path / "sound.mp4").read_bytes()
    size = len(content)
    (tmp_path / "short.mp4").write_bytes(content[:-50])
    (tmp_path / "hole.mp4").write_bytes(content[: size // 2] + bytes(size // 8) + content[size // 2 + size // 8 :])
    records = [
        Sample(name, f"How many in {name}?", "numerical", "video", (tmp_path / f"{name}.mp4",), truth="2")
        for name in ("sound", "short", "hole")
    ]
    write_samples(tmp_path / "samples.jsonl", records)
    return tmp_path / "samples.jsonl"


@pytest.mark.parametrize(("flags", "rows"), [((), {2}), (("--decode",), {2, 3})], ids=["headers", "decoded"])
def test_data_check_counts_damage_as_a_kind_of_its_own(videos, capsys, flags, rows):
    assert run("data", "check", videos, "--json", *flags) == 1
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert {(problem["row"], problem["kind"]) for problem in found["problems"]} == {(row, "damage") for row in rows}
    assert "short.mp4: it is cut short: 50 bytes are missing at its end" in found["problems"][0]["text"]
    assert "damage: media that are damaged or odd" in said.err


def test_data_check_tells_damaged_media_from_missing_ones(videos, capsys):
    shutil.move(videos.with_name("hole.mp4"), videos.with_name("moved.mp4"))
    assert run("data", "check", videos, "--json") == 1
    assert json.loads(capsys.readouterr().out)["faults"] == {"damage": 1, "media": 1}


def test_decoding_without_media_is_refused(videos, capsys):
    assert run("data", "check", videos, "--decode", "--no-media") == 1
    assert "--decode needs the media" in capsys.readouterr().err
