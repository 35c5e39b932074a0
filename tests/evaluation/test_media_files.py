"""Where a benchmark's media are found, and what is said of archives that nobody has opened."""

from pathlib import Path

import pytest

from onethinker.core.sample import Sample
from onethinker.evaluation.benchmarks.media_files import gone, unopened, with_found_media


def sample(path: Path) -> Sample:
    return Sample("1", "?", "numerical", "image", (path,), truth="1")


@pytest.mark.parametrize(
    ("named", "lies", "found"),
    [
        # Three independent readers of the released files drop the prefix; the files lie beside the JSON.
        ("./Evaluation/MMVU/a.mp4", "data/MMVU/a.mp4", "data/MMVU/a.mp4"),
        ("Evaluation/MMVU/a.mp4", "data/Evaluation/MMVU/a.mp4", "data/Evaluation/MMVU/a.mp4"),
        ("./MMVU/a.mp4", "data/MMVU/a.mp4", "data/MMVU/a.mp4"),
        # The release strips a leading "/" and reads below the data folder.
        ("/MMVU/a.mp4", "data/MMVU/a.mp4", "data/MMVU/a.mp4"),
        ("/Evaluation/MMVU/a.mp4", "data/MMVU/a.mp4", "data/MMVU/a.mp4"),
        ("./Evaluation/MMVU/a.mp4", "other/MMVU/a.mp4", "other/MMVU/a.mp4"),
        ("./Evaluation/MMVU/a.mp4", "other/Evaluation/MMVU/a.mp4", "other/Evaluation/MMVU/a.mp4"),
        ("./Evaluation/MMVU/a.mp4", "other/a.mp4", "other/a.mp4"),
        ("./Evaluation/MMVU/a.mp4", None, "data/MMVU/a.mp4"),
    ],
)
def test_media_are_found_where_they_lie(tmp_path, named, lies, found):
    if lies is not None:
        (tmp_path / lies).parent.mkdir(parents=True)
        (tmp_path / lies).write_bytes(b"")
    placed = with_found_media(sample(tmp_path / "data" / named), tmp_path / "data", tmp_path / "other")
    assert placed.media == (tmp_path / found,)
    assert gone(placed) == ([] if lies else [tmp_path / found])


@pytest.mark.parametrize(
    ("files", "command"),
    [
        (["Charades.zip"], "unzip -q {root}/Charades.zip -d {root}"),
        (["v/GOT-10k.tar.gz"], "tar -xf {root}/v/GOT-10k.tar.gz -C {root}/v"),
        (
            ["a b.zip.001", "a b.zip.002"],
            "cat '{root}/a b.zip.001' '{root}/a b.zip.002' > '{root}/a b.zip' && unzip -q '{root}/a b.zip' -d {root}",
        ),
        (
            ["x.tar.gz.part_ab", "x.tar.gz.part_aa"],
            "cat {root}/x.tar.gz.part_aa {root}/x.tar.gz.part_ab | tar -xzf - -C {root}",
        ),
        (["x.tar.00", "x.tar.01"], "cat {root}/x.tar.00 {root}/x.tar.01 | tar -xf - -C {root}"),
    ],
    ids=["zip", "tar.gz", "zip in parts", "tar.gz in parts", "tar in parts"],
)
def test_archives_are_named_with_the_command_that_opens_them(tmp_path, files, command):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "eval_stvg.json").write_bytes(b"[]")
    assert unopened(tmp_path) == (command.format(root=tmp_path),)
