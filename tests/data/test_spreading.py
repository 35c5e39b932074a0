import json
from pathlib import Path

import pytest
from PIL import Image

from onethinker.cli import main
from onethinker.core.errors import ConfigError, DataError
from onethinker.data import spreading
from onethinker.data.check import Look, Tally, faults_in, read_rows
from onethinker.data.spreading import (
    HERE_FIRST,
    Shard,
    blocks_of,
    join_parts,
    parts_by_ray,
    ready,
    results_of,
    write_part,
)

AT_ONCE = 16
ROWS = AT_ONCE * (HERE_FIRST + 2) + 7
"""More than are worked on before further processes are started, and a block that is not full."""


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(spreading, "AT_ONCE", AT_ONCE)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A file of more records than one process works on alone; two of them have one id."""
    path = tmp_path_factory.mktemp("many") / "many.jsonl"
    record = {"problem_type": "numerical", "data_type": "image", "answer": "3", "images": ["a.png"]}
    with path.open("w") as file:
        for number in range(ROWS):
            own_id = number if number != ROWS - 2 else 3
            file.write(json.dumps({**record, "problem_id": own_id, "problem": f"How many, {number}?"}) + "\n")
    return path


def faults(results) -> list[str]:
    tally = Tally()
    found = [str(problem) for problem in faults_in(results, tally)]
    assert tally.records == ROWS
    return found


LOOK = Look(with_media=False)


def test_processes_and_shards_find_what_one_run_finds(many, tmp_path):
    alone = faults(results_of(read_rows([many]), LOOK))
    assert len(alone) == 1
    assert "'problem_id' '3' is also that of row 4" in alone[0]
    assert faults(results_of(read_rows([many]), LOOK, workers=2)) == alone
    for index in (2, 0, 1):
        write_part(read_rows([many]), ready(LOOK), tmp_path, Shard(index, 3), {})
    assert faults(join_parts(tmp_path, {})) == alone


def test_shards_have_each_block_once(many):
    rows = list(read_rows([many]))
    parts = [index for shard in range(4) for index, _ in blocks_of(rows, Shard(shard, 4))]
    assert sorted(parts) == list(range(HERE_FIRST + 3))


def test_parts_that_are_missing_or_of_something_else_are_named(many, tmp_path):
    rows = [row for _, row in zip(range(10), read_rows([many]), strict=False)]
    with pytest.raises(DataError, match="there are no parts"):
        list(join_parts(tmp_path, {}))
    write_part(rows, ready(LOOK), tmp_path, Shard(0, 2), {"need": None})
    with pytest.raises(DataError, match="2-of-2 are missing"):
        list(join_parts(tmp_path, {"need": None}))
    with pytest.raises(DataError, match=r"1-of-2.jsonl: was made with other options: need: None → 'truth'"):
        list(join_parts(tmp_path, {"need": "truth"}))
    write_part(rows, ready(LOOK), tmp_path, Shard(1, 2), {"need": None})
    write_part(rows, ready(LOOK), tmp_path, Shard(1, 3), {"need": None})
    with pytest.raises(DataError, match="belong to another number of shards"):
        list(join_parts(tmp_path, {"need": None}))


@pytest.mark.parametrize("kept", [0, 9, -40, -6, -1])
def test_a_part_that_is_cut_short_is_named_before_anything_is_joined(many, tmp_path, kept):
    paths = [write_part(read_rows([many]), ready(LOOK), tmp_path, Shard(index, 2), {}) for index in range(2)]
    paths[1].write_bytes(paths[1].read_bytes()[:kept])
    with pytest.raises(DataError, match=r"2-of-2.jsonl: is cut short; write it again with --shard"):
        next(join_parts(tmp_path, {}))


@pytest.mark.parametrize("text", ["0/4", "5/4", "2", "a/b", "1/0", "-1/2", "1/2/3"])
def test_a_shard_is_one_of_so_many(text):
    with pytest.raises(ConfigError, match="--shard takes PART/TOTAL"):
        Shard.parse(text)


RAY_ROWS = 2 * 1024 + 9
"""Workers elsewhere have blocks of the usual size: three of them."""
COMMANDS = {
    "check": ("--no-media",),
    "filter": ("--output", "kept.jsonl", "--at-most", "question_words=3"),
    "stats": ("--no-media", "--against", "few.jsonl"),
    "annotate": ("--teacher", "scripted", "--tries", "1", "--output", "sft.jsonl"),
}


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield
    ray.shutdown()


@pytest.mark.timeout(900)  # Ray starts slowly, and each of its workers imports what it needs
@pytest.mark.parametrize("command", COMMANDS)
def test_ray_with_two_workers_comes_to_what_one_run_comes_to(command, cluster, tmp_path, monkeypatch, capsys):
    monkeypatch.undo()  # blocks of the usual size here too
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 32), "red").save("a.png")
    about = {"problem_type": "numerical", "data_type": "image", "images": ["a.png"]}
    rows = [
        {**about, "problem_id": n, "problem": f"<image>Cups{' and forks' * (n % 2)}, {n}?", "answer": str(n % 13)}
        for n in range(RAY_ROWS)
    ]
    lines = [json.dumps(row) + "\n" for row in rows]
    Path("rows.jsonl").write_text("".join(lines))
    Path("few.jsonl").write_text(lines[2000])
    found = []
    for more in (("--ray", "2", "--parts", "parts"), ()):
        with pytest.raises(SystemExit, match="0"):
            main(["data", command, "rows.jsonl", *COMMANDS[command], "--json", *more])
        written = sorted(path for path in Path().glob("*.jsonl") if path.name not in ("rows.jsonl", "few.jsonl"))
        found.append((capsys.readouterr().out, [(path.name, path.read_bytes()) for path in written]))
        for path in written:
            path.unlink()
    assert json.loads(found[0][0])["records"] == RAY_ROWS
    assert found[0] == found[1]


@pytest.mark.timeout(900)
def test_what_goes_wrong_at_a_worker_of_ray_is_said_as_here(cluster, tmp_path):
    def read():
        raise DataError("few.jsonl, row 3: is cut short")

    with pytest.raises(DataError, match=r"^few\.jsonl, row 3: is cut short$"):
        parts_by_ray(read, ready(LOOK), tmp_path / "parts", 2, {})
