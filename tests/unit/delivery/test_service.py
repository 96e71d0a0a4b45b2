"""Who delivers which journal, what is adopted, and what one destination's trouble means for the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.deliveries import Run, World, die, logged, until
from tests.support.journals import Bench
from trackbridge.delivery import lane as lane_module
from trackbridge.delivery import service as service_module
from trackbridge.delivery.backend import Backend
from trackbridge.delivery.by_hand import HandDelivery
from trackbridge.delivery.dead_letters import DeadLetters
from trackbridge.delivery.service import DeliveryService, JournalDelivery, deliver_now
from trackbridge.domain.runs import RunStatus
from trackbridge.errors import AuthError, NotFound, RateLimited
from trackbridge.journal.cursors import load_cursor
from trackbridge.journal.folder import journals

pytestmark = pytest.mark.usefixtures("impatient")


def test_a_service_delivers_follows_and_ends_with_its_writer(
    tmp_path: Path, world: World, running: Run
) -> None:
    bench, run_id = logged(tmp_path, "a:")
    thread = running(DeliveryService(tmp_path, own=bench.writer.folder, open_backend=world.open))
    bench.writer.folder.request_flush()
    until(lambda: "a:" in world.states and run_id in world.states["a:"].runs)
    until(lambda: len(world.steps("a:", run_id)) == 5)
    assert thread.is_alive()
    die(bench)
    thread.join(20)
    assert not thread.is_alive()
    assert world.open("a:").tracking.get_run(run_id).info.status is RunStatus.KILLED
    assert list(journals(tmp_path)) == []


def test_one_destination_that_is_down_delays_only_itself(tmp_path: Path, world: World, running: Run) -> None:
    world.down.add("b:")
    bench, run_id = logged(tmp_path, "a:", "b:")
    running(DeliveryService(tmp_path, own=bench.writer.folder, open_backend=world.open))
    until(lambda: "a:" in world.states and run_id in world.states["a:"].runs)
    assert bench.writer.folder.segment_numbers() == [1]
    die(bench)
    until(lambda: world.open("a:").tracking.get_run(run_id).info.status is RunStatus.KILLED)
    assert len(list(journals(tmp_path))) == 1, "kept for the one that is down"
    world.down.clear()
    until(lambda: not list(journals(tmp_path)))
    assert world.steps("b:", run_id) == list(range(5))


def test_journals_left_behind_are_adopted(tmp_path: Path, world: World, running: Run) -> None:
    left, left_run = logged(tmp_path, "a:")
    die(left)
    own, _ = logged(tmp_path, "a:")
    running(DeliveryService(tmp_path, own=own.writer.folder, open_backend=world.open))
    until(lambda: not left.writer.folder.path.exists())
    assert world.steps("a:", left_run) == list(range(5))
    assert own.writer.folder.path.exists()
    own.writer.close()


def test_two_services_never_deliver_one_journal_at_once(tmp_path: Path, world: World) -> None:
    bench, _ = logged(tmp_path, "a:")
    dead_letters = DeadLetters(tmp_path)
    first = JournalDelivery.open(bench.writer.folder, open_backend=world.open, dead_letters=dead_letters)
    assert first is not None
    assert (
        JournalDelivery.open(bench.writer.folder, open_backend=world.open, dead_letters=dead_letters) is None
    )
    first.close()
    second = JournalDelivery.open(bench.writer.folder, open_backend=world.open, dead_letters=dead_letters)
    assert second is not None
    second.close()
    bench.writer.close()


def test_a_service_gives_up_after_its_program_when_nothing_is_taken(tmp_path: Path, world: World) -> None:
    world.down.add("a:")
    bench, run_id = logged(tmp_path, "a:")
    die(bench)
    DeliveryService(tmp_path, own=bench.writer.folder, open_backend=world.open, linger_s=0.05).run()
    (left,) = journals(tmp_path)
    world.down.clear()
    deliver_now(tmp_path, open_backend=world.open, deadline_s=20)
    assert world.steps("a:", run_id) == list(range(5))
    assert not left.path.exists()


def test_delivering_now_leaves_the_journals_of_others_alone(tmp_path: Path, world: World) -> None:
    living, living_run = logged(tmp_path, "a:")
    dead, dead_run = logged(tmp_path, "a:")
    die(dead)
    deliver_now(tmp_path, open_backend=world.open, deadline_s=20)
    assert world.steps("a:", dead_run) == list(range(5))
    with pytest.raises(NotFound):
        world.steps("a:", living_run)
    deliver_now(tmp_path, own=living.writer.folder, open_backend=world.open, deadline_s=20)
    assert world.steps("a:", living_run) == list(range(5))
    living.writer.close()


def test_delivered_segments_and_staged_files_are_deleted(tmp_path: Path, world: World) -> None:
    bench = Bench(tmp_path, uris=("a:",), segment_bytes_max=2000)
    recorder = bench.run()
    recorder.content(b"x" * 1000, "a.bin")
    for step in range(500):
        recorder.metric("loss", 1.0, step)
    folder = bench.writer.folder
    assert len(folder.segment_numbers()) > 10
    deliver_now(tmp_path, own=folder, open_backend=world.open, deadline_s=20)
    assert len(folder.segment_numbers()) == 1
    assert list(folder.staged.iterdir()) == []
    assert world.steps("a:", recorder.run_id) == list(range(500))
    bench.writer.close()


def test_a_journal_without_description_is_left_and_reported(tmp_path: Path, world: World) -> None:
    bench, _ = logged(tmp_path, "a:")
    die(bench)
    (bench.writer.folder.path / "journal.json").write_text("{}")
    deliver_now(tmp_path, open_backend=world.open, deadline_s=20)
    assert bench.writer.folder.path.exists()
    (damage,) = DeadLetters(tmp_path).damages()
    assert "description" in damage.reason


def test_hurrying_ends_at_the_first_obstacle(tmp_path: Path, world: World, running: Run) -> None:
    world.down.add("b:")
    bench, run_id = logged(tmp_path, "a:", "b:")
    service = DeliveryService(tmp_path, own=bench.writer.folder, open_backend=world.open)
    thread = running(service)
    until(lambda: "a:" in world.states and run_id in world.states["a:"].runs)
    die(bench)
    service.hurry()
    thread.join(20)
    assert not thread.is_alive()
    assert len(list(journals(tmp_path))) == 1


def test_somebody_who_waits_makes_a_paused_delivery_try_again(
    tmp_path: Path, world: World, running: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "RETRY_S_MIN", 3600)
    monkeypatch.setattr(lane_module, "RETRY_S_MAX", 3600)
    monkeypatch.setattr(service_module, "ASKED_S", 0.0)
    world.down.add("a:")
    bench, run_id = logged(tmp_path, "a:")
    running(DeliveryService(tmp_path, own=bench.writer.folder, open_backend=world.open))
    until(lambda: load_cursor(bench.writer.folder, "a:").problem is not None)
    world.down.clear()
    assert HandDelivery(tmp_path, open_backend=world.open).run() == []
    assert world.steps("a:", run_id) == list(range(5))
    die(bench)


def test_a_destination_that_asked_to_be_left_alone_is_whoever_waits(
    tmp_path: Path, world: World, running: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "ASKED_S", 0.0)
    asked: list[str] = []

    def refuse(uri: str) -> Backend:
        asked.append(uri)
        raise RateLimited("slower", retry_after_s=3600)

    bench, _ = logged(tmp_path, "a:")
    running(DeliveryService(tmp_path, own=bench.writer.folder, open_backend=refuse))
    until(lambda: bool(asked))
    (left,) = HandDelivery(tmp_path, open_backend=refuse).run(others_wait_s=0.5)
    assert left.pending == bench.writer.last_sequence
    assert asked == ["a:"]
    die(bench)


def test_who_is_refused_lets_go_of_a_dead_programs_journal_for_better_credentials(
    tmp_path: Path, world: World, running: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "ASKED_S", 0.0)

    def refuse(uri: str) -> Backend:
        raise AuthError("the token has expired")

    bench, run_id = logged(tmp_path, "a:")
    die(bench)
    thread = running(DeliveryService(tmp_path, own=bench.writer.folder, open_backend=refuse))
    until(lambda: load_cursor(bench.writer.folder, "a:").problem is not None)
    assert HandDelivery(tmp_path, open_backend=world.open).run() == []
    assert world.steps("a:", run_id) == list(range(5))
    thread.join(20)
    assert not thread.is_alive()
