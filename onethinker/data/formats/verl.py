"""verl's rows: "prompt" as turns with placeholders, media beside it, the reference answer in "reward_model".

{"data_source": "…", "prompt": [{"role": "user", "content": "<image>…"}], "images": [{"image": "/data/a.jpg"}],
 "ability": "tracking", "reward_model": {"style": "rule", "ground_truth": "…"},
 "extra_info": {"index": "7", "problem_type": "tracking", "data_type": "video", "options": []}}

verl opens media from where it runs, so that their paths are absolute. Source: verl, docs/preparation/prepare_data.rst
and verl/utils/dataset/vision_utils.py.
"""

from pathlib import Path

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
from onethinker.core.sample import Sample
from onethinker.data.formats.chat import own_record, read_turns, user_text
from onethinker.data.formats.foreign import is_verl
from onethinker.data.formats.form import Form, need_question, record_with
from onethinker.data.formats.parquet import MEDIA, path_of
from onethinker.data.formats.records import Record
from onethinker.tasks import all_tasks

_FIELDS = ("prompt", "ability", "reward_model", "extra_info")


def read(record: Record, root: Path) -> Record:
    """Return a record out of a prompt and its reward. Raises: DataError: names the field."""
    turns = read_turns(record["prompt"], role="role", content="content", named="prompt")
    reward, extra = record["reward_model"], record.get("extra_info") or {}
    for name, value in (("reward_model", reward), ("extra_info", extra)):
        if not isinstance(value, dict):
            raise DataError(f"{name!r} must be an object, got {show(value)}")
    media = {name: [path_of(item) for item in record[name]] for name in MEDIA if record.get(name)}
    known = {"answer": reward.get("ground_truth"), "problem_id": extra.get("index")}
    if str(record.get("ability")).lower() in {task.problem_type for task in all_tasks()}:
        known["problem_type"] = record["ability"]
    given = {name: value for name, value in known.items() if value is not None}
    return own_record({**given, **record, **media}, turns, taken=_FIELDS)


def write(sample: Sample, root: Path) -> Record:
    """Return a sample as a prompt with its reward. Raises: DataError: it is no single question with an answer."""
    need_question(sample, "verl")
    record = record_with(sample, root, _FIELDS)
    media = {
        f"{kind}s": [{kind: str(root / path)} for path in record[f"{kind}s"]]
        for kind in ("image", "video")
        if f"{kind}s" in record
    }
    return {
        **record,
        **media,
        "prompt": [{"role": "user", "content": user_text(sample)}],
        "ability": sample.problem_type,
        "reward_model": {"style": "rule", "ground_truth": sample.truth},
        # All that a reward function is handed beside the truth.
        "extra_info": {
            "index": sample.id,
            **{name: record[name] for name in ("problem_type", "data_type", "options")},
        },
    }


VERL = Form(
    "verl",
    "verl's rows, by custom a parquet file",
    is_verl,
    read,
    write,
)
