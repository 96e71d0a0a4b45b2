"""An interpreter that imported mlflow once, or what else takes long: each program that it starts is a fork.

``python`` of ``warm_python`` can stand wherever an interpreter is named for ``-c CODE ARGUMENTS…``. It hands
its arguments, variables and descriptors to the process that is warm, and ends as the fork does; a signal to
end is passed on, and when it is killed the fork is killed with all that it started. What takes seconds of a
processor otherwise, importing mlflow for each server, is done once.

As a program this file is the process that is warm: ``python warm_python.py SOCKET MODULE…``. It ends with its
standard input, and its forks with it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SERVERS = ("pandas", "mlflow.pyfunc", "mlflow.pyfunc.scoring_server", "uvicorn", "httptools", "uvloop")
"""What model servers import. prometheus_client is not: it asks for its folder when it is imported."""
DESCRIPTORS_MAX = 16
ORDER_BYTES_MAX = 1 << 20
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}

CLIENT = """\
#!{python} -IS
import json, os, signal, socket, sys

warm = socket.socket(socket.AF_UNIX)
warm.connect({socket!r})
held = []
for name in os.listdir("/proc/self/fd"):
    descriptor = int(name)
    try:
        if descriptor != warm.fileno() and os.fstat(descriptor):
            held.append(descriptor)
    except OSError:
        pass
order = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd(), held]).encode()
socket.send_fds(warm, [len(order).to_bytes(4, "big")], held)
warm.sendall(order)
answers = warm.makefile()
process_id = int(answers.readline())
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: os.kill(process_id, number))
status = int(answers.readline())
if status < 0:
    signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
    os.kill(os.getpid(), -status)
os._exit(status)
"""


@contextmanager
def warm_python(folder: Path, imported: Sequence[str] = SERVERS) -> Iterator[str]:
    """Run the process that is warm, which has imported these; give the path of the interpreter."""
    address, python = folder / "warm.sock", folder / "warm-python"
    python.write_text(CLIENT.format(python=sys.executable, socket=str(address)), encoding="utf-8")
    python.chmod(0o700)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "BRIDGE_"))}
    with subprocess.Popen(
        [sys.executable, __file__, str(address), *imported],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**kept, **QUIET},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"warm\n"
        yield str(python)
        process.stdin.close()


def main(address: str, *imported: str) -> None:
    """Import modules, and start forks until standard input ends."""
    for name in imported:
        importlib.import_module(name)
    # What each load of a model looks up anew: which packages are installed.
    importlib.import_module("mlflow.utils.requirements_utils")._init_modules_to_packages_map()
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("warm", flush=True)  # noqa: T201
        _Warm(listener).run()


class _Warm:
    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._forks: dict[int, socket.socket] = {}
        self._deaf: set[int] = set()
        """Those that were killed because nobody waits for them any more."""

    def run(self) -> None:
        wake_read, wake_write = socket.socketpair()
        for end in (wake_read, wake_write):
            end.setblocking(False)
        signal.set_wakeup_fd(wake_write.fileno())
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for source in (self._listener, wake_read, sys.stdin):
            self._selector.register(source, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is sys.stdin:
                    for process_id in tuple(self._forks):
                        _kill(process_id)
                    return
                if key.fileobj is self._listener:
                    self._start()
                elif key.fileobj is wake_read:
                    wake_read.recv(4096)
                    self._reap()
                else:
                    self._on_end(key.fileobj)

    def _start(self) -> None:
        asked, _ = self._listener.accept()
        size, held, _, _ = socket.recv_fds(asked, 4, DESCRIPTORS_MAX)
        content = b""
        while len(content) < int.from_bytes(size, "big"):
            content += asked.recv(ORDER_BYTES_MAX)
        process_id = os.fork()
        if not process_id:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for ours in (*self._forks.values(), asked, self._listener):
                ours.close()
            self._selector.close()
            _become(json.loads(content), held)
        for descriptor in held:
            os.close(descriptor)
        self._forks[process_id] = asked
        self._selector.register(asked, selectors.EVENT_READ)
        asked.sendall(f"{process_id}\n".encode())

    def _reap(self) -> None:
        for process_id in tuple(self._forks):
            ended, status = os.waitpid(process_id, os.WNOHANG)
            if ended:
                asked = self._forks.pop(process_id)
                if process_id not in self._deaf:
                    self._selector.unregister(asked)
                with asked, suppress(OSError):
                    asked.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())

    def _on_end(self, asked: Any) -> None:
        """Kill the fork whose interpreter was killed, with all that it started."""
        for process_id, other in self._forks.items():
            if other is asked:
                self._selector.unregister(asked)
                self._deaf.add(process_id)
                _kill(process_id)
                return


def _kill(process_id: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process_id, signal.SIGKILL)


def _become(order: list[Any], held: list[int]) -> None:
    """Be the interpreter that was asked for, and never return."""
    status = 1
    try:
        os.setsid()
        arguments, variables, folder, numbers = order
        for descriptor, number in zip(held, numbers, strict=True):
            if number <= 2:
                os.dup2(descriptor, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        option, code, *words = arguments
        assert option == "-c", arguments
        sys.argv = ["-c", *words]
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        # What an interpreter does at its end; ours sends what was logged and waits for it.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(status)


if __name__ == "__main__":
    main(*sys.argv[1:])
