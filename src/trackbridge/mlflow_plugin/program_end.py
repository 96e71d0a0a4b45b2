"""The end of the program: runs that mlflow has active end before our journals are closed.

mlflow ends its innermost run at exit, after our journals are closed, because they were begun later. So its
active runs are ended here first, all of them: FINISHED, or FAILED where an exception ends the program. Runs
of ``MlflowClient.create_run`` are not active and stay RUNNING, as with mlflow, unless the program is killed.
"""

from __future__ import annotations

import os
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.tracking import fluent

from trackbridge.api import active
from trackbridge.api.recorder import RunRecorder
from trackbridge.api.session import all_sessions, before_close
from trackbridge.domain.runs import TAG_TRACEBACK, RunStatus

_begun: dict[str, int] = {}  # the process that began each run
_is_over = False


def watch() -> None:
    """See to it, once, that active runs end with the program."""
    active.watch_program()
    before_close(_end_runs)


def begun(run_id: str) -> None:
    """Say that this process has begun a run, or taken it up."""
    _begun[run_id] = os.getpid()


def has_ended(recorder: RunRecorder) -> bool:
    """Tell whether a run was ended here, and mlflow's own attempt comes too late."""
    return _is_over and recorder.end_time is not None


def _end_runs() -> None:
    global _is_over
    error = active.fatal_error()
    status = RunStatus.FINISHED if error is None else active.status_after(error)
    for stack in _stacks():
        while stack and _begun.get(stack[-1].info.run_id) == os.getpid():
            _end(stack, status, error)
    _is_over = True


def _stacks() -> list[list[Any]]:
    """Return the active runs of this thread, then of all threads; older mlflow has one stack for all."""
    stacks = fluent._active_run_stack
    return [stacks] if isinstance(stacks, list) else [stacks.get(), *stacks.get_all_thread_values().values()]


def _end(stack: list[Any], status: RunStatus, error: BaseException | None) -> None:
    run_id = stack[-1].info.run_id
    recorders = [session.recorders[run_id] for session in all_sessions() if run_id in session.recorders]
    if error is not None and status is RunStatus.FAILED:
        for recorder in recorders:
            recorder.tags({TAG_TRACEBACK: active.traceback_text(error)})
    try:
        if stack is _stacks()[0]:
            fluent.end_run(str(status))  # which stops what mlflow has beside the run
    except MlflowException:  # the tracking URI is another one by now; the run is still ours
        stack[:] = [run for run in stack if run.info.run_id != run_id]
    stack[:] = [run for run in stack if run.info.run_id != run_id]
    for recorder in recorders:
        recorder.close(status)
