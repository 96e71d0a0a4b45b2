"""Files of models on their way into storage: from a folder of this machine, or from elsewhere in Azure ML.

They come to lie below ``bridge-models/<digest>/``. The digest is of names and bytes, or, of what is copied,
of where each file lay and in which state: who brings the same again finds it there, and nothing is written
over.
Every file goes along, whatever a ``.gitignore`` says; large ones go in parts, and none is held in memory.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from trackbridge.domain.model_digest import files_of
from trackbridge.domain.secrets import shown
from trackbridge.errors import InvalidInput, NotFound, Rejected
from trackbridge_adapters._mlflow_rest.artifacts_files import BLOCK_BYTES, Entry, Files, checked_bytes
from trackbridge_adapters._mlflow_rest.artifacts_parts import (
    FILE_BYTES_MIN,
    PART_BYTES_MIN,
    PARTS_MAX,
    Parts,
    PartsRefused,
    put_in_parts,
)
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.limits import check, most
from trackbridge_adapters.azureml.paths import Found, blocks_of, check_digest, files_below

FOLDER = "bridge-models"
STATES = "uploads"
"""The folder, in the adapter's home, for notes of the parts of large files that were sent."""
NAME = "model"


@dataclass(frozen=True, slots=True)
class _Member:
    """A file of this machine: its path in the model, and what it holds."""

    path: str
    file: Path
    digest: str
    size: int


def upload(folder: Path, files: Files, home: Path, *, root: str | None = None) -> str:
    """Bring a folder, or a file, of this machine into storage, and return its path there.

    Called again after it was interrupted, it goes on: files that are there are not sent again.

    Args:
        folder: Symbolic links to files in it are followed.
        files: Where it goes.
        home: Of the adapter.
        root: Below which folder; one of its content without it.

    Raises:
        NotFound: There is nothing.
        Rejected: A name cannot be kept, there are too many files, or one changed meanwhile.
    """
    members = _members_of(folder)
    base = _content_root(members) if root is None else root
    name = _plain(folder.name)
    top = name if folder.is_dir() else ""
    for member in members:
        _send(member, files, "/".join(filter(None, (base, top, member.path))), home)
    return f"{base}/{name}".lstrip("/") if folder.is_dir() else f"{base}/{members[0].path}".lstrip("/")


def copy(source: Found, files: Files) -> str:
    """Bring files from one place in storage into another, as a stream, and return their path there.

    Raises:
        NotFound: There is nothing at the source.
        Conflict: A file was changed while it was read.
        Rejected: There are too many files, or the bytes of one are not those of its digest.
    """
    members = list(members_of(source))
    if not members:
        raise _nothing(source.files.address(source.path))
    check("model.files", len(members))
    base = _source_root(source, members)
    name = _plain(source.path.rpartition("/")[2])
    start = len(source.path)
    for path, entry in members:
        _copy_file(source.files, path, entry, files, f"{base}/{name}{path[start:]}")
    return f"{base}/{name}"


def check_count(found: Found, *, operation: str | None = None) -> None:
    """Refuse a model of more files than Azure ML takes; counting ends where there are too many.

    Raises:
        Rejected: There are more.
    """
    check("model.files", found.files.count(found.path, most("model.files") + 1), operation=operation)


# From this machine.


def _members_of(folder: Path) -> list[_Member]:
    named = []
    for path, file in files_of(folder):
        named.append((path, file))
        check("model.files", len(named))
    if not named:
        raise _nothing(str(folder))
    return [_Member(path, file, *_read(file)) for path, file in named]


def _read(file: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    try:
        with file.open("rb") as opened:
            while block := opened.read(BLOCK_BYTES):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}", operation="models") from error
    return f"sha256:{digest.hexdigest()}", size


def _send(member: _Member, files: Files, path: str, home: Path) -> None:
    problem = files.problem(path)
    if problem is not None:
        raise Rejected(f"the file {shown(member.path)!r} {problem}", adapter=ADAPTER, hint="rename it")
    if _is_there(files, path, member.digest, member.size):
        return
    with checked_bytes(member.file, digest=member.digest, size=member.size) as opened:
        parts = files.parts(path, resumable=True) if member.size >= FILE_BYTES_MIN else None
        if parts is not None:
            state = _state(home, files.address(path))
            with closing(parts), suppress(PartsRefused):
                put_in_parts(
                    parts,
                    opened,
                    address=files.address(path),
                    digest=member.digest,
                    size=member.size,
                    state=state,
                )
                state.unlink(missing_ok=True)
                return
            opened.seek(0)
        files.put(path, opened, digest=member.digest, size=member.size)


