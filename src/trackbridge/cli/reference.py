"""The reference of the command line as a page: ``python -m trackbridge.cli.reference > docs/cli.md``.

``python -m trackbridge.cli.reference settings`` prints the table in docs/reference/environment.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from trackbridge.cli.main import bridge
from trackbridge.resolve.config import SETTINGS, Setting

WIDTH = 100
PREFACE = """# The command line

Made from the commands themselves; do not edit. Make it anew with
`python -m trackbridge.cli.reference > docs/cli.md`.

Results go to stdout, everything else to stderr. With `--json`, stdout carries one JSON object a line, each
with its `type`; the last one has the type `summary`, or `error` when the command failed. NaN and infinities
are the texts `"NaN"`, `"Infinity"` and `"-Infinity"`. Exit codes are those of
[errors and exit codes](errors-and-exit-codes.md). `NO_COLOR` switches colours off, `BRIDGE_DEBUG=1` shows
the traceback of an error.
"""


def commands(
    command: click.Command = bridge, path: tuple[str, ...] = ("bridge",), parent: click.Context | None = None
) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Iterate over a command and all below it: what to type, the command, and a context for its help."""
    context = click.Context(command, info_name=path[-1], parent=parent, terminal_width=WIDTH)
    context.help_option_names = ["-h", "--help"]
    yield " ".join(path), command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None, "a listed command exists"
            yield from commands(child, (*path, name), context)


def page() -> str:
    """Return the page as Markdown."""
    parts = [PREFACE]
    for words, command, context in commands():
        help_text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        parts.append(f"## {words}\n\n```text\n{help_text}\n```\n")
    return "\n".join(parts)


def settings_table() -> str:
    """Return the settings as a table of Markdown: variables, what each is, what it may be, its default."""
    rows = ["| variable | what | use | default |", "|---|---|---|---|"]
    for setting in SETTINGS.values():
        names = ", ".join(f"`{name}`" for name in (setting.variable, *setting.ecosystem))
        only = "" if setting.in_files else " *Variable only.*"
        rows.append(f"| {names} | {setting.help}{only} | {setting.allowed} | {_default(setting)} |")
    return "\n".join([*rows, ""])


def _default(setting: Setting) -> str:
    if setting.default in (None, ()):
        return ""
    value = setting.default
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    click.echo(settings_table() if sys.argv[1:] == ["settings"] else page(), nl=False)
