"""The supervisor of an endpoint: keeps its router and its servers running as the store wants them.

It holds nothing that the store and the locks of its processes do not hold as well. Killed, it leaves them
running; the next one finds them by their locks. Every look compares what is wanted with what runs.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from subprocess import SubprocessError
from threading import Event
from types import FrameType

from trackbridge.domain.deployments import EndpointStatus
from trackbridge.errors import BridgeError
from trackbridge_adapters.local import endpoint_rows as rows
from trackbridge_adapters.local.config import Settings
from trackbridge_adapters.local.database import Database
from trackbridge_adapters.local.endpoint_folders import EndpointFolder, make_private, open_log
from trackbridge_adapters.local.endpoint_logs import bound_log
from trackbridge_adapters.local.endpoint_payloads import remove_unused, removing
from trackbridge_adapters.local.endpoint_rows import DeploymentRow, EndpointRow
from trackbridge_adapters.local.endpoint_servers import ROUTER, Running, Server, ServerKey, running_in
from trackbridge_adapters.local.locks import hold

LOOK_S = 0.05
LOCK_PATIENCE_S = 0.4
LOGS_LOOK_S = 5.0
FAILURES_MAX = 2
DRAIN_S = 25.0
PORT_TAKEN = 3
READY, HELD = b"ready", b"held"


class Supervisor:
    """One endpoint's processes."""

    def __init__(self, folder: EndpointFolder, database: Database) -> None:
        self._folder = folder
        self._database = database
        self._router = Running(folder, ROUTER)
        self._servers: dict[ServerKey, Server] = {}
        self._leaving: dict[ServerKey, tuple[Server, float]] = {}
        self._logs_at = 0.0
        for key, process in running_in(folder).items():
            if key == ROUTER:
                self._router.adopt(process)
            else:
                self._servers[key] = Server.adopted(folder, key, process)

    def look(self) -> bool:
        """Compare once, and do what is missing; False once the endpoint is gone."""
        row = self._read()
        if row is None:
            self._end_everything()
            return False
        if row.is_deleting:
            return self._delete(row)
        self._keep_router(row)
        wanted = self._wanted(row)
        for key, (deployment, is_serving) in wanted.items():
            self._keep_server(row, deployment, key, is_serving=is_serving)
        if row.routed_generation >= row.generation or not self._router.is_running:
            for key in self._servers.keys() - wanted.keys():
                self._dismiss(key)
        self._see_off()
        self._remove_gone(row)
        self._bound_logs(row)
        return True

    def _read(self) -> EndpointRow | None:
        with self._database.reading("endpoint.supervisor") as connection:
            return rows.read_endpoint(connection, self._folder.endpoint) if connection is not None else None

    def _write(self, action: Callable[[sqlite3.Connection], None]) -> None:
        with self._database.updating("endpoint.supervisor") as connection:
            if connection is not None:
                action(connection)

    def _wanted(self, row: EndpointRow) -> dict[ServerKey, tuple[DeploymentRow, bool]]:
        """Return the servers that are to run, and for each whether it is one that serves by now."""
        wanted: dict[ServerKey, tuple[DeploymentRow, bool]] = {}
        for deployment in row.deployments:
            if deployment.is_removing:
                continue
            if deployment.serving_generation is not None:
                wanted[ServerKey(deployment.name, deployment.serving_generation)] = (deployment, True)
            if deployment.is_waiting:
                wanted[ServerKey(deployment.name, deployment.generation)] = (deployment, False)
        return wanted

    # The router.

    def _keep_router(self, row: EndpointRow) -> None:
        if self._router.is_running or not self._router.may_start():
            return
        reason = ""
        if self._router.exit_code == PORT_TAKEN:
            reason = f"port {row.port} is taken by another program; it is tried again"
        elif self._router.failures > 1:
            reason = f"the router ends again and again; see {self._folder.own_log('router')}"
        if reason != row.reason and reason:
            self._write(lambda store: rows.note_reason(store, row.name, reason))
        self._router.start_router()

    # Servers.

    def _keep_server(
        self, row: EndpointRow, deployment: DeploymentRow, key: ServerKey, *, is_serving: bool
    ) -> None:
        server = self._servers.get(key)
        if server is None:
            server = self._servers[key] = Server(self._folder, key)
        if not server.was_started:
            self._note_away(row, deployment, is_serving=is_serving)
            if server.may_start():
                self._start(row, deployment, server, is_serving=is_serving)
        elif not server.is_running:
            self._restart(row, deployment, server, is_serving=is_serving)
        elif server.is_ready:
            self._note_ready(row, deployment, is_serving=is_serving)

    def _start(
        self, row: EndpointRow, deployment: DeploymentRow, server: Server, *, is_serving: bool
    ) -> None:
        make_private(row.sockets)
        spec = deployment.serving_spec if is_serving and deployment.serving_spec else deployment.spec
        pid = server.start(row, spec)

        self._write(
            lambda store: rows.note_server(store, row.name, deployment.name, pid, restarted=is_serving)
        )

    def _note_away(self, row: EndpointRow, deployment: DeploymentRow, *, is_serving: bool) -> None:
        if is_serving and deployment.status is EndpointStatus.READY:
            status, reason = EndpointStatus.UPDATING, "its server is started again"
            self._write(lambda store: rows.note_status(store, row.name, deployment.name, status, reason))

    def _restart(
        self, row: EndpointRow, deployment: DeploymentRow, server: Server, *, is_serving: bool
    ) -> None:
        if not is_serving:
            reason = server.last_words()
            self._write(lambda store: rows.give_up(store, row.name, deployment, reason))
            server.forget()
            del self._servers[server.key]
            return
        self._note_away(row, deployment, is_serving=True)
        if server.note_end() and server.failures > FAILURES_MAX and not deployment.is_waiting:
            reason = f"its server ends again and again: {server.last_words()}"
            self._write(
                lambda store: rows.note_status(
                    store, row.name, deployment.name, EndpointStatus.FAILED, reason
                )
            )
        if server.may_start():
            self._start(row, deployment, server, is_serving=True)

    def _note_ready(self, row: EndpointRow, deployment: DeploymentRow, *, is_serving: bool) -> None:
        if not is_serving:
            self._write(lambda store: rows.switch(store, row.name, deployment))
        elif deployment.status is not EndpointStatus.READY and not deployment.is_waiting:
            status = EndpointStatus.READY
            self._write(lambda store: rows.note_status(store, row.name, deployment.name, status, ""))

    # Ending.

    def _dismiss(self, key: ServerKey) -> None:
        server = self._servers.pop(key)
        server.terminate()
        self._leaving[key] = (server, time.monotonic() + DRAIN_S)

    def _see_off(self) -> None:
        """Forget the servers that have ended, and kill those that do not."""
        for key, (server, deadline) in list(self._leaving.items()):
            if not server.is_running:
                server.forget()
                del self._leaving[key]
            elif time.monotonic() > deadline:
                server.kill()

    def _remove_gone(self, row: EndpointRow) -> None:
        present = {key.deployment for key in (*self._servers, *self._leaving)}
        gone = [found.name for found in row.deployments if found.is_removing and found.name not in present]
        if gone and row.routed_generation >= row.generation:
            self._write(lambda store: rows.remove_deployments(store, row.name, gone))

    def _delete(self, row: EndpointRow) -> bool:
        """Take an endpoint down: first who accepts requests, then who answers them."""
        if self._router.is_running:
            self._router.terminate_once(DRAIN_S)
            return True
        for key in list(self._servers):
            self._dismiss(key)
        self._see_off()
        if self._leaving:
            return True
        self._clean_up(row)
        with removing(self._folder.store) as may_remove:
            used: set[str] = set()

            def forget(store: sqlite3.Connection) -> None:
                rows.remove_endpoint(store, row.name)
                used.update(rows.used_payloads(store))

            self._write(forget)
            if may_remove:
                remove_unused(self._folder.store, used)
        return False

    def _clean_up(self, row: EndpointRow) -> None:
        with suppress(FileNotFoundError):
            self._folder.token.unlink()
        if row.sockets != self._folder.run:
            shutil.rmtree(row.sockets, ignore_errors=True)
        for file in self._folder.run.iterdir():
            if file != self._folder.supervisor_lock:
                file.unlink()

    def _end_everything(self) -> None:
        """The store is gone: nobody could ever end these processes otherwise."""
        if self._router.is_running:
            self._router.terminate_once(DRAIN_S)
        for key in list(self._servers):
            self._dismiss(key)
        while self._leaving:
            Event().wait(LOOK_S)
            self._see_off()

    def _bound_logs(self, row: EndpointRow) -> None:
        if time.monotonic() < self._logs_at:
            return
        self._logs_at = time.monotonic() + LOGS_LOOK_S
        for deployment in row.deployments:
            bound_log(self._folder.log(deployment.name))
        for name in ("router", "supervisor"):
            bound_log(self._folder.own_log(name))


