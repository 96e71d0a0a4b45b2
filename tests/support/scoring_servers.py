"""Scoring servers as processes of their own, a client for them, and a model that does what its input says."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0
COMMAND: tuple[str, ...] = (sys.executable, "-m", "trackbridge.serving")
WARM_CODE = "import sys; from trackbridge.serving.__main__ import main; sys.exit(main(sys.argv[1:]))"
"""The same for an interpreter of ``warm_python``."""
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}

# A column "do" says what each request does, "seconds" how long.
OBEDIENT_MODEL = """
import os, pathlib, signal, time

class Obedient:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def predict(self, frame):
        for do, seconds in zip(frame["do"], frame["seconds"]):
            getattr(self, do)(seconds)
        return [os.getpid()] * len(frame)

    def echo(self, seconds): pass
    def sleep(self, seconds): time.sleep(seconds)
    def note(self, seconds): (self.folder / f"noted-{seconds}").touch()
    def fail(self, seconds): raise ValueError("a secret of the model's")
    def leave(self, seconds): raise SystemExit(3)
    def exit(self, seconds): os._exit(9)
    def kill(self, seconds): os.kill(os.getpid(), signal.SIGKILL)

def _load_pyfunc(path):
    %s
    return Obedient(path)
"""
OBEDIENT_MLMODEL = """
flavors:
  python_function:
    code: code
    data: data
    loader_module: obedient_model
signature:
  inputs: '[{"type": "string", "name": "do"}, {"type": "double", "name": "seconds"}]'
"""


def save_obedient_model(folder: Path, *, at_load: str = "pass") -> Path:
    """Write the folder of the obedient model; ``at_load`` is a statement run whenever it is loaded."""
    (folder / "code").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "code" / "obedient_model.py").write_text(OBEDIENT_MODEL % at_load, encoding="utf-8")
    (folder / "MLmodel").write_text(OBEDIENT_MLMODEL, encoding="utf-8")
    return folder


def order(do: str, seconds: float = 0.0) -> bytes:
    """Return a body for the obedient model."""
    return json.dumps({"dataframe_records": [{"do": do, "seconds": seconds}]}).encode()


class Answer:
    """Status, headers and body of an answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def content(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


class Server:
    """A running server."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, ready: dict[str, Any]) -> None:
        self.process, self._log = process, log
        self.main: int = ready.get("pid", process.pid)
        """The main process; ``process`` may be one that waits for it."""
        self.port: int = ready.get("port", 0)
        self.socket: str | None = ready.get("socket")

    def connect(self) -> socket.socket:
        """Return a raw connection."""
        if self.socket is not None:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(self.socket)
        else:
            connection = socket.create_connection(("127.0.0.1", self.port))
        connection.settimeout(DEADLINE_S)
        return connection

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        connection.sock = self.connect()
        try:
            # As urllib3: who is refused by the headers has the answer before the body was taken.
            with contextlib.suppress(BrokenPipeError):
                connection.request(
                    method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
                )
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def invoke(self, body: bytes, content_type: str = "application/json", **headers: str) -> Answer:
        """Score a body."""
        return self.request("POST", "/invocations", body, content_type=content_type, **headers)

    def log(self) -> str:
        """What the server wrote to stderr."""
        return self._log.read_text(encoding="utf-8")

    def metric(self, start: str) -> float:
        """Return the sum of the metrics whose line begins like that; 0 when there is none."""
        lines = self.request("GET", "/metrics").body.decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(start))


def start(folder: Path, settings: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Start a server; its stderr goes to ``folder/log``."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.json"
    config.write_text(json.dumps(settings), encoding="utf-8")
    with open(folder / "log", "ab") as log:
        return subprocess.Popen(
            [*COMMAND, str(config)],
            env={**os.environ, **QUIET},
            stderr=log,
            start_new_session=True,
        )


@contextmanager
def running(folder: Path, **settings: Any) -> Iterator[Server]:
    """Run a server, on any free port unless ``socket`` is given; give it when it is ready."""
    ready = folder / "ready.json"
    if "socket" not in settings:
        settings = {"port": 0, **settings}
    process = start(folder, {"ready_file": str(ready), **settings})
    try:
        wait_until(lambda: ready.exists() or process.poll() is not None)
        assert ready.exists(), (folder / "log").read_text(encoding="utf-8")
        yield Server(process, folder / "log", json.loads(ready.read_bytes()))
    finally:
        # Their sessions: workers that outlive them as well.
        leaders = {process.pid, *([json.loads(ready.read_bytes())["pid"]] if ready.exists() else [])}
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        for leader in leaders:
            with suppress(ProcessLookupError):
                os.killpg(leader, signal.SIGKILL)
        process.wait()


def wait_until(is_so: Callable[[], Any], deadline_s: float = DEADLINE_S) -> None:
    """Wait for a condition."""
    end = time.monotonic() + deadline_s
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Call all of them at once, each in a thread; return results or errors in order."""
    results: list[Any] = [None] * len(calls)

    def run(place: int) -> None:
        try:
            results[place] = calls[place]()
        except Exception as error:
            results[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
