"""Files from store to store in a stream: no disk, bounded memory, and what was sent outlives a kill.

::

    original --blocks--> one part --> sent (several at once) --> noted --> ... --> complete
       |                                                           |
       +-- broke off: opened again where it broke                  +-- killed: what is noted is not sent again

The bytes are read once, in order, and only of the version that was looked at first. Their digest is taken on
the way and must be the one that the source keeps. A copy that goes on after a kill knows the digest from the
source; where the source keeps none, the parts that are there already are read again, not sent again.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from trackbridge.calls.call import Operation
from trackbridge.calls.policy import CallPolicy
from trackbridge.calls.retry import retry_transient
from trackbridge.calls.world import World
from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.errors import AuthError, BridgeError, Conflict, Exhausted, NotFound, Rejected, Transient
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.streams import Original, Replica, StreamedArtifacts
from trackbridge.transport.part_notes import PartNotes

if TYPE_CHECKING:
    from typing_extensions import Buffer

WHOLE_BYTES_MAX = 8 * 1024 * 1024
"""Files up to here go by one request."""
PART_BYTES_MIN = 8 * 1024 * 1024
PARTS_AT_ONCE = 4
HELD_BYTES_MAX = 96 * 1024 * 1024
"""Of parts in memory; files of which five parts are more than this go with fewer at once."""
BLOCK_BYTES = 1024 * 1024

OnProgress = Callable[[int, int], None]
"""Called with the bytes that are there, and with those of the whole file."""
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What became of a file.

    ``sent_bytes`` is 0 where the same bytes were there already. ``is_hashed`` tells whether the digest was
    taken of all bytes on the way; else it is what the source says, of a copy that went on after a kill.
    """

    address: str
    size: int
    digest: str
    sent_bytes: int
    is_hashed: bool
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOptions:
    """How to copy.

    Args:
        policy: Bounds of each request.
        world: Clock, chance and the end of waits.
        parts_at_once: Parts on their way at the same time.
        on_progress: Told of what is there.
    """

    policy: CallPolicy = field(default_factory=CallPolicy)
    world: World = field(default_factory=World)
    parts_at_once: int = PARTS_AT_ONCE
    on_progress: OnProgress = lambda done, size: None


def copy_artifact(
    source: ArtifactStore,
    target: ArtifactStore,
    *,
    run_id: str,
    path: str,
    to_run_id: str,
    to_path: str,
    state: Path,
    options: CopyOptions | None = None,
    info: ArtifactInfo | None = None,
) -> Copied:
    """Copy a file of a run to a run of another store, or of the same.

    Args:
        source: Has the file.
        target: Gets it; one that takes files from this machine only is given a temporary one.
        run_id: Of the source.
        path: Of the source.
        to_run_id: Of the target.
        to_path: Of the target.
        state: Where finished parts are noted; removed at the end.
        options: How; the defaults without them.
        info: What the source says of the file, where that was asked just now.

    Raises:
        NotFound: There is no such file or run.
        Conflict: The file was changed while it was read.
        Rejected: The target cannot hold it, or its bytes are not those that its digest names.
        Exhausted: A request failed as often as the policy allows; another call goes on from there.
    """
    chosen = options or CopyOptions()
    original = _original_of(source, run_id, path, info, chosen)
    replica = _replica_of(target, to_run_id, to_path, chosen)
    if replica is None:
        return _through_a_file(original, target, to_run_id, to_path, state, chosen)
    with closing(replica):
        try:
            return copy_file(original, replica, state=state, options=chosen)
        except _PartsRefused:
            return _through_a_file(original, target, to_run_id, to_path, state, chosen)