def _state(home: Path, address: str) -> Path:
    folder = home / STATES
    folder.mkdir(parents=True, exist_ok=True)
    return folder / hashlib.sha256(address.encode()).hexdigest()


# From storage to storage.


def members_of(source: Found) -> Iterator[tuple[str, Entry]]:
    """Yield the path and the entry of each file at a place, or of the file that it is."""
    entry = source.files.find(source.path) if source.path else None
    if entry is not None and not entry.is_dir:
        yield source.path, entry
        return
    yield from files_below(source.files, source.path)


def _copy_file(source: Files, path: str, listed: Entry, target: Files, where: str) -> None:
    entry = listed if listed.digest is not None else source.find(path)
    if entry is None or entry.is_dir:
        raise _nothing(source.address(path))
    problem = target.problem(where)
    if problem is not None:
        raise Rejected(f"the file {shown(path)!r} {problem}", adapter=ADAPTER)
    size = entry.size or 0
    if entry.digest and _is_there(target, where, entry.digest, size):
        return
    blocks = blocks_of(source, path, entry)
    parts = target.parts(where, resumable=True) if size >= FILE_BYTES_MIN else None
    if parts is not None:
        with closing(parts):
            _stream(source, path, entry, blocks, parts)
        return
    with tempfile.SpooledTemporaryFile(FILE_BYTES_MIN) as passed:
        digest = hashlib.sha256()
        for block in blocks:
            digest.update(block)
            passed.write(block)
        found = f"sha256:{digest.hexdigest()}"
        check_digest(source, path, entry, found)
        passed.seek(0)
        target.put(where, cast("BinaryIO", passed), digest=found, size=size)


def _stream(source: Files, path: str, entry: Entry, blocks: Iterable[Any], parts: Parts) -> None:
    """Send a file part by part while it is read; what is seen at the target is all of it, or nothing."""
    size = entry.size or 0
    part_bytes = max(PART_BYTES_MIN, -(-size // PARTS_MAX))
    name = parts.begin(-(-size // part_bytes), entry.digest or "")
    digest, held = hashlib.sha256(), bytearray()
    tags: list[str] = []
    for block in blocks:
        digest.update(block)
        held += block
        while len(held) >= part_bytes:
            tags.append(parts.send(name, len(tags) + 1, bytes(held[:part_bytes])))
            del held[:part_bytes]
    if held:
        tags.append(parts.send(name, len(tags) + 1, bytes(held)))
    found = f"sha256:{digest.hexdigest()}"
    check_digest(source, path, entry, found)
    parts.complete(parts.named(name, found), tags)


# Names.


def _is_there(files: Files, path: str, digest: str, size: int) -> bool:
    held = files.find(path)
    if held is None or held.is_dir or held.size != size:
        return False
    return (held.digest or files.digest(path)) == digest


def _content_root(members: Iterable[_Member]) -> str:
    whole = hashlib.sha256()
    for member in members:
        whole.update(f"{member.digest} {member.path}\n".encode(errors="surrogateescape"))
    return f"{FOLDER}/{whole.hexdigest()}"


def _source_root(source: Found, members: Iterable[tuple[str, Entry]]) -> str:
    whole = hashlib.sha256(source.files.address(source.path).encode())
    for path, entry in members:
        whole.update(f"{entry.version} {entry.size} {path}\n".encode(errors="surrogateescape"))
    return f"{FOLDER}/{whole.hexdigest()}"


def _plain(name: str) -> str:
    """Return a folder's name as it can stand in an address."""
    kept = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "-" for letter in name
    )
    return kept.strip(".") or NAME


def _nothing(where: str) -> NotFound:
    return NotFound(
        "there are no files",
        adapter=ADAPTER,
        resource=shown(where, chars_max=200),
        hint="name a model's folder",
    )
