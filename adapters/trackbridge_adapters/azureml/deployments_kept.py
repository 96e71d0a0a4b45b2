"""What is kept of endpoints beside Azure's own resources: revisions, the lock, and logs of what is gone.

They lie in the workspace's own storage, below ``bridge-endpoints/ENDPOINT/``, so that all who work on an
endpoint see the same::

    revisions.json   changed only where nobody has changed it since it was read (ETag)
    lock             leased by who holds it; Azure ends a lease that nobody renews, after 30 s
    logs/DEPLOYMENT  what a deployment had logged when it was deleted
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from types import TracebackType
from typing import Any
from urllib.parse import quote

import msgspec
import requests

from trackbridge.domain.deployments import EndpointRevision
from trackbridge.errors import AuthError, BridgeError, Conflict, Locked, NotFound
from trackbridge.transport.http import HttpClient
from trackbridge_adapters.azureml.artifacts_upload import send_to_storage
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.datastores import DEFAULT, Datastores

FOLDER = "bridge-endpoints"
LEASE_S = 30
RENEW_S = 10.0
REVISIONS_MAX = 1000
"""How many are kept of an endpoint; the oldest go."""
TRIES_MAX = 20
_NO_BLOB: Mapping[str, str] = {"If-None-Match": "*"}


class KeptBlobs:
    """Small blobs in the workspace's default datastore. Any thread may use it.

    Args:
        datastores: Of the workspace.
        http: Sends requests.
    """

    def __init__(self, datastores: Datastores, http: HttpClient) -> None:
        self._datastores = datastores
        self._http = http

    def read(self, path: str) -> tuple[bytes, str] | None:
        """Return a blob and its state; None where there is none."""
        try:
            answer = self._send("GET", path)
        except NotFound:
            return None
        return answer.content, answer.headers.get("ETag", "")

    def write(self, path: str, content: bytes, **headers: str) -> None:
        """Write a blob as a whole.

        Raises:
            Conflict: A condition in the headers does not hold.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._send("PUT", path, body=content, headers={"x-ms-blob-type": "BlockBlob", **named})

    def lease(self, path: str, action: str, lease: str) -> None:
        """Take, renew or give back a lease.

        Raises:
            Conflict: Somebody else has it.
        """
        headers = {"x-ms-lease-action": action, "x-ms-lease-id": lease}
        if action == "acquire":
            headers = {
                "x-ms-lease-action": action,
                "x-ms-lease-duration": str(LEASE_S),
                "x-ms-proposed-lease-id": lease,
            }
        self._send("PUT", path, query="comp=lease", headers=headers)

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> requests.Response:
        container = self._datastores.container(DEFAULT)
        used = container.keys.current()
        try:
            return self._sent(method, path, query, headers, body)
        except AuthError:
            if container.keys.renewed(used) == used:
                raise
        return self._sent(method, path, query, headers, body)

    def _sent(
        self, method: str, path: str, query: str, headers: Mapping[str, str] | None, body: bytes
    ) -> requests.Response:
        container = self._datastores.container(DEFAULT)
        secret = container.keys.current()
        signature = container.keys.signature(secret)
        asked = "&".join(part for part in (query, signature) if part)
        address = f"{container.address}/{quote(path, safe='/')}" + (f"?{asked}" if asked else "")
        given = {**(headers or {}), **({} if signature else {"Authorization": f"Bearer {secret.token}"})}
        named: dict[str, Any] = {} if method == "GET" else {"body": body}
        return send_to_storage(self._http, method, address, headers=given, **named)


def folder_of(endpoint: str) -> str:
    """Return where the things of an endpoint are kept; Azure does not tell capitals apart."""
    return f"{FOLDER}/{endpoint.lower()}"


