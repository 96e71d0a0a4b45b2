"""What a place for files must do, and how bytes are checked on their way."""

from __future__ import annotations

import hashlib
import io
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from trackbridge.errors import BridgeError, Conflict, Rejected
from trackbridge_adapters._mlflow_rest.artifacts_parts import Parts

BLOCK_BYTES = 1024 * 1024
INCOMING = ".bridge-uploading."
"""How the names of files begin that are on their way into a store that has folders; nobody is shown them."""
_WRONG_HINT = "the file changed after it was staged; log it again"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder.

    ``version`` changes with the bytes; "" where the store tells none. ``digest`` is None where it was not
    looked up, "" where the store has none.
    """

    name: str
    is_dir: bool = False
    size: int | None = None
    version: str = ""
    digest: str | None = None


class Files(Protocol):
    """The files below one run's folder. Paths are checked already."""

    root: str
    keeps_digests: bool
    """True when a digest that was handed to ``put`` is kept beside the bytes."""
    may_collide: bool
    """True when the store itself fails where a path is a file and a folder."""
    creates: bool = False
    """True when ``create`` and ``below`` work."""

    @abstractmethod
    def problem(self, path: str) -> str | None:
        """Return why the store cannot hold a path, None when it can."""
        ...

    @abstractmethod
    def address(self, path: str) -> str:
        """Return the store's own address of a path."""
        ...

    @abstractmethod
    def held(self, path: str) -> Entry | None:
        """Return what a ``put`` would meet, where that can be told cheaply and surely; else None."""
        ...

    @abstractmethod
    def put(self, path: str, source: BinaryIO, *, digest: str, size: int) -> str:
        """Send checked bytes and return their version."""
        ...

    def create(self, path: str, content: bytes, *, digest: str) -> str | None:
        """Store bytes where nothing is, at once, and return their version; None where a file is."""
        return None

    def below(self, most: int) -> Sequence[str]:
        """Return the paths of all files, or of so many."""
        return ()

    def parts(self, path: str, *, resumable: bool) -> Parts | None:
        """Return how a large file can go in parts, None where it goes as a whole.

        Args:
            path: The file's.
            resumable: Whether the parts are to outlive the call.
        """
        return None

    @abstractmethod
    def open(self, path: str) -> BinaryIO:
        """Open a file for reading."""
        ...

    def read_from(self, path: str, start: int, version: str) -> Iterator[Any]:
        """Yield a file's bytes from a place on, while it has the version ("" is any).

        Raises:
            Conflict: It has another one.
        """
        with closing(self.open(path)) as opened:
            left = start
            while left:
                passed = opened.read(min(BLOCK_BYTES, left))
                if not passed:
                    raise Conflict(
                        "the file is shorter than it was", operation="artifacts.open", resource=path
                    )
                left -= len(passed)
            yield from blocks(opened)

    @abstractmethod
    def find(self, path: str) -> Entry | None:
        """Return what is at a path."""
        ...

    @abstractmethod
    def children(self, folder: str) -> Sequence[Entry]:
        """Return what lies directly in a folder ("" is the root); nothing for a file, or where nothing is."""
        ...

    def count(self, folder: str, most: int) -> int:
        """Return how many files are in a folder and below; counting ends where there are so many."""
        found = 0
        for entry in self.children(folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            found += self.count(path, most - found) if entry.is_dir else 1
            if found >= most:
                break
        return found

    @abstractmethod
    def delete(self, path: str, entry: Entry) -> None:
        """Delete a file, or a folder with all in it."""
        ...

    @abstractmethod
    def digest(self, path: str) -> str | None:
        """Return the digest that is kept beside the bytes."""
        ...

    @abstractmethod
    def presign(self, path: str, expires_s: int) -> str:
        """Return an address that anybody can read from for so many seconds."""
        ...


def incoming_problem(path: str) -> str | None:
    """Return what is wrong with a path that is hidden because it looks like a file on its way."""
    if any(part.startswith(INCOMING) for part in path.split("/")):
        return f"holds a name that begins with {INCOMING!r}, which is for files on their way"
    return None


@contextmanager
def checked_bytes(file: Path, *, digest: str, size: int) -> Iterator[BinaryIO]:
    """Open a file whose bytes have the digest and the size.

    They are read before they are sent, because not every server drops an upload that breaks off; the bytes
    are then in the system's cache, so that the disk is read once.

    Raises:
        Rejected: They have not, or the file is gone.
    """
    try:
        source = file.open("rb")
    except FileNotFoundError:
        raise Rejected("the staged file is gone", operation="artifacts.put", hint="log it again") from None
    with source:
        count, found = _digest_of(source)
        if (count, found) != (size, digest):
            raise Rejected(
                f"the file has {count} bytes and {found}, not {size} bytes and {digest}",
                operation="artifacts.put",
                hint=_WRONG_HINT,
            )
        source.seek(0)
        yield source


def control_characters(path: str) -> str | None:
    """Return the problem with a path that holds control characters; None where it holds none."""
    is_bad = any(ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0 for letter in path)
    return "holds control characters" if is_bad else None


def checked_content(file: Path, *, digest: str, size: int) -> bytes:
    """Return the bytes of a small file, which have the digest and the size.

    Raises:
        Rejected: They have not, or the file is gone.
    """
    with checked_bytes(file, digest=digest, size=size) as source:
        return source.read()


def _digest_of(source: BinaryIO) -> tuple[int, str]:
    count, digest = 0, hashlib.sha256()
    while block := source.read(BLOCK_BYTES):
        count += len(block)
        digest.update(block)
    return count, f"sha256:{digest.hexdigest()}"


def blocks(source: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of an opened file in blocks."""
    while block := source.read(BLOCK_BYTES):
        yield block


class BlockReader(io.RawIOBase):
    """A file over blocks that come from the network.

    Args:
        source: The blocks.
        close: Called once at the end.
        translated: What an error of the source means.
    """

    def __init__(
        self,
        source: Iterator[Any],
        *,
        close: Callable[[], None],
        translated: Callable[[Exception], BridgeError | None],
    ) -> None:
        self._source = source
        self._close = close
        self._translated = translated
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with what came next; 0 at the end."""
        while not self._left:
            block = self._next()
            if block is None:
                return 0
            self._left = block
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        """Give up what has not come yet."""
        if not self.closed:
            self._close()
        super().close()

    def _next(self) -> memoryview | None:
        try:
            block = next(self._source, None)
        except Exception as error:
            translated = self._translated(error)
            if translated is None:
                raise
            raise translated from error
        return None if block is None else memoryview(block)


def reader_of(
    source: Iterator[Any],
    *,
    close: Callable[[], None] = lambda: None,
    translated: Callable[[Exception], BridgeError | None] = lambda error: None,
) -> BinaryIO:
    """Return blocks as a file that is read in pieces of any size."""
    return io.BufferedReader(BlockReader(source, close=close, translated=translated), BLOCK_BYTES)
