"""The benchmarks as their own authors publish them, each in its folders and under its file names."""

import csv
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onethinker.core.masks import encode_rle
from tests.evaluation.layouts.media import HEIGHT, WIDTH, base64_picture, frames, picture, rectangle, video

IMAGE_TABLES = (
    "MMMU_DEV_VAL",
    "MathVista_MINI",
    "MathVerse_MINI",
    "MMBench_DEV_EN",
    "MMStar",
    "ScienceQA_TEST",
    "AI2D_TEST",
    "MMT-Bench_VAL",
    "RealWorldQA",
    "WeMath",
)
VIDEO_TABLES = {
    "Video-Holmes/Video_Holmes.tsv": "video_path",
    "LongVideoBench/LongVideoBench.tsv": "video_path",
    "Video-MMLU/Video_MMLU_CAP.tsv": "video",
}


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def build_tables(root: Path) -> Path:
    """VLMEvalKit's tables, two rows each."""
    choice = {"question": "What colour?", "A": "red", "B": "blue", "answer": "A"}
    # MMT-Bench: "category" names a sub-task of "l2-category" (VLMEvalKit, multiple_choice.py, report_acc_MMT).
    kept = {"split": "validation", "category": "image_captioning", "l2-category": "visual_captioning"}
    for name in IMAGE_TABLES:
        rows = [{"index": index, "image": base64_picture(), **choice, **kept} for index in (1, 2)]
        if name == "MMMU_DEV_VAL":
            # validation_Math_15 as some copies have it: a list stored as text, a quote missing.
            rows[1] |= {"A": "", "B": "", "answer": "['24/7', '3.429', '3.43]"}
        # VLMEvalKit, image_base.py: a row may name the picture of a later one; one without any is dropped.
        rows = [{**rows[0], "image": "2"}, {**rows[0], "index": 3, "image": ""}, rows[1]]
        write_table(root / f"{name}.tsv", rows)
    captions = [
        {"index": index, "image": base64_picture(), "question": "Write a caption.", "caption": "A red square."}
        for index in (1, 2)
    ]
    write_table(root / "MMSci_DEV_Captioning_image_only.tsv", captions)
    for name, column in VIDEO_TABLES.items():
        rows = [{"index": index, column: f"video/{index}.mp4", **choice} for index in (1, 2)]
        if column == "video":
            # VLMEvalKit, video_mmlu.py: "question" is a list of questions with answers, as Python writes it.
            pairs = [
                {"question": "Which theorem is shown?", "answer": "Pythagoras'"},
                {"question": "c?", "answer": "5"},
            ]
            lecture = {"discipline": "Math", "question": repr(pairs)}
            rows = [{"index": index, "video": f"{index}.mp4", **lecture} for index in (1, 2)]
        write_table(root / name, rows)
        for index in (1, 2):
            folder = root / Path(name).parent
            video(folder / ("video" if column == "video_path" else "youtube_videos") / f"{index}.mp4")
    return root


def build_refcoco(root: Path) -> None:
    """Pickled references of the three sets, and COCO's annotations."""
    name = "COCO_train2014_000000000003.jpg"
    picture(root / "train2014" / name)
    polygon = [[10, 20, 50, 20, 50, 60, 10, 60]]
    instances = {
        "images": [{"id": 3, "file_name": name, "width": WIDTH, "height": HEIGHT}],
        "annotations": [
            {"id": 11, "image_id": 3, "category_id": 1, "bbox": [10.0, 20.0, 40.0, 40.0], "segmentation": polygon}
        ],
    }
    for folder, file in (("refcoco", "refs(unc).p"), ("refcoco+", "refs(unc).p"), ("refcocog", "refs(umd).p")):
        sentences = [{"sent_id": number, "sent": "left cat", "raw": "left cat", "tokens": []} for number in (1, 2)]
        refs = [
            {"ref_id": number, "ann_id": 11, "image_id": 3, "split": split, "sentences": sentences}
            for number, split in enumerate(("val", "testA", "testB", "test"))
        ]
        (root / folder).mkdir()
        (root / folder / file).write_bytes(pickle.dumps(refs, protocol=0))
        (root / folder / "instances.json").write_text(json.dumps(instances))


