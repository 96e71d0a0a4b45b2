"""One POST: what is sent, and what each answer means."""

from __future__ import annotations

import hashlib
import hmac
import socket

import pytest

from tests.support.receivers import Answer, Receiver
from tests.unit.events.conftest import SECRET, Configure
from trackbridge.domain.events import DEPLOY_APPLIED, Event
from trackbridge.errors import (
    AuthError,
    BridgeError,
    ConfigError,
    RateLimited,
    Rejected,
    TimedOut,
    Unavailable,
)
from trackbridge.events import webhooks
from trackbridge.events.subscribers import find_subscriber
from trackbridge.events.webhooks import Webhook
from trackbridge.resolve.config import Settings

EVENT = Event(
    event_id="0" * 32,
    kind=DEPLOY_APPLIED,
    time=1_700_000_000_123,
    source="file:/x",
    subject="wine",
    data={"revision": 3, "name": "Ümlaut"},
)


@pytest.fixture
def hook(configure: Configure, receiver: Receiver) -> Webhook:
    configure(audit=receiver.url)
    return Webhook(find_subscriber("audit", Settings()), clock_s=lambda: 1_700_000_001.9)


def test_what_is_sent(hook: Webhook, receiver: Receiver) -> None:
    assert hook(EVENT) == "HTTP 204"
    (request,) = receiver.requests
    assert request.event == {
        "specversion": "1.0",
        "id": EVENT.event_id,
        "source": "file:/x",
        "type": "trackbridge.deploy.applied",
        "subject": "wine",
        "time": "2023-11-14T22:13:20.123+00:00",
        "datacontenttype": "application/json",
        "data": {"revision": 3, "name": "Ümlaut"},
    }
    headers = request.headers
    assert headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert headers["X-Bridge-Event"] == "deploy.applied"
    assert headers["X-Bridge-Delivery"] == EVENT.event_id
    assert headers["X-Bridge-Timestamp"] == "1700000001"
    expected = hmac.new(SECRET.encode(), b"1700000001." + request.body, hashlib.sha256).hexdigest()
    assert headers["X-Bridge-Signature"] == f"sha256={expected}"


def test_without_a_secret_nothing_is_signed(configure: Configure, receiver: Receiver) -> None:
    configure(f'[webhooks.a]\nurl = "{receiver.url}"')
    Webhook(find_subscriber("a", Settings()))(EVENT)
    assert "X-Bridge-Signature" not in receiver.requests[0].headers


def test_a_secret_that_is_not_there_sends_nothing(
    hook: Webhook, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK_SECRET")
    with pytest.raises(ConfigError, match="HOOK_SECRET is not set"):
        hook(EVENT)
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (400, Rejected),
        (404, Rejected),
        (410, Rejected),
        (401, AuthError),
        (403, AuthError),
        (408, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
        ("reset", Unavailable),
        ((429, {"Retry-After": "7"}), RateLimited),
    ],
)
def test_refusals(answer: Answer, kind: type[BridgeError], hook: Webhook, receiver: Receiver) -> None:
    receiver.answers = [answer]
    with pytest.raises(kind) as caught:
        hook(EVENT)
    assert type(caught.value) is kind
    assert SECRET not in str(caught.value)
    assert "/hook" not in str(caught.value)  # a path may hold a token
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("Tue, 14 Nov 2023 22:13:31 GMT", pytest.approx(9.1)),
        ("-5", 0.0),
        ("soon", None),
        ("nan", None),
        ("", None),
    ],
)
def test_retry_after(text: str, seconds: float | None, hook: Webhook, receiver: Receiver) -> None:
    receiver.answers = [(429, {"Retry-After": text})]
    with pytest.raises(RateLimited) as caught:
        hook(EVENT)
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int, hook: Webhook, receiver: Receiver) -> None:
    receiver.answers = [(status, {"Location": receiver.url + "/other"})]
    with pytest.raises(Rejected, match="redirect"):
        hook(EVENT)
    assert len(receiver.requests) == 1


def test_a_receiver_that_hangs(hook: Webhook, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 0.2)
    receiver.answers = ["hang"]
    with pytest.raises(TimedOut, match=r"within 0.2 s"):
        hook(EVENT)


def test_nobody_listens(configure: Configure) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        configure(audit=f"http://127.0.0.1:{reserved.getsockname()[1]}/")
        with pytest.raises(Unavailable, match="cannot be reached"):
            Webhook(find_subscriber("audit", Settings()))(EVENT)


def test_a_proxy_is_not_asked_for_this_machine(
    configure: Configure, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    configure(audit=receiver.url)
    assert Webhook(find_subscriber("audit", Settings()))(EVENT) == "HTTP 204"