def supervise(folder: EndpointFolder, answer: int, ended: Event) -> None:
    """Look until the endpoint is gone, or until told to end; say ``ready`` after the first look."""
    last = ""
    with closing(Database(Settings(folder=folder.store))) as database:
        supervisor = Supervisor(folder, database)
        with database.updating("endpoint.supervisor") as connection:
            if connection is not None:
                rows.note_supervisor(connection, folder.endpoint)
        goes_on, told = True, False
        while goes_on and not ended.is_set():
            try:
                goes_on = supervisor.look()
            except (BridgeError, OSError, SubprocessError) as error:  # a full disk: done once there is room
                if str(error) != last:
                    print(f"cannot go on for now: {error}", file=sys.stderr, flush=True)  # noqa: T201
                last = str(error)
            if not told:
                os.write(answer, READY)
                os.close(answer)
                told = True
            ended.wait(LOOK_S)


def main(arguments: list[str]) -> int:
    """Start the supervisor of ``FOLDER ENDPOINT`` as a process of its own; return once it has looked.

    Returns:
        0 when a supervisor is there, this one or another; 1 when it could not start.
    """
    folder = EndpointFolder(Path(arguments[0]), arguments[1])
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        with os.fdopen(reader, "rb") as answers:
            return 0 if answers.read() in (READY, HELD) else 1
    os.close(reader)
    ended = Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    held = hold(folder.supervisor_lock, patience_s=LOCK_PATIENCE_S)
    if held is None:
        os.write(writer, HELD)
        return 0
    _leave_terminal(folder)
    supervise(folder, writer, ended)
    return 0


def _leave_terminal(folder: EndpointFolder) -> None:
    """Keep nothing open that belongs to the command which started this."""
    log = open_log(folder.own_log("supervisor"))
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.close(log)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
