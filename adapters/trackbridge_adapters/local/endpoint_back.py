"""The router's side towards scoring servers: connections that are kept, and requests sent once."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

import httptools

from trackbridge_adapters.local.endpoint_http import Answer, Header
from trackbridge_adapters.local.endpoint_routes import Route

IDLE_S_MAX = 2.5  # less than what servers wait before they close
IDLE_MAX = 64
ANSWER_BYTES_MAX = 256 * 1024 * 1024
CONNECT_PAUSE_S = 0.02


class NotSentError(Exception):
    """Nobody took the request; nothing of it was sent."""


class LostError(Exception):
    """The server went away, or said nothing in time, after the request was sent. ``is_late`` tells which."""

    def __init__(self, message: str, *, is_late: bool = False) -> None:
        super().__init__(message)
        self.is_late = is_late


class MovedError(Exception):
    """The server was replaced before anything was sent: ask for the route again."""


class Back(asyncio.Protocol):
    """One connection to a server, with one request at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Answer] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.idle_since = 0.0
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop has a class of its own

    def connection_lost(self, error: Exception | None) -> None:
        """End what was waiting."""
        self.is_lost = True
        self._fail(LostError("the server went away before it had answered"))

    def send(self, data: bytes, *, timeout_s: float) -> asyncio.Future[Answer]:
        """Send a request; the future is its answer."""
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[Header] = []
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._future = self._loop.create_future()
        self._timer = self._loop.call_later(timeout_s, self._run_out_of_time)
        self.transport.write(data)
        return self._future

    def data_received(self, data: bytes) -> None:
        """Parse what came; what nobody asked for ends the connection."""
        if self._future is None:
            self.transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(LostError("the server did not answer in HTTP"))
            self.transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body_bytes += len(body)
        self._body.append(body)
        if self._body_bytes > ANSWER_BYTES_MAX:
            self._fail(LostError(f"the answer is larger than {ANSWER_BYTES_MAX} bytes"))
            self.transport.abort()

    def on_message_complete(self) -> None:
        """Hand the answer over; one that only announces another (1xx) is passed over."""
        status = self._parser.get_status_code()
        if status < 200:
            self._headers = []
            return
        future, self._future = self._future, None
        if future is None:
            return
        self._stop_timer()
        if self._parser.should_keep_alive():
            self._pool.give_back(self)
        else:
            self.transport.close()
        if not future.done():
            future.set_result(Answer(status, self._headers, b"".join(self._body)))

    def _run_out_of_time(self) -> None:
        self._fail(LostError("the server did not answer in time", is_late=True))
        self.transport.abort()

    def _fail(self, error: LostError) -> None:
        self._stop_timer()
        future, self._future = self._future, None
        if future is not None and not future.done():
            future.set_exception(error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Pool:
    """The connections to one server."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self._loop = asyncio.get_running_loop()
        self._idle: deque[Back] = deque()
        self._is_closed = False

    async def send(self, data: bytes) -> Answer:
        """Send a request once, and return its answer.

        While nobody listens at the socket, which is so while a server is started again, it waits.

        Raises:
            NotSentError: Nobody listened within the time limit.
            MovedError: The server was replaced meanwhile.
            LostError: It was sent, and no answer came.
        """
        deadline = self._loop.time() + self.route.timeout_s
        back = self._take_idle() or await self._connect(deadline)
        return await back.send(data, timeout_s=max(0.001, deadline - self._loop.time()))

    def give_back(self, back: Back) -> None:
        """Keep a connection for the next request."""
        if self._is_closed or len(self._idle) >= IDLE_MAX:
            back.transport.close()
            return
        back.idle_since = self._loop.time()
        self._idle.append(back)

    def close(self) -> None:
        """Close idle connections; the others close with their answer."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().transport.close()

    def _take_idle(self) -> Back | None:
        oldest = self._loop.time() - IDLE_S_MAX
        while self._idle:
            back = self._idle.pop()
            if not back.is_lost and not back.transport.is_closing() and back.idle_since > oldest:
                return back
            back.transport.close()
        return None

    async def _connect(self, deadline: float) -> Back:
        while True:
            back = await self._try_to_connect()
            if back is not None:
                return back
            if self._is_closed:
                raise MovedError
            if self.route.has_failed or self._loop.time() + CONNECT_PAUSE_S > deadline:
                raise NotSentError(f"nobody serves {self.route.deployment}")
            await asyncio.sleep(CONNECT_PAUSE_S)

    async def _try_to_connect(self) -> Back | None:
        """Connect once; None when nobody listens, or whoever did went away at once."""
        try:
            _, back = await self._loop.create_unix_connection(lambda: Back(self), self.route.socket)
        except OSError:
            return None
        return None if back.is_lost else back
