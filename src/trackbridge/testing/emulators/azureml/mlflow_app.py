"""mlflow's own server application in this process, for ``mlflow_server``: ``python -m … <database>``.

``mlflow server`` would import mlflow twice, for its command and for its worker: seconds at each start.
Prints its address when it listens, and ends with whoever started it.
"""

from __future__ import annotations

import os
import sys
import threading
from importlib import import_module
from typing import Any


def main(database: str) -> None:
    """Serve until standard input ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    mlflow = import_module("mlflow.server")
    from sqlalchemy import event
    from sqlalchemy.engine import Engine
    from werkzeug.serving import WSGIRequestHandler, make_server

    class KeptOpen(WSGIRequestHandler):
        """Keeps connections, and does not log requests."""

        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_request(self, *arguments: object) -> None:
            """Say nothing."""

    store, artifacts = f"sqlite:///{database}", "mlflow-artifacts:/"  # never used: Azure's own are told
    os.environ[mlflow.BACKEND_STORE_URI_ENV_VAR] = store
    os.environ[mlflow.ARTIFACT_ROOT_ENV_VAR] = artifacts
    event.listen(Engine, "connect", _never_wait_for_the_disk)  # nothing here outlives the emulator
    mlflow.handlers.initialize_backend_stores(store, None, artifacts)
    server = make_server("127.0.0.1", 0, mlflow.app, threaded=True, request_handler=KeptOpen)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201
    server.serve_forever()


def _never_wait_for_the_disk(connection: Any, record: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")


def _end_with_parent() -> None:
    """End at once when the other end of the pipe is closed, however that came."""
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
