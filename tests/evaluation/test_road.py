"""The road of a sample through `evaluate`, as docs/architecture.md tells it, held against an evaluation under a
profiler.
"""

import inspect
import re
import sys
import threading
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import onethinker
from onethinker.commands.evaluate import evaluate
from onethinker.data.formats.records import write_records
from onethinker.data.formats.released import record_from_sample
from onethinker.data.synthetic import make_sample
from onethinker.evaluation.config import AskingConfig, EvaluationConfig, GradingConfig, SamplesConfig
from onethinker.media.writing import save_clip

PACKAGE = Path(onethinker.__file__).parent
IN_OTHER_PROCESSES = {"media/reading.py"}
"""Decoders read the file; pictures of a report are read here, by the same function."""


def files_in(paragraph: str) -> list[str]:
    return re.findall(r"`(\w+(?:/\w+)+\.py)`", paragraph)


def test_a_sample_crosses_the_files_that_the_architecture_lists_and_no_other(tmp_path):
    sample = make_sample(0, 0, problem_type="segmentation", data_type="image")
    save_clip(sample.media[0], tmp_path / "scene.png")
    record = record_from_sample(replace(sample, media=(tmp_path / "scene.png",)), root=tmp_path)
    write_records(tmp_path / "samples.jsonl", [record])
    options = EvaluationConfig(
        output=tmp_path / "out",
        samples=SamplesConfig(data=tmp_path / "samples.jsonl"),
        asking=AskingConfig(model="untrained", max_new_tokens=4),
        grading=GradingConfig(segmenter="grabcut"),
    )
    entered: set[str] = set()

    def note(frame, event, _):
        code = frame.f_code  # that of a module or a class runs when it is imported
        if event == "call" and code.co_flags & inspect.CO_NEWLOCALS and code.co_filename.startswith(f"{PACKAGE}/"):
            entered.add(code.co_filename.removeprefix(f"{PACKAGE}/"))

    import_module("onethinker.evaluation.runner")  # what runs when a module is imported is no part of the road
    import_module("onethinker.report.page")
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        evaluate(options)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    text = (PACKAGE.parent / "docs/architecture.md").read_text()
    paragraph = text.partition("A sample crosses")[2].partition("\n\n")[0]
    told, _, after = paragraph.partition("`tests/evaluation/test_road.py`")
    road, beside = files_in(told), set(files_in(after))
    assert len(road) == len(set(road)) <= 18
    assert set(road) - entered - IN_OTHER_PROCESSES == set()
    rest = {path for path in entered if path.startswith(("commands/", "evaluation/", "inference/"))}
    rest = {path for path in rest if not path.startswith("evaluation/benchmarks/")}
    assert rest - set(road) - beside == set()
