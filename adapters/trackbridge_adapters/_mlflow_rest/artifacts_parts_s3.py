"""Parts of a file in a bucket of S3, by its multipart uploads; every request is signed here.

obstore does not hand out the id of an upload. Where the object lies, and in which region, is what obstore
says, so that both speak to the same place. Each part is signed with the digest of its bytes, which S3 checks.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from html import unescape
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

import obstore
import requests

from trackbridge.errors import AuthError, BridgeError, NotFound, Transient
from trackbridge.transport.http import HttpClient
from trackbridge_adapters._mlflow_rest.artifacts_objects import DIGEST_KEY, translated
from trackbridge_adapters._mlflow_rest.artifacts_parts import ANSWER_S, Parts, PartsRefused

Keys = Mapping[str, Any]
"""As obstore's credential providers give them: ``access_key_id``, ``secret_access_key``, ``token``."""

_UPLOAD = re.compile(r"<UploadId>([^<]+)</UploadId>")
_TAG = re.compile(r"<ETag>([^<]+)</ETag>")


class S3Parts(Parts):
    """One object.

    Args:
        store: obstore's.
        key: The object's.
        keys: Returns the keys to sign with; called for each request.
        clock_ms: Milliseconds since 1970.
        adapter: For errors.
        verify: True for the system's certificates, or a file of others.
    """

    def __init__(
        self,
        store: Any,
        key: str,
        keys: Callable[[], Keys],
        clock_ms: Callable[[], int],
        *,
        adapter: str,
        verify: bool | str = True,
    ) -> None:
        self._store = store
        self._key = key
        self._keys = keys
        self._clock_ms = clock_ms
        self._adapter = adapter
        self._verify = verify
        self._opened: tuple[str, HttpClient] | None = None
        self._digest = ""

    def begin(self, count: int, digest: str) -> str:
        self._digest = digest
        try:
            noted = {f"x-amz-meta-{DIGEST_KEY}": digest} if digest else {}
            answer = self._send("POST", {"uploads": ""}, headers=noted)
        except Transient:
            raise
        except BridgeError as error:  # a policy may ask for what only obstore is told to send
            raise PartsRefused(f"not in parts: {error.message}", adapter=self._adapter) from error
        return unescape(self._found(_UPLOAD, answer))

    def knows(self, upload: str) -> bool:
        try:
            self._send("GET", {"uploadId": upload, "max-parts": "1"})
        except NotFound:
            return False
        except AuthError:
            return True  # who may write need not be allowed to list parts; sending them will tell
        return True

    def send(self, upload: str, number: int, content: bytes) -> str:
        query = {"partNumber": str(number), "uploadId": upload}
        return self._send("PUT", query, content).headers.get("ETag", "")

    def complete(self, upload: str, tags: list[str]) -> str:
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(tag)}</ETag></Part>"
            for number, tag in enumerate(tags, start=1)
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        try:
            answer = self._send("POST", {"uploadId": upload}, body)
        except NotFound:
            version = self._made_before(tags)
            if version is None:
                raise
            return version
        return unescape(self._found(_TAG, answer))

    def _made_before(self, tags: list[str]) -> str | None:
        """Return the object's version where these parts are joined already; None where they are not.

        S3 forgets an upload that it has completed. Who lost that answer, and asks again, is told that there
        is no such upload.
        """
        try:
            answer = self._send("HEAD", {})
        except BridgeError:
            return None  # who may write need not be allowed to look
        version = answer.headers.get("ETag", "")
        noted = answer.headers.get(f"x-amz-meta-{DIGEST_KEY}", "")
        is_ours = version.strip('"') == _joined(tags) or bool(noted and noted == self._digest)
        return version if is_ours else None

    def abort(self, upload: str) -> None:
        self._send("DELETE", {"uploadId": upload})

    def close(self) -> None:
        if self._opened is not None:
            self._opened[1].close()

    def _send(
        self,
        method: str,
        query: Mapping[str, str],
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        url, http = self._open()
        answer = http.request(method, url, query=query, body=body, headers=headers, answer_s=ANSWER_S)
        if answer.status_code >= 300:
            raise self._meaning(f"status code: {answer.status_code} {answer.text[:2000]}")
        return answer

    def _open(self) -> tuple[str, HttpClient]:
        if self._opened is None:
            method: Literal["PUT"] = "PUT"
            try:
                signed = urlsplit(obstore.sign(self._store, method, self._key, timedelta(minutes=1)))
            except Exception as error:
                raise translated(
                    error, adapter=self._adapter, operation="artifacts.put", resource=self._key
                ) from error
            region = parse_qs(signed.query)["X-Amz-Credential"][0].split("/")[2]
            signature = S3Signature(self._keys, region, self._clock_ms)
            url = f"{signed.scheme}://{signed.netloc}{signed.path}"
            self._opened = (
                url,
                HttpClient(adapter=self._adapter, authentication=signature, verify=self._verify),
            )
        return self._opened

    def _found(self, pattern: re.Pattern[str], answer: requests.Response) -> str:
        found = pattern.search(answer.text)
        if found is None:  # S3 answers 200 before it has joined the parts, and may tell of a failure after it
            raise self._meaning(answer.text[:2000])
        return found.group(1)

    def _meaning(self, text: str) -> BridgeError:
        return translated(
            _Refusal(text),
            adapter=self._adapter,
            operation="artifacts.put",
            resource=self._key,
        )


def _joined(tags: list[str]) -> str:
    """Return the tag that S3 gives to an object of parts; "" where the parts' own are no digests."""
    try:
        content = b"".join(bytes.fromhex(tag.strip('"')) for tag in tags)
    except ValueError:
        return ""
    return f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}-{len(tags)}"


