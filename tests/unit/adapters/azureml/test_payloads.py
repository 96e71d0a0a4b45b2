"""Models' files on their way into storage: nothing left out, nothing sent twice, nothing held in memory."""

from __future__ import annotations

import dataclasses
import hashlib
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from trackbridge.errors import BridgeError, Conflict, InvalidInput, NotFound, Rejected, Unavailable
from trackbridge_adapters._mlflow_rest.artifacts_files import Entry
from trackbridge_adapters._mlflow_rest.artifacts_folder import FolderFiles
from trackbridge_adapters._mlflow_rest.artifacts_parts import FILE_BYTES_MIN, PART_BYTES_MIN, Parts
from trackbridge_adapters.azureml import limits
from trackbridge_adapters.azureml.paths import Found
from trackbridge_adapters.azureml.payloads import FOLDER, STATES, check_count, copy, upload

MIB = 1024 * 1024


class Blobs(FolderFiles):
    """Files of a folder of this machine that keep digests and come in parts, as blobs do."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, adapter="azureml")
        self.sent: list[str] = []
        self.parts_sent: list[int] = []
        self.digests: dict[str, str] = {}
        self.fails_after = 1_000_000
        self.takes_parts = True

    def put(self, path: str, source: BinaryIO, *, digest: str, size: int) -> str:
        self._count()
        self.sent.append(path)
        self.digests[path] = digest
        return super().put(path, source, digest=digest, size=size)

    def find(self, path: str) -> Entry | None:
        found = super().find(path)
        if found is None or found.is_dir:
            return found
        return dataclasses.replace(found, digest=self.digests.get(path, ""))

    def digest(self, path: str) -> str | None:
        return self.digests.get(path)

    def parts(self, path: str, *, resumable: bool) -> Parts | None:
        return BlobParts(self, path) if self.takes_parts else None

    def _count(self) -> None:
        self.fails_after -= 1
        if self.fails_after < 0:
            raise Unavailable("the line is cut", adapter="azureml")


class BlobParts(Parts):
    held: dict[str, dict[int, bytes]] = {}  # noqa: RUF012  of all uploads, as in storage

    def __init__(self, files: Blobs, path: str) -> None:
        self._files, self._path = files, path

    def begin(self, count: int, digest: str) -> str:
        self.held[self._path] = {}
        return f"upload-{digest}"

    def knows(self, upload: str) -> bool:
        return self._path in self.held

    def send(self, upload: str, number: int, content: bytes) -> str:
        self._files._count()
        self._files.parts_sent.append(number)
        self.held[self._path][number] = hashlib.sha256(content).digest()
        return str(number)

    def complete(self, upload: str, tags: list[str]) -> str:
        self._files.digests[self._path] = upload.removeprefix("upload-")
        target = self._files._folder / self._path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"".join(self.held[self._path][int(tag)] for tag in tags))
        return "1"

    def named(self, upload: str, digest: str) -> str:
        return f"upload-{digest}"

    def abort(self, upload: str) -> None:
        self.held.pop(self._path, None)

    def close(self) -> None:
        pass


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    (tmp_path / "blobs").mkdir()
    return Blobs(tmp_path / "blobs")


def model(folder: Path, **files: bytes) -> Path:
    for name, content in (
        files or {"MLmodel": b"flavors: {}\n", ".gitignore": b"*\n", "w.bin": b"w"}
    ).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


def test_nothing_is_left_out(blobs: Blobs, tmp_path: Path) -> None:
    folder = model(tmp_path / "model")
    (folder / ".amlignore").write_text("*")
    (folder / "data").mkdir()
    (folder / "data" / ".hidden").write_bytes(b"")
    path = upload(folder, blobs, tmp_path)
    assert path.startswith(f"{FOLDER}/")
    assert path.endswith("/model")
    names = {file.relative_to(blobs._folder / path).as_posix() for file in (blobs._folder / path).rglob("*")}
    assert names == {"MLmodel", ".gitignore", ".amlignore", "w.bin", "data", "data/.hidden"}


def test_the_same_folder_lies_at_one_place_and_another_at_another(blobs: Blobs, tmp_path: Path) -> None:
    """azure-ai-ml shares a place between models, and keeps only the last one's name there (7.4)."""
    first = upload(model(tmp_path / "a" / "model"), blobs, tmp_path)
    count = len(blobs.sent)
    assert upload(model(tmp_path / "b" / "model"), blobs, tmp_path) == first
    assert len(blobs.sent) == count, "what is there is not sent again"
    # A model's digest leaves these out; their bytes must not come to lie over the others'.
    changed = model(tmp_path / "c" / "model", MLmodel=b"run_id: 1\nflavors: {}\n")
    other = model(tmp_path / "d" / "model", MLmodel=b"run_id: 2\nflavors: {}\n")
    assert upload(changed, blobs, tmp_path) != upload(other, blobs, tmp_path)
    assert upload(tmp_path / "a" / "model" / "w.bin", blobs, tmp_path).endswith("/w.bin")


