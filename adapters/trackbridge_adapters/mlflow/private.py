"""What mlflow itself opens (a database, a folder), through a server of its own that nobody else reaches.

The server starts at the first call. Processes of one project that open the same store share it; it ends when
the last of them closes its adapter, ends or is killed (see ``private_server``).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO
from urllib.parse import unquote, urlsplit

from trackbridge.domain.secrets import redact, shown
from trackbridge.errors import BridgeError, ConfigError, MissingExtra, Unavailable
from trackbridge.ports.adapter import AdapterContext
from trackbridge_adapters.mlflow import private_server
from trackbridge_adapters.mlflow.config import ADAPTER

OPTIONS = frozenset({"password_env", "artifact_root", "timeout_s"})
READY_S = 120.0
"""How long to wait for it; making the tables of a new database takes ten seconds."""
WORDS_CHARS_MAX = 1000
FILE_STORE_VARIABLE = "MLFLOW_ALLOW_FILE_STORE"
FILE_STORE_HINT = (
    "keep runs in a folder of our own (file:PATH), in a database (mlflow+sqlite:///mlflow.db), or set "
    f"{FILE_STORE_VARIABLE}=true"
)
_POLL_S = 0.05
_KEPT_VARIABLES = (FILE_STORE_VARIABLE, "MLFLOW_SQLALCHEMYSTORE_", "MLFLOW_MYSQL_")
_DROPPED_VARIABLES = ("MLFLOW_", "_MLFLOW_", "BRIDGE_")


@dataclass(frozen=True, slots=True)
class Store:
    """What mlflow is to open. ``artifacts`` is where new experiments keep their files."""

    uri: str
    artifacts: str
    password: str | None = field(default=None, repr=False)

    @property
    def is_folder(self) -> bool:
        """Whether it is a file store rather than a database."""
        return urlsplit(self.uri).scheme in ("", "file")


def store_of(uri: str, context: AdapterContext, environment: Mapping[str, str] = os.environ) -> Store:
    """Return the store of a URI, here without ``mlflow+``.

    Raises:
        ConfigError: An option is unknown, or names a variable that is not set; or mlflow would ask us.
        MissingExtra: mlflow's server is not installed.
    """
    unknown = sorted(set(context.options) - OPTIONS)
    if unknown:
        known = ", ".join(sorted(OPTIONS))
        raise ConfigError(f"the option {unknown[0]!r} is unknown", adapter=ADAPTER, hint=f"known are {known}")
    if uri.lower().startswith("bridge"):
        raise ConfigError(
            "mlflow would open this by asking us",
            adapter=ADAPTER,
            hint=f"write {uri.partition('+')[2] or '.'}",
        )
    if importlib.util.find_spec("mlflow") is None or importlib.util.find_spec("flask") is None:
        raise MissingExtra(
            "mlflow opens this, and its server is not installed",
            adapter=ADAPTER,
            hint="pip install 'trackbridge[mlflow]'",
        )
    named = context.options.get("password_env")
    password = environment.get(named) if named else None
    if named and not password:
        message = f"the variable {named}, which password_env names, is not set"
        raise ConfigError(message, adapter=ADAPTER, hint=f"export {named}=…")
    artifacts = context.options.get("artifact_root") or environment.get("MLFLOW_DEFAULT_ARTIFACT_ROOT")
    store = Store(uri, artifacts or _artifacts_beside(uri, context.home), password)
    if store.is_folder and not environment.get(FILE_STORE_VARIABLE):
        _refuse_closed_folder(store)
    return store


def _refuse_closed_folder(store: Store) -> None:
    """Raise what mlflow says to a folder of runs; newer ones want a variable to be set.

    It is asked here, where the destination is set, rather than by a server at the first delivery.
    """
    spec = importlib.util.find_spec("mlflow")
    variables = Path(spec.origin or "").with_name("environment_variables.py") if spec else Path()
    if not variables.is_file() or FILE_STORE_VARIABLE not in variables.read_text(encoding="utf-8"):
        return
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.file_store import FileStore

    try:
        FileStore(store.uri)
    except MlflowException as error:
        words = shown(str(error), chars_max=WORDS_CHARS_MAX)
        message = f"mlflow refuses to open a folder: {words}"
        raise ConfigError(message, adapter=ADAPTER, hint=FILE_STORE_HINT) from error


def _artifacts_beside(uri: str, home: Path) -> str:
    """Return where mlflow would keep files, were it started where its database lies."""
    parts = urlsplit(uri)
    if not parts.scheme:
        return uri
    if parts.scheme == "file":
        return unquote(parts.path)
    if parts.scheme.partition("+")[0] == "sqlite" and parts.path.startswith("//"):
        return str(Path(parts.path[1:]).parent / "mlruns")
    return str(home / "mlruns")


class PrivateServer:
    """The server of one store, for the threads of one process.

    Args:
        store: What it opens.
        home: The project's folder.
    """

    def __init__(self, store: Store, home: Path) -> None:
        self._store = store
        key = f"{os.getuid()}\n{store.uri}\n{store.artifacts}"
        self._folder = home / "mlflow-servers" / hashlib.sha256(key.encode()).hexdigest()[:16]
        self._begin()
        _servers.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._lease: TextIO | None = None
        self._address: str | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def base_url(self) -> str:
        """Return where its routes begin; start it, unless it runs.

        Raises:
            ConfigError: mlflow refuses the URI.
            MissingExtra: The database's driver is not installed.
            Unavailable: It does not come up, which may be another matter later.
        """
        with self._lock:
            if self._address is None:
                try:
                    self._address = self._find_or_start()
                except OSError as error:
                    raise Unavailable(
                        f"the folder of mlflow's server fails: {error}",
                        adapter=ADAPTER,
                        resource=str(self._folder),
                        hint="see that it is writable and that the disk has room",
                    ) from error
        return "http://localhost"

    def connect(self) -> socket.socket:
        """Return a connection to it; one that is gone is looked for, or started, again.

        Raises:
            BridgeError: As for ``base_url``.
            OSError: It does not take the connection.
        """
        try:
            return _connected(self._address or "")
        except OSError:
            self._address = None
        self.base_url()
        return _connected(self._address or "")

    def close(self) -> None:
        """Let go of it; it ends when nobody else uses it."""
        with self._lock:
            self._address = None
            if self._lease is not None:
                self._lease.close()
                self._lease = None

    def after_fork(self) -> None:
        """Forget the parent's server in a fork: the lease would outlive the parent."""
        if self._lease is not None:
            self._lease.close()
        self._begin()

    def _find_or_start(self) -> str:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / "starting").open("a") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            if self._lease is None:
                self._lease = (self._folder / "users").open("a")
                fcntl.flock(self._lease, fcntl.LOCK_SH)
            return self._running() or self._started()

    def _running(self) -> str | None:
        with contextlib.suppress(OSError, ValueError):
            address = (self._folder / "address").read_text(encoding="utf-8")
            _connected(address).close()
            return address
        return None

    def _started(self) -> str:
        address, problem = self._folder / "address", self._folder / "problem"
        if self._process is None or self._process.poll() is not None:
            private_server.forget_address(self._folder)
            problem.unlink(missing_ok=True)
            self._process = self._start()
        deadline, pause = time.monotonic() + READY_S, threading.Event()
        while time.monotonic() < deadline:
            if address.exists():
                return address.read_text(encoding="utf-8")
            if self._process.poll() is not None:
                raise self._failure(problem)
            pause.wait(_POLL_S)
        raise self._unavailable(f"mlflow's server is not up after {READY_S:.0f} s")

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(_KEPT_VARIABLES) or not name.startswith(_DROPPED_VARIABLES)
        }
        environment |= {
            private_server.STORE: self._store.uri,
            private_server.ARTIFACTS: self._store.artifacts,
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        if self._store.password is not None:
            environment[private_server.PASSWORD] = self._store.password
        log = os.open(self._folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            return subprocess.Popen(
                [sys.executable, "-m", private_server.__name__, str(self._folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=environment,
                start_new_session=True,  # Ctrl-C is meant for the program
            )
        finally:
            os.close(log)

    def _failure(self, problem: Path) -> BridgeError:
        try:
            found = json.loads(problem.read_text(encoding="utf-8"))
            kind, words = str(found["kind"]), shown(redact(str(found["words"])), chars_max=WORDS_CHARS_MAX)
        except (OSError, ValueError, KeyError, TypeError):
            return self._unavailable("mlflow's server ended before it was up")
        if kind == private_server.DRIVER:
            hint = "install the driver of the database, for example psycopg2-binary or mysqlclient"
            return MissingExtra(f"mlflow cannot open the database: {words}", adapter=ADAPTER, hint=hint)
        if kind == private_server.CONFIGURATION:
            hint = FILE_STORE_HINT if self._store.is_folder else "see what mlflow opens: mlflow server --help"
            return ConfigError(f"mlflow refuses to open it: {words}", adapter=ADAPTER, hint=hint)
        return self._unavailable(f"mlflow cannot open it: {words}")

    def _unavailable(self, message: str) -> Unavailable:
        hint = f"see what mlflow printed: {self._folder / 'log'}"
        return Unavailable(message, adapter=ADAPTER, resource=redact(self._store.uri), hint=hint)


def _connected(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


_servers: weakref.WeakSet[PrivateServer] = weakref.WeakSet()


def _forget_all_in_fork() -> None:
    for server in tuple(_servers):
        server.after_fork()


os.register_at_fork(after_in_child=_forget_all_in_fork)
