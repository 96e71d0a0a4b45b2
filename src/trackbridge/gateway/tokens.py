"""The tokens that clients show: a file of salted hashes, read again when it changes.

A token is ``bridge_<number>_<secret>``. The number finds its entry; the secret has 256 random bits, so that
one round of SHA-256 keeps it: there is nothing to guess, and each request is checked anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from trackbridge.errors import ConfigError, Conflict, NotFound
from trackbridge.gateway.routes import Scope
from trackbridge.serving.logs import log

OTHERS = 0o077
"""Rights of anybody but the owner."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
SHAPE = re.compile(r"bridge_(?P<number>[0-9a-f]{8})_(?P<secret>[A-Za-z0-9_-]{43})")
BYTES_MAX = 16 * 1024 * 1024


class TokenEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a token: never the token.

    ``created_at`` is in milliseconds since 1970; ``salt`` and ``hash`` are hexadecimal.
    """

    name: str
    scope: Scope
    number: str
    salt: str
    hash: str
    created_at: int


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tokens: tuple[TokenEntry, ...] = ()


class TokenFile:
    """The tokens of one gateway, or several; made by ``add``, and read by servers.

    Args:
        path: The file. Nobody but its owner may read or write it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int, int] | None = None
        self._entries: dict[str, TokenEntry] = {}

    # Of the command line.

    def entries(self) -> tuple[TokenEntry, ...]:
        """Return all entries, in the order in which they were made; none where there is no file.

        Raises:
            ConfigError: The file cannot be read, is open to others, or is not one of tokens.
        """
        try:
            with open(self.path, "rb") as stream:
                _check_mode(self.path, os.fstat(stream.fileno()).st_mode)
                content = stream.read(BYTES_MAX)
            return msgspec.json.decode(content, type=_Content).tokens
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise ConfigError(
                f"{self.path} cannot be read: {error.strerror}", hint="check its owner and its rights"
            ) from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{self.path} is not a file of tokens: {error}",
                hint="make another with: bridge gateway tokens add NAME",
            ) from error

    def add(self, name: str, scope: Scope, *, now_ms: int) -> str:
        """Make a token and return it; only its hash is kept.

        Raises:
            ConfigError: The name is not one, or the file cannot be read or written.
            Conflict: There is a token of this name.
        """
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} cannot name a token", hint="use up to 64 letters, digits and the signs . _ @ -"
            )
        with self._locked():
            entries = self.entries()
            if any(entry.name == name for entry in entries):
                raise Conflict(
                    f"there is a token {name!r} already",
                    hint=f"take another name, or remove it: bridge gateway tokens remove {name}",
                )
            number, salt, secret = secrets.token_hex(4), secrets.token_hex(16), secrets.token_urlsafe(32)
            made = TokenEntry(
                name=name,
                scope=scope,
                number=number,
                salt=salt,
                hash=_hashed(salt, secret),
                created_at=now_ms,
            )
            self._write((*entries, made))
        return f"bridge_{number}_{secret}"

    def remove(self, name: str) -> None:
        """Forget a token: whoever shows it is not let in any more, by running gateways either.

        Raises:
            NotFound: There is none of this name.
            ConfigError: The file cannot be read or written.
        """
        with self._locked():
            entries = self.entries()
            kept = tuple(entry for entry in entries if entry.name != name)
            if len(kept) == len(entries):
                raise NotFound(
                    f"there is no token {name!r} in {self.path}", hint="see: bridge gateway tokens list"
                )
            self._write(kept)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time change the file."""
        import fcntl

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(
                self.path.with_name(f".{self.path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600
            )
        except OSError as error:
            raise self._not_written(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, entries: tuple[TokenEntry, ...]) -> None:
        try:
            descriptor, draft = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)  # 0600
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(msgspec.json.format(msgspec.json.encode(_Content(entries)), indent=2))
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(draft, self.path)
        except OSError as error:
            raise self._not_written(error) from error

    def _not_written(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"{self.path} cannot be written: {error.strerror}", hint="check the folder's rights and space"
        )

    # Of servers.

    def find(self, token: str) -> TokenEntry | None:
        """Return the entry of a token that a client shows, None when it is none of ours."""
        self._refresh()
        match = SHAPE.fullmatch(token)
        entry = self._entries.get(match["number"]) if match else None
        # As much work without an entry, so that the time tells nothing.
        shown = _hashed(entry.salt if entry else "", match["secret"] if match else token)
        is_right = hmac.compare_digest(shown, entry.hash if entry else "")
        return entry if is_right else None

    def check(self) -> None:
        """See that the file can be used.

        Raises:
            ConfigError: It cannot be read, is open to others, or holds no token.
        """
        if not self.entries():
            raise ConfigError(
                f"{self.path} holds no token", hint="make one with: bridge gateway tokens add NAME"
            )

    def _refresh(self) -> None:
        """Read the file again if it has changed; while it cannot be used, nobody is let in."""
        try:
            state = os.stat(self.path)
            seen = (state.st_mtime_ns, state.st_ino, state.st_size, state.st_mode)
        except OSError:
            seen = None
        if seen is not None and seen == self._seen:
            return
        is_news, self._seen = seen != self._seen or bool(self._entries), seen
        self._entries = {}
        try:
            self._entries = {entry.number: entry for entry in self.entries()}
        except ConfigError as error:
            if is_news:
                log("the tokens cannot be read: nobody is let in", error=str(error))


def _hashed(salt: str, secret: str) -> str:
    return hashlib.sha256(f"{salt}:{secret}".encode("utf-8", "surrogatepass")).hexdigest()


def _check_mode(path: Path, mode: int) -> None:
    if os.name == "posix" and mode & OTHERS:
        raise ConfigError(
            f"{path} is open to others (mode {mode & 0o777:04o})", hint=f"run: chmod 600 {path}"
        )
