"""Archives of models, as SageMaker keeps them (``model.tar.gz``), taken apart without trusting them.

An archive from outside decides names, sizes and what its members are, so nothing of it is believed:

======================================  ==========================================================
names that lead out of the folder       refused, as are absolute ones and such that no store holds
symbolic and hard links, devices        refused: what they mean depends on who unpacks
two members of one name                 refused: which of them counts depends on who unpacks
a file that is a folder as well         refused
a small archive that grows without end  refused at ``RATIO_MAX`` times its size, ``GROWTH_BYTES`` at least
very many members                       refused beyond ``MEMBERS_MAX``
large headers, which are held whole     refused beyond ``READ_BYTES_MAX``
one that ends too early, or is damaged  refused, also where ``tarfile`` would take it for the end
======================================  ==========================================================

Members come in a stream, so that memory does not grow with the archive; modes, owners and times are left out.
"""

from __future__ import annotations

import contextlib
import gzip
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

from trackbridge.domain.artifacts import checked_path
from trackbridge.domain.model_digest import MLMODEL
from trackbridge.domain.secrets import shown
from trackbridge.errors import InvalidInput, Rejected

ARCHIVE_SUFFIXES = (".tar.gz", ".tgz")
MEMBERS_MAX = 100_000
RATIO_MAX = 200
"""Weights pack to a half, text to a tenth; zeros, of which bombs are made, to a thousandth."""
GROWTH_BYTES = 64 * 1024 * 1024
"""What an archive may hold however small it is."""
READ_BYTES_MAX = 1024 * 1024
"""The most that is read at once; ``tarfile`` holds whole headers in memory, whatever size they claim."""
FREE_BYTES_MIN = 256 * 1024 * 1024
"""What is left free on the disk."""

_BLOCK_BYTES = 512
_HINT = "pack it anew from its folder: tar --dereference --hard-dereference -czf model.tar.gz -C FOLDER ."


def is_archive(name: str) -> bool:
    """Tell whether a file is an archive, by its name."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def members_of_archive(archive: BinaryIO, *, packed_bytes: int) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the name and the content of each file, which can be read until the next one is asked for.

    Args:
        archive: The bytes of the archive from its beginning; it is only read forwards.
        packed_bytes: How many there are, which bounds what they may unpack to.

    Raises:
        Rejected: It is damaged, or one of what the module lists; the message names the member.
    """
    growing = _Growing(archive, max(GROWTH_BYTES, packed_bytes * RATIO_MAX))
    known: set[str] = set()
    folders: set[str] = set()
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", growing), mode="r:") as tar:
            for member in _members(tar, growing):
                path = _checked_member(member)
                if path is None:
                    continue
                _note(path, known, folders)
                content = tar.extractfile(member)
                assert content is not None, "it is a file"
                yield path, content
            growing.finish()
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, RecursionError, ValueError) as error:
        if isinstance(error, Rejected):
            raise
        raise _refused(f"it is damaged, or no archive: {str(error)[:120] or type(error).__name__}") from error
    if not known:
        raise _refused("it holds no files")


