"""What the router's two sides share: requests, answers, and how they are written."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus

Header = tuple[bytes, bytes]

DEPLOYMENT_HEADER = b"bridge-deployment"

_HOP_BY_HOP = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"trailers", b"transfer-encoding", b"upgrade", b"expect", b"content-length"),
    )
)
_NOT_FOR_SERVERS = _HOP_BY_HOP | {b"authorization", DEPLOYMENT_HEADER}
_NOT_FOR_CLIENTS = _HOP_BY_HOP | {DEPLOYMENT_HEADER}
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}


@dataclass(slots=True)
class Request:
    """A request that was read to its end."""

    method: bytes = b""
    target: bytes = b""
    headers: list[Header] = field(default_factory=list)
    body: bytes = b""
    keep_alive: bool = True

    def header(self, name: bytes) -> bytes:
        """Return the first value of a header, empty when there is none."""
        return next((value for key, value in self.headers if key == name), b"")

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]

    def encode(self) -> bytes:
        """Return the bytes for a server; what concerns only the client's connection stays behind."""
        # A server is asked with GET where the client asked for the head alone.
        method = b"GET" if self.method == b"HEAD" else self.method
        lines = [b"%s %s HTTP/1.1" % (method, self.target)]
        lines += _kept(self.headers, _NOT_FOR_SERVERS)
        lines += [b"content-length: %d" % len(self.body), b"", self.body]
        return b"\r\n".join(lines)


@dataclass(slots=True)
class Answer:
    """An answer that was read to its end, or made here."""

    status: int
    headers: list[Header]
    body: bytes
    deployment: str = ""
    is_last: bool = False

    def encode(self, *, keep_alive: bool, with_body: bool = True) -> bytes:
        """Return the bytes for the client."""
        lines = [b"HTTP/1.1 %d %s" % (self.status, _PHRASES.get(self.status, b""))]
        lines += _kept(self.headers, _NOT_FOR_CLIENTS)
        if self.status >= 200 and self.status != 204:
            lines.append(b"content-length: %d" % len(self.body))
        if self.deployment:
            lines.append(b"bridge-deployment: " + self.deployment.encode())
        if not keep_alive or self.is_last:
            lines.append(b"connection: close")
        lines += [b"", self.body if with_body else b""]
        return b"\r\n".join(lines)


def _kept(headers: Iterable[Header], dropped: Collection[bytes]) -> list[bytes]:
    headers = list(headers)
    named = {
        name.strip().lower() for key, value in headers if key == b"connection" for name in value.split(b",")
    }
    return [b"%s: %s" % (key, value) for key, value in headers if key not in dropped and key not in named]


def refusal(
    status: int, code: str, message: str, *, retry_after_s: int | None = None, is_last: bool = False
) -> Answer:
    """Return an error in mlflow's form."""
    headers = [(b"content-type", b"application/json")]
    if retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % retry_after_s))
    if status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    body = json.dumps({"error_code": code, "message": message}).encode()
    return Answer(status, headers, body, is_last=is_last)
