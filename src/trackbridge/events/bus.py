"""The program's end: an event goes to the dispatcher, or it is counted; nobody waits.

The dispatcher is a process of its own, started with the first event that somebody subscribed to. What it has
no room for yet waits here, up to a bound; a thread then sends it on. The dispatcher answers with one byte for
each event that is seen to, so that it is known how many were lost should it be killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

from trackbridge.events.messages import Message, encode

WAITING_BYTES_MAX = 4 * 1024 * 1024
"""Bound of what waits in the program for room in the socket."""
INCOMING_MAX = 10_000
"""How many events other threads may leave to the one that is just sending."""
RESTART_S_MIN = 1.0
RESTART_S_MAX = 60.0
EXIT_WAIT_S = 1.0
"""How long a program waits at its end for what waits in it."""
LOG_NAME = "dispatcher.log"
LOG_BYTES_MAX = 1_000_000

# SIGPIPE may have been given back its deadly default by the program.
_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
_SO_NOSIGPIPE = 0x1022  # of macOS; its Python does not name it

# Not ``-m``: that puts the current folder first on the path.
_BOOTSTRAP = (
    "import sys; sys.path[:] = [entry for entry in sys.path if entry]; sys.path.append({package!r}); "
    "from trackbridge.events.{module} import main; sys.exit(main(sys.argv[1:]))"
)


class Bus:
    """The way to this process's dispatcher; safe for threads.

    Args:
        folder: For the dispatcher's log; it is made when there is something to send.
        cwd: Where the dispatcher runs, so that it finds the same settings.
    """

    def __init__(self, folder: Path, cwd: Path) -> None:
        self._folder = folder
        self._cwd = cwd
        self._lock = threading.Lock()
        self._link: _Link | None = None
        self._incoming: deque[bytes] = deque()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._offset = 0  # how much of the first that waits is sent
        self._dropped = 0
        self._lost = 0
        self._restart_s = RESTART_S_MIN
        self._start_at = 0.0
        self._sender: threading.Thread | None = None

    @property
    def process_id(self) -> int | None:
        """Process id of the dispatcher, None where there is none."""
        link = self._link
        return link.process.pid if link else None

    def drop(self) -> None:
        """Count an event that cannot be sent."""
        self._dropped += 1

    def send(self, line: bytes) -> None:
        """Send a line now or later, or count it as dropped.

        Nobody waits for the lock: whoever holds it takes what comes meanwhile, from another thread or from a
        signal handler in its own.
        """
        if len(self._incoming) >= INCOMING_MAX:
            self._dropped += 1
            return
        self._incoming.append(line)
        while self._incoming and self._lock.acquire(blocking=False):
            try:
                if not self._send_waiting():
                    self._start_sender()
            finally:
                self._lock.release()

    def close(self) -> None:
        """Send what waits, but not for long, and leave the dispatcher to finish."""
        deadline = time.monotonic() + EXIT_WAIT_S
        if not self._lock.acquire(timeout=EXIT_WAIT_S):
            return
        try:
            self._note_death()
            if self._incoming or self._waiting or self._dropped or self._lost:
                self._start_at = 0.0
                while not self._send_waiting() and time.monotonic() < deadline and self._link:
                    select.select([], [self._link.socket], [], max(0.0, deadline - time.monotonic()))
        finally:
            if self._link is not None:
                self._link.detach()
                self._link = None
            self._lock.release()

    def renewed(self) -> Bus:
        """Return a bus for a fork of the process, and let go of what is the parent's."""
        if self._link is not None:
            self._link.detach()
            self._link = None
        return Bus(self._folder, self._cwd)

    # Under the lock.

    def _take_incoming(self) -> None:
        while self._incoming:
            line = self._incoming.popleft()
            if self._waiting_bytes + len(line) > WAITING_BYTES_MAX:
                self._dropped += 1
            else:
                self._append(line)

    def _append(self, line: bytes) -> None:
        self._waiting.append(line)
        self._waiting_bytes += len(line)

    def _send_waiting(self) -> bool:
        """Send what there is room for; return whether nothing waits any more."""
        self._take_incoming()
        self._note_death()
        if self._link is None and not self._start():
            return False
        if not self._waiting:
            self._report_losses()
        while self._waiting and self._link is not None:
            line = self._waiting[0]
            try:
                self._offset += self._link.socket.send(memoryview(line)[self._offset :], _NO_SIGNAL)
            except BlockingIOError:
                return False
            except OSError:  # it died just now; what is sent by half goes whole to the next one
                self._bury()
                return False
            if self._offset == len(line):
                self._waiting.popleft()
                self._waiting_bytes -= len(line)
                self._offset = 0
                self._link.sent += 1
            if not self._waiting:
                self._report_losses()
        return not self._waiting

    def _report_losses(self) -> None:
        if self._dropped or self._lost:
            self._append(encode(Message(dropped=self._dropped, lost=self._lost)))
            self._dropped = self._lost = 0

    def _note_death(self) -> None:
        """Take in what the dispatcher says; an end of it is its death."""
        if self._link is not None and not self._link.listen():
            self._bury()

    def _bury(self) -> None:
        link = self._link
        if link is None:
            return
        link.listen()
        self._lost += max(0, link.sent - link.settled)
        link.bury()
        self._link, self._offset = None, 0
        is_young = time.monotonic() - link.started_at < RESTART_S_MAX
        self._start_at = link.started_at + self._restart_s
        self._restart_s = min(self._restart_s * 2, RESTART_S_MAX) if is_young else RESTART_S_MIN

    def _start(self) -> bool:
        if time.monotonic() < self._start_at:
            return False
        try:
            self._link = _Link(self._folder, self._cwd)
        except (OSError, RuntimeError):  # no process to be had, or the interpreter is about to end
            self._start_at = time.monotonic() + self._restart_s
            self._restart_s = min(self._restart_s * 2, RESTART_S_MAX)
            return False
        return True

    def _start_sender(self) -> None:
        """Let a thread send what waits. Where none can be had, the next event or the exit sends it."""
        if self._sender is not None and self._sender.is_alive():
            return
        sender = threading.Thread(target=self._run_sender, name="trackbridge-events", daemon=True)
        with contextlib.suppress(RuntimeError):
            sender.start()
            self._sender = sender

    def _run_sender(self) -> None:
        pause = threading.Event()  # nobody sets it
        while True:
            link, start_at = self._link, self._start_at
            if link is None:
                pause.wait(max(0.01, start_at - time.monotonic()))
            else:
                with contextlib.suppress(OSError, ValueError):  # closed meanwhile
                    select.select([], [link.socket], [], 1.0)
            with self._lock:
                if self._send_waiting():
                    self._sender = None
                    return


