"""The wire: what an answer means, in both styles of error, with pages of HTML, redirects and half answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scripted_servers import Answer, ScriptedServer, scripted_server
from tests.unit.adapters.mlflow_rest.rig import OURS, opened, refusal
from trackbridge.errors import (
    AuthError,
    Conflict,
    NotFound,
    RateLimited,
    Rejected,
    TimedOut,
    Transient,
    Unavailable,
)
from trackbridge.ports.findings import Severity
from trackbridge.testing.contracts.samples import batch_of
from trackbridge_adapters._mlflow_rest.errors import RouteMissing
from trackbridge_adapters._mlflow_rest.wire import Wire

SECRET = "hunter2Xy9"
LOGIN_PAGE = "<html><title>Sign in</title></html>"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def wire(server: ScriptedServer, tmp_path: Path) -> Wire:
    return opened(server, tmp_path).tracking.wire


def nested(status: int, code: str) -> Answer:
    """An error as Azure says it."""
    return Answer(status=status, body={"error": {"code": code, "message": "no"}})


def test_a_route_is_asked_below_the_prefix(server, wire):
    server.says(Answer(body={"run": {"x": 1}}))
    assert wire.get("runs/get", {"run_id": "a b"}) == {"run": {"x": 1}}
    assert wire.post("runs/create", {"name": "ü"}) == {"run": {"x": 1}}
    get, post = server.requests
    assert (get.method, get.path) == ("GET", "/api/2.0/mlflow/runs/get?run_id=a%20b")
    assert (post.method, post.path, post.json) == ("POST", "/api/2.0/mlflow/runs/create", {"name": "ü"})
    assert post.headers["Content-Type"] == "application/json"


def test_numbers_that_json_does_not_have_are_read(server, wire):
    server.says(Answer(body='{"a": NaN, "b": Infinity, "c": -Infinity}'))
    found = wire.get("x")
    assert found["a"] != found["a"]
    assert (found["b"], found["c"]) == (float("inf"), float("-inf"))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal(404, "RESOURCE_DOES_NOT_EXIST"), NotFound),
        (refusal(400, "RESOURCE_ALREADY_EXISTS"), Rejected),
        (refusal(400, "INVALID_PARAMETER_VALUE"), Rejected),
        (refusal(403, "PERMISSION_DENIED"), AuthError),
        (refusal(401, "UNAUTHENTICATED"), AuthError),
        (refusal(429, "REQUEST_LIMIT_EXCEEDED"), RateLimited),
        (refusal(400, "RESOURCE_EXHAUSTED"), RateLimited),
        (refusal(500, "INTERNAL_ERROR"), Unavailable),
        (refusal(500, "INTERNAL_ERROR", "Changing param values is not allowed. Param …"), Rejected),
        (refusal(503, "TEMPORARILY_UNAVAILABLE"), Unavailable),
        (refusal(503, "INVALID_PARAMETER_VALUE"), Unavailable),
        (refusal(409, "A_CODE_OF_TOMORROW"), Conflict),
        (refusal(404, "A_CODE_OF_TOMORROW"), NotFound),
        (refusal(404, "ENDPOINT_NOT_FOUND"), RouteMissing),
        (nested(404, "NotFound"), NotFound),
        (nested(400, "UserError"), Rejected),
        (nested(401, "Unauthorized"), AuthError),
        (nested(429, "Throttled"), RateLimited),
        (nested(500, "ServiceError"), Unavailable),
        (Answer(status=502, body=LOGIN_PAGE), Unavailable),
        (Answer(status=504, body=LOGIN_PAGE), TimedOut),
        (Answer(status=413, body=LOGIN_PAGE), Rejected),
        (Answer(status=400, body=b"\xff\xfe"), Rejected),
        (Answer(status=400, body="[1]"), Rejected),
        (Answer(status=400, body='{"error_code": 7, "message": {"a": 1}}'), Rejected),
        (Answer(status=400, body='{"error": "text"}'), Rejected),
        (Answer(status=500, body=""), Unavailable),
    ],
)
def test_what_a_refusal_means(answer, kind, server, wire):
    server.says(answer)
    for call in (lambda: wire.get("runs/get"), lambda: wire.post("runs/log-batch", {})):
        with pytest.raises(kind) as caught:
            call()
        assert type(caught.value) is kind
        assert caught.value.adapter == "mlflow"
        assert str(answer.status) in str(caught.value) or kind is RateLimited


def test_a_server_that_wants_fewer_requests_says_when(server, wire):
    for answer in (refusal(429, "REQUEST_LIMIT_EXCEEDED"), Answer(status=429), Answer(status=503)):
        server.says(Answer(status=answer.status, body=answer.body, headers={"Retry-After": "3"}))
        with pytest.raises(RateLimited) as caught:
            wire.get("runs/get")
        assert caught.value.retry_after_s == 3.0


def test_what_a_server_says_is_shown_without_its_secrets(server, wire):
    server.says(refusal(400, "INVALID_PARAMETER_VALUE", f"Authorization: Bearer {SECRET}" + "x" * 10_000))
    with pytest.raises(Rejected) as caught:
        wire.get("runs/get")
    assert SECRET not in str(caught.value)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize("body", ["default backend - 404", "", LOGIN_PAGE])
def test_a_page_that_was_not_found_says_nothing_of_the_run(status, body, server, tmp_path):
    """An ingress answers so while its server is being replaced; no record may become a dead letter."""
    server.says(Answer(status=status, body=body))
    tracking = opened(server, tmp_path).tracking
    for call in (
        lambda: tracking.get_run(OURS),
        lambda: tracking.write(batch_of(OURS, params=[("p", "1")])),
        lambda: tracking.ensure_experiment("e", experiment_id="e"),
    ):
        with pytest.raises(Transient) as caught:
            call()
        assert caught.value.hint


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=LOGIN_PAGE),
        Answer(body="null"),
        Answer(body="[]"),
        Answer(body="{"),
        Answer(status=301, headers={"Location": "https://elsewhere.example/"}, body=""),
        Answer(status=302, headers={"Location": f"https://login.example/?token={SECRET}"}, body=LOGIN_PAGE),
        Answer(status=308, body=""),
    ],
)
def test_records_that_met_a_login_page_or_a_redirect_were_not_delivered(answer, server, tmp_path):
    tracking = opened(server, tmp_path).tracking
    tracking.ids.remember("run", OURS, "f" * 32)
    server.says(answer)
    with pytest.raises(Unavailable) as caught:
        tracking.write(batch_of(OURS, metrics=[("m", 1.0, 0, 1)]))
    assert caught.value.hint
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("fault", ["reset", "half"])
def test_half_an_answer_may_mean_that_it_was_done(fault, server, wire):
    server.says(Answer(fault=fault, body='{"run": '))
    with pytest.raises(TimedOut) as caught:
        wire.post("runs/create", {})
    assert caught.value.ambiguous


def test_a_text_that_is_not_unicode_is_rejected_before_it_is_sent(server, wire):
    with pytest.raises(Rejected):
        wire.get("runs/get", {"run_id": "\ud800"})
    with pytest.raises(Rejected):
        wire.post("runs/create", {"name": "\ud800"})
    assert server.requests == []


DOCTOR_ANSWERS = {
    "login page": (Answer(body=LOGIN_PAGE), "backend"),
    "nobody at the route": (Answer(status=404, body="default backend - 404"), "backend"),
    "expired token": (Answer(status=401), "credentials"),
    "missing role": (refusal(403, "PERMISSION_DENIED"), "credentials"),
    "not implemented": (Answer(status=501), "backend"),
    "down": (Answer(status=503), "backend"),
    "broken": (Answer(fault="reset"), "backend"),
}


@pytest.mark.parametrize("name", DOCTOR_ANSWERS)
@pytest.mark.parametrize("write", [False, True])
def test_a_sick_server_is_a_finding_with_a_fix(name, write, server, tmp_path):
    answer, subject = DOCTOR_ANSWERS[name]
    server.says(answer)
    findings = opened(server, tmp_path).check(write=write)
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    assert [finding.subject for finding in errors] == [subject]
    assert errors[0].fix


@pytest.mark.parametrize(
    ("skew_s", "severity"),
    [
        (0, None),
        (90, Severity.WARNING),
        (-90, Severity.WARNING),
        (600, Severity.ERROR),
        (-600, Severity.ERROR),
    ],
)
def test_a_clock_that_is_wrong_is_named(skew_s, severity, server, tmp_path):
    found = opened(server, tmp_path, skew_ms=skew_s * 1000).check()
    clock = [finding for finding in found if finding.subject == "clock"]
    assert [finding.severity for finding in clock] == ([] if severity is None else [severity])
    assert all(finding.fix for finding in clock)


@pytest.mark.parametrize(
    ("answer", "severity"),
    [
        (Answer(body="2.15.1"), Severity.WARNING),
        (Answer(body="1.30.0"), Severity.WARNING),
        (Answer(body="2.16.0"), Severity.OK),
        (Answer(body="3.17.2.dev0"), Severity.OK),
        (Answer(body="10.0"), Severity.OK),
        (Answer(body=LOGIN_PAGE), None),
        (Answer(status=404), None),
        (Answer(status=400), None),
        (Answer(status=501), None),
        (Answer(fault="reset"), None),
    ],
)
def test_the_version_is_told_where_the_server_says_it(answer, severity, server, tmp_path):
    server.answer = lambda request: answer if request.path == "/version" else Answer()
    found = [finding for finding in opened(server, tmp_path).check() if finding.subject == "version"]
    assert [finding.severity for finding in found] == ([] if severity is None else [severity])
    assert severity is not Severity.WARNING or found[0].fix
