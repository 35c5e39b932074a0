"""LLaMA-Factory's ShareGPT form: "conversations" of turns with "from" and "value", media in "images" and "videos".

LLaVA's files, which have "image" (or "video") and "id", are read too. Source: LLaMA-Factory, data/README.md.
"""

from pathlib import Path

from onethinker.core.errors import DataError
from onethinker.core.grammar import show
from onethinker.core.sample import Sample
from onethinker.data.formats.chat import all_learned, need_response, own_record, read_turns, turns_of, with_lists
from onethinker.data.formats.foreign import is_llamafactory
from onethinker.data.formats.form import Form, record_with, without
from onethinker.data.formats.records import Record

_ROLES = {"user": "human", "assistant": "gpt"}


def read(record: Record, root: Path) -> Record:
    """Return a record out of a conversation. Raises: DataError: there are tools or sounds."""
    for name in ("tools", "audios"):
        if record.get(name):
            raise DataError(f"{name!r} has no counterpart in our record and would be lost: {show(record[name])}")
    turns = read_turns(record["conversations"], role="from", content="value", named="conversations")
    if record.get("system"):
        turns.insert(0, {"role": "system", "content": record["system"]})
    own = own_record(with_lists(record), turns, taken=("conversations", "system", "tools", "audios"))
    if "id" in own and "problem_id" not in own:
        own["problem_id"] = own.pop("id")
    return own


def write(sample: Sample, root: Path) -> Record:
    """Return a sample as a conversation. Raises: DataError: there is nothing to learn."""
    need_response(sample, "llamafactory")
    record = record_with(sample, root, ("conversations", "system"))
    turns = all_learned(turns_of(sample, record))
    if turns[0]["role"] == "system":
        record["system"] = turns.pop(0)["content"]
    record["conversations"] = [{"from": _ROLES[turn["role"]], "value": turn["content"]} for turn in turns]
    return without(record, "response", "messages")


LLAMAFACTORY = Form("llamafactory", "LLaMA-Factory's ShareGPT form", is_llamafactory, read, write)