class _Refusal(Exception):
    """What S3 said, in the form in which obstore says it."""


class S3Signature:
    """Signs requests to S3 (AWS Signature Version 4), the digest of the body included.

    Args:
        keys: Returns the keys.
        region: Of the bucket.
        clock_ms: Milliseconds since 1970.
    """

    def __init__(self, keys: Callable[[], Keys], region: str, clock_ms: Callable[[], int]) -> None:
        self._keys = keys
        self._region = region
        self._clock_ms = clock_ms

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add date, digest and signature."""
        keys = self._keys()
        url = urlsplit(str(request.url))
        now = datetime.fromtimestamp(self._clock_ms() / 1000, tz=timezone.utc)
        body = request.body or b""
        digest = hashlib.sha256(body.encode() if isinstance(body, str) else body).hexdigest()
        added = {"x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"), "x-amz-content-sha256": digest}
        if keys.get("token"):
            added["x-amz-security-token"] = str(keys["token"])
        request.headers.update(added)
        signed = {
            name.lower(): value
            for name, value in request.headers.items()
            if name.lower().startswith("x-amz-") and isinstance(value, str)
        }
        signed["host"] = url.netloc
        names = ";".join(sorted(signed))
        canonical = "\n".join(
            (
                str(request.method),
                url.path,
                "&".join(sorted(url.query.split("&"))),
                *(f"{name}:{' '.join(signed[name].split())}" for name in sorted(signed)),
                "",
                names,
                digest,
            )
        )
        scope = f"{now:%Y%m%d}/{self._region}/s3/aws4_request"
        text = "\n".join(
            ("AWS4-HMAC-SHA256", added["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest())
        )
        signature = _signature(str(keys["secret_access_key"]), scope, text)
        request.headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={keys['access_key_id']}/{scope},SignedHeaders={names},"
            f"Signature={signature}"
        )
        return request

    def renew(self) -> bool:
        """Return False: the keys are asked for at each request."""
        return False


def _signature(secret: str, scope: str, text: str) -> str:
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()
