"""``check`` names the cause of what is wrong with an MLflow endpoint, and what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.support.scripted_servers import Answer, ScriptedServer, scripted_server
from tests.unit.adapters.mlflow_rest.rig import by_route, opened, refusal
from trackbridge.ports.findings import CREDENTIALS, Finding, Severity

TEN_MINUTES_MS = 600_000


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        server.answer = lambda request: Answer(
            body="3.17.2" if request.path == "/version" else b"{}",
            headers={"Date": formatdate(time.time(), usegmt=True)},
        )
        yield server


def findings(
    server: ScriptedServer, home: Path, *, skew_ms: int = 0, write: bool = False
) -> tuple[Finding, ...]:
    adapter = opened(server, home, skew_ms=skew_ms)
    try:
        return adapter.check(write=write)
    finally:
        adapter.close()


def errors(found: tuple[Finding, ...]) -> list[Finding]:
    return [finding for finding in found if finding.severity is not Severity.OK]


def test_all_is_well(server: ScriptedServer, tmp_path: Path) -> None:
    found = findings(server, tmp_path)
    assert errors(found) == []
    assert [finding.subject for finding in found] == ["backend", "version"]


def test_an_old_server(server: ScriptedServer, tmp_path: Path) -> None:
    server.answer = lambda request: Answer(body="1.30.0" if request.path == "/version" else b"{}")
    (problem,) = errors(findings(server, tmp_path))
    assert problem.subject == "version"
    assert "mlflow 1.30.0" in problem.message
    assert "upgrade" in problem.fix


def test_an_expired_token(server: ScriptedServer, tmp_path: Path) -> None:
    server.says(refusal(401, "UNAUTHENTICATED", "the token expired at noon"))
    (problem,) = errors(findings(server, tmp_path))
    assert problem.subject == CREDENTIALS
    assert "the token expired at noon" in problem.message
    assert problem.fix


@pytest.mark.parametrize("skew_ms", [TEN_MINUTES_MS, -TEN_MINUTES_MS])
def test_a_wrong_clock(server: ScriptedServer, tmp_path: Path, skew_ms: int) -> None:
    (problem,) = errors(findings(server, tmp_path, skew_ms=skew_ms))
    assert (problem.subject, problem.severity) == ("clock", Severity.ERROR)
    assert ("ahead of" if skew_ms > 0 else "behind") in problem.message
    assert "timedatectl" in problem.fix


def test_a_wrong_clock_is_named_before_the_credentials_that_it_spoils(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.answer = lambda request: Answer(
        status=403,
        body={"message": "Signature expired"},
        headers={"Date": formatdate(time.time(), usegmt=True)},
    )
    clock, credentials = errors(findings(server, tmp_path, skew_ms=TEN_MINUTES_MS))
    assert clock.subject == "clock"
    assert credentials.subject == CREDENTIALS


def test_a_host_that_nobody_answers_at(server: ScriptedServer, tmp_path: Path) -> None:
    adapter = opened(ScriptedServer("http://127.0.0.1:9"), tmp_path)
    (problem,) = adapter.check()
    assert problem.subject == "backend"
    assert "cannot be reached" in problem.message
    assert "mlflow server --port 9, or bridge gateway --port 9" in problem.fix


def test_something_that_is_no_mlflow_server(server: ScriptedServer, tmp_path: Path) -> None:
    server.says(Answer(status=404, body="<h1>nginx</h1>"))
    (problem,) = errors(findings(server, tmp_path))
    assert "no MLflow server" in problem.message
    assert "address" in problem.fix


def test_somebody_who_may_read_and_not_write(server: ScriptedServer, tmp_path: Path) -> None:
    gone = refusal(404, "RESOURCE_DOES_NOT_EXIST")
    server.answer = by_route(
        runs_get=gone,
        experiments_get_by_name=gone,
        experiments_create=refusal(403, "PERMISSION_DENIED", "READ only"),
    )
    (problem,) = errors(findings(server, tmp_path, write=True))
    assert problem.subject == CREDENTIALS
    assert "reading works, writing does not" in problem.message
