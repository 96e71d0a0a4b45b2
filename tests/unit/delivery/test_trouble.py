"""What a service does when disks are full, folders broken, journals many and destinations away for long."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.deliveries import Run, World, die, logged, until
from tests.support.journals import Bench
from trackbridge.delivery import connect as connect_module
from trackbridge.delivery import dead_letters as dead_letters_module
from trackbridge.delivery import lane as lane_module
from trackbridge.delivery import service as service_module
from trackbridge.delivery.backend import Backend
from trackbridge.delivery.by_hand import HandDelivery
from trackbridge.delivery.dead_letters import DeadLetters
from trackbridge.delivery.lane import Progress
from trackbridge.delivery.service import ADOPTED_MAX, DeliveryService, JournalDelivery, deliver_now
from trackbridge.errors import Unavailable
from trackbridge.journal.cursors import Cursor, load_cursor, store_cursor
from trackbridge.journal.folder import JournalFolder, journals
from trackbridge.journal.reader import Damage

pytestmark = pytest.mark.usefixtures("impatient")


def left_behind(root: Path, *uris: str) -> tuple[JournalFolder, str]:
    """A journal whose program was killed."""
    bench, run_id = logged(root, *uris)
    die(bench)
    return bench.writer.folder, run_id


def ends(thread: threading.Thread) -> bool:
    thread.join(20)
    return not thread.is_alive()


class Counting(DeliveryService):
    """Counts how often it looks for journals."""

    looks = 0

    def _take_journals(self) -> None:
        self.looks += 1
        super()._take_journals()


# Loops.


def test_it_does_not_spin_while_one_of_two_destinations_is_down(
    tmp_path: Path, world: World, running: Run
) -> None:
    world.down.add("b:")
    folder, run_id = left_behind(tmp_path, "a:", "b:")
    service = Counting(tmp_path, own=folder, open_backend=world.open)
    running(service)
    until(lambda: load_cursor(folder, "a:").finished)
    before, tries = service.looks, world.asked["b:"]
    until(lambda: world.asked["b:"] >= tries + 30)
    assert service.looks <= before + 10
    assert world.has("a:", run_id)


def test_it_does_not_spin_while_another_delivers(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = left_behind(tmp_path, "a:")
    service = DeliveryService(tmp_path, own=folder, open_backend=world.open)
    waits: list[float] = []
    wait = service._stop.wait
    monkeypatch.setattr(service._stop, "wait", lambda timeout: waits.append(timeout) or wait(timeout))
    service._wait_for_threads(service_module.POLL_S)
    assert waits


# Journals whose folder is damaged.


def test_it_ends_when_its_own_description_is_gone(tmp_path: Path, world: World, running: Run) -> None:
    bench, _ = logged(tmp_path, "a:")
    (bench.writer.folder.path / "journal.json").unlink()
    assert ends(running(DeliveryService(tmp_path, own=bench.writer.folder, open_backend=world.open)))
    bench.writer.close()


def test_it_gives_up_a_dead_journal_with_a_damaged_description(
    tmp_path: Path, world: World, running: Run
) -> None:
    folder, _ = left_behind(tmp_path, "a:")
    (folder.path / "journal.json").write_text("{")
    assert ends(running(DeliveryService(tmp_path, own=folder, open_backend=world.open)))
    (damage,) = DeadLetters(tmp_path).damages()
    assert "description" in damage.reason
    assert folder.path.exists()


def test_a_hurry_ends_it_whatever_its_journal_is_like(tmp_path: Path, world: World, running: Run) -> None:
    bench, _ = logged(tmp_path, "a:")
    (bench.writer.folder.path / "journal.json").write_text("{")
    service = Counting(tmp_path, own=bench.writer.folder, open_backend=world.open)
    thread = running(service)
    until(lambda: service.looks > 0)
    service.hurry()
    assert ends(thread)
    bench.writer.close()


def test_a_hurry_does_not_wait_for_the_next_try(
    tmp_path: Path, world: World, running: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "RETRY_S_MIN", 3600.0)
    monkeypatch.setattr(lane_module, "RETRY_S_MAX", 3600.0)
    world.down.add("a:")
    bench, _ = logged(tmp_path, "a:")
    service = DeliveryService(tmp_path, own=bench.writer.folder, open_backend=world.open)
    thread = running(service)
    until(lambda: world.asked["a:"] > 0)
    service.hurry()
    assert ends(thread)
    bench.writer.close()


def test_a_folder_that_cannot_be_deleted_is_given_up(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: JournalFolder) -> None:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(JournalFolder, "remove", refuse)
    folder, run_id = left_behind(tmp_path, "a:")
    DeliveryService(tmp_path, own=folder, open_backend=world.open).run()
    assert world.has("a:", run_id)
    lock = folder.lock_delivery()
    assert lock is not None
    lock.release()


# The disk.


def test_a_full_disk_only_delays(
    tmp_path: Path, world: World, running: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_full = threading.Event()
    is_full.set()
    refused: list[Cursor] = []

    def store(folder: JournalFolder, cursor: Cursor) -> None:
        if is_full.is_set():
            refused.append(cursor)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        store_cursor(folder, cursor)

    monkeypatch.setattr(lane_module, "store_cursor", store)
    bench, run_id = logged(tmp_path, "a:")
    thread = running(DeliveryService(tmp_path, own=bench.writer.folder, open_backend=world.open))
    bench.writer.folder.request_flush()
    until(lambda: any(cursor.problem and "No space" in cursor.problem for cursor in refused))
    assert thread.is_alive()
    is_full.clear()
    until(lambda: load_cursor(bench.writer.folder, "a:").position.sequence == bench.writer.last_sequence)
    assert world.has("a:", run_id)
    assert load_cursor(bench.writer.folder, "a:").problem is None
    bench.writer.close()


def test_a_problem_that_cannot_be_stored_is_told_later(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: JournalFolder, cursor: Cursor) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    world.down.add("a:")
    bench, _ = logged(tmp_path, "a:")
    folder = bench.writer.folder
    delivery = JournalDelivery.open(folder, open_backend=world.open, dead_letters=DeadLetters(tmp_path))
    assert delivery is not None
    with monkeypatch.context() as patch:
        patch.setattr(lane_module, "store_cursor", refuse)
        assert delivery.lanes[0].advance() is Progress.BLOCKED
    assert delivery.lanes[0].advance() is Progress.BLOCKED
    assert "a: is down" in str(load_cursor(folder, "a:").problem)
    delivery.close()
    bench.writer.close()


def test_a_look_that_fails_is_repeated(
    tmp_path: Path, world: World, running: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "ADOPT_S", 0.02)
    failures = [1, 2, 3]
    take = JournalFolder.flush_requested

    def fail_first(folder: JournalFolder) -> bool:
        if failures:
            raise OSError(errno.EMFILE, f"too many open files ({failures.pop()})")
        return take(folder)

    monkeypatch.setattr(JournalFolder, "flush_requested", fail_first)
    bench, _ = logged(tmp_path, "a:")
    running(DeliveryService(tmp_path, own=bench.writer.folder, open_backend=world.open))
    until(lambda: not failures)
    bench.run()
    until(lambda: load_cursor(bench.writer.folder, "a:").position.sequence == bench.writer.last_sequence)
    bench.writer.close()


def test_a_journal_that_cannot_be_opened_now_is_tried_again(
    tmp_path: Path, world: World, running: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "ADOPT_S", 0.02)
    failures = [1, 2, 3]
    lock_delivery = JournalFolder.lock_delivery

    def fail_first(folder: JournalFolder) -> object:
        if failures:
            raise OSError(errno.EMFILE, f"too many open files ({failures.pop()})")
        return lock_delivery(folder)

    monkeypatch.setattr(JournalFolder, "lock_delivery", fail_first)
    folder, run_id = left_behind(tmp_path, "a:")
    assert ends(running(DeliveryService(tmp_path, own=folder, open_backend=world.open)))
    assert world.has("a:", run_id)


def test_dead_letters_are_for_their_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = DeadLetters(tmp_path)
    mask = os.umask(0)
    try:
        letters.add("a:", "j" * 32, [(1, "r", "MetricLogged", "no", b"")])
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "delivery.db").stat().st_mode) == 0o600
    assert letters.count() == {"a:": 1}
    monkeypatch.setattr(dead_letters_module.os, "access", lambda path, mode: False)  # of another user
    assert (letters.count(), letters.count_of("j" * 32), letters.read()) == ({}, 0, [])


# Many journals.


def test_only_so_many_are_adopted_at_a_time(
    tmp_path: Path, world: World, running: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "ADOPT_S", 0.1)
    world.down.add("a:")
    runs = [left_behind(tmp_path, "a:")[1] for _ in range(3 * ADOPTED_MAX)]
    own, _ = logged(tmp_path, "b:")
    service = Counting(tmp_path, own=own.writer.folder, open_backend=world.open)
    running(service)
    until(lambda: len(service._deliveries) == ADOPTED_MAX + 1)
    looks = service.looks
    until(lambda: service.looks > looks + 1)
    assert len(service._deliveries) == ADOPTED_MAX + 1
    world.down.clear()
    until(lambda: len(list(journals(tmp_path))) == 1)
    assert all(world.has("a:", run_id) for run_id in runs)
    own.writer.close()


def test_journals_that_were_given_up_are_tried_again_while_the_program_lives(
    tmp_path: Path, world: World, running: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "ADOPT_S", 0.02)
    world.down.add("a:")
    folder, run_id = left_behind(tmp_path, "a:")
    own, _ = logged(tmp_path, "b:")
    service = DeliveryService(tmp_path, own=own.writer.folder, open_backend=world.open, linger_s=0.05)
    thread = running(service)
    until(lambda: folder.journal_id in service._given_up)
    world.down.clear()
    until(lambda: not folder.path.exists())
    assert world.has("a:", run_id)
    own.writer.close()
    assert ends(thread)


def test_journals_that_were_given_up_do_not_keep_it_alive(tmp_path: Path, world: World, running: Run) -> None:
    world.down.add("a:")
    for _ in range(2 * ADOPTED_MAX + 1):
        left_behind(tmp_path, "a:")
    assert ends(running(DeliveryService(tmp_path, open_backend=world.open, linger_s=0.01)))


# What is opened is closed, what is staged goes.


def test_backends_are_closed_with_their_journal(tmp_path: Path, world: World) -> None:
    left_behind(tmp_path, "a:", "b:")
    left_behind(tmp_path, "a:")
    deliver_now(tmp_path, open_backend=world.open, deadline_s=20)
    assert world.opened == world.closed == {"a:": 2, "b:": 1}


def test_the_lock_is_let_go_when_a_backend_cannot_be_closed(tmp_path: Path, world: World) -> None:
    def broken(uri: str) -> Backend:
        def refuse() -> None:
            raise Unavailable("cannot be closed")

        return replace(world.open(uri), close=refuse)

    bench, _ = logged(tmp_path, "a:", "b:")
    folder = bench.writer.folder
    delivery = JournalDelivery.open(folder, open_backend=broken, dead_letters=DeadLetters(tmp_path))
    assert delivery is not None
    assert {lane.advance() for lane in delivery.lanes} == {Progress.DELIVERED}
    with pytest.raises(Unavailable):
        delivery.close()
    lock = folder.lock_delivery()
    assert lock is not None
    lock.release()
    bench.writer.close()


def test_by_hand_backends_outlast_a_journal(tmp_path: Path, world: World) -> None:
    for _ in range(3):
        left_behind(tmp_path, "a:")
    assert HandDelivery(tmp_path, open_backend=world.open).run() == []
    assert world.opened == world.closed == {"a:": 1}


def test_staged_files_go_after_a_restart_between_two_destinations(tmp_path: Path, world: World) -> None:
    bench = Bench(tmp_path, uris=("a:", "b:"))
    recorder = bench.run()
    recorder.content(b"x" * 100, "a.bin")
    folder = bench.writer.folder

    def deliver(*uris: str) -> None:
        deliver_now(
            tmp_path, own=folder, open_backend=world.open, deadline_s=20, destinations=frozenset(uris)
        )

    def waiting() -> list[bytes]:
        return sorted(path.read_bytes() for path in folder.staged.iterdir() if not path.suffix)

    deliver("a:")
    recorder.content(b"y" * 100, "b.bin")
    assert waiting() == [b"x" * 100, b"y" * 100]
    deliver("b:")
    assert waiting() == [b"y" * 100], "a: still needs it"
    deliver("a:", "b:")
    assert waiting() == []
    recorder.content(b"z" * 100, "c.bin")
    deliver("b:")
    assert waiting() == [b"z" * 100]
    deliver("a:")
    stored = world.open("b:").artifacts
    assert stored is not None
    assert {info.path for info in stored.list(recorder.run_id)} == {"a.bin", "b.bin", "c.bin"}
    assert list(folder.staged.iterdir()) == []
    bench.writer.close()


def test_the_staged_file_of_a_refused_artifact_goes(tmp_path: Path, world: World) -> None:
    def without_artifacts(uri: str) -> Backend:
        backend = world.open(uri)
        return replace(backend, artifacts=None) if uri == "b:" else backend

    bench = Bench(tmp_path, uris=("a:", "b:"))
    bench.run().content(b"x", "a.bin")
    deliver_now(tmp_path, own=bench.writer.folder, open_backend=without_artifacts, deadline_s=20)
    assert list(bench.writer.folder.staged.iterdir()) == []
    (letter,) = DeadLetters(tmp_path).read()
    (kept,) = DeadLetters(tmp_path).files_of(letter.journal).iterdir()
    assert kept.read_bytes() == b"x"
    bench.writer.close()


# Delivering now.


def test_delivering_now_may_be_for_some_destinations_only(tmp_path: Path, world: World) -> None:
    world.down.add("dead:")
    folder, run_id = left_behind(tmp_path, "dead:", "a:")
    only_dead, _ = left_behind(tmp_path, "dead:")
    deliver_now(tmp_path, open_backend=world.open, deadline_s=20, destinations=frozenset({"a:"}))
    assert world.has("a:", run_id)
    assert world.asked["dead:"] == 0
    assert folder.path.exists()
    assert only_dead.path.exists()


def test_delivering_now_begins_nothing_after_its_deadline(tmp_path: Path, world: World) -> None:
    left_behind(tmp_path, "a:", "b:")
    bench, _ = logged(tmp_path, "c:")
    deliver_now(tmp_path, own=bench.writer.folder, open_backend=world.open, deadline_s=0)
    assert not world.asked
    bench.writer.close()


def test_a_lane_makes_no_call_after_its_deadline_and_loses_nothing(tmp_path: Path, world: World) -> None:
    bench, run_id = logged(tmp_path, "a:")
    folder = bench.writer.folder
    delivery = JournalDelivery.open(folder, open_backend=world.open, dead_letters=DeadLetters(tmp_path))
    assert delivery is not None
    (lane,) = delivery.lanes
    lane.deadline = time.monotonic() - 1
    assert lane.advance() is Progress.BLOCKED
    assert not world.asked
    assert load_cursor(folder, "a:") == Cursor(destination="a:"), (
        "a deadline is no problem of the destination"
    )
    lane.deadline = time.monotonic() + 1000
    assert lane.advance() is Progress.DELIVERED
    assert world.has("a:", run_id)
    delivery.close()
    bench.writer.close()


def test_delivering_now_goes_past_a_journal_that_cannot_be_had(tmp_path: Path, world: World) -> None:
    broken, _ = left_behind(tmp_path, "a:")
    (broken.path / "delivery.lock").mkdir()
    _, run_id = left_behind(tmp_path, "a:")
    deliver_now(tmp_path, open_backend=world.open, deadline_s=20)
    assert world.has("a:", run_id)
    assert broken.path.exists()


def test_how_long_a_call_is_tried_can_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policies: list[float] = []
    wrap = connect_module.wrap_adapter

    def watched(adapter: object, policy: object, **options: object) -> object:
        policies.append(policy.elapsed_s_max)  # type: ignore[attr-defined]
        return wrap(adapter, policy, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(connect_module, "wrap_adapter", watched)
    for options in ({}, {"elapsed_s_max": 1.5}):
        connect_module.connect(f"file:{tmp_path}", **options).close()
    assert policies == [connect_module.ELAPSED_S_MAX, 1.5]


def test_damage_of_a_journal_is_reported_once(tmp_path: Path, world: World) -> None:
    folder, _ = left_behind(tmp_path, "a:")
    (folder.path / "journal.json").write_text("{")
    for _ in range(3):
        deliver_now(tmp_path, open_backend=world.open, deadline_s=20)
    DeadLetters(tmp_path).add_damages(folder.journal_id, [Damage(1, 32, 1, 1, "another one")])
    assert len(DeadLetters(tmp_path).damages()) == 2
