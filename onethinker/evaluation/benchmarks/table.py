"""The 31 benchmarks of the paper, a row each (36 with the splits of RefCOCO): where data lie, what is measured, what is
published.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from onethinker.core.errors import ConfigError
from onethinker.core.nearest import no_such
from onethinker.core.plugins import load_plugins, named_plugins
from onethinker.core.sample import Sample
from onethinker.evaluation.benchmarks.base import UNNAMED, Benchmark, Layout, Metric, key_of
from onethinker.evaluation.benchmarks.readers import expressions, got10k, refcoco, tables, temporal
from onethinker.evaluation.benchmarks.readers.files import Bad
from onethinker.evaluation.benchmarks.readers.released import read_released
from onethinker.evaluation.benchmarks.readers.tables import Form, read_table

GROUP = "onethinker.benchmarks"
"""The group under which other packages name their rows, each a `Benchmark`."""


def all_benchmarks() -> tuple[Benchmark, ...]:
    """Return the paper's benchmarks, others that we know, and those of other packages. Raises: ConfigError: one of
    these is none, or has the name of another.
    """
    return _all_benchmarks(named_plugins())


@cache
def _all_benchmarks(named: tuple[str, ...]) -> tuple[Benchmark, ...]:
    rows = [*BENCHMARKS, *BEYOND_THE_PAPER]
    for plugin in load_plugins(GROUP):
        row = plugin.value
        if not isinstance(row, Benchmark):
            raise ConfigError(f"{plugin.where} must be an onethinker.evaluation.benchmarks.base.Benchmark, got {row!r}")
        if row.key in {known.key for known in rows}:
            raise ConfigError(f"two benchmarks are called {row.key!r}: {plugin.where} is the second. Rename it")
        rows.append(row)
    return tuple(rows)


def find_benchmark(name: str) -> Benchmark:
    """Return the benchmark of a name or key, in any case. Raises: ConfigError."""
    rows = all_benchmarks()
    for benchmark in rows:
        if benchmark.key == key_of(name):
            return benchmark
    see = "`onethinker evaluate --list` shows all"
    raise ConfigError(no_such("benchmark", name, ("paper", "all", *(benchmark.key for benchmark in rows)), see=see))


_PLAIN = Form()


def _released(name: str, num_samples: int | None = None) -> Layout:
    return Layout((name,), lambda root, bad: read_released(root / name, bad), num_samples)


def _table(name: str, form: Form = _PLAIN) -> Layout:
    return Layout((name,), lambda root, bad: read_table(root / name, form, bad))


def _lines(name: str, read: Callable[[Path, Path, Bad], Iterator[Sample]]) -> Layout:
    return Layout((name,), lambda root, bad: read(root / name, root, bad))


def _refcoco(name: str, refs: str, split: str, *, masks: bool = False) -> Layout:
    files = (f"{name}/{refs}", f"{name}/instances.json")
    return Layout(files, lambda root, bad: refcoco.read_refcoco(root, name, refs, split, masks=masks, bad=bad))


def _same(*names: str) -> tuple[Metric, ...]:
    """Return metrics that we and the paper call the same."""
    return tuple(Metric(name, name) for name in names)


_ACCURACY = _same("accuracy")
_CHOICE = ("multiple choice",)
_QA = ("multiple choice", "numerical", "math", "regression", "ocr", "open-ended")
_CHOICE_OR_MATH = ("multiple choice", "math")
_TEMPORAL = _same("R@0.3", "R@0.5", "R@0.7", "tIoU")
_BOX = (*_same("R@0.5"), Metric("IoU"))
_TUBE = (*_same("tIoU@0.5", "tIoU", "sIoU@0.5", "sIoU"), Metric("vIoU"), Metric("vIoU@0.3"), Metric("vIoU@0.5"))
_TRACK = (
    *_same("AO", "R@0.3", "R@0.5", "R@0.7"),
    Metric("AO (official)"),
    Metric("SR@0.5 (official)"),
    Metric("SR@0.75 (official)"),
)
_IMAGE_MASK = (*_same("cIoU"), Metric("gIoU"))
_VIDEO_MASK = tuple(
    Metric(f"{name} ({whose})", name if whose == "paper" else None)
    for whose in ("paper", "official")
    for name in ("J", "F", "J&F")
)
_CAPTION = (Metric("judge"), Metric("ROUGE-1"), Metric("ROUGE-2"), Metric("ROUGE-L"), Metric(UNNAMED, "score"))
_QUESTIONS = (Metric("questions answered (paper)", "score"), Metric("questions answered"))
_SHOWN_AS = "expressions are asked in our words; masks decide, the box and points of the truth are made from them"


def _image_qa(
    name: str, table: str, num_samples: int, form: Form = _PLAIN, *, other: tuple[str, ...] = (), **more: Any
) -> Benchmark:
    return Benchmark(
        name,
        "image QA",
        _CHOICE_OR_MATH,
        "image",
        num_samples,
        tuple(_table(file, form) for file in (table, *other)),
        **{"metrics": _ACCURACY, **more},
    )


def _video_qa(name: str, num_samples: int, layout: Layout) -> Benchmark:
    return Benchmark(name, "video QA", _QA, "video", num_samples, (layout,), _ACCURACY)


def _moments(
    name: str, num_samples: int | None, *layouts: Layout, metrics: tuple[Metric, ...] = _TEMPORAL, note: str = ""
) -> Benchmark:
    return Benchmark(
        name, "temporal grounding", ("temporal grounding",), "video", num_samples, layouts, metrics, note=note
    )


def _boxes(name: str, num_samples: int, *layouts: Layout) -> Benchmark:
    return Benchmark(name, "spatial grounding", ("spatial grounding",), "image", num_samples, layouts, _BOX)


def _image_masks(name: str, *layouts: Layout) -> Benchmark:
    return Benchmark(name, "image segmentation", ("segmentation",), "image", None, layouts, _IMAGE_MASK, note=_SHOWN_AS)


def _video_masks(name: str, num_samples: int | None, *layouts: Layout) -> Benchmark:
    return Benchmark(
        name, "video segmentation", ("segmentation",), "video", num_samples, layouts, _VIDEO_MASK, note=_SHOWN_AS
    )


BENCHMARKS: tuple[Benchmark, ...] = (
    _image_qa(
        "MMMU",
        "MMMU_DEV_VAL.tsv",
        900,
        Form(only=("split", "validation"), any_answer=True),
        metrics=(Metric("accuracy (paper)", "accuracy"), Metric("accuracy (official)")),
        note=(
            "the paper's rule takes a question without options as the choice between the answer and other answers;"
            " where no rule sees which, it asks a language model, which is left out here"
        ),
    ),
    _image_qa("MathVista", "MathVista_MINI.tsv", 1000),
    _image_qa("MathVerse", "MathVerse_MINI.tsv", 3940, other=("MathVerse_MINIV.tsv",)),
    _image_qa(
        "MMBench",
        "MMBench_DEV_EN.tsv",
        4329,
        circular=True,
        metrics=(Metric("accuracy (circular)", "accuracy"), Metric("accuracy")),
    ),
    _image_qa("MMStar", "MMStar.tsv", 1500),
    _image_qa("ScienceQA", "ScienceQA_TEST.tsv", 2017),
    _image_qa("AI2D", "AI2D_TEST.tsv", 3088),
    _image_qa("MMT-Bench", "MMT-Bench_VAL.tsv", 3127),
    _video_qa("VideoMMMU", 900, _released("eval_videommmu.json")),
    _video_qa("MMVU(mc)", 625, _released("eval_mmvu.json")),
    _video_qa("VideoMME", 2700, _released("eval_videomme.json")),
    _video_qa("Video-Holmes", 1837, _table("Video-Holmes/Video_Holmes.tsv")),
    _video_qa("LongVideoBench", 1337, _table("LongVideoBench/LongVideoBench.tsv")),
    _video_qa("LongVideo-Reason", 1000, _released("eval_longvideoreason.json")),
    _video_qa("VideoMathQA", 420, _released("eval_videomathqa.json")),
    Benchmark(
        "MMSci-Caption",
        "caption",
        ("open-ended",),
        "image",
        None,
        (_table("MMSci_DEV_Captioning_image_only.tsv", Form(free_form="open-ended")),),
        _CAPTION,
        note=(
            "the paper's number is one of BLEU-2, ROUGE-L, METEOR, CIDEr, BERTScore and G-Eval, and does not say which:"
            " none of ours is its like"
        ),
    ),
    Benchmark(
        "MMT-Caption",
        "caption",
        _CHOICE,
        "image",
        None,
        (_table("MMT-Bench_VAL.tsv", Form(only=("l2-category", "visual_captioning"), group="category")),),
        (Metric("accuracy (sub-tasks)", "score", by_group="accuracy"), Metric("accuracy")),
        note=(
            "the captioning questions of MMT-Bench, which are multiple choice; the paper's number is the mean over"
            " sub-tasks"
        ),
    ),
    Benchmark(
        "VideoMMLU-Caption",
        "caption",
        ("open-ended",),
        "video",
        None,
        (
            _table(
                "Video-MMLU/Video_MMLU_CAP.tsv",
                Form(
                    free_form="open-ended",
                    question="Describe in detail what is shown and explained in this video.",
                    video_folder="youtube_videos",
                    asks_about_captions=True,
                ),
            ),
        ),
        _QUESTIONS,
        note=(
            "a judge answers the table's questions out of the description; the paper's code counts the last question of"
            " each video, by another judge"
        ),
    ),
    _moments(
        "Charades-STA",
        3720,
        _released("eval_charades.json"),
        _lines("charades_sta_test.txt", temporal.read_charades_sta),
    ),
    _moments(
        "ActivityNet Captions",
        17031,
        _released("eval_activitynet.json"),
        _lines("activitynet/val_2.json", temporal.read_activitynet_captions),
    ),
    _moments(
        "ANet-RTL",
        229,
        Layout(
            ("eval_anet_rtl.json",),
            lambda root, bad: temporal.grouped_by_video(read_released(root / "eval_anet_rtl.json", bad)),
        ),
        _lines("temporal_reasoning/annot_val_1_q229.json", temporal.read_activitynet_rtl),
        metrics=(
            *_TEMPORAL,
            Metric("tIoU (official)", by_group="tIoU"),
            Metric("R@0.5 (official)", by_group="R@0.5"),
        ),
        note="the official numbers are LITA's: means over videos of the means of their questions",
    ),
    _boxes("RefCOCO testA", 5657, _released("eval_refcoco_testA.json"), _refcoco("refcoco", "refs(unc).p", "testA")),
    _boxes("RefCOCO testB", 5095, _released("eval_refcoco_testB.json"), _refcoco("refcoco", "refs(unc).p", "testB")),
    _boxes("RefCOCO val", 10834, _released("eval_refcoco_val.json"), _refcoco("refcoco", "refs(unc).p", "val")),
    _boxes("RefCOCO+ testA", 5726, _released("eval_refcocop_testA.json"), _refcoco("refcoco+", "refs(unc).p", "testA")),
    _boxes("RefCOCO+ testB", 4889, _released("eval_refcocop_testB.json"), _refcoco("refcoco+", "refs(unc).p", "testB")),
    _boxes("RefCOCO+ val", 10758, _released("eval_refcocop_val.json"), _refcoco("refcoco+", "refs(unc).p", "val")),
    _boxes("RefCOCOg test", 9602, _released("eval_refcocog_test.json"), _refcoco("refcocog", "refs(umd).p", "test")),
    _boxes("RefCOCOg val", 4896, _released("eval_refcocog_val.json"), _refcoco("refcocog", "refs(umd).p", "val")),
    Benchmark(
        "STVG",
        "spatio-temporal grounding",
        ("spatial-temporal grounding",),
        "video",
        None,
        (_released("eval_stvg.json"),),
        _TUBE,
    ),
    Benchmark(
        "GOT-10k",
        "tracking",
        ("tracking",),
        "video",
        180,
        (
            Layout(
                ("eval_got10k.json",),
                lambda root, bad: got10k.with_frames(
                    read_released(root / "eval_got10k.json", bad), root / "GOT-10k/val", bad
                ),
            ),
            Layout(("GOT-10k/val/list.txt",), lambda root, bad: got10k.read_got10k(root / "GOT-10k/val", bad)),
        ),
        _TRACK,
        note=(
            "one box a second for 32 seconds at most is asked for; for the official numbers, which count every frame,"
            " boxes move on straight lines between the seconds, and they need GOT-10k/val"
        ),
    ),
    _image_masks(
        "RefCOCO-seg val",
        _released("eval_seg_refcoco.json", 3811),
        _refcoco("refcoco", "refs(unc).p", "val", masks=True),
    ),
    _image_masks(
        "RefCOCO+-seg val",
        _released("eval_seg_refcocop.json", 3805),
        _refcoco("refcoco+", "refs(unc).p", "val", masks=True),
    ),
    _image_masks(
        "RefCOCOg-seg val",
        _released("eval_seg_refcocog.json", 2537),
        _refcoco("refcocog", "refs(umd).p", "val", masks=True),
    ),
    _video_masks(
        "MeViS",
        793,
        _released("eval_seg_mevis.json", 424),
        Layout(
            ("MeViS/valid_u/meta_expressions.json", "MeViS/valid_u/mask_dict.json"),
            lambda root, bad: expressions.read_mevis(root / "MeViS/valid_u", bad),
        ),
    ),
    _video_masks(
        "ReasonVOS",
        458,
        _released("eval_seg_reasonvos.json", 458),
        Layout(
            ("ReasonVOS/meta_expressions.json", "ReasonVOS/Annotations"),
            lambda root, bad: expressions.read_reasonvos(root / "ReasonVOS", bad),
        ),
    ),
)
"""In the order of the paper's tables. Numbers of samples: Charades-STA, ActivityNet, VideoMME and Video-Holmes were
counted in their files; those of the five files of segmentation are what OraRL's loader of them expects; the others are
commonly told.
"""

BEYOND_THE_PAPER: tuple[Benchmark, ...] = (
    _image_qa("RealWorldQA", "RealWorldQA.tsv", 765),
    _image_qa(
        "WeMath",
        "WeMath.tsv",
        1740,
        note="the fraction of right answers, not WeMath's own score over the steps of a problem",
    ),
    _video_masks(
        "Ref-DAVIS17",
        None,
        Layout(
            ("Ref-DAVIS17/meta_expressions/valid/meta_expressions.json", "Ref-DAVIS17/valid/Annotations"),
            lambda root, bad: expressions.read_palettes(
                root / "Ref-DAVIS17/valid",
                "../meta_expressions/valid/meta_expressions.json",
                expressions.DAVIS_FPS,
                bad,
            ),
        ),
    ),
)
"""Rows that the paper's tables do not have; for the first two there are numbers of others."""


def groups_of(benchmark: Benchmark, sample_ids: Sequence[str]) -> list[str]:
    """Return for each sample the question that it belongs to: itself, or of a circular benchmark the one whose options
    it turns.
    """
    return [tables.circle_of(name) if benchmark.circular else name for name in sample_ids]
