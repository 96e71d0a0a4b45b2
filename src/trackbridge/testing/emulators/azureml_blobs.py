"""The storage of the Azure ML double: block blobs behind addresses with a shared access signature.

What the Blob service refuses is refused: no or a foreign signature, an expired one, one without the
permission, an ``Authorization`` header beside it, a PUT without ``x-ms-blob-type``, a wrong ``Content-MD5``,
blocks whose ids differ in length, and a block list that names a block that was not sent.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from urllib.parse import parse_qs, quote, urlencode
from xml.etree import ElementTree

from trackbridge.testing.emulators.front import Result

CONTAINER = "/azureml-blobstore/"
BLOB_BYTES_MAX = 5_000 * 1024 * 1024
META = "x-ms-meta-"


@dataclass(slots=True)
class Blob:
    """What was committed."""

    content: bytes
    etag: str
    metadata: dict[str, str] = field(default_factory=dict)


class BlobStore:
    """Blobs by path.

    Args:
        signature_seconds: How long new addresses last.
        now_s: Seconds since 1970 by the double's clock.
    """

    def __init__(self, *, signature_seconds: float, now_s: Callable[[], float] = time.time) -> None:
        self.signature_seconds = signature_seconds
        self.writes = 0
        self._now_s = now_s
        self._key = uuid.uuid4().bytes
        self._lock = threading.Lock()
        self._blobs: dict[str, Blob] = {}
        self._blocks: dict[str, dict[str, bytes]] = {}

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._blobs.clear()
            self._blocks.clear()

    def signed(self, base: str, path: str, permissions: str) -> str:
        """Return an address at which the path can be read (``r``) or created and written (``cw``)."""
        expiry = f"{self._now_s() + self.signature_seconds:.3f}"
        query = {"sv": "2019-07-07", "sr": "b", "se": expiry, "sp": permissions}
        query["sig"] = self._signature(path, permissions, expiry)
        return f"{base}{CONTAINER}{quote(path)}?{urlencode(query)}"

    def answer(
        self, method: str, path: str, query_text: str, headers: Mapping[str, str], body: bytes
    ) -> Result:
        """Do what a request asks for; ``path`` is decoded and without the container."""
        query = {name: values[0] for name, values in parse_qs(query_text, keep_blank_values=True).items()}
        if "Authorization" in headers:
            return _refused(
                403, "AuthenticationFailed", "the signature and an Authorization header were sent"
            )
        problem = self._signature_problem(method, path, query)
        if problem:
            return _refused(403, *problem)
        if method in ("GET", "HEAD"):
            return self._read(method, path, headers)
        if method != "PUT":
            return _refused(405, "UnsupportedHttpVerb", method)
        if "Content-Length" not in headers:
            return _refused(411, "MissingContentLengthHeader", "a length is needed")
        md5 = headers.get("Content-MD5")
        if md5 and base64.b64encode(hashlib.md5(body).digest()).decode() != md5:
            return _refused(400, "Md5Mismatch", "the MD5 value did not match")
        self.writes += 1
        if query.get("comp") == "block":
            return self._put_block(path, query.get("blockid", ""), body)
        if query.get("comp") == "blocklist":
            return self._put_block_list(path, headers, body)
        if headers.get("x-ms-blob-type") != "BlockBlob":
            return _refused(400, "MissingRequiredHeader", "x-ms-blob-type is missing")
        return self._commit(path, headers, body)

    def _signature(self, path: str, permissions: str, expiry: str) -> str:
        text = "\n".join((path, permissions, expiry)).encode("utf-8", "surrogatepass")
        return base64.b64encode(hmac.new(self._key, text, hashlib.sha256).digest()).decode()

    def _signature_problem(self, method: str, path: str, query: Mapping[str, str]) -> tuple[str, str] | None:
        permissions, expiry = query.get("sp", ""), query.get("se", "")
        expected = self._signature(path, permissions, expiry)
        if not hmac.compare_digest(query.get("sig", ""), expected):
            return "AuthenticationFailed", "Signature did not match"
        if float(expiry) <= self._now_s():
            return (
                "AuthenticationFailed",
                f"Signature not valid in the specified time frame: Expiry [{expiry}]",
            )
        needed = "r" if method in ("GET", "HEAD") else "w"
        if needed not in permissions:
            return "AuthorizationPermissionMismatch", "not authorized to perform this operation"
        return None

    def _read(self, method: str, path: str, headers: Mapping[str, str]) -> Result:
        blob = self._blobs.get(path)
        if blob is None:
            return _refused(404, "BlobNotFound", "The specified blob does not exist.")
        given = {"ETag": blob.etag, "x-ms-blob-type": "BlockBlob", "Accept-Ranges": "bytes"}
        given.update({META + name: value for name, value in blob.metadata.items()})
        if method == "HEAD":
            given["Content-Length"] = str(len(blob.content))
            return Result(200, b"", given)
        return Result(200, blob.content, given)

    def _put_block(self, path: str, block_id: str, body: bytes) -> Result:
        with self._lock:
            blocks = self._blocks.setdefault(path, {})
            if not block_id or any(len(known) != len(block_id) for known in blocks):
                return _refused(400, "InvalidBlobOrBlock", "The specified blob or block content is invalid.")
            blocks[block_id] = body
        return Result(201, b"", {})

    def _put_block_list(self, path: str, headers: Mapping[str, str], body: bytes) -> Result:
        ids = [(item.text or "") for item in ElementTree.fromstring(body)]  # written by a test
        with self._lock:
            blocks = self._blocks.get(path, {})
            if any(block_id not in blocks for block_id in ids):
                return _refused(400, "InvalidBlockList", "The specified block list is invalid.")
            content = b"".join(blocks[block_id] for block_id in ids)
        return self._commit(path, headers, content)

    def _commit(self, path: str, headers: Mapping[str, str], content: bytes) -> Result:
        metadata = {
            name.lower().removeprefix(META): value
            for name, value in headers.items()
            if name.lower().startswith(META)
        }
        etag = f'"0x{uuid.uuid4().hex[:15].upper()}"'
        with self._lock:
            self._blobs[path] = Blob(content, etag, metadata)
            self._blocks.pop(path, None)
        return Result(201, b"", {"ETag": etag, "Last-Modified": formatdate(usegmt=True)})


def _refused(status: int, code: str, message: str) -> Result:
    told = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    text = f'<?xml version="1.0" encoding="utf-8"?>{told}'
    return Result(status, text.encode(), {"x-ms-error-code": code, "Content-Type": "application/xml"})
