"""The delivery child: where it cannot be started the program goes on, and it is tried again."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from trackbridge.delivery import child as child_module
from trackbridge.delivery.child import RESTART_S_MIN, DeliveryChild
from trackbridge.journal.folder import JournalFolder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[JournalFolder]:
    folder, lock = JournalFolder.create(tmp_path / "journal", (f"file:{tmp_path}",))
    yield folder
    lock.release()


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """No process can be started; what was tried is counted."""
    found: list[int] = []

    def refuse(*arguments: object, **options: object) -> None:
        found.append(1)
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(child_module.subprocess, "Popen", refuse)
    return found


def age(child: DeliveryChild) -> None:
    """Let the time pass after which another start is tried."""
    assert child._restart_at is not None
    child._restart_at -= child._restart_s


def test_no_process_to_be_had(
    folder: JournalFolder, attempts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    child = DeliveryChild(folder)
    assert child.process_id is None
    child.watch()
    assert len(attempts) == 1, "not at once"
    waits = []
    for _ in range(8):
        assert child._restart_at is not None
        waits.append(child._restart_at - child._started_at)
        age(child)
        child.watch()
        child.watch()
    assert len(attempts) == 9
    assert waits == pytest.approx([RESTART_S_MIN, 2, 4, 8, 16, 32, 60, 60])
    child.detach()
    monkeypatch.undo()
    age(child)
    child.watch()
    assert child.process_id is not None
    assert child._process is not None
    child._process.kill()
    child._process.wait(30)


def test_no_descriptor_for_its_log(
    folder: JournalFolder, attempts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(child_module.os, "open", refuse)
    assert DeliveryChild(folder).process_id is None
    assert attempts == []


def test_what_a_crashing_child_says_is_kept_with_the_journal(
    folder: JournalFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "_BOOTSTRAP", "raise SystemExit('it crashed')  # {package!r}")
    child = DeliveryChild(folder)
    assert isinstance(child._process, subprocess.Popen)
    assert child._process.wait(30) == 1
    log = folder.path / "delivery.log"
    assert log.read_text().strip() == "it crashed"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_journal_that_is_gone_needs_no_child(folder: JournalFolder, attempts: list[int]) -> None:
    folder.remove()
    assert DeliveryChild(folder).process_id is None
    assert attempts == []
