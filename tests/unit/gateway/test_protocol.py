"""Connections of one address: a quarter of all, counted where a connection is made and lost."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from trackbridge.gateway.limits import AddressBound
from trackbridge.gateway.protocol import protocol_class

ASKS = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class CountingAll(AddressBound):
    """Counts the addresses of this machine as well: a test has no others."""

    def _source(self, address: str) -> str:
        return address


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer 200."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


class Served:
    """A server in this process that counts its connections by address."""

    def __init__(self, by_address: AddressBound) -> None:
        self.refused: list[int] = []
        self.counts: list[int] = []
        protocol = protocol_class(
            header_timeout_s=60.0,
            connections_max=100,
            by_address=by_address,
            on_refused=self.refused.append,
            on_count=self.counts.append,
        )
        self._config = uvicorn.Config(hello, http=protocol, lifespan="off", log_config=None)
        self._config.load()
        self._state = ServerState()
        self._protocol = protocol
        self.port = 0

    async def __aenter__(self) -> Served:
        self._server = await asyncio.get_running_loop().create_server(self._made, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def _made(self) -> asyncio.BaseProtocol:
        return self._protocol(config=self._config, server_state=self._state, app_state={})

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def open(self, held: AsyncExitStack, source: str) -> tuple[bytes, asyncio.StreamWriter]:
        """Connect from an address of this machine and ask; return the beginning of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))
        held.callback(writer.close)
        writer.write(ASKS)
        return await reader.read(65536), writer


def test_one_address_does_not_take_all_connections() -> None:
    by_address = CountingAll(3)

    async def connect() -> None:
        async with Served(by_address) as served, AsyncExitStack() as held:
            kept = [await served.open(held, "127.0.0.2") for _ in range(3)]
            assert all(answer.startswith(b"HTTP/1.1 200") for answer, _ in kept)
            for _ in range(10):
                answer, _ = await served.open(held, "127.0.0.2")
                assert answer.startswith(b"HTTP/1.1 503")
                assert b"retry-after: 1" in answer
                assert b"Too many connections from this address are open" in answer
            assert served.refused == [503] * 10
            answer, _ = await served.open(held, "127.0.0.3")
            assert answer.startswith(b"HTTP/1.1 200")
            kept[0][1].close()
            while served.counts[-1] > 3:
                await asyncio.sleep(0.01)
            answer, _ = await served.open(held, "127.0.0.2")
            assert answer.startswith(b"HTTP/1.1 200")

    asyncio.run(asyncio.wait_for(connect(), timeout=60))
    assert len(by_address) == 0


def test_trusted_proxies_have_no_bound_of_their_own() -> None:
    async def connect() -> None:
        async with Served(AddressBound(1, free=("127.0.0.0/8",))) as served, AsyncExitStack() as held:
            for _ in range(10):
                answer, _ = await served.open(held, "127.0.0.2")
                assert answer.startswith(b"HTTP/1.1 200")

    asyncio.run(asyncio.wait_for(connect(), timeout=60))
