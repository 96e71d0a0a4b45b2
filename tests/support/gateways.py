"""Gateways as processes of their own, which can be killed and started again at the same address."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.scoring_servers import Answer

DEADLINE_S = 60.0
BRIDGE = "import sys; from trackbridge.cli.main import run; sys.exit(run())"
UNWANTED = ("BRIDGE_", "MLFLOW_", "OTEL_", "_BRIDGE")


class ServedGateway:
    """A gateway in a process of its own; its address stays the same when it is started again.

    Args:
        uri: The tracking URI of the backend.
        home: The folder of journal and ledger (``BRIDGE_HOME``); the log lies there, too.
        pages: Whether it is ``bridge ui``.
        arguments: Further arguments of the command.
        environment: Further variables of the process.
    """

    def __init__(
        self,
        uri: str,
        *,
        home: Path,
        pages: bool = False,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.uri, self.home = uri, home
        self.port = 0
        self.url = ""
        self.ready: dict[str, Any] = {}
        """What it printed when it was ready: ``url``, ``backend``, ``pid``."""
        self.log_path = home / "gateway.log"
        self._words = ["ui", uri] if pages else ["gateway", "--backend", uri]
        self._arguments = list(arguments)
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self._process is None, "it runs already"
        self.home.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(UNWANTED)}
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", BRIDGE, *self._words, *self._all_arguments()],
                env={**kept, "BRIDGE_HOME": str(self.home), **self._environment},
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith(b'{"type": "ready"'):
            self.kill()
            raise AssertionError(f"the gateway did not start: {line.decode()}\n{self.log()[-4000:]}")
        self.ready = json.loads(line)
        self.url = self.ready["url"]
        self.port = int(self.url.rpartition(":")[2])

    def _all_arguments(self) -> list[str]:
        return ["--json", "--port", str(self.port), *self._arguments]

    @property
    def process_id(self) -> int:
        """The process, for signals."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def kill(self) -> None:
        """Kill it, as a machine that loses power; its delivery child goes on, as after any death."""
        self._end(signal.SIGKILL)

    def stop(self) -> tuple[int, dict[str, Any]]:
        """End it as a user does; return its exit code and the summary that it prints last."""
        return self._end(signal.SIGTERM)

    def wait(self) -> tuple[int, dict[str, Any]]:
        """Wait for its end; return as ``stop``."""
        return self._end(None)

    def _end(self, number: signal.Signals | None) -> tuple[int, dict[str, Any]]:
        process, self._process = self._process, None
        if process is None:
            return 0, {}
        if number is not None:
            process.send_signal(number)
        output, _ = process.communicate(timeout=DEADLINE_S)
        lines = output.splitlines()
        return process.returncode, json.loads(lines[-1]) if lines else {}

    def log(self) -> str:
        """What it wrote to stderr: failures, and the access log where it has no file of its own."""
        return self.log_path.read_text(encoding="utf-8")

    def access_lines(self) -> list[dict[str, Any]]:
        """The access log's lines so far."""
        lines = (json.loads(line) for line in self.log().splitlines() if line.startswith("{"))
        return [line for line in lines if "status" in line]

    def connect(self) -> socket.socket:
        """Return a raw connection."""
        made = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)
        made.settimeout(DEADLINE_S)
        return made

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send one request on a connection of its own; what is no bytes is sent as JSON."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            named.setdefault("content-type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            # Who is refused by the headers has the answer before the body was taken.
            with contextlib.suppress(BrokenPipeError):
                connection.request(method, path, body, named)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def api(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Call mlflow's REST API below its prefix; return the JSON of the answer, which must be 200."""
        answer = self.request(method, f"/api/2.0/mlflow/{path}", body, **headers)
        assert answer.status == 200, (answer.status, answer.body)
        return answer.content

    def metric(self, start: str) -> float:
        """Return the sum of the metrics of ``/metrics`` whose line begins like that; 0 without any."""
        lines = self.request("GET", "/metrics").body.decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(start))


@contextmanager
def gateway(
    uri: str,
    *,
    home: Path,
    pages: bool = False,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[ServedGateway]:
    """Run a gateway; see ``ServedGateway``."""
    served = ServedGateway(uri, home=home, pages=pages, arguments=arguments, environment=environment)
    served.start()
    try:
        yield served
    finally:
        served.kill()
        end_children(home, *(Path(part.removeprefix("file:")) for part in uri.split(",") if "/" in part))


def end_children(*folders: Path) -> None:
    """Wait for the delivery children of journals in folders; end those whose backend has gone."""
    deadline = time.monotonic() + 5.0
    while found := _children(tuple(f"{folder}/journal/" for folder in folders)):
        if time.monotonic() > deadline:
            for child in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        time.sleep(0.02)


def _children(beginnings: tuple[str, ...]) -> list[int]:
    """Return the processes one of whose arguments begins so."""
    found: list[int] = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (place / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            if any(word.startswith(beginnings) for word in words):
                found.append(int(place.name))
    return found
