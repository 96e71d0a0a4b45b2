"""Where the files of an endpoint lie.

::

    <store>/models/<digest>/                  payloads, shared by all endpoints
    <store>/endpoints/<endpoint>/token        the bearer token, 0600
    <store>/endpoints/<endpoint>/logs/        one file per deployment, and those of supervisor and router
    <store>/endpoints/<endpoint>/captures/    one folder per deployment
    <store>/endpoints/<endpoint>/run/         locks that running processes hold, settings of servers
    <sockets>/<deployment>.<generation>       a server's socket
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from trackbridge.errors import AuthError, Unavailable
from trackbridge_adapters.local.capabilities import ADAPTER

# A socket's path has at most 103 bytes (macOS) or 107 (Linux); names of deployments have up to 32.
_SOCKET_FOLDER_BYTES_MAX = 55
_SHORT_ROOT = Path("/tmp")


@dataclass(frozen=True, slots=True)
class EndpointFolder:
    """The folder of one endpoint of a store."""

    store: Path
    endpoint: str

    @property
    def path(self) -> Path:
        """The endpoint's own folder."""
        return self.store / "endpoints" / self.endpoint

    @property
    def token(self) -> Path:
        """The file with the bearer token."""
        return self.path / "token"

    @property
    def run(self) -> Path:
        """The folder of what belongs to running processes."""
        return self.path / "run"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the supervisor as long as it lives."""
        return self.run / "supervisor.lock"

    @property
    def operation_lock(self) -> Path:
        """Held by whoever changes the endpoint."""
        return self.store / "endpoints" / f".{self.endpoint}.lock"

    def log(self, name: str) -> Path:
        """Return the log of a deployment."""
        return self.path / "logs" / f"{name}.log"

    def own_log(self, name: str) -> Path:
        """Return the log of the supervisor or the router."""
        return self.path / f"{name}.log"

    def captures(self, deployment: str) -> Path:
        """Return the folder of what was captured of a deployment."""
        return self.path / "captures" / deployment

    def make(self) -> None:
        """Make the folders and the token, for nobody else to read."""
        for folder in (self.path.parent, self.path, self.run, self.path / "logs"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.token.exists():
            return
        unfinished = self.token.with_name(f"token.{os.getpid()}.{secrets.token_hex(4)}")
        with open(unfinished, "x", opener=_private) as file:
            file.write(secrets.token_urlsafe(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(unfinished, self.token)
        except FileExistsError:  # another process has been faster, and its token is the token
            return
        finally:
            unfinished.unlink()

    def read_token(self) -> str:
        """Return the bearer token.

        Raises:
            Unavailable: There is none, or none that is whole.
        """
        try:
            token = self.token.read_text("ascii").strip()
        except FileNotFoundError:
            token = ""
        if token:
            return token
        raise Unavailable(
            "the endpoint's token is gone",
            adapter=ADAPTER,
            resource=f"endpoint {self.endpoint}",
            hint="delete the endpoint and deploy again",
        )

    def choose_sockets(self) -> Path:
        """Return the folder for sockets: the endpoint's own, or a short one where its path is too long."""
        own = self.path / "run"
        if len(os.fsencode(own)) <= _SOCKET_FOLDER_BYTES_MAX:
            return own
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        return _SHORT_ROOT / f"trackbridge-{os.getuid()}" / name


def make_private(folder: Path) -> None:
    """Make a folder that only this user can enter, and see that nobody else made it before.

    Raises:
        AuthError: It is there, and not ours alone.
    """
    parent = folder.parent
    for place in (parent, folder) if parent.parent == _SHORT_ROOT else (folder,):
        place.mkdir(parents=place is folder, exist_ok=True, mode=0o700)
        status = place.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise AuthError(
                f"{place} is not a folder of this user alone", adapter=ADAPTER, hint=f"remove {place}"
            )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def open_log(path: Path) -> int:
    """Return a descriptor that appends to a log which only this user can read."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
