"""Where a command's words go.

==============  =====================================  ==========================================
                for people                             with ``--json``
==============  =====================================  ==========================================
``show``        text on stdout                         nothing
``table``       a table on stdout                      nothing
``event``       nothing                                one JSON object, one line on stdout
``summary``     nothing                                the last line on stdout, type ``summary``
``note``        text on stderr                         text on stderr
``progress``    a bar on stderr, only on a terminal    the same
==============  =====================================  ==========================================

Names and values come from anybody: what would steer a terminal is replaced before it is printed. In JSON
it is escaped; NaN and infinities are the texts ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TextIO

import click

from trackbridge.cli.terminal import Bar, draws, table, terminal_width, uses_colour

CELL_CHARS_MAX = 60
HEADING_CHARS_MAX = 60
LINE_CHARS_MAX = 10_000


class Output:
    """The one sink of a command."""

    last_kind: ClassVar[str] = ""
    """The type of the JSON object that this process has printed last."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        Output.last_kind = ""

    def show(self, text: str = "", *, colour: str | None = None) -> None:
        """Print a line for people."""
        if not self.as_json:
            line = _printable(text, LINE_CHARS_MAX)
            click.echo(self.styled(line, colour, stream=sys.stdout), color=uses_colour(sys.stdout))

    def show_raw(self, text: str) -> None:
        """Print text that is made here and whose foreign parts are printable already, as it is."""
        if not self.as_json:
            click.echo(text, color=uses_colour(sys.stdout))

    def note(self, text: str) -> None:
        """Tell people something that is not the result."""
        click.echo(_printable(text, LINE_CHARS_MAX), err=True)

    def warn(self, text: str) -> None:
        """Tell people something that they should look into."""
        label = self.styled("warning", "yellow", stream=sys.stderr)
        click.echo(f"{label}: {_printable(text, LINE_CHARS_MAX)}", err=True)

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        cell_chars_max: int = CELL_CHARS_MAX,
    ) -> None:
        """Print a table for people; a cell is cut at so many characters on a terminal, else never.

        Headings, which may be names of metrics, are cut everywhere.
        """
        if self.as_json:
            return
        is_terminal = sys.stdout.isatty()
        chars_max = cell_chars_max if is_terminal else LINE_CHARS_MAX
        lines = table(
            [_printable(column, HEADING_CHARS_MAX) for column in columns],
            [[_printable(str(cell), chars_max) for cell in row] for row in rows],
            width=terminal_width() if is_terminal else None,
            is_bold=draws(sys.stdout),
        )
        click.echo("\n".join(lines), color=is_terminal)

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Print one JSON object, for programs."""
        if self.as_json:
            self.record(kind, fields)

    def summary(self, fields: Mapping[str, Any]) -> None:
        """Print the JSON object that comes last, for programs."""
        self.event("summary", fields)

    def record(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Print a JSON object and see to it that a reader of the pipe has it at once."""
        Output.last_kind = kind
        click.echo(json.dumps({"type": kind, **plain(fields)}, allow_nan=False))

    def end(self, exit_code: int) -> None:
        """End the command with an exit code."""
        click.get_current_context().exit(exit_code)

    def confirm(self, question: str, *, is_agreed: bool) -> None:
        """Ask before something is taken away; return when it was agreed to, else end the command.

        Raises:
            ClickException: There is nobody to ask: no terminal, and no ``--yes``.
        """
        if is_agreed:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise click.ClickException("there is no terminal to ask on; add --yes to go ahead")
        if not click.confirm(_printable(question, LINE_CHARS_MAX), err=True):
            self.note("nothing was changed")
            self.summary({"agreed": False})
            self.end(1)

    @contextlib.contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a bar on stderr, none off a terminal.

        Yields:
            A function to call with how much of the total is done.
        """
        if not draws(sys.stderr) or total == 0:
            yield lambda done: None
            return
        bar = Bar(sys.stderr, total)
        try:
            yield lambda done: bar.show(done, label=label)
        finally:
            bar.close()

    @staticmethod
    def styled(text: str, colour: str | None, *, stream: TextIO) -> str:
        """Return text in a colour where the stream takes colours."""
        return click.style(text, fg=colour) if colour and uses_colour(stream) else text


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 record``, ``1,002 records``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: structs as objects, numbers beyond JSON as texts."""
    if isinstance(value, float):
        return value if math.isfinite(value) else _NON_FINITE[str(value)]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return str(getattr(value, "value", value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    import msgspec

    return plain(msgspec.to_builtins(value, str_keys=True, builtin_types=(float,)))


_NON_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _printable(text: str, chars_max: int) -> str:
    from trackbridge.api.display import printable

    return printable(text, chars_max)
