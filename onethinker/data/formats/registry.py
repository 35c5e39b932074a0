"""All forms of sample files, and how one is known."""

from pathlib import Path

from onethinker.core.errors import ConfigError, DataError
from onethinker.core.grammar import show
from onethinker.core.nearest import no_such
from onethinker.data.formats.coco import COCO, COCO_MASKS
from onethinker.data.formats.easyr1 import EASYR1
from onethinker.data.formats.evaluation import EVALUATION
from onethinker.data.formats.form import Form, SetForm
from onethinker.data.formats.llamafactory import LLAMAFACTORY
from onethinker.data.formats.moments import ACTIVITYNET, CHARADES
from onethinker.data.formats.mot import MOT
from onethinker.data.formats.own import OWN
from onethinker.data.formats.published import DAVIS, EXPRESSIONS, GOT10K, REFCOCO, REFCOCO_MASKS, YOUTUBE_VOS
from onethinker.data.formats.records import Record
from onethinker.data.formats.rl import RL
from onethinker.data.formats.sft import SFT
from onethinker.data.formats.swift import SWIFT
from onethinker.data.formats.trl import TRL
from onethinker.data.formats.verl import VERL
from onethinker.data.formats.yolo import YOLO

FORMS: tuple[Form, ...] = (VERL, TRL, SWIFT, LLAMAFACTORY, SFT, EVALUATION, EASYR1, RL, OWN)
"""The first that knows a row is taken for its form."""
SETS: tuple[SetForm, ...] = (
    COCO,
    COCO_MASKS,
    YOLO,
    MOT,
    GOT10K,
    REFCOCO,
    REFCOCO_MASKS,
    EXPRESSIONS,
    YOUTUBE_VOS,
    DAVIS,
    CHARADES,
    ACTIVITYNET,
)
"""The first that a file or folder fits is taken for its form, before its rows are looked at."""


def find_form(name: str) -> Form | SetForm:
    """Return the form of this name. Raises: ConfigError."""
    known: dict[str, Form | SetForm] = {form.name: form for form in FORMS} | {form.name: form for form in SETS}
    if name not in known:
        raise ConfigError(no_such("form", name, list(known)))
    return known[name]


def set_form_of(source: Path) -> SetForm | None:
    """Return the form of data sets that a file or folder is of, None for one of rows."""
    return next((form for form in SETS if form.fits(source)), None)


def form_of(record: Record) -> Form:
    """Return the form that a row is of. Raises: DataError: it is of none."""
    form = next((form for form in FORMS if form.knows(record)), None)
    if form is None:
        raise DataError(
            f"the fields {show(list(record)[:8])} match no known form; name the form with --from, or rename the fields"
            " to those of docs/data.md"
        )
    return form
