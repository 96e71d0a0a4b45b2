"""The router of an endpoint: one address in front of the servers of its deployments.

It takes what is wanted from the store and says there how far it has come, so that it goes on when the
supervisor is gone. Requests never wait for the store: a thread of its own reads and writes it.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from trackbridge.errors import BridgeError
from trackbridge_adapters.local.config import Settings
from trackbridge_adapters.local.database import Database
from trackbridge_adapters.local.endpoint_back import LostError, MovedError, NotSentError, Pool
from trackbridge_adapters.local.endpoint_folders import EndpointFolder
from trackbridge_adapters.local.endpoint_front import Door, Front
from trackbridge_adapters.local.endpoint_http import DEPLOYMENT_HEADER, Answer, Request, refusal
from trackbridge_adapters.local.endpoint_routes import BODY_BYTES_MAX, NO_ROUTES, Route, Routes
from trackbridge_adapters.local.endpoint_rows import EndpointRow, note_routed, note_router, read_endpoint
from trackbridge_adapters.local.endpoint_telemetry import Telemetry, compact, write_figures

HOST = "127.0.0.1"
PORT_TAKEN = 3
LOOK_S = 0.05
FLUSH_S = 1.0
COMPACT_S = 60.0
DRAIN_S = 20.0
COPIES_MAX = 32
SCORING_PATH = b"/invocations"


class Router:
    """Chooses who answers, passes requests on, counts."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.routes = NO_ROUTES
        self.in_flight = 0
        self._telemetry = telemetry
        self._pools: dict[str, Pool] = {}
        self._copies: set[asyncio.Task[None]] = set()

    def take_over(self, routes: Routes) -> None:
        """Go on with other routes; requests under way end where they are."""
        pools = {}
        for name, route in routes.by_name.items():
            pool = self._pools.pop(name, None)
            if pool is not None and pool.route != route:
                pool.close()
                pool = None
            pools[name] = pool or Pool(route)
        for gone in self._pools.values():
            gone.close()
        self._pools, self.routes = pools, routes

    async def respond(self, request: Request) -> Answer:
        """Answer one request."""
        if request.path == b"/ping":
            return self._ping()
        self.in_flight += 1
        try:
            return await self._pass_on(request)
        finally:
            self.in_flight -= 1

    def _ping(self) -> Answer:
        if self.routes.traffic:
            return Answer(200, [(b"content-type", b"application/json")], b"{}")
        return refusal(503, "TEMPORARILY_UNAVAILABLE", "no deployment has traffic", retry_after_s=1)

    async def _pass_on(self, request: Request) -> Answer:
        named = request.header(DEPLOYMENT_HEADER).decode("latin-1")
        is_scoring = request.path == SCORING_PATH
        route = self.routes.by_name.get(named) if named else self.routes.next()
        if route is None:
            return _nobody(named)
        data, started = request.encode(), time.perf_counter()
        if is_scoring and not named:
            self._send_copies(data)
        answer = await self._ask(route.deployment, data)
        if is_scoring:
            latency_s = time.perf_counter() - started
            self._telemetry.count(
                route.deployment, int(time.time()), status=answer.status, latency_s=latency_s
            )
        answer.deployment = route.deployment
        return answer

    async def _ask(self, deployment: str, data: bytes) -> Answer:
        while deployment in self._pools:
            try:
                return await self._pools[deployment].send(data)
            except MovedError:
                continue
            except NotSentError as error:
                return refusal(503, "TEMPORARILY_UNAVAILABLE", str(error), retry_after_s=1)
            except LostError as error:
                code = "DEADLINE_EXCEEDED" if error.is_late else "BAD_GATEWAY"
                return refusal(504 if error.is_late else 502, code, str(error))
        return _nobody(deployment)

    def _send_copies(self, data: bytes) -> None:
        for route in self.routes.copies():
            if len(self._copies) >= COPIES_MAX:
                return
            self._telemetry.count_copy(route.deployment, int(time.time()))
            task = asyncio.get_running_loop().create_task(self._send_copy(route.deployment, data))
            self._copies.add(task)
            task.add_done_callback(self._copies.discard)

    async def _send_copy(self, deployment: str, data: bytes) -> None:
        await self._ask(deployment, data)  # what a mirror answers is nobody's business

    async def drain(self, timeout_s: float) -> None:
        """Wait until what was accepted is answered."""
        deadline = time.monotonic() + timeout_s
        while self.in_flight and time.monotonic() < deadline:
            await asyncio.sleep(0.01)


def _nobody(named: str) -> Answer:
    if named:
        return refusal(404, "RESOURCE_DOES_NOT_EXIST", f"there is no deployment {named[:80]!r}")
    return refusal(503, "TEMPORARILY_UNAVAILABLE", "no deployment has traffic", retry_after_s=1)


