"""``bridge gateway`` and ``bridge ui``: what they print, refuse and keep."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Bridge, bridge_process, clean_environment, lines_until, rest_of
from tests.support.gateways import end_children
from trackbridge.errors import Locked
from trackbridge.gateway.routes import Scope
from trackbridge.gateway.server import ServerOptions
from trackbridge.gateway.tokens import TokenFile


def test_a_token_is_shown_once(bridge: Bridge, project: Path) -> None:
    made = bridge("gateway", "tokens", "add", "trainer", "--scope", "write")
    token = made.out.strip()
    file = project / ".bridge/gateway-tokens.json"
    assert str(file) in made.err
    found = TokenFile(file).find(token)
    assert found is not None
    assert (found.name, found.scope) == ("trainer", Scope.WRITE)
    assert file.stat().st_mode & 0o777 == 0o600
    listed = bridge("gateway", "tokens", "list").out
    assert "trainer" in listed
    assert token not in listed
    assert token.rpartition("_")[2] not in file.read_text()


def test_tokens_as_json_in_a_file_of_ones_own(bridge: Bridge, tmp_path: Path) -> None:
    file = str(tmp_path / "own.json")
    made = bridge("gateway", "tokens", "add", "reader", "--tokens", file, "--json").summary
    assert (made["name"], made["scope"], made["file"]) == ("reader", "read", file)
    listed = bridge("gateway", "tokens", "list", "--tokens", file, "--json")
    assert [(found["type"], found.get("name")) for found in listed.objects] == [
        ("token", "reader"),
        ("summary", None),
    ]
    assert made["token"] not in listed.out
    assert bridge("gateway", "tokens", "list", "--json").summary["tokens"] == 0


def test_a_token_is_removed_when_that_was_agreed_to(bridge: Bridge) -> None:
    bridge("gateway", "tokens", "add", "trainer")
    assert "already" in bridge("gateway", "tokens", "add", "trainer", code=1).err
    assert "--yes" in bridge("gateway", "tokens", "remove", "trainer", code=2).err
    assert "not let in" in bridge("gateway", "tokens", "remove", "trainer", "--yes").out
    assert "no token" in bridge("gateway", "tokens", "remove", "trainer", "--yes", code=1).err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "0.0.0.0"], "could read and write"),
        (["--trusted-header", "X-User"], "needs the proxy's address"),
        (["--tokens", "none.json"], "holds no token"),
        (["--host", "203.0.113.7", "--insecure"], "cannot listen on 203.0.113.7"),
        (["--access-log", "no/such/folder"], "cannot be written"),
        (["--backend", "no-such-scheme"], "neither a remote nor a scheme"),
    ],
)
def test_what_cannot_be_served_is_refused(bridge: Bridge, arguments: list[str], told: str) -> None:
    result = bridge("gateway", "--port", "0", *arguments, code=1)
    assert told in result.err
    assert "hint" in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "65536"],
        ["--rate", "-1"],
        ["--body-max", "much"],
        ["--connections-per-address", "-1"],
    ],
)
def test_wrong_command_lines(bridge: Bridge, arguments: list[str]) -> None:
    bridge("gateway", *arguments, code=2)


@pytest.mark.parametrize(
    ("arguments", "rate"),
    [
        ([], 0),
        (["--rate", "7"], 7),
        (["--tokens", "tokens.json"], 5000),
        (["--trusted-header", "X-User"], 5000),
        (["--host", "0.0.0.0"], 5000),
        (["--host", "0.0.0.0", "--rate", "0"], 0),
    ],
)
def test_nameless_programs_of_this_machine_have_no_rate(
    bridge: Bridge, project: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], rate: float
) -> None:
    served: list[ServerOptions] = []

    def serve(options: ServerOptions, **_: Any) -> None:
        served.append(options)
        raise Locked("far enough")

    monkeypatch.setattr("trackbridge.gateway.server.serve", serve)
    bridge("gateway", *arguments, code=11)
    assert [options.limits.rate_max for options in served] == [rate]


def test_a_port_that_is_taken(bridge: Bridge) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words in (["gateway"], ["ui"]):
            result = bridge(*words, "--port", port, code=1)
            assert f"cannot listen on 127.0.0.1:{port}" in result.err
            assert "another --port" in result.err


@pytest.mark.parametrize(
    ("words", "told"), [(["gateway", "--backend", "./store"], "mlflow API"), (["ui", "./store"], "Pages")]
)
def test_people_are_told_where_it_is(tmp_path: Path, words: list[str], told: str) -> None:
    environment = {**clean_environment(), "BRIDGE_HOME": str(tmp_path)}
    process = bridge_process(*words, "--port", "0", cwd=tmp_path, env=environment)
    try:
        line = lines_until(process, told)[-1]
        url = line.split()[-1]
        assert f"file:{tmp_path}/store" in line
        with urllib.request.urlopen(f"{url}/health", timeout=60) as answer:
            assert answer.read() == b"OK"
    finally:
        process.send_signal(signal.SIGINT)
    code, _, errors = rest_of(process)
    assert code == 0
    told_lines = [json.loads(text) for text in errors.splitlines()]
    assert sorted(line.get("path") or line["message"] for line in told_lines) == [
        "/health",
        "the server is ending",
    ]
    end_children(tmp_path / "store")


def test_json_says_where_it_is_and_sums_up(tmp_path: Path) -> None:
    environment = {**clean_environment(), "BRIDGE_HOME": str(tmp_path)}
    words = ("gateway", "--backend", "./store", "--port", "0", "--json", "--no-access-log")
    process = bridge_process(*words, cwd=tmp_path, env=environment)
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    code, out, _ = rest_of(process)
    assert (code, ready["type"], ready["pid"]) == (0, "ready", process.pid)
    assert ready["backend"] == f"file:{tmp_path}/store"
    assert json.loads(out) == {"type": "summary", "requests": 0, "pending": {}}
    end_children(tmp_path / "store")
