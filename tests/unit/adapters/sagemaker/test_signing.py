"""Signatures: against AWS's example, against botocore's client, and what a refusal leads to."""

from __future__ import annotations

import hashlib
import io
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.scripted_servers import Answer, ScriptedServer, scripted_server
from tests.unit.adapters.sagemaker.rig import ARN, now_ms, opened, wire_of
from trackbridge.errors import AuthError, BridgeError, Rejected
from trackbridge.testing.emulators.aws_keys import canonical_request, signature
from trackbridge.testing.emulators.signed_mlflow import SignedMlflow

PREFIX = "/api/2.0/mlflow/"


def sign_in(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_the_double_signs_as_the_example_of_aws() -> None:
    """IAM's ListUsers, from the manual of Signature Version 4."""
    headers = {
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        "host": "iam.amazonaws.com",
        "x-amz-date": "20150830T123600Z",
    }
    empty = hashlib.sha256(b"").hexdigest()
    request = canonical_request(
        "GET", "/?Version=2010-05-08&Action=ListUsers", headers, sorted(headers), empty
    )
    assert hashlib.sha256(request.encode()).hexdigest() == (
        "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"
    )
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    assert signature(secret, "20150830T123600Z", "us-east-1", "iam", request) == (
        "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    )


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"name": "a b+c/é~*'()!"},
        {"filter": "name = 'x' AND tags.\"a b\" LIKE '%&=;%'", "max_results": 5},
        {"key": ["b", "a", "%41"], "empty": ""},
        {"z": "1", "a": "2", "A": "3", "a-b": "4"},
    ],
)
def test_whatever_is_asked_for_is_signed_right(
    either: SignedMlflow,
    mlflow: ScriptedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    query: dict[str, Any],
) -> None:
    sign_in(monkeypatch, either.environment(either.keys.issue(seconds=3600)))
    adapter = opened(either.arn, tmp_path)
    wire_of(adapter).get("experiments/get-by-name", query)
    wire_of(adapter).post("experiments/search", {"text": "é\u2028 \U0001f600", **query})
    wire_of(adapter).delete("registered-models/alias", query)
    assert [request.method for request in mlflow.requests] == ["GET", "POST", "DELETE"]
    adapter.close()


