"""Bounds: of one request, of one client's rate, of connections, and of slow clients."""

from __future__ import annotations

import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from trackbridge.serving.answers import Refusal
from trackbridge.serving.bodies import ClientGone, Deadline, too_large

Receive = Callable[[], Awaitable[dict[str, Any]]]

CLIENTS_MAX = 10_000
"""Of so many clients the rate is remembered; the one that was silent longest is forgotten first."""
RATE_MAX = 5000.0
"""Requests per second of one client, unless said otherwise: about what one gateway answers on two cores."""
BURST_S = 2.0
"""What a client has saved up at the most, in seconds of its rate."""
ADDRESS_SHARE = 4
"""One address may have this part of all connections, a quarter, unless said otherwise."""
DISCARDED_BYTES_MAX = 16 * 1024 * 1024
"""So much of a body that is refused is read on: a client that is still sending would not see our answer."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway bears.

    Args:
        body_bytes_max: Bound of a request's JSON or form, in bytes.
        upload_bytes_max: Bound of one file or part of a file that is sent, in bytes.
        rate_max: Requests per second of one client, over two seconds; 0 for no bound.
        connections_max: Connections that are open at once.
        connections_per_address_max: Those of one address; 0 for no bound, None for a quarter of all.
        header_timeout_s: How long the head of a request may take.
        body_timeout_s: How long a client may send nothing of a body.
        body_rate_min: What a client sends at the least, in bytes a second, beyond the first
            ``body_timeout_s``.
        threads: How many requests wait for backends or disks at once.
        drain_s: How long requests under way may take at the end, and then the delivery of journals.
    """

    body_bytes_max: int = 64 * 1024 * 1024
    upload_bytes_max: int = 100 * 1024**3
    rate_max: float = RATE_MAX
    connections_max: int = 2000
    connections_per_address_max: int | None = None
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    body_rate_min: int = 1024
    threads: int = 16
    drain_s: float = 10.0

    @property
    def of_one_address(self) -> int:
        """How many connections one address may have; 0 for no bound."""
        if self.connections_per_address_max is None:
            return max(1, self.connections_max // ADDRESS_SHARE)
        return self.connections_per_address_max


class AddressBound:
    """Counts connections by the address that they come from.

    This machine's programs and those behind a proxy share an address: they have no bound of their own.

    Args:
        connections_max: Of one address; 0 for no bound.
        free: Addresses and networks without a bound, beside loopback.
    """

    def __init__(self, connections_max: int, *, free: Iterable[str] = ()) -> None:
        self._connections_max = connections_max
        self._free = tuple(ipaddress.ip_network(text, strict=False) for text in free)
        self._open: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return how many addresses have connections that count."""
        return len(self._open)

    def take(self, address: str) -> bool:
        """Count a connection until it leaves; tell whether its address may have it."""
        source = self._source(address)
        if not source:
            return True
        self._open[source] += 1
        return self._open[source] <= self._connections_max

    def leave(self, address: str) -> None:
        """Count a connection no more, one that was refused neither."""
        source = self._source(address)
        if source:
            self._open[source] -= 1
            if not self._open[source]:
                del self._open[source]

    def _source(self, address: str) -> str:
        """Return what counts as one address; empty for one without a bound."""
        if not self._connections_max:
            return ""
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:  # a socket without addresses
            return ""
        if isinstance(found, ipaddress.IPv6Address):
            found = found.ipv4_mapped or found
        if found.is_loopback or any(found in network for network in self._free):
            return ""
        # Who has one IPv6 address has all 2^64 of its network.
        return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))


class RateLimiter:
    """Counts requests by client, each with a bucket that fills at the rate."""

    def __init__(self, rate_max: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate_max
        self._clock = clock
        self._burst = max(1.0, rate_max * BURST_S)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, client: str) -> None:
        """Count one request.

        Raises:
            Refusal: 429, with what the client has to wait in ``Retry-After``, in whole seconds.
        """
        if not self._rate:
            return
        now = self._clock()
        saved, seen = self._buckets.pop(client, (self._burst, now))
        saved = min(self._burst, saved + (now - seen) * self._rate)
        self._buckets[client] = (saved - 1.0 if saved >= 1.0 else saved, now)
        if len(self._buckets) > CLIENTS_MAX:
            self._buckets.popitem(last=False)
        if saved < 1.0:
            wait_s = max(1, round((1.0 - saved) / self._rate + 0.5))
            raise Refusal(
                "REQUEST_LIMIT_EXCEEDED",
                f"More than {self._rate:g} requests a second came from this client; wait {wait_s} s.",
                headers=((b"retry-after", b"%d" % wait_s),),
            )


class BoundedBody:
    """ASGI's ``receive`` for one request, with bounds on the size of the body and the time it takes."""

    def __init__(
        self,
        receive: Receive,
        headers: dict[bytes, bytes],
        limits: Limits,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._receive = receive
        self._limits = limits
        self.bytes_max = limits.body_bytes_max
        """More only where files are taken: ``upload_bytes_max``."""
        self._declared = int(headers.get(b"content-length", b"0"))
        self.is_expected = self._declared > 0 or b"transfer-encoding" in headers
        """Whether the head of the request tells of a body."""
        self._clock = clock
        self._began = clock()
        self.size = 0
        """How many bytes have come."""
        self.has_more = True
        """Whether the end of the body has not come yet."""

    async def __call__(self) -> dict[str, Any]:
        """Return the next message of the request.

        Raises:
            Refusal: 408 or 413.
        """
        if not self.has_more:  # whoever asks further wants to know when the client has gone
            return await self._receive()
        self._check_size()
        message = await self._next()
        self._check_size()
        return message

    async def read(self) -> bytes:
        """Return the whole body.

        Raises:
            Refusal: 408 or 413.
            ClientGone: The connection was closed.
        """
        message = await self()
        if not self.has_more and message["type"] == "http.request":
            whole: bytes = message.get("body", b"")
            return whole
        chunks: list[bytes] = []
        while message["type"] == "http.request":
            chunks.append(message.get("body", b""))
            if not self.has_more:
                return b"".join(chunks)
            message = await self()
        raise ClientGone

    async def discard(self, *, is_asked_for: bool) -> None:
        """Take in what a client still sends of a body that is refused, up to a bound.

        Args:
            is_asked_for: Whether the client sends it unasked; who waits for a word before (``Expect``) is
                told the refusal instead.
        """
        if not is_asked_for:
            return
        end = self.size + DISCARDED_BYTES_MAX
        while self.has_more and self.size < end:
            message = await self._next()
            if message["type"] == "http.disconnect":
                raise ClientGone

    def _check_size(self) -> None:
        if max(self.size, self._declared) > self.bytes_max:
            raise too_large(self.bytes_max)

    async def _next(self) -> dict[str, Any]:
        try:
            with Deadline(self._limits.body_timeout_s):
                message = await self._receive()
        except TimeoutError as error:
            raise self._too_slow() from error
        if message["type"] == "http.request":
            self.size += len(message.get("body", b""))
            self.has_more = message.get("more_body", False)
        else:
            self.has_more = False
        late_s = self._clock() - self._began - self._limits.body_timeout_s
        if self.has_more and late_s * self._limits.body_rate_min > self.size:
            raise self._too_slow()
        return message

    def _too_slow(self) -> Refusal:
        self.has_more = False
        return Refusal(
            "REQUEST_TIMEOUT",
            f"The body came too slowly: nothing for {self._limits.body_timeout_s:g} s, or less than "
            f"{self._limits.body_rate_min} bytes a second.",
            is_last=True,
        )
