"""``bridge config``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from trackbridge.cli.failures import EXIT_ERROR
from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import Output

if TYPE_CHECKING:
    from trackbridge.resolve.config import Settings


class InForce(NamedTuple):
    """What is in force where a setting has no value: for people, and for programs where it is a value."""

    shown: str
    value: str | None


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
    in_force = _in_force(settings)
    rows = []
    for line in lines:
        shown, value = line.value, line.value or None
        if not line.value and not line.problem and line.name in in_force:
            shown, value = in_force[line.name]
        fields = {name: getattr(line, name) for name in ("name", "origin", "help", "problem")}
        output.event("setting", {**fields, "value": value})
        rows.append((line.name, f"WRONG: {line.problem}" if line.problem else shown, line.origin))
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


def _in_force(settings: Settings) -> dict[str, InForce]:
    """Return what stands in for each setting whose default is no value."""
    from trackbridge.errors import BridgeError
    from trackbridge.resolve.destinations import resolve_destinations
    from trackbridge.resolve.home import project_folder

    home = str(project_folder(settings.around))
    login = _login_name()
    try:
        first = resolve_destinations(settings=settings)[0].uri.text
    except BridgeError:  # a line of its own says what is wrong
        first = None
    return {
        "tracking_uri": InForce(first or "", first),
        "registry_uri": InForce("(the first tracking URI)", first),
        "run_id": InForce("(none)", None),
        "telemetry_sinks": InForce("(none)", None),
        "user": InForce(login or "(login name)", login),
        "home": InForce(home, home),
        "journal_bytes_max": InForce("(a tenth of the free disk, 10 GB at most)", None),
    }


def _login_name() -> str | None:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container whose user id has no name
        return None