def build_moments(root: Path) -> None:
    """Lines of Charades-STA, the captions of ActivityNet, and the questions of ActivityNet-RTL."""
    (root / "charades_sta_test.txt").write_text(
        "3MSZA 0.3 2.4##person turn a light on.\nAO8RW 0.0 1.9##a person reads\n"
    )
    for name in ("3MSZA", "AO8RW"):
        video(root / f"Charades_v1_480/{name}.mp4")
    (root / "activitynet").mkdir()
    own = {"duration": 3.0, "timestamps": [[0.5, 1.5], [1, 2]], "sentences": ["He sits.", " He stands."]}
    (root / "activitynet/val_2.json").write_text(json.dumps({"v_uqiMw7tQ1Cc": own}))
    video(root / "activitynet/videos/v_uqiMw7tQ1Cc.mp4")
    # LITA, eval_model_rtl.py: the span is the first two seconds in angle brackets.
    question = {"vid": "uqiMw7tQ1Cc", "duration": 3.0, "question": "When is he tired?"}
    asked = [
        {"question_id": number, **question, "answer": answer}
        for number, answer in enumerate(("<0.5> <1.5> He sits, so he is tired.", "<2.9> <1.> He stands."))
    ]
    (root / "temporal_reasoning").mkdir()
    (root / "temporal_reasoning/annot_val_1_q229.json").write_text(json.dumps(asked))


def build_got10k(root: Path) -> None:
    names = ["GOT-10k_Val_000001", "GOT-10k_Val_000002"]
    for name in names:
        folder = root / f"GOT-10k/val/{name}"
        count = len(frames(folder, 21, digits=8, first=1))
        (folder / "groundtruth.txt").write_text("10.0000,20.0000,30.0000,10.0000\n" * count)
        (folder / "absence.label").write_text("0\n" * count)
        (folder / "cover.label").write_text("8\n" * count)
    (root / "GOT-10k/val/list.txt").write_text("\n".join(names) + "\n")


def build_objects(root: Path) -> None:
    """MeViS with run lengths, ReasonVOS with a folder of masks an object, Ref-DAVIS17 with palettes."""
    mevis, reason, davis = root / "MeViS/valid_u", root / "ReasonVOS", root / "Ref-DAVIS17/valid"
    names = frames(mevis / "JPEGImages/clip", 3)
    said = {
        "0": {"exp": "what moves", "obj_id": [1], "anno_id": [4]},
        "1": {"exp": "it", "obj_id": [1], "anno_id": [4]},
    }
    (mevis / "meta_expressions.json").write_text(
        json.dumps({"videos": {"clip": {"frames": names, "expressions": said}}})
    )
    (mevis / "mask_dict.json").write_text(json.dumps({"4": [encode_rle(rectangle())] * 2 + [None]}))
    frames(reason / "JPEGImages/clip", 3)
    spoken = [{"exp_id": 7, "obj_id": "000000012", "exp_text": "what moves", "is_sent": False}] * 2
    own = {"source": "VIPSeg", "frames": names, "expressions": spoken}
    (reason / "meta_expressions.json").write_text(json.dumps({"videos": {"clip": own}}))
    frames(davis / "JPEGImages/dance", 3)
    shown = {"0": {"exp": "a dancer", "obj_id": "1"}, "1": {"exp": "the dancer", "obj_id": 1}}
    meta = root / "Ref-DAVIS17/meta_expressions/valid/meta_expressions.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"videos": {"dance": {"frames": names, "expressions": shown}}}))
    for name in names:
        for folder in (reason / "Annotations/VIPSeg_clip_000000012", davis / "Annotations/dance"):
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(rectangle().astype(np.uint8), "P" if folder.is_relative_to(davis) else "L")
            if image.mode == "P":
                image.putpalette([0, 0, 0, 128, 0, 0])
            image.save(folder / f"{name}.png")


def build_official(root: Path) -> Path:
    for build in (build_tables, build_refcoco, build_moments, build_got10k, build_objects):
        build(root)
    return root
