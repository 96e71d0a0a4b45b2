"""Ways to sign in that are the same everywhere: a bearer token, a file that holds one, a name and a password.

None of them shows its secret in a repr, an error or a pickle.
"""

from __future__ import annotations

import base64
import os
import threading
from pathlib import Path

import requests

from trackbridge.errors import AuthError

TOKEN_BYTES_MAX = 64 * 1024


class BearerToken:
    """A token that does not change.

    Args:
        token: The token.
        adapter: Name of the backend, for errors.
        variable: Name of the variable that it was read from; "" where it was none.
    """

    variable = ""

    def __init__(self, token: str, *, adapter: str, variable: str = "") -> None:
        self._header = _header(f"Bearer {token.strip()}", adapter)
        self.variable = variable

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token."""
        request.headers["Authorization"] = self._header
        return request

    def renew(self) -> bool:
        """Return False: there is no other."""
        return False

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class BasicLogin(BearerToken):
    """A user's name and password."""

    def __init__(self, username: str, password: str, *, adapter: str) -> None:
        encoded = base64.b64encode(f"{username}:{password}".encode()).decode()
        self._header = _header(f"Basic {encoded}", adapter)


class TokenFile:
    """A file that holds a token and that somebody replaces before it expires; read again when it changed."""

    def __init__(self, path: Path, *, adapter: str) -> None:
        self.path = path
        self._adapter = adapter
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._header = ""
        self._sent = threading.local()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token that the file holds now."""
        request.headers["Authorization"] = self._sent.header = self._current()
        return request

    def renew(self) -> bool:
        """Read the file again; True when it holds another token than this thread has just sent."""
        self._stamp = None
        return self._current() != getattr(self._sent, "header", "")

    def __repr__(self) -> str:
        return f"<TokenFile {self.path}>"

    def _current(self) -> str:
        with self._lock:
            try:
                status = os.stat(self.path)
                stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
                if stamp != self._stamp:
                    token = self.path.read_bytes()[:TOKEN_BYTES_MAX].decode("ascii").strip()
                    self._header, self._stamp = _header(f"Bearer {token}", self._adapter), stamp
            except (OSError, UnicodeDecodeError) as error:
                raise AuthError(
                    f"the token file {self.path} cannot be read: {type(error).__name__}",
                    adapter=self._adapter,
                    hint="check the path, and whatever renews the token",
                ) from None
            return self._header


def _header(value: str, adapter: str) -> str:
    if "\n" in value or "\r" in value or value.endswith(" ") or not value.isascii():
        raise AuthError(
            "the token or password is empty or holds characters that no header may",
            adapter=adapter,
            hint="check the variable or the file that holds it",
        )
    return value
