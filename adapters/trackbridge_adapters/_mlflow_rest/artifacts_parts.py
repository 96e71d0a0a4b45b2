"""Large files in parts that outlive the call, and the process, that sent them.

::

    begin -> send each missing part, several at once -> complete
               |
               +-- noted in the state file: upload id, then number and tag of each part

The notes are lines that are only appended, so that a kill at any time leaves what was sent so far; a torn
last line is a part that is sent again. They hold no signed address and no key.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from trackbridge.errors import AuthError, BridgeError, Rejected, Transient
from trackbridge.transport.part_notes import PartNotes

FILE_BYTES_MIN = 16 * 1024 * 1024
"""Smaller files go as a whole."""
PART_BYTES_MIN = 8 * 1024 * 1024  # S3 takes no less than 5 MiB
PARTS_MAX = 9000  # S3 takes 10,000
PARTS_AT_ONCE = 4
ANSWER_S = 300.0
"""Seconds until a store has joined the parts of a large file."""


class PartsRefused(Rejected):
    """The store does not take this file in parts; as a whole it may."""


class Parts(Protocol):
    """How a store takes one file in parts. ``send`` is called from several threads."""

    @abstractmethod
    def begin(self, count: int, digest: str) -> str:
        """Begin an upload of so many parts and return its id.

        Raises:
            PartsRefused: Not here.
        """
        ...

    @abstractmethod
    def knows(self, upload: str) -> bool:
        """Tell whether parts can still be added to an upload that was begun earlier."""
        ...

    @abstractmethod
    def send(self, upload: str, number: int, content: bytes) -> str:
        """Send a part, the first has number 1, and return the tag that the store gives it."""
        ...

    @abstractmethod
    def complete(self, upload: str, tags: list[str]) -> str:
        """Make the file of all parts, at once, and return its version."""
        ...

    def named(self, upload: str, digest: str) -> str:
        """Return the id to complete under, where the digest was not known when the upload began."""
        return upload

    @abstractmethod
    def abort(self, upload: str) -> None:
        """Let the store drop the parts."""
        ...

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""
        ...


def put_in_parts(
    parts: Parts, source: BinaryIO, *, address: str, digest: str, size: int, state: Path | None
) -> str:
    """Send a file, less the parts that ``state`` says are there, and return its version.

    Args:
        parts: The store.
        source: The bytes, which were seen to have the digest and the size.
        address: Where they go; notes of another place are not taken.
        digest: ``sha256:…`` of all.
        size: Bytes.
        state: Where finished parts are noted; None begins anew and leaves nothing behind.

    Raises:
        PartsRefused: The store does not take it in parts; nothing is left of them.
        BridgeError: It failed on the way; another call goes on from there.
    """
    part_bytes = max(PART_BYTES_MIN, -(-size // PARTS_MAX))
    notes = PartNotes(state, [address, digest, size, part_bytes])
    upload, tags = notes.read()
    if upload is not None and (tags is None or not parts.knows(upload)):
        _drop(parts, upload, notes)
        upload = None
    if upload is not None and tags is not None:
        with suppress(PartsRefused):  # the store has forgotten it: from the beginning, then
            return _sent(parts, source, upload, tags, notes, part_bytes, size)
    upload = parts.begin(-(-size // part_bytes), digest)
    notes.begin(upload)
    return _sent(parts, source, upload, {}, notes, part_bytes, size)


def _sent(
    parts: Parts,
    source: BinaryIO,
    upload: str,
    tags: dict[int, str],
    notes: PartNotes,
    part_bytes: int,
    size: int,
) -> str:
    count = -(-size // part_bytes)
    try:
        _send_missing(parts, _reader(source, part_bytes), upload, tags, notes, count)
        version = parts.complete(upload, [tags[number] for number in range(1, count + 1)])
    except (Transient, AuthError):
        if not notes.are_kept:
            _drop(parts, upload, notes)
        raise
    except BridgeError as error:
        _drop(parts, upload, notes)
        raise PartsRefused(f"not in parts: {error.message}", operation="artifacts.put") from error
    except BaseException:
        if not notes.are_kept:
            _drop(parts, upload, notes)
        raise
    notes.remove()
    return version


def _send_missing(
    parts: Parts,
    part_of: Callable[[int], bytes],
    upload: str,
    tags: dict[int, str],
    notes: PartNotes,
    count: int,
) -> None:
    failed = threading.Event()

    def send(number: int) -> None:
        if failed.is_set():
            return
        try:
            tags[number] = parts.send(upload, number, part_of(number))
        except BaseException:
            failed.set()
            raise
        notes.add(number, tags[number])

    missing = [number for number in range(1, count + 1) if number not in tags]
    with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
        for sent in [pool.submit(send, number) for number in missing]:
            sent.result()


def _reader(source: BinaryIO, part_bytes: int) -> Callable[[int], bytes]:
    turn = threading.Lock()

    def part_of(number: int) -> bytes:
        with turn:
            source.seek((number - 1) * part_bytes)
            return source.read(part_bytes)

    return part_of


def _drop(parts: Parts, upload: str, notes: PartNotes) -> None:
    notes.remove()
    with suppress(BridgeError):  # stores drop parts themselves after some days
        parts.abort(upload)
