"""The command line as a process: exit codes, streams, pipes, terminals."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pty
import subprocess
import sys
from pathlib import Path

import click
import pytest

import trackbridge as tb
from tests.cli.conftest import BRIDGE, Bridge, bridge_process, log_run, rest_of
from trackbridge import errors as bridge_errors
from trackbridge.cli import failures
from trackbridge.cli.curves import thinned
from trackbridge.cli.output import plain


def on_a_terminal(*arguments: str, keys: bytes = b"", **variables: str) -> tuple[int, str]:
    """Run a command on a terminal of 80 columns; return its exit code and all that it printed."""
    process_id, terminal = pty.fork()
    if process_id == 0:
        os.environ.update({"TERM": "xterm", "COLUMNS": "80", **variables})
        os.execv(sys.executable, [sys.executable, "-c", BRIDGE, *arguments])
    os.write(terminal, keys)
    printed = b""
    with contextlib.suppress(OSError):  # how Linux says that the other side closed
        while chunk := os.read(terminal, 65536):
            printed += chunk
    _, status = os.waitpid(process_id, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), printed.decode()


@pytest.fixture
def two_runs(client: tb.Client) -> None:
    for name in ("evil\x1b[31mred", "plain"):
        log_run(client, name, metrics={"loss": [3.0, 2.0, len(name)]})
    client.flush()


@pytest.mark.usefixtures("two_runs")
def test_colours_on_a_terminal_and_none_with_no_color() -> None:
    code, coloured = on_a_terminal("runs", "compare", "plain", "evil\x1b[31mred", "--metric", "loss")
    assert code == 0
    assert "\x1b[38;5;1m" in coloured
    assert "evil\x1b" not in coloured
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        code, uncoloured = on_a_terminal("runs", "compare", "plain", "evil\x1b[31mred", **variables)
        assert code == 0
        assert "38;5" not in uncoloured
        assert "[31m  " not in uncoloured


@pytest.mark.usefixtures("two_runs")
def test_plot_is_as_wide_as_the_terminal() -> None:
    names = ("plain", "evil\x1b[31mred")
    for width in (40, 120):
        _, printed = on_a_terminal("runs", "compare", *names, NO_COLOR="1", COLUMNS=str(width))
        longest = max(len(line) for line in printed.splitlines() if "│" in line)
        assert longest == width


@pytest.mark.usefixtures("two_runs")
@pytest.mark.parametrize(("answer", "expected"), [(b"y\n", 0), (b"n\n", 1)])
def test_question_on_a_terminal(answer: bytes, expected: int, bridge: Bridge) -> None:
    code, printed = on_a_terminal("runs", "delete", "plain", keys=answer)
    assert code == expected
    assert "Delete plain?" in printed
    assert bridge("runs", "list", "--json").summary["runs"] == 1 + expected


LOG_AND_DIE = """
import os, signal, trackbridge as tb
client = tb.Client()
run = client.open_run(client.open_experiment("wine").experiment_id, "wine")
for step in range(1000):
    run.metric("loss", 0.5, step)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.usefixtures("project")
def test_progress_is_shown_on_a_terminal_only() -> None:
    subprocess.run([sys.executable, "-c", LOG_AND_DIE], check=False)
    code, printed = on_a_terminal("sync", "run")
    assert code == 0
    assert "Delivering" in printed
    assert printed.endswith("everything is delivered (1,002 records by this command)\r\n")
    subprocess.run([sys.executable, "-c", LOG_AND_DIE], check=False)
    output, errors = bridge_process("sync", "run").communicate(timeout=60)
    assert output == "everything is delivered (1,002 records by this command)\n"
    assert errors == ""


@pytest.mark.usefixtures("two_runs")
def test_pipe_that_is_closed_early_is_no_accident() -> None:
    process = bridge_process("runs", "log", "plain", "--json", bufsize=0)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=30) == 1


def test_terminal_that_knows_few_characters(client: tb.Client) -> None:
    log_run(client, "Größe €")
    client.flush()
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    output, _ = bridge_process("runs", "list", env=environment, encoding="latin-1").communicate(timeout=30)
    assert "Größe \\u20ac" in output


