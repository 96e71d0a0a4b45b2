"""One subscriber in a process of its own: it may raise, hang, burn the processor or crash.

A worker reads messages from the socket that is its standard input, one at a time, and answers each with a
``Reply``; first it says whether the subscriber could be loaded. An alarm of the kernel ends a worker that
does not come back, even where nobody is left to kill it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any

import msgspec

from trackbridge.domain.events import Event
from trackbridge.domain.secrets import redact, shown
from trackbridge.errors import BridgeError, RateLimited, Transient
from trackbridge.events.bus import bootstrap
from trackbridge.events.messages import Message, Reply, decode, decode_reply, encode
from trackbridge.events.subscribers import Subscriber, SubscriberKind, find_subscriber, load_entry_point
from trackbridge.resolve.config import Settings

HANDLE_S = 30.0
"""How long a subscriber may take for one event."""
LOAD_S = 60.0
"""How long it may take to import."""
CLOSE_S = 10.0
STDERR = 2
ALARM_MARGIN_S = 2.0
NICENESS = 10
PROBLEM_CHARS_MAX = 500
REPLY_BYTES_MAX = 1_000_000


class Worker:
    """The process of one subscriber, started when it is needed; used by one thread, but for ``kill``.

    Args:
        subscriber: Whose process it is.
        is_quiet: Whether what the subscriber prints is thrown away, else it goes to this process's stderr.
        handle_s: How long it may take for one event.
    """

    def __init__(self, subscriber: Subscriber, *, is_quiet: bool = True, handle_s: float = HANDLE_S) -> None:
        self._subscriber = subscriber
        self._is_quiet = is_quiet
        self._handle_s = handle_s
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._was_killed = False

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    def handle(self, message: Message) -> Reply:
        """Hand over one message and wait for what comes of it; a worker that fails to answer is ended."""
        if self._process is None:
            reply = self._start()
            if not reply.delivered:
                return reply
        return self._ask(encode(message), self._handle_s)

    def kill(self) -> None:
        """End it now, from any thread; ``handle`` then returns."""
        process = self._process
        if process is not None and process.poll() is None:
            self._was_killed = True
            # It leads a session of its own: what it started goes with it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let it finish what it gathered, for a while, and end it."""
        if self._process is None or self._socket is None:
            return
        self._socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_S)
        self._end()

    def _start(self) -> Reply:
        ours, theirs = socket.socketpair()
        command = bootstrap("workers", self._subscriber.identifier, str(self._handle_s))
        output = subprocess.DEVNULL if self._is_quiet else STDERR
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command, stdin=theirs.fileno(), stdout=output, stderr=output, start_new_session=True
                )
        except OSError as error:
            ours.close()
            return Reply(delivered=False, problem=f"no process can be had: {error}", is_transient=True)
        self._socket = ours
        return self._answer(LOAD_S)

    def _ask(self, line: bytes, timeout_s: float) -> Reply:
        assert self._socket is not None
        try:
            self._socket.settimeout(timeout_s)
            self._socket.sendall(line)
        except OSError:
            return self._died("it has ended")
        return self._answer(timeout_s)

    def _answer(self, timeout_s: float) -> Reply:
        assert self._socket is not None
        deadline, answer = time.monotonic() + timeout_s, b""
        try:
            while not answer.endswith(b"\n") and len(answer) < REPLY_BYTES_MAX:
                self._socket.settimeout(max(0.001, deadline - time.monotonic()))
                part = self._socket.recv(65_536)
                if not part:
                    return self._died("it has ended")
                answer += part
            reply = decode_reply(answer)
        except TimeoutError:
            return self._died(f"it did not return within {timeout_s:g} s")
        except (OSError, msgspec.DecodeError):
            return self._died("it does not answer in order")
        if not reply.is_loaded:
            self._end()
        return reply

    def _died(self, what: str) -> Reply:
        """Say how it ended. A webhook's call may be repeated; what crashed other code may crash it again."""
        process, was_killed = self._process, self._was_killed
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0 if "within" in what else 1.0)
        code = process.returncode if process is not None else None
        self._end()
        ending = _ending(code)
        is_ours = self._subscriber.kind not in (SubscriberKind.ENTRY_POINT, SubscriberKind.SINK)
        problem = f"{what}{ending}" if not was_killed else "it was ended before it had returned"
        return Reply(delivered=False, problem=problem, is_transient=is_ours)

    def _end(self) -> None:
        self.kill()
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            self._process.wait()
        self._process = self._socket = None
        self._was_killed = False


