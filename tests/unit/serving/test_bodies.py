"""Bodies of requests: bounded in size and time, compressed or not."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import Any

import pytest

from trackbridge.serving.answers import Refusal
from trackbridge.serving.bodies import ClientGone, decompressed, read_body

MEBIBYTE = 1 << 20


def read(*chunks: bytes | None, headers: dict[bytes, bytes] | None = None, bytes_max: int = 100) -> bytes:
    """Read a body that comes in these chunks; None stands for a client that sends nothing more."""
    messages = list(chunks)

    async def receive() -> dict[str, Any]:
        chunk = messages.pop(0) if messages else b""
        if chunk is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": chunk, "more_body": bool(messages)}

    return asyncio.run(read_body(receive, headers or {}, bytes_max=bytes_max, stall_s=0.05))


def test_chunks_are_put_together() -> None:
    assert read(b"a", b"", b"bc") == b"abc"
    assert read(b"x" * 100) == b"x" * 100


@pytest.mark.parametrize("chunks", [(b"x" * 101,), (b"x" * 60, b"x" * 60), (b"x" * 60,) * 1000])
def test_a_body_over_the_bound_is_refused_without_content_length(chunks: tuple[bytes, ...]) -> None:
    with pytest.raises(Refusal, match="larger than 100 bytes") as caught:
        read(*chunks)
    assert (caught.value.status, caught.value.is_last) == (413, True)


def test_a_declared_length_over_the_bound_is_refused() -> None:
    with pytest.raises(Refusal) as caught:
        read(b"x", headers={b"content-length": b"101"})
    assert caught.value.status == 413


def test_a_body_that_stops_coming_is_refused() -> None:
    with pytest.raises(Refusal, match=r"0\.05 s") as caught:
        read(b"a", None, b"b")
    assert (caught.value.status, caught.value.is_last) == (408, True)


def test_nobody_is_answered_when_the_client_has_gone() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        asyncio.run(read_body(receive, {}, bytes_max=1, stall_s=1))


def test_gzip_is_unpacked() -> None:
    assert read(gzip.compress(b"{}"), headers={b"content-encoding": b"GZIP"}) == b"{}"
    assert decompressed(gzip.compress(b"x" * MEBIBYTE), MEBIBYTE) == b"x" * MEBIBYTE


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = gzip.compress(bytes(200 * MEBIBYTE), 9)
    assert len(bomb) < MEBIBYTE
    with pytest.raises(Refusal) as caught:
        decompressed(bomb, MEBIBYTE)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"plain",
        zlib.compress(b"{}"),
        gzip.compress(b"{}")[:-3],
        gzip.compress(b"{}") + b"more",
        gzip.compress(b"{}") * 2,
        gzip.compress(b"{}")[:12] + b"\xff" * 9,
    ],
    ids=["empty", "plain", "zlib", "cut", "more", "twice", "wrong"],  # gzip's bytes hold the time
)
def test_broken_compression_is_refused(body: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        decompressed(body, MEBIBYTE)
    assert caught.value.status == 400


def test_other_encodings_are_refused() -> None:
    with pytest.raises(Refusal) as caught:
        read(b"x", headers={b"content-encoding": b"br"})
    assert caught.value.status == 415
