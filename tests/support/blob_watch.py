"""A server before Azurite: counts what is written, and lets single requests or addresses go wrong."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, unquote, urlsplit

from trackbridge.testing.emulators.azureml.storage import Storage
from trackbridge.testing.emulators.listener import HOP_HEADERS, Arrived, Listener, Sent

CALL_S = 60.0


class BlobWatch:
    """Hands requests on to Azurite.

    Args:
        storage: Azurite's, whose accounts sign.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._azurite = urlsplit(storage.url).netloc
        self._ended: set[str] = set()
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        self.writes = 0
        """PUT requests that were handed on."""
        self.requests: list[str] = []
        """Method and target of every request."""
        self.before: Callable[[Arrived], Sent | None] = lambda arrived: None
        """Looks at a request first; what it returns is the answer, with nothing done."""
        self._listener = Listener(self._answer)
        self.url = self._listener.url

    def close(self) -> None:
        """Listen no longer."""
        self._listener.close()

    def end_addresses(self) -> None:
        """Let every address that was used so far be one that has expired."""
        self._ended |= self._seen

    def _answer(self, arrived: Arrived) -> Sent:
        self.requests.append(f"{arrived.method} {arrived.target}")
        instead = self.before(arrived)
        if instead is not None:
            return instead
        target = self._as_expired(arrived.target)
        with self._lock:
            self.writes += arrived.method == "PUT"
        connection = http.client.HTTPConnection(self._azurite, timeout=CALL_S)
        try:
            headers = {name: value for name, value in arrived.headers.items() if name.lower() != "host"}
            connection.request(arrived.method, target, body=arrived.body or None, headers=headers)
            answer = connection.getresponse()
            given = {name: value for name, value in answer.getheaders() if name.lower() not in HOP_HEADERS}
            return Sent(answer.status, given, answer.read())
        finally:
            connection.close()

    def _as_expired(self, target: str) -> str:
        """Return the target; of an address that is to have ended, with a signature that Azurite refuses."""
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        signature = query.get("sig", [""])[0]
        self._seen.add(signature)
        if signature not in self._ended:
            return target
        _, account, container, path = unquote(parts.path).split("/", 3)
        permissions = query["sp"][0]
        old = self._storage.sas(container, path, account=account, permissions=permissions, seconds=-1)
        rest = "&".join(part for part in parts.query.split("&") if part.startswith(("comp=", "blockid=")))
        return f"{parts.path}?{old}" + (f"&{rest}" if rest else "")


def busy(arrived: Arrived) -> Sent:
    """Return the answer of storage that has too much to do."""
    told = b"<Error><Code>ServerBusy</Code><Message>The server is busy.</Message></Error>"
    return Sent(503, {"x-ms-error-code": "ServerBusy", "Content-Type": "application/xml"}, told)


@contextmanager
def blob_watch(storage: Storage) -> Iterator[BlobWatch]:
    """Run one before an emulator's storage."""
    watch = BlobWatch(storage)
    try:
        yield watch
    finally:
        watch.close()
