"""Serves a scoring script or an MLflow model, as azureml-inference-server-http does.

``python -m …inference.server``, by the variables that Azure sets: ``AZUREML_ENTRY_SCRIPT`` (below
``AML_APP_ROOT``), ``AZUREML_MODEL_DIR``, ``SERVER_PORT``, ``WORKER_COUNT`` (how many requests ``run`` gets
at once), ``SCORING_TIMEOUT_MS``. Without a script, the MLflow model below ``AZUREML_MODEL_DIR`` is served,
by ``mlflow_model``.

Routes: ``GET /`` (health), ``GET|POST /score``, ``GET /swagger.json``. An answer other than 200 becomes 424
on the way out of Azure.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from trackbridge.testing.emulators.azureml.inference import mlflow_model, script_api

FAILED_EXIT = 3
HEADER_CHARS_MAX = 100
UNEXPECTED = "An unexpected error occurred in scoring script. Check the logs for more info."
Reply = tuple[int, dict[str, str], bytes]


class BadScript(Exception):
    """A script without what Azure's server needs of it."""


class Scorer:
    """What a script, or the module that stands for one, does with requests.

    Args:
        module: With ``init`` and ``run``.
        at_once: How many requests ``run`` gets at the same time.
    """

    def __init__(self, module: Any, at_once: int) -> None:
        for name in ("init", "run"):
            if not callable(getattr(module, name, None)):
                raise BadScript(f"User script does not have a {name}() function defined.")
        self._run = module.run
        parameters = list(inspect.signature(self._run).parameters)
        self._wants_headers = "request_headers" in parameters
        named = [name for name in parameters if name != "request_headers"]
        if not named:
            raise BadScript("run() needs to accept an argument for input data.")
        self._name = named[0]
        self._free = threading.Semaphore(at_once)

    def score(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Answer one request."""
        if script_api.RawHttp.is_asked:
            given: Any = script_api.AMLRequest(method, target, headers, body)
        elif method == "GET":
            given = json.dumps(_parameters(target))
        else:
            try:
                given = body.decode("utf-8")
            except UnicodeDecodeError as error:
                return _message(400, f"Input cannot be decoded as UTF-8: {error}")
        named: dict[str, Any] = {self._name: given}
        if self._wants_headers:
            named["request_headers"] = dict(headers)
        with self._free:
            began_s = time.perf_counter()
            try:
                result = self._run(**named)
            except Exception:  # the user's code may raise anything; whoever asked gets a 500, as from Azure's
                log(f"Encountered Exception: {traceback.format_exc()}")
                return _message(500, UNEXPECTED, {"x-ms-run-function-failed": "True"})
        took = {"x-ms-run-fn-exec-ms": f"{(time.perf_counter() - began_s) * 1e3:.3f}"}
        return _reply(result, took)


def _reply(result: Any, more: Mapping[str, str]) -> Reply:
    # The stand-in of ours, or a response of Flask's when Azure's own packages are installed.
    status = getattr(result, "status_code", None)
    if status is not None:
        data = result.data if isinstance(result.data, bytes) else str(result.data).encode()
        return status, {**dict(result.headers), "x-ms-run-function-failed": str(status >= 500), **more}, data
    try:
        text = json.dumps({} if result is None else result)
    except (TypeError, ValueError):
        log(f"Encountered Exception: {traceback.format_exc()}")
        return _message(500, "An unexpected internal error occurred. Check the logs for more info.")
    kept = {"Content-Type": "application/json", "x-ms-run-function-failed": "False"}
    return 200, {**kept, **more}, text.encode()


def _message(status: int, text: str, more: Mapping[str, str] | None = None) -> Reply:
    return (
        status,
        {"Content-Type": "application/json", **(more or {})},
        json.dumps({"message": text}).encode(),
    )


def _parameters(target: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, values in parse_qs(urlsplit(target).query).items():
        read = [_read(value) for value in values]
        found[name] = read[0] if len(read) == 1 else read
    return found


def _read(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def swagger(name: str) -> dict[str, Any]:
    """Return the description of a service whose script says nothing of its inputs."""
    answer = {"200": {"description": "The result of run()"}}
    score = {"post": {"operationId": "RunMLService", "consumes": ["application/json"], "responses": answer}}
    return {"swagger": "2.0", "info": {"title": name, "version": "1.0"}, "paths": {"/score": score}}


def log(text: str) -> None:
    """Write a line of the server's own, as Azure's does."""
    now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    print(f"{now} I [{os.getpid()}] azmlinfsrv - {text}", flush=True)  # noqa: T201


def load(root: Path, script: str) -> Any:
    """Import a scoring script, with its folder and the root importable.

    Raises:
        Exception: What the script raises.
    """
    path = root / script
    sys.path[:0] = [str(path.parent), str(root)]
    spec = importlib.util.spec_from_file_location("entry_module", path)
    if spec is None or spec.loader is None:
        raise BadScript(f"{script} is no Python script")
    module = importlib.util.module_from_spec(spec)
    sys.modules["entry_module"] = module
    spec.loader.exec_module(module)
    log(f"Found user script at {path}")
    return module


def _scorer() -> Scorer:
    script_api.install()
    script = os.environ.get("AZUREML_ENTRY_SCRIPT", "")
    module = load(Path(os.environ.get("AML_APP_ROOT", ".")), script) if script else mlflow_model
    made = Scorer(module, max(1, int(os.environ.get("WORKER_COUNT") or 1)))
    log("Invoking user's init function")
    module.init()
    log("Users's init has completed successfully")
    return made


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def handler_of(answer: Callable[[str, str, Mapping[str, str], bytes], Reply]) -> type[BaseHTTPRequestHandler]:
    """Return the class that answers requests."""

    class _Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 1 << 16

        def _answer(self) -> None:
            began_s = time.perf_counter()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = str(self.headers.get("x-request-id") or uuid.uuid4())
            client = str(self.headers.get("x-ms-client-request-id") or "")
            status, headers, content = answer(self.command, self.path, dict(self.headers), body)
            if max(len(asked), len(client)) > HEADER_CHARS_MAX:
                status, headers, content = _message(431, "a request id has more than 100 characters")
            self.send_response(status)
            told = {"x-request-id": asked, "x-ms-request-id": client or asked}
            told |= {"x-ms-client-request-id": client} if client else {}
            for name, value in {**headers, **told}.items():
                if name.lower() != "content-length":
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            if self.path != "/":
                took_ms = (time.perf_counter() - began_s) * 1e3
                log(f"{self.command} {self.path} {status} {took_ms:.3f}ms {len(content)}")

        do_GET = do_POST = do_PUT = do_DELETE = do_OPTIONS = _answer  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            """Say nothing: ``log`` does."""

    return _Handler


def main() -> int:
    """Serve until ended; 3 when the script cannot be used."""
    try:
        scorer = _scorer()
    except BaseException:
        log("User's script or its init function failed")
        log(traceback.format_exc())
        return FAILED_EXIT

    def answer(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        path = urlsplit(target).path
        if path == "/" and method == "GET":
            return 200, {"Content-Type": "text/html; charset=utf-8"}, b"Healthy"
        if path == "/swagger.json" and method == "GET":
            text = json.dumps(swagger(os.environ.get("SERVICE_NAME", "ML service")))
            return 200, {"Content-Type": "application/json"}, text.encode()
        if path != "/score":
            return _message(404, "The requested URL was not found on the server.")
        if method not in ("GET", "POST"):
            return _message(405, "Method not allowed")
        return scorer.score(method, target, headers, body)

    server = _Server(("127.0.0.1", int(os.environ.get("SERVER_PORT") or 5001)), handler_of(answer))
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    log(f"Worker with pid {os.getpid()} ready for serving traffic")
    server.serve_forever(0.05)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
