"""The router's side towards clients: reads whole requests within bounds, one after the other."""

from __future__ import annotations

import asyncio
import hmac
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

import httptools

from trackbridge_adapters.local.endpoint_http import Answer, Request, refusal

HEAD_BYTES_MAX = 32 * 1024
HEADERS_MAX = 100
HEAD_TIMEOUT_S = 10.0
BODY_TIMEOUT_S = 60.0
IDLE_TIMEOUT_S = 75.0
WRITE_TIMEOUT_S = 60.0
LINGER_S = 0.5
CONNECTIONS_MAX = 1024
METHODS = (b"GET", b"HEAD", b"POST")

Respond = Callable[[Request], Awaitable[Answer]]


@dataclass(slots=True)
class Door:
    """What the connections share: who is let in, and who answers."""

    token: bytes
    respond: Respond
    body_bytes_max: Callable[[], int]
    open: set[Front] = field(default_factory=set)
    is_closing: bool = False

    def is_known(self, authorization: bytes) -> bool:
        """Tell whether a request brings the token, in a time that does not say how much of it is right."""
        scheme, _, given = authorization.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self.token)

    def close(self) -> None:
        """Close the idle connections; the others end with the answer that they wait for."""
        self.is_closing = True
        for front in list(self.open):
            front.close_when_idle()


class Front(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0
        self._in_head = True
        self._waiting: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._refused = False
        self._writable = asyncio.Event()
        self._writable.set()

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop has a class of its own
        self._door.open.add(self)
        if len(self._door.open) > CONNECTIONS_MAX or self._door.is_closing:
            self._refuse(refusal(503, "TEMPORARILY_UNAVAILABLE", "too many connections", retry_after_s=1))
            return
        self._expect_within(HEAD_TIMEOUT_S)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the client; what it asked for is answered into the void."""
        self._door.open.discard(self)
        self._writable.set()
        self._stop_timer()

    def pause_writing(self) -> None:
        """The client reads slowly."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The client has read."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._refused:
            return
        if self._in_head:
            if not self._head_bytes and self._task is None:
                self._expect_within(HEAD_TIMEOUT_S)
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(refusal(400, "BAD_REQUEST", "other protocols are not spoken here"))
        except (httptools.HttpParserError, _Refused) as error:
            self._refuse(_answer_to(error))
        if self._in_head and self._head_bytes > HEAD_BYTES_MAX and not self._refused:
            self._refuse(_TOO_LARGE_HEAD)

    # What the parser tells.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._request, self._body, self._body_bytes = Request(), [], 0

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        if len(self._request.headers) >= HEADERS_MAX:
            raise _Refused(_TOO_LARGE_HEAD)
        if b"\r" in value or b"\n" in value:
            raise _Refused(refusal(400, "BAD_REQUEST", "a header has several lines"))
        self._request.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Refuse by the head alone what must be refused."""
        request = self._request
        request.method = self._parser.get_method()
        size = len(request.target) + sum(len(name) + len(value) for name, value in request.headers)
        if size > HEAD_BYTES_MAX:
            raise _Refused(_TOO_LARGE_HEAD)
        if request.method not in METHODS:
            raise _Refused(refusal(405, "METHOD_NOT_ALLOWED", "use GET or POST"))
        if request.path != b"/ping" and not self._door.is_known(request.header(b"authorization")):
            raise _Refused(refusal(401, "UNAUTHENTICATED", "the endpoint's bearer token is asked for"))
        length = request.header(b"content-length")
        self._check_size(int(length) if length.isdigit() else 0)
        self._in_head, self._head_bytes = False, 0
        if request.header(b"expect").lower() == b"100-continue" and self._task is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._task is None:
            self._expect_within(BODY_TIMEOUT_S)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body_bytes += len(body)
        self._check_size(self._body_bytes)
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Answer the request, or let it wait until those before it are answered."""
        request = self._request
        request.body = b"".join(self._body)
        request.keep_alive = self._parser.should_keep_alive()
        self._body, self._in_head, self._head_bytes = [], True, 0
        self._waiting.append(request)
        self._transport.pause_reading()
        if self._task is None:
            self._stop_timer()
            self._task = self._loop.create_task(self._answer_all())

    def _check_size(self, size: int) -> None:
        most = self._door.body_bytes_max()
        if size > most:
            raise _Refused(refusal(413, "BODY_TOO_LARGE", f"a request's body has at most {most} bytes"))

    # Answering.

    async def _answer_all(self) -> None:
        while self._waiting and not self._transport.is_closing():
            request = self._waiting.popleft()
            answer = await self._door.respond(request)
            keep_alive = request.keep_alive and not answer.is_last and not self._door.is_closing
            if self._refused:  # a later request on this connection was wrong: end after the right ones
                keep_alive = bool(self._waiting)
            self._transport.write(answer.encode(keep_alive=keep_alive, with_body=request.method != b"HEAD"))
            if not self._writable.is_set():
                await self._wait_for_the_client()
            if not keep_alive:
                self._transport.close()
        self._task = None
        if not self._transport.is_closing():
            self._expect_within(IDLE_TIMEOUT_S)
            self._transport.resume_reading()

    async def _wait_for_the_client(self) -> None:
        timer = self._loop.call_later(WRITE_TIMEOUT_S, self._transport.abort)
        await self._writable.wait()
        timer.cancel()

    def _refuse(self, answer: Answer) -> None:
        """Answer, read no further, and close once the client had time to read the answer."""
        self._refused = True
        if self._task is not None:
            return
        self._stop_timer()
        self._transport.write(answer.encode(keep_alive=False))
        self._timer = self._loop.call_later(LINGER_S, self._transport.close)

    def close_when_idle(self) -> None:
        """Close at once unless a request is being answered."""
        if self._task is None:
            self._transport.close()

    def _expect_within(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(seconds, self._run_out_of_time)

    def _run_out_of_time(self) -> None:
        if self._in_head and not self._head_bytes:
            self._transport.close()
        else:
            self._refuse(refusal(408, "REQUEST_TIMEOUT", "the request did not arrive in time"))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Refused(Exception):
    """A request that is not read to its end."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


_TOO_LARGE_HEAD = refusal(
    431,
    "HEADERS_TOO_LARGE",
    f"the head of a request has at most {HEAD_BYTES_MAX} bytes, {HEADERS_MAX} headers",
)


def _answer_to(error: Exception) -> Answer:
    """Return the answer to what was raised while parsing; the parser wraps what our own methods raise."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _Refused):
            return cause.answer
        cause = cause.__context__
    return refusal(400, "BAD_REQUEST", f"the request is not HTTP as it should be: {error}")
