"""Taking files from clients: staged beside the journal while they come, journalled, then acknowledged.

::

    blocks of the body -> written by one thread, hashed by another -> journalled -> answered
                          a client that stops leaves nothing         delivery goes on from here

Memory holds two blocks of each file that is coming, whatever its size.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackbridge.api.recorder import RunRecorder
from trackbridge.domain.traces import is_model_id
from trackbridge.errors import JournalFull, Unsupported
from trackbridge.gateway.addresses import Kind, Place
from trackbridge.gateway.artifact_downloads import BLOCK_BYTES, threads
from trackbridge.gateway.errors import Refused, invalid
from trackbridge.gateway.traces import put_file
from trackbridge.serving.bodies import ClientGone

if TYPE_CHECKING:
    from trackbridge.gateway.gateway import Gateway

INLINE_BYTES_MAX = 64 * 1024
"""Smaller files are staged on the event loop: that takes less time than handing them to a thread."""
TRACE_BYTES_MAX = 64 * 1024 * 1024
DISK_RESERVE_BYTES = 1000**3
"""So much of the disk files leave free, of a small one a twentieth: what is logged beside them needs some."""
DISK_RESERVE_SHARE = 0.05

DISK_THREADS = 16
"""Blocks of files that are written at once."""

disk_threads = ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="gateway-disk")
"""Not those of downloads, which a backend that hangs may hold: what is written waits for the disk only."""
Receive = Callable[[], Awaitable[Any]]


async def upload(gateway: Gateway, place: Place, receive: Receive, headers: Mapping[str, str]) -> None:
    """Take the body of a request as a file; when this returns, it outlives the process.

    Raises:
        NotFound: There is no such run or model.
        Refused: The place takes no files, the body is not as long as was said, or the disk is full.
        ClientGone: The client stopped half-way.
    """
    if not place.path:
        raise invalid("Artifact path must include a filename (cannot end with '/').")
    declared = declared_bytes(headers)
    check_room(gateway.client.session.root, declared or 0)
    blocks = body_blocks(receive, declared)
    if place.kind is Kind.TRACE:
        content = b"".join([block async for block in _bounded(blocks, TRACE_BYTES_MAX)])
        await on_thread(put_file, gateway, place.owner, place.path, content)
        return
    recorder, path = await destination(gateway, place)
    await take(blocks, recorder, path)


async def take(blocks: AsyncIterator[bytes], recorder: RunRecorder, path: str) -> None:
    """Log what comes block by block as an artifact.

    Raises:
        Refused: The disk is full.
    """
    first = await anext(blocks, b"")
    second = await anext(blocks, b"")
    try:
        if second:
            await stream(_after(first, second, blocks), recorder, path)
        elif len(first) <= INLINE_BYTES_MAX:
            accepted(recorder.content(first, path))
        else:
            accepted(await on_disk(recorder.content, first, path))
    except JournalFull as error:
        raise full(error) from error


async def stream(blocks: AsyncIterator[bytes], recorder: RunRecorder, path: str) -> None:
    """Log what comes block by block as an artifact, not holding all of it; see ``take``."""
    incoming = await on_disk(recorder.incoming)

    def write(block: bytes) -> None:
        check_room(incoming.path.parent, len(block))
        incoming.write(block)

    try:
        await store(blocks, write, incoming.digest)
        accepted(await on_disk(recorder.arrived, incoming, path))
    except BaseException:  # also when the client has gone: half a file is none
        incoming.discard()
        raise


async def store(blocks: AsyncIterator[bytes], *sinks: Callable[[bytes], None]) -> None:
    """Hand blocks to functions, each on a thread of its own, while the next block comes.

    Raises:
        Refused: The disk is full.
    """
    loop = asyncio.get_running_loop()
    under_way: list[asyncio.Future[None]] = []
    try:
        async for block in blocks:
            await asyncio.gather(*under_way)
            under_way = [loop.run_in_executor(disk_threads, sink, block) for sink in sinks]
        await asyncio.gather(*under_way)
    except JournalFull as error:
        raise full(error) from error
    finally:  # what one thread failed at is not to be a surprise of another one
        await asyncio.gather(*under_way, return_exceptions=True)


def check_room(folder: Path, size: int) -> None:
    """See that so many bytes more leave the disk of a folder its reserve.

    Raises:
        Refused: They would not.
    """
    try:
        disk = os.statvfs(folder)
    except OSError:  # whoever writes there is told why
        return
    reserve = min(DISK_RESERVE_BYTES, int(disk.f_blocks * disk.f_frsize * DISK_RESERVE_SHARE))
    if disk.f_bavail * disk.f_frsize - size < reserve:
        raise full(JournalFull(f"{reserve:,} bytes of the disk stay free"))


def accepted(digest: str | None) -> None:
    """See that the journal has a file.

    Raises:
        Refused: It is full.
    """
    if digest is None:
        raise full(
            JournalFull("the journal is full", hint="free disk space, or raise BRIDGE_JOURNAL_BYTES_MAX")
        )


def full(error: JournalFull) -> Refused:
    """Return how a client is told that there is no room: it may come again."""
    return Refused("TEMPORARILY_UNAVAILABLE", f"The gateway has no room for the file: {error.message}.")


async def destination(gateway: Gateway, place: Place) -> tuple[RunRecorder, str]:
    """Return what logs to the run that has the file, and its path there."""
    if place.kind is Kind.RUN:
        return await recorder_of(gateway, place.owner), place.path
    if place.kind is Kind.VERSION or is_model_id(place.owner):
        raise Unsupported("the files of what is registered there stay as they are", operation="artifacts")
    run_id, folder = await on_thread(gateway.documents.place, place.owner)
    return await recorder_of(gateway, run_id), f"{folder}/{place.path}"


async def recorder_of(gateway: Gateway, run_id: str) -> RunRecorder:
    """Return what logs to a run.

    Raises:
        NotFound: There is no such run.
    """
    if gateway.runs.knows(run_id):
        return gateway.runs.recorder(run_id)
    recorder: RunRecorder = await on_thread(gateway.runs.recorder, run_id)
    return recorder


async def on_thread(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call something that waits for a backend."""
    return await asyncio.get_running_loop().run_in_executor(threads, call, *arguments)