def test_an_upload_that_broke_off_goes_on(blobs: Blobs, tmp_path: Path) -> None:
    folder = model(tmp_path / "model", **{f"{number}": b"%d" % number for number in range(5)})
    blobs.fails_after = 3
    with pytest.raises(Unavailable):
        upload(folder, blobs, tmp_path)
    blobs.fails_after = 1_000_000
    upload(folder, blobs, tmp_path)
    assert len(blobs.sent) == len(set(blobs.sent)) == 5


def test_a_large_file_that_broke_off_goes_on_within(blobs: Blobs, tmp_path: Path) -> None:
    """azure-ai-ml begins anew (7.4)."""
    folder = model(tmp_path / "model", weights=b"x" * (5 * PART_BYTES_MIN))
    blobs.fails_after = 2
    with pytest.raises(Unavailable):
        upload(folder, blobs, tmp_path)
    assert blobs.parts_sent
    blobs.fails_after = 1_000_000
    upload(folder, blobs, tmp_path)
    assert sorted(blobs.parts_sent) == [1, 2, 3, 4, 5]
    assert list((tmp_path / STATES).iterdir()) == []


def few_files(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    row = dataclasses.replace(limits.LIMITS["model.files"], most=most)
    monkeypatch.setattr(limits, "LIMITS", {**limits.LIMITS, "model.files": row})


def test_too_many_files_are_refused_before_one_is_sent(
    blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for number in range(1501):
        (folder / str(number)).touch()
    with pytest.raises(Rejected, match="at most 1,500"):
        upload(folder, blobs, tmp_path)
    assert blobs.sent == []
    few_files(monkeypatch, 3)
    few = model(tmp_path / "few")
    upload(few, blobs, tmp_path)
    (few / "a").touch()
    with pytest.raises(Rejected, match="at most 3"):
        upload(few, blobs, tmp_path)
    assert len(blobs.sent) == 3


def test_what_lies_in_storage_is_counted_no_further_than_needed(
    blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_files(monkeypatch, 3)
    model(blobs._folder / "m", a=b"", b=b"")
    model(blobs._folder / "m" / "sub", c=b"")
    check_count(Found(blobs, "m"))
    model(blobs._folder / "m" / "sub" / "deep", d=b"")
    with pytest.raises(Rejected, match="at most 3"):
        check_count(Found(blobs, "m"))
    with pytest.raises(Rejected, match="at most 3"):
        copy(Found(blobs, "m"), blobs)
    assert blobs.count("m", 2) == 2
    assert blobs.count("", 100) == 4


@pytest.mark.parametrize("what", ["nothing", "empty", "dot", "pipe"])
def test_what_cannot_go_is_told_before_anything_is_sent(blobs: Blobs, tmp_path: Path, what: str) -> None:
    folder = tmp_path / "model"
    if what != "nothing":
        folder.mkdir()
    if what == "dot":
        blobs.problem = lambda path: "ends with a dot"  # type: ignore[method-assign]
        (folder / "x.").touch()
    if what == "pipe":
        import os

        os.mkfifo(folder / "pipe")
    with pytest.raises((NotFound, Rejected, InvalidInput)):
        upload(folder, blobs, tmp_path)
    assert blobs.sent == []


# From storage to storage.


class Large(FolderFiles):
    """One file that is made while it is read, of any size; it can be spoiled on the way."""

    def __init__(self, size: int, *, spoiled: bool = False) -> None:
        super().__init__(Path("/nowhere"), adapter="azureml")
        self._size = size
        whole = hashlib.sha256()
        for _ in range(size // MIB):
            whole.update(b"a" * MIB)
        self._entry_ = Entry("w", size=size, version="v", digest=f"sha256:{whole.hexdigest()}")
        self._letter = b"b" if spoiled else b"a"
        self.read_bytes = 0

    def find(self, path: str) -> Entry | None:
        return self._entry_ if path == "m/w" else Entry("m", is_dir=True)

    def children(self, folder: str) -> list[Entry]:
        return [dataclasses.replace(self._entry_, digest=None)] if folder == "m" else []

    def read_from(self, path: str, start: int, version: str) -> Iterator[Any]:
        assert version == "v"
        for _ in range(start // MIB, self._size // MIB):
            self.read_bytes += MIB
            yield self._letter * MIB


def test_a_large_file_is_copied_without_being_held(blobs: Blobs) -> None:
    """azure-ai-ml holds whole blobs in memory (7.9)."""
    source = Large(96 * MIB)
    tracemalloc.start()
    try:
        path = copy(Found(source, "m"), blobs)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 48 * MIB
    assert sorted(blobs.parts_sent) == list(range(1, 13))
    assert blobs.digests[f"{path}/w"] == source.find("m/w").digest  # type: ignore[union-attr]


@pytest.mark.parametrize("is_known", [True, False])
def test_a_large_copy_that_broke_off_goes_on_within(blobs: Blobs, tmp_path: Path, is_known: bool) -> None:
    source = Large(5 * PART_BYTES_MIN)
    whole = source._entry_.digest
    if not is_known:  # as of what azure-ai-ml has uploaded
        source._entry_ = dataclasses.replace(source._entry_, digest="")
    blobs.fails_after = 3
    with pytest.raises(Unavailable):
        copy(Found(source, "m"), blobs, tmp_path)
    assert blobs.parts_sent == [1, 2, 3]
    blobs.fails_after = 1_000_000
    source.read_bytes = 0
    path = copy(Found(source, "m"), blobs, tmp_path)
    assert blobs.parts_sent == [1, 2, 3, 4, 5]
    assert source.read_bytes == (2 if is_known else 5) * PART_BYTES_MIN
    assert blobs.digests[f"{path}/w"] == whole
    assert list((tmp_path / STATES).iterdir()) == []


def test_a_large_copy_of_another_state_or_of_parts_that_are_gone_begins_anew(
    blobs: Blobs, tmp_path: Path
) -> None:
    source = Large(3 * PART_BYTES_MIN)
    blobs.fails_after = 2
    with pytest.raises(Unavailable):
        copy(Found(source, "m"), blobs, tmp_path)
    blobs.fails_after = 1_000_000
    BlobParts.held.clear()
    copy(Found(source, "m"), blobs, tmp_path)
    assert blobs.parts_sent == [1, 2, 1, 2, 3]
    spoiled = Large(4 * PART_BYTES_MIN, spoiled=True)
    with pytest.raises(Rejected, match="digest"):
        copy(Found(spoiled, "m"), blobs, tmp_path)
    assert list((tmp_path / STATES).iterdir()) == []


@pytest.mark.parametrize("size", [MIB, FILE_BYTES_MIN])
@pytest.mark.parametrize("takes_parts", [True, False])
def test_bytes_that_are_not_those_of_their_digest_do_not_arrive(
    blobs: Blobs, size: int, takes_parts: bool
) -> None:
    blobs.takes_parts = takes_parts
    with pytest.raises(Rejected, match="digest"):
        copy(Found(Large(size, spoiled=True), "m"), blobs)
    assert [file for file in blobs._folder.rglob("*") if file.is_file()] == []
    path = copy(Found(Large(size), "m"), blobs)
    assert (blobs._folder / path / "w").is_file()


def test_a_copy_that_is_made_again_sends_nothing(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    source = Blobs(tmp_path / "source")
    place = Found(source, upload(model(tmp_path / "model"), source, tmp_path))
    first = copy(place, blobs)
    assert copy(place, blobs) == first
    assert len(blobs.sent) == 3
    (tmp_path / "source" / place.path / "w.bin").write_bytes(b"other")
    source.digests.clear()
    assert copy(place, blobs) != first, "what was changed at its place comes to lie at another"


def test_a_single_file_is_copied(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    source = Blobs(tmp_path / "source")
    path = upload(model(tmp_path / "model") / "w.bin", source, tmp_path)
    copied = copy(Found(source, path), blobs)
    assert (blobs._folder / copied).read_bytes() == b"w"
    with pytest.raises(NotFound):
        copy(Found(source, "none"), blobs)


def test_a_source_that_is_gone_on_the_way_is_told(blobs: Blobs) -> None:
    class Gone(Large):
        def read_from(self, path: str, start: int, version: str) -> Iterator[Any]:
            raise Conflict("it holds other bytes by now", adapter="azureml")
            yield b""

    with pytest.raises(BridgeError):
        copy(Found(Gone(MIB), "m"), blobs)
    assert blobs.sent == []
