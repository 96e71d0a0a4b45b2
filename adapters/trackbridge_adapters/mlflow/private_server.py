"""mlflow on a database or folder: ``python -m trackbridge_adapters.mlflow.private_server FOLDER``.

It listens on a socket in a folder that only this user can enter: on a port, every user of the machine would
have the database. It ends by itself once nobody holds the lease.

============  ====================================================================================
in FOLDER     what it is
============  ====================================================================================
``starting``  locked by whoever looks for the server, or starts it
``users``     the lease: each user holds a shared lock, which also ends with a killed process
``address``   path of the socket, once the server answers there
``problem``   why it did not come up
``log``       what mlflow prints
============  ====================================================================================
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

STORE, PASSWORD, ARTIFACTS = (f"TRACKBRIDGE_PRIVATE_{name}" for name in ("STORE", "PASSWORD", "ARTIFACTS"))
"""Variables that hand over what is to be opened: command lines are for everybody to see."""

PLACE = "trackbridge-mlflow-"
"""How the names of folders for sockets begin."""
LOOK_S = 0.5
CONFIGURATION, DRIVER, TROUBLE = "configuration", "driver", "trouble"


def main(folder: Path) -> int:
    """Serve until nobody uses it; return 1 when it cannot."""
    uri, password = os.environ.pop(STORE), os.environ.pop(PASSWORD, None)
    artifacts = os.environ.pop(ARTIFACTS)
    threading.Thread(target=_end_with_users, args=(folder,), daemon=True).start()
    try:
        _serve(folder, _application(_with_password(uri, password), artifacts))
    except Exception as error:  # whatever it is, it is told to whoever waits
        words = f"{type(error).__name__}: {error}"
        for secret in (password, quote(password, safe="")) if password else ():
            words = words.replace(secret, "***")
        problem = {"kind": _kind(error), "words": words}
        (folder / "problem").write_text(json.dumps(problem), encoding="utf-8")
        return 1
    return 0


def _application(uri: str, artifacts: str) -> Any:
    """Return mlflow's server on a store, as ``mlflow server`` sets it up."""
    os.environ["_MLFLOW_SERVER_FILE_STORE"] = uri
    os.environ["_MLFLOW_SERVER_REGISTRY_STORE"] = uri
    os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = artifacts
    from mlflow.server import app
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(uri, uri, artifacts)
    return app


def _with_password(uri: str, password: str | None) -> str:
    if password is None:
        return uri
    from sqlalchemy.engine import make_url

    return make_url(uri).set(password=password).render_as_string(hide_password=False)


def _serve(folder: Path, application: Any) -> None:
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        def log_request(self, *arguments: Any) -> None:
            """Keep the log from growing with every request."""

    place = Path(tempfile.mkdtemp(prefix=PLACE))  # a path of a socket is short
    try:
        server = make_server(f"unix://{place}/socket", 0, application, threaded=True, request_handler=Handler)
        draft = folder / "address.draft"
        draft.write_text(f"{place}/socket", encoding="utf-8")
        draft.replace(folder / "address")
        server.serve_forever()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _end_with_users(folder: Path) -> None:
    """End the process once nobody holds the lease, and nobody is about to."""
    pause = threading.Event()
    while not pause.wait(LOOK_S):
        with contextlib.ExitStack() as held:
            try:
                for name in ("starting", "users"):
                    file = held.enter_context((folder / name).open("a"))
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            except OSError:  # the project's folder is gone
                os._exit(0)
            _leave(folder)


def _leave(folder: Path) -> None:
    forget_address(folder)
    os._exit(0)  # no request is under way


def forget_address(folder: Path) -> None:
    """Delete the socket of a server that has gone, or goes, with its folder; there need not be one."""
    address = folder / "address"
    with contextlib.suppress(OSError, ValueError):
        place = Path(address.read_text(encoding="utf-8")).parent
        if place.name.startswith(PLACE):
            shutil.rmtree(place, ignore_errors=True)
        address.unlink()


def _kind(error: Exception) -> str:
    """Tell what will be wrong at the next start as well from what may be over by then."""
    if isinstance(error, ImportError):
        return DRIVER
    code = getattr(error, "error_code", "")
    permanent = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "NOT_IMPLEMENTED", "FEATURE_DISABLED")
    # Of SQLAlchemy's: an address that is none, a dialect that is unknown, a file that is no database.
    if code in permanent or type(error).__name__ in ("ArgumentError", "NoSuchModuleError", "DatabaseError"):
        return CONFIGURATION
    return TROUBLE


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