def copy_file(
    original: Original, replica: Replica, *, state: Path, options: CopyOptions | None = None
) -> Copied:
    """Copy one file; the same bytes at the target are left as they are. Errors as for ``copy_artifact``."""
    chosen = options or CopyOptions()
    held = _called(chosen, "held", replica.held)
    if held is not None and original.digest and held == (original.size, original.digest):
        PartNotes(state, []).remove()
        return Copied(
            address=replica.address,
            size=original.size,
            digest=original.digest,
            sent_bytes=0,
            is_hashed=False,
        )
    if original.size <= WHOLE_BYTES_MAX:
        return _whole(original, replica, chosen)
    return _Copy(original, replica, state, chosen).run()


def _called(options: CopyOptions, name: str, attempt: Callable[[], Result]) -> Result:
    """Make a request, again where it failed in passing, within the bounds of the policy."""
    deadline_s = options.world.clock_s() + options.policy.elapsed_s_max
    operation = Operation("", f"copy.{name}", None)
    result: Result = retry_transient(attempt, operation, options.policy, options.world, deadline_s)
    return result


def _whole(original: Original, replica: Replica, options: CopyOptions) -> Copied:
    reader = _Reader(original, options)
    content = reader.part(0, original.size)
    digest = _agreed(original, f"sha256:{hashlib.sha256(content).hexdigest()}")
    version = _called(options, "put", lambda: replica.whole(content, digest))
    options.on_progress(original.size, original.size)
    return Copied(
        address=replica.address,
        size=original.size,
        digest=digest,
        sent_bytes=original.size,
        is_hashed=True,
        version=version,
    )


def _agreed(original: Original, found: str) -> str:
    """Return the digest that was found.

    Raises:
        Rejected: The source says another.
    """
    if original.digest in (None, "", found):
        return found
    raise Rejected(
        f"the bytes have the digest {found}, and the store says {original.digest}",
        operation="copy",
        resource=original.address,
        hint="the file is damaged where it lies; log it again",
    )


class _Reader:
    """The original's bytes in order; what broke off is opened again where it broke."""

    def __init__(self, original: Original, options: CopyOptions) -> None:
        self._original = original
        self._options = options
        self._place = 0
        self._blocks: Iterator[Buffer] | None = None
        self._left = memoryview(b"")

    def part(self, start: int, length: int) -> bytes:
        """Return so many bytes from a place on."""
        if start != self._place:
            self.close()
            self._place = start
        found: list[memoryview] = []
        missing = [length]

        def fill() -> bytes:
            try:
                self._fill(found, missing)
            except BaseException:
                self.close()
                raise
            return b"".join(found)

        return _called(self._options, "read", fill) if length else b""

    def close(self) -> None:
        """End the download."""
        blocks, self._blocks, self._left = self._blocks, None, memoryview(b"")
        end = getattr(blocks, "close", None)
        if end is not None:
            end()

    def _fill(self, found: list[memoryview], missing: list[int]) -> None:
        while missing[0]:
            if not self._left:
                self._left = self._next()
            some = self._left[: missing[0]]
            found.append(some)
            self._left = self._left[len(some) :]
            missing[0] -= len(some)
            self._place += len(some)

    def _next(self) -> memoryview:
        if self._blocks is None:
            self._blocks = self._original.read(self._place)
        for block in self._blocks:
            view = memoryview(block).cast("B")
            if view:
                return view
        raise Transient(
            f"the download ended after {self._place:,} of {self._original.size:,} bytes",
            operation="copy",
            resource=self._original.address,
        )


class _PartsRefused(Rejected):
    """The store takes no parts here; it may take the file as a whole."""


