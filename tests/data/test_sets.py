"""Data sets as they are published become samples, and back where they can hold them; every fault is named."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onethinker.cli import main
from onethinker.core.masks import decode_rle
from onethinker.data.formats.released import read_samples
from onethinker.drawing.mask_files import indices_png
from onethinker.media.budget import MediaBudget
from onethinker.media.headers import read_header
from onethinker.media.reading import read_clip


def run(*words) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["data", "convert", *map(str, words)])
    return int(ended.value.code or 0)


def converted(source, tmp_path, *more) -> list:
    assert run(source, tmp_path / "out/own.jsonl", "--to", "own", *more) == 0
    return list(read_samples(tmp_path / "out/own.jsonl"))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def frames(folder: Path, count: int, name: str = "{:06d}.jpg", size=(64, 48)) -> None:
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        Image.new("RGB", size, (number * 8, 0, 0)).save(folder / name.format(number))


def yolo(root: Path, labels: str) -> Path:
    write(root / "data.yaml", "path: .\ntrain: images/train\nnames: {0: cat, 1: hot dog}\n")
    (root / "images/train").mkdir(parents=True)
    Image.new("RGB", (64, 48)).save(root / "images/train/a.png")
    Image.new("RGB", (64, 48)).save(root / "images/train/none.png")
    write(root / "labels/train/a.txt", labels)
    return root


def test_yolos_boxes_and_outlines_are_asked_for_by_class(tmp_path):
    source = yolo(tmp_path / "set", "0 0.25 0.5 0.5 1\n1 0.5 0 1 0 1 1 0.5 1\n")
    box, outline = converted(source, tmp_path)
    assert (box.problem, box.truth) == ("Where is the cat in the picture?", '{"boxes": [0, 0, 500, 1000]}')
    assert (outline.problem, outline.problem_type) == ("Where is the hot dog in the picture?", "segmentation")
    assert decode_rle(outline.masks.frames["image"][0]).sum() == 32 * 48
    assert box.media[0] == source / "images/train/a.png"


def test_boxes_come_back_from_yolo_and_supervision_reads_them(tmp_path):
    import supervision as sv

    source = yolo(tmp_path / "set", "0 0.2515 0.5 0.503 0.9\n1 0.75 0.5 0.125 1\n")
    before = converted(source, tmp_path)
    assert run(tmp_path / "out/own.jsonl", tmp_path / "yolo", "--to", "yolo") == 0
    data = sv.DetectionDataset.from_yolo(
        str(tmp_path / "yolo/images"), str(tmp_path / "yolo/labels"), str(tmp_path / "yolo/data.yaml")
    )
    [(_, picture, found)] = list(data)
    assert data.classes == ["cat", "hot dog"]
    assert picture.shape == (48, 64, 3)
    assert found.xyxy.ravel().tolist() == pytest.approx([0, 2.4, 32.192, 45.6, 44, 0, 52, 48], abs=0.01)
    assert run(tmp_path / "yolo", tmp_path / "back.jsonl", "--to", "own") == 0
    after = list(read_samples(tmp_path / "back.jsonl"))
    assert [(one.problem, one.truth) for one in after] == [(one.problem, one.truth) for one in before]


YOLO_FAULTS = {
    "a class that is not there": ("7 0.5 0.5 0.1 0.1", "class 7 is not in 'names'"),
    "a box outside": ("0 0.9 0.5 0.5 0.1", "lies outside the picture"),
    "pixels": ("0 32 24 10 10", "numbers must be fractions"),
    "two of one class": ("0 0.5 0.5 0.1 0.1\n0 0.2 0.2 0.1 0.1", "2 objects in the picture are 'cat'"),
    "words": ("cat 0.5 0.5 0.1 0.1", "expected a class and fractions"),
    "three numbers": ("0 0.5 0.5 0.1", "expected 4 numbers"),
}


@pytest.mark.parametrize("name", YOLO_FAULTS)
def test_a_label_that_is_wrong_is_named_with_file_and_line(tmp_path, name, capsys):
    labels, said = YOLO_FAULTS[name]
    assert run(yolo(tmp_path / "set", labels), tmp_path / "own.jsonl", "--to", "own") == 1
    line = capsys.readouterr().out.splitlines()[0]
    assert "a.txt, line 1" in line
    assert said in line
    assert not (tmp_path / "own.jsonl").exists()


def test_yolo_needs_a_class_and_a_split(tmp_path, capsys):
    source = yolo(tmp_path / "set", "0 0.5 0.5 0.1 0.1\n")
    assert run(source, tmp_path / "own.jsonl", "--to", "own", "--split", "val") == 1
    assert "'val' must be a folder or a file of pictures" in capsys.readouterr().err
    converted(source, tmp_path)
    text = (tmp_path / "out/own.jsonl").read_text().replace('"category"', '"kind"')
    (tmp_path / "out/own.jsonl").write_text(text)
    assert run(tmp_path / "out/own.jsonl", tmp_path / "yolo", "--to", "yolo") == 1
    assert "name it in 'category'" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()].count("yolo") == 0


def mot(root: Path, lines: str, count: int = 25) -> Path:
    folder = root / "MOT17-02"
    frames(folder / "img1", count)
    info = "[Sequence]\nname=MOT17-02\nimDir=img1\nframeRate=10\nseqLength=25\nimWidth=64\nimHeight=48\nimExt=.jpg\n"
    write(folder / "seqinfo.ini", info)
    write(folder / "gt/gt.txt", lines)
    return root


def test_the_objects_of_mot_are_tracked_second_by_second_in_a_video(tmp_path):
    lines = "".join(f"{n},3,{1 + n},1,32,24,1,1,1\n" for n in range(1, 26)) + "1,4,1,1,70,24,0,1,1\n"
    [sample] = converted(mot(tmp_path / "mot", lines), tmp_path)
    assert json.loads(sample.truth)["boxes"] == {
        "1": [15.62, 0, 515.62, 500],
        "2": [171.88, 0, 671.88, 500],
        "3": [328.12, 0, 828.12, 500],
    }
    assert sample.problem.endswith("at [15.62,0,515.62,500].")
    header = read_header(sample.media[0])
    assert (header.width, header.height, header.duration_s) == (64, 48, 2.5)
    clip = read_clip(sample.media[0], MediaBudget(fps=1))
    assert clip.times_s == (0, 1, 2)
    assert [round(frame[..., 0].mean() / 8) for frame in clip.frames] == [1, 11, 21]


MOT_FAULTS = {
    "a line of words": ("1,3,a,1,32,24,1\n", "line 1: expected frame,id"),
    "a frame that is not there": ("99,3,1,1,32,24,1\n", "line 1: frame 99 of 25"),
    "a box outside": ("1,3,100,1,32,24,1\n", "line 1: expected a box inside the 64 x 48 frame"),
    "an object that comes later": ("5,3,1,1,32,24,1\n", "object 3 is not in the first frame"),
}


@pytest.mark.parametrize("name", MOT_FAULTS)
def test_what_is_wrong_in_mot_is_named(tmp_path, name, capsys):
    lines, said = MOT_FAULTS[name]
    assert run(mot(tmp_path / "mot", lines), tmp_path / "own.jsonl", "--to", "own") == 1
    assert said in capsys.readouterr().out
    assert not (tmp_path / "own.jsonl").exists()


def test_got10k_becomes_videos_with_a_box_a_second(tmp_path, capsys):
    folder = tmp_path / "val/GOT-10k_Val_000001"
    frames(folder, 12, "{:08d}.jpg")
    write(tmp_path / "val/list.txt", "GOT-10k_Val_000001\n")
    write(folder / "groundtruth.txt", "".join(f"{n},0,32,24\n" for n in range(12)))
    [sample] = converted(tmp_path / "val", tmp_path)
    assert json.loads(sample.truth)["boxes"] == {"1": [0, 0, 500, 500], "2": [156.25, 0, 656.25, 500]}
    assert read_header(sample.media[0]).duration_s == 1.2
    write(folder / "groundtruth.txt", "0,0,32,24\n")
    assert run(tmp_path / "val", tmp_path / "again.jsonl", "--to", "own") == 1
    assert "groundtruth.txt: 1 boxes for 12 frames" in capsys.readouterr().out


def test_objects_of_ref_youtube_vos_become_masks_in_the_record(tmp_path):
    root = tmp_path / "train"
    frames(root / "JPEGImages/clip", 2, "{:05d}.jpg")
    masks = root / "Annotations/clip"
    masks.mkdir(parents=True)
    for number in (1, 2):
        indices = np.zeros((48, 64), np.uint8)
        indices[:24, : 10 * number] = 2
        (masks / f"{number:05d}.png").write_bytes(indices_png(indices))
    expressions = {"0": {"exp": "the red dog", "obj_id": "2"}}
    videos = {"clip": {"frames": ["00001", "00002"], "expressions": expressions}}
    write(root / "meta_expressions.json", json.dumps({"videos": videos}))
    [sample] = converted(root, tmp_path)
    assert "the red dog" in sample.problem
    assert [decode_rle(marks[0]).sum() for marks in sample.masks.frames.values()] == [240, 480]
    assert (sample.masks.fps, sample.resolution) == (6.0, (64, 48))
    assert json.loads(sample.truth)["boxes"] == [0, 0, 312, 500]


def marked(folder: Path, names: list[str], sides: dict[int, int], size=(64, 48)) -> None:
    """Palette masks in which each object is a square, moved to the right by a pixel a frame."""
    folder.mkdir(parents=True)
    for shift, name in enumerate(names):
        indices = np.zeros(size[::-1], np.uint8)
        for index, side in sides.items():
            indices[8 * index : 8 * index + side, shift : shift + side] = index
        (folder / f"{name}.png").write_bytes(indices_png(indices))


def youtube_vos(root: Path, objects: dict, every: int = 5) -> Path:
    names = [f"{number:05d}" for number in range(0, 15, every)]
    frames(root / "JPEGImages/clip", 1, "00000.jpg")
    for name in names[1:]:
        Image.new("RGB", (64, 48)).save(root / f"JPEGImages/clip/{name}.jpg")
    marked(root / "Annotations/clip", names[:: 5 // every], dict.fromkeys(map(int, objects), 8))
    write(root / "meta.json", json.dumps({"videos": {"clip": {"objects": objects}}}))
    return root


CATS = {"1": {"category": "cat", "frames": []}, "3": {"category": "cat", "frames": []}}
PANDA = {"2": {"category": "giant_panda", "frames": ["00000"]}}


@pytest.mark.parametrize("every", [5, 1], ids=["every fifth frame", "all frames"])
def test_objects_of_youtube_vos_are_asked_for_by_category_or_place(tmp_path, every):
    panda, cat, other = converted(youtube_vos(tmp_path / "train", {**PANDA, **CATS}, every), tmp_path)
    assert panda.problem == 'Cut out what this describes in the video: "the giant panda"'
    assert cat.problem.endswith('"the cat at [0,167,125,333] at 0.00 s"')
    assert "the cat at [0,500,125,667]" in other.problem
    assert [decode_rle(marks[0]).sum() for marks in panda.masks.frames.values()] == [64, 64, 64]
    assert (panda.id, panda.masks.fps, panda.source, panda.extra) == (
        "clip-2",
        6.0,
        "YouTube-VOS",
        {"category": "giant panda"},
    )
    assert read_clip(panda.media[0], MediaBudget()).duration_s == pytest.approx(0.5)


def davis(root: Path, lines: str, folder: str = "2017") -> Path:
    for name in ("bear", "two birds"):
        frames(root / "JPEGImages/480p" / name, 3, "{:05d}.jpg")
        marked(root / "Annotations/480p" / name, ["00001", "00002", "00003"], {1: 8, 4: 6})
    write(root / f"ImageSets/{folder}/val.txt", lines)
    return root


@pytest.mark.parametrize(
    ("folder", "lines"),
    [
        ("2017", "bear\n\n"),
        ("2016", "bear\n"),
        ("480p", "/JPEGImages/480p/bear/00001.jpg /Annotations/480p/bear/00001.png\n" * 2),
    ],
)
def test_objects_of_davis_are_asked_for_by_their_first_box(tmp_path, folder, lines):
    first, second = converted(davis(tmp_path / "DAVIS", lines, folder), tmp_path, "--split", "val")
    assert (first.id, first.masks.fps, first.source) == ("bear-1", 24.0, "DAVIS")
    assert first.problem.endswith('"the object at [0,167,125,333] at 0.00 s"')
    assert [decode_rle(marks[0]).sum() for marks in second.masks.frames.values()] == [36, 36, 36]
    assert json.loads(second.truth)["boxes"][1] == 667


def test_a_split_that_davis_does_not_have_is_named(tmp_path, capsys):
    assert run(davis(tmp_path / "DAVIS", "bear\n"), tmp_path / "own.jsonl", "--to", "own") == 1
    assert "no split 'train' here; name one by --split: val" in capsys.readouterr().err


VIDEO_FAULTS = {
    "a mask is missing": (lambda root: (root / "Annotations/clip/00005.png").unlink(), "2 masks for 3 frames"),
    "a picture is missing": (lambda root: (root / "JPEGImages/clip/00005.jpg").unlink(), "3 masks for 2 frames"),
    "no video": (lambda root: (root / "JPEGImages").rename(root / "Other"), "3 masks for 0 frames"),
    "an object without pixels": (lambda root: meta(root, {"9": {"category": "cat"}}), "empty in every frame"),
    "an object without a category": (lambda root: meta(root, {"2": {}}), "object '2': 'category'"),
    "an object that is no number": (lambda root: meta(root, {"x": {"category": "cat"}}), "whole number"),
    "no objects": (lambda root: meta(root, None), "'objects' must be"),
    "a mask in colours": (
        lambda root: Image.new("RGB", (64, 48)).save(root / "Annotations/clip/00000.png"),
        "expected a PNG of object numbers",
    ),
}


def meta(root: Path, objects) -> None:
    write(root / "meta.json", json.dumps({"videos": {"clip": {"objects": objects}}}))


@pytest.mark.parametrize("case", VIDEO_FAULTS)
def test_what_is_wrong_in_youtube_vos_is_named(tmp_path, case, capsys):
    spoil, words = VIDEO_FAULTS[case]
    root = youtube_vos(tmp_path / "train", PANDA)
    spoil(root)
    assert run(root, tmp_path / "own.jsonl", "--to", "own") == 1
    said = capsys.readouterr()
    assert words in said.out + said.err
    assert not (tmp_path / "own.jsonl").exists()


@pytest.mark.parametrize("form", ["refcoco", "refcoco-masks"])
def test_refcocos_sentences_become_boxes_or_masks_of_a_split(tmp_path, form, capsys):
    root = tmp_path / "refcoco"
    root.mkdir()
    (tmp_path / "train2014").mkdir()
    Image.new("RGB", (100, 200)).save(tmp_path / "train2014/a.jpg")
    outline = [[10, 20, 50, 20, 50, 60, 10, 60]]
    instances = {
        "images": [{"id": 3, "file_name": "a.jpg", "width": 100, "height": 200}],
        "annotations": [{"id": 7, "bbox": [10, 20, 40, 40], "segmentation": outline}],
    }
    write(root / "instances.json", json.dumps(instances))
    sentences = [{"sent_id": 20, "sent": "left cat"}, {"sent_id": 21, "sent": "the small one"}]
    ref = {"ref_id": 5, "ann_id": 7, "image_id": 3, "split": "val", "sentences": sentences}
    (root / "refs(unc).p").write_bytes(pickle.dumps([ref], protocol=2))
    first, _ = converted(root, tmp_path, "--split", "val", "--from", form)
    assert "left cat" in first.problem
    assert json.loads(first.truth)["boxes"] == [100, 100, 500, 300]
    assert (first.masks is not None) == (form == "refcoco-masks")
    assert first.media == (tmp_path / "train2014/a.jpg",)
    assert run(root, tmp_path / "again.jsonl", "--to", "own") == 1
    assert "the split 'train' has no references" in capsys.readouterr().err


CHARADES = "AO8RW 0.0 6.9##a person puts a book.\n3MSZA 24.3 30.4##person turns a light on.\n"


def test_moments_go_from_charades_to_activitynet_and_back(tmp_path):
    frames(tmp_path / "frames", 2)
    write(tmp_path / "charades_sta_train.txt", "\ufeff" + CHARADES)
    from onethinker.media.writing import join_pictures

    pictures = sorted((tmp_path / "frames").iterdir()) * 20
    for name in ("AO8RW", "3MSZA"):
        join_pictures(tmp_path / f"{name}.mp4", pictures, fps=1)
    first, second = converted(tmp_path / "charades_sta_train.txt", tmp_path)
    assert (first.truth, second.media) == ('{"time": [0.0, 6.9]}', (tmp_path / "3MSZA.mp4",))
    assert run(tmp_path / "out/own.jsonl", tmp_path / "captions.json", "--to", "activitynet-captions") == 0
    assert json.loads((tmp_path / "captions.json").read_text())["AO8RW"] == {
        "duration": 40.0,
        "timestamps": [[0.0, 6.9]],
        "sentences": ["a person puts a book."],
    }
    assert run(tmp_path / "captions.json", tmp_path / "again.txt", "--to", "charades-sta") == 0
    assert (tmp_path / "again.txt").read_text() == CHARADES.replace("0.0 ", "0 ")


def test_bad_moments_are_named(tmp_path, capsys):
    write(tmp_path / "test.txt", CHARADES + "3MSZA 9 5##backwards\nno moment\n")
    assert run(tmp_path / "test.txt", tmp_path / "own.jsonl", "--to", "own") == 1
    said = capsys.readouterr().out
    assert "test.txt, line 3: 'time' must end after it starts" in said
    assert "test.txt, line 4: expected 'VIDEO START END##sentence'" in said
    write(tmp_path / "own.jsonl", json.dumps({"problem": "2 + 2?", "answer": "4", "problem_type": "numerical"}) + "\n")
    assert run(tmp_path / "own.jsonl", tmp_path / "no.txt", "--to", "charades-sta") == 1


def test_a_form_that_is_only_read_says_so(tmp_path, capsys):
    write(tmp_path / "own.jsonl", "{}\n")
    assert run(tmp_path / "own.jsonl", tmp_path / "mot", "--to", "mot") == 1
    assert "can only be read" in capsys.readouterr().err


MOMENT = {
    "problem_type": "temporal grounding",
    "data_type": "video",
    "answer": '{"time": [0.5, 1.5]}',
    "problem": "When?",
}
"""A record without its video."""
NO_MOMENTS = {
    "a part of a video": ([{"videos": ["a.mp4"], "clips": [[2, 4]]}], "of a whole video file; lost: that only"),
    "a name with a space": ([{"videos": ["a b.mp4"]}], "the video without spaces, got 'a b 0.5 1.5##When?'"),
    "two videos of a name": ([{"videos": ["a/1.mp4"]}, {"videos": ["b/1.mp4"]}], "would get the same name"),
    "a question of nothing": ([{"videos": ["a.mp4"], "problem": 'When does this happen in the video: ""'}], "##"),
}


@pytest.mark.parametrize("name", NO_MOMENTS)
def test_what_a_line_of_moments_cannot_say_is_refused(tmp_path, name, capsys):
    records, said = NO_MOMENTS[name]
    write(tmp_path / "own.jsonl", "".join(json.dumps({**MOMENT, **more}) + "\n" for more in records))
    assert run(tmp_path / "own.jsonl", tmp_path / "new.txt", "--to", "charades-sta") == 1
    [line] = capsys.readouterr().out.splitlines()
    assert f"row {len(records)}: " in line
    assert said in line
    assert not (tmp_path / "new.txt").exists()


def test_parts_of_videos_are_no_captions_and_exact_seconds_come_back(tmp_path, capsys):
    part = {**MOMENT, "videos": ["a.mp4"], "clips": [[2, 4]]}
    write(tmp_path / "own.jsonl", json.dumps(part) + "\n")
    assert run(tmp_path / "own.jsonl", tmp_path / "new.json", "--to", "activitynet-captions") == 1
    assert "lost: that only" in capsys.readouterr().out
    whole = {**MOMENT, "videos": ["a.mp4"], "answer": '{"time": [12345.678, 12346.125]}'}
    write(tmp_path / "own.jsonl", json.dumps(whole) + "\n")
    assert run(tmp_path / "own.jsonl", tmp_path / "new.txt", "--to", "charades-sta") == 0
    assert (tmp_path / "new.txt").read_text() == "a 12345.678 12346.125##When?\n"


@pytest.mark.parametrize("to", ["evaluation", "coco", "yolo", "charades-sta"])
def test_a_form_that_names_media_by_paths_embeds_none(tmp_path, to, capsys):
    write(tmp_path / "own.jsonl", "{}\n")
    assert run(tmp_path / "own.jsonl", tmp_path / "new.parquet", "--to", to, "--embed-media") == 1
    assert "names media by their paths" in capsys.readouterr().err
    assert not (tmp_path / "new.parquet").exists()


def test_pictures_of_one_name_keep_their_pixels_and_labels_in_yolo(tmp_path):
    names = ("a/x.png", "x-2.png", "b/x.png", "x-1.png")
    records = []
    for number, name in enumerate(names, 1):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (64, 48), (number, 0, 0)).save(tmp_path / name)
        about = {"problem": "Where?", "problem_type": "spatial grounding", "category": "cat", "images": [name]}
        records.append({**about, "data_type": "image", "answer": json.dumps({"boxes": [0, 0, 100 * number, 500]})})
    write(tmp_path / "own.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    assert run(tmp_path / "own.jsonl", tmp_path / "yolo", "--to", "yolo") == 0
    samples = converted(tmp_path / "yolo", tmp_path)
    found = {
        Image.open(sample.media[0]).getpixel((0, 0))[0]: json.loads(sample.truth)["boxes"][2] for sample in samples
    }
    assert found == {number: 100 * number for number in (1, 2, 3, 4)}


def test_lines_of_mot_that_do_not_count_are_not_looked_at(tmp_path):
    lines = "1,3,1,1,32,24,1\n1,9,500,500,10,10,0\n99,9,1,1,10,10,0\n"
    [sample] = converted(mot(tmp_path / "mot", lines), tmp_path)
    assert json.loads(sample.truth)["boxes"] == {"1": [0, 0, 500, 500]}


@pytest.mark.parametrize("line", ["1,nan,1,1,32,24,1", "1,3,inf,1,32,24,1", "1,inf,1,1,32,24,1", "1,3,1,1,32,24,nan"])
def test_numbers_of_mot_are_finite(tmp_path, line, capsys):
    assert run(mot(tmp_path / "mot", line + "\n"), tmp_path / "own.jsonl", "--to", "own") == 1
    assert "line 1: expected frame,id" in capsys.readouterr().out


def test_a_folder_without_videos_of_mot_is_named(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", tmp_path / "own.jsonl", "--to", "own", "--from", "mot") == 1
    assert "there is no seqinfo.ini in it" in capsys.readouterr().err
    assert not (tmp_path / "own.jsonl").exists()


@pytest.mark.parametrize("form", ["yolo", "mot", "got10k", "ref-vos", "youtube-vos", "davis"])
def test_a_form_whose_media_are_where_it_says_takes_no_other_root(tmp_path, form, capsys):
    words = (tmp_path, tmp_path / "new/own.jsonl", "--to", "own", "--from", form, "--media-root", tmp_path)
    assert run(*words) == 1
    assert "--media-root: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["hf:squad", "hf:/squad", "hf:org/"])
def test_a_data_set_on_the_hub_has_an_owner(tmp_path, name, capsys):
    pytest.importorskip("datasets")
    assert run(name, tmp_path / "own.jsonl", "--to", "own") == 1
    assert "is named hf:ORG/NAME" in capsys.readouterr().err


BOXED = {"problem": "Where?", "problem_type": "spatial grounding", "data_type": "image", "images": ["a.png"]}
BOXED |= {"answer": '{"boxes": [0, 0, 500, 500]}', "category": "cat"}


@pytest.mark.parametrize("output", ["new.json", "new.parquet"])
def test_half_characters_of_other_fields_come_back(tmp_path, output):
    if output.endswith("parquet"):
        pytest.importorskip("pyarrow")
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    notes = [{"note": "\ud800"}, {"note": "ä"}, {"note": {"\udc00": 1}}]
    write(tmp_path / "own.jsonl", "".join(json.dumps({**BOXED, **note}) + "\n" for note in notes))
    to = "own" if output.endswith("parquet") else "coco"
    assert run(tmp_path / "own.jsonl", tmp_path / output, "--to", to) == 0
    assert [sample.extra["note"] for sample in converted(tmp_path / output, tmp_path)] == [one["note"] for one in notes]


def test_odd_values_of_a_table_are_text_or_a_lost_row(tmp_path, capsys):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    texts = ["640x480", '{"width": 64, "height": 48}', "7", "1"]
    table = {name: [value] * 4 for name, value in BOXED.items()}
    scores = [0.5, float("nan"), 1.0, float("inf")]
    scored = pa.table({**table, "resolution": texts, "score": scores, "scores": [[0.5, float("nan")]] * 4})
    pyarrow.parquet.write_table(scored, tmp_path / "in.parquet")
    assert run(tmp_path / "in.parquet", tmp_path / "own.jsonl", "--to", "own", "--leave-out") == 1
    assert "row 4: a number of the row is infinite" in capsys.readouterr().out
    first, second, third = read_samples(tmp_path / "own.jsonl")
    assert (first.extra["resolution"], second.resolution, third.extra["resolution"]) == ("640x480", (64, 48), "7")
    assert (first.extra["scores"], "score" in second.extra) == ([0.5, None], False)