def test_the_signature_is_botocores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on the wire, signed anew by botocore from the headers that are named as signed."""
    import botocore.auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import ReadOnlyCredentials

    keys = {"AWS_ACCESS_KEY_ID": "AKIA" + "X" * 16, "AWS_SECRET_ACCESS_KEY": "s" * 40}
    sign_in(monkeypatch, {**keys, "AWS_SESSION_TOKEN": "token"})
    with scripted_server() as server:
        sign_in(monkeypatch, {"SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT": server.url})
        adapter = opened(ARN, tmp_path)
        wire_of(adapter).get("runs/get", {"run_id": "a b"})
        adapter.close()
        (sent,) = server.requests
    names = sent.headers["Authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    present = {name.lower(): value for name, value in sent.headers.items()}
    request = AWSRequest(
        method="GET", url=server.url + sent.path, headers={name: present[name] for name in names}
    )
    request.context["timestamp"] = present["x-amz-date"]
    frozen = ReadOnlyCredentials(*keys.values(), "token")
    reference = botocore.auth.SigV4Auth(frozen, "sagemaker-mlflow", "eu-west-1")
    text = reference.string_to_sign(request, reference.canonical_request(request))
    assert sent.headers["Authorization"].endswith(f"Signature={reference.signature(text, request)}")
    assert present["x-mlflow-sm-tracking-server-arn"] == ARN
    assert "x-mlflow-sm-tracking-server-arn" in names


def test_a_file_is_signed_and_sent_whole(
    aws: SignedMlflow, mlflow: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = aws.keys.issue(seconds=3600)
    sign_in(monkeypatch, aws.environment(key))
    adapter = opened(aws.arn, tmp_path, clock_ms=lambda: now_ms() + 600_000)  # so that it is sent twice
    content = b"x" * 3_000_000
    wire_of(adapter).send("POST", f"{PREFIX}runs/log-batch", body=io.BytesIO(content))
    assert [request.body for request in mlflow.requests] == [content]
    adapter.close()


def test_a_stream_cannot_be_signed(
    aws: SignedMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(monkeypatch, aws.environment())
    adapter = opened(aws.arn, tmp_path)
    with pytest.raises(Rejected, match="stream"):
        wire_of(adapter).send("POST", f"{PREFIX}runs/log-batch", body=lambda: iter([b"x"]))
    adapter.close()


@pytest.mark.parametrize("skew_ms", [600_000, -600_000, 86_400_000])
def test_a_wrong_clock_is_corrected_at_the_first_refusal_for_all_threads(
    aws: SignedMlflow,
    mlflow: ScriptedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    skew_ms: int,
) -> None:
    sign_in(monkeypatch, aws.environment())
    adapter = opened(aws.arn, tmp_path, clock_ms=lambda: now_ms() + skew_ms)
    barrier = threading.Barrier(4)

    def ask() -> dict[str, Any]:
        barrier.wait()
        return wire_of(adapter).post("experiments/search", {})

    with ThreadPoolExecutor(4) as pool:
        for answer in [pool.submit(ask) for _ in range(4)]:
            assert answer.result() == {}
    before = len(aws.requests)
    wire_of(adapter).post("experiments/search", {})
    assert len(aws.requests) == before + 1, "the correction was not kept"
    adapter.close()


@pytest.mark.parametrize(
    "refusal",
    [
        Answer(status=403, body={"message": "Signature expired: x is now earlier than y"}),
        Answer(
            status=403,
            body={"message": "no"},
            headers={"x-amzn-ErrorType": "RequestTimeTooSkewed", "Date": "yesterday"},
        ),
        Answer(status=403, body=b"\xff not JSON"),
        Answer(status=403, body=b"[]"),
    ],
)
def test_a_refusal_that_nothing_helps_against_is_sent_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Answer
) -> None:
    sign_in(monkeypatch, {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"})
    with scripted_server() as server:
        sign_in(monkeypatch, {"AWS_ENDPOINT_URL": server.url})
        server.says(refusal)
        adapter = opened(ARN, tmp_path)
        with pytest.raises(AuthError):
            wire_of(adapter).post("experiments/search", {})
        assert len(server.requests) == 1
        adapter.close()


def test_no_secret_is_logged_shown_or_told(
    aws: SignedMlflow,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    key = aws.keys.issue(seconds=3600)
    sign_in(monkeypatch, aws.environment(key))
    aws.denied = frozenset({"sagemaker-mlflow:SearchExperiments"})
    adapter = opened(aws.arn, tmp_path)
    with caplog.at_level(logging.DEBUG), pytest.raises(AuthError) as refused:
        wire_of(adapter).post("experiments/search", {})
    service = adapter.tracking.service
    stores = adapter.artifacts._places._options  # type: ignore[union-attr]
    told = [caplog.text, str(refused.value), repr(refused.value), str(refused.value.hint)]
    told += [repr(service), repr(service.http.authentication), repr(stores), repr(key), repr(adapter)]
    told += [repr(finding) for finding in adapter.check()]
    assert key.token is not None
    for secret in (key.secret_key, key.token, key.access_key):
        assert not any(secret in text for text in told if text != repr(key))
    assert key.secret_key not in repr(key)
    files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert not any(key.secret_key.encode() in content for content in files)
    adapter.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"X-Amz-Content-SHA256": "0" * 64}, "x-amz-content-sha256"),
        ({"X-Amz-Date": "20200101T000000Z"}, "Credential scope"),
        ({"X-Amz-Date": "soon"}, "ISO-8601"),
        ({"X-Amz-Security-Token": "another"}, "security token"),
        ({"X-Amz-Meta": "added"}, "SignedHeader"),
        ({"Authorization": ""}, "Missing Authentication Token"),
        ({"Content-Type": "text/plain"}, "does not match"),
    ],
)
def test_the_double_takes_no_request_that_was_changed(
    either: SignedMlflow,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, str],
    told: str,
) -> None:
    sign_in(monkeypatch, either.environment(either.keys.issue(seconds=3600)))
    adapter = opened(either.arn, tmp_path)
    sign = adapter.tracking.service.http.authentication
    assert sign is not None
    request = requests.Request("POST", f"{either.url}{PREFIX}experiments/search", json={}).prepare()
    sign(request)
    with requests.Session() as session:
        assert session.send(request).status_code == 200
        request.hooks = {"response": []}
        request.headers.update(change)
        answer = session.send(request)
    assert answer.status_code in (400, 403)
    assert told in answer.json()["message"]
    adapter.close()


@pytest.mark.parametrize(
    ("arn", "told"),
    [
        (ARN.replace("eu-west-1", "us-east-1"), "scoped to a valid region"),
        (ARN.replace("mlflow-tracking-server", "mlflow-app"), "scoped to correct service"),
        (ARN.replace("/tracking", "/another"), "does not exist"),
    ],
)
def test_an_arn_of_another_server(
    mlflow: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arn: str, told: str
) -> None:
    with SignedMlflow(mlflow.url) as aws:
        sign_in(monkeypatch, aws.environment())
        adapter = opened(arn, tmp_path)
        with pytest.raises((AuthError, ConnectionError), match=told) as refused:
            wire_of(adapter).post("experiments/search", {})
        assert "aws sagemaker list-mlflow-" in (refused.value.hint or "")  # type: ignore[attr-defined]
        adapter.close()
    assert mlflow.requests == []


@pytest.mark.parametrize(
    "path", ["a b", "é", "a%20b", "a+b", "x~y", "(x)!*'", "a%2Fb", "%25", "a//b", "a/./b", "a/"]
)
def test_any_path_is_signed_right(
    aws: SignedMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A route that is not there is told so by the double only when the signature was right."""
    sign_in(monkeypatch, aws.environment())
    adapter = opened(aws.arn, tmp_path)
    with pytest.raises(BridgeError) as refused:
        wire_of(adapter).send("GET", f"/api/2.0/mlflow-artifacts/artifacts/{path}")
    assert not isinstance(refused.value, AuthError), str(refused.value)
    assert "404" in str(refused.value)
    adapter.close()