def _ending(code: int | None) -> str:
    if code is None:
        return ""
    if code >= 0:
        return f" with exit code {code}"
    try:
        return f" by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f" by signal {-code}"


# In the worker process.


def main(arguments: list[str]) -> int:
    """Load one subscriber and hand it what comes; return at the end of the socket."""
    identifier, handle_s = arguments[0], float(arguments[1])
    connection = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _stand_back()
    try:
        subscriber = _load(identifier)
    except BaseException as error:  # whatever the import of other code may raise, SystemExit too
        connection.sendall(encode(msgspec.structs.replace(_failure(error), is_loaded=False)))
        return 1
    connection.sendall(encode(Reply(delivered=True)))
    with connection.makefile("rb") as lines:
        for line in lines:
            signal.setitimer(signal.ITIMER_REAL, handle_s + ALARM_MARGIN_S)
            connection.sendall(encode(_handled(subscriber, decode(line))))
            signal.setitimer(signal.ITIMER_REAL, 0)
    signal.setitimer(signal.ITIMER_REAL, CLOSE_S + ALARM_MARGIN_S)
    close = getattr(subscriber, "close", None) if _is_closed(identifier) else None
    if close is not None:
        close()
    return 0


def _stand_back() -> None:
    """Let everybody else go first, and be the first to go where memory is short."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.nice(NICENESS)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _is_closed(identifier: str) -> bool:
    return identifier.startswith((f"{SubscriberKind.TELEMETRY.value}:", f"{SubscriberKind.SINK.value}:"))


def _load(identifier: str) -> Callable[[Event], Any]:
    subscriber = find_subscriber(identifier, Settings())
    if subscriber.problem is not None:
        raise subscriber.problem
    if subscriber.kind is SubscriberKind.ENTRY_POINT:
        return load_entry_point(subscriber.name)
    if subscriber.kind is SubscriberKind.SINK:
        from trackbridge.events.sinks import load_sink

        return load_sink(subscriber.name)
    if subscriber.kind is SubscriberKind.WEBHOOK:
        from trackbridge.events.webhooks import Webhook

        return Webhook(subscriber)
    from trackbridge.events.telemetry import Telemetry

    return Telemetry()


def _handled(subscriber: Callable[[Event], Any], message: Message) -> Reply:
    try:
        if message.call is not None:
            subscriber.observe(message.call)  # type: ignore[attr-defined]  # only OpenTelemetry gets these
            return Reply(delivered=True)
        assert message.event is not None
        answer = subscriber(message.event)
    except BaseException as error:  # whatever other code may raise, SystemExit too
        return _failure(error)
    return Reply(delivered=True, answer=shown(answer) if isinstance(answer, str) else "")


def _failure(error: BaseException) -> Reply:
    is_ours = isinstance(error, BridgeError)
    text = str(error) if is_ours else f"{type(error).__name__}: {error}"
    hint = f"; {error.hint}" if isinstance(error, BridgeError) and error.hint else ""
    return Reply(
        delivered=False,
        problem=shown(redact(text) + hint, chars_max=PROBLEM_CHARS_MAX),
        is_transient=isinstance(error, Transient),
        retry_after_s=error.retry_after_s if isinstance(error, RateLimited) else None,
    )
