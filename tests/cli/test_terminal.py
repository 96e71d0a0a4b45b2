"""Tables, bars and screens: what they put into a terminal of a certain width."""

from __future__ import annotations

import io
import re

import pytest

from trackbridge.cli import terminal
from trackbridge.cli.terminal import BAR_CELLS, Bar, Screen, cells, cut, draws, table, uses_colour

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def of_some_size(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("COLUMNS", "60"), ("LINES", "5"), ("TERM", "xterm"), ("NO_COLOR", "")):
        monkeypatch.setenv(name, text)


@pytest.mark.parametrize(
    ("text", "width"),
    [("", 0), ("abc", 3), ("é", 1), ("e\u0301", 1), ("漢字", 4), ("🚀", 2), ("a\u200db", 2), ("Ünï", 3)],
)
def test_cells(text: str, width: int) -> None:
    assert cells(text) == width


@pytest.mark.parametrize(
    ("width", "kept"), [(0, ""), (1, "a"), (2, "a"), (3, "a漢"), (4, "a漢"), (5, "a漢字")]
)
def test_half_a_letter_is_cut_off(width: int, kept: str) -> None:
    assert cut("a漢字", width) == kept


class TestTables:
    def test_columns_are_as_wide_as_what_they_hold(self) -> None:
        rows = [("run", "0.5"), ("漢字x", "")]
        assert table(("name", "value"), rows) == ["name   value", "run    0.5", "漢字x"]

    def test_without_rows(self) -> None:
        assert table(("name", "value"), []) == ["name  value"]

    def test_nothing_is_folded_without_a_width(self) -> None:
        assert table(("a", "b"), [("x", "y" * 5000)])[1] == "x  " + "y" * 5000

    @pytest.mark.parametrize("width", range(20, 60))
    def test_a_table_fits_and_loses_nothing(self, width: int) -> None:
        row = ("0123456789", "some words of a text", "x" * 33, "漢字" * 9)
        lines = table(("id", "words", "long", "wide"), [row], width=width)
        room = max(width, 10 + 3 * 8 + 6)
        assert max(map(cells, lines)) <= room
        assert lines[1].startswith("0123456789  ")
        shown = "".join(lines[1:])
        for text in row:
            assert all(shown.count(letter) >= text.count(letter) for letter in text.replace(" ", ""))

    def test_the_widest_columns_give_way(self) -> None:
        lines = table(("n", "short", "long"), [("1", "abcdefghij", "z" * 50)], width=40)
        assert lines[1].startswith("1  abcdefghij  zzz")
        assert cells(lines[1]) == 40

    def test_words_stay_whole_where_they_fit(self) -> None:
        lines = table(("n", "text"), [("1", "one two three four")], width=13)
        assert [line.strip() for line in lines[1:]] == ["1  one two", "three four"]

    def test_headings_stand_out(self) -> None:
        head, row = table(("a",), [("b",)], is_bold=True)
        assert CONTROL.sub("", head) == "a" != head
        assert row == "b"


class TestBars:
    def test_it_shows_how_much_is_done_and_goes_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        times = iter([0.0, 0.0, 2.0, 2.01, 4.0])
        monkeypatch.setattr(terminal, "monotonic", lambda: next(times))
        stream = Terminal()
        bar = Bar(stream, 4)
        bar.show(1, label="copying", about="1 run")
        bar.show(2, label="copying")  # too soon to be read
        bar.show(4, label="copying")
        bar.close()
        begun, first, last, end = CONTROL.sub("", stream.getvalue()).split("\r")[1:]
        assert begun.endswith(" 0/4 -:--:--")
        assert re.fullmatch(r"copying ━+╺ +1/4 1 run 0:00:06", first)
        assert last == f"copying {'━' * BAR_CELLS} 4/4 0:00:00"
        assert end == ""

    def test_the_time_that_has_gone_by(self, monkeypatch: pytest.MonkeyPatch) -> None:
        times = iter([0.0, 0.0, 3725.0])
        monkeypatch.setattr(terminal, "monotonic", lambda: next(times))
        stream = Terminal()
        Bar(stream, 9, done=3, shows_elapsed=True).show(4)
        assert stream.getvalue().endswith("4/9 1:02:05")

    def test_lines_come_above_it(self) -> None:
        stream = Terminal()
        bar = Bar(stream, 2)
        bar.print("trial 1")
        bar.show(1)
        lines = CONTROL.sub("", stream.getvalue()).split("\n")
        assert lines[0].endswith("\rtrial 1")
        assert "1/2" in lines[1]

    def test_it_is_no_wider_than_the_terminal(self) -> None:
        stream = Terminal()
        Bar(stream, 2).show(2, label="漢" * 100)
        assert cells(CONTROL.sub("", stream.getvalue()).split("\r")[-1]) < 60


def test_a_screen_is_drawn_in_place() -> None:
    stream = Terminal()
    screen = Screen(stream)
    screen.draw(["a", "b" * 100])
    screen.draw(["c"] * 9)
    screen.draw(["d"])
    screen.close()
    first, second, third = re.split(r"\x1b\[\dF", stream.getvalue())
    assert re.findall(r"\x1b\[\dF", stream.getvalue()) == ["\x1b[2F", "\x1b[4F"]
    assert CONTROL.sub("", first) == "a\n" + "b" * 60 + "\n"
    assert CONTROL.sub("", second) == "c\n" * 4, "what has no room would scroll"
    assert CONTROL.sub("", third) == "d\n"
    assert third.endswith("\x1b[?25h"), "the cursor is there again"


@pytest.mark.parametrize(
    ("variable", "is_drawn", "is_coloured"),
    [("XX=1", True, True), ("NO_COLOR=1", True, False), ("TERM=dumb", False, False)],
)
def test_what_a_terminal_takes(
    monkeypatch: pytest.MonkeyPatch, variable: str, is_drawn: bool, is_coloured: bool
) -> None:
    monkeypatch.setenv(*variable.split("="))
    assert (draws(Terminal()), uses_colour(Terminal())) == (is_drawn, is_coloured)
    assert (draws(io.StringIO()), uses_colour(io.StringIO())) == (False, False)
