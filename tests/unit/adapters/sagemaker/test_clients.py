"""Calls of AWS's services: what is sent, what refusals mean, keys that end on the way."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripted_servers import Answer, Request, ScriptedServer, scripted_server
from tests.unit.adapters.sagemaker.place_rig import ACCOUNT, KEYS, backend
from trackbridge.errors import (
    AuthError,
    BridgeError,
    ConfigError,
    Conflict,
    MissingExtra,
    NotFound,
    RateLimited,
    Rejected,
    TimedOut,
    Unavailable,
)
from trackbridge_adapters.sagemaker.clients import Clients
from trackbridge_adapters.sagemaker.errors_services import QuotaReached

IDENTITY = (
    "<GetCallerIdentityResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><GetCallerIdentityResult>"
    f"<Arn>arn:aws:iam::{ACCOUNT}:user/me</Arn><UserId>X</UserId><Account>{ACCOUNT}</Account>"
    "</GetCallerIdentityResult></GetCallerIdentityResponse>"
)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Any:
    with scripted_server() as server:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": server.url}.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def clients(aws: ScriptedServer, tmp_path: Path) -> Any:
    found = backend(tmp_path).clients
    yield found
    found.close()


def refusal(code: str, message: str = "no, said AWS", status: int = 400, **headers: str) -> Answer:
    return Answer(status=status, body={"__type": f"com.amazon#{code}", "message": message}, headers=headers)


def key_of(request: Request) -> str:
    return request.headers["Authorization"].partition("Credential=")[2].partition("/")[0]


def test_a_call_is_one_signed_request(aws: ScriptedServer, clients: Clients) -> None:
    aws.says(Answer(body={"ExperimentArn": "arn:aws:sagemaker:eu-west-1:123456789012:experiment/a"}))
    answer = clients.call("sagemaker", "CreateExperiment", ExperimentName="a")
    assert answer == {"ExperimentArn": "arn:aws:sagemaker:eu-west-1:123456789012:experiment/a"}
    (request,) = aws.requests
    assert request.json == {"ExperimentName": "a"}
    assert request.headers["X-Amz-Target"] == "SageMaker.CreateExperiment"
    assert "/eu-west-1/sagemaker/aws4_request" in request.headers["Authorization"]


def test_what_breaks_a_limit_is_never_sent(aws: ScriptedServer, clients: Clients) -> None:
    with pytest.raises(Rejected, match="ExperimentName") as refused:
        clients.call("sagemaker", "CreateExperiment", ExperimentName="a_b")
    assert refused.value.hint
    assert aws.requests == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal("ResourceNotFound"), NotFound),
        (refusal("ValidationException", "Could not find experiment 'a'."), NotFound),
        (refusal("ValidationException", "ModelPackage x does not exist."), NotFound),
        (refusal("ResourceInUse"), Conflict),
        (refusal("ConflictException"), Conflict),
        (refusal("ValidationException", "Model Package Group already exists"), Conflict),
        (refusal("ResourceLimitExceeded", "The account-level service limit is 300"), QuotaReached),
        (refusal("ThrottlingException", "Rate exceeded"), RateLimited),
        (
            refusal("AccessDeniedException", "User: x is not authorized to perform: sagemaker:CreateTrial"),
            AuthError,
        ),
        (refusal("UnrecognizedClientException", "The security token is invalid", 403), AuthError),
        (refusal("ExpiredTokenException", "expired", 403), AuthError),
        (refusal("InvalidSignatureException", "Signature expired: 2 is now earlier than 1", 403), AuthError),
        (refusal("IncompleteSignature", "no", 403), AuthError),
        (refusal("ValidationException", "1 validation error detected"), Rejected),
        (refusal("UnknownOperationException"), Rejected),
        (refusal("SomethingNew"), Rejected),
        (refusal("InternalFailure", status=500), Unavailable),
        (refusal("ServiceUnavailable", status=503), Unavailable),
        (Answer(status=502, body="<html>bad gateway</html>"), Unavailable),
        (Answer(fault="reset"), Unavailable),
        (Answer(fault="half"), Unavailable),
    ],
)
def test_refusals_are_ours_after_one_attempt(
    aws: ScriptedServer, clients: Clients, answer: Answer, kind: type[BridgeError]
) -> None:
    aws.says(answer)
    with pytest.raises(BridgeError) as refused:
        clients.call("sagemaker", "DescribeExperiment", ExperimentName="a")
    assert type(refused.value) is kind
    assert "verysecret" not in f"{refused.value!r} {refused.value} {refused.value.hint}"
    if kind is not Unavailable:
        assert refused.value.resource == "ExperimentName a"
        assert len(aws.requests) == 1


def test_a_right_that_is_missing_is_named(aws: ScriptedServer, clients: Clients) -> None:
    aws.says(
        refusal("AccessDeniedException", "User: x is not authorized to perform: sagemaker:CreateTrial on y")
    )
    with pytest.raises(AuthError) as refused:
        clients.call("sagemaker", "CreateTrial", ExperimentName="a", TrialName="b")
    assert "sagemaker:CreateTrial" in (refused.value.hint or "")


def test_how_long_to_wait_is_told(aws: ScriptedServer, clients: Clients) -> None:
    aws.says(refusal("ThrottlingException", **{"Retry-After": "7"}))
    with pytest.raises(RateLimited) as refused:
        clients.call("sagemaker", "ListTrials")
    assert refused.value.retry_after_s == 7.0


def test_no_answer_in_time_may_have_been_done(
    aws: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.says(Answer(fault="hang"))
    with pytest.raises(TimedOut) as refused:
        backend(tmp_path, {"timeout_s": "0.2"}).clients.call("sagemaker", "ListTrials")
    aws.released.set()
    assert refused.value.ambiguous


def test_nobody_there(aws: ScriptedServer, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        backend(tmp_path, {"endpoint": "http://127.0.0.1:9"}).clients.call("sagemaker", "ListTrials")


def test_all_pages_are_asked_for(aws: ScriptedServer, clients: Clients) -> None:
    aws.says(
        Answer(body={"TrialSummaries": [{"TrialName": "a"}], "NextToken": "more"}),
        Answer(body={"TrialSummaries": []} | {"NextToken": "again"}),
        Answer(body={"TrialSummaries": [{"TrialName": "b"}]}),
    )
    found = list(clients.pages("sagemaker", "ListTrials", "TrialSummaries", ExperimentName="e"))
    assert [item["TrialName"] for item in found] == ["a", "b"]
    assert [request.json.get("NextToken") for request in aws.requests] == [None, "more", "again"]
    assert all(request.json["ExperimentName"] == "e" for request in aws.requests)


def test_the_account_is_asked_for_once(aws: ScriptedServer, clients: Clients) -> None:
    aws.says(Answer(body=IDENTITY, headers={"Content-Type": "text/xml"}))
    assert [clients.account() for _ in range(3)] == [ACCOUNT] * 3
    assert len(aws.requests) == 1


def test_threads_share_one_client(aws: ScriptedServer, clients: Clients) -> None:
    barrier = threading.Barrier(8)

    def take(_: int) -> Any:
        barrier.wait()
        return clients.client("sagemaker")

    with ThreadPoolExecutor(8) as pool:
        assert len(set(map(id, pool.map(take, range(8))))) == 1


# Keys.


def write_key(file: Path, name: str) -> None:
    file.write_text(
        f"[default]\naws_access_key_id={name}\naws_secret_access_key=verysecret\naws_session_token=t\n"
    )


@pytest.fixture
def from_file(aws: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    write_key(tmp_path / "aws-credentials", "AKIAOLD")
    return tmp_path / "aws-credentials"


def test_keys_that_somebody_renews_in_the_file_are_taken(
    aws: ScriptedServer, from_file: Path, tmp_path: Path
) -> None:
    late_ms = 0
    clients = backend(tmp_path, clock_ms=lambda: 1_800_000_000_000 + late_ms).clients
    aws.answer = lambda request: (
        Answer() if key_of(request) == "AKIANEW" else refusal("ExpiredTokenException", "expired", 403)
    )
    with pytest.raises(AuthError, match="Expired"):
        clients.call("sagemaker", "ListTrials")
    write_key(from_file, "AKIANEW")
    late_ms = 60_000
    aws.requests.clear()
    assert clients.call("sagemaker", "ListTrials") == {}
    assert [key_of(request) for request in aws.requests] == ["AKIAOLD", "AKIANEW"]
    clients.call("sagemaker", "ListTrials")
    assert [key_of(request) for request in aws.requests][2:] == ["AKIANEW"]
    clients.close()


def test_there_are_none(aws: ScriptedServer, from_file: Path, tmp_path: Path) -> None:
    from_file.unlink()
    with pytest.raises(AuthError, match="no AWS credentials") as refused:
        backend(tmp_path).clients.call("sagemaker", "ListTrials")
    assert "aws sso login" in (refused.value.hint or "")
    assert aws.requests == []


def test_a_profile_that_does_not_exist(aws: ScriptedServer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nobody"):
        backend(tmp_path, {"profile": "nobody"}).clients.call("sagemaker", "ListTrials")


def test_without_boto3_the_extra_is_named(
    aws: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackbridge_adapters.sagemaker.backend.find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as missing:
        backend(tmp_path)
    assert missing.value.hint == "pip install 'trackbridge[aws]'"


def test_opening_contacts_nobody_and_imports_no_sdk(tmp_path: Path) -> None:
    import subprocess

    program = (
        "import sys; from pathlib import Path\n"
        "from trackbridge.ports.adapter import AdapterContext\n"
        "from trackbridge_adapters.sagemaker import open_adapter\n"
        f"context = AdapterContext(home=Path({str(tmp_path)!r}), options={{}}, clock_ms=lambda: 0)\n"
        "adapter = open_adapter('sagemaker://eu-west-1/team', context=context)\n"
        "adapter.capabilities(); adapter.close()\n"
        "assert not {'boto3', 'botocore', 'sagemaker', 'mlflow'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_nothing_shows_a_secret(clients: Clients, tmp_path: Path) -> None:
    opened = backend(tmp_path)
    for value in (opened, opened.clients, opened.bucket, opened.credentials, opened.bucket.options):
        assert "verysecret" not in repr(value)
