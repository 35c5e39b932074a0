"""The log of everything that only grows: whole lines count, torn ones do not, and two writers never mix."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from onethinker.core.errors import CheckpointError
from onethinker.storage.jsonl_log import LogReader, append_to_log, open_log, read_log, write_log


def as_is(fields: dict) -> dict:
    return fields


@pytest.mark.parametrize("length", [1, 5, 1 << 16, (1 << 17) + 3])
def test_the_next_record_takes_the_place_of_a_torn_one_however_long(tmp_path, length):
    log = tmp_path / "a.jsonl"
    append_to_log(log, [{"n": 1}, {"n": 2}])
    with log.open("ab") as file:
        file.write(b"{" + b"x" * (length - 1))
    assert read_log(log, as_is) == [{"n": 1}, {"n": 2}]
    append_to_log(log, [{"n": 3}])
    assert log.read_text() == '{"n": 1}\n{"n": 2}\n{"n": 3}\n'


def test_a_log_of_nothing_but_a_torn_record_is_empty(tmp_path):
    log = tmp_path / "a.jsonl"
    log.write_text('{"n": ')
    assert read_log(log, as_is) == []
    with open_log(log) as opened:
        assert opened.is_empty
        opened.append([{"n": 1}])
        assert not opened.is_empty
    assert read_log(log, as_is) == [{"n": 1}]


def test_a_damaged_line_is_named_by_its_number(tmp_path):
    log = tmp_path / "a.jsonl"
    log.write_text('{"n": 1}\n{"n": \n{"n": 3}\n')
    with pytest.raises(CheckpointError, match=r"a\.jsonl, line 2"):
        read_log(log, as_is)


def test_a_log_without_a_file_has_no_records(tmp_path):
    assert read_log(tmp_path / "none.jsonl", as_is) == []


def test_a_reader_goes_on_where_it_stopped_and_begins_again_after_a_log_written_anew(tmp_path):
    log = tmp_path / "a.jsonl"
    reader = LogReader(log, as_is)
    assert reader.read_new() == []
    append_to_log(log, [{"n": 1}])
    assert reader.read_new() == [{"n": 1}]
    with log.open("a") as file:
        file.write('{"n": 2')
    assert reader.read_new() == []
    with log.open("a") as file:
        file.write("2}\n")
    assert reader.read_new() == [{"n": 22}]
    write_log(log, [{"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}])
    assert [record["n"] for record in reader.read_new()] == [1, 2, 3, 4]


def test_a_log_that_is_open_is_closed_to_others_and_short_appends_wait_for_each_other(tmp_path):
    with open_log(tmp_path / "a.jsonl"), pytest.raises(CheckpointError, match="another process"):
        open_log(tmp_path / "a.jsonl").__enter__()
    code = (
        "import sys; from pathlib import Path; from onethinker.storage.jsonl_log import append_to_log\n"
        "for n in range(200): append_to_log(Path(sys.argv[1]), [{'who': sys.argv[2], 'n': n}])"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "b.jsonl"), str(who)], cwd=Path.cwd())
        for who in range(3)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    records = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert [[record["n"] for record in records if record["who"] == str(who)] for who in range(3)] == [[*range(200)]] * 3
