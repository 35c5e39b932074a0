"""The weights that come with the package: what must hold of them, however right their answers are."""

import json
import re
import socket
import struct
from importlib.util import find_spec

from onethinker.core.request import SamplingParams
from onethinker.data.synthetic.shown import shown_scenes
from onethinker.evaluation.results import evaluation_settings, weights_digest
from onethinker.families.built_in import LONGEST_ANSWER, TINY, WEIGHTS, folder_of
from onethinker.families.folder import SETTINGS_FILE
from onethinker.inference.model_checks import budget_of, check_model, is_ours
from onethinker.inference.thinker import Thinker

MOST_BYTES, MOST_PARAMETERS = 25_000_000, 12_000_000
KEYS = {"question", "task", "model", "source", "media", "thinking", "answer", "problems", "text", "tokens", "timing"}


def test_the_weights_in_the_box_are_small_and_answer_every_task_without_a_network(monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError("there is no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) <= MOST_BYTES
    asked = set()
    with Thinker.load(TINY, sampling=SamplingParams(LONGEST_ANSWER)) as thinker:
        assert sum(weight.numel() for weight in thinker.engine.model.parameters()) <= MOST_PARAMETERS
        for sample in shown_scenes():
            thought = thinker.ask(*sample.media, sample.problem, task=sample.problem_type, options=sample.options)
            record = json.loads(thought.to_json())
            assert record.keys() >= KEYS
            assert (record["model"], record["task"].lower()) == (TINY, sample.problem_type.lower())
            assert record["tokens"]["answer"] > 0
            assert thought.answer is not None, thought.text
            asked.add(sample.problem_type)
    assert len(asked) == 11


def test_the_file_of_weights_has_16_bits_a_number():
    with (WEIGHTS / "model.safetensors").open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} == {"BF16"}


def test_its_folder_says_how_it_is_asked_and_holds_its_card():
    assert folder_of(TINY) == WEIGHTS
    assert check_model(TINY)
    assert is_ours(TINY)
    assert budget_of(TINY).image_max_pixels == 192 * 192
    assert {SETTINGS_FILE, "README.md", "model.safetensors"} <= {path.name for path in WEIGHTS.iterdir()}


def test_other_weights_in_the_box_are_another_model_to_an_evaluation():
    with Thinker.load(TINY) as thinker:
        settings = evaluation_settings(thinker.engine, SamplingParams())
    assert settings["weights"] == weights_digest(WEIGHTS) is not None


def test_the_card_of_the_weights_reads_without_the_repository():
    card = (WEIGHTS / "README.md").read_text()
    assert re.findall(r"\]\((?!https://)[^)]*\)", card) == []
    assert all(find_spec(name) for name in re.findall(r"`(onethinker\.[a-z_.]+)`", card))
