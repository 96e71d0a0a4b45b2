"""Printing a log as it comes: lines whole, what would steer a terminal replaced."""

from __future__ import annotations

from collections.abc import Iterable

from trackbridge.cli.output import Output

LINE_HELD_CHARS_MAX = 8192


def print_log(output: Output, pieces: Iterable[str]) -> None:
    """Print the pieces of a log, one line at a time; with ``--json`` each line is an event ``log``.

    A line without an end is held until its end comes, or it is long. A long line becomes several lines for
    people; tabs become spaces.
    """
    held = ""
    try:
        for piece in pieces:
            lines = (held + piece).split("\n")
            held = lines.pop()
            for line in lines:
                _print_line(output, line)
            if len(held) > LINE_HELD_CHARS_MAX:
                _print_line(output, held)
                held = ""
    finally:
        if held:
            _print_line(output, held)


def _print_line(output: Output, line: str) -> None:
    text = line.removesuffix("\r").rpartition("\r")[2]  # a progress bar's last state
    output.event("log", {"text": text})
    shown = text.expandtabs()
    for start in range(0, max(1, len(shown)), LINE_HELD_CHARS_MAX):
        output.show(shown[start : start + LINE_HELD_CHARS_MAX])
