"""A download is whole and as it was logged, or is not there at all."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from trackbridge.api.downloads import BLOCK_BYTES, download_file
from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.errors import Rejected, Unavailable
from trackbridge.ports.artifacts import ArtifactStore


class Store:
    """A store whose answers to ``open`` and ``stat`` need not agree."""

    def __init__(self, content: bytes, told: ArtifactInfo) -> None:
        self.content = content
        self.told = told

    def open(self, run_id: str, path: str) -> BinaryIO:
        return io.BytesIO(self.content)

    def stat(self, run_id: str, path: str) -> ArtifactInfo:
        return self.told


def described(content: bytes, *, with_digest: bool = True, with_size: bool = True) -> ArtifactInfo:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return ArtifactInfo(
        path="a.bin",
        digest=digest if with_digest else None,
        file_size=len(content) if with_size else None,
    )


def downloaded(content: bytes, told: ArtifactInfo, target: Path, *, now: ArtifactInfo | None = None) -> Path:
    store: Any = Store(content, now or told)
    return download_file(cast("ArtifactStore", store), "run", told, target)


LONG = bytes(range(256)) * (BLOCK_BYTES // 256) + b"end"


@pytest.mark.parametrize("content", [b"", b"abc", LONG], ids=["empty", "short", "long"])
@pytest.mark.parametrize("told", [{}, {"with_digest": False}, {"with_digest": False, "with_size": False}])
def test_what_agrees_is_brought(content: bytes, told: dict[str, bool], tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.bin"
    assert downloaded(content, described(content, **told), target) == target
    assert target.read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == ["a.bin"]


def test_other_bytes_of_the_same_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="the bytes have the digest"):
        downloaded(b"abd", described(b"abc"), tmp_path / "a.bin")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("with_digest", [True, False])
def test_a_download_that_ends_early_is_refused(with_digest: bool, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"old")
    with pytest.raises(Unavailable, match="2 of 3 bytes came"):
        downloaded(b"ab", described(b"abc", with_digest=with_digest), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == b"old"


def test_a_file_that_was_replaced_since_it_was_listed_is_brought_as_it_is_now(tmp_path: Path) -> None:
    found = downloaded(b"new!", described(b"old"), tmp_path / "a.bin", now=described(b"new!"))
    assert found.read_bytes() == b"new!"
