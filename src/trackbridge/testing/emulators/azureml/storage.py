"""Blob storage of the emulated cloud: accounts, containers and signed addresses, over a real Azurite."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import quote, urlencode, urlsplit
from xml.etree import ElementTree

from trackbridge.testing.emulators.azureml.refusal import Refused
from trackbridge.testing.emulators.azureml.times import moment

VERSION = "2021-12-02"
"""The version of the storage services that signatures are made for."""
ACCOUNT = "tbteststore"
REGISTRY_ACCOUNT = "tbregistrystore"
CONTAINER = "azureml-blobstore-default"
"""The container of ``workspaceblobstore``."""
READ, WRITE, ALL = "r", "cw", "racwdlx"
CALL_S = 60.0


@dataclass(frozen=True, slots=True)
class Blob:
    """One blob of a listing: path in the container, size, time of its last change (as HTTP tells it)."""

    path: str
    size: int
    modified: str


class Storage:
    """Accounts of Blob storage.

    Args:
        url: Where Azurite listens, such as ``http://127.0.0.1:10000``.
        keys: The accounts' keys, by name, in Base64.
        now_s: The clock of Azurite.
        signature_seconds: How long addresses last that are given no time.
    """

    def __init__(
        self,
        url: str,
        keys: Mapping[str, str],
        *,
        now_s: Callable[[], float],
        signature_seconds: float = 3600.0,
    ) -> None:
        self.url, self._keys = url, dict(keys)
        self.now_s, self.signature_seconds = now_s, signature_seconds
        self._made: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._host = urlsplit(url).netloc

    def key(self, account: str) -> str:
        """Return an account's key, as ``listSecrets`` tells it."""
        return self._keys[account]

    def rotate(self, account: str, key: str) -> None:
        """Remember another key of an account: Azurite must have been told of it."""
        self._keys[account] = key

    def ensure_container(self, container: str = CONTAINER, *, account: str = ACCOUNT) -> None:
        """Make a container if it is not there."""
        with self._lock:
            if (account, container) in self._made:
                return
        status, body = self._call("PUT", account, f"/{container}", {"restype": "container"})
        if status not in (201, 409):
            raise RuntimeError(f"Azurite answered {status} when a container was made: {body[:300]!r}")
        with self._lock:
            self._made.add((account, container))

    def sas(
        self,
        container: str = CONTAINER,
        path: str = "",
        *,
        account: str = ACCOUNT,
        permissions: str = ALL,
        seconds: float | None = None,
    ) -> str:
        """Return a service SAS (the query, without ``?``) of a container, or of one blob of it.

        Args:
            container: Must be there: see ``ensure_container``.
            path: Of the blob; the container as a whole without it.
            account: Whose key signs.
            permissions: Such as ``r`` or ``racwdlx``, in the order of the documentation.
            seconds: How long it lasts; negative for one that has expired.
        """
        lasts_s = self.signature_seconds if seconds is None else seconds
        start = _utc(self.now_s() - 600)
        expiry = _utc(self.now_s() + lasts_s)
        kind = "b" if path else "c"
        resource = f"/blob/{account}/{container}" + (f"/{path}" if path else "")
        # Order and number of fields are those of version 2020-12-06 and later.
        fields = (permissions, start, expiry, resource, "", "", "https,http", VERSION, kind) + ("",) * 7
        signed = hmac.new(base64.b64decode(self._keys[account]), "\n".join(fields).encode(), hashlib.sha256)
        query = {"sv": VERSION, "sr": kind, "st": start, "se": expiry, "spr": "https,http", "sp": permissions}
        return urlencode({**query, "sig": base64.b64encode(signed.digest()).decode()})

    def signed(
        self, base: str, container: str, path: str = "", *, account: str = ACCOUNT, **settings: object
    ) -> str:
        """Return a whole address, signed; ``base`` is ``cloud.addresses(request).blob(account)``."""
        query = self.sas(container, path, account=account, **settings)  # type: ignore[arg-type]
        place = f"{base}/{container}" + (f"/{quote(path)}" if path else "")
        return f"{place}?{query}"

    def exists(self, path: str, *, container: str = CONTAINER, account: str = ACCOUNT) -> bool:
        """Tell whether a blob is there."""
        return self._call("HEAD", account, f"/{container}/{quote(path)}", {})[0] == 200

    def get(self, path: str, *, container: str = CONTAINER, account: str = ACCOUNT) -> bytes:
        """Return a blob.

        Raises:
            Refused: It is not there (404).
        """
        status, body = self._call("GET", account, f"/{container}/{quote(path)}", {})
        if status != 200:
            raise Refused(404, "UserError", f"The specified blob does not exist: {container}/{path}")
        return body

    def put(self, path: str, content: bytes, *, container: str = CONTAINER, account: str = ACCOUNT) -> None:
        """Write a blob; its container is made."""
        self.ensure_container(container, account=account)
        status, body = self._call(
            "PUT", account, f"/{container}/{quote(path)}", {}, content, {"x-ms-blob-type": "BlockBlob"}
        )
        if status != 201:
            raise RuntimeError(f"Azurite answered {status}: {body[:300]!r}")

    def delete(self, path: str, *, container: str = CONTAINER, account: str = ACCOUNT) -> bool:
        """Remove a blob; returns whether it was there."""
        return self._call("DELETE", account, f"/{container}/{quote(path)}", {})[0] == 202

    def blobs(self, prefix: str = "", *, container: str = CONTAINER, account: str = ACCOUNT) -> list[Blob]:
        """Return the blobs below a prefix; nothing when the container is not there."""
        found: list[Blob] = []
        marker = ""
        while True:
            query = {"restype": "container", "comp": "list", "prefix": prefix, "marker": marker}
            status, body = self._call("GET", account, f"/{container}", {k: v for k, v in query.items() if v})
            if status != 200:
                return found
            root = ElementTree.fromstring(body)  # Azurite's own
            found.extend(_blob(item) for item in root.iter("Blob"))
            marker = root.findtext("NextMarker") or ""
            if not marker:
                return found

    def copy(
        self,
        source: str,
        target: str,
        *,
        container: str = CONTAINER,
        into: str = CONTAINER,
        account: str = ACCOUNT,
        into_account: str = ACCOUNT,
    ) -> None:
        """Copy a blob; through memory, since it is small or a test's."""
        self.put(
            target,
            self.get(source, container=container, account=account),
            container=into,
            account=into_account,
        )

    def clear(self) -> None:
        """Remove every container of every account."""
        for account in self._keys:
            status, body = self._call("GET", account, "/", {"comp": "list"})
            if status != 200:
                raise RuntimeError(f"Azurite answered {status}: {body[:300]!r}")
            for item in ElementTree.fromstring(body).iter("Container"):
                self._call("DELETE", account, f"/{item.findtext('Name')}", {"restype": "container"})
        with self._lock:
            self._made.clear()

    def _call(
        self,
        method: str,
        account: str,
        path: str,
        query: Mapping[str, str],
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Send a request that the account's key signs, as the documentation of shared keys says."""
        sent = {
            "x-ms-date": formatdate(self.now_s(), usegmt=True),
            "x-ms-version": VERSION,
            **(headers or {}),
        }
        canonical = "".join(f"{name}:{sent[name]}\n" for name in sorted(sent))
        resource = f"/{account}/{account}{path}" + "".join(
            f"\n{name}:{value}" for name, value in sorted(query.items())
        )
        length = str(len(body)) if body else ""
        text = "\n".join((method, "", "", length, *[""] * 8, canonical + resource))
        signed = hmac.new(base64.b64decode(self._keys[account]), text.encode(), hashlib.sha256).digest()
        sent["Authorization"] = f"SharedKey {account}:{base64.b64encode(signed).decode()}"
        connection = http.client.HTTPConnection(self._host, timeout=CALL_S)
        try:
            target = f"/{account}{path}" + (f"?{urlencode(query)}" if query else "")
            connection.request(
                method, target, body=body or None, headers={**sent, "Content-Length": str(len(body))}
            )
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def _blob(item: ElementTree.Element) -> Blob:
    return Blob(
        item.findtext("Name") or "",
        int(item.findtext("Properties/Content-Length") or 0),
        item.findtext("Properties/Last-Modified") or "",
    )


def _utc(seconds: float) -> str:
    return moment(seconds)[:19] + "Z"