class Keeper(threading.Thread):
    """Looks after the store: hands on what is wanted, writes telemetry and how far the router has come.

    Args:
        database: The store.
        endpoint: Name of the endpoint.
        telemetry: What is to be written.
        take_over: Makes the router use other routes, and returns once it does.
        stop: Ends the router; called when the endpoint, or the store, is gone.
    """

    def __init__(
        self,
        database: Database,
        endpoint: str,
        telemetry: Telemetry,
        *,
        take_over: Callable[[Routes], None],
        stop: Callable[[], None],
    ) -> None:
        super().__init__(name="store", daemon=True)
        self._database = database
        self._endpoint = endpoint
        self._telemetry = telemetry
        self._take_over = take_over
        self._stop = stop
        self._ended = threading.Event()
        self._generation = -1
        self._flush_at = self._compact_at = 0.0

    def run(self) -> None:
        """Look and write until told to end; what fails is tried again, for it fails with the disk."""
        last = ""
        while not self._ended.wait(LOOK_S):
            try:
                self._look()
                self._write()
            except BridgeError as error:
                if str(error) != last:
                    print(f"the store cannot be used for now: {error}", file=sys.stderr, flush=True)  # noqa: T201
                last = str(error)

    def end(self) -> None:
        """Write what is left, and end."""
        self._ended.set()
        self.join()
        self._flush_at = 0.0
        self._write()

    def _look(self) -> None:
        with self._database.reading("endpoint.router") as connection:
            row = read_endpoint(connection, self._endpoint) if connection is not None else None
        if row is None:
            self._stop()
            return
        if row.generation == self._generation:
            return
        self._take_over(routes_of(row))
        with self._database.updating("endpoint.router") as connection:
            if connection is not None:
                note_routed(connection, self._endpoint, row.generation)
        self._generation = row.generation

    def _write(self) -> None:
        now = time.monotonic()
        if now < self._flush_at:
            return
        self._flush_at = now + FLUSH_S
        figures = self._telemetry.take()
        must_compact = now >= self._compact_at
        if not figures and not must_compact:
            return
        try:
            with self._database.updating("endpoint.telemetry") as connection:
                if connection is None:
                    return
                write_figures(connection, self._endpoint, figures)
                if must_compact:
                    compact(connection, self._endpoint, now_s=int(time.time()))
        except BridgeError:
            self._telemetry.give_back(figures)
            raise
        self._compact_at = now + COMPACT_S if must_compact else self._compact_at


def routes_of(row: EndpointRow) -> Routes:
    """Return the routes that an endpoint's row wants."""
    routes = {
        found.name: Route(
            deployment=found.name,
            socket=row.socket(found.name, found.serving_generation),
            timeout_s=found.serving_spec.request_timeout_s,
            body_bytes_max=body_bytes_max(found.serving_spec.options),
            has_failed=found.status == "FAILED",
        )
        for found in row.deployments
        if found.serving_spec is not None and found.serving_generation is not None and not found.is_removing
    }
    return Routes(routes, traffic=row.traffic, mirror=row.mirror, generation=row.generation)


def body_bytes_max(options: dict[str, str]) -> int:
    """Return how large a request may be."""
    return int(options.get("body_bytes_max", BODY_BYTES_MAX))


async def serve(folder: EndpointFolder) -> int:
    """Serve until told to end; return the exit code."""
    loop = asyncio.get_running_loop()
    database = Database(Settings(folder=folder.store))
    ended = asyncio.Event()
    with database.reading("endpoint.router") as connection:
        row = read_endpoint(connection, folder.endpoint) if connection is not None else None
    if row is None:
        return 0
    telemetry = Telemetry()
    router = Router(telemetry)
    router.take_over(routes_of(row))
    door = Door(folder.read_token().encode(), router.respond, lambda: router.routes.body_bytes_max)
    try:
        server = await loop.create_server(lambda: Front(door), HOST, row.port or 0, backlog=1024)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return PORT_TAKEN
        raise
    with database.updating("endpoint.router") as connection:
        if connection is not None:
            note_router(connection, folder.endpoint, server.sockets[0].getsockname()[1])

    def take_over(routes: Routes) -> None:
        asyncio.run_coroutine_threadsafe(_do(lambda: router.take_over(routes)), loop).result()

    def stop() -> None:
        loop.call_soon_threadsafe(ended.set)

    keeper = Keeper(
        database,
        folder.endpoint,
        telemetry,
        take_over=take_over,
        stop=stop,
    )
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    keeper.start()
    await ended.wait()
    server.close()
    door.close()
    await router.drain(DRAIN_S)
    await loop.run_in_executor(None, keeper.end)
    database.close()
    return 0


async def _do(action: Callable[[], None]) -> None:
    action()


def main(arguments: list[str]) -> int:
    """Run the router of ``FOLDER ENDPOINT``."""
    folder = EndpointFolder(Path(arguments[0]), arguments[1])
    try:
        import uvloop
    except ImportError:
        return asyncio.run(serve(folder))
    loop = uvloop.new_event_loop()
    try:
        return int(loop.run_until_complete(serve(folder)))
    finally:
        loop.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
