"""The main process: binds the socket, forks workers that load the model, and replaces those that die.

It never loads the model, and has one thread only, so that a fork is safe and takes milliseconds: what takes
seconds, importing mlflow and the model's library, is done before.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from trackbridge.domain.serving import ServingSettings
from trackbridge.errors import ConfigError, Exhausted
from trackbridge.serving.listening import Listener
from trackbridge.serving.logs import log
from trackbridge.serving.metrics import forget_gauges, leave_folder, use_folder
from trackbridge.serving.packages import require, require_all

LOADS_MAX = 5
"""After so many workers in a row died before their model was loaded, we give up."""
RESTART_S_MIN, RESTART_S_MAX = 0.1, 2.0
HEALTHY_S = 10.0
"""A worker that lived so long was healthy: its successor comes at once."""
KILL_AFTER_S = 3.0
FIRST_PROCESS = 1
ORPHANS_S = 5.0
"""How long a container's first process waits for what its workers have left behind."""
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}
LIBRARIES = {
    "sklearn": ("sklearn.pipeline", "sklearn.linear_model", "sklearn.ensemble"),
    "xgboost": ("xgboost",),
    "lightgbm": ("lightgbm",),
    "catboost": ("catboost",),
    "pytorch": ("torch",),
    "onnx": ("onnxruntime",),
    "statsmodels": ("statsmodels.api",),
}
"""What the loaders of mlflow's flavors import only when they load."""


