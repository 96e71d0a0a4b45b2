"""The listening socket, and when the world sees it."""

from __future__ import annotations

import contextlib
import os
import socket

from trackbridge.domain.serving import ServingSettings
from trackbridge.errors import ConfigError

BACKLOG = 2048


class Listener:
    """A bound socket.

    A Unix socket is bound beside its path, and renamed over it by ``publish``: whoever connects reaches the
    old server until then, and the new one from then on.
    """

    def __init__(self, settings: ServingSettings) -> None:
        self._path = settings.socket
        self._draft = f"{self._path}.{os.getpid()}"
        self.identity: tuple[int, int] | None = None
        try:
            self.socket = self._bind_path() if self._path is not None else _bind_port(settings)
        except OSError as error:
            where = self._path or f"{settings.host}:{settings.port}"
            raise ConfigError(
                f"the server cannot listen on {where}: {error}",
                hint="choose another address, or end what uses it",
            ) from error

    def _bind_path(self) -> socket.socket:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._draft)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            made.bind(self._draft)
        except OSError:
            made.close()
            raise
        finally:
            os.umask(mask)
        made.listen(BACKLOG)
        self.identity = identity_of(self._draft)
        return made

    def publish(self) -> None:
        """Let the world see it."""
        if self._path is not None:
            os.replace(self._draft, self._path)

    def withdraw(self) -> None:
        """Take the path away, if it is still ours, so that nobody connects to a server that ends."""
        if self._path is None:
            return
        for path in (self._draft, self._path):
            if self.identity == identity_of(path):
                os.unlink(path)

    def close(self) -> None:
        """Close the socket of this process; the workers have theirs."""
        self.withdraw()
        self.socket.close()

    def address(self) -> dict[str, int | str]:
        """Return ``port`` or ``socket``."""
        if self._path is not None:
            return {"socket": self._path}
        return {"port": self.socket.getsockname()[1]}


def identity_of(path: str) -> tuple[int, int] | None:
    """Return device and inode of a file, None when it is not there."""
    try:
        state = os.stat(path)
    except FileNotFoundError:
        return None
    return state.st_dev, state.st_ino


def _bind_port(settings: ServingSettings) -> socket.socket:
    assert settings.port is not None
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((settings.host, settings.port))
        made.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        made.close()
        raise OSError(str(error)) from error
    return made
