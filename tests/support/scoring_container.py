"""A container's program for tests of deployments: serves a model of the contract suite, and starts at once.

It loads the model by its loader alone, without mlflow, and answers as our own server does: ``GET /ping``,
``POST /score`` and ``/invocations``. ``python scoring_container.py PORT``.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FORMS = ("inputs", "instances", "dataframe_split", "dataframe_records", "input_data")


def load(root: Path) -> Any:
    """Load the model below a folder."""
    mlmodel = next(iter([*root.glob("MLmodel"), *root.glob("*/MLmodel")]))
    module = re.search(r"loader_module: (\S+)", mlmodel.read_text("utf-8"))
    assert module is not None
    sys.path.insert(0, str(mlmodel.parent / "code"))
    return importlib.import_module(module[1])._load_pyfunc(str(mlmodel.parent))


def rows_of(asked: Any) -> Any:
    """Return the rows of a payload; None for what is none."""
    forms = [form for form in FORMS if isinstance(asked, dict) and form in asked]
    if len(forms) != 1:
        return None
    value = asked[forms[0]]
    return value["data"] if isinstance(value, dict) and "data" in value else value


def answer(model: Any, kind: str, body: bytes) -> tuple[int, Any]:
    """Return status and content of the answer to a request."""
    if kind.partition(";")[0].strip() != "application/json":
        return 415, {"message": f"the content type {kind} is not taken"}
    try:
        rows = rows_of(json.loads(body))
    except ValueError as error:
        return 400, {"message": f"no JSON: {error}"}
    if rows is None:
        return 400, {"message": f"one of {FORMS} is expected"}
    try:
        return 200, {"predictions": model.predict(rows)}
    except Exception as error:
        return 500, {"message": f"the model failed: {error}"}


def main(port: int) -> None:
    """Serve until ended."""
    roots = (os.environ.get(name) for name in ("BRIDGE_MODEL_PATH", "AZUREML_MODEL_DIR"))
    model = load(Path(next((root for root in roots if root), "/opt/ml/model")))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 1 << 16

        def do_GET(self) -> None:
            self.reply(200 if self.path == "/ping" else 404, {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.reply(*answer(model, self.headers.get("Content-Type") or "", body))

        def reply(self, status: int, content: Any) -> None:
            sent = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

    print("serving", flush=True)  # noqa: T201
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever(0.05)


if __name__ == "__main__":
    main(int(sys.argv[1]))
