"""What opens a datastore is renewed before its end and after a refusal, and is shown to nobody."""

from __future__ import annotations

import base64
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qs

import pytest

from trackbridge.errors import AuthError, Unavailable
from trackbridge_adapters.azureml.storage_keys import StorageKeys, expiry_of, signed

NOW_S = 1_700_000_000.0
KEY = base64.b64encode(b"k" * 64).decode()


class Workspace:
    """Answers ``listSecrets``; each signature lasts an hour by a clock that a test sets."""

    def __init__(self, kind: str = "Sas") -> None:
        self.kind, self.now_s, self.asked = kind, NOW_S, 0
        self.token: tuple[str, float] | None = None

    def secrets(self) -> dict[str, Any] | None:
        self.asked += 1
        if self.kind == "Sas":
            ends = datetime.fromtimestamp(self.now_s + 3600, tz=timezone.utc)
            token = f"?sv=2021-08-06&se={ends:%Y-%m-%dT%H:%M:%SZ}&sig=secret{self.asked}"
            return {"secretsType": "Sas", "sasToken": token}
        if self.kind == "AccountKey":
            return {"secretsType": "AccountKey", "key": KEY}
        return {"secretsType": "Sas", "sasToken": ""} if self.kind == "empty" else None

    def keys(self) -> StorageKeys:
        token = self.token
        given = None if token is None else lambda: token
        return StorageKeys(self.secrets, given, "account", "container", lambda: int(self.now_s * 1000))


def test_a_signature_is_asked_for_once_and_renewed_before_its_end() -> None:
    workspace = Workspace()
    keys = workspace.keys()
    first = keys.current()
    assert keys.current() is first
    workspace.now_s += 3600 - 301
    assert keys.current() is first
    workspace.now_s += 2
    assert keys.current() != first
    assert workspace.asked == 2


def test_after_a_refusal_it_is_asked_for_once_by_all() -> None:
    workspace = Workspace()
    keys = workspace.keys()
    refused = keys.current()
    assert keys.renewed(refused) == keys.renewed(refused) != refused
    assert workspace.asked == 2


def test_an_account_key_signs_for_the_container_and_an_hour() -> None:
    workspace = Workspace("AccountKey")
    keys = workspace.keys()
    named = {name: values[0] for name, values in parse_qs(keys.signature(keys.current())).items()}
    assert (named["sr"], named["sp"]) == ("c", "rcwdl")
    assert expiry_of(f"se={named['se']}") == NOW_S + 3600
    assert keys.for_store() == {"access_key": KEY, "expires_at": None}


def test_a_key_that_is_none_is_told_without_it() -> None:
    with pytest.raises(AuthError, match="account key is not one") as raised:
        signed("not base64!", "account", "container", NOW_S)
    assert "not base64!" not in str(raised.value)


def test_a_datastore_without_a_secret_is_opened_by_who_signs_in() -> None:
    workspace = Workspace("None")
    workspace.token = ("bearer", NOW_S + 3600)
    keys = workspace.keys()
    assert keys.for_store()["token"] == "bearer"
    assert keys.signature(keys.current()) == ""


def test_a_datastore_without_a_secret_and_nobody_signed_in() -> None:
    with pytest.raises(AuthError, match="keeps no secret") as raised:
        Workspace("None").keys().current()
    assert "Storage Blob Data Contributor" in str(raised.value.hint)


def test_an_empty_signature_is_none() -> None:
    with pytest.raises(Unavailable, match="empty signature"):
        Workspace("empty").keys().current()


@pytest.mark.parametrize("kind", ["Sas", "AccountKey"])
def test_no_repr_shows_a_secret(kind: str) -> None:
    secret = Workspace(kind).keys().current()
    assert KEY not in repr(secret)
    assert "secret1" not in repr(secret)


@pytest.mark.parametrize(
    ("text", "ends_s"),
    [
        ("se=2023-11-14T22:13:20Z", NOW_S),
        ("sv=1&se=2023-11-14T22%3A13%3A20Z", NOW_S),
        ("se=2023-11-14", datetime(2023, 11, 14, tzinfo=timezone.utc).timestamp()),
        ("sv=1", None),
        ("se=soon", None),
    ],
)
def test_the_end_of_a_signature(text: str, ends_s: float | None) -> None:
    assert expiry_of(text) == ends_s
