"""The lock of an endpoint: a lease that is renewed while it is held, and given back."""

from __future__ import annotations

import json
import threading
from unittest.mock import Mock

import pytest

from tests.support.processes import eventually
from trackbridge.domain.plans import Action, Change
from trackbridge.errors import Conflict, Locked, NotFound, Unavailable
from trackbridge_adapters.azureml import deployments_kept as kept
from trackbridge_adapters.azureml.deployments import AzureDeployments

PATH = "bridge-endpoints/wine/lock"


class Blobs(kept.KeptBlobs):
    """A place in storage with one blob, which can be leased; ``broken`` fails that many renewals."""

    def __init__(self, *, content: bytes | None = None, holder: str = "", broken: int = 0) -> None:
        self.content, self.holder, self.broken = content, holder, broken
        self.actions: list[str] = []

    def read(self, path: str) -> tuple[bytes, str] | None:
        assert path == PATH
        return None if self.content is None else (self.content, "state")

    def write(self, path: str, content: bytes, **headers: str) -> None:
        assert path == PATH
        if self.holder and headers.get("x_ms_lease_id") != self.holder:
            raise Conflict("leased")
        self.content = content

    def lease(self, path: str, action: str, lease: str) -> None:
        assert path == PATH
        if self.content is None:
            raise NotFound("no blob")
        self.actions.append(action)
        if action == "renew" and self.broken:
            self.broken -= 1
            raise Unavailable("no line")
        if self.holder not in ("", lease):
            raise Conflict("leased by another")
        self.holder = "" if action == "release" else lease


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "RENEW_S", 0.01)


def test_a_lock_is_renewed_until_it_is_given_back() -> None:
    blobs = Blobs(broken=2)
    lock = kept.EndpointLock(blobs, "Wine", lambda: 1_700_000_000_000)
    with lock:
        eventually(lambda: blobs.actions.count("renew") >= 5, "five renewals, two of which failed")
        assert blobs.content is not None
        assert json.loads(blobs.content)["since"] == "2023-11-14T22:13:20+00:00"
    ended = list(blobs.actions)
    assert (ended[0], ended[-1], blobs.holder) == ("acquire", "release", "")
    assert blobs.actions == ended, "nobody renews any more"


def test_a_lease_that_somebody_else_has_got_is_not_renewed() -> None:
    blobs = Blobs()
    lock = kept.EndpointLock(blobs, "wine", lambda: 0)
    with lock:
        lock.check()
        blobs.holder = "another"
        eventually(lambda: "renew" in blobs.actions, "a renewal")
    assert blobs.actions.count("renew") == 1
    assert blobs.holder == "another"
    with pytest.raises(Locked, match="was lost: it had ended, and somebody else has it"):
        lock.check()


def test_a_lock_that_could_not_be_renewed_in_time_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "LEASE_S", -1)
    blobs = Blobs(broken=1)
    lock = kept.EndpointLock(blobs, "wine", lambda: 0)
    with lock:
        eventually(lambda: "renew" in blobs.actions, "a renewal")
    with pytest.raises(Locked, match="was lost: no line"):
        lock.check()


def test_who_has_lost_the_lock_changes_nothing() -> None:
    blobs, changes = Blobs(), Mock()
    named = ("capabilities", "findings", "scaling", "scoring", "batch", "logs", "metrics", "captured")
    target = AzureDeployments(
        Mock(), blobs=blobs, changes=changes, clock_ms=lambda: 0, **{name: Mock() for name in named}
    )
    with target.lock("Wine"):
        target.delete("wine")
        blobs.holder = "another"
        eventually(
            lambda: all(each.name != "lock of Wine" for each in threading.enumerate()), "the end of renewing"
        )
        with pytest.raises(Locked, match="was lost"):
            target.delete("wine")
        with pytest.raises(Locked, match="was lost"):
            target.apply(Change(subject="traffic wine", action=Action.UPDATE))
    assert (changes.delete.call_count, changes.apply.call_count) == (1, 0)
    blobs.holder = ""
    with target.lock("wine"):
        target.delete("wine")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"who": "ann on laptop", "since": "2026-01-01"}', "by ann on laptop, since 2026-01-01"),
        (b"", "by somebody, since a moment ago"),
    ],
)
def test_who_has_it_is_told(content: bytes, told: str) -> None:
    with pytest.raises(Locked, match=told):
        kept.EndpointLock(Blobs(content=content, holder="another"), "wine", lambda: 0)


def test_of_two_who_make_the_first_lock_at_once_one_gets_it() -> None:
    class Raced(Blobs):
        def write(self, path: str, content: bytes, **headers: str) -> None:
            if self.content is None:  # the other one is a moment faster
                self.content, self.holder = b"{}", "another"
            super().write(path, content, **headers)

    with pytest.raises(Locked):
        kept.EndpointLock(Raced(), "wine", lambda: 0)
