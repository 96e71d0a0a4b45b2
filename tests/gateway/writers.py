"""Clients that log without end, note what was acknowledged, and go on when their server was away."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.support.processes import eventually

PREFIX = "/api/2.0/mlflow/"
AGAIN_S = 0.02
"""Between two attempts at a server that does not answer."""
TIMEOUT_S = 60
GONE = (503, 429)
"""What a server says that is about to end, or has too much to do: the client sends it again."""
BATCH = 25
STARTED_MS = 1_700_000_000_000


class Refused(AssertionError):
    """A server refused what it should take."""


class Caller:
    """A connection that is made anew when it breaks, to one of several servers in turn.

    Args:
        ports: Asked in turn; a call that was not answered is sent again, to the next one.
        is_over: Ends the attempts.
    """

    def __init__(self, ports: Sequence[int], is_over: threading.Event) -> None:
        self._ports = itertools.cycle(ports)
        self._is_over = is_over
        self._connections: dict[int, http.client.HTTPConnection] = {}

    def post(self, path: str, body: Any) -> Any:
        """Send until it is acknowledged; return the answer, or None when it is over before."""
        content = json.dumps(body).encode()
        while not self._is_over.is_set():
            port = next(self._ports)
            told = self._attempt(port, path, content)
            if told is None or told[0] in GONE:
                self._is_over.wait(AGAIN_S)
                continue
            if told[0] != 200:
                raise Refused(f"{path} at {port}: {told}")
            return json.loads(told[1])
        return None

    def _attempt(self, port: int, path: str, content: bytes) -> tuple[int, bytes] | None:
        connection = self._connections.get(port)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
            self._connections[port] = connection
        try:
            connection.request("POST", f"{PREFIX}{path}", content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            del self._connections[port]
            return None

    def close(self) -> None:
        """End the connections."""
        for connection in self._connections.values():
            connection.close()


class Client(ABC):
    """Something that calls without end, in a thread of its own."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.acknowledged = 0
        self.failure: BaseException | None = None
        self.is_over = threading.Event()
        self.caller = Caller(ports, self.is_over)
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; raise what it was refused."""
        self.is_over.set()
        self._thread.join()
        self.caller.close()
        if self.failure is not None:
            raise self.failure

    def has_done(self, more: int, since: int) -> bool:
        """Tell whether it was acknowledged so much more; raise what it was refused."""
        if self.failure is not None:
            raise self.failure
        return self.acknowledged >= since + more

    def _go_on(self) -> None:
        try:
            while not self.is_over.is_set():
                self.acknowledged += self.call()
        except BaseException as failure:
            self.failure = failure

    @abstractmethod
    def call(self) -> int:
        """Call once; return what was acknowledged."""


class Writer(Client):
    """Logs points to a run of its own, whose steps are 0, 1, 2 …

    Of the last call it may not know whether it was taken: ``sent`` counts that one, too.
    """

    def __init__(self, ports: Sequence[int], experiment_id: str, *, batch: int = 1) -> None:
        super().__init__(ports)
        self.sent = 0
        self._batch = batch
        made = self.caller.post("runs/create", {"experiment_id": experiment_id, "start_time": STARTED_MS})
        self.run_id = str(made["run"]["info"]["run_id"])

    def call(self) -> int:
        """Log the next points."""
        points = [_point(step) for step in range(self.acknowledged, self.acknowledged + self._batch)]
        self.sent = self.acknowledged + self._batch
        if self._batch == 1:
            told = self.caller.post("runs/log-metric", {"run_id": self.run_id, **points[0]})
        else:
            told = self.caller.post("runs/log-batch", {"run_id": self.run_id, "metrics": points})
        return 0 if told is None else self._batch


class Opener(Client):
    """Opens one run after the other, each with a param and a tag.

    A call that was not answered is sent again, so that more runs may be open than it knows.
    """

    def __init__(self, ports: Sequence[int], experiment_id: str) -> None:
        super().__init__(ports)
        self.run_ids: list[str] = []
        self._experiment_id = experiment_id

    def call(self) -> int:
        """Open a run, and log to it."""
        made = self.caller.post("runs/create", {"experiment_id": self._experiment_id})
        if made is None:
            return 0
        run_id = str(made["run"]["info"]["run_id"])
        entry = {"run_id": run_id, "key": "number", "value": str(len(self.run_ids))}
        if any(self.caller.post(path, entry) is None for path in ("runs/log-parameter", "runs/set-tag")):
            return 0
        self.run_ids.append(run_id)
        return 1


def _point(step: int) -> dict[str, Any]:
    return {"key": "loss", "value": value_at(step), "timestamp": STARTED_MS + step, "step": step}


def value_at(step: int) -> float:
    """Return the value that a writer logs."""
    return step / 8


@contextmanager
def writing(writers: Sequence[Client]) -> Iterator[Callable[[int], None]]:
    """Let clients log; give a function that waits until each was acknowledged so much more."""
    for writer in writers:
        writer.start()

    def wait(more: int) -> None:
        since = [writer.acknowledged for writer in writers]
        eventually(
            lambda: all(one.has_done(more, before) for one, before in zip(writers, since, strict=True)),
            f"{more} more of each client",
        )

    try:
        yield wait
    finally:
        for writer in writers:
            writer.is_over.set()
        for writer in writers:
            writer.stop()
