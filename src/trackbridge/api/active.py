"""The run that is active, and how it ends whatever happens to the program.

=============================  ==========  ==================================================
what happens                   status      by whom
=============================  ==========  ==================================================
``end_run()``, end of `with`   FINISHED    here
an exception leaves `with`     FAILED      here; the traceback is kept in a tag
an exception ends the program  FAILED      here, at exit
``sys.exit`` outside `with`    FINISHED    here; Python does not tell with which code
Ctrl-C leaves `with`           KILLED      here
SIGTERM                        KILLED      here, after a flush; the signal then takes its course
SIGKILL, power failure         KILLED      whoever delivers, at the time of the last record
=============================  ==========  ==================================================

Each thread has its own stack of active runs, as in mlflow. A process of a job that only adds to the run which
rank 0 has open (see ``job_surroundings``) says nothing of its end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from trackbridge.api.client import Client
from trackbridge.api.job_surroundings import only_adds
from trackbridge.api.recorder import RunRecorder
from trackbridge.api.results import Run
from trackbridge.api.session import before_close, flush_all, tell
from trackbridge.domain.runs import TAG_TRACEBACK, RunData, RunInfo, RunInputs, RunStatus
from trackbridge.errors import BridgeError
from trackbridge.transport.redaction import redact

TRACEBACK_CHARS_MAX = 16_000


class ActiveRun:
    """A run that this program has open: a context manager with ``info``, ``data`` and ``inputs``."""

    def __init__(self, client: Client, recorder: RunRecorder) -> None:
        self.client = client
        self.recorder = recorder
        self._process_id = os.getpid()
        self._companions: list[Any] = []

    @property
    def info(self) -> RunInfo:
        """Identity and life cycle."""
        return self.recorder.snapshot().info

    @property
    def data(self) -> RunData:
        """Params, tags and last metrics, as far as this program logged them."""
        return self.recorder.snapshot().data

    @property
    def inputs(self) -> RunInputs:
        """Data sets that the run read."""
        return self.recorder.snapshot().inputs

    @property
    def is_own(self) -> bool:
        """False in a fork of the process that opened the run."""
        return os.getpid() == self._process_id

    def attach(self, companion: Any) -> None:
        """Stop a companion (system metrics, the reading of git) when the run ends, by its ``stop()``."""
        self._companions.append(companion)

    def end(self, status: RunStatus) -> None:
        """End the run. Ending again changes nothing, nor does a fork of the process that opened it."""
        if not self.is_own:
            return
        for companion in self._companions:
            companion.stop()
        self._companions.clear()
        if not only_adds(self.recorder.run_id):
            self.client.end_run(self.recorder, status)

    def fail(self, error: BaseException) -> None:
        """Keep the traceback, and end as the error says."""
        status = status_after(error)
        if status is RunStatus.FAILED and self.is_own:
            self.recorder.tags({TAG_TRACEBACK: traceback_text(error)})
        self.end(status)

    def __enter__(self) -> ActiveRun:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pop(self)
        if error is None:
            self.end(RunStatus.FINISHED)
        else:
            self.fail(error)

    def __repr__(self) -> str:
        info = self.info
        return f"<ActiveRun {info.run_name} {info.run_id} {info.status}>"

    def _repr_html_(self) -> str:
        return Run.of(self.recorder.snapshot())._repr_html_()


def status_after(error: BaseException) -> RunStatus:
    """Return the status of a run that an exception ended."""
    if isinstance(error, KeyboardInterrupt):
        return RunStatus.KILLED
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return RunStatus.FINISHED
    return RunStatus.FAILED


def traceback_text(error: BaseException) -> str:
    """Return what a run keeps of the exception that ended it, without secrets."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    text = text.encode("utf-8", "replace").decode().replace("\0", "")
    return redact(text[-TRACEBACK_CHARS_MAX:])


class _Stacks(threading.local):
    """Active runs of one thread, the innermost last."""

    def __init__(self) -> None:
        self.runs: list[ActiveRun] = []


_stacks = _Stacks()
_open: dict[str, ActiveRun] = {}  # of all threads, for the end of the program
_observers: list[Callable[[ActiveRun, bool], None]] = []


def observe(observer: Callable[[ActiveRun, bool], None]) -> None:
    """Tell an observer of each run that becomes active (True) in its thread, or is so no more (False)."""
    if observer not in _observers:
        _observers.append(observer)


def current() -> ActiveRun | None:
    """Return this thread's active run, or None."""
    runs = _stacks.runs
    return runs[-1] if runs else None


def push(run: ActiveRun) -> None:
    """Make a run this thread's active one."""
    _guard_process()
    _stacks.runs.append(run)
    _open[run.recorder.run_id] = run
    for observer in _observers:
        observer(run, True)


def pop(run: ActiveRun | None = None) -> ActiveRun | None:
    """Take a run (by default the innermost) from this thread's stack and return it."""
    runs = _stacks.runs
    if not runs:
        return None
    taken = runs[-1] if run is None else run
    if taken in runs:
        runs.remove(taken)
    _open.pop(taken.recorder.run_id, None)
    for observer in _observers:
        observer(taken, False)
    return taken


# The end of the program.

_guarded_process = 0
_fatal: BaseException | None = None


def fatal_error() -> BaseException | None:
    """Return the exception that is ending the program; None where there is none, or nobody watches yet."""
    return _fatal


def watch_program() -> None:
    """See to it that ``fatal_error`` is known at the end of the program."""
    _guard_process()


def _guard_process() -> None:
    """See to it, once, that runs end with the program."""
    global _guarded_process
    if _guarded_process:
        return
    _guarded_process = os.getpid()
    before_close(_end_runs)
    previous = sys.excepthook

    def remember(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        global _fatal
        _fatal = None if hasattr(sys, "ps1") else error  # at a prompt the program goes on
        previous(kind, error, trace)

    sys.excepthook = remember
    if threading.current_thread() is threading.main_thread():
        _guard_signal()


def _guard_signal() -> None:
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # a handler of the user's own stays
        signal.signal(signal.SIGTERM, _terminated)


def _terminated(number: int, frame: FrameType | None) -> None:
    """End every run as KILLED, flush, and let the signal take its course."""
    try:
        if os.getpid() == _guarded_process:  # a forked worker that is told to stop leaves that to its parent
            _end_all(lambda run: run.end(RunStatus.KILLED))
            flush_all()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)


def _end_runs() -> None:
    """End what is still open when the program ends, before its journals are closed."""
    fatal = _fatal
    if fatal is None:
        _end_all(lambda run: run.end(RunStatus.FINISHED))
    else:
        _end_all(lambda run: run.fail(fatal))


def _end_all(end: Callable[[ActiveRun], None]) -> None:
    """End every open run; one that cannot be ended is told and does not keep the others from it."""
    for run in list(_open.values()):
        try:
            end(run)
        except BridgeError as error:
            tell(f"run {run.recorder.run_id} could not be ended: {error}")
    _open.clear()
