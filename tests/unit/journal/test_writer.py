"""The writing side: what was accepted is in the file, whatever threads, forks and disks do."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.unit.journal.test_recovery import point, read_all, sequences
from trackbridge.errors import InvalidInput, JournalError, JournalFull
from trackbridge.journal.folder import JournalFolder, journals
from trackbridge.journal.format import RECORD_BYTES_MAX
from trackbridge.journal.writer import JournalWarning, JournalWriter, WriterOptions


def encoded(number: int) -> bytes:
    return msgspec.msgpack.encode(point(number))


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[JournalWriter]:
    writer = JournalWriter(tmp_path / "journal", ("file:/somewhere",))
    yield writer
    writer.close()


def small_writer(tmp_path: Path, **options: object) -> JournalWriter:
    return JournalWriter(tmp_path / "journal", ("file:/x",), options=WriterOptions(**options))  # type: ignore[arg-type]


def test_each_append_is_one_write(writer: JournalWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: sizes.append(len(data)) or write(fd, data))
    for number in range(1, 4):
        writer.append(encoded(number))
    assert len(sizes) == 3
    assert sequences(read_all(writer.folder, writer_lives=True, bytes_max=4096)) == [1, 2, 3]


def test_files_are_private(writer: JournalWriter) -> None:
    writer.append(encoded(1))
    assert writer.folder.path.stat().st_mode & 0o077 == 0
    assert writer.folder.segment(1).stat().st_mode & 0o077 == 0


def test_segments_roll_and_nothing_is_lost(tmp_path: Path) -> None:
    writer = small_writer(tmp_path, segment_bytes_max=1000)
    for number in range(1, 101):
        writer.append(encoded(number))
    writer.close()
    assert len(writer.folder.segment_numbers()) > 5
    assert sequences(read_all(writer.folder, bytes_max=4096)) == list(range(1, 101))


def test_a_record_larger_than_a_segment_gets_one_of_its_own(tmp_path: Path) -> None:
    writer = small_writer(tmp_path, segment_bytes_max=1000)
    for body in (encoded(1), msgspec.msgpack.encode([5, "a" * 32, 1, {"k": "v" * 5000}]), encoded(3)):
        writer.append(body)
    writer.close()
    assert sequences(read_all(writer.folder, bytes_max=100_000)) == [1, 2, 3]


def test_a_record_beyond_the_limit_is_refused_and_the_journal_goes_on(writer: JournalWriter) -> None:
    with pytest.raises(InvalidInput, match="exceeds the limit"):
        writer.append(bytes(RECORD_BYTES_MAX + 1))
    writer.append(encoded(2))
    assert len(read_all(writer.folder, writer_lives=True, bytes_max=4096).records) == 1


def test_threads_write_whole_records_with_their_own_sequences(writer: JournalWriter) -> None:
    found: list[int] = []

    def log() -> None:
        found.extend(writer.append(encoded(1)) for _ in range(2000))

    threads = [threading.Thread(target=log) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    window = read_all(writer.folder, writer_lives=True, bytes_max=1 << 20)
    assert sorted(found) == sequences(window) == list(range(1, 8001))


def test_a_signal_handler_may_log_while_a_record_is_written(writer: JournalWriter) -> None:
    count = 0

    def handler(number: int, frame: object) -> None:
        nonlocal count
        writer.append(encoded(1))
        count += 1

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for _ in range(20_000):
            writer.append(encoded(1))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert count > 0
    window = read_all(writer.folder, writer_lives=True, bytes_max=1 << 20)
    assert len(window.records) == 20_000 + count
    assert window.damages == []


def test_a_fork_gets_a_journal_of_its_own(tmp_path: Path) -> None:
    started: list[str] = []
    writer = JournalWriter(
        tmp_path / "journal", ("file:/x",), on_start=lambda made: started.append(made.folder.journal_id)
    )
    writer.append(encoded(1))
    child = os.fork()
    if child == 0:
        try:
            sequence = writer.append(encoded(1))
            os._exit(0 if sequence == 1 and len(started) == 2 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    writer.append(encoded(2))
    found = {folder.journal_id: folder for folder in journals(tmp_path / "journal")}
    assert len(found) == 2
    own = found.pop(writer.folder.journal_id)
    assert sequences(read_all(own, writer_lives=True, bytes_max=4096)) == [1, 2]
    (forked,) = found.values()
    assert sequences(read_all(forked, bytes_max=4096)) == [1]
    assert own.writer_lives()
    assert not forked.writer_lives()
    writer.close()


def test_the_lock_of_a_killed_writer_is_free_although_its_fork_lives(tmp_path: Path) -> None:
    ready, release = os.pipe(), os.pipe()
    parent = os.fork()
    if parent == 0:
        writer = JournalWriter(tmp_path / "journal", ("file:/x",))
        writer.append(encoded(1))
        if os.fork() == 0:
            os.write(ready[1], b"x")
            os.read(release[0], 1)
            os._exit(0)
        signal.pause()
    os.read(ready[0], 1)
    (folder,) = journals(tmp_path / "journal")
    assert folder.writer_lives()
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert not folder.writer_lives()
    os.write(release[1], b"x")


def test_a_closed_writer_refuses_and_is_dead(writer: JournalWriter) -> None:
    writer.append(encoded(1))
    writer.close()
    writer.close()
    assert not writer.folder.writer_lives()
    assert writer.folder.was_closed()
    with pytest.raises(JournalError, match="closed"):
        writer.append(encoded(2))


def test_the_bound_refuses_tells_once_and_clears_by_itself(tmp_path: Path) -> None:
    writer = small_writer(tmp_path, bytes_max=2000, segment_bytes_max=600)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        accepted = [number for number in range(1, 60) if writer.append(encoded(number))]
        refused = writer.refused
        assert refused == 59 - len(accepted) > 0
        for segment in writer.folder.segment_numbers()[:-1]:  # as delivery does
            writer.folder.segment(segment).unlink()
        assert writer.append(encoded(60)) > 0
    told = [str(item.message) for item in caught if item.category is JournalWarning]
    assert len(told) == 2
    assert "refuses records" in told[0]
    assert "BRIDGE_JOURNAL_BYTES_MAX" in told[0]
    assert f"{refused} were refused" in told[1]
    writer.close()


def test_a_journal_at_its_bound_goes_on_once_it_is_delivered(tmp_path: Path) -> None:
    """Also when the bound is smaller than a segment: the segment is finished, so that it can be deleted."""
    writer = small_writer(tmp_path, bytes_max=2000)
    with pytest.warns(JournalWarning, match="refuses records"):
        while writer.append(encoded(1)):
            pass
    numbers = writer.folder.segment_numbers()
    assert len(numbers) == 2
    writer.folder.segment(numbers[0]).unlink()  # as delivery does
    with pytest.warns(JournalWarning, match="accepts records again"):
        assert writer.append(encoded(1))
    writer.close()


def test_what_is_refused_takes_no_number(tmp_path: Path) -> None:
    writer = small_writer(tmp_path, bytes_max=2000)
    with pytest.warns(JournalWarning):
        accepted = [sequence for sequence in (writer.append(encoded(1)) for _ in range(100)) if sequence]
    assert writer.last_sequence == len(accepted) == accepted[-1]
    with pytest.raises(InvalidInput):
        writer.append(bytes(RECORD_BYTES_MAX + 1), 3)
    assert writer.last_sequence == len(accepted)
    writer.close()


def test_the_end_of_a_run_passes_the_bound(tmp_path: Path) -> None:
    writer = small_writer(tmp_path, bytes_max=2000)
    with pytest.warns(JournalWarning):
        while writer.append(encoded(1)):
            pass
    before = writer.last_sequence
    writer.append_control(encoded(2))
    assert writer.last_sequence == before + 1
    writer.close()
    assert writer.folder.was_closed()


def test_a_full_disk_delays_control_records_and_nothing_else_goes_before_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = small_writer(tmp_path)
    writer.append(encoded(1))
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.warns(JournalWarning, match="refuses records"):
        writer.append_control(encoded(2))
    assert writer.append(encoded(3)) == 0
    monkeypatch.setattr(os, "write", write)
    with pytest.warns(JournalWarning, match="accepts records again"):
        writer.append(encoded(4))
    found = [record.step for _, record in read_all(writer.folder, writer_lives=True, bytes_max=4096).records]  # type: ignore[union-attr]
    assert found == [1, 2, 4]
    writer.close()


def test_a_writer_whose_runs_end_could_not_be_written_did_not_end_in_good_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = small_writer(tmp_path)

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.warns(JournalWarning):
        writer.append_control(encoded(2))
    writer.close()
    assert not writer.folder.was_closed()


def test_a_fork_that_could_not_begin_tries_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = small_writer(tmp_path)
    writer.append(encoded(1))
    writer._process_id = 0  # as in a forked process
    create = JournalFolder.create

    def fail(*_: object) -> object:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(JournalFolder, "create", fail)
    with pytest.raises(JournalError, match="no journal can be made"):
        writer.enter_process()
    monkeypatch.setattr(JournalFolder, "create", create)
    writer.enter_process()
    assert writer.append(encoded(1)) == 1
    writer.close()


def test_the_keeper_survives_an_error(tmp_path: Path) -> None:
    ticks: list[int] = []

    def tick(writer: JournalWriter) -> None:
        ticks.append(1)
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    with pytest.warns(JournalWarning, match="cared for"):
        writer = JournalWriter(
            tmp_path / "journal", ("file:/x",), options=WriterOptions(fsync_interval_s=0.01), on_tick=tick
        )
        deadline = time.monotonic() + 20
        while len(ticks) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(ticks) >= 3
    writer.close()


def test_strict_raises_instead(tmp_path: Path) -> None:
    writer = small_writer(tmp_path, bytes_max=300, strict=True)
    assert writer.append(encoded(1))
    with pytest.raises(JournalFull, match="refuses records") as caught:
        writer.append(msgspec.msgpack.encode([5, "a" * 32, 1, {"k": "v" * 300}]))
    assert "free disk space" in str(caught.value.hint)
    writer.close()


@pytest.fixture
def file_size_limit() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_cut_short_by_a_quota_is_taken_back(tmp_path: Path, file_size_limit: None) -> None:
    writer = small_writer(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = [writer.append(encoded(number)) for number in range(1, 200)]
    accepted = [sequence for sequence in results if sequence]
    assert 0 < len(accepted) < 199
    window = read_all(writer.folder, writer_lives=True, bytes_max=1 << 20)
    assert sequences(window) == accepted
    assert window.damages == []
    assert len(caught) == 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with pytest.warns(JournalWarning, match="accepts records again"):
        assert writer.append(encoded(200))
    assert sequences(read_all(writer.folder, writer_lives=True, bytes_max=1 << 20))[:-1] == accepted
    writer.close()


def test_a_folder_that_cannot_be_made_is_an_error_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("in the way")
    with pytest.raises(JournalError, match="no journal can be made") as caught:
        JournalWriter(tmp_path / "journal", ("file:/x",))
    assert "BRIDGE_HOME" in str(caught.value.hint)


def test_the_description_travels_with_a_moved_project(tmp_path: Path) -> None:
    from trackbridge.domain.file_uris import file_uri

    store = tmp_path / "before"
    destinations = (file_uri(store), "azureml:")
    writer = JournalWriter(store / "journal", destinations)
    writer.close()
    store.rename(tmp_path / "after")
    (folder,) = journals(tmp_path / "after" / "journal")
    assert folder.describe().destinations == (file_uri(tmp_path / "after"), "azureml:")
    assert isinstance(folder, JournalFolder)


def test_a_deleted_journal_is_told_and_begun_again(tmp_path: Path) -> None:
    started: list[str] = []
    writer = JournalWriter(
        tmp_path / "journal", ("file:/x",), on_start=lambda made: started.append(made.folder.journal_id)
    )
    writer.append(encoded(1))
    shutil.rmtree(tmp_path / "journal")
    with pytest.warns(JournalWarning, match="was deleted"):
        writer.keep()
    assert len(started) == 2
    writer.append(encoded(1))
    assert sequences(read_all(writer.folder, writer_lives=True, bytes_max=4096)) == [1]
    writer.close()
