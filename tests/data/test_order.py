"""In which order records come: shares of tasks and files, seeds of their own, easy ones first, and what is counted."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from onethinker.core.errors import ConfigError, DataError
from onethinker.data.formats.records import write_records
from onethinker.data.mixture import Mixture
from onethinker.data.pools import Mix
from onethinker.training.config import RlRecipe, SftRecipe


def write(folder: Path, name: str, kinds: dict[str, int]) -> Path:
    """Return a file with so many records of each kind, such as "ocr/image"; the n-th of N has pass_rate n / N."""
    records = [
        {
            "problem_id": f"{name} {kind} {n}",
            "problem": f"<{kind.split('/')[1]}>Question {n}",
            "answer": "<answer>1</answer>",
            "response": "<think>One.</think><answer>1</answer>",
            f"{kind.split('/')[1]}s": [f"{n}"],
            "problem_type": kind.split("/")[0],
            "data_type": kind.split("/")[1],
            "pass_rate": n / count,
        }
        for kind, count in kinds.items()
        for n in range(count)
    ]
    write_records(folder / name, records)
    return folder / name


@pytest.fixture(scope="module")
def two_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("order")
    small = write(folder, "small.jsonl", {"ocr/image": 6, "numerical/video": 4})
    large = write(folder, "large.jsonl", {"ocr/image": 18, "numerical/image": 2, "numerical/video": 10})
    return [small, large]


def drawn(mixture: Mixture, count: int, first: int = 0) -> list[str]:
    return [mixture.sample(n).id for n in range(first, first + count)]


EQUAL = Mix()


def opened(files, mix=EQUAL, weights=None, **more) -> Mixture:
    return Mixture.open(files, (), weights or {}, seed=3, mix=mix, **more)


@pytest.mark.parametrize("by", ["task", "file"])
def test_proportional_shares_show_every_record_once_in_each_epoch(two_files, by):
    mixture = opened(two_files, Mix(by, "proportional"))
    epochs = [drawn(mixture, 40, 40 * epoch) for epoch in range(3)]
    for epoch in epochs:
        assert len(set(epoch)) == 40
    assert epochs[0] != epochs[1]
    assert set(mixture.passes(80).values()) == set(mixture.file_passes(80).values()) == {2.0}


@pytest.mark.parametrize(
    ("mix", "weights", "shares"),
    [
        (Mix("file", "equal"), {}, (1, 1)),
        (Mix("file", "equal"), {"large.jsonl": 2}, (1, 2)),
        (Mix("file", "equal"), {"large.jsonl": 0.5}, (2, 1)),
        (Mix("file", "proportional"), {}, (1, 3)),
        (Mix("file", "proportional"), {"small.jsonl": 3}, (1, 1)),
        (Mix("file", "temperature", 1.0), {}, (1, 3)),
        (Mix("file", "temperature", 2.0), {}, (1, 3**0.5)),
        (Mix("file", "temperature", 1000.0), {}, (1, 1)),
    ],
    ids=lambda value: str(value) if isinstance(value, tuple) else None,
)
def test_files_have_the_shares_that_were_asked_for(two_files, mix, weights, shares):
    count = Counter(name.split()[0] for name in drawn(opened(two_files, mix, weights), 6000))
    assert count["large.jsonl"] / count["small.jsonl"] == pytest.approx(shares[1] / shares[0], rel=0.01)


def test_tasks_have_shares_by_temperature_and_files_keep_the_proportions_of_their_tasks(two_files):
    by_task = Counter(
        name.split()[1].split("/")[0] for name in drawn(opened(two_files, Mix("task", "temperature", 2.0)), 4000)
    )
    assert by_task["ocr"] / by_task["numerical"] == pytest.approx((24 / 16) ** 0.5, rel=0.01)
    in_large = Counter(n.split()[1] for n in drawn(opened(two_files, Mix("file")), 1200) if n.startswith("large"))
    assert in_large["ocr/image"] == 9 * in_large["numerical/image"]


@pytest.mark.parametrize(
    "mixture",
    [
        lambda files: opened(files),
        lambda files: opened(files, Mix("file", "temperature", 3.0), {"ocr": 2, "small.jsonl": 1.5}),
        lambda files: opened(files, Mix("file", "proportional"), questions_per_clip=4),
        lambda files: opened(files, Mix("task", "proportional", rate_field="pass_rate", direction=-1)),
    ],
    ids=["default", "files", "together", "curriculum"],
)
def test_passes_over_tasks_and_files_are_what_was_drawn_and_the_order_is_the_same_from_anywhere(two_files, mixture):
    whole = replace(mixture(two_files), planned=130)
    ids = drawn(whole, 130)
    sizes = {"small.jsonl": 10, "large.jsonl": 30}
    for count in (0, 1, 7, 40, 129):
        of_file = Counter(name.split()[0] for name in ids[:count])
        assert {Path(file).name: often for file, often in whole.file_passes(count).items()} == {
            file: pytest.approx(of_file[file] / size) for file, size in sizes.items()
        }
        of_kind = Counter(name.split()[1] for name in ids[:count])
        assert whole.passes(count) == {
            kind: pytest.approx(of_kind[kind] / size)
            for kind, size in {"ocr/image": 24, "numerical/video": 14, "numerical/image": 2}.items()
        }
    resumed = replace(mixture(two_files), planned=130)
    assert drawn(resumed, 43, 87) == ids[87:]


def test_a_seed_of_a_file_changes_the_order_of_its_records_and_nothing_else(two_files):
    ids = drawn(opened(two_files, Mix("file")), 60)
    other = drawn(opened(two_files, Mix("file", seeds={"small.jsonl": 9})), 60)
    assert [name for name in ids if name.startswith("large")] == [name for name in other if name.startswith("large")]
    assert [name.split()[0] for name in ids] == [name.split()[0] for name in other]
    assert [name for name in ids if name.startswith("small")] != [name for name in other if name.startswith("small")]
    of_task = drawn(opened(two_files, Mix(seeds={"OCR": 9})), 60)
    assert [n for n in of_task if "numerical" in n] == [n for n in drawn(opened(two_files), 60) if "numerical" in n]
    assert of_task != drawn(opened(two_files), 60)


@pytest.mark.parametrize(("direction", "first"), [(-1, "easy"), (1, "hard")])
def test_each_pass_goes_by_difficulty_and_one_that_is_cut_short_has_seen_both_ends(two_files, direction, first):
    mix = Mix(rate_field="pass_rate", direction=direction)
    mixture = replace(Mixture.open(two_files, ("ocr",), {}, seed=3, mix=mix), planned=36)
    rates = [mixture.sample(n).extra["pass_rate"] for n in range(36)]
    for part in (rates[:24], rates[24:]):
        assert part == sorted(part, reverse=first == "easy")
    assert min(rates[24:]) < 0.3 < 0.7 < max(rates[24:])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"weights": {"small.jsonl": 2}}, 'weights and seeds of files need data.mix_by = "file"'),
        ({"seeds": {"small.jsonl": 2}}, 'weights and seeds of files need data.mix_by = "file"'),
        ({"weights": {"tiny.jsonl": 2}}, "'tiny.jsonl'"),
    ],
)
def test_shares_and_seeds_of_what_is_not_mixed_are_an_error(two_files, settings, said):
    data = SftRecipe(data={"files": two_files, **settings}).data
    with pytest.raises(DataError, match=said):
        Mixture.open(data.files, (), data.weights, 0, mix=data.mix)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 5, "epochs": 2, "data": {"files": ["a.jsonl"]}}, "steps or epochs, not both"),
        ({"epochs": 2}, "epochs are passes over records"),
        ({"data": {"mixing": "proportional"}}, "synthetic scenes are endless"),
        ({"data": {"files": ["a.jsonl"], "temperature": 3}}, 'data.temperature needs data.mixing = "temperature"'),
    ],
)
def test_settings_that_mean_nothing_together_are_refused(settings, said):
    for kind in (SftRecipe, RlRecipe):
        with pytest.raises(ValueError, match=said):
            kind(**settings)


def test_epochs_may_be_set_on_a_command_line_only_without_steps(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('epochs = 1.5\n[data]\nfiles = ["a.jsonl"]\n')
    assert SftRecipe.load(recipe).epochs == 1.5
    with pytest.raises(ConfigError, match="not both"):
        SftRecipe.load(recipe, ["steps=3"])
    assert json.loads(SftRecipe.load(recipe).model_dump_json())["epochs"] == 1.5
