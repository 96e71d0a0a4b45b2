"""HTTP/1.1 on one connection: as the scoring server, with a bound on connections, and no waiting to send."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, ClassVar

from trackbridge.gateway.exchange import TRANSPORT
from trackbridge.gateway.limits import AddressBound
from trackbridge.serving.protocol import BoundedProtocol

UNTAKEN_MS_MAX = 120_000
_FULL = (
    b'{"error_code":"TEMPORARILY_UNAVAILABLE","message":"Too many connections %sare open; try again soon."}'
)


class JoiningTransport:
    """A transport that sends what is written between ``hold`` and ``release`` in one piece.

    uvicorn writes the head of an answer and its body one after the other, which the kernel sends, and wakes
    the client for, one after the other.
    """

    __slots__ = ("_held", "_transport")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._held: list[bytes] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def hold(self) -> None:
        """Write nothing until ``release``."""
        self._held = []

    def release(self) -> None:
        """Write what was held."""
        held, self._held = self._held, None
        if held:
            self._transport.write(b"".join(held))

    def write(self, data: bytes) -> None:
        """Write, now or with what comes next."""
        if self._held is None:
            self._transport.write(data)
        else:
            self._held.append(data)

    def close(self) -> None:
        """Write what was held, then close."""
        self.release()
        self._transport.close()


class GatewayProtocol(BoundedProtocol):
    """One connection; one too many is answered with 503."""

    connections_max: ClassVar[int] = 0
    by_address: ClassVar[AddressBound]
    on_count: Callable[[int], None]

    def connection_made(self, transport: Any) -> None:
        """Take a connection, or refuse it."""
        super().connection_made(JoiningTransport(transport))
        send_at_once(transport.get_extra_info("socket"))
        self.on_count(len(self.connections))
        self.address = self.client[0] if self.client else ""
        is_allowed = self.by_address.take(self.address)
        if len(self.connections) > self.connections_max or not is_allowed:
            self._refuse(
                503,
                b"503 Service Unavailable\r\nretry-after: 1",
                _FULL % (b"" if is_allowed else b"from this address "),
            )

    def on_message_begin(self) -> None:
        """Tell the application how to send a whole answer in one piece."""
        super().on_message_begin()
        self.scope[TRANSPORT] = self.transport  # type: ignore[literal-required]

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self.by_address.leave(self.address)
        super().connection_lost(exc)
        self.on_count(len(self.connections))

    def data_received(self, data: bytes) -> None:
        """Read on, unless the connection was refused."""
        if not self.transport.is_closing():
            super().data_received(data)


def send_at_once(connection: Any) -> None:
    """Let no segment of an answer wait for the client's delayed acknowledgement of the one before, 40 ms.

    And let the kernel drop a client that takes nothing of its answer: that would be kept for it for ever.
    """
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNTAKEN_MS_MAX)


def protocol_class(
    *,
    header_timeout_s: float,
    connections_max: int,
    by_address: AddressBound,
    on_refused: Callable[[int], None],
    on_count: Callable[[int], None],
) -> type[GatewayProtocol]:
    """Return a protocol with these settings, since uvicorn makes the objects."""
    settings = {
        "header_timeout_s": header_timeout_s,
        "connections_max": connections_max,
        "by_address": by_address,
        "on_refused": staticmethod(on_refused),
        "on_count": staticmethod(on_count),
    }
    return type("Protocol", (GatewayProtocol,), settings)
