"""Label Studio's protocol of an ML backend: its tasks to questions, our answers to its suggestions."""

import re
from collections.abc import Mapping, Sequence
from html import unescape
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from onethinker.core.errors import ConfigError
from onethinker.data.annotations import POINT_KINDS
from onethinker.serving.answering import Answered, Asked
from onethinker.serving.schemas import AskBody, validated
from onethinker.serving.uploads import Slot, Sources

_LOCAL_FILES = "/data/local-files/"
_UPLOADS = "/data/"
_BESIDE = POINT_KINDS[1]
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_CONTROL = re.compile(r"""<(\w++)\s((?:[^<>"']|"[^"<]*+"|'[^'<]*+')*+)>""")
_ATTRIBUTE = re.compile(r"""\b(\w++)\s*+=\s*+("[^"]*+"|'[^']*+')""")
"""Possessive, so that the time is linear in a client's text."""


def asked_about(data: Mapping[str, Any], sources: Sources, slot: Slot) -> Asked:
    """Return the question that a task's data ask. Raises: ConfigError, MediaError."""
    file = next((data[kind] for kind in ("image", "video") if isinstance(data.get(kind), str)), None)
    if file is None or not isinstance(data.get("question"), str):
        raise ConfigError(
            'a task\'s data must have "question", and "image" or "video" with the location of the file; got the fields'
            f" {', '.join(map(str, data))[:200]}"
        )
    fields = {name: data[name] for name in ("question", "task", "box", "options") if data.get(name) is not None}
    body = validated(fields, AskBody)
    return Asked(
        body.question, (sources.open(place_of(file), slot),), task=body.task, box=body.box, options=body.options
    )


def place_of(url: str) -> str:
    """Return what Label Studio's own address of a file means below --media-root; other words stay.

    >>> place_of("/data/local-files/?d=cats/a%20b.png"), place_of("/data/upload/1/caf%C3%A9.png"), place_of("a%20b.png")
    ('cats/a b.png', 'upload/1/café.png', 'a%20b.png')
    """
    if url.startswith(_LOCAL_FILES):
        return parse_qs(urlsplit(url).query).get("d", [""])[0]
    return unquote(url.removeprefix(_UPLOADS)) if url.startswith(_UPLOADS) else url


def result_of(answered: Answered) -> list[dict[str, Any]]:
    """Return the regions of an answer as suggestions; an answer that cannot be read has only its words."""
    [prediction] = answered.thought.to_label_studio()["predictions"]
    found: list[dict[str, Any]] = prediction["result"]
    return found


def fitted(regions: Sequence[Mapping[str, Any]], label_config: str) -> list[dict[str, Any]]:
    """Return regions under the names of a project's interface; what it has no control for is left out.

    A label of ours becomes the first one of the control, but a point beside the object is left out where the control
    has no label for it. Without an interface the names are those of `data.annotations.label_studio_config`.

    >>> config = '<Image name="pic"/><RectangleLabels name="r" toName="pic"><Label value="Cat"/></RectangleLabels>'
    >>> region = {"from_name": "box", "type": "rectanglelabels", "value": {"rectanglelabels": ["object"]}}
    >>> fitted([region], config)[0]["value"], fitted([{**region, "type": "textarea"}], config)
    ({'rectanglelabels': ['Cat']}, [])
    """
    controls = _controls(label_config)
    if not controls:
        return [dict(region) for region in regions]
    found = []
    for region in regions:
        if (control := controls.get(region["type"])) is None:
            continue
        value = _labelled(region, control, controls)
        if value is not None:
            found.append({**region, "from_name": control["name"], "to_name": control["toName"], "value": value})
    return found


def _labelled(
    region: Mapping[str, Any], control: Mapping[str, Any], controls: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Return a region's value with a label of its control, None where none fits.

    The labels of a VideoRectangle are those of a control of their own, Labels.
    """
    value = dict(region["value"])
    field = "labels" if region["type"] == "videorectangle" else region["type"]
    labels = (controls.get("labels", control) if field == "labels" else control)["labels"]
    if field not in value or not labels or value[field][0] in labels:
        return value
    others = [label for label in labels if label != _BESIDE]
    if value[field] == [_BESIDE] or not others:
        return None
    return {**value, field: others[:1]}


def _controls(label_config: str) -> dict[str, dict[str, Any]]:
    """Return the first control of each kind, by its kind in small letters, with its labels."""
    controls: dict[str, dict[str, Any]] = {}
    last: dict[str, Any] | None = None
    for tag, text in _CONTROL.findall(_COMMENT.sub("", label_config)):
        attributes = {name: unescape(value[1:-1]) for name, value in _ATTRIBUTE.findall(text)}
        if tag in ("Label", "Choice") and last is not None and "value" in attributes:
            last["labels"].append(attributes["value"])
        elif "toName" in attributes and "name" in attributes:
            last = {**attributes, "labels": []}
            controls.setdefault(tag.lower(), last)
    return controls
