"""Starts many `mlflow server` of one version, each a fork of one process that imported mlflow once.

A program for the interpreter that has that mlflow, which need not have our package. Each line of its standard
input is an order in JSON, each line of its standard output the answer. It ends with its standard input, and
its servers with it.

``mlflow server`` starts uvicorn (older ones: gunicorn) as another process, which imports mlflow again: with
its own import, 12 s of a processor for each server. Here the web server runs in the command's process.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any, TextIO

WEB_SERVERS = ("uvicorn", "gunicorn.app.wsgiapp")
PARENT_DIED_SIGNAL = 1
"""The option of prctl(2) that names the signal."""


def main() -> None:
    """Import mlflow, and obey until standard input ends."""
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    _put("/dev/null", os.O_RDONLY, 0)
    os.dup2(2, 1)  # what mlflow prints is no answer
    _import_mlflow()
    servers: set[int] = set()
    try:
        for line in orders:
            order = json.loads(line)
            if "arguments" in order:
                answer: int | None = _start(order, servers, answers)
            elif order["is_to_end"]:
                answer = _end(order["process_id"], servers)
            else:
                answer = _status(order["process_id"], servers, os.WNOHANG)
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    finally:
        for process_id in tuple(servers):
            _end(process_id, servers)


def _import_mlflow() -> None:
    """Import what a worker does; the web server comes first: mlflow looks whether one was imported."""
    for name in (*WEB_SERVERS, "mlflow.server", "mlflow.server.fastapi_app", "mlflow.cli"):
        with suppress(ModuleNotFoundError):  # uvicorn and fastapi_app came later, gunicorn went
            importlib.import_module(name)


def _start(order: dict[str, Any], servers: set[int], answers: TextIO) -> int:
    process_id = os.fork()
    if not process_id:
        answers.close()
        _be_a_server(order)
    os.setpgid(process_id, process_id)  # here as well, so that it can be killed from now on
    servers.add(process_id)
    return process_id


def _end(process_id: int, servers: set[int]) -> int | None:
    """Kill it with all its workers, as a machine that loses power; return its exit status."""
    if process_id in servers:  # else it was waited for: the number may be another's by now
        os.killpg(process_id, signal.SIGKILL)
    return _status(process_id, servers)


def _status(process_id: int, servers: set[int], options: int = 0) -> int | None:
    """Return the exit status of one that has ended; it is asked for once."""
    if process_id not in servers:
        return 0
    ended, status = os.waitpid(process_id, options)
    if ended:
        servers.discard(process_id)
        return os.waitstatus_to_exitcode(status)
    return None


def _be_a_server(order: dict[str, Any]) -> None:
    """Do what ``mlflow server`` does, in this fork, and never return."""
    status = 1
    try:
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(PARENT_DIED_SIGNAL, signal.SIGTERM)
        _put(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 1)
        os.dup2(1, 2)
        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["environment"])
        sys.modules["mlflow.server"]._exec_cmd = _serve_here  # type: ignore[attr-defined]
        sys.modules["mlflow.cli"].cli(args=order["arguments"], prog_name="mlflow")
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


def _serve_here(command: list[str], *, extra_env: dict[str, str], **options: object) -> None:
    """Be the process that ``python -m uvicorn …`` or ``python -m gunicorn …`` would be."""
    os.environ.update(extra_env)
    program, *arguments = command[2:]  # after the interpreter and -m
    if program == "uvicorn":
        sys.modules["uvicorn"].main.main(args=arguments, prog_name=program)
    _forget_stores()
    sys.argv = [program, *arguments]
    sys.modules["gunicorn.app.wsgiapp"].run()


def _forget_stores() -> None:
    """Close the connections to the database: gunicorn's workers are forks, and make their own."""
    handlers = sys.modules["mlflow.server.handlers"]
    for name in ("_tracking_store", "_model_registry_store"):
        store = getattr(handlers, name)
        if store is not None:
            store.engine.dispose()
        setattr(handlers, name, None)


def _put(path: str, flags: int, descriptor: int) -> None:
    opened = os.open(path, flags, 0o600)
    os.dup2(opened, descriptor)
    os.close(opened)


if __name__ == "__main__":
    main()
