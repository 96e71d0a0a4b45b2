"""A worker process: it loads the model, answers requests, and ends without losing one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from trackbridge.domain.serving import ServingSettings
from trackbridge.serving.application import Application
from trackbridge.serving.capture import PayloadCapture
from trackbridge.serving.listening import BACKLOG, identity_of
from trackbridge.serving.logs import log, take_over_logging
from trackbridge.serving.metrics import FOLDER_VARIABLE, Metrics
from trackbridge.serving.protocol import protocol_class
from trackbridge.serving.scoring import ScoringThread
from trackbridge.serving.tokens import TokenFile
from trackbridge.serving.tracing import Tracing
from trackbridge.serving.windows import WindowTelemetry

LOAD_FAILED = 3
HUNG = 4
LINGER_S = 0.2
"""How long a server that ends still takes connections: those that the kernel had accepted for it already."""
ORPHAN_CHECK_S = 0.25
KEEP_ALIVE_S = 75


@dataclass(frozen=True)
class Place:
    """What the main process hands to a worker.

    ``life`` is a pipe's end that closes with the main process, ``report`` where to tell that the model is
    loaded. ``socket_identity`` is device and inode of the published Unix socket. ``is_first``: there is no
    other yet, so that health checks are answered (503) while the model is loaded.
    """

    number: int
    listener: socket.socket
    life: int
    report: int
    socket_identity: tuple[int, int] | None
    is_first: bool


def run_worker(settings: ServingSettings, place: Place) -> int:
    """Serve until told to end; return the exit code."""
    import uvloop

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the main process, which tells us to end
    take_over_logging()
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop.run_until_complete(_Worker(settings, place).run())


class _Worker:
    def __init__(self, settings: ServingSettings, place: Place) -> None:
        self._settings = settings
        self._place = place
        self._metrics = Metrics(settings, place=place.number)
        self._ending = asyncio.Event()
        self._is_orphan = False
        self._exit_code = 0

    async def run(self) -> int:
        settings, place = self._settings, self._place
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._ending.set)
        loop.add_reader(place.life, self._on_orphaned)
        self._windows = windows = WindowTelemetry(settings, captured=lambda: self._metrics.captured_count)
        self._scoring = scoring = ScoringThread(
            self._load,
            queue_max=settings.queue_max,
            timeout_s=settings.request_timeout_s,
            on_hung=self._on_hung,
            on_queue=self._on_queue,
        )
        capture = self._capture()
        tracing = Tracing(settings) if settings.tracing else None
        listeners = [
            self._metrics.on_answered,
            windows.on_answered,
            *([capture.on_answered] if capture else []),
        ]
        application = Application(
            settings,
            scoring=scoring,
            metrics=self._metrics,
            tokens=TokenFile(Path(settings.token_file)) if settings.token_file else None,
            tracing=tracing,
            on_answered=tuple(listeners),
        )
        scoring.start()
        server = self._server(application)
        if place.is_first and settings.socket is None:
            await server.startup(sockets=[place.listener])
        ending = asyncio.ensure_future(self._ending.wait())
        await asyncio.wait((scoring.loaded, ending), return_when=asyncio.FIRST_COMPLETED)
        if not scoring.loaded.done():
            return 0  # told to end before it could serve anybody
        try:
            await scoring.loaded
        except RuntimeError as error:
            self._report({"error": str(error)})
            return LOAD_FAILED
        if not server.started:
            await server.startup(sockets=[place.listener])
        self._report({"is_ready": True})
        await self._serve(server, application)
        if capture is not None:
            capture.stop()
        windows.stop()
        if tracing is not None:
            tracing.stop()
        if self._is_orphan:
            shutil.rmtree(os.environ[FOLDER_VARIABLE], ignore_errors=True)
        return self._exit_code

    def _load(self) -> Any:
        from trackbridge.serving.model import ServedModel

        return ServedModel(self._settings.model_path)

    def _capture(self) -> PayloadCapture | None:
        if self._settings.capture is None or self._settings.capture.percent <= 0:
            return None
        return PayloadCapture(
            self._settings.capture, self._settings, place=self._place.number, metrics=self._metrics
        )

    def _server(self, application: Application) -> Any:
        import uvicorn

        class Server(uvicorn.Server):
            """uvicorn without its own handling of signals, and with Unix sockets taken from the parent."""

            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

        config = uvicorn.Config(
            application,
            http=protocol_class(
                header_timeout_s=self._settings.header_timeout_s, on_refused=self._metrics.on_refused
            ),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(self._settings.drain_s)),
        )
        config.load()
        server = Server(config)
        server.lifespan = config.lifespan_class(config)
        return server

    async def _serve(self, server: Any, application: Application) -> None:
        """Answer until told to end; then what the kernel or we have accepted already."""
        loop = asyncio.create_task(server.main_loop())
        await self._ending.wait()
        application.is_draining = True
        await asyncio.sleep(LINGER_S)
        server.should_exit = True
        await loop
        await server.shutdown(sockets=[self._place.listener])

    def _report(self, content: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # the main process is dead, which the other pipe tells
            os.write(self._place.report, msgspec.json.encode(content) + b"\n")

    def _on_queue(self, waiting: int) -> None:
        self._metrics.queue.set(waiting)
        self._windows.on_queue(waiting)

    def _on_hung(self) -> None:
        log("the model hangs on a request; this worker ends, another takes its place")
        self._exit_code = HUNG
        self._scoring.abandon()
        self._ending.set()

    def _on_orphaned(self) -> None:
        """The main process is dead: go on for a while, or until another server has taken over the socket."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._place.life)
        self._is_orphan = True
        log("the main process is dead; this worker serves on for a while", orphan_s=self._settings.orphan_s)
        loop.call_later(self._settings.orphan_s, self._ending.set)
        self._look_for_successor()

    def _look_for_successor(self) -> None:
        identity = self._place.socket_identity
        if identity is None or self._ending.is_set():
            return
        assert self._settings.socket is not None
        if identity != identity_of(self._settings.socket):
            self._ending.set()
            return
        asyncio.get_running_loop().call_later(ORPHAN_CHECK_S, self._look_for_successor)
