"""Each request signed on its own (AWS Signature Version 4), by botocore.

Only what AWS needs is signed: who, when, where to, the content's digest and type, and the ARN. Headers that
proxies add or change on the way stay out.

A request that is refused is signed and sent once more where that can help: with other keys when those used
have expired, and with the server's time when this machine's clock is wrong. The times of what is logged stay
this machine's; ``bridge doctor`` tells that its clock is wrong.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import partial
from typing import IO, Any

import requests

from trackbridge.errors import Rejected
from trackbridge_adapters.sagemaker.arn import ADAPTER, MlflowArn
from trackbridge_adapters.sagemaker.credentials import Credentials
from trackbridge_adapters.sagemaker.errors import EXPIRED, UNKNOWN_KEY, WRONG_TIME, told_by

CHUNK_BYTES = 1024 * 1024
CORRECTION_S_MIN = 30.0
"""A correction of less would not turn a refusal into a success."""
REFUSALS = (400, 401, 403)  # 400 is how AWS's JSON protocols refuse


class Signature:
    """Signs requests to one tracking server or app. Any thread may use it.

    Args:
        arn: What the requests are for.
        credentials: The keys.
        clock_ms: Milliseconds since 1970.
    """

    def __init__(self, arn: MlflowArn, credentials: Credentials, clock_ms: Callable[[], int]) -> None:
        self._arn = arn
        self._credentials = credentials
        self._clock_ms = clock_ms
        self._correction_s = 0.0
        self._sent = threading.local()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the ARN, the date and the signature."""
        body = request.body
        position = body.tell() if body is not None and hasattr(body, "tell") else None
        self._sign(request)
        request.hooks["response"].append(partial(self._after, position=position))
        return request

    def renew(self) -> bool:
        """Return False: what can be done about a refusal has been done when it came."""
        return False

    def __repr__(self) -> str:
        return f"<Signature for {self._arn.text}>"

    def _sign(self, request: requests.PreparedRequest) -> None:
        keys = self._credentials.frozen()  # first: without botocore this says so

        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        self._sent.keys, self._sent.correction_s = keys, self._correction_s
        now = datetime.fromtimestamp(self._clock_ms() / 1000 + self._sent.correction_s, tz=timezone.utc)
        signed = {
            self._arn.kind.header: self._arn.text,
            "X-Amz-Content-SHA256": _digest(request.body),
            "X-Amz-Date": now.strftime("%Y%m%dT%H%M%SZ"),
        }
        if keys.token:
            signed["X-Amz-Security-Token"] = keys.token
        added = dict(signed)
        if request.headers.get("Content-Type"):
            signed["Content-Type"] = request.headers["Content-Type"]
        asked = AWSRequest(method=request.method, url=request.url, headers=signed)
        asked.context["timestamp"] = signed["X-Amz-Date"]
        # Not add_auth: it would take the machine's time, and log the session token.
        signer = SigV4Auth(keys, self._arn.kind.signing_name, self._arn.region)
        text = signer.string_to_sign(asked, signer.canonical_request(asked))
        names = signer.signed_headers(signer.headers_to_sign(asked))
        request.headers.update(added)
        request.headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={signer.scope(asked)}, SignedHeaders={names}, "
            f"Signature={signer.signature(text, asked)}"
        )

    def _after(self, answer: requests.Response, *, position: int | None, **named: Any) -> requests.Response:
        """Send the request once more where other keys, or another time, make it a good one."""
        if answer.status_code not in REFUSALS or not self._can_help(answer):
            return answer
        answer.close()
        again = answer.request.copy()
        again.hooks = {"response": []}
        if position is not None:
            again.body.seek(position)  # type: ignore[union-attr]
        self._sign(again)
        transport: Any = answer.connection
        fresh: requests.Response = transport.send(again, **named)
        fresh.history.append(answer)
        fresh.request = again
        return fresh

    def _can_help(self, answer: requests.Response) -> bool:
        try:
            body = json.loads(answer.content)
        except ValueError:
            body = None
        told = told_by(answer, body if isinstance(body, dict) else {}) or ""
        if WRONG_TIME.search(told):
            return self._correct_time(answer)
        if EXPIRED.search(told) or UNKNOWN_KEY.search(told):
            return self._credentials.renew(getattr(self._sent, "keys", None))
        return False

    def _correct_time(self, answer: requests.Response) -> bool:
        """Go by the server's clock from now on; True when that differs from what was signed with."""
        try:
            server_s = parsedate_to_datetime(answer.headers["Date"]).timestamp()
        except (KeyError, TypeError, ValueError):
            return False
        self._correction_s = server_s - self._clock_ms() / 1000
        signed_with_s: float = self._sent.correction_s
        return abs(self._correction_s - signed_with_s) >= CORRECTION_S_MIN


def _digest(body: Any) -> str:
    """Return the SHA-256 of a body; one that can be read once only cannot be signed."""
    if body is None:
        return hashlib.sha256(b"").hexdigest()
    if isinstance(body, str):
        body = body.encode()
    if isinstance(body, (bytes, bytearray)):
        return hashlib.sha256(body).hexdigest()
    if not hasattr(body, "seek"):
        raise Rejected("a stream cannot be signed; give a file", adapter=ADAPTER)
    return _digest_of_file(body)


def _digest_of_file(file: IO[bytes]) -> str:
    position = file.tell()
    found = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        found.update(chunk)
    file.seek(position)
    return found.hexdigest()
