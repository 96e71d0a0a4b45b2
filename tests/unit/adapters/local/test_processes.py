"""Several processes on one store: nothing is lost, nothing doubled, whoever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.unit.adapters.local.conftest import OpenStore
from tests.unit.adapters.local.test_metrics import history, open_run, write
from trackbridge_adapters.local.adapter import LocalAdapter
from trackbridge_adapters.local.config import Settings

WRITERS = 4
BATCHES = 15
BATCH_POINTS = 40

WRITER = """
import sys
from pathlib import Path
from tests.unit.adapters.local.test_processes import write_batches
write_batches(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
"""


def batch_points(number: int) -> list[tuple[int, int, int]]:
    return [(step, step, step * 3) for step in range(number * BATCH_POINTS, (number + 1) * BATCH_POINTS)]


def write_batches(folder: Path, key: str, count: int, start: int = 0) -> None:
    """Write batches, saying after each that it was acknowledged."""
    adapter = LocalAdapter(Settings(folder=folder), lambda: 1)
    open_run(adapter)
    for number in range(start, start + count):
        write(adapter, batch_points(number), key=key)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
    adapter.close()


def start_writer(folder: Path, key: str, count: int, start: int = 0) -> subprocess.Popen[str]:
    root = Path(__file__).parents[4]
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), key, str(count), str(start)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
    )


def all_points(count: int) -> list[tuple[int, int, int]]:
    return [point for number in range(count) for point in batch_points(number)]


def test_processes_that_create_and_fill_one_store_at_once(folder: Path, open_store: OpenStore) -> None:
    writers = [start_writer(folder, f"m{number}", BATCHES) for number in range(WRITERS)]
    # Two more write halves of one metric, so that chunks are merged under contention.
    writers += [start_writer(folder, "shared", BATCHES, start) for start in (0, BATCHES)]
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    adapter = open_store()
    for number in range(WRITERS):
        assert history(adapter, key=f"m{number}") == all_points(BATCHES)
    assert history(adapter, key="shared") == all_points(2 * BATCHES)


@pytest.mark.parametrize("acknowledged", [1, 4, 11])
def test_what_a_killed_writer_had_acknowledged_is_there_and_can_be_sent_again(
    folder: Path, open_store: OpenStore, acknowledged: int
) -> None:
    writer = start_writer(folder, "m", 100_000)
    assert writer.stdout is not None
    for _ in range(acknowledged):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    said = acknowledged + len(writer.stdout.readlines())
    writer.wait()
    writer.stdout.close()

    adapter = open_store()
    stored = len(history(adapter)) // BATCH_POINTS
    assert said <= stored <= said + 1, "a batch may be committed before it is acknowledged"
    assert history(adapter) == all_points(stored), "a batch is there whole or not at all"
    for number in range(stored + 1):
        write(adapter, batch_points(number))
    assert history(adapter) == all_points(stored + 1)


def test_threads_share_an_adapter(adapter: LocalAdapter) -> None:
    open_run(adapter)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for batch in range(BATCHES):
                write(adapter, batch_points(batch), key=f"m{number % 3}")
                history(adapter, key=f"m{number % 3}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for number in range(3):
        assert history(adapter, key=f"m{number}") == all_points(BATCHES)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_uses_connections_of_its_own(adapter: LocalAdapter) -> None:
    open_run(adapter)
    write(adapter, batch_points(0))
    inherited = [connection for connection, _ in adapter._database._idle]
    child = os.fork()
    if child == 0:
        code = 1
        try:
            write(adapter, batch_points(1))
            own = [connection for connection, _ in adapter._database._idle]
            is_separate = all(connection not in inherited for connection in own)
            code = 0 if own and is_separate and history(adapter) == all_points(2) else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    write(adapter, batch_points(2))
    assert history(adapter) == all_points(3)


def test_threads_that_create_a_store_at_once_all_succeed(tmp_path: Path) -> None:
    def work(adapter: LocalAdapter, barrier: threading.Barrier, errors: list[BaseException]) -> None:
        barrier.wait()
        try:
            open_run(adapter)
        except BaseException as error:
            errors.append(error)

    errors: list[BaseException] = []
    for number in range(60):
        adapter = LocalAdapter(Settings(folder=tmp_path / str(number)), lambda: 1)
        barrier = threading.Barrier(8)
        threads = [threading.Thread(target=work, args=(adapter, barrier, errors)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        adapter.close()
    assert errors == []
