import pytest

from onethinker.storage.atomic import differences, write_atomically


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path):
    write_atomically(tmp_path / "a.txt", "old")
    write_atomically(tmp_path / "a.txt", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"new"


def test_a_write_that_fails_keeps_the_old_content(tmp_path):
    write_atomically(tmp_path / "a.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(tmp_path / "a.txt", "\ud800")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_every_difference_is_named_also_those_of_absent_settings():
    assert list(differences({"a": 1, "b": {"c": 2}}, {"b": {"c": 3}, "d": 4})) == [
        "a: 1 → None",
        "b.c: 2 → 3",
        "d: None → 4",
    ]
