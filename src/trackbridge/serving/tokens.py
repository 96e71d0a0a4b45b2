"""The bearer token that callers must show, read again when its file changes."""

from __future__ import annotations

import hmac
import os
from pathlib import Path

from trackbridge.errors import ConfigError

SCHEME = b"bearer "


class TokenFile:
    """A file that holds the token; without a readable token nobody is let in."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._token = b""
        if not self._current():
            raise ConfigError(
                f"{path} holds no token", hint="write the bearer token into the file of token_file"
            )

    def accepts(self, authorization: bytes | None) -> bool:
        """Return whether an ``Authorization`` header shows the token."""
        token = self._current()
        if authorization is None or not token or authorization[: len(SCHEME)].lower() != SCHEME:
            return False
        return hmac.compare_digest(authorization[len(SCHEME) :].strip(), token)

    def _current(self) -> bytes:
        try:
            state = os.stat(self._path)
            seen = (state.st_mtime_ns, state.st_ino, state.st_size)
            if seen != self._seen:
                self._token = self._path.read_bytes().strip()
                self._seen = seen
        except OSError:
            self._token, self._seen = b"", None
        return self._token
