"""What the check of the local backend finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.adapters.local.test_metrics import open_run
from trackbridge.domain.file_systems import file_system_of
from trackbridge.ports.findings import Severity
from trackbridge_adapters.local import health
from trackbridge_adapters.local.adapter import LocalAdapter
from trackbridge_adapters.local.schema import VERSION

MOUNTS = """\
/dev/vda / ext4 rw 0 0
proc /proc proc rw 0 0
server:/x /mnt/shared\\040disk nfs4 rw 0 0
/dev/vdb /mnt/shared\\040disk/fast xfs rw 0 0
broken
"""


def found(adapter: LocalAdapter, subject: str, *, write: bool = False) -> list[tuple[Severity, str]]:
    findings = adapter.check(write=write)
    return [(item.severity, item.message) for item in findings if item.subject == subject]


@pytest.mark.parametrize("write", [False, True])
def test_a_store_in_use_is_well(adapter: LocalAdapter, write: bool) -> None:
    open_run(adapter)
    assert found(adapter, "database", write=write) == [(Severity.OK, f"schema version {VERSION}, 1 run")]
    assert [severity for severity, _ in found(adapter, "folder", write=write)] == [Severity.OK]


def test_a_damaged_database_is_a_finding(adapter: LocalAdapter, folder: Path) -> None:
    folder.mkdir()
    (folder / "store.db").write_bytes(b"x" * 4096)
    ((severity, message),) = found(adapter, "database")
    assert severity is Severity.ERROR
    assert "not a SQLite database" in message


def test_damaged_pages_are_a_finding(adapter: LocalAdapter, folder: Path) -> None:
    open_run(adapter)
    adapter.close()
    file = folder / "store.db"
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)
    assert [severity for severity, _ in found(adapter, "database")] == [Severity.ERROR]


def test_a_file_where_the_folder_should_be(adapter: LocalAdapter, folder: Path) -> None:
    folder.write_text("x")
    assert [severity for severity, _ in found(adapter, "folder", write=True)] == [Severity.ERROR]


def test_little_free_disk_is_a_warning(adapter: LocalAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FREE_BYTES_MIN", 2**80)
    assert [severity for severity, _ in found(adapter, "disk")] == [Severity.WARNING]


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/someone", "ext4"),
        ("/mnt/shared disk/a", "nfs4"),
        ("/mnt/shared disk/fast/a", "xfs"),
        ("/mnt", "ext4"),
    ],
)
def test_the_file_system_is_that_of_the_deepest_mount(folder: str, kind: str) -> None:
    assert file_system_of(Path(folder), MOUNTS) == kind


def test_a_network_file_system_is_a_warning(
    adapter: LocalAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("server:/x / nfs rw 0 0\n")
    monkeypatch.setattr(health, "MOUNTS", mounts)
    ((severity, message),) = found(adapter, "file system")
    assert severity is Severity.WARNING
    assert "nfs" in message


def test_unfinished_copies_are_a_warning(adapter: LocalAdapter, folder: Path) -> None:
    incoming = folder / "artifacts" / ".incoming"
    incoming.mkdir(parents=True)
    (incoming / "1-abc").write_bytes(b"half")
    ((severity, message),) = found(adapter, "artifacts")
    assert severity is Severity.WARNING
    assert message.startswith(f"1 unfinished copy in {incoming}: ")
    (incoming / "2-abc").write_bytes(b"half")
    assert found(adapter, "artifacts")[0][1].startswith("2 unfinished copies in ")
