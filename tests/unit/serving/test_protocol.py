"""Reading requests that offer another protocol, without a server."""

from __future__ import annotations

from typing import Any

import pytest
from httptools import HttpParserError, HttpRequestParser

from trackbridge.serving.protocol import OfferBlindParser

OFFER = b"connection: upgrade\r\nupgrade: h2c\r\n"


class Heard:
    """What a parser tells of each request: its address, its headers without the offer, its body."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.requests: list[tuple[bytes, list[tuple[bytes, bytes]], bytes]] = []
        plain: Any = HttpRequestParser(self)
        plain.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser = OfferBlindParser(self, plain)  # type: ignore[arg-type]

    def on_message_begin(self) -> None:
        self.url, self.headers, self.body = b"", [], b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if not self.parser.is_offer():
            self.requests.append((self.url, [item for item in self.headers if item[1]], self.body))


def test_thousands_of_offers_in_one_piece() -> None:
    heard = Heard()
    heard.parser.feed_data((b"GET /ping HTTP/1.1\r\n" + OFFER + b"\r\n") * 4000)
    assert heard.requests == [(b"/ping", [], b"")] * 4000


def test_what_follows_a_last_request_with_an_offer_does_not_spoil_it() -> None:
    heard = Heard()
    heard.parser.feed_data(b"GET /ping HTTP/1.1\r\nconnection: close\r\n" + OFFER + b"\r\nmore")
    assert heard.requests[0] == (b"/ping", [(b"connection", b"close")], b"")


@pytest.mark.parametrize(
    "headers",
    [
        b"content-length: 3\r\ncontent-length: 4\r\n",
        b"content-length: 3\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: gzip\r\n",
        b"x: a\nb: c\r\n",
        b"x: a\r\n b: c\r\n",
    ],
)
def test_an_offer_makes_no_request_valid_that_is_ambiguous(headers: bytes) -> None:
    heard = Heard()
    with pytest.raises(HttpParserError):
        heard.parser.feed_data(
            b"POST /ping HTTP/1.1\r\n" + headers + OFFER + b"\r\nabcGET / HTTP/1.1\r\n\r\n"
        )
    assert heard.requests == []
