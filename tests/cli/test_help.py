"""Every command is documented, and asking for help costs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.cli.conftest import Bridge
from trackbridge.cli.main import COMMANDS, bridge
from trackbridge.cli.reference import commands

DOCS = Path(__file__).resolve().parents[2] / "docs/cli.md"
ALL = {words: (command, context) for words, command, context in commands()}
HEAVY = [
    "rich",
    "msgspec",
    "tenacity",
    "sqlite3",
    "tomlkit",
    "plotext",
    "trackbridge.api",
    "trackbridge.delivery",
]


@pytest.mark.parametrize("words", ALL)
def test_command_has_a_help_and_an_example(words: str) -> None:
    command, context = ALL[words]
    text = command.get_help(context)
    assert command.help
    assert "Example:\n" in text
    examples = text.partition("Example:\n")[2].splitlines()
    if command.name != "completion":
        assert all(line.strip().startswith("bridge ") for line in examples)


@pytest.mark.parametrize("words", ALL)
def test_options_and_json_are_documented(words: str) -> None:
    command, context = ALL[words]
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert all(option.help for option in options)
    if not isinstance(command, click.Group) and words != "bridge completion":
        assert "--json" in command.get_help(context)


def test_examples_are_command_lines_that_parse() -> None:
    """Each example names a command that exists, with options that it has."""
    import shlex

    for words, (command, context) in ALL.items():
        for line in command.get_help(context).partition("Example:\n")[2].splitlines():
            if words == "bridge completion":
                continue
            arguments = shlex.split(line.partition(" | ")[0])[1:]
            found: click.Command = bridge
            while isinstance(found, click.Group) and arguments and not arguments[0].startswith("-"):
                child = found.get_command(click.Context(found), arguments.pop(0))
                assert child is not None, line
                found = child
            if not isinstance(found, click.Group) or found.invoke_without_command:
                found.make_context("bridge", arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_short_helps_in_the_table_are_those_of_the_commands(name: str) -> None:
    command = bridge.get_command(click.Context(bridge), name)
    assert command is not None
    assert command.name == name
    assert COMMANDS[name].short_help == command.get_short_help_str(limit=200)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["runs", "--help"], ["sync", "run", "--help"]]
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import json, sys\n"
        "from trackbridge.cli.main import run\n"
        f"code = run({arguments!r})\n"
        f"print(json.dumps([code, [name for name in {HEAVY!r} if name in sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []]


def test_reference_is_current() -> None:
    """In a process of its own: click remembers how a command was first called."""
    command = [sys.executable, "-m", "trackbridge.cli.reference"]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert DOCS.read_text(encoding="utf-8") == made, "python -m trackbridge.cli.reference > docs/cli.md"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_asks_bridge(bridge: Bridge, shell: str) -> None:
    assert f"_BRIDGE_COMPLETE={shell}_complete" in bridge("completion", shell).out


def test_completion_completes(project: Path) -> None:
    code = "import sys; from trackbridge.cli.main import run; sys.exit(run())"
    variables = {"_BRIDGE_COMPLETE": "bash_complete", "COMP_WORDS": "bridge sync dead", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "plain,dead-letters"


def test_an_option_of_commands_that_stands_before_them(bridge: Bridge) -> None:
    told = bridge("--json", "runs", "list", code=2)
    assert "error: --json stands behind the command, as in: bridge runs list --json\n" in told.err
    assert "--version" in bridge("--versoin", code=2).err


def test_a_command_that_is_not_there(bridge: Bridge) -> None:
    assert "there is no command 'modles'; did you mean 'models'?" in bridge("modles", "list", code=2).err
    assert "there is no command 'xyzzy'\n" in bridge("xyzzy", code=2).err


def test_version(bridge: Bridge) -> None:
    from trackbridge import __version__

    assert bridge("--version").out == f"bridge {__version__}\n"
