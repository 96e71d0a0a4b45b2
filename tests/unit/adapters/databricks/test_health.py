"""What doctor finds at a workspace, each with its fix."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.scripted_servers import Answer, Request, ScriptedServer, scripted_server
from tests.unit.adapters.databricks.rig import TOKEN, USER, Workspace, opened, refusal
from trackbridge.errors import AuthError, BridgeError, NotFound, Rejected
from trackbridge.ports.findings import CREDENTIALS, Finding, Severity
from trackbridge_adapters.databricks.health import fix_of


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


def findings(server: ScriptedServer, home: Path) -> list[Finding]:
    return list(opened(server, home).check())


def errors(server: ScriptedServer, home: Path) -> list[Finding]:
    found = [finding for finding in findings(server, home) if finding.severity is Severity.ERROR]
    assert all(finding.fix for finding in found)
    assert TOKEN not in repr(found)
    return found


def test_a_workspace_that_is_well_says_who_is_signed_in(server: ScriptedServer, tmp_path: Path):
    server.answer = Workspace()
    found = findings(server, tmp_path)
    assert {finding.severity for finding in found} == {Severity.OK}
    assert any(USER in finding.message for finding in found if finding.subject == CREDENTIALS)


@pytest.mark.parametrize(
    ("answer", "fix"),
    [
        (refusal(403, "403", "Invalid access token."), "wrong, expired or of another workspace"),
        (refusal(401, "401", "Token is expired."), "has expired"),
        (refusal(401, "401", "Credential was not sent or was of an unsupported type"), "sign in again"),
        (refusal(403, "PERMISSION_DENIED", "User does not have CAN_READ permission"), "CAN EDIT"),
        (
            refusal(403, "403", "Source IP address: 192.0.2.1 is blocked by Databricks IP ACL"),
            "IP access list",
        ),
    ],
)
def test_a_refusal_has_a_fix(server: ScriptedServer, tmp_path: Path, answer: Answer, fix: str):
    server.says(answer)
    found = errors(server, tmp_path)
    assert any(finding.subject == CREDENTIALS and fix in finding.fix for finding in found)


def test_reading_that_is_refused_is_told_though_the_token_is_good(server: ScriptedServer, tmp_path: Path):
    workspace = Workspace()

    def answer(request: Request) -> Answer:
        if "experiments/" in request.path:
            return refusal(403, "PERMISSION_DENIED", "User does not have CAN_READ permission")
        return workspace(request)

    server.answer = answer
    assert [finding.subject for finding in errors(server, tmp_path)] == [CREDENTIALS]


@pytest.mark.parametrize(
    ("answer", "subject"),
    [
        (refusal(403, "PERMISSION_DENIED", "no"), CREDENTIALS),
        (refusal(404, "ENDPOINT_NOT_FOUND", "No API found"), "backend"),
        (Answer(body={}), "backend"),
        (Answer(body={"userName": "a/b"}), "backend"),
    ],
)
def test_a_workspace_that_does_not_say_who_is_signed_in_is_told(
    server: ScriptedServer, tmp_path: Path, answer: Answer, subject: str
):
    workspace = Workspace()
    server.answer = lambda request: answer if "scim" in request.path else workspace(request)
    assert [finding.subject for finding in errors(server, tmp_path)] == [subject]


def test_what_every_look_finds_is_told_once(server: ScriptedServer, tmp_path: Path):
    server.says(refusal(403, "403", "Invalid access token."))
    assert len(errors(server, tmp_path)) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=404, body="<html>nothing here</html>"),
        refusal(404, "ENDPOINT_NOT_FOUND", "No API found"),
        Answer(status=200, body="<html>sign in</html>"),
        Answer(status=303, headers={"Location": "https://login.example.org/"}),
    ],
    ids=["no page", "no route", "a page", "a redirection"],
)
def test_a_host_that_is_no_workspace_is_told(server: ScriptedServer, tmp_path: Path, answer: Answer):
    server.says(answer)
    found = errors(server, tmp_path)
    assert any("address" in finding.fix or "host" in finding.fix for finding in found)


def test_a_host_that_is_not_there_is_told(server: ScriptedServer, tmp_path: Path):
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        server.url = f"http://127.0.0.1:{free.getsockname()[1]}"
    found = errors(server, tmp_path)
    assert any("cannot be reached" in finding.message for finding in found)


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (NotFound("Parent directory /Shared/x does not exist. (status 404)"), "experiment_folder"),
        (Rejected("Node named 'x' already exists (status 400)"), "choose another"),
        (Rejected("METASTORE_DOES_NOT_EXIST: no metastore assigned"), "Unity Catalog"),
        (AuthError("User does not have USE SCHEMA on Schema 'a.b' (status 403)"), "CREATE MODEL"),
    ],
)
def test_an_error_of_the_service_has_a_fix(error: BridgeError, fix: str):
    assert fix in (fix_of(error) or "")


def test_an_error_that_says_it_all_keeps_its_own_hint():
    assert fix_of(Rejected("something else")) is None
