"""``bridge init``."""

from __future__ import annotations

import textwrap
from pathlib import Path

import click

from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import Output

IGNORED = ".bridge/"
EXPERIMENT = "experiment_name"


@click.command(epilog=example("bridge init", "bridge init --name wine --gitignore"))
@click.option("--name", metavar="NAME", help="The experiment of runs that name none.")
@click.option("--gitignore", "adds_ignore", is_flag=True, help="Add .bridge/ to ./.gitignore.")
@output_option
def init(output: Output, name: str | None, adds_ignore: bool) -> None:
    """Make the project's folder .bridge here, with a commented config.toml.

    Runs below this folder are tracked in it, unless a tracking URI says otherwise. What is there already
    stays as it is.
    """
    from trackbridge.resolve.files import FILE_NAME
    from trackbridge.resolve.home import HOME_VARIABLE, PROJECT_FOLDER, Surroundings

    around = Surroundings.current()
    folder = around.cwd / PROJECT_FOLDER
    folder.mkdir(exist_ok=True)
    file = folder / FILE_NAME
    is_new = not file.exists()
    if is_new:
        file.write_text(config_text(_checked(name)), encoding="utf-8")
    elif name is not None:
        _set_experiment(file, _checked(name))
    if adds_ignore:
        _ignore(around.cwd / ".gitignore")
    output.show(f"{'made' if is_new else 'found'} {file}")
    if around.environ.get(HOME_VARIABLE):
        output.warn(f"{HOME_VARIABLE} is set: its folder is used, not this one")
    output.summary({"folder": str(folder), "config": str(file), "is_new": is_new})


def config_text(experiment_name: str | None = None) -> str:
    """Return a file of settings in which everything is explained, and only the experiment may be set."""
    import tomlkit

    from trackbridge.resolve.config import SETTINGS

    lines = ["# Settings of this project; see: bridge config show", ""]
    for setting in SETTINGS.values():
        if not setting.in_files:
            continue
        is_set = setting.name == EXPERIMENT and experiment_name is not None
        value = experiment_name if is_set else "" if setting.default in (None, ()) else setting.default
        lines += textwrap.wrap(setting.help, 100, initial_indent="# ", subsequent_indent="# ")
        lines.append(f"# Use {setting.allowed}.")
        lines += [f"{'' if is_set else '#'}{setting.name} = {tomlkit.item(value).as_string()}", ""]
    lines += [
        "# Names for tracking URIs; see: bridge remotes --help",
        "#[remotes.prod]",
        '#uri = "azureml:"',
        "",
    ]
    return "\n".join(lines)


def _checked(name: str | None) -> str | None:
    from trackbridge.resolve.config import SETTINGS
    from trackbridge.resolve.home import Surroundings

    try:
        return None if name is None else SETTINGS[EXPERIMENT].read(name, Surroundings.current())
    except ValueError:
        raise click.BadParameter(f"use {SETTINGS[EXPERIMENT].allowed}", param_hint="--name") from None


def _set_experiment(file: Path, name: str | None) -> None:
    """Set it in a file that exists.

    Raises:
        Conflict: It is set already, to another one.
    """
    from trackbridge.errors import Conflict
    from trackbridge.resolve.files import read_document, write_document

    document = read_document(file)
    known = document.get(EXPERIMENT)
    if known is None:
        document[EXPERIMENT] = name
        write_document(file, document)
    elif str(known) != name:
        raise Conflict(
            f"{EXPERIMENT} is {str(known)!r} already", resource=str(file), hint="change it in the file"
        )


def _ignore(file: Path) -> None:
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    if IGNORED not in text.splitlines():
        separator = "" if not text or text.endswith("\n") else "\n"
        file.write_text(f"{text}{separator}{IGNORED}\n", encoding="utf-8")
