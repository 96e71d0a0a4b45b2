"""``bridge emulate`` runs a cloud on this machine until it is interrupted."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Bridge, bridge_process, lines_until, rest_of
from tests.cli.test_process import on_a_terminal
from trackbridge.cli.emulate import _ran
from trackbridge.operations.waiting import Stop


def started(*arguments: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    process = bridge_process("emulate", "sagemaker", "--json", *arguments)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


ASK = """
import boto3, botocore.exceptions
client = boto3.client("sagemaker")
client.create_experiment(ExperimentName="digits")
try:
    client.create_experiment(ExperimentName="DIGITS")
except botocore.exceptions.ClientError as error:
    print(error.response["Error"]["Code"])
print(boto3.client("sts").get_caller_identity()["Account"])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_json_says_how_to_find_it_and_sums_up_at_the_end(number: signal.Signals) -> None:
    process, ready = started()
    try:
        assert ready["type"] == "ready"
        assert ready["uri"] == "sagemaker://us-east-1"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        done = subprocess.run(
            [sys.executable, "-c", ASK], env=kept | ready["env"], capture_output=True, text=True, timeout=60
        )
        assert done.stdout.split() == ["ValidationException", "210987654321"], done.stderr
    finally:
        process.send_signal(number)
    code, out, errors = rest_of(process)
    assert (code, errors) == (0, "")
    summary = json.loads(out)
    assert summary == {"type": "summary", "requests": 3, "refused": 1}


def test_people_are_told_what_is_there_and_what_to_type() -> None:
    process = bridge_process("emulate", "sagemaker", "--region", "eu-west-1", "--pace", "0.1")
    try:
        lines = lines_until(process, "export BRIDGE_TRACKING_URI")
    finally:
        process.send_signal(signal.SIGINT)
    assert rest_of(process) == (0, "", "")
    text = "".join(lines)
    assert "\nIn another terminal:\n" in text
    assert "Experiments" not in text, "what is to be typed is not below a long table"
    assert "export AWS_ENDPOINT_URL=http://127.0.0.1:" in text
    assert "export AWS_REGION=eu-west-1" in text
    assert lines[-1] == "export BRIDGE_TRACKING_URI=sagemaker://eu-west-1\n"


def test_a_port_that_is_taken(bridge: Bridge) -> None:
    process, ready = started()
    try:
        port = ready["url"].rpartition(":")[2]
        result = bridge("emulate", "sagemaker", "--port", port, code=1)
        assert f"cannot listen on port {port}" in result.err
        assert "another --port" in result.err
    finally:
        process.send_signal(signal.SIGTERM)
        rest_of(process)


def test_what_is_not_installed_is_told_with_the_extra(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name == "moto" or name.startswith("moto.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "moto", None)
    result = bridge("emulate", "sagemaker", code=1)
    assert "trackbridge[emulators]" in result.err


@pytest.mark.parametrize(
    "arguments", [["--port", "65536"], ["--port", "-1"], ["--pace", "-1"], ["no-such-program"]]
)
def test_wrong_command_lines(bridge: Bridge, arguments: list[str]) -> None:
    bridge("emulate", "sagemaker", *arguments, code=2)


def test_a_command_finds_it_and_ends_it() -> None:
    program = 'echo "$BRIDGE_TRACKING_URI $AWS_REGION"; exit 7'
    process = bridge_process("emulate", "sagemaker", "--region", "eu-west-1", "--", "sh", "-c", program)
    assert rest_of(process) == (7, "sagemaker://eu-west-1 eu-west-1\n", "")


@pytest.mark.usefixtures("project")
def test_who_waits_at_a_terminal_is_told_for_what() -> None:
    code, screen = on_a_terminal("emulate", "sagemaker", "--", "sh", "-c", "echo begun")
    assert code == 0
    starting, running, begun = screen.splitlines()
    assert starting == "starting SageMaker; this takes some seconds"
    assert re.fullmatch(r"SageMaker answers at http://127\.0\.0\.1:\d+ until 'sh' ends", running)
    assert begun == "begun"


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("around", "told"),
    [
        ("", "programs in this shell find SageMaker; exit ends it and SageMaker"),
        ("azureml", "programs in this shell find Azure ML and SageMaker; exit ends it and them"),
    ],
)
def test_who_gets_a_shell_is_told_which_it_is(around: str, told: str) -> None:
    keys = b"echo has $BRIDGE_EMULATED\nexit 3\n"
    code, screen = on_a_terminal("emulate", "sagemaker", "--", "sh", keys=keys, BRIDGE_EMULATED=around)
    assert code == 3
    lines = screen.splitlines()
    assert told in lines
    assert any(line.endswith(f"has {around},sagemaker".replace(" ,", " ")) for line in lines)


def test_what_is_emulated(bridge: Bridge) -> None:
    result = bridge("emulate", "sagemaker", "--calls", "--json")
    experiments = next(item for item in result.objects if item.get("area") == "Experiments")
    assert experiments["how"] == "own"
    assert experiments["calls"] > 10
    assert result.summary == {"type": "summary", "areas": len(result.objects) - 1}
    assert "Experiments  " in bridge("emulate", "sagemaker", "--calls").out


def test_a_job_needs_no_more_than_it_tells(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print('trained')")
    plan = [sys.executable, "-m", "trackbridge", "run", "train.py", "--on", "sagemaker:", "--plan"]
    process = bridge_process("emulate", "sagemaker", "--", *plan, cwd=tmp_path)
    code, out, errors = rest_of(process)
    assert (code, errors) == (0, "nothing was started\n"), out + errors
    assert "OK" in out


def test_who_ends_it_ends_the_command() -> None:
    process = bridge_process("emulate", "sagemaker", "--", "sh", "-c", "echo begun; exec sleep 600")
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGTERM)
    assert rest_of(process) == (128 + signal.SIGTERM, "", "")


def test_who_ends_it_while_the_command_starts_ends_the_command() -> None:
    class SetBehindTheStart(Stop):
        looks = 0

        def is_set(self) -> bool:
            self.looks += 1
            return self.looks > 1

    before = signal.getsignal(signal.SIGTERM)
    try:
        assert _ran(("sleep", "600"), {}, SetBehindTheStart(), unset=()) == 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_command_prints_no_json_of_ours(bridge: Bridge) -> None:
    result = bridge("emulate", "sagemaker", "--json", "--", "true", code=2)
    assert "the command prints what it likes" in result.err