class _Link:
    """One dispatcher: the socket to it, and how many of its events are seen to.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, folder: Path, cwd: Path) -> None:
        self.sent = self.settled = 0
        self.started_at = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.socket, theirs = socket.socketpair()
        try:
            self.socket.setblocking(False)
            if sys.platform == "darwin":
                self.socket.setsockopt(socket.SOL_SOCKET, _SO_NOSIGPIPE, 1)
            self.process = _start_dispatcher(theirs, folder / LOG_NAME, cwd)
        except BaseException:
            self.socket.close()
            raise
        finally:
            theirs.close()

    def listen(self) -> bool:
        """Count what is seen to; return whether the dispatcher lives."""
        while True:
            try:
                answer = self.socket.recv(65_536)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not answer:
                return False
            self.settled += len(answer)

    def bury(self) -> None:
        """Close what is left of a dead dispatcher."""
        self.socket.close()
        self.process.poll()
        self.process.returncode = self.process.returncode or 0

    def detach(self) -> None:
        """Tell the dispatcher that nothing follows, and leave it alone."""
        self.socket.close()
        self.process.returncode = 0  # keeps Popen from warning that it still runs


def _start_dispatcher(stdin: socket.socket, log_path: Path, cwd: Path) -> subprocess.Popen[bytes]:
    """Start it in a session of its own; it prints nothing unless it crashes."""
    with open(log_path, "ab", opener=_private) as log:
        if log.tell() > LOG_BYTES_MAX:
            log.truncate(0)
        return subprocess.Popen(
            bootstrap("__main__"),
            stdin=stdin.fileno(),
            stdout=log,
            stderr=log,
            cwd=cwd,
            start_new_session=True,
        )


def bootstrap(module: str, *arguments: str) -> list[str]:
    """Return the command that runs ``main`` of a module of this package."""
    package = str(Path(__file__).parent.parent.parent)
    return [sys.executable, "-c", _BOOTSTRAP.format(package=package, module=module), *arguments]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