def _members(tar: tarfile.TarFile, growing: _Growing) -> Iterator[tarfile.TarInfo]:
    """Yield what an archive has, of which ``tarfile`` would keep everything."""
    member = getattr(tar, "firstmember", None) and tar.next()
    while member is not None:
        tar.members.clear()  # type: ignore[attr-defined]
        if sum(len(key) + len(value) for key, value in tar.pax_headers.items()) > READ_BYTES_MAX:
            raise _refused("its common headers are too large")
        growing.header_bytes = None
        yield member
        growing.header_bytes = 0
        member = tar.next()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive into a folder that is not there yet.

    Raises:
        Rejected: As for ``members_of_archive``, or the disk has no room; nothing is left then.
    """
    packed_bytes = archive.stat().st_size
    folder.mkdir(parents=True)
    try:
        with archive.open("rb") as packed:
            for path, content in members_of_archive(packed, packed_bytes=packed_bytes):
                _write(content, folder / path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def holds_mlmodel(archive: Path) -> bool:
    """Tell whether an archive has an ``MLmodel`` at its top; False for what cannot be taken apart."""
    with archive.open("rb") as packed, contextlib.suppress(Rejected):
        members = members_of_archive(packed, packed_bytes=archive.stat().st_size)
        return any(path == MLMODEL for path, _ in members)
    return False


def _write(content: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        while chunk := content.read(READ_BYTES_MAX):
            if shutil.disk_usage(target.parent).free < FREE_BYTES_MIN + len(chunk):
                raise _refused("the disk has no room for what it holds")
            file.write(chunk)


def _checked_member(member: tarfile.TarInfo) -> str | None:
    """Return the path of a file, None for a folder."""
    path = member.name.rstrip("/")
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    if member.isdir():
        if path not in ("", "."):
            _checked_name(path)
        return None
    if member.issparse() or not member.isreg():
        kind = "a link" if member.islnk() or member.issym() else "no plain file"
        raise _refused(f"the member {shown(member.name, chars_max=80)!r} is {kind}")
    return _checked_name(path)


def _checked_name(path: str) -> str:
    try:
        return checked_path(path)
    except InvalidInput as error:
        raise _refused(f"the member {shown(path, chars_max=80)!r} cannot be kept: {error.message}") from error


def _note(path: str, known: set[str], folders: set[str]) -> None:
    """Note a file.

    Raises:
        Rejected: It was there already, it is a folder too, or there are too many.
    """
    parents = path.split("/")[:-1]
    above = {"/".join(parents[:count]) for count in range(1, len(parents) + 1)}
    if path in known:
        raise _refused(f"two members are called {shown(path, chars_max=80)!r}")
    if path in folders or above & known:
        raise _refused(f"{shown(path, chars_max=80)!r} would be both a file and a folder")
    known.add(path)
    folders |= above
    if len(known) > MEMBERS_MAX:
        raise _refused(f"it has more than {MEMBERS_MAX:,} members")


def _refused(problem: str) -> Rejected:
    return Rejected(f"the archive of the model is refused: {problem}", operation="models", hint=_HINT)


class _Growing:
    """What an archive unpacks to, read forwards and never far: what ``tarfile`` needs of a file, no more."""

    def __init__(self, packed: BinaryIO, bytes_max: int) -> None:
        self.header_bytes: int | None = 0
        """How much of a header was read; None while it is the content of a member that is read."""
        self._unpacked = gzip.GzipFile(fileobj=packed, mode="rb")
        self._bytes_max = bytes_max
        self._place = 0
        self._last = b""

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, fewer at the end."""
        if self.header_bytes is not None:
            self.header_bytes += size
            if size < 0 or self.header_bytes > READ_BYTES_MAX:
                raise _refused("one of its headers is too large")
        self._last = self._taken(size)
        return self._last

    def seek(self, place: int) -> int:
        """Go on to a later place."""
        if place < self._place:
            raise _refused("its members do not come one after the other")
        while self._place < place:
            if not self._taken(min(READ_BYTES_MAX, place - self._place)):
                break
        return self._place

    def _taken(self, size: int) -> bytes:
        found = self._unpacked.read(size)
        self._place += len(found)
        if self._place > self._bytes_max:
            raise _refused(f"it grows beyond {self._bytes_max:,} bytes, and is much smaller itself")
        return found

    def tell(self) -> int:
        """Return the place."""
        return self._place

    def finish(self) -> None:
        """Read the rest, which holds the checksum; ``tarfile`` takes a damaged header for the end."""
        if self._last not in (b"", bytes(_BLOCK_BYTES)):
            raise _refused("it is damaged: what follows is no header")
        while self._taken(READ_BYTES_MAX):
            pass
