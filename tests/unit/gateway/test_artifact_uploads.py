"""Files that clients send: journalled before they are acknowledged, and nothing of those that are not."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.file_gateways import FileGateway, file_gateway
from trackbridge.domain.ids import mint_id
from trackbridge.errors import JournalFull
from trackbridge.gateway import artifact_downloads as downloads
from trackbridge.gateway.artifact_downloads import BLOCK_BYTES
from trackbridge.gateway.artifact_uploads import DISK_RESERVE_BYTES
from trackbridge.gateway.limits import Limits
from trackbridge.journal.staging import Incoming

BLOCKS = [os.urandom(BLOCK_BYTES - 1) for _ in range(4)]
LARGE = b"".join(BLOCKS)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileGateway]:
    with file_gateway(tmp_path_factory.mktemp("uploads"), limits=Limits(upload_bytes_max=len(LARGE))) as made:
        yield made


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"y" * 70_000, b"z" * BLOCK_BYTES, b"z" * (BLOCK_BYTES + 1), LARGE, BLOCKS],
    ids=["empty", "byte", "small", "block", "block and byte", "large", "large in parts"],
)
def test_what_is_sent_is_stored(files: FileGateway, body: bytes | list[bytes]) -> None:
    path = f"sent/{mint_id()}"
    told = files.call("PUT", files.at(path), body)
    assert (told.status, told.content) == (200, b"")
    assert files.stored(path) == (body if isinstance(body, bytes) else b"".join(body))
    assert files.leftovers() == []


def test_another_body_takes_the_place_of_the_first(files: FileGateway) -> None:
    for body in (b"one", LARGE, b"three"):
        assert files.call("PUT", files.at("again"), body).status == 200
        assert files.stored("again") == body


def test_what_is_acknowledged_is_journalled(files: FileGateway) -> None:
    assert files.call("PUT", files.at("journalled"), BLOCKS).status == 200
    session = files.gateway.client.session
    staged = [file for file in session.writer.folder.staged.iterdir() if file.stat().st_size == len(LARGE)]
    assert [file.read_bytes() for file in staged] == [LARGE]
    assert staged[0].stat().st_mode & 0o777 == 0o600
    assert files.stored("journalled") == LARGE


def test_files_come_while_the_backend_answers_nobody(files: FileGateway) -> None:
    hangs = threading.Event()
    waiting = [downloads.threads.submit(hangs.wait, 10) for _ in range(2 * downloads.THREADS)]
    try:
        for body in (b"y" * 70_000, BLOCKS):
            assert files.call("PUT", files.at("meanwhile"), body).status == 200
        assert not any(future.done() for future in waiting)
    finally:
        hangs.set()
    assert files.stored("meanwhile") == LARGE


@pytest.mark.parametrize("body", [b"x", [b"x" * 100, b"y"], BLOCKS[:1], BLOCKS[:3]])
def test_a_client_that_stops_half_way_leaves_nothing(files: FileGateway, body: bytes | list[bytes]) -> None:
    before = files.gateway.client.session.writer.last_sequence
    told = files.call("PUT", files.at("half"), body, stops=True)
    assert told.status == 0  # nobody waits for an answer
    assert files.gateway.client.session.writer.last_sequence == before
    assert files.leftovers() == []
    assert files.call("GET", files.at("half")).status == 404


@pytest.mark.parametrize("declared", [2, 4, 10 * BLOCK_BYTES])
def test_a_body_of_another_length_is_refused(files: FileGateway, declared: int) -> None:
    told = files.call("PUT", files.at("length"), b"abc", headers={"content-length": str(declared)})
    assert told.status in (400, 413)
    assert files.leftovers() == []
    assert files.call("GET", files.at("length")).status == 404


@pytest.mark.parametrize("is_declared", [True, False])
def test_a_file_that_is_too_large_is_refused(files: FileGateway, is_declared: bool) -> None:
    headers = {} if is_declared else {"content-length": "0"}
    told = files.call("PUT", files.at("too-large"), [*BLOCKS, b"more"], headers=headers)
    assert told.status in ((413,) if is_declared else (400, 413))
    assert files.leftovers() == []


def test_a_name_is_asked_for(files: FileGateway) -> None:
    assert files.call("PUT", files.at(""), b"x").status == 400
    assert files.call("PUT", files.at("folder/"), b"x").status == 400


def test_a_full_disk_is_503_and_loses_nothing(files: FileGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    assert files.call("PUT", files.at("before"), LARGE).status == 200
    monkeypatch.setattr(os, "write", full)
    told = files.call("PUT", files.at("full"), BLOCKS)
    monkeypatch.undo()
    assert (told.status, told.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert "No space left" in told.json()["message"]
    assert files.stored("before") == LARGE
    assert files.leftovers() == []
    assert files.call("PUT", files.at("full"), LARGE).status == 200


class Disk:
    """A disk with room for so many bytes beside its reserve, of which the files below a folder take.

    Args:
        folder: Of those files.
        room: In bytes.
        others: How many bytes somebody else takes of the room, once it was looked at.
    """

    def __init__(self, folder: Path, room: int, *, others: int = 0) -> None:
        self._folder = folder
        self._free = DISK_RESERVE_BYTES + room + self._taken()
        self._others = others
        self.least = self._free

    def _taken(self) -> int:
        return sum(file.stat().st_size for file in self._folder.rglob("*") if file.is_file())

    def __call__(self, path: Any) -> SimpleNamespace:
        """Answer as ``os.statvfs``."""
        left = self._free - self._taken()
        self.least = min(self.least, left)
        self._free, self._others = self._free - self._others, 0
        return SimpleNamespace(f_frsize=1, f_blocks=100 * DISK_RESERVE_BYTES, f_bavail=left)


@pytest.mark.parametrize("others", [0, 2 * BLOCK_BYTES], ids=["from the beginning", "while it comes"])
def test_the_reserve_of_the_disk_is_not_for_files(
    files: FileGateway, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    disk = Disk(files.gateway.client.session.root, 2 * BLOCK_BYTES + others, others=others)
    monkeypatch.setattr(os, "statvfs", disk)
    told = files.call("PUT", files.at("reserve"), BLOCKS)
    assert (told.status, told.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert f"{DISK_RESERVE_BYTES:,} bytes of the disk stay free" in told.json()["message"]
    assert disk.least >= DISK_RESERVE_BYTES
    assert files.leftovers() == []
    assert files.call("PUT", files.at("reserve"), BLOCKS[0]).status == 200
    files.gateway.client.reader.drain()
    monkeypatch.setattr(os, "statvfs", Disk(files.gateway.client.session.root, -1))
    assert files.call("PUT", files.at("reserve"), b"").status == 503
    monkeypatch.undo()
    assert files.stored("reserve") == BLOCKS[0]


def test_a_small_disk_has_a_small_reserve(files: FileGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(path: Any) -> SimpleNamespace:
        return SimpleNamespace(f_frsize=4096, f_blocks=25_600, f_bavail=1_380)  # 100 MiB, of it 5.4 free

    monkeypatch.setattr(os, "statvfs", small)
    assert files.call("PUT", files.at("small disk"), b"x" * 400_000).status == 200
    assert files.call("PUT", files.at("small disk"), b"x" * 500_000).status == 503


def test_a_full_journal_is_503(files: FileGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.leftovers() == []
    for body in (b"x", LARGE, BLOCKS):
        monkeypatch.setattr(files.gateway.runs.recorder(files.run_id), "_append", lambda body, count=1: 0)
        told = files.call("PUT", files.at("refused"), body)
        monkeypatch.undo()
        assert (told.status, told.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert files.leftovers() == []


def test_a_journal_that_refuses_a_file_keeps_nothing_of_it(
    files: FileGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(body: bytes, count: int = 1) -> int:
        raise JournalFull("the journal is full")

    for body in (b"x", LARGE, BLOCKS):
        monkeypatch.setattr(files.gateway.runs.recorder(files.run_id), "_append", full)
        told = files.call("PUT", files.at("refused"), body)
        monkeypatch.undo()
        assert (told.status, told.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert files.leftovers() == []


def test_a_journal_that_somebody_deleted_takes_no_file_for_stored(files: FileGateway) -> None:
    recorder = files.gateway.runs.recorder(files.run_id)
    incoming = recorder.incoming()
    incoming.write(b"x")
    incoming.path.unlink()
    with pytest.raises(Exception, match="deleted while the file came"):
        recorder.arrived(incoming, "x")
    incoming.discard()


def test_memory_holds_two_blocks_of_a_file(files: FileGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast a client sends, blocks wait for the disk before more are taken."""
    taken, written = 0, []
    write = Incoming.write

    def counted(self: Incoming, block: bytes) -> None:
        written.append(taken)
        write(self, block)

    monkeypatch.setattr(Incoming, "write", counted)

    async def send() -> None:
        nonlocal taken
        scope = _scope(files.at("flat"))

        async def receive() -> dict[str, object]:
            nonlocal taken
            taken += 1
            return {"type": "http.request", "body": b"x" * BLOCK_BYTES, "more_body": taken < 3}

        async def answered(message: dict[str, object]) -> None:
            assert message.get("status", 200) == 200

        await files.app(scope, receive, answered)

    asyncio.run(send())
    assert len(written) == 3
    assert all(coming - number <= 2 for number, coming in enumerate(written))


