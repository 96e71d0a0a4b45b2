"""``bridge config``."""

from __future__ import annotations

import click

from trackbridge.cli.failures import EXIT_ERROR
from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import Output


@click.group(epilog=example("bridge config show", "bridge config path"))
def config() -> None:
    """Show settings and where they come from."""


@config.command(epilog=example("bridge config show", "bridge config show --json | jq .name"))
@output_option
def show(output: Output) -> None:
    """Show the value of each setting, and where it comes from.

    Ends with 1 when a value is wrong.
    """
    from trackbridge.resolve.config import Settings

    settings = Settings()
    lines = settings.describe()
    rows = []
    for line in lines:
        output.event(
            "setting",
            {name: getattr(line, name) for name in ("name", "value", "origin", "help", "problem")},
        )
        value = f"WRONG: {line.problem}" if line.problem else line.value
        rows.append((line.name, value, line.origin))
    output.table(("SETTING", "VALUE", "ORIGIN"), rows, cell_chars_max=300)
    unknown = settings.unknown_variables()
    for name, meant in unknown:
        output.event("unknown_variable", {"name": name, "meant": meant})
        output.warn(f"the variable {name} is no setting; did you mean {meant}?")
    problems = sum(bool(line.problem) for line in lines)
    output.summary({"settings": len(lines), "problems": problems, "unknown_variables": len(unknown)})
    if problems:
        output.end(EXIT_ERROR)


@config.command(epilog=example("bridge config path"))
@output_option
def path(output: Output) -> None:
    """Show where the files of settings are, the one that wins first."""
    from trackbridge.resolve.files import project_file, user_file
    from trackbridge.resolve.home import Surroundings

    around = Surroundings.current()
    files = {"project": project_file(around), "user": user_file(around)}
    found = {scope: str(file) for scope, file in files.items() if file is not None}
    for scope, file in files.items():
        if file is not None:
            state = "" if file.exists() else "  (does not exist)"
            output.show(f"{scope:<8} {file}{state}")
    output.summary(found)
