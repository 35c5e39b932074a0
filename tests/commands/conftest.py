import json
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image

from onethinker.data.validate import SHORT_BYTES
from tests.commands.chat_server import serving

CONFIG = json.dumps({"model_type": "qwen3_vl", "text_config": {}, "vision_config": {}})
RECORD = {
    "problem": "<image>Which?",
    "answer": "<answer>A</answer>",
    "response": "<think>x</think><answer>A</answer>",
    "options": ["A. red", "B. blue"],
    "images": ["picture.png"],
    "problem_type": "multiple choice",
    "data_type": "image",
}


@pytest.fixture
def serve():
    """Start servers that say the same to every question; each gives its address and what it is asked."""
    with ExitStack() as servers:
        yield lambda text: servers.enter_context(serving(text))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a picture, data good and bad, models that are none, and runs of other recipes."""
    place = tmp_path_factory.mktemp("place")
    Image.new("RGB", (64, 64), (200, 30, 30)).save(place / "picture.png")
    (place / "words.txt").write_text("no picture")
    lines = {
        "good": [RECORD],
        "no_truth": [RECORD, {**RECORD, "answer": ""}],
        "no_response": [{name: value for name, value in RECORD.items() if name != "response"}],
        "no_media": [{**RECORD, "images": ["nosuch.png"]}],
        "misspelt": [{**RECORD, "problem_type": "spacial grounding"}],
        # Far longer than what is read whole: the first and the last are looked at.
        "long": (
            [{**RECORD, "padding": "x" * 1000}] * (2 * SHORT_BYTES // 1000)
            + [{**RECORD, "problem_type": "reading tea leaves"}]
        ),
    }
    for name, records in lines.items():
        (place / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (place / "broken.jsonl").write_text('{"problem": ')
    for name, files in {
        "empty": {},
        "no_weights": {"config.json": CONFIG},
        "no_shard": {
            "config.json": CONFIG,
            "model.safetensors.index.json": json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}),
        },
        "no_base": {"adapter_config.json": json.dumps({"base_model_name_or_path": "/nosuch/base"})},
        "bad_settings": {"onethinker.json": '{"wordng": {}}', "config.json": "{}"},
    }.items():
        (place / name).mkdir()
        for file, text in files.items():
            (place / name / file).write_text(text)
    other = place / "other_run"
    (other / "checkpoints" / "step-00000002").mkdir(parents=True)
    (other / "recipe.json").write_text(json.dumps({"steps": 5}))
    (place / "wording.toml").write_text('template = "{qestion}"')
    (place / "wrong_task.toml").write_text('[instructions]\n"trackin" = "Follow it."')
    (place / "wrong_key.toml").write_text('tempalte = "{question}"')
    (place / "wrong_evaluation.toml").write_text("[asking]\nmax_new_token = 5")
    return place
