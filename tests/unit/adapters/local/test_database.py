"""The database file: made late, checked when opened, given back when it vanishes."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from tests.unit.adapters.local.conftest import OpenStore
from tests.unit.adapters.local.test_metrics import history, open_run, write
from trackbridge.domain.batches import Batch, Setting
from trackbridge.domain.search import Query
from trackbridge.errors import AuthError, ConfigError, NotFound, Transient, Unavailable
from trackbridge.ports.adapter import AdapterContext
from trackbridge_adapters.local import open_adapter
from trackbridge_adapters.local.adapter import LocalAdapter


def test_reading_an_absent_store_finds_nothing_and_creates_nothing(
    adapter: LocalAdapter, folder: Path
) -> None:
    assert len(adapter.tracking.list_experiments()) == 0
    assert len(adapter.tracking.list_runs("e")) == 0
    assert len(adapter.tracking.search_runs(("e",), query=Query())) == 0
    assert len(adapter.artifacts.list("r")) == 0
    adapter.artifacts.delete("r", "a")
    for call in (
        lambda: adapter.tracking.get_run("r"),
        lambda: adapter.tracking.metric_history("r", "m"),
        lambda: adapter.tracking.delete_run("r"),
        lambda: adapter.tracking.write(Batch(run_id="r")),
        lambda: adapter.tracking.delete_experiment("e"),
        lambda: adapter.artifacts.stat("r", "a"),
    ):
        with pytest.raises(NotFound):
            call()
    adapter.check(write=False)
    assert not folder.exists()


def test_a_store_that_was_deleted_is_absent_and_can_be_made_again(
    adapter: LocalAdapter, folder: Path
) -> None:
    open_run(adapter)
    shutil.rmtree(folder)
    with pytest.raises(NotFound):
        adapter.tracking.get_run("r")
    open_run(adapter)
    write(adapter, [(1, 1, 1)])
    assert history(adapter) == [(1, 1, 1)]


def test_an_acknowledged_write_is_synchronous(adapter: LocalAdapter) -> None:
    open_run(adapter)
    with adapter._database.reading("test") as connection:
        assert connection is not None
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_newer_schema_is_refused(adapter: LocalAdapter, folder: Path, open_store: OpenStore) -> None:
    open_run(adapter)
    adapter.close()
    with sqlite3.connect(folder / "store.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for call in (lambda: open_store().tracking.get_run("r"), lambda: open_run(open_store())):
        with pytest.raises(ConfigError, match="version 99") as caught:
            call()
        assert "upgrade" in (caught.value.hint or "")


def test_the_database_of_another_program_is_left_alone(folder: Path, adapter: LocalAdapter) -> None:
    folder.mkdir()
    with sqlite3.connect(folder / "store.db") as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    with pytest.raises(ConfigError, match="another program"):
        open_run(adapter)


def test_a_file_that_is_no_database(folder: Path, adapter: LocalAdapter) -> None:
    folder.mkdir()
    (folder / "store.db").write_bytes(b"not a database at all" * 100)
    for call in (lambda: open_run(adapter), lambda: adapter.tracking.get_run("r")):
        with pytest.raises(ConfigError) as caught:
            call()
        assert "recover" in (caught.value.hint or "")


def test_a_store_that_another_process_writes_to_is_transient(open_store: OpenStore, folder: Path) -> None:
    adapter = open_store(busy_timeout_s="0.05")
    open_run(adapter)
    other = sqlite3.connect(folder / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Transient):
        write(adapter, [(1, 1, 1)])
    assert history(adapter) == [], "readers do not wait"
    other.execute("ROLLBACK")
    other.close()
    write(adapter, [(1, 1, 1)])
    assert history(adapter) == [(1, 1, 1)]


def test_a_full_disk_is_unavailable_and_loses_nothing(adapter: LocalAdapter) -> None:
    open_run(adapter)
    write(adapter, [(1, 1, 1)])
    with adapter._database.reading("test") as connection:
        assert connection is not None
    limited = adapter._database._idle[-1][0]
    pages = limited.execute("PRAGMA page_count").fetchone()[0]
    limited.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unavailable) as caught:
        adapter.tracking.write(Batch(run_id="r", params=[Setting("p", "x" * 1_000_000, 1)]))
    assert "disk" in str(caught.value)
    assert "space" in (caught.value.hint or "")
    assert adapter.tracking.get_run("r").data.params == {}
    limited.execute("PRAGMA max_page_count = 1000000")
    adapter.tracking.write(Batch(run_id="r", params=[Setting("p", "x" * 1_000_000, 1)]))
    assert history(adapter) == [(1, 1, 1)]
    assert len(adapter.tracking.get_run("r").data.params["p"]) == 1_000_000


def test_a_folder_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    context = AdapterContext(home=tmp_path, options={}, clock_ms=lambda: 1)
    adapter = open_adapter(f"file:{tmp_path}/file/store", context=context)
    assert isinstance(adapter, LocalAdapter)
    assert len(adapter.tracking.list_runs("e")) == 0
    with pytest.raises(Exception, match="file and a folder"):
        open_run(adapter)


@pytest.mark.parametrize("uri", ["file:relative", "file:", "file:./x", "file:/a%00b"])
def test_a_uri_without_an_absolute_folder_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        open_adapter(uri, context=AdapterContext(home=tmp_path, options={}, clock_ms=lambda: 1))


@pytest.mark.parametrize("seconds", ["", "soon", "-1", "nan", "inf", "1e9"])
def test_a_wrong_timeout_is_refused(seconds: str, open_store: OpenStore) -> None:
    with pytest.raises(ConfigError):
        open_store(busy_timeout_s=seconds)


def test_a_read_only_database_is_a_matter_of_permission(adapter: LocalAdapter) -> None:
    open_run(adapter)
    adapter._database._idle[-1][0].execute("PRAGMA query_only = 1")
    with pytest.raises(AuthError):
        write(adapter, [(1, 1, 1)])


def test_a_store_that_another_process_is_creating_is_waited_for(open_store: OpenStore, folder: Path) -> None:
    folder.mkdir()
    other = sqlite3.connect(folder / "store.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Transient):
        open_run(open_store(busy_timeout_s="0.05"))
    release = threading.Timer(0.1, lambda: other.execute("ROLLBACK"))
    release.start()
    assert open_run(open_store()) == "r"
    release.join()
    other.close()
