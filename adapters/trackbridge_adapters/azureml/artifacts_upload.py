"""One file on its way into the workspace's storage, by an address that is renewed when it has expired."""

# ruff: noqa: D102  the docstrings of ``Parts`` are the contract

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import Callable
from typing import Any, BinaryIO
from urllib.parse import quote

import requests

from trackbridge.errors import AuthError
from trackbridge.transport.http import HttpClient, error_of_status
from trackbridge_adapters._mlflow_rest.artifacts_files import blocks
from trackbridge_adapters._mlflow_rest.artifacts_parts import Parts
from trackbridge_adapters.azureml.clouds import ADAPTER

META_DIGEST = "x-ms-meta-bridgesha256"
ANSWER_S = 300.0
VERSION = {"x-ms-version": "2021-08-06"}


def send_to_storage(http: HttpClient, method: str, address: str, **named: Any) -> requests.Response:
    """Send a request to storage, with the address's own signature only.

    Raises:
        AuthError: The signature has expired, or the account refuses this machine.
        BridgeError: By the status.
    """
    headers = {**VERSION, "Accept-Encoding": "identity", **named.pop("headers", {})}
    answer = http.request(method, address, headers=headers, authenticate=False, answer_s=ANSWER_S, **named)
    if answer.status_code < 400:
        return answer
    code = answer.headers.get("x-ms-error-code", "")
    answer.close()
    error = error_of_status(answer, f"storage: {code}", adapter=ADAPTER, resource="artifact")
    if isinstance(error, AuthError):
        error.advise("the storage account refuses this machine: check its firewall, or its private endpoint")
    raise error


class Upload(Parts):
    """A file, as a whole or in blocks, of which nothing is seen until their list makes them the file.

    Args:
        send: Sends a request to storage: a method and an address, then as for ``HttpClient.request``.
        first: Returns an address to write at.
        again: Returns another one, for a file whose address was given before.
    """

    def __init__(
        self, send: Callable[..., requests.Response], first: Callable[[], str], again: Callable[[], str]
    ) -> None:
        self._send = send
        self._first = first
        self._again = again
        self._lock = threading.Lock()
        self._known: str | None = None

    def whole(self, source: BinaryIO, *, digest: str, size: int) -> str:
        """Send all of a file and return its version."""
        headers = {"x-ms-blob-type": "BlockBlob", META_DIGEST: digest, "Content-MD5": _md5(source)}
        body: Any = (lambda: _rewound(source)) if size else b""  # an empty stream has no length
        return self._put("", body, headers).headers.get("ETag", "")

    def begin(self, count: int, digest: str) -> str:
        self._address()
        return f"{os.urandom(12).hex()}-{digest}"

    def knows(self, upload: str) -> bool:
        return "-" in upload  # a list that names a block which has gone is refused, and all is sent again

    def send(self, upload: str, number: int, content: bytes) -> str:
        block = base64.b64encode(f"{upload.partition('-')[0]}{number:08x}".encode()).decode()
        md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        self._put(f"&comp=block&blockid={quote(block, safe='')}", content, {"Content-MD5": md5})
        return block

    def complete(self, upload: str, tags: list[str]) -> str:
        listed = "".join(f"<Latest>{tag}</Latest>" for tag in tags)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'.encode()
        headers = {META_DIGEST: upload.partition("-")[2], "Content-Type": "application/xml"}
        return self._put("&comp=blocklist", body, headers).headers.get("ETag", "")

    def named(self, upload: str, digest: str) -> str:
        return f"{upload.partition('-')[0]}-{digest}"

    def abort(self, upload: str) -> None:
        """Do nothing: blocks cannot be deleted, and end by themselves after a week."""

    def close(self) -> None:
        """Do nothing: the connections are the adapter's."""

    def _put(self, query: str, body: Any, headers: dict[str, str]) -> requests.Response:
        address = self._address()
        try:
            return self._send("PUT", f"{address}{query}", body=body, headers=headers)
        except AuthError:
            return self._send(
                "PUT", f"{self._address(instead_of=address)}{query}", body=body, headers=headers
            )

    def _address(self, instead_of: str | None = None) -> str:
        with self._lock:
            if self._known is None:
                self._known = self._first()
            elif self._known == instead_of:
                self._known = self._again()
            return self._known


def _md5(source: BinaryIO) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for block in blocks(_rewound(source)):
        digest.update(block)
    return base64.b64encode(digest.digest()).decode()


def _rewound(source: BinaryIO) -> BinaryIO:
    source.seek(0)
    return source