async def on_disk(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call something that waits for a disk only."""
    return await asyncio.get_running_loop().run_in_executor(disk_threads, call, *arguments)


# The body.


def declared_bytes(headers: Mapping[str, str]) -> int | None:
    """Return how long a client says that the body is; None where it does not."""
    text = headers.get("content-length", "")
    return int(text) if text.isdecimal() else None


async def body_blocks(receive: Receive, declared: int | None) -> AsyncIterator[bytes]:
    """Yield a body in blocks of at least ``BLOCK_BYTES``, but for the last.

    Raises:
        ClientGone: The client stopped half-way.
        Refused: The body is not as long as was said.
    """
    chunks: list[bytes] = []
    waiting = total = 0
    has_more = True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk, has_more = message.get("body", b""), message.get("more_body", False)
        chunks.append(chunk)
        waiting += len(chunk)
        total += len(chunk)
        if waiting >= BLOCK_BYTES:
            yield b"".join(chunks)
            chunks, waiting = [], 0
    if declared is not None and total != declared:
        raise invalid(f"The body has {total:,} bytes, and Content-Length says {declared:,}.")
    if waiting:
        yield b"".join(chunks)


async def _after(first: bytes, second: bytes, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    yield second
    async for block in blocks:
        yield block


async def _bounded(blocks: AsyncIterator[bytes], bytes_max: int) -> AsyncIterator[bytes]:
    total = 0
    async for block in blocks:
        total += len(block)
        if total > bytes_max:
            raise invalid(f"The spans of a trace have more than {bytes_max:,} bytes.")
        yield block
