"""Files that come in parts, which may come twice, in any order, and to a gateway that was started again."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.asgi_calls import Told
from tests.support.file_gateways import PROXY, FileGateway, file_gateway
from trackbridge.domain.ids import mint_id
from trackbridge.gateway import artifact_downloads as downloads
from trackbridge.gateway.artifact_parts import ABANDONED_S, PARTS_MAX
from trackbridge.gateway.artifact_uploads import DISK_RESERVE_BYTES
from trackbridge.gateway.limits import Limits

PART = os.urandom(1024) * 1100  # more than a block


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileGateway]:
    limits = Limits(upload_bytes_max=3 * len(PART))
    with file_gateway(tmp_path_factory.mktemp("parts"), limits=limits) as made:
        yield made


class Upload:
    """An upload as mlflow's client does it."""

    def __init__(self, files: FileGateway, name: str, *, parts: int = 2, token: str | None = None) -> None:
        self.files, self.name = files, name
        headers = {} if token is None else {"authorization": token}
        self.begun = self.post("create", headers=headers, num_parts=parts)
        assert self.begun.status == 200, self.begun.content
        self.upload_id = self.begun.json()["upload_id"]
        self.tags: dict[int, str] = {}

    def post(self, what: str, headers: dict[str, str] | None = None, **fields: Any) -> Told:
        path = f"{PROXY}/mpu/{what}/0/{self.files.run_id}/artifacts/folder"
        body = {"path": f"/data/{self.name}", **fields}
        return self.files.call.json("POST", path, body, headers=headers or {})

    def send(self, number: int, content: bytes, **options: Any) -> Told:
        told = self.files.call("PUT", f"{PROXY}/mpu/part/{self.upload_id}/{number}", content, **options)
        if told.status == 200:
            self.tags[number] = told.headers["etag"]
        return told

    def complete(self) -> Told:
        parts = [
            {"part_number": number, "etag": tag, "url": "x"} for number, tag in sorted(self.tags.items())
        ]
        return self.post("complete", upload_id=self.upload_id, parts=parts)

    def abort(self) -> Told:
        return self.post("abort", upload_id=self.upload_id)

    @property
    def folder(self) -> Path:
        uploads = self.files.gateway.client.session.root / "uploads"
        return uploads / str(self.upload_id)


def test_parts_become_a_file_whatever_their_order(files: FileGateway) -> None:
    upload = Upload(files, "order.bin", parts=3)
    for number in (3, 1, 2):
        assert upload.send(number, PART[number:]).status == 200
    assert upload.complete().json() == {}
    assert files.stored("folder/order.bin") == PART[1:] + PART[2:] + PART[3:]
    assert files.leftovers() == []


def test_the_addresses_of_parts_lead_here_with_what_the_client_is_let_in_with(files: FileGateway) -> None:
    upload = Upload(files, "addresses.bin", token="Basic eDp5")
    told = upload.begun.json()["credentials"]
    assert [part["part_number"] for part in told] == [1, 2]
    assert told[0]["url"] == f"http://127.0.0.1:5000{PROXY}/mpu/part/{upload.upload_id}/1"
    assert told[0]["headers"] == {"Authorization": "Basic eDp5"}
    assert upload.begun.headers["cache-control"] == "no-store"
    assert upload.abort().status == 200
    assert not upload.folder.exists()


def test_a_part_that_comes_twice_counts_once(files: FileGateway) -> None:
    upload = Upload(files, "twice.bin")
    for content in (b"old", b"new"):
        upload.send(1, content)
    upload.send(2, b"end")
    assert upload.complete().status == 200
    assert files.stored("folder/twice.bin") == b"newend"


def test_completing_twice_is_once(files: FileGateway) -> None:
    upload = Upload(files, "complete.bin")
    upload.send(1, b"all")
    for _ in range(2):
        assert upload.complete().status == 200
    assert upload.abort().status == 200
    assert upload.send(1, b"late").status == 400
    assert files.stored("folder/complete.bin") == b"all"


