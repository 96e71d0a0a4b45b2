"""Artifact files: checked bytes, no half-written file, no way out of the run's folder."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.errors import BridgeError, InvalidInput, NotFound, Rejected, Unavailable
from trackbridge_adapters.local import artifacts as module
from trackbridge_adapters.local.adapter import LocalAdapter


def put(adapter: LocalAdapter, path: str, content: bytes, source: Path, run_id: str = "r") -> ArtifactInfo:
    source.write_bytes(content)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return adapter.artifacts.put(run_id, path, source, digest=digest, size=len(content))


def read(adapter: LocalAdapter, path: str) -> bytes:
    with adapter.artifacts.open("r", path) as file:
        return file.read()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


def test_bytes_lie_under_their_own_name(adapter: LocalAdapter, folder: Path, source: Path) -> None:
    info = put(adapter, "plots/loss.png", b"png", source)
    assert (folder / "artifacts/r/plots/loss.png").read_bytes() == b"png"
    assert info == adapter.artifacts.stat("r", "plots/loss.png")
    assert info.native_uri == (folder / "artifacts/r/plots/loss.png").as_uri()
    assert list((folder / "artifacts/.incoming").iterdir()) == []
    source.write_bytes(b"changed afterwards")
    assert read(adapter, "plots/loss.png") == b"png", "the user's file is copied, not linked"


def test_a_file_that_is_gone_or_differs_is_rejected_and_leaves_nothing(
    adapter: LocalAdapter, folder: Path, source: Path
) -> None:
    put(adapter, "a", b"old", source)
    for digest, size in [("sha256:" + "0" * 64, 3), (f"sha256:{hashlib.sha256(b'new').hexdigest()}", 4)]:
        source.write_bytes(b"new")
        with pytest.raises(Rejected):
            adapter.artifacts.put("r", "a", source, digest=digest, size=size)
    with pytest.raises(Rejected):
        adapter.artifacts.put("r", "a", source.parent / "none", digest="sha256:0", size=1)
    assert read(adapter, "a") == b"old"
    assert list((folder / "artifacts/.incoming").iterdir()) == []


def test_a_full_disk_leaves_the_old_file(
    adapter: LocalAdapter, folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(adapter, "a", b"old", source)

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_clone", lambda *_: False)
    monkeypatch.setattr(module, "_copy_bytes", no_space)
    with pytest.raises(Unavailable):
        put(adapter, "a", b"new", source)
    assert read(adapter, "a") == b"old"
    assert list((folder / "artifacts/.incoming").iterdir()) == []


def test_a_file_changed_by_other_hands_has_no_digest_and_can_be_put_again(
    adapter: LocalAdapter, folder: Path, source: Path
) -> None:
    put(adapter, "a", b"ours", source)
    (folder / "artifacts/r/a").write_bytes(b"theirs")
    assert adapter.artifacts.stat("r", "a").digest is None
    assert put(adapter, "a", b"ours", source).digest
    assert read(adapter, "a") == b"ours"


def test_symbolic_links_are_neither_followed_nor_listed(
    adapter: LocalAdapter, folder: Path, tmp_path: Path, source: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    put(adapter, "a", b"a", source)
    (folder / "artifacts/r/folder").symlink_to(outside)
    (folder / "artifacts/r/file").symlink_to(outside / "secret")
    (folder / "artifacts/other").symlink_to(outside)

    assert [info.path for info in adapter.artifacts.list("r")] == ["a"]
    assert len(adapter.artifacts.list("r", "folder")) == 0
    assert len(adapter.artifacts.list("other")) == 0
    for path in ("folder/secret", "folder", "file"):
        for call in (adapter.artifacts.open, adapter.artifacts.stat):
            with pytest.raises(NotFound):
                call("r", path)
    for run_id, path in [("r", "folder/new"), ("r", "folder/deep/new"), ("other", "new")]:
        with pytest.raises(Rejected):
            put(adapter, path, b"x", source, run_id=run_id)
    adapter.artifacts.delete("r", "folder/secret")
    adapter.artifacts.delete("other", "secret")
    adapter.artifacts.delete("r", "folder")
    put(adapter, "file", b"ours", source)
    assert sorted(os.listdir(outside)) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"
    assert read(adapter, "file") == b"ours"


@pytest.mark.parametrize("run_id", ["..", ".", "", "a/b", "../x", ".incoming", "a\0b", "a\\b"])
def test_a_run_id_cannot_lead_elsewhere(
    adapter: LocalAdapter, source: Path, folder: Path, run_id: str
) -> None:
    with pytest.raises(Rejected):
        put(adapter, "x", b"x", source, run_id=run_id)
    with pytest.raises(Rejected):
        adapter.artifacts.list(run_id)
    assert not (folder / "x").exists()


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "", "a//b", "a\0"])
def test_a_path_cannot_lead_elsewhere(adapter: LocalAdapter, source: Path, path: str) -> None:
    with pytest.raises(InvalidInput):
        put(adapter, path, b"x", source)
    with pytest.raises(InvalidInput):
        adapter.artifacts.delete("r", path)


@pytest.mark.parametrize("name", ["a.", "a ", " a", "ü", "u\u0308", "x" * 255, "a\nb", "%41", "CON", "-rf"])
def test_odd_names_are_kept(adapter: LocalAdapter, source: Path, name: str) -> None:
    path = f"{name}/{name}"
    put(adapter, path, b"x", source)
    assert [info.path for info in adapter.artifacts.list("r")] == [name]
    assert [info.path for info in adapter.artifacts.list("r", name)] == [path]
    assert read(adapter, path) == b"x"


def test_a_path_is_not_both_a_file_and_a_folder(adapter: LocalAdapter, source: Path) -> None:
    put(adapter, "a/b", b"x", source)
    for path in ("a", "a/b/c"):
        with pytest.raises(Rejected):
            put(adapter, path, b"y", source)
    assert read(adapter, "a/b") == b"x"


def test_deleting_drops_folders_that_become_empty(adapter: LocalAdapter, source: Path) -> None:
    put(adapter, "a/b/c", b"x", source)
    put(adapter, "a/d", b"x", source)
    adapter.artifacts.delete("r", "a/b/c")
    assert [info.path for info in adapter.artifacts.list("r", "a")] == ["a/d"]
    adapter.artifacts.delete("r", "a")
    adapter.artifacts.delete("r", "a")
    assert len(adapter.artifacts.list("r")) == 0
    with pytest.raises(NotFound):
        adapter.artifacts.stat("r", "a/d")


def test_names_that_are_not_unicode_are_passed_over(
    adapter: LocalAdapter, folder: Path, source: Path
) -> None:
    put(adapter, "a", b"x", source)
    try:
        (folder / "artifacts/r" / os.fsdecode(b"\xff")).write_bytes(b"theirs")
    except OSError:
        pytest.skip("the file system takes only Unicode names")
    assert [info.path for info in adapter.artifacts.list("r")] == ["a"]


def test_a_token_of_another_folder_is_refused(adapter: LocalAdapter, source: Path) -> None:
    for name in "abc":
        put(adapter, name, b"x", source)
    page = adapter.artifacts.list("r", max_results=2)
    assert [info.path for info in adapter.artifacts.list("r", max_results=2, token=page.token)] == ["c"]
    for run_id, token in [("other", page.token), ("r", "garbage")]:
        with pytest.raises(BridgeError):
            adapter.artifacts.list(run_id, max_results=2, token=token)
