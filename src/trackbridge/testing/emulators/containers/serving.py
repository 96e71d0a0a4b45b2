"""A container that answers HTTP on a port of this machine: waited for, asked, and started again."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from trackbridge.testing.emulators.containers.pool import Containers
from trackbridge.testing.emulators.containers.process import Container, Launch

PING_S = 2.0
"""A container must answer a ping within this time."""
PING_EVERY_S = 0.03
CHUNK_BYTES = 64 * 1024


_given: deque[int] = deque(maxlen=1000)
_guard = threading.Lock()


class NotServing(Exception):
    """A container does not come up, or is gone; the text is the reason."""


class Answered(NamedTuple):
    """What a container answered. ``latency_s`` is how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    latency_s: float


class Server:
    """A container that listens.

    Args:
        containers: That start it.
        ready: The path that answers 200 when it is ready.
        port: Where it listens, once it was started.
    """

    def __init__(self, containers: Containers, *, ready: str, port: int = 0) -> None:
        self._containers = containers
        self._ready = ready
        self.port = port
        self.container: Container | None = None

    def run(self, launch: Launch) -> None:
        """Start the container; one that was started before is ended. See ``Containers.launch``.

        Raises:
            NotServing: It cannot be started.
        """
        self.end()
        try:
            self.container = self._containers.launch(launch)
        except OSError as error:
            raise NotServing(f"unable to start container process: {error.strerror or error}") from error

    def end(self) -> None:
        """End the container; its folder stays."""
        container, self.container = self.container, None
        if container is not None:
            self._containers.forget(container)

    def is_running(self) -> bool:
        """Say whether the container's process is there."""
        return self.container is not None and self.container.exit_code is None

    def wait_until_ready(self, seconds: float, is_wanted: Callable[[], bool]) -> None:
        """Wait until a ping is answered with 200.

        Raises:
            NotServing: It was not in time, or the container has ended, or it is not wanted any more.
        """
        until = time.monotonic() + seconds
        while is_wanted():
            if not self.is_running():
                code = self.container.wait(1.0) if self.container else None
                raise NotServing(f"the container ended with exit code {code}")
            if self.ping():
                return
            if time.monotonic() > until:
                raise NotServing(f"no ping was answered with 200 within {seconds:g} s")
            time.sleep(PING_EVERY_S)
        raise NotServing("it is not wanted any more")

    def ping(self, path: str = "", timeout_s: float = PING_S) -> bool:
        """Say whether the container says that it is healthy, at a path of its own or where it tells ready."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("GET", path or self._ready)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def ask(
        self, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float, *, method: str = "POST"
    ) -> Answered:
        """Send a request, and read the whole answer; names of its headers are in lower case.

        Raises:
            NotServing: The container is gone, or broke off.
            TimeoutError: No answer in time.
        """
        began_s = time.monotonic()
        with self._asked(method, path, body, headers, timeout_s) as answer:
            content = answer.read()
            told = {name.lower(): value for name, value in answer.headers.items()}
            return Answered(answer.status, told, content, time.monotonic() - began_s)

    @contextlib.contextmanager
    def _asked(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request(method, path, body, dict(headers))
            yield connection.getresponse()
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException) as error:
            raise NotServing(f"the container broke off: {type(error).__name__}") from error
        finally:
            connection.close()

    def stream(
        self, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> tuple[int, Mapping[str, str], Iterator[bytes]]:
        """Send a request; returns the status, the headers and the body piece by piece as it comes.

        Raises:
            NotServing: The container is gone; a piece raises it when the container breaks off.
            TimeoutError: No answer in time.
        """
        stack = contextlib.ExitStack()
        answer = stack.enter_context(self._asked("POST", path, body, headers, timeout_s))

        def pieces() -> Iterator[bytes]:
            with stack:
                while piece := answer.read1(CHUNK_BYTES):
                    yield piece

        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, pieces()


def free_port() -> int:
    """Return a port of this machine that nobody listens at, and that was not returned lately.

    Whoever it is for listens only later: two that come up at once must not be given the same one.
    """
    with _guard:
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port: int = probe.getsockname()[1]
            if port not in _given:
                _given.append(port)
                return port