def _scope(path: str) -> dict[str, object]:
    return {
        "type": "http",
        "method": "PUT",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1:5000")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 5000),
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }


def test_a_small_file_of_mlflows_pages(files: FileGateway) -> None:
    path = "/ajax-api/2.0/mlflow/upload-artifact"
    query = {"run_uuid": files.run_id, "path": "pages/x.txt"}
    assert files.call("POST", path, b"seen", query=query).status == 200
    assert files.stored("pages/x.txt") == b"seen"
    for wrong in ({"path": "x"}, {"run_uuid": files.run_id}, {**query, "path": "../x"}):
        assert files.call("POST", path, b"seen", query=wrong).status == 400
    assert files.call("POST", path, b"", query=query).status == 400
    told = files.call("POST", path, b"x", query=query, headers={"content-length": str(11 * 1024 * 1024)})
    assert told.status in (400, 413)


def test_a_discarded_file_takes_no_more(tmp_path_factory: pytest.TempPathFactory) -> None:
    incoming = Incoming(tmp_path_factory.mktemp("incoming"))
    incoming.write(b"x")
    incoming.discard()
    incoming.discard()
    assert not incoming.path.exists()
    with pytest.raises(OSError, match="Bad file descriptor"):
        incoming.write(b"more")


def test_a_disk_without_room_refuses_the_first_byte(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    folder = tmp_path_factory.mktemp("full")
    monkeypatch.setattr(os, "open", full)
    with pytest.raises(JournalFull):
        Incoming(folder)
