"""The release's SFT form, a ShareGPT conversation in "messages", as LLaMA-Factory reads it.

Source: onethinker_sft_image and onethinker_sft_video in LLaMA-Factory/data/dataset_info.json of the release.
"""

from pathlib import Path

from onethinker.core.errors import DataError
from onethinker.core.sample import Sample
from onethinker.data.formats.chat import all_learned, need_response, own_record, read_turns, turns_of
from onethinker.data.formats.form import Form, record_with, without
from onethinker.data.formats.records import Record


def read(record: Record, root: Path) -> Record:
    """Return a record out of a conversation. Raises: DataError."""
    turns = read_turns(record["messages"], role="role", content="content", named="messages")
    return own_record(record, turns, taken=("messages",))


def write(sample: Sample, root: Path) -> Record:
    """Return a sample as a conversation. Raises: DataError: there is nothing to learn, or a picture beside a video."""
    need_response(sample, "sft")
    record = record_with(sample, root, ("messages",))
    record["messages"] = all_learned(turns_of(sample, record))
    if record.get("images") and record.get("videos"):
        lost = ", ".join(record["images"])
        raise DataError(
            f"the sft form has pictures or videos, not both; lost: {lost}. Use the llamafactory form, which has both"
        )
    return without(record, "response")


SFT = Form("sft", "the release's SFT form", lambda record: isinstance(record.get("messages"), list), read, write)
