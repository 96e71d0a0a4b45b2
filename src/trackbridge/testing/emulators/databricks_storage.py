"""The storage of the Databricks double, behind signed addresses, in the manner of one of the clouds.

What each refuses is refused: a wrong or expired signature, an address that was signed for something else, an
``Authorization`` header beside it, a body without a length, signed headers that are not sent, and parts or
blocks that do not fit together.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode
from xml.etree import ElementTree

from trackbridge.testing.emulators.front import Result

AWS, GCP, BLOB, LAKE = "AWS_PRESIGNED_URL", "GCP_SIGNED_URL", "AZURE_SAS_URI", "AZURE_ADLS_GEN2_SAS_URI"
KINDS = (AWS, GCP, BLOB, LAKE)
PATH = "/storage/"
PART_BYTES_MIN = 5 * 1024 * 1024
"""Of all parts but the last, as S3 wants it."""
ENCRYPTION = "x-amz-server-side-encryption"
_PERMISSIONS = {"GET": "r", "HEAD": "r", "PUT": "w", "PATCH": "w", "DELETE": "d"}


class Storage:
    """Objects by path.

    Args:
        now_s: The double's clock.
        kind: One of ``KINDS``.
        seconds: How long addresses last.
    """

    def __init__(self, now_s: Callable[[], float], *, kind: str = AWS, seconds: float = 3600.0) -> None:
        self.kind = kind
        self.seconds = seconds
        self.writes = 0
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        """Parts of uploads that are not complete."""
        self._now_s = now_s
        self._blocks: dict[tuple[str, str], bytes] = {}
        self._key = uuid.uuid4().bytes
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self.objects.clear()
            self.uploads.clear()
            self._blocks.clear()

    # Addresses.

    def address(self, base: str, path: str, permission: str, **bound: object) -> dict[str, Any]:
        """Return an address as the workspace gives it: ``r`` to read, ``w`` to write, ``d`` to delete."""
        signed = {"perm": permission, "expires": f"{self._now_s() + self.seconds:.3f}"}
        signed.update({name: str(value) for name, value in bound.items()})
        query = urlencode({**signed, "signature": self._signature(path, signed)})
        is_encrypted = self.kind == AWS and permission == "w"
        return {
            "signed_uri": f"{base}{PATH}{quote(path)}?{query}",
            "type": self.kind,
            "headers": [{"name": ENCRYPTION, "value": "AES256"}] if is_encrypted else [],
        }

    def _signature(self, path: str, signed: Mapping[str, str]) -> str:
        text = "\n".join((path, *(f"{name}={signed[name]}" for name in sorted(signed))))
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()

    # Answers.

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Result:
        """Do what a request asks for."""
        path_text, _, query_text = target.partition("?")
        path = unquote(path_text.removeprefix(PATH))
        query = {name: values[0] for name, values in parse_qs(query_text, keep_blank_values=True).items()}
        problem = self._problem(method, path, query, headers)
        if problem is not None:
            return problem
        if method in ("GET", "HEAD"):
            return self._read(path)
        if method == "DELETE":
            self.uploads.pop(query.get("uploadId", ""), None)
            return Result(204, b"", {})
        self.writes += 1
        if self.kind == LAKE:
            return self._lake(method, path, query, body)
        if method != "PUT":
            return _refused(405, "MethodNotAllowed")
        if self.kind == BLOB:
            return self._blob(path, query, headers, body)
        if "uploadId" in query:
            return self._part(query, body)
        return self._put(path, body)

    def _problem(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> Result | None:
        unsigned = {"signature", "comp", "blockid", "resource", "action", "position"}
        signed = {name: value for name, value in query.items() if name not in unsigned}
        if "Authorization" in headers:
            return _refused(400, "InvalidArgument")
        if not hmac.compare_digest(query.get("signature", ""), self._signature(path, signed)):
            return _refused(403, "SignatureDoesNotMatch")
        if float(query["expires"]) <= self._now_s():
            return _refused(403, "AccessDenied")
        if query["perm"] != _PERMISSIONS.get(method):
            return _refused(403, "SignatureDoesNotMatch")
        if method in ("PUT", "PATCH") and "Content-Length" not in headers:
            return _refused(411, "MissingContentLength")
        if self.kind == AWS and method == "PUT" and headers.get(ENCRYPTION) != "AES256":
            return _refused(403, "SignatureDoesNotMatch")
        return None

    def _read(self, path: str) -> Result:
        content = self.objects.get(path)
        if content is None:
            return _refused(404, "NoSuchKey")
        return Result(200, content, {"ETag": _etag(content), "Content-Type": "application/octet-stream"})

    def _put(self, path: str, content: bytes) -> Result:
        with self._lock:
            self.objects[path] = content
        return Result(200 if self.kind in (AWS, GCP) else 201, b"", {"ETag": _etag(content)})

    # S3: parts.

    def begin(self) -> str:
        """Begin an upload in parts."""
        upload = uuid.uuid4().hex
        self.uploads[upload] = {}
        return upload

    def _part(self, query: Mapping[str, str], body: bytes) -> Result:
        parts = self.uploads.get(query["uploadId"])
        if parts is None:
            return _refused(404, "NoSuchUpload")
        parts[int(query["partNumber"])] = body
        return Result(200, b"", {"ETag": _etag(body)})

    def complete(self, path: str, upload: str, etags: list[dict[str, Any]]) -> str | None:
        """Put the parts together; return why that cannot be."""
        parts = self.uploads.get(upload)
        if parts is None:
            return "NoSuchUpload"
        numbers = [int(item["part_number"]) for item in etags]
        if numbers != sorted(set(numbers)) or set(numbers) != set(parts):
            return "InvalidPartOrder"
        if any(_etag(parts[int(item["part_number"])]) != item["etag"] for item in etags):
            return "InvalidPart"
        if any(len(parts[number]) < PART_BYTES_MIN for number in numbers[:-1]):
            return "EntityTooSmall"
        with self._lock:
            self.objects[path] = b"".join(parts[number] for number in numbers)
            del self.uploads[upload]
        return None

    # Azure: blocks, and Data Lake storage.

    def _blob(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Result:
        if query.get("comp") == "block":
            self._blocks[path, query["blockid"]] = body
            return Result(201, b"", {})
        if query.get("comp") == "blocklist":
            ids = [item.text or "" for item in ElementTree.fromstring(body)]  # written by a test
            if any((path, block) not in self._blocks for block in ids):
                return _refused(400, "InvalidBlockList")
            return self._put(path, b"".join(self._blocks[path, block] for block in ids))
        if headers.get("x-ms-blob-type") != "BlockBlob":
            return _refused(400, "MissingRequiredHeader")
        return self._put(path, body)

    def _lake(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Result:
        if method == "PUT":
            if query.get("resource") != "file":
                return _refused(400, "MissingRequiredQueryParameter")
            return self._put(path, b"")
        if path not in self.objects:
            return _refused(404, "PathNotFound")
        position = int(query["position"])
        if query.get("action") == "append":
            self._blocks[path, f"{position:020d}"] = body
            return Result(202, b"", {})
        with self._lock:
            taken = sorted(key for key in self._blocks if key[0] == path)
            content = b"".join(self._blocks.pop(key) for key in taken)
        if len(content) != position:
            return _refused(400, "InvalidFlushPosition")
        return self._put(path, content)


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _refused(status: int, code: str) -> Result:
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code></Error>'.encode()
    return Result(status, body, {"Content-Type": "application/xml", "x-ms-error-code": code})