@pytest.mark.parametrize(
    "start",
    [
        [sys.executable, "-m", "trackbridge.cli"],
        [sys.executable, "-m", "trackbridge"],
        [str(Path(sys.executable).with_name("trackbridge"))],
    ],
)
def test_other_names_of_the_command(project: Path, start: list[str]) -> None:
    command = [*start, "runs", "show", "nobody"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: there is no run 'nobody'\nhint: bridge runs list --all\n"


@pytest.mark.parametrize("group", ["config", "experiments", "remotes", "runs", "sync"])
def test_group_without_a_command_is_its_help(group: str) -> None:
    code, output, errors = rest_of(bridge_process(group))
    assert code == 2
    assert output == ""
    assert errors.startswith(f"Usage: bridge {group} [OPTIONS] COMMAND")
    assert errors.count("Usage:") == 1
    assert "error:" not in errors


def test_unknown_command_and_option(bridge: Bridge) -> None:
    assert "bridge --help" in bridge("fly", code=2).err
    assert "bridge runs list --help" in bridge("runs", "list", "--speed", code=2).err
    (error,) = bridge("runs", "list", "--speed", "--json", code=2).objects
    assert (error["type"], error["error"], error["exit_code"]) == ("error", "UsageError", 2)
    assert "--speed" in error["message"]


# What ends a command, by the table of errors.


@pytest.mark.parametrize("name", bridge_errors.__all__)
def test_exit_code_of_every_error(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    kind = getattr(bridge_errors, name)
    extra = {
        "InvalidQuery": {"text": "x", "position": 0},
        "TimedOut": {"ambiguous": False},
        "Exhausted": {"attempts": 1, "elapsed_s": 1.0},
    }.get(name, {})
    error = kind("it failed\x1b[2J\nbadly", hint="do\x07 this", **extra)

    def command() -> None:
        raise error

    assert failures.run(command, as_json=True) == kind.exit_code
    captured = capsys.readouterr()
    assert captured.err.splitlines()[0].startswith("error: it failed\ufffd[2J badly")
    assert captured.err.endswith("hint: do\ufffd this\n")
    fields = json.loads(captured.out)
    assert (fields["type"], fields["error"], fields["exit_code"]) == ("error", name, kind.exit_code)


@pytest.mark.parametrize("ending", [KeyboardInterrupt, click.Abort])
def test_interruption(ending: type[BaseException]) -> None:
    def command() -> None:
        raise ending

    assert failures.run(command, as_json=False) == 130


def test_unexpected_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def command() -> None:
        raise ZeroDivisionError("password=hunter2")

    monkeypatch.delenv("BRIDGE_DEBUG", raising=False)
    assert failures.run(command, as_json=False) == 1
    said = capsys.readouterr().err
    assert said == (
        "error: unexpected ZeroDivisionError: password=***\n"
        "hint: set BRIDGE_DEBUG=1 to see the traceback, and report it\n"
    )
    monkeypatch.setenv("BRIDGE_DEBUG", "1")
    failures.run(command, as_json=False)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.usefixtures("project")
def test_full_disk_under_stdout_is_an_error() -> None:
    with open("/dev/full", "w") as full:
        process = bridge_process("config", "path", stdout=full)
        _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "No space left" in said


# Small parts.


def test_plain_is_json_and_keeps_numbers() -> None:
    values = [math.nan, math.inf, -math.inf, 2**60, -0.0, 5e-324, None, True]
    assert json.dumps(plain({"values": values}), allow_nan=False) == (
        '{"values": ["NaN", "Infinity", "-Infinity", 1152921504606846976, -0.0, 5e-324, null, true]}'
    )


def test_long_curves_are_drawn_by_their_extremes() -> None:
    points = [(step, 0.0) for step in range(100_000)]
    points[4321] = (4321, 9.0)
    points[77_777] = (77_777, -9.0)
    kept = thinned(points, 100)
    assert len(kept) <= 200
    assert (4321, 9.0) in kept
    assert (77_777, -9.0) in kept
    assert [step for step, _ in kept] == sorted(step for step, _ in kept)
