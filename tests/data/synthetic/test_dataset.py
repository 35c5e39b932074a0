"""Samples as files: what is written reads back as what was made, whole or not at all."""

import json

import numpy as np
import pytest
from PIL import Image

from onethinker.cli import main
from onethinker.core.errors import DataError
from onethinker.core.frames import Clip
from onethinker.data.formats.released import read_samples
from onethinker.data.synthetic import make_sample, write_dataset


def test_a_dataset_reads_back_as_the_samples_that_were_made(tmp_path):
    path = write_dataset(tmp_path / "data", num_samples=22, seed=4, split="test")
    assert path == tmp_path / "data" / "samples.jsonl"
    samples = list(read_samples(path))
    assert len(samples) == 22
    for index, sample in enumerate(samples):
        made = make_sample(4, index, split="test")
        assert (sample.problem, sample.truth, sample.options) == (made.problem, made.truth, made.options)
        assert (sample.problem_type, sample.data_type) == (made.problem_type.lower(), made.data_type)
        assert sample.response == made.response
        assert (sample.masks, sample.resolution) == (made.masks, made.resolution)
        assert all(not isinstance(media, Clip) and media.is_file() for media in sample.media)


def test_pictures_are_saved_exactly(tmp_path):
    (first, *_) = read_samples(write_dataset(tmp_path / "data", num_samples=1, seed=4))
    (path,) = first.media
    (clip,) = make_sample(4, 0).media
    assert isinstance(clip, Clip)
    assert (np.asarray(Image.open(str(path))) == clip.frames[0]).all()


def test_a_video_keeps_its_frames_and_its_looks(tmp_path):
    import av

    samples = list(read_samples(write_dataset(tmp_path / "data", num_samples=22, seed=4)))
    index = next(number for number, sample in enumerate(samples) if sample.data_type == "video")
    (clip,) = make_sample(4, index).media
    assert isinstance(clip, Clip)
    with av.open(str(samples[index].media[0])) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert frames.shape == clip.frames.shape
    assert np.abs(frames.astype(int) - clip.frames).mean() < 4  # H.264 with colour at half resolution


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="is there already"):
        write_dataset(tmp_path, num_samples=2, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_that_breaks_off_leaves_nothing(tmp_path):
    def stop(done: int, total: int) -> None:
        assert (done, total) == (1, 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "data", num_samples=3, seed=0, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_records_in_the_released_form(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["data", "synthetic", "--output", str(tmp_path / "data"), "--num-samples", "3", "--seed", "1", "--json"])
    assert exit_info.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"output": str(tmp_path / "data" / "samples.jsonl"), "samples": 3}
    records = [json.loads(line) for line in (tmp_path / "data" / "samples.jsonl").read_text().splitlines()]
    assert [record["problem_type"] for record in records] == ["multiple choice", "numerical", "regression"]


def test_the_command_refuses_a_folder_that_is_not_empty(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SystemExit) as exit_info:
        main(["data", "synthetic", "--output", str(tmp_path), "--num-samples", "3"])
    assert exit_info.value.code == 1
    assert str(tmp_path) in capsys.readouterr().err.replace("\n", "")