class _Worker:
    """A forked worker as the main process sees it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process_id = 0
        self.report = -1
        self.started_at = 0.0
        self.is_ready = False
        self.failures = 0
        self.restart_at: float | None = None


class MainProcess:
    """Runs the workers of one server.

    One worker loads the model first, and answers health checks meanwhile. The others start when it is ready,
    and listen once they are: they take no request that a worker that is ready could answer.
    """

    def __init__(self, settings: ServingSettings) -> None:
        check_settings(settings)
        self._settings = settings
        self._workers = [_Worker(number) for number in range(settings.workers)]
        self._was_ready = False
        self._is_ending = False
        self._reason = ""
        self._failed_loads = 0
        self._began_at = time.monotonic()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; see ``trackbridge.serving.serve``."""
        os.environ.update(QUIET)
        self._metrics = _temporary_folder()
        use_folder(self._metrics)
        try:
            require_all(is_tracing=self._settings.tracing)
            importlib.import_module("trackbridge.serving.worker")  # here, not again in every worker
            import_model_library(self._settings.model_path)
            self._listener = Listener(self._settings)
            try:
                self._run_workers()
            finally:
                self._listener.close()
        finally:
            leave_folder()
            shutil.rmtree(self._metrics, ignore_errors=True)

    def _run_workers(self) -> None:
        self._start_soon(self._workers[:1])
        self._selector = selectors.DefaultSelector()
        self._life_read, self._life_write = os.pipe()
        wake_read, wake_write = socket.socketpair()
        wake_read.setblocking(False)
        wake_write.setblocking(False)
        self._selector.register(wake_read, selectors.EVENT_READ, None)
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        wakeup_before = signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
        gc.collect()
        gc.freeze()  # what is imported stays shared with the workers
        try:
            self._supervise()
        finally:
            self._end_workers()
            signal.set_wakeup_fd(wakeup_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            gc.unfreeze()
            self._selector.close()
            for end in (wake_read, wake_write):
                end.close()
            os.close(self._life_read)
            os.close(self._life_write)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._is_ending = True

    def _supervise(self) -> None:
        while not self._is_ending:
            now = time.monotonic()
            for worker in self._workers:
                if worker.restart_at is not None and worker.restart_at <= now:
                    self._start(worker)
            for key, _ in self._selector.select(self._patience_s()):
                if key.data is None:
                    _drain(key.fileobj)
                else:
                    self._read_report(key.data)
            self._reap()

    def _patience_s(self) -> float | None:
        due = [worker.restart_at for worker in self._workers if worker.restart_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _start_soon(self, workers: list[_Worker]) -> None:
        for worker in workers:
            worker.restart_at = time.monotonic()

    # One worker.

    def _start(self, worker: _Worker) -> None:
        report_read, report_write = os.pipe()
        os.set_blocking(report_read, False)  # a process that the model started may hold the other end
        forget_gauges(self._metrics, worker.number)
        process_id = os.fork()
        if process_id == 0:
            self._become_worker(worker, report_write)
        os.close(report_write)
        worker.process_id, worker.report = process_id, report_read
        worker.started_at, worker.restart_at = time.monotonic(), None
        self._selector.register(report_read, selectors.EVENT_READ, worker)

    def _become_worker(self, worker: _Worker, report: int) -> None:
        """In the child: never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            os.close(self._life_write)
            for other in self._workers:
                if other.report != -1:
                    os.close(other.report)
            self._selector.close()
            from trackbridge.serving.worker import Place, run_worker

            place = Place(
                number=worker.number,
                listener=self._listener.socket,
                life=self._life_read,
                report=report,
                socket_identity=self._listener.identity,
                is_first=not self._was_ready,
            )
            code = run_worker(self._settings, place)
        except BaseException as error:
            log("a worker failed", error=f"{type(error).__name__}: {error}")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _read_report(self, worker: _Worker) -> None:
        try:
            data = os.read(worker.report, 65536)
        except BlockingIOError:
            data = b""
        if not data:
            self._selector.unregister(worker.report)
            os.close(worker.report)
            worker.report = -1
            return
        content = msgspec.json.decode(data.splitlines()[0], type=dict[str, Any])
        if "error" in content:
            self._reason = content["error"]
            return
        worker.is_ready = True
        self._failed_loads = 0
        if not self._was_ready:
            self._was_ready = True
            self._listener.publish()
            self._write_ready_file()
            if self._settings.says_ready:
                log("the server is ready", name=self._settings.name, **self._listener.address())
            self._start_soon(self._workers[1:])

    def _reap(self) -> None:
        if os.getpid() == FIRST_PROCESS:
            self._reap_orphans()
        for worker in self._workers:
            if not worker.process_id:
                continue
            process_id, status = os.waitpid(worker.process_id, os.WNOHANG)
            if process_id:
                self._on_death(worker, status)

    def _reap_orphans(self) -> None:
        """The first process of a container inherits what its workers have started and left behind."""
        own = {worker.process_id for worker in self._workers}
        with contextlib.suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if ended.si_pid in own:
                    return  # the kernel names it first until it is seen to; the others' turn comes after it
                os.waitpid(ended.si_pid, os.WNOHANG)

    def _on_death(self, worker: _Worker, status: int) -> None:
        if worker.report != -1:
            self._read_report(worker)  # why it could not load, if it said so
        was_ready, worker.is_ready, worker.process_id = worker.is_ready, False, 0
        if self._is_ending:
            return
        code = os.waitstatus_to_exitcode(status)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        log(f"worker {worker.number} {how}", name=self._settings.name)
        lived_s = time.monotonic() - worker.started_at
        if not was_ready:
            self._failed_loads += 1
            self._check_hopeless(how)
        worker.failures = 0 if was_ready and lived_s >= HEALTHY_S else worker.failures + 1
        pause_s = 0.0 if worker.failures <= 1 else RESTART_S_MIN * 2 ** (worker.failures - 2)
        worker.restart_at = time.monotonic() + min(pause_s, RESTART_S_MAX)

    def _check_hopeless(self, how: str) -> None:
        reason = self._reason or f"the process that loads it {how}"
        is_refused = bool(self._reason) and not self._was_ready
        if is_refused or self._failed_loads >= LOADS_MAX:
            raise Exhausted(
                f"the model in {self._settings.model_path} cannot be loaded: {reason}",
                operation="serving.load",
                attempts=self._failed_loads,
                elapsed_s=time.monotonic() - self._began_at,
                hint="install what its requirements.txt names; see that mlflow.pyfunc.load_model loads it",
            )

    def _write_ready_file(self) -> None:
        if self._settings.ready_file is None:
            return
        path = Path(self._settings.ready_file)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_bytes(msgspec.json.encode({"pid": os.getpid(), **self._listener.address()}))
        draft.replace(path)

    # The end.

    def _end_workers(self) -> None:
        """Let the workers answer what they have accepted; kill those that take longer than they may."""
        self._is_ending = True
        self._listener.withdraw()
        self._signal_all(signal.SIGTERM)
        end = time.monotonic() + self._settings.drain_s + KILL_AFTER_S
        while any(worker.process_id for worker in self._workers) and time.monotonic() < end:
            for key, _ in self._selector.select(max(0.0, end - time.monotonic())):
                if key.data is None:
                    _drain(key.fileobj)
                else:
                    self._read_report(key.data)
            self._reap()
        self._signal_all(signal.SIGKILL)
        for worker in self._workers:
            if worker.process_id:
                os.waitpid(worker.process_id, 0)
            if worker.report != -1:
                os.close(worker.report)
        if os.getpid() == FIRST_PROCESS:
            self._await_orphans()

    def _await_orphans(self) -> None:
        """Let what the workers have left behind end: with a container's first process all others are gone.

        It is the dispatcher of events, which tells sinks of the last requests.
        """
        end = time.monotonic() + ORPHANS_S
        with contextlib.suppress(ChildProcessError):
            while time.monotonic() < end:
                if os.waitpid(-1, os.WNOHANG)[0]:
                    continue
                for key, _ in self._selector.select(max(0.0, end - time.monotonic())):
                    _drain(key.fileobj)

    def _signal_all(self, number: int) -> None:
        for worker in self._workers:
            if worker.process_id:
                os.kill(worker.process_id, number)


_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


def _temporary_folder() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="bridge-serving-"))
    except OSError as error:
        raise ConfigError(
            f"no folder for temporary files can be written: {error.strerror}",
            operation="serving.start",
            hint="set TMPDIR to one; of a container with a read-only root: docker run --tmpfs /tmp",
        ) from error


def _drain(end: Any) -> None:
    end.recv(4096)


def check_settings(settings: ServingSettings) -> None:
    """Check what the types of the settings do not say.

    Raises:
        ConfigError: Something is out of range, contradictory, or not there.
    """
    if (settings.port is None) == (settings.socket is None):
        raise ConfigError(
            "a server listens on a port or on a socket", hint="give exactly one of port and socket"
        )
    positive = ("workers", "body_bytes_max", "request_timeout_s", "header_timeout_s", "window_s")
    for name in positive:
        if getattr(settings, name) <= 0:
            raise ConfigError(f"{name} of a server must be positive, not {getattr(settings, name)}")
    for name in ("queue_max", "drain_s", "orphan_s"):
        if getattr(settings, name) < 0:
            raise ConfigError(f"{name} of a server cannot be negative")
    if settings.capture is not None and not 0 <= settings.capture.percent <= 100:
        raise ConfigError("percent of a capture is from 0 to 100")
    if not (Path(settings.model_path) / "MLmodel").is_file():
        raise ConfigError(
            f"{settings.model_path} holds no MLmodel file",
            hint="give the folder of a model that mlflow can load",
        )


def import_model_library(path: str) -> None:
    """Import what a model of this flavor needs, so that a forked worker only has to read its weights.

    Raises:
        ConfigError: The folder's MLmodel file is broken, or has no python_function flavor.
    """
    models = require("mlflow.models", extra="mlflow")
    try:
        flavors: dict[str, Any] = models.Model.load(path).flavors
        loader: str = flavors["python_function"]["loader_module"]
    except Exception as error:  # YAML's, mlflow's and Python's own: all say that the file is not right
        raise ConfigError(
            f"{path} has no MLmodel file with the flavor python_function: {error!r}",
            hint="log the model with one of mlflow's flavors",
        ) from error
    for module in (loader, *(module for flavor in flavors for module in LIBRARIES.get(flavor, ()))):
        try:
            importlib.import_module(module)
        except ImportError:
            continue  # it may lie in the model's own code folder; if not, loading it says what is missing
