"""HTTP/1.1 by uvicorn and httptools, with bounds on the time and the size of a request's head."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES_MAX = 64 * 1024

_OF_OFFERS = (b"upgrade", b"http2-settings")
_SLOW = b'{"error_code":"REQUEST_TIMEOUT","message":"The head of the request did not arrive in time."}'
_LARGE = b'{"error_code":"BAD_REQUEST","message":"The head of the request is larger than 65536 bytes."}'


class OfferBlindParser:
    """httptools' parser, but an offer to speak another protocol changes nothing (RFC 9110, section 7.8).

    Java's client offers HTTP/2 with its first request. httptools ends there and never reads the body, so the
    request is read again without the offer.

    Args:
        protocol: Is told what is read.
        plain: The parser that uvicorn made.
    """

    def __init__(self, protocol: BoundedProtocol, plain: HttpRequestParser) -> None:
        self._protocol = protocol
        self._plain = plain

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def is_offer(self) -> bool:
        """Tell whether the head that was read offers another protocol."""
        return bool(self._plain.should_upgrade()) and self._plain.get_method() != b"CONNECT"

    def feed_data(self, data: bytes) -> None:
        """Read on; one piece may hold any number of requests with offers."""
        rest = memoryview(data)
        while (taken := self._feed(rest)) is not None:
            rest = rest[taken:]

    def _feed(self, data: memoryview) -> int | None:
        """Read up to the end of a head with an offer; return how many bytes, None when all was read."""
        try:
            self._plain.feed_data(data)
        except HttpParserUpgrade as offer:
            if not self.is_offer():
                raise
            taken: int = offer.args[0]
        else:
            return None
        head = self._head_without_offer()
        self._plain = _parser_for(self._protocol)
        self._plain.feed_data(head)
        return taken

    def _head_without_offer(self) -> bytes:
        lines = [b"%s %s HTTP/%s" % (self.get_method(), self._protocol.url, self.get_http_version().encode())]
        for name, value in self._protocol.headers:
            if name == b"connection":
                kept = [part for part in value.split(b",") if part.strip().lower() not in _OF_OFFERS]
                value = b",".join(kept)
            if name not in _OF_OFFERS:
                lines.append(b"%s: %s" % (name, value))
        return b"\r\n".join(lines) + b"\r\n\r\n"


def _parser_for(protocol: BoundedProtocol) -> HttpRequestParser:
    """Return a parser as uvicorn makes it: what follows a last request does not spoil that one."""
    parser = HttpRequestParser(protocol)
    if hasattr(parser, "set_dangerous_leniencies"):  # from httptools 0.6.3
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


class BoundedProtocol(HttpToolsProtocol):
    """One connection; a head that comes too slowly is answered with 408, one without end with 431."""

    parser: Any  # ours, around the one that uvicorn makes
    header_timeout_s = 10.0
    on_refused: Callable[[int], None]
    is_reading_head = False
    head_bytes = 0
    head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self.parser = OfferBlindParser(self, self.parser)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._forget_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A head begins."""
        self.is_reading_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; those that follow a body mean nothing here."""
        if self.is_reading_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self.is_reading_head = False
        self.head_bytes = 0
        if not self.parser.is_offer():  # else it is read once more
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body is there."""
        self.head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        if not self.parser.is_offer():
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Bound the size of a head, and the time from its first byte to its last."""
        self.head_bytes += len(data)
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget_timer()
            if self.head_bytes > HEAD_BYTES_MAX:  # headers behind a body, or a next head, without end
                self.on_refused(431)
                self.transport.abort()
            return
        if self.is_reading_head and self.head_bytes > HEAD_BYTES_MAX:
            self._refuse(431, b"431 Request Header Fields Too Large", _LARGE)
        # A head has begun, or what came between two requests has stopped uvicorn's idle timer.
        self._await_head()

    def _await_head(self) -> None:
        if self.head_timer is None and not self.transport.is_closing():
            self.head_timer = self.loop.call_later(self.header_timeout_s, self._refuse_slow)

    def _forget_timer(self) -> None:
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None

    def _refuse_slow(self) -> None:
        if not self.is_reading_head:  # connected, and said nothing: no request that could be answered
            self.transport.close()
            return
        self._refuse(408, b"408 Request Timeout", _SLOW)

    def _refuse(self, status: int, line: bytes, body: bytes) -> None:
        self._forget_timer()
        if self.transport.is_closing():
            return
        self.on_refused(status)
        self.transport.write(
            b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%s" % (line, len(body), body)
        )
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, and count it."""
        self.on_refused(400)
        super().send_400_response(msg)


def protocol_class(*, header_timeout_s: float, on_refused: Callable[[int], None]) -> type[BoundedProtocol]:
    """Return a protocol with these settings, since uvicorn makes the objects."""
    settings = {"header_timeout_s": header_timeout_s, "on_refused": staticmethod(on_refused)}
    return type("Protocol", (BoundedProtocol,), settings)