class _Copy:
    """One large file on its way."""

    def __init__(self, original: Original, replica: Replica, state: Path, options: CopyOptions) -> None:
        self._original = original
        self._replica = replica
        self._options = options
        self._part_bytes = max(PART_BYTES_MIN, -(-original.size // replica.parts_max))
        self._count = -(-original.size // self._part_bytes)
        fits = HELD_BYTES_MAX // self._part_bytes - 1
        self._at_once = max(1, min(options.parts_at_once, fits))
        about: list[str | int] = [original.address, original.version, original.digest or "", original.size]
        # Where nothing tells one state of the original from another, parts of an earlier call may be of that.
        is_known = bool(original.version or original.digest)
        self._notes = PartNotes(state if is_known else None, [*about, replica.address, self._part_bytes])
        self._sent_bytes = 0
        self._done_bytes = 0
        self._lock = threading.Lock()
        self._failed = threading.Event()

    def run(self) -> Copied:
        """Send what is missing, and make the file of it."""
        upload, tags = self._begun()
        if tags:
            with suppress(NotFound, Rejected):  # the store has forgotten parts: from the beginning, then
                return self._finish(upload, tags)
            upload, tags = self._begun()
        return self._finish(upload, tags)

    def _finish(self, upload: str, tags: dict[int, str]) -> Copied:
        known = self._original.digest or ""
        is_hashed = not tags or not known
        self._done_bytes = sum(self._length(number) for number in tags)
        try:
            found = self._send_missing(upload, tags, hashing=is_hashed)
            digest = _agreed(self._original, found) if is_hashed else known
            listed = [tags[number] for number in range(1, self._count + 1)]
            version = self._call("complete", lambda: self._replica.complete(upload, listed, digest))
        except (Transient, Exhausted, AuthError):
            if not self._notes.are_kept:
                self._drop(upload)
            raise  # else another call goes on from the notes
        except BridgeError:
            self._drop(upload)
            raise
        self._notes.remove()
        return Copied(
            address=self._replica.address,
            size=self._original.size,
            digest=digest,
            sent_bytes=self._sent_bytes,
            is_hashed=is_hashed,
            version=version,
        )

    def _begun(self) -> tuple[str, dict[int, str]]:
        """Return the upload of the notes and the tags of its parts, else a new one."""
        upload, tags = self._notes.read()
        if upload is not None:
            if tags is not None and self._call("look", lambda: self._replica.knows(upload)):
                return upload, tags
            self._drop(upload)
        digest = self._original.digest or ""
        begun = self._call_for_parts("begin", lambda: self._replica.begin(self._count, digest))
        self._notes.begin(begun)
        return begun, {}

    def _send_missing(self, upload: str, tags: dict[int, str], *, hashing: bool) -> str:
        """Read in order, send several at once, and return the digest of what was read."""
        digest = hashlib.sha256()
        room = threading.Semaphore(self._at_once + 1)  # one is being read meanwhile
        there = frozenset(tags)
        sent: list[Future[None]] = []
        with ExitStack() as stack:
            reader = stack.enter_context(closing(_Reader(self._original, self._options)))
            pool = stack.enter_context(ThreadPoolExecutor(self._at_once))
            for number in range(1, self._count + 1):
                if number in there and not hashing:
                    continue
                room.acquire()
                if self._failed.is_set():
                    break
                content = self._read(reader, number)
                if hashing:
                    digest.update(content)
                if number in there:
                    room.release()
                else:
                    sent.append(pool.submit(self._send, upload, number, content, tags, room))
                del content
        for future in sent:
            future.result()
        return f"sha256:{digest.hexdigest()}"

    def _read(self, reader: _Reader, number: int) -> bytes:
        try:
            return reader.part((number - 1) * self._part_bytes, self._length(number))
        except BaseException:
            self._failed.set()
            raise

    def _send(
        self, upload: str, number: int, content: bytes, tags: dict[int, str], room: threading.Semaphore
    ) -> None:
        try:
            if self._failed.is_set():
                return
            tag = self._call_for_parts("send", lambda: self._replica.send(upload, number, content))
            tags[number] = tag
            self._notes.add(number, tag)
            self._note_progress(len(content))
        except BaseException:
            self._failed.set()
            raise
        finally:
            room.release()

    def _note_progress(self, length: int) -> None:
        with self._lock:
            self._sent_bytes += length
            self._done_bytes += length
            self._options.on_progress(self._done_bytes, self._original.size)

    def _length(self, number: int) -> int:
        return min(self._part_bytes, self._original.size - (number - 1) * self._part_bytes)

    def _drop(self, upload: str) -> None:
        self._notes.remove()
        with suppress(BridgeError):  # stores drop parts themselves after some days
            self._replica.abort(upload)

    def _call(self, name: str, attempt: Callable[[], Result]) -> Result:
        return _called(self._options, name, attempt)

    def _call_for_parts(self, name: str, attempt: Callable[[], Result]) -> Result:
        try:
            return self._call(name, attempt)
        except Rejected as error:
            refused = _PartsRefused(error.message, adapter=error.adapter, operation="copy", hint=error.hint)
            raise refused from error


# Stores that know no streams.


def _original_of(
    source: ArtifactStore, run_id: str, path: str, known: ArtifactInfo | None, options: CopyOptions
) -> Original:
    # One request reads a small file: no version is needed that would have to be asked for.
    is_small = known is not None and (known.file_size or WHOLE_BYTES_MAX + 1) <= WHOLE_BYTES_MAX
    if isinstance(source, StreamedArtifacts) and not is_small:
        streamed: StreamedArtifacts = source
        return _called(options, "original", lambda: streamed.original(run_id, path))
    info = known or source.stat(run_id, path)
    if info.is_dir or info.file_size is None:
        raise NotFound("there is no such file", operation="copy", resource=f"run {run_id}, artifact {path!r}")
    address = info.native_uri or f"{run_id}/{path}"
    return _OpenedOriginal(source, run_id, path, address, info.file_size, info.digest)


def _replica_of(target: ArtifactStore, run_id: str, path: str, options: CopyOptions) -> Replica | None:
    if not isinstance(target, StreamedArtifacts):
        return None
    streamed: StreamedArtifacts = target
    return _called(options, "replica", lambda: streamed.replica(run_id, path))


class _OpenedOriginal(Original):
    """A file that can only be opened: what is not wanted of it is read and forgotten."""

    def __init__(
        self, store: ArtifactStore, run_id: str, path: str, address: str, size: int, digest: str | None
    ) -> None:
        self.address = address
        self.size = size
        self.version = digest or ""
        self.digest = digest
        self._open: Callable[[], Any] = lambda: store.open(run_id, path)

    def read(self, start: int) -> Iterator[Buffer]:
        """Yield the bytes from a place on."""
        with closing(self._open()) as file:
            if file.seekable():
                file.seek(start)
            else:
                _forget(file, start)
            yield from _blocks(file)


def _forget(file: Any, count: int) -> None:
    while count:
        some = file.read(min(BLOCK_BYTES, count))
        if not some:
            raise Conflict("the file is shorter than it was", operation="copy")
        count -= len(some)


def _blocks(file: Any) -> Iterator[bytes]:
    while block := file.read(BLOCK_BYTES):
        yield block


def _through_a_file(
    original: Original, target: ArtifactStore, run_id: str, path: str, state: Path, options: CopyOptions
) -> Copied:
    """Give a store a file of this machine; nothing is left of it, and nothing to go on with."""
    with tempfile.TemporaryDirectory(prefix="trackbridge-copy-") as folder:
        file = Path(folder) / "file"
        digest = _agreed(original, _written(original, file, options))
        info = target.put(run_id, path, file, digest=digest, size=original.size)
    state.unlink(missing_ok=True)
    options.on_progress(original.size, original.size)
    return Copied(
        address=info.native_uri or f"{run_id}/{path}",
        size=original.size,
        digest=digest,
        sent_bytes=original.size,
        is_hashed=True,
    )


def _written(original: Original, file: Path, options: CopyOptions) -> str:
    digest = hashlib.sha256()
    with file.open("wb") as writer, closing(_Reader(original, options)) as reader:
        for start in _starts(original.size):
            content = reader.part(start, min(BLOCK_BYTES, original.size - start))
            digest.update(content)
            writer.write(content)
    return f"sha256:{digest.hexdigest()}"


def _starts(size: int) -> Iterable[int]:
    return range(0, size, BLOCK_BYTES)
