"""What a person is told while a backend does not answer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Bridge
from tests.cli.test_process import on_a_terminal
from tests.support.scripted_servers import Answer, ScriptedServer, scripted_server
from trackbridge.cli.output import Output
from trackbridge.cli.waits import LOG, told_waits

AGAIN = "trying again in 1 s (2 of 6) ..."


@pytest.fixture
def busy(project: Path) -> Iterator[ScriptedServer]:
    """A server of mlflow's that turns the first request away for a second."""
    with scripted_server() as server:
        server.says(Answer(status=503, headers={"Retry-After": "1"}), Answer(body=b"{}"))
        yield server


def test_a_person_is_told_of_a_long_wait(busy: ScriptedServer) -> None:
    code, printed = on_a_terminal("runs", "list", "--uri", busy.url)
    assert code == 0, printed
    assert AGAIN in printed


def test_with_json_it_is_not_told(busy: ScriptedServer) -> None:
    code, printed = on_a_terminal("runs", "list", "--json", "--uri", busy.url)
    assert code == 0, printed
    assert len(busy.requests) > 1
    assert AGAIN not in printed


def test_off_a_terminal_it_is_not_told(busy: ScriptedServer, bridge: Bridge) -> None:
    assert "trying again" not in bridge("runs", "list", "--uri", busy.url).err
    assert len(busy.requests) > 1


def test_a_server_of_this_machine_that_does_not_run(bridge: Bridge) -> None:
    error = bridge("runs", "list", "--uri", "http://127.0.0.1:9", code=5).err
    assert "127.0.0.1:9 cannot be reached: nothing listens there (2 attempts in " in error
    assert "hint: is the server running? mlflow server --port 9, or bridge gateway --port 9" in error
    assert "delivered" not in error


def test_the_same_words_are_not_told_twice_in_a_row_nor_any_afterwards(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    log = logging.getLogger(LOG)
    with told_waits(Output(as_json=False)):
        for text in ("down", "down", "down again\x1b[2J"):
            log.info(text)
    log.info("later")
    assert capsys.readouterr().err == "down\ndown again\ufffd[2J\n"