class Revisions:
    """How endpoints stood before each operation on them. Any thread may use it."""

    def __init__(self, blobs: KeptBlobs) -> None:
        self._blobs = blobs

    def newest_first(self, endpoint: str) -> list[EndpointRevision]:
        """Return the revisions of an endpoint, newest first."""
        return self._read(endpoint)[0]

    def save(self, revision: EndpointRevision) -> EndpointRevision:
        """Keep a revision, and return it with its number; see the port.

        Raises:
            Conflict: Others write at the same time, again and again.
        """
        path = f"{folder_of(revision.endpoint)}/revisions.json"
        for _ in range(TRIES_MAX):
            held, state = self._read(revision.endpoint)
            last = held[0].number if held else 0
            is_same = bool(held) and held[0].deployments == revision.deployments
            numbered = msgspec.structs.replace(revision, number=last if is_same else last + 1)
            kept = [numbered, *(held[1:] if is_same else held)][:REVISIONS_MAX]
            condition = {"If_Match": state} if state else {"If_None_Match": "*"}
            try:
                self._blobs.write(path, msgspec.json.encode(kept), **condition)
            except Conflict:
                continue
            return numbered
        raise Conflict(
            f"the revisions of {revision.endpoint!r} were changed {TRIES_MAX} times by others",
            adapter=ADAPTER,
            operation="deployments.save_revision",
            hint="try again when they are done",
        )

    def _read(self, endpoint: str) -> tuple[list[EndpointRevision], str]:
        found = self._blobs.read(f"{folder_of(endpoint)}/revisions.json")
        if found is None:
            return [], ""
        return msgspec.json.decode(found[0], type=list[EndpointRevision]), found[1]


class EndpointLock:
    """The lock of an endpoint: held from when it is made to the end of its block.

    Args:
        blobs: Of the workspace.
        endpoint: Its name.
        clock_ms: Milliseconds since 1970.

    Raises:
        Locked: Somebody else has it.
    """

    def __init__(self, blobs: KeptBlobs, endpoint: str, clock_ms: Callable[[], int]) -> None:
        self._blobs = blobs
        self._endpoint = endpoint
        self._path = f"{folder_of(endpoint)}/lock"
        self._lost: str | None = None
        self._lease = str(uuid.uuid4())
        self._ended = threading.Event()
        self._acquire(endpoint)
        with suppress(BridgeError):  # the lock is ours, whether or not we can say so
            blobs.write(self._path, _holder(clock_ms()), x_ms_lease_id=self._lease)
        self._thread = threading.Thread(target=self._renew, name=f"lock of {endpoint}", daemon=True)
        self._thread.start()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        with suppress(BridgeError):  # it ends by itself
            self._blobs.lease(self._path, "release", self._lease)

    def check(self) -> None:
        """Return if the lock is still held.

        Raises:
            Locked: It was lost: it could not be renewed in time.
        """
        if self._lost is not None:
            raise Locked(
                f"the lock of {self._endpoint!r} was lost: {self._lost}",
                adapter=ADAPTER,
                operation="deployments.lock",
                hint="see how the endpoint stands, then apply the plan again",
            )

    def _acquire(self, endpoint: str) -> None:
        try:
            self._blobs.lease(self._path, "acquire", self._lease)
            return
        except NotFound:
            with suppress(Conflict):  # somebody else makes it
                self._blobs.write(self._path, b"{}", If_None_Match="*")
        except Conflict as error:
            raise self._locked(endpoint) from error
        try:
            self._blobs.lease(self._path, "acquire", self._lease)
        except Conflict as error:
            raise self._locked(endpoint) from error

    def _renew(self) -> None:
        renewed_s = time.monotonic()
        while not self._ended.wait(RENEW_S):
            try:
                self._blobs.lease(self._path, "renew", self._lease)
                renewed_s = time.monotonic()
            except Conflict:
                self._lost = "it had ended, and somebody else has it"
                return
            except BridgeError as error:  # the network: there is time until it ends
                if time.monotonic() - renewed_s > LEASE_S:
                    self._lost = str(error)
                    return

    def _locked(self, endpoint: str) -> Locked:
        told: Mapping[str, Any] = {}
        with suppress(BridgeError, ValueError):
            found = self._blobs.read(self._path)
            told = json.loads(found[0]) if found is not None else {}
        who = told.get("who") or "somebody"
        since = told.get("since") or "a moment ago"
        return Locked(
            f"the endpoint {endpoint!r} is being changed by {who}, since {since}",
            adapter=ADAPTER,
            operation="deployments.lock",
            hint=f"wait; a lock that nobody holds any more ends after {LEASE_S} s",
        )


def _holder(now_ms: int) -> bytes:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may have no name for who runs
        user = str(os.getuid()) if hasattr(os, "getuid") else "somebody"
    since = datetime.fromtimestamp(now_ms / 1000, tz=timezone.utc).isoformat(timespec="seconds")
    return json.dumps({"who": f"{user} on {platform.node()}", "since": since}).encode()
