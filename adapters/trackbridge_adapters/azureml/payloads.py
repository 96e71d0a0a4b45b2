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
from typing import BinaryIO, cast

from trackbridge.domain.model_digest import files_of
from trackbridge.domain.secrets import shown
from trackbridge.errors import AuthError, BridgeError, InvalidInput, NotFound, Rejected, Transient
from trackbridge.transport.part_notes import PartNotes
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


def copy(source: Found, files: Files, home: Path | None = None) -> str:
    """Bring files from one place in storage into another, as a stream, and return their path there.

    Called again after it was interrupted, it goes on: files that are there are not sent again, and of a large
    one not the parts that are there.

    Args:
        source: What is copied.
        files: Where it goes.
        home: Of the adapter, where sent parts are noted; without it a large file begins anew.

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
        _copy_file(source.files, path, entry, files, f"{base}/{name}{path[start:]}", home)
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


def _copy_file(source: Files, path: str, listed: Entry, target: Files, where: str, home: Path | None) -> None:
    entry = listed if listed.digest is not None else source.find(path)
    if entry is None or entry.is_dir:
        raise _nothing(source.address(path))
    problem = target.problem(where)
    if problem is not None:
        raise Rejected(f"the file {shown(path)!r} {problem}", adapter=ADAPTER)
    size = entry.size or 0
    if entry.digest and _is_there(target, where, entry.digest, size):
        return
    parts = target.parts(where, resumable=True) if size >= FILE_BYTES_MIN else None
    if parts is not None:
        about: list[str | int] = [
            source.address(path),
            entry.version,
            entry.digest or "",
            target.address(where),
        ]
        # Where nothing tells one state of the source from another, parts of an earlier call may be of that.
        is_known = bool(entry.version or entry.digest)
        state = _state(home, "\n".join(map(str, about))) if home is not None and is_known else None
        with closing(parts):
            _Stream(source, path, entry, parts, PartNotes(state, about)).run()
        return
    blocks = blocks_of(source, path, entry)
    with tempfile.SpooledTemporaryFile(FILE_BYTES_MIN) as passed:
        digest = hashlib.sha256()
        for block in blocks:
            digest.update(block)
            passed.write(block)
        found = f"sha256:{digest.hexdigest()}"
        check_digest(source, path, entry, found)
        passed.seek(0)
        target.put(where, cast("BinaryIO", passed), digest=found, size=size)


class _Stream:
    """A large file on its way part by part while it is read; what is seen of it is all, or nothing.

    Args:
        source: The place that has it.
        path: Of the file there.
        entry: What was found there.
        parts: How it goes to its new place.
        notes: Which of its parts are there.
    """

    def __init__(self, source: Files, path: str, entry: Entry, parts: Parts, notes: PartNotes) -> None:
        self._source, self._path, self._entry = source, path, entry
        self._parts, self._notes = parts, notes
        self._part_bytes = max(PART_BYTES_MIN, -(-(entry.size or 0) // PARTS_MAX))

    def run(self) -> None:
        """Send what is missing, and make the file of it."""
        upload, tags = self._notes.read()
        if upload is not None and (tags is None or not self._parts.knows(upload)):
            self._drop(upload)
        elif upload is not None and tags:
            with suppress(NotFound, Rejected):  # the store has forgotten parts: from the beginning, then
                self._sent(upload, tags)
                return
        begun = self._parts.begin(-(-(self._entry.size or 0) // self._part_bytes), self._entry.digest or "")
        self._notes.begin(begun)
        self._sent(begun, {})

    def _sent(self, upload: str, tags: dict[int, str]) -> None:
        try:
            digest = self._send_missing(upload, tags)
            self._parts.complete(self._parts.named(upload, digest), [tags[number] for number in sorted(tags)])
        except (Transient, AuthError):
            if not self._notes.are_kept:
                self._drop(upload)
            raise  # else another call goes on from the notes
        except BridgeError:
            self._drop(upload)
            raise
        self._notes.remove()

    def _send_missing(self, upload: str, tags: dict[int, str]) -> str:
        """Send what comes behind the parts that are there; return the digest of all.

        It is taken on the way, but where parts are there, and the source knows it: these are not read again.
        """
        there = next(number for number in range(len(tags) + 1) if number + 1 not in tags)
        known = self._entry.digest if there else None
        number, digest, held = (there if known else 0), hashlib.sha256(), bytearray()

        def send() -> None:
            if number > there:
                tags[number] = self._parts.send(upload, number, bytes(held[: self._part_bytes]))
                self._notes.add(number, tags[number])
            del held[: self._part_bytes]

        for block in blocks_of(self._source, self._path, self._entry, number * self._part_bytes):
            digest.update(block)
            held += block
            while len(held) >= self._part_bytes:
                number += 1
                send()
        if held:
            number += 1
            send()
        if known:
            return known
        found = f"sha256:{digest.hexdigest()}"
        check_digest(self._source, self._path, self._entry, found)
        return found

    def _drop(self, upload: str) -> None:
        self._notes.remove()
        with suppress(BridgeError):  # stores drop parts themselves after some days
            self._parts.abort(upload)


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
