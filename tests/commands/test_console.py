"""What commands show while they work."""

import io

from onethinker.commands import console
from onethinker.commands.console import Asking, progress_bar, say_left


def test_without_a_terminal_lines_say_how_far_work_is_and_the_time_left(capsys):
    say = say_left("asking", interval_s=0.0)
    for done in (2, 3, 4):
        say(done, 4)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "asking: 2 of 4"
    assert lines[1].startswith("asking: 3 of 4, about ")
    assert lines[2] == "asking: 4 of 4"
    say_left("counting", interval_s=0.0)(1200, None)
    assert capsys.readouterr().err == "counting: 1,200\n"


def test_a_line_may_say_what_has_come_of_the_work_so_far(capsys):
    say = say_left("vision tower", interval_s=0.0)
    say(1, 2)
    say(2, 2, "vision tower, loss 0.50")
    assert capsys.readouterr().err == "vision tower: 1 of 2\nvision tower, loss 0.50: 2 of 2\n"


def test_lines_come_no_closer_than_their_interval(capsys):
    say = say_left("asking", interval_s=60.0)
    say(1, 2)
    say(2, 2)
    assert capsys.readouterr().err == ""


def test_short_work_says_nothing_without_a_terminal(capsys):
    with progress_bar("reading") as bar:
        for done in range(24):
            bar(done + 1, None)
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_validation_prints_how_far_it_is_and_the_time_left(capsys, monkeypatch):
    monkeypatch.setattr(console, "LINE_EVERY_S", 0.0)
    heard = Asking()("validation after step 50")
    heard(0, 4)
    heard(2, 4)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "validation after step 50: 0 of 4"
    assert lines[1].startswith("validation after step 50: 2 of 4, about ")


def test_on_a_terminal_that_stands_below_the_table_until_all_are_asked(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(console, "NOTE_EVERY_S", 0.0)
    asking = Asking()
    heard = asking("validation after step 50")
    assert asking.note == "validation after step 50"
    heard(0, 4)
    heard(2, 4)
    assert asking.note.startswith("validation after step 50: 2 of 4, about ")
    heard(4, 4)
    assert (asking.note, shown.getvalue()) == ("", "")


def test_a_bar_whose_total_was_not_known_ends_full(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("reading") as bar:
        for done in range(24):
            bar(done + 1, None)
    assert "24/24" in shown.getvalue()
