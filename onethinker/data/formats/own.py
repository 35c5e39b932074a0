"""The project's own record, docs/data.md: the released RL form, with a response and any media in any order."""

from pathlib import Path

from onethinker.core.sample import Sample
from onethinker.data.formats.form import Form
from onethinker.data.formats.records import Record
from onethinker.data.formats.released import record_from_sample


def read(record: Record, root: Path) -> Record:
    """Return a record as it is."""
    return record


def write(sample: Sample, root: Path) -> Record:
    """Return a sample as a record."""
    return record_from_sample(sample, root=root)


OWN = Form("own", "records of docs/data.md", lambda record: "problem" in record, read, write)
