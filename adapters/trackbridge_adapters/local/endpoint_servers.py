"""The processes of an endpoint as its supervisor sees them: started, adopted, started again, ended."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from trackbridge.domain.deployments import DeploymentSpec
from trackbridge.domain.serving import Capture, ServingSettings
from trackbridge_adapters.local.endpoint_folders import EndpointFolder, open_log
from trackbridge_adapters.local.endpoint_payloads import payload_folder
from trackbridge_adapters.local.endpoint_processes import Process, adopt, python_command, start
from trackbridge_adapters.local.endpoint_rows import EndpointRow
from trackbridge_adapters.local.locks import is_held

BACKOFF_S = 0.5
BACKOFF_S_MAX = 30.0
STEADY_S = 10.0
LAST_WORDS_BYTES = 4096
LAST_WORDS_CHARS = 500


class ServerKey(NamedTuple):
    """Which server: of which deployment, since which generation."""

    deployment: str
    generation: int


ROUTER = ServerKey("router", 0)  # deployments count from generation 1


def lock_of(folder: EndpointFolder, key: ServerKey) -> Path:
    """Return the lock that a process holds."""
    return folder.run / f"{key.deployment}.{key.generation}.lock"


def running_in(folder: EndpointFolder) -> dict[ServerKey, Process]:
    """Return every process of an endpoint that runs, whoever started it."""
    found = {}
    for lock in folder.run.glob("*.*.lock"):
        name, generation, _ = lock.name.rsplit(".", 2)
        process = adopt(lock)
        if process is not None:
            found[ServerKey(name, int(generation))] = process
    return found


class Running:
    """A process that is to run: at once the first time, then ever less often if it keeps ending."""

    def __init__(self, folder: EndpointFolder, key: ServerKey) -> None:
        self.key = key
        self.failures = 0
        self._folder = folder
        self._process: Process | None = None
        self._started_at = 0.0
        self._start_at = 0.0
        self._has_ended = True
        self._kill_at: float | None = None

    def adopt(self, process: Process) -> None:
        """Take over a process that somebody else started."""
        self._process, self._has_ended = process, False

    @property
    def was_started(self) -> bool:
        """False until a process was started, or adopted."""
        return self._process is not None

    @property
    def is_running(self) -> bool:
        """True while the process lives."""
        return self._process is not None and self._process.is_running

    @property
    def exit_code(self) -> int | None:
        """How it ended, where that is known."""
        return self._process.exit_code if self._process is not None else None

    def note_end(self) -> bool:
        """Reckon when to start again; True when this end was not noted before."""
        if self._has_ended or self._process is None:
            return False
        self._has_ended = True
        self._process.kill()  # what it started itself
        lived_s = time.monotonic() - self._started_at
        self.failures = 1 if lived_s > STEADY_S else self.failures + 1
        pause_s = 0.0 if self.failures == 1 else min(BACKOFF_S * 2.0 ** (self.failures - 2), BACKOFF_S_MAX)
        self._start_at = time.monotonic() + pause_s
        return True

    def may_start(self) -> bool:
        """Tell whether the time to start has come, and nothing of the last process is left."""
        self.note_end()
        return time.monotonic() >= self._start_at and not is_held(lock_of(self._folder, self.key))

    def start_router(self) -> None:
        """Start the router."""
        command = python_command(
            "trackbridge_adapters.local.endpoint_router", str(self._folder.store), self._folder.endpoint
        )
        self._run(command, self._folder.own_log("router"), {})

    def _run(self, command: list[str], log: Path, variables: dict[str, str]) -> int:
        output = open_log(log)
        try:
            self._process = start(
                command,
                lock=lock_of(self._folder, self.key),
                log=output,
                environment={**os.environ, **variables},
            )
        finally:
            os.close(output)
        self._started_at, self._has_ended = time.monotonic(), False
        return self._process.pid

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process is not None:
            self._process.terminate()

    def terminate_once(self, patience_s: float) -> None:
        """Ask it to end; if it does not within the time, kill it."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + patience_s
            self.terminate()
        elif time.monotonic() > self._kill_at:
            self.kill()

    def kill(self) -> None:
        """End it with all that it started."""
        if self._process is not None:
            self._process.kill()


class Server(Running):
    """A scoring server."""

    def __init__(self, folder: EndpointFolder, key: ServerKey) -> None:
        super().__init__(folder, key)
        self._is_ready = False
        self._log_start = 0

    @classmethod
    def adopted(cls, folder: EndpointFolder, key: ServerKey, process: Process) -> Server:
        """Return a server that somebody else started."""
        server = cls(folder, key)
        server.adopt(process)
        return server

    @property
    def _ready_file(self) -> Path:
        return self._folder.run / f"{self.key.deployment}.{self.key.generation}.ready"

    @property
    def _settings_file(self) -> Path:
        return self._folder.run / f"{self.key.deployment}.{self.key.generation}.json"

    def start(self, row: EndpointRow, spec: DeploymentSpec) -> int:
        """Start it, and return its process id."""
        socket = row.socket(self.key.deployment, self.key.generation)
        for left_over in (self._ready_file, Path(socket)):
            left_over.unlink(missing_ok=True)
        self._is_ready = False
        settings = server_settings(self._folder, spec, socket=socket, ready_file=str(self._ready_file))
        self._settings_file.write_bytes(msgspec.json.encode(settings))
        python = spec.options.get("python", sys.executable)
        command = python_command("trackbridge.serving", str(self._settings_file), python=python)
        log = self._folder.log(spec.deployment)
        self._log_start = log.stat().st_size if log.exists() else 0
        return self._run(command, log, spec.variables)

    @property
    def is_ready(self) -> bool:
        """True once the server has begun to answer."""
        self._is_ready = self._is_ready or self._ready_file.exists()
        return self._is_ready

    def last_words(self) -> str:
        """Return how it ended, with the last line of its log."""
        ending = self._process.ending if self._process is not None else "it ended"
        with suppress(FileNotFoundError), self._folder.log(self.key.deployment).open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - LAST_WORDS_BYTES) if size >= self._log_start else 0)
            lines = log.read().decode("utf-8", "replace").strip().splitlines()
            if lines:
                return f"{ending}: {lines[-1][:LAST_WORDS_CHARS]}"
        return ending

    def forget(self) -> None:
        """Remove the files of a server that has ended for good."""
        self.kill()
        for file in (self._ready_file, self._settings_file, lock_of(self._folder, self.key)):
            file.unlink(missing_ok=True)


def server_settings(
    folder: EndpointFolder, spec: DeploymentSpec, *, socket: str, ready_file: str
) -> ServingSettings:
    """Return how the server of a deployment is to run."""
    capture = None
    if spec.capture_percent:
        captures = folder.captures(spec.deployment)
        captures.mkdir(parents=True, exist_ok=True, mode=0o700)
        capture = Capture(percent=spec.capture_percent, folder=str(captures))
    settings = ServingSettings(
        model_path=str(payload_folder(folder.store, spec.model_digest)),
        name=f"{spec.endpoint}/{spec.deployment}",
        model=spec.model,
        socket=socket,
        workers=spec.instance_count,
        request_timeout_s=spec.request_timeout_s,
        capture=capture,
        ready_file=ready_file,
    )
    chosen = {name: int(spec.options[name]) for name in NUMBER_OPTIONS if name in spec.options}
    return msgspec.structs.replace(settings, **chosen)


NUMBER_OPTIONS = ("queue_max", "body_bytes_max")
