"""``check`` names what is wrong with managed MLflow: region, clock, keys, permission, host, age, account."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.scripted_servers import Answer, ScriptedServer
from tests.unit.adapters.sagemaker.rig import ARN, now_ms, opened
from trackbridge.ports.findings import CREDENTIALS, Finding, Severity
from trackbridge.testing.emulators.signed_mlflow import SignedMlflow

SEARCH = "sagemaker-mlflow:SearchExperiments"


def findings(
    aws: SignedMlflow,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    arn: str = "",
    variables: Mapping[str, str] | None = None,
    skew_ms: int = 0,
    write: bool = False,
    control: bool = False,
) -> tuple[Finding, ...]:
    for name, value in (aws.environment() if variables is None else variables).items():
        monkeypatch.setenv(name, value)
    if not control:  # the server alone is reached, as through a proxy; it makes these tests quick
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        monkeypatch.setenv("SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT", aws.url)
    adapter = opened(arn or aws.arn, home, clock_ms=lambda: now_ms() + skew_ms)
    try:
        return adapter.check(write=write)
    finally:
        adapter.close()


def errors(found: tuple[Finding, ...]) -> list[Finding]:
    assert all(finding.fix for finding in found if finding.severity is not Severity.OK)
    return [finding for finding in found if finding.severity is not Severity.OK]


def test_all_is_well(either: SignedMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = findings(either, tmp_path, monkeypatch, control=True)
    assert errors(found) == []
    assert [finding.subject for finding in found] == ["backend", "version", CREDENTIALS, "server"]
    assert "user/someone" in found[2].message


@pytest.mark.parametrize("skew_ms", [600_000, -600_000])
def test_a_clock_that_is_wrong_by_ten_minutes(
    aws: SignedMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew_ms: int
) -> None:
    (problem,) = errors(findings(aws, tmp_path, monkeypatch, skew_ms=skew_ms))
    assert (problem.subject, problem.severity) == ("clock", Severity.ERROR)
    assert re.search(r" (59|60|61)\d s (ahead of|behind) the server's", problem.message)
    assert "timedatectl" in problem.fix


def test_an_expired_token(aws: SignedMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = aws.keys.issue(seconds=-1)
    (problem,) = errors(findings(aws, tmp_path, monkeypatch, variables=aws.environment(key)))
    assert problem.subject == CREDENTIALS
    assert "expired" in problem.message
    assert "aws sso login" in problem.fix


def test_a_missing_permission(aws: SignedMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.denied = frozenset({SEARCH})
    (problem,) = errors(findings(aws, tmp_path, monkeypatch))
    assert problem.subject == CREDENTIALS
    assert problem.fix.startswith(f"allow {SEARCH} on {aws.arn}")


def test_a_permission_to_read_only(
    aws: SignedMlflow, mlflow: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Answer(status=404, body={"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"})
    mlflow.answer = lambda request: gone if "/get" in request.path else Answer()
    aws.denied = frozenset({"sagemaker-mlflow:CreateExperiment"})
    (problem,) = errors(findings(aws, tmp_path, monkeypatch, write=True))
    assert "reading works, writing does not" in problem.message
    assert "allow sagemaker-mlflow:CreateExperiment" in problem.fix


def test_no_credentials(aws: SignedMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (problem,) = errors(findings(aws, tmp_path, monkeypatch, variables={"AWS_ENDPOINT_URL": aws.url}))
    assert (problem.subject, problem.severity) == (CREDENTIALS, Severity.ERROR)
    assert "AWS_PROFILE" in problem.fix


def test_a_region_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT", "http://127.0.0.1:9")
    adapter = opened(ARN.replace("eu-west-1", "eu-wset-1"), tmp_path)
    unreachable, region = errors(adapter.check())
    assert "cannot be reached" in unreachable.message
    assert "'eu-wset-1' is no region of aws" in region.message
    assert "eu-west-1" in region.fix
    adapter.close()


def test_the_wrong_region(aws: SignedMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The double is of another region than the ARN, as is a host that ``endpoint`` names."""
    arn = aws.arn.replace("eu-west-1", "us-east-1")
    first, *_ = errors(findings(aws, tmp_path, monkeypatch, arn=arn))
    assert "scoped to a valid region" in first.message
    assert "us-east-1" in first.fix


def test_a_server_of_that_name_does_not_exist(
    either: SignedMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = either.arn.replace("/tracking", "/another")
    backend, server = errors(findings(either, tmp_path, monkeypatch, control=True, arn=arn))
    assert backend.subject == "backend"
    assert "another in eu-west-1" in server.message
    assert "aws sagemaker list-mlflow-" in server.fix


def test_a_stopped_server(mlflow: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SignedMlflow(mlflow.url) as aws:
        aws.description.status = "Stopped"
        backend, server = errors(findings(aws, tmp_path, monkeypatch, control=True))
    assert backend.subject == "backend"
    assert "is stopped" in server.message
    assert "start-mlflow-tracking-server --tracking-server-name tracking" in server.fix


def test_a_server_that_is_being_made(
    aws: SignedMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.description.status = "Creating"
    (problem,) = errors(findings(aws, tmp_path, monkeypatch, control=True))
    assert (problem.severity, problem.subject) == (Severity.WARNING, "server")


@pytest.mark.parametrize("tells", [True, False])
def test_an_old_server(
    aws: SignedMlflow, mlflow: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tells: bool
) -> None:
    aws.description.version = "2.13.2"
    old = Answer(body="2.13.2") if tells else Answer(status=404)
    mlflow.answer = lambda request: old if request.path == "/version" else Answer()
    problems = errors(findings(aws, tmp_path, monkeypatch, control=True))
    assert {problem.subject for problem in problems} == {"version"}
    assert all("2.13.2" in problem.message for problem in problems)


def test_somebody_of_another_account(
    aws: SignedMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = aws.environment(aws.keys.issue(principal="arn:aws:iam::999999999999:user/stranger"))
    denied, account = errors(findings(aws, tmp_path, monkeypatch, control=True, variables=stranger))[:2]
    assert "not authorized" in denied.message
    assert "999999999999" in account.message
    assert "role_arn" in account.fix


def test_describing_the_server_need_not_be_permitted(
    aws: SignedMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.description.is_permitted = False
    aws.tokens.is_down = True
    assert errors(findings(aws, tmp_path, monkeypatch, control=True)) == []


def test_a_host_that_nobody_answers_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    adapter = opened(ARN, tmp_path)
    (problem,) = errors(adapter.check())
    assert problem.subject == "backend"
    assert "cannot be reached" in problem.message
    adapter.close()


def test_a_partition_whose_host_is_a_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trackbridge_adapters.sagemaker.arn import parse_arn
    from trackbridge_adapters.sagemaker.config import access_of
    from trackbridge_adapters.sagemaker.health import _region

    arn = parse_arn(ARN.replace("arn:aws:", "arn:aws-cn:").replace("eu-west-1", "cn-north-1"))
    (warning,) = _region(arn, access_of(arn, {}, {}))
    assert "endpoint=" in warning.fix
    assert not list(_region(arn, access_of(arn, {"endpoint": "https://mlflow.example.cn"}, {})))
