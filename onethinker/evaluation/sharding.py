"""An evaluation in shards: each asks about every n-th sample into a folder of its own, and a whole run joins them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from onethinker.data.spreading import Shard
from onethinker.evaluation.parts import Part
from onethinker.evaluation.results import open_run, read_answers, read_settings
from onethinker.storage.folders import ANSWERS_FILE, SHARDS_FOLDER


def parts_of(parts: Sequence[Part], shard: Shard) -> list[Part]:
    """Return what a shard asks about: its samples of every part, each into the shard's folder in the part's."""
    own = [
        replace(part, samples=part.samples[shard.index :: shard.count], folder=part.folder / SHARDS_FOLDER / str(shard))
        for part in parts
    ]
    return [part for part in own if part.samples]


def take_in_shards(folder: Path) -> None:
    """Append the answers of all shards in an evaluation's folder to its journal, those that are not in it yet.

    Raises: CheckpointError: a shard was asked by other settings than another, or than the folder's.
    """
    for shard in sorted(path.parent for path in folder.glob(f"{SHARDS_FOLDER}/*/{ANSWERS_FILE}")):
        given = [answer for answer in read_answers(shard).values() if answer.error is None]
        if not given:
            continue
        with open_run(folder, read_settings(shard)["settings"]) as log:
            done = {key for key, answer in read_answers(folder).items() if answer.error is None}
            log.append(answer for answer in given if answer.key not in done)
