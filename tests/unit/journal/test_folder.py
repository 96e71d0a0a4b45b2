"""A journal's folder: whose it is, who holds its locks, and what is left of it when a process dies."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trackbridge.domain.ids import mint_id
from trackbridge.errors import JournalCorrupt, JournalError
from trackbridge.journal import cursors as cursors_module
from trackbridge.journal import folder as folder_module
from trackbridge.journal.cursors import Cursor, load_cursor, store_cursor
from trackbridge.journal.folder import LEFTOVER_S, JournalFolder, Lock, journals, sweep

URI = "memory:"
NOBODY = 65534


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made) / "journal"


@pytest.fixture
def living(root: Path) -> Iterator[tuple[JournalFolder, Lock]]:
    folder, lock = JournalFolder.create(root, (URI,))
    yield folder, lock
    lock.release()


@pytest.fixture
def dead(living: tuple[JournalFolder, Lock]) -> JournalFolder:
    folder, lock = living
    lock.release()
    return folder


def as_another_user(folder: JournalFolder, check: Callable[[], bool], *, mode: int = 0) -> bool:
    """Return what a check says to another user, or to this one while the folder has another mode."""
    if os.geteuid() != 0:
        folder.path.chmod(mode)
        try:
            return check()
        finally:
            folder.path.chmod(0o700)
    process_id = os.fork()
    if process_id == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1]) == 0


def test_a_held_lock_shows_that_the_writer_lives(living: tuple[JournalFolder, Lock]) -> None:
    folder, lock = living
    assert folder.writer_lives()
    lock.release()
    assert not folder.writer_lives()


def test_whoever_checks_is_not_taken_for_the_writer(dead: JournalFolder) -> None:
    with open(dead.path / "writer.lock", "rb") as checked:
        fcntl.flock(checked, fcntl.LOCK_SH)
        assert not dead.writer_lives()


def test_journals_of_another_user_are_not_ours(dead: JournalFolder, root: Path) -> None:
    assert [folder.journal_id for folder in journals(root)] == [dead.journal_id]
    assert as_another_user(dead, lambda: list(journals(root)) == [])
    assert as_another_user(dead, lambda: dead.writer_lives() and dead.lock_delivery() is None)


def test_journals_that_may_only_be_read_are_not_ours(dead: JournalFolder, root: Path) -> None:
    mode = 0o755 if os.geteuid() == 0 else 0o500
    for path in (dead.path, *dead.path.iterdir()):
        path.chmod(mode)
    try:
        assert as_another_user(dead, lambda: list(journals(root)) == [], mode=0o500)
    finally:
        for path in (dead.path, *dead.path.iterdir()):
            path.chmod(0o700)


def test_a_folder_of_journals_that_may_not_be_read(dead: JournalFolder, root: Path) -> None:
    root.chmod(0o700)
    assert as_another_user(JournalFolder(root), lambda: list(journals(root)) == [])


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_journal_that_cannot_be_locked_by_us_is_not_ours(
    dead: JournalFolder, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(folder_module.os, "open", refuse)
    assert dead.writer_lives()
    assert dead.lock_delivery() is None


def test_a_file_system_without_locks_says_what_to_do(
    dead: JournalFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(folder_module.fcntl, "flock", refuse)
    with pytest.raises(JournalError) as caught:
        dead.lock_delivery()
    assert "BRIDGE_HOME" in str(caught.value.hint)


def test_a_fork_does_not_keep_the_delivery_lock(dead: JournalFolder) -> None:
    lock = dead.lock_delivery()
    assert lock is not None
    ready, end = os.pipe(), os.pipe()
    process_id = os.fork()
    if process_id == 0:
        os.write(ready[1], b"x")
        os.read(end[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    assert dead.lock_delivery() is None, "the fork has not released it for its parent"
    lock.release()
    again = dead.lock_delivery()
    os.write(end[1], b"x")
    os.waitpid(process_id, 0)
    assert again is not None
    again.release()


def test_a_folder_is_hidden_before_it_is_deleted(
    dead: JournalFolder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = shutil.rmtree
    seen: list[bool] = []

    def watched(path: Path, **options: bool) -> None:
        seen.append(dead.path.exists() or bool(list(journals(root))))
        dead.request_flush()
        really(path, **options)

    monkeypatch.setattr(folder_module.shutil, "rmtree", watched)
    dead.remove()
    assert seen == [False]
    assert list(root.iterdir()) == []
    dead.remove()


def test_nothing_is_made_in_what_is_left_of_a_folder(dead: JournalFolder) -> None:
    (dead.path / "journal.json").unlink()
    before = sorted(dead.path.iterdir())
    dead.request_flush()
    assert dead.lock_delivery() is None
    assert sorted(dead.path.iterdir()) == before


def test_what_dying_processes_left_is_swept(living: tuple[JournalFolder, Lock], root: Path) -> None:
    folder, lock = living
    left, young, other = (root / name for name in (f".{mint_id()}", f".{mint_id()}", ".cache"))
    being_made = folder.path.rename(root / f".{folder.journal_id}")
    for path in (left, young, other):
        path.mkdir()
    (left / "writer.lock").touch()
    long_ago = time.time() - LEFTOVER_S - 10
    for path in (left, being_made, other):
        os.utime(path, (long_ago, long_ago))
    sweep(root)
    assert sorted(root.iterdir()) == sorted([young, being_made, other])
    lock.release()
    sweep(root)
    assert sorted(root.iterdir()) == sorted([young, other])


def test_a_description_without_destinations_is_damaged(dead: JournalFolder) -> None:
    description = dead.path / "journal.json"
    description.write_text(description.read_text().replace(f'"{URI}"', ""))
    with pytest.raises(JournalCorrupt, match="names no destination"):
        dead.describe()


def test_a_cursor_of_a_folder_that_is_gone_is_not_missed(dead: JournalFolder) -> None:
    dead.remove()
    store_cursor(dead, Cursor(destination=URI, delivered=3))
    assert load_cursor(dead, URI).delivered == 0
    assert not dead.path.exists()


def test_a_cursor_that_cannot_be_stored_stays_as_it_was(
    dead: JournalFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_cursor(dead, Cursor(destination=URI, delivered=3, joined_runs=frozenset({"r"})))

    def refuse(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(cursors_module.os, "open", refuse)
        with pytest.raises(OSError, match="No space"):
            store_cursor(dead, Cursor(destination=URI, delivered=4))
    assert load_cursor(dead, URI) == Cursor(destination=URI, delivered=3, joined_runs=frozenset({"r"}))


def test_a_run_is_inherited_once_said_so(dead: JournalFolder) -> None:
    run_id = mint_id()
    assert not dead.inherits(run_id)
    dead.mark_inherited(run_id)
    assert dead.inherits(run_id)
    dead.remove()
    dead.mark_inherited(run_id)
    assert not dead.path.exists()
