"""The 31 benchmarks of the paper, a row each (36 with the splits of RefCOCO): where data lie, what is measured, what is
published.
"""

from onethinker.data.published import expressions, got10k, temporal
from onethinker.evaluation.benchmarks.base import Benchmark, Layout, Metric
from onethinker.evaluation.benchmarks.kinds import (
    CAPTION,
    QUESTIONS,
    TEMPORAL,
    TRACK,
    TUBE,
    annotation_file,
    image_qa,
    image_segmentation,
    refcoco_files,
    released_file,
    spatial_grounding,
    table_file,
    temporal_grounding,
    video_qa,
    video_segmentation,
)
from onethinker.evaluation.benchmarks.readers.released import read_released
from onethinker.evaluation.benchmarks.readers.tables import Form

BENCHMARKS: tuple[Benchmark, ...] = (
    image_qa(
        "MMMU",
        "MMMU_DEV_VAL.tsv",
        900,
        Form(only=("split", "validation"), any_answer=True),
        metrics=(Metric("accuracy (paper)", "accuracy"), Metric("accuracy (official)")),
        note=(
            "the paper's rule treats a question without options as a choice between the answer and other answers; where"
            " its rules cannot decide, it asks a language model, which is left out here"
        ),
    ),
    image_qa("MathVista", "MathVista_MINI.tsv", 1000),
    image_qa("MathVerse", "MathVerse_MINI.tsv", 3940, other=("MathVerse_MINIV.tsv",)),
    image_qa(
        "MMBench",
        "MMBench_DEV_EN.tsv",
        4329,
        circular=True,
        metrics=(Metric("accuracy (circular)", "accuracy"), Metric("accuracy")),
    ),
    image_qa("MMStar", "MMStar.tsv", 1500),
    image_qa("ScienceQA", "ScienceQA_TEST.tsv", 2017),
    image_qa("AI2D", "AI2D_TEST.tsv", 3088),
    image_qa("MMT-Bench", "MMT-Bench_VAL.tsv", 3127),
    video_qa("VideoMMMU", 900, released_file("eval_videommmu.json")),
    video_qa("MMVU(mc)", 625, released_file("eval_mmvu.json")),
    video_qa("VideoMME", 2700, released_file("eval_videomme.json")),
    video_qa("Video-Holmes", 1837, table_file("Video-Holmes/Video_Holmes.tsv")),
    video_qa("LongVideoBench", 1337, table_file("LongVideoBench/LongVideoBench.tsv")),
    video_qa("LongVideo-Reason", 1000, released_file("eval_longvideoreason.json")),
    video_qa("VideoMathQA", 420, released_file("eval_videomathqa.json")),
    Benchmark(
        "MMSci-Caption",
        "caption",
        ("open-ended",),
        "image",
        None,
        (table_file("MMSci_DEV_Captioning_image_only.tsv", Form(free_form="open-ended")),),
        CAPTION,
        note=(
            "the paper's number is one of BLEU-2, ROUGE-L, METEOR, CIDEr, BERTScore and G-Eval, but it does not say"
            " which: none of our numbers is comparable"
        ),
    ),
    Benchmark(
        "MMT-Caption",
        "caption",
        ("multiple choice",),
        "image",
        None,
        (table_file("MMT-Bench_VAL.tsv", Form(only=("l2-category", "visual_captioning"), group="category")),),
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
            table_file(
                "Video-MMLU/Video_MMLU_CAP.tsv",
                Form(
                    free_form="open-ended",
                    question="Describe in detail what is shown and explained in this video.",
                    video_folder="youtube_videos",
                    asks_about_captions=True,
                ),
            ),
        ),
        QUESTIONS,
        note=(
            "a judge answers the table's questions from the description alone; the paper's code counts only the last"
            " question of each video, and uses another judge"
        ),
    ),
    temporal_grounding(
        "Charades-STA",
        3720,
        released_file("eval_charades.json"),
        annotation_file("charades_sta_test.txt", temporal.read_charades_sta),
    ),
    temporal_grounding(
        "ActivityNet Captions",
        17031,
        released_file("eval_activitynet.json"),
        annotation_file("activitynet/val_2.json", temporal.read_activitynet_captions),
    ),
    temporal_grounding(
        "ANet-RTL",
        229,
        Layout(
            ("eval_anet_rtl.json",),
            lambda root, bad: temporal.grouped_by_video(read_released(root / "eval_anet_rtl.json", bad)),
        ),
        annotation_file("temporal_reasoning/annot_val_1_q229.json", temporal.read_activitynet_rtl),
        metrics=(
            *TEMPORAL,
            Metric("tIoU (official)", by_group="tIoU"),
            Metric("R@0.5 (official)", by_group="R@0.5"),
        ),
        note="the official numbers are LITA's: means over videos of the means of their questions",
    ),
    spatial_grounding(
        "RefCOCO testA",
        5657,
        released_file("eval_refcoco_testA.json"),
        refcoco_files("refcoco", "refs(unc).p", "testA"),
    ),
    spatial_grounding(
        "RefCOCO testB",
        5095,
        released_file("eval_refcoco_testB.json"),
        refcoco_files("refcoco", "refs(unc).p", "testB"),
    ),
    spatial_grounding(
        "RefCOCO val", 10834, released_file("eval_refcoco_val.json"), refcoco_files("refcoco", "refs(unc).p", "val")
    ),
    spatial_grounding(
        "RefCOCO+ testA",
        5726,
        released_file("eval_refcocop_testA.json"),
        refcoco_files("refcoco+", "refs(unc).p", "testA"),
    ),
    spatial_grounding(
        "RefCOCO+ testB",
        4889,
        released_file("eval_refcocop_testB.json"),
        refcoco_files("refcoco+", "refs(unc).p", "testB"),
    ),
    spatial_grounding(
        "RefCOCO+ val", 10758, released_file("eval_refcocop_val.json"), refcoco_files("refcoco+", "refs(unc).p", "val")
    ),
    spatial_grounding(
        "RefCOCOg test",
        9602,
        released_file("eval_refcocog_test.json"),
        refcoco_files("refcocog", "refs(umd).p", "test"),
    ),
    spatial_grounding(
        "RefCOCOg val", 4896, released_file("eval_refcocog_val.json"), refcoco_files("refcocog", "refs(umd).p", "val")
    ),
    Benchmark(
        "STVG",
        "spatio-temporal grounding",
        ("spatial-temporal grounding",),
        "video",
        None,
        (released_file("eval_stvg.json"),),
        TUBE,
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
        TRACK,
        note=(
            "one box per second is asked for, for at most 32 seconds; the official numbers count every frame, so boxes"
            " are interpolated linearly between the seconds, and they need GOT-10k/val"
        ),
    ),
    image_segmentation(
        "RefCOCO-seg val",
        released_file("eval_seg_refcoco.json", 3811),
        refcoco_files("refcoco", "refs(unc).p", "val", masks=True),
    ),
    image_segmentation(
        "RefCOCO+-seg val",
        released_file("eval_seg_refcocop.json", 3805),
        refcoco_files("refcoco+", "refs(unc).p", "val", masks=True),
    ),
    image_segmentation(
        "RefCOCOg-seg val",
        released_file("eval_seg_refcocog.json", 2537),
        refcoco_files("refcocog", "refs(umd).p", "val", masks=True),
    ),
    video_segmentation(
        "MeViS",
        793,
        released_file("eval_seg_mevis.json", 424),
        Layout(
            ("MeViS/valid_u/meta_expressions.json", "MeViS/valid_u/mask_dict.json"),
            lambda root, bad: expressions.read_mevis(root / "MeViS/valid_u", bad),
        ),
    ),
    video_segmentation(
        "ReasonVOS",
        458,
        released_file("eval_seg_reasonvos.json", 458),
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
    image_qa("RealWorldQA", "RealWorldQA.tsv", 765),
    image_qa(
        "WeMath",
        "WeMath.tsv",
        1740,
        note="the fraction of right answers, not WeMath's own score over the steps of a problem",
    ),
    video_segmentation(
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