def test_a_missing_part_is_told(files: FileGateway) -> None:
    upload = Upload(files, "missing.bin")
    upload.send(1, b"x")
    upload.tags[2] = f'"{mint_id()}"'
    told = upload.complete()
    assert (told.status, told.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    upload.tags[2] = "../../x"
    assert upload.complete().status == 400
    upload.tags.clear()
    assert upload.complete().status == 400
    upload.send(1, b"x")
    assert upload.complete().status == 200


def test_a_client_that_stops_in_a_part_leaves_nothing_of_it(files: FileGateway) -> None:
    upload = Upload(files, "half.bin")
    upload.send(1, b"whole")
    assert upload.send(2, PART, stops=True).status == 0
    assert sorted(file.name[:2] for file in upload.folder.iterdir()) == ["1-", "up"]
    upload.send(2, PART)
    assert upload.complete().status == 200
    assert files.stored("folder/half.bin") == b"whole" + PART


def test_a_gateway_that_is_started_again_goes_on(files: FileGateway) -> None:
    upload = Upload(files, "again.bin")
    upload.send(1, b"before ")
    upload.files = again = FileGateway(files.gateway)
    again.run_id = files.run_id
    upload.send(2, b"after")
    assert upload.complete().status == 200
    assert files.stored("folder/again.bin") == b"before after"


def test_all_parts_together_have_a_bound(files: FileGateway) -> None:
    upload = Upload(files, "bound.bin", parts=4)
    for number in (1, 2, 3):
        assert upload.send(number, PART).status == 200
    assert upload.send(3, PART).status == 200  # in the place of the other
    told = upload.send(4, b"one byte")
    assert told.status in (400, 413)
    assert upload.complete().status == 200
    assert files.stored("folder/bound.bin") == PART * 3


def test_the_reserve_of_the_disk_is_not_for_parts(
    files: FileGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = [len(PART) - 1]

    def statvfs(path: Any) -> SimpleNamespace:
        free = DISK_RESERVE_BYTES + room[0]
        return SimpleNamespace(f_frsize=1, f_blocks=100 * DISK_RESERVE_BYTES, f_bavail=free)

    def told(answer: Told) -> None:
        assert (answer.status, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        assert "of the disk stay free" in answer.json()["message"]

    upload = Upload(files, "reserve.bin")
    assert upload.send(1, PART).status == 200
    monkeypatch.setattr(os, "statvfs", statvfs)
    told(upload.complete())  # copies the parts
    room[0] = 1000
    told(upload.send(2, PART))
    room[0] = -1
    told(upload.post("create", num_parts=1))
    monkeypatch.undo()
    assert sorted(file.name.partition("-")[0] for file in upload.folder.iterdir()) == ["1", "upload.json"]
    assert upload.send(2, b"end").status == 200
    assert upload.complete().status == 200
    assert files.stored("folder/reserve.bin") == PART + b"end"
    assert files.leftovers() == []


def test_parts_come_while_the_backend_answers_nobody(files: FileGateway) -> None:
    hangs = threading.Event()
    waiting = [downloads.threads.submit(hangs.wait, 10) for _ in range(2 * downloads.THREADS)]
    try:
        upload = Upload(files, "meanwhile.bin")
        assert upload.send(1, PART).status == 200
        assert upload.complete().status == 200
        assert Upload(files, "dropped.bin").abort().status == 200
        assert not any(future.done() for future in waiting)
    finally:
        hangs.set()
    assert files.stored("folder/meanwhile.bin") == PART


def test_a_part_that_is_named_often_counts_as_often(files: FileGateway) -> None:
    upload = Upload(files, "often.bin")
    upload.send(1, PART)
    parts = [{"part_number": 1, "etag": upload.tags[1]}] * 4
    assert upload.post("complete", upload_id=upload.upload_id, parts=parts).status == 400
    assert upload.complete().status == 200
    assert files.stored("folder/often.bin") == PART


def test_uploads_that_are_complete_are_not_under_way(
    files: FileGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = files.gateway.client.session.root / "uploads"
    under_way = [folder for folder in uploads.iterdir() if not (folder / "complete").exists()]
    monkeypatch.setattr("trackbridge.gateway.artifact_parts.UPLOADS_MAX", len(under_way) + 1)
    for number in range(2):
        upload = Upload(files, f"whole-{number}.bin")
        upload.send(1, b"x")
        assert upload.complete().status == 200
    left = Upload(files, "left.bin")
    assert left.post("create", num_parts=1).status == 429
    assert left.abort().status == 200


def test_parts_go_by_https_where_a_proxy_speaks_it(files: FileGateway) -> None:
    """What the client is let in with goes with them."""
    upload = Upload(files, "https.bin")
    told = upload.post("create", headers={"x-forwarded-proto": "https"}, num_parts=1).json()
    assert told["credentials"][0]["url"].startswith("https://127.0.0.1:5000/api/")


def test_uploads_and_parts_that_cannot_be_are_refused(files: FileGateway) -> None:
    upload = Upload(files, "refused.bin")
    for parts in (-1, PARTS_MAX + 1):
        assert upload.post("create", num_parts=parts).status == 400
    assert upload.post("create", path="..").status == 400
    assert upload.post("create", path="").status == 400
    assert upload.send(0, b"x").status == 400
    assert upload.send(PARTS_MAX + 1, b"x").status == 400
    assert files.call("PUT", f"{PROXY}/mpu/part/{upload.upload_id}/{'1' * 5000}", b"x").status == 400
    for unknown in (mint_id(), "..", "x" * 32):
        assert files.call("PUT", f"{PROXY}/mpu/part/{unknown}/1", b"x").status == 404
        assert upload.post("complete", upload_id=unknown, parts=[{"part_number": 1}]).status == 404
        assert upload.post("abort", upload_id=unknown).status == 404
    assert upload.post("complete").status == 400
    other = Upload(files, "other.bin")
    other.upload_id = upload.upload_id  # of another file
    assert other.complete().status == 404
    assert other.abort().status == 404


def test_uploads_to_runs_that_are_not_are_refused(files: FileGateway) -> None:
    path = f"{PROXY}/mpu/create/0/{0:032x}/artifacts"
    assert files.call.json("POST", path, {"path": "x", "num_parts": 1}).status == 404


def test_who_completes_at_the_same_time_is_told_to_come_again(files: FileGateway) -> None:
    import fcntl

    upload = Upload(files, "busy.bin")
    upload.send(1, b"x")
    with open(upload.folder / "upload.json", "rb") as note:
        fcntl.flock(note, fcntl.LOCK_EX)
        assert upload.complete().status == 503
    assert upload.complete().status == 200


def test_what_was_abandoned_is_removed(files: FileGateway) -> None:
    abandoned, fresh = Upload(files, "abandoned.bin"), Upload(files, "fresh.bin")
    abandoned.send(1, b"x")
    then = time.time() - ABANDONED_S - 60
    os.utime(abandoned.folder, (then, then))
    Upload(files, "next.bin")
    assert not abandoned.folder.exists()
    assert fresh.folder.exists()
    assert abandoned.send(2, b"x").status == 404
