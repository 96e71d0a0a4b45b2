"""Delivery by hand takes what nobody else delivers, and says what is left."""

from __future__ import annotations

from pathlib import Path

from tests.support.journals import URI, Bench
from tests.support.memory_adapter import MemoryAdapter, MemoryState
from trackbridge.delivery.backend import Backend
from trackbridge.delivery.by_hand import HandDelivery
from trackbridge.domain.runs import RunStatus
from trackbridge.errors import Unavailable
from trackbridge.journal.folder import journals
from trackbridge.testing.faults import Faults, faulty_adapter

OTHER = "other:"


def bench_with_points(root: Path, **options: object) -> tuple[Bench, str]:
    bench = Bench(root, **options)  # type: ignore[arg-type]
    recorder = bench.run()
    for step in range(100):
        recorder.metric("loss", 0.5, step)
    recorder.close(RunStatus.FINISHED)
    return bench, recorder.run_id


def test_journal_of_a_dead_writer_goes(tmp_path: Path) -> None:
    bench, run_id = bench_with_points(tmp_path / "journal")
    bench.writer.close()
    seen: list[int] = []
    by_hand = HandDelivery(bench.root, open_backend=bench.backend)
    assert by_hand.total == bench.writer.last_sequence
    assert by_hand.run(seen.append) == []
    assert seen[-1] == by_hand.delivered() == by_hand.total
    assert list(journals(bench.root)) == []
    assert len(bench.adapter.state.runs[run_id].points["loss"]) == 100  # type: ignore[attr-defined]


def test_living_writer_keeps_its_journal(tmp_path: Path) -> None:
    bench, run_id = bench_with_points(tmp_path / "journal")
    assert HandDelivery(bench.root, open_backend=bench.backend).run() == []
    assert bench.writer.folder.path.exists()
    assert run_id in bench.adapter.state.runs  # type: ignore[attr-defined]
    again = HandDelivery(bench.root, open_backend=bench.backend)
    assert again.total == 0
    assert again.run() == []


def test_what_another_process_delivers_is_left_to_it(tmp_path: Path) -> None:
    bench, _ = bench_with_points(tmp_path / "journal")
    lock = bench.writer.folder.lock_delivery()
    assert lock is not None
    (left,) = HandDelivery(bench.root, open_backend=bench.backend).run(others_wait_s=0.1)
    assert (left.destination, left.pending) == (URI, bench.writer.last_sequence)
    assert left.why == "another process is delivering it"
    assert bench.writer.folder.flush_requested()
    lock.release()


def test_one_destination_away_the_other_not(tmp_path: Path) -> None:
    bench, run_id = bench_with_points(tmp_path / "journal", uris=(URI, OTHER))
    bench.writer.close()
    with_faults = Bench(tmp_path / "x", faulty_adapter(MemoryAdapter(MemoryState()), Faults(transient=1.0)))

    def open_backend(uri: str) -> Backend:
        return with_faults.backend(uri) if uri == OTHER else bench.backend(uri)

    (left,) = HandDelivery(bench.root, open_backend=open_backend).run()
    assert left.destination == OTHER
    assert "Unavailable" in left.why or "Exhausted" in left.why
    assert run_id in bench.adapter.state.runs  # type: ignore[attr-defined]
    assert HandDelivery(bench.root, open_backend=bench.backend).run() == []


def test_backend_that_cannot_be_opened(tmp_path: Path) -> None:
    bench, _ = bench_with_points(tmp_path / "journal")
    bench.writer.close()

    def closed(uri: str) -> Backend:
        raise Unavailable("closed")

    (left,) = HandDelivery(bench.root, open_backend=closed).run()
    assert left.why == "Unavailable: closed"


def test_damaged_description(tmp_path: Path) -> None:
    bench, run_id = bench_with_points(tmp_path / "journal")
    bench.writer.close()
    (bench.writer.folder.path / "journal.json").write_bytes(b"\x00")
    (left,) = HandDelivery(bench.root, open_backend=bench.backend).run()
    assert left.destination == ""
    assert "cannot be read" in left.why
    assert HandDelivery(bench.root, open_backend=bench.backend, destinations=(URI,)).run() == []
    assert run_id in bench.adapter.state.runs  # type: ignore[attr-defined]


def test_damaged_description_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    bench, _ = bench_with_points(tmp_path / "journal")
    description = bench.writer.folder.path / "journal.json"
    description.write_bytes(b"\x00")
    assert len(HandDelivery(bench.root, open_backend=bench.backend, destinations=(URI,)).run()) == 1
    assert description.read_bytes() == b"\x00"


def test_backends_are_opened_once_and_closed(tmp_path: Path) -> None:
    opened: list[str] = []
    closed: list[str] = []
    benches = [bench_with_points(tmp_path / "journal")[0] for _ in range(3)]
    for bench in benches:
        bench.writer.close()

    def open_backend(uri: str) -> Backend:
        opened.append(uri)
        real = benches[0].backend(uri)
        return Backend(
            uri=uri,
            tracking=real.tracking,
            artifacts=real.artifacts,
            capabilities=real.capabilities,
            close=lambda: closed.append(uri),
        )

    assert HandDelivery(benches[0].root, open_backend=open_backend).run() == []
    assert opened == closed == [URI]
