"""OAuth for service principals: tokens are kept, renewed ahead of their end, and taken anew when refused."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs

import pytest
import requests

from tests.support.scripted_servers import Answer, Request, ScriptedServer, scripted_server
from trackbridge.errors import AuthError, BridgeError, RateLimited, Unavailable
from trackbridge.transport.http import HttpClient
from trackbridge_adapters.databricks.config import Login
from trackbridge_adapters.databricks.identity import ServicePrincipal, authentication_of

SECRET = "dose0123456789abcdef"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> int:
        return int(self.now_s * 1000)


def token(text: str, life_s: float = 3600.0) -> Answer:
    return Answer(body={"access_token": text, "token_type": "Bearer", "expires_in": life_s})


def principal(server: ScriptedServer, clock: Clock) -> ServicePrincipal:
    return ServicePrincipal(server.url, "1234", SECRET, HttpClient(adapter="databricks"), clock)


def header(signing: ServicePrincipal) -> str:
    return signing(requests.Request("GET", "http://host/").prepare()).headers["Authorization"]


def test_a_token_is_asked_for_once_as_oauth_wants_it(server: ScriptedServer):
    server.says(token("first"))
    signing = principal(server, Clock())
    assert [header(signing), header(signing)] == ["Bearer first"] * 2
    [request] = server.requests
    assert (request.method, request.path) == ("POST", "/oidc/v1/token")
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert (
        base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")) == f"1234:{SECRET}".encode()
    )
    form = parse_qs(request.body.decode())
    assert form == {"grant_type": ["client_credentials"], "scope": ["all-apis"]}


@pytest.mark.parametrize(
    ("life_s", "good_until_s"), [(3600.0, 3300.0), (30.0, 20.0)], ids=["an hour", "half a minute"]
)
def test_a_token_is_renewed_ahead_of_its_end(server: ScriptedServer, life_s: float, good_until_s: float):
    server.says(token("first", life_s), token("second", life_s))
    clock = Clock()
    signing = principal(server, clock)
    header(signing)
    clock.now_s += good_until_s - 1
    assert header(signing) == "Bearer first"
    clock.now_s += 2
    assert header(signing) == "Bearer second"


def test_the_old_token_goes_on_while_it_is_good(server: ScriptedServer):
    server.says(token("first"), Answer(status=503, body={}))
    clock = Clock()
    signing = principal(server, clock)
    header(signing)
    clock.now_s += 3400
    assert header(signing) == "Bearer first"
    clock.now_s += 300
    with pytest.raises(Unavailable):
        header(signing)


def test_a_refused_token_is_replaced_once_and_the_request_sent_again(server: ScriptedServer):
    good = "second"

    def answer(request: Request) -> Answer:
        if request.path == "/oidc/v1/token":
            return token(["first", good, "third"][tokens.pop(0)])
        return Answer() if request.headers["Authorization"] == f"Bearer {good}" else Answer(status=403)

    tokens = [0, 1, 2]
    server.answer = answer
    client = HttpClient(adapter="databricks", authentication=principal(server, Clock()))
    assert client.request("GET", f"{server.url}/x").status_code == 200
    assert tokens == [2]


def test_a_refusal_that_stays_is_told_after_one_retry(server: ScriptedServer):
    server.answer = lambda request: token("t") if "oidc" in request.path else Answer(status=403)
    client = HttpClient(adapter="databricks", authentication=principal(server, Clock()))
    assert client.request("GET", f"{server.url}/x").status_code == 403
    assert [request.path for request in server.requests].count("/x") <= 2


def test_threads_share_a_token(server: ScriptedServer):
    server.says(token("first"))
    signing = principal(server, Clock())
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.append(header(signing))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["Bearer first"] * 8
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(status=401, body={"error": "invalid_client", "error_description": "wrong"}), AuthError),
        (Answer(status=400, body={"error": "invalid_request", "error_description": "wrong"}), AuthError),
        (Answer(status=200, body="<html>sign in</html>"), Unavailable),
        (Answer(status=200, body={}), Unavailable),
        (Answer(status=200, body={"access_token": 7}), Unavailable),
        (Answer(status=200, body={"access_token": "ü"}), Unavailable),
        (Answer(status=404, body="<html>nothing</html>"), Unavailable),
        (Answer(status=302, headers={"Location": "https://login.example.org"}), Unavailable),
        (Answer(status=429, headers={"Retry-After": "3"}), RateLimited),
        (Answer(status=500, body={}), Unavailable),
    ],
)
def test_what_is_no_token_is_told(server: ScriptedServer, answer: Answer, kind: type[BridgeError]):
    server.says(answer)
    with pytest.raises(kind) as caught:
        header(principal(server, Clock()))
    assert SECRET not in f"{caught.value!r}{caught.value.hint}"


def test_nobody_is_shown_the_secret(server: ScriptedServer):
    server.says(token("first"))
    signing = principal(server, Clock())
    header(signing)
    assert SECRET not in repr(signing)
    assert "first" not in repr(signing)


def test_a_token_goes_before_a_service_principal():
    login = Login(host="https://one.example.org", token="t", client_id="1234", client_secret=SECRET)
    request = requests.Request("GET", "http://host/").prepare()
    signed = authentication_of(login, HttpClient(adapter="databricks"), Clock())(request)
    assert signed.headers["Authorization"] == "Bearer t"
