"""What is laid out for the width of a terminal: tables, progress bars and a screen that is drawn anew."""

from __future__ import annotations

import os
import shutil
import threading
import unicodedata
from collections.abc import Sequence
from time import monotonic
from typing import TextIO

BAR_CELLS = 30
DRAWS_PER_S = 10
"""Faster than that nobody reads."""
CELLS_MIN = 8
"""What a column keeps when there is no room; a table that needs more is wider than the terminal."""

_GAP = "  "
_TO_LINE_START = "\r\x1b[K"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


def draws(stream: TextIO) -> bool:
    """Tell whether what stands on a stream can be drawn anew: a terminal that is not a plain printer."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def uses_colour(stream: TextIO) -> bool:
    """Tell whether to colour: a terminal, and no ``NO_COLOR`` (https://no-color.org)."""
    return draws(stream) and not os.environ.get("NO_COLOR")


def terminal_width() -> int:
    """Return how many cells a line of the terminal has, 80 where it does not say."""
    return shutil.get_terminal_size().columns


def clear_line(stream: TextIO) -> None:
    """Take away what stands on a terminal's last line, such as a bar."""
    if draws(stream):
        stream.write(_TO_LINE_START)


def cells(text: str) -> int:
    """Return how many cells of a terminal a text takes: East Asian letters take two, accents none."""
    if text.isascii():
        return len(text)
    return sum(_cells_of(character) for character in text)


def _cells_of(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, width: int) -> str:
    """Return as much of a text's beginning as fits into so many cells."""
    if cells(text) <= width:
        return text
    used = 0
    for number, character in enumerate(text):
        used += _cells_of(character)
        if used > width:
            return text[:number]
    return text


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None, is_bold: bool = False
) -> list[str]:
    """Lay out a table, its columns two spaces apart; return its lines.

    Args:
        columns: The headings.
        rows: As many printable texts each.
        width: The cells of a line. What is wider is folded into several lines, but for the first column,
            whose ids are to be copied whole. None folds nothing.
        is_bold: Whether the headings stand out.
    """
    widths = [max(cells(row[number]) for row in (columns, *rows)) for number in range(len(columns))]
    if width is not None:
        _narrow(widths, width)
    head = _lines_of(columns, widths)
    shown = [f"{_BOLD}{line}{_PLAIN}" for line in head] if is_bold else head
    return shown + [line for row in rows for line in _lines_of(row, widths)]


def _narrow(widths: list[int], width: int) -> None:
    """Take from the widest column but the first until the line fits, or none has more than the least."""
    spare = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    while spare > 0 and len(widths) > 1:
        widest = max(range(1, len(widths)), key=lambda number: widths[number])
        next_widest = max((item for item in widths[1:] if item < widths[widest]), default=CELLS_MIN)
        less = min(spare, widths[widest] - max(next_widest, CELLS_MIN) or 1)
        if widths[widest] - less < CELLS_MIN:
            return
        widths[widest] -= less
        spare -= less


def _lines_of(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    folded = [_folded(text, width) for text, width in zip(row, widths, strict=True)]
    lines = []
    for number in range(max(map(len, folded), default=0)):
        parts = [cell[number] if number < len(cell) else "" for cell in folded]
        padded = (part + " " * (width - cells(part)) for part, width in zip(parts, widths, strict=True))
        lines.append(_GAP.join(padded).rstrip())
    return lines


def _folded(text: str, width: int) -> list[str]:
    """Return a text in lines of at most so many cells, between words where that is possible."""
    lines = []
    while cells(text) > width:
        line = cut(text, width)
        if not line:  # a letter of two cells in a column of one
            break
        last_space = -1 if text[len(line)] == " " else line.rfind(" ")
        if last_space > 0:
            line = line[:last_space]
        lines.append(line)
        text = text[len(line) :].removeprefix(" ")
    return [*lines, text]


class Bar:
    """A line at the end of a terminal that shows how much of something is done; ``close`` takes it away."""

    def __init__(self, stream: TextIO, total: int, *, done: int = 0, shows_elapsed: bool = False) -> None:
        """Begin.

        Args:
            stream: The terminal.
            total: How much there is, at least 1.
            done: How much of it was done before.
            shows_elapsed: Show the time that has gone by in place of the time that is left.
        """
        self.done = done
        self._stream, self._total, self._before = stream, total, done
        self._shows_elapsed = shows_elapsed
        self._started_s = monotonic()
        self._drawn_s = float("-inf")
        self._lock = threading.Lock()
        stream.write(_HIDE_CURSOR)
        self.show(done)

    def show(self, done: int, *, label: str = "", about: str = "") -> None:
        """Show how much is done, with words before and behind it."""
        with self._lock:
            self.done = done
            now_s = monotonic()
            if now_s - self._drawn_s < 1 / DRAWS_PER_S and done < self._total:
                return
            self._drawn_s = now_s
            self._draw(label, about, now_s - self._started_s)

    def _draw(self, label: str, about: str, elapsed_s: float) -> None:
        filled = BAR_CELLS * min(self.done, self._total) // self._total
        bar = "━" * filled + "╺" * (filled < BAR_CELLS) + " " * (BAR_CELLS - filled - 1)
        parts = (label, bar, f"{self.done}/{self._total}", about, self._time(elapsed_s))
        line = " ".join(part for part in parts if part)
        self._stream.write(_TO_LINE_START + cut(line, terminal_width() - 1))
        self._stream.flush()

    def _time(self, elapsed_s: float) -> str:
        if self._shows_elapsed:
            return _clock(elapsed_s)
        made = self.done - self._before
        return _clock(elapsed_s / made * (self._total - self.done)) if made else "-:--:--"

    def print(self, line: str) -> None:
        """Print a line above the bar."""
        with self._lock:
            self._stream.write(f"{_TO_LINE_START}{line}\n")
            self._drawn_s = float("-inf")

    def close(self) -> None:
        """Take the bar away."""
        self._stream.write(_TO_LINE_START + _SHOW_CURSOR)
        self._stream.flush()


def _clock(seconds: float) -> str:
    minutes, seconds_left = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds_left:02}"


class Screen:
    """Lines of a terminal that are drawn anew in place; the last ones stay."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._height = 0
        stream.write(_HIDE_CURSOR)

    def draw(self, lines: Sequence[str]) -> None:
        """Put printable lines in place of those before; as much of them as the terminal has room for."""
        size = shutil.get_terminal_size()
        shown = [cut(line, size.columns) for line in lines[: size.lines - 1]]
        back = f"\x1b[{self._height}F" if self._height else ""
        self._stream.write(f"{back}\x1b[J" + "".join(f"{line}\n" for line in shown))
        self._stream.flush()
        self._height = len(shown)

    def close(self) -> None:
        """Leave the last lines standing."""
        self._stream.write(_SHOW_CURSOR)
        self._stream.flush()
