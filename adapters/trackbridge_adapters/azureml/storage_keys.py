"""What opens the storage of a datastore: a signature, the account's key, or a token of the one who signs in.

::

    listSecrets -> Sas         kept until shortly before its end, then asked for again
                -> AccountKey  signs addresses of this container for an hour
                -> None, ...   a token for storage, of whoever is signed in

After a refusal they are asked for again, once: keys are rotated.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlencode

from trackbridge.errors import AuthError, Unavailable
from trackbridge_adapters.azureml.clouds import ADAPTER

AHEAD_S = 300.0
"""How long before its end a signature is renewed, or at a third of its life."""
SIGNED_FOR_S = 3600.0
SIGNATURE_VERSION = "2021-08-06"
PERMISSIONS = "rcwdl"


@dataclass(frozen=True, slots=True)
class Secret:
    """One of the three, and when it ends, in seconds since 1970; its repr shows none."""

    signature: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    ends_s: float | None = None
    renew_s: float | None = None


class StorageKeys:
    """What opens one container. Any thread may use it.

    Args:
        secrets: Asks ``listSecrets`` and returns its answer.
        token: Returns a token for storage and when it ends; for datastores that keep no secret.
        account: The storage account.
        container: Of the datastore.
        clock_ms: Milliseconds since 1970.
    """

    def __init__(
        self,
        secrets: Callable[[], dict[str, Any] | None],
        token: Callable[[], tuple[str, float]] | None,
        account: str,
        container: str,
        clock_ms: Callable[[], int],
    ) -> None:
        self._secrets = secrets
        self._token = token
        self._account = account
        self._container = container
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._known: Secret | None = None

    def current(self) -> Secret:
        """Return what is good for a while.

        Raises:
            AuthError: The workspace gives us none, and nobody is signed in.
        """
        with self._lock:
            known, now_s = self._known, self._clock_ms() / 1000
            if known is None or (known.renew_s is not None and now_s >= known.renew_s):
                known = self._known = self._asked(now_s)
            return known

    def renewed(self, refused: Secret) -> Secret:
        """Return another than the one that was refused, where there is another."""
        with self._lock:
            if self._known is None or self._known == refused:
                self._known = self._asked(self._clock_ms() / 1000)
            return self._known

    def signature(self, secret: Secret) -> str:
        """Return the query that opens addresses of the container; "" where only a token does."""
        if secret.key:
            return signed(secret.key, self._account, self._container, self._clock_ms() / 1000)
        return secret.signature

    def for_store(self) -> dict[str, Any]:
        """Return what obstore's ``AzureStore`` takes from its credential provider."""
        secret = self.current()
        ends = secret.renew_s if secret.renew_s is not None else None
        until = None if ends is None else datetime.fromtimestamp(ends, tz=timezone.utc)
        if secret.key:
            return {"access_key": secret.key, "expires_at": until}
        if secret.token:
            return {"token": secret.token, "expires_at": until}
        return {"sas_token": secret.signature, "expires_at": until}

    def _asked(self, now_s: float) -> Secret:
        answer = self._secrets()
        kind = str((answer or {}).get("secretsType") or "").lower()
        if answer is not None and kind == "sas":
            text = str(answer.get("sasToken") or "").lstrip("?")
            if not text:
                raise Unavailable("the workspace gave an empty signature for the storage", adapter=ADAPTER)
            ends_s = expiry_of(text)
            return Secret(signature=text, ends_s=ends_s, renew_s=_ahead(now_s, ends_s))
        if answer is not None and kind == "accountkey":
            return Secret(key=str(answer.get("key") or ""))
        if self._token is None:
            raise AuthError(
                "the datastore keeps no secret, and nobody is signed in for its storage",
                adapter=ADAPTER,
                resource=f"container {self._container} of {self._account}",
                hint="a token of a variable, a file or a job opens no storage: use the option sign_in, as "
                "somebody with the role 'Storage Blob Data Contributor' on the account",
            )
        token, ends_s = self._token()
        return Secret(token=token, ends_s=ends_s, renew_s=_ahead(now_s, ends_s))


def signed(key: str, account: str, container: str, now_s: float, *, seconds: float = SIGNED_FOR_S) -> str:
    """Return a signature (SAS) for all blobs of a container, made with the account's key.

    Raises:
        AuthError: The key is none.
    """
    ends = datetime.fromtimestamp(now_s, tz=timezone.utc) + timedelta(seconds=seconds)
    expiry = f"{ends:%Y-%m-%dT%H:%M:%SZ}"
    resource = f"/blob/{account}/{container}"
    fields = (PERMISSIONS, "", expiry, resource, "", "", "", SIGNATURE_VERSION, "c", *[""] * 7)
    try:
        secret = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        raise AuthError("the datastore's account key is not one", adapter=ADAPTER) from None
    digest = hmac.new(secret, "\n".join(fields).encode(), hashlib.sha256).digest()
    signature = base64.b64encode(digest).decode()
    named = {"sv": SIGNATURE_VERSION, "sr": "c", "sp": PERMISSIONS, "se": expiry, "sig": signature}
    return urlencode(named)


def expiry_of(signature: str) -> float | None:
    """Return when a signature ends, in seconds since 1970; None where it does not say."""
    text = (parse_qs(signature).get("se") or [""])[0]
    try:
        ends = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return (ends if ends.tzinfo else ends.replace(tzinfo=timezone.utc)).timestamp()


def _ahead(now_s: float, ends_s: float | None) -> float | None:
    return None if ends_s is None else ends_s - min(AHEAD_S, max(0.0, ends_s - now_s) / 3)
