"""One process that serves one gateway: it listens, says when it is ready, and ends without a loss."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from trackbridge.errors import ConfigError, MissingExtra
from trackbridge.gateway.access_log import AccessLog
from trackbridge.gateway.authentication import AccessOptions
from trackbridge.gateway.gateway import Gateway, GatewayOptions
from trackbridge.gateway.limits import AddressBound, Limits
from trackbridge.serving.logs import STDERR, log, take_over_logging

BACKLOG = 2048
KEEP_ALIVE_S = 75
LINGER_S = 0.2
"""How long a server that ends still takes connections: those that the kernel had accepted for it already."""
SIGNALLED = 128
"""What a shell adds to the number of the signal that ended a program."""
ACCEPTED_AT_ONCE = 32
"""libuv accepts one connection of a listener for each round of the loop, in which every connection that has
sent something is answered: hundreds that come at once would wait for those before. So it gets several."""
DESCRIPTORS_KEPT = 100
"""Of the descriptors that a process may have, these are for files, not for clients."""
SWITCH_S = 0.001
"""How long a thread that computes may keep the event loop waiting; Python's 5 ms are felt here."""


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a gateway is served.

    Args:
        gateway: The backend, and what is held in memory.
        access: Who is let in; its ``host`` is the address to listen on.
        limits: What is borne.
        port: 0 for a free one.
        has_pages: Whether the web pages are served, too.
        access_log: The file of the access log; None for stderr.
        has_access_log: Whether there is one at all.
    """

    gateway: GatewayOptions
    access: AccessOptions = AccessOptions()
    limits: Limits = Limits()
    port: int = 5000
    has_pages: bool = False
    access_log: Path | None = None
    has_access_log: bool = True


class Served(msgspec.Struct, frozen=True):
    """How serving ended: how many requests were answered, and what each backend has still to get."""

    requests: int
    pending: dict[str, int]


def serve(options: ServerOptions, *, on_ready: Callable[[str, str], None]) -> Served:
    """Serve until SIGTERM or SIGINT; then stop accepting, and finish what is under way.

    Requests have ``limits.drain_s`` to end, and what was logged as long again to be delivered; what is left
    is safe in the journal, and is delivered in the background. A second signal ends the process at once, and
    loses nothing of what was answered, either.

    Args:
        options: How.
        on_ready: Called with the server's address and the tracking URI when it answers.

    Raises:
        ConfigError: An option is wrong, or the address is taken.
        MissingExtra: The extra ``ui`` is not installed.
        BridgeError: The backend or the journal cannot be opened.
    """
    try:
        import uvicorn  # noqa: F401
        import uvloop

        from trackbridge.gateway.application import application
    except ImportError as error:
        raise MissingExtra(
            f"the gateway needs {error.name}, which cannot be imported", hint="pip install 'trackbridge[ui]'"
        ) from error
    from trackbridge.gateway import tracing

    listener = _listen(options.access.host, options.port)
    try:
        gateway = Gateway(options.gateway)
        made = application(
            gateway,
            access=options.access,
            limits=_possible(options.limits),
            has_pages=options.has_pages,
            access_log=_access_log(options),
            tracing=tracing.RequestSpans() if tracing.is_asked_for() else None,
        )
        gateway.start()
        take_over_logging()
        sys.setswitchinterval(SWITCH_S)
        loop = uvloop.new_event_loop()
        asyncio.set_event_loop(loop)
        told = (_address(options, listener), gateway.client.tracking_uri)
        by_address = AddressBound(made.limits.of_one_address, free=options.access.trusted_proxies)
        loop.run_until_complete(_Server(made, listener, by_address).run(lambda: on_ready(*told)))
    finally:
        listener.close()
    made.close()
    return Served(made.telemetry.requests, _delivered(gateway, options.limits.drain_s))


def leave(code: int) -> NoReturn:
    """End the process, although a thread may still wait for a backend: its request was given up."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class _Server:
    def __init__(self, application: Any, listener: socket.socket, by_address: AddressBound) -> None:
        self._application = application
        self._listener = listener
        self._by_address = by_address
        self._ending = asyncio.Event()

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Answer until told to end; then what the kernel or we have accepted already."""
        server = self._uvicorn()
        listeners = [self._listener.dup() for _ in range(ACCEPTED_AT_ONCE)]
        await server.startup(sockets=listeners)
        with self._signals():
            on_ready()
            loop = asyncio.create_task(server.main_loop())
            await self._ending.wait()
            self._application.is_draining = True
            await asyncio.sleep(LINGER_S)
            server.should_exit = True
            await loop
            await server.shutdown(sockets=listeners)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Let the first signal end us well, and the second at once, to the process's very end."""
        loop = asyncio.get_running_loop()

        def at_once(number: int, frame: Any) -> None:
            os._exit(SIGNALLED + number)

        def end() -> None:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
                signal.signal(number, at_once)
            log("the server is ending", requests_under_way=len(asyncio.all_tasks()) - 2)
            self._ending.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, end)
        yield

    def _uvicorn(self) -> Any:
        import uvicorn

        from trackbridge.gateway.protocol import protocol_class

        class Server(uvicorn.Server):
            """uvicorn without its own handling of signals."""

            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

        limits, telemetry = self._application.limits, self._application.telemetry
        config = uvicorn.Config(
            self._application,
            http=protocol_class(
                header_timeout_s=limits.header_timeout_s,
                connections_max=limits.connections_max,
                by_address=self._by_address,
                on_refused=telemetry.on_refused,
                on_count=telemetry.connections.set,
            ),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(limits.drain_s)),
        )
        config.load()
        server = Server(config)
        server.lifespan = config.lifespan_class(config)
        return server


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ConfigError: The address is taken, or none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        made.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error}",
            hint="name another --port or --host, or end what uses it",
        ) from error
    return made


def _address(options: ServerOptions, listener: socket.socket) -> str:
    host = options.access.host
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{listener.getsockname()[1]}"


def _possible(limits: Limits) -> Limits:
    """Return limits with no more connections than the process may have descriptors."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections_max + DESCRIPTORS_KEPT
    if soft != resource.RLIM_INFINITY and soft < wanted:
        possible = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
            soft = possible
        most = max(1, soft - DESCRIPTORS_KEPT)
        limits = msgspec.structs.replace(limits, connections_max=min(limits.connections_max, most))
    return limits


def _access_log(options: ServerOptions) -> AccessLog | None:
    if not options.has_access_log:
        return None
    if options.access_log is None:
        return AccessLog(STDERR)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return AccessLog(os.open(options.access_log, flags, 0o600))
    except OSError as error:
        raise ConfigError(
            f"the access log {options.access_log} cannot be written: {error.strerror}",
            hint="name another file, or --no-access-log",
        ) from error


def _delivered(gateway: Gateway, timeout_s: float) -> dict[str, int]:
    """End the journal, wait a while for its delivery, and return what is left of it, by backend."""
    deadline = time.monotonic() + timeout_s
    ended = threading.Thread(target=gateway.close, name="gateway-close", daemon=True)
    ended.start()
    ended.join(timeout_s)
    pending = gateway.client.session.close(max(0.0, deadline - time.monotonic()))
    return {uri: count for uri, count in pending.items() if count}
