"""Stores of earlier releases: upgraded in place, whole or not at all, and readable where they cannot be."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.adapters.local.conftest import OpenStore
from tests.unit.adapters.local.test_metrics import history, open_run, write
from trackbridge.domain.batches import Batch, Setting
from trackbridge.domain.models import ModelVersionSpec
from trackbridge.domain.runs import Run
from trackbridge.errors import AuthError, BridgeError, NotFound
from trackbridge_adapters.local import database, rows
from trackbridge_adapters.local.adapter import LocalAdapter
from trackbridge_adapters.local.config import Settings
from trackbridge_adapters.local.schema import APPLICATION_ID, STEPS, VERSION, statements_after

RELEASED = {1: "82ce456a5540222ec7aafd570f06c4d68aa7e0dc1ba3e86e118db45367d65b99"}
"""SHA-256 of the statements of each version that is in users' hands."""

PROCESSES = 4
NOBODY = 65534

UPGRADER = """
import sys
from pathlib import Path
from tests.unit.adapters.local.test_upgrade import upgrade_when_told
upgrade_when_told(Path(sys.argv[1]), sys.argv[2])
"""


@pytest.fixture
def old_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a store of version 1 with a run in it."""
    folder.mkdir()
    with sqlite3.connect(folder / "store.db", isolation_level=None) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for statement in STEPS[1][0].split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    with monkeypatch.context() as patch:
        patch.setattr(database, "VERSION", 1)
        patch.setattr(rows, "load_links", lambda *_: {})  # which nobody did then
        adapter = LocalAdapter(Settings(folder=folder), lambda: 1000)
        open_run(adapter)
        write(adapter, [(step, step, step) for step in range(100)])
        adapter.tracking.write(Batch(run_id="r", params=[Setting("p", "1", 1)], tags=[Setting("t", "2", 2)]))
        adapter.close()
    assert version_of(folder) == 1
    return folder


def version_of(folder: Path) -> int:
    connection = sqlite3.connect(folder / "store.db")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return int(version)


def tables_of(folder: Path) -> list[tuple[str, str]]:
    """Return the names and statements of all tables and indices."""
    connection = sqlite3.connect(folder / "store.db")
    found = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    connection.close()
    return found


def check_run(adapter: LocalAdapter) -> Run:
    """See that the run of the old store is all there."""
    run = adapter.tracking.get_run("r")
    assert (run.data.params, run.data.tags["t"]) == ({"p": "1"}, "2")
    assert history(adapter) == [(step, step, step) for step in range(100)]
    return run


def register(adapter: LocalAdapter, key: str) -> str:
    """Register a version and return its number."""
    adapter.registry.ensure_model("wine")
    spec = ModelVersionSpec(name="wine", source="s3://x", digest="d")
    return adapter.registry.create_version(spec, key=key).version


def test_what_was_released_is_never_edited() -> None:
    found = {
        version: hashlib.sha256("".join(STEPS[version]).encode()).hexdigest()
        for version in STEPS
        if version in RELEASED
    }
    assert found == RELEASED, "add a step instead; the stores of users have been made by the old one"


def test_an_old_store_is_upgraded_when_it_is_read(old_store: Path, open_store: OpenStore) -> None:
    adapter = open_store()
    check_run(adapter)
    assert len(adapter.registry.list_models()) == 0
    assert version_of(old_store) == VERSION


def test_an_old_store_is_upgraded_when_it_is_written(old_store: Path, open_store: OpenStore) -> None:
    adapter = open_store()
    assert register(adapter, "k") == "1"
    check_run(adapter)
    write(adapter, [(100, 100, 100)])
    assert len(history(adapter)) == 101
    assert version_of(old_store) == VERSION


def test_an_upgraded_store_is_like_a_new_one(old_store: Path, open_store: OpenStore, tmp_path: Path) -> None:
    check_run(open_store())
    new = LocalAdapter(Settings(folder=tmp_path / "new"), lambda: 1)
    open_run(new)
    new.close()
    assert tables_of(old_store) == tables_of(tmp_path / "new")


def upgrade_when_told(folder: Path, name: str) -> None:
    """Open the store when a line comes in, read it and register a version."""
    adapter = LocalAdapter(Settings(folder=folder), lambda: 1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    check_run(adapter)
    sys.stdout.write(register(adapter, name))
    adapter.close()


def test_processes_that_upgrade_a_store_at_once_all_succeed(old_store: Path, open_store: OpenStore) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", UPGRADER, str(old_store), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[4],
        )
        for number in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES
    assert sorted(said) == ["1", "2", "3", "4"]
    check_run(open_store())
    assert version_of(old_store) == VERSION


def test_an_upgrade_that_fails_midway_leaves_the_old_store_as_it_was(
    old_store: Path, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tables_of(old_store)
    statements = statements_after(1)
    for count in (1, len(statements) // 2, len(statements)):
        with monkeypatch.context() as patch:
            broken = [*statements[:count], "CREATE nonsense"]
            patch.setattr(database, "statements_after", lambda _, broken=broken: broken)
            with pytest.raises(BridgeError):
                open_store().tracking.get_run("r")
        assert (version_of(old_store), tables_of(old_store)) == (1, before)
    check_run(open_store())
    assert version_of(old_store) == VERSION


def test_an_upgrade_on_a_full_disk_leaves_the_old_store_as_it_was(
    old_store: Path, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tables_of(old_store)
    connect = database.Database._connect

    def connect_to_a_full_disk(self: database.Database, mode: str) -> sqlite3.Connection:
        connection = connect(self, mode)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(database.Database, "_connect", connect_to_a_full_disk)
        with pytest.raises(BridgeError, match="disk"):
            register(open_store(), "k")
    assert (version_of(old_store), tables_of(old_store)) == (1, before)
    assert register(open_store(), "k") == "1"


# Stores that may not be written.


@pytest.fixture(params=["an old store", "a new store"])
def any_store(request: pytest.FixtureRequest, old_store: Path, open_store: OpenStore) -> Path:
    """Return the folder of a store with a run, of version 1 or of this version; nobody has it open."""
    if request.param == "a new store":
        adapter = open_store()
        register(adapter, "k")
        adapter.close()
    return old_store


@pytest.fixture
def public_store(any_store: Path) -> Iterator[Path]:
    """Return a copy of the store at a place that every user can reach."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    shutil.copytree(any_store, place / "store")
    yield place / "store"
    (place / "store").chmod(0o755)
    shutil.rmtree(place)


def without_rights(work: Callable[[], None]) -> None:
    """Work in a child that has no more rights than others; a superuser may read and write everything."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            work()
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        assert said.read() == ""
    os.waitpid(child, 0)


def check_readable(folder: Path, version: int) -> None:
    """See that a store of this version can be read, and not be written."""
    adapter = LocalAdapter(Settings(folder=folder), lambda: 1)
    names = ["wine"] if version == VERSION else []
    for _ in range(2):
        run = check_run(adapter)
        assert [item.info.run_id for item in adapter.tracking.list_runs(run.info.experiment_id)] == ["r"]
        assert [item.name for item in adapter.registry.list_models()] == names
        assert len(adapter.registry.list_versions("wine")) == len(names)
        with pytest.raises(NotFound):
            adapter.registry.get_model("beer")
        with pytest.raises(AuthError):
            adapter.registry.ensure_model("beer")
        with pytest.raises(AuthError):
            write(adapter, [(100, 100, 100)])
    database_findings = [item for item in adapter.check() if item.subject == "database"]
    assert f"schema version {version}, 1 run" in [item.message for item in database_findings]
    adapter.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize(
    ("file_mode", "folder_mode"), [(0o444, 0o777), (0o444, 0o555)], ids=["the file", "file and folder"]
)
def test_a_store_that_may_not_be_written_can_be_read(
    public_store: Path, file_mode: int, folder_mode: int
) -> None:
    version, content = version_of(public_store), (public_store / "store.db").read_bytes()
    (public_store / "store.db").chmod(file_mode)
    public_store.chmod(folder_mode)
    without_rights(lambda: check_readable(public_store, version))
    assert (public_store / "store.db").read_bytes() == content


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_store_that_may_not_be_read_is_a_matter_of_permission(public_store: Path) -> None:
    (public_store / "store.db").chmod(0)

    def read() -> None:
        with pytest.raises(AuthError) as caught:
            LocalAdapter(Settings(folder=public_store), lambda: 1).tracking.get_run("r")
        assert "owns" in (caught.value.hint or "")

    without_rights(read)


def test_a_store_is_upgraded_as_soon_as_it_may_be_written(
    old_store: Path, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = open_store()
    connect = database.Database._connect
    with monkeypatch.context() as patch:
        patch.setattr(database.Database, "_connect", lambda self, mode: connect(self, "ro"))
        check_run(adapter)
        assert len(adapter.registry.list_models()) == 0
        with pytest.raises(AuthError):
            register(adapter, "k")
    assert version_of(old_store) == 1
    assert register(adapter, "k") == "1"
    assert version_of(old_store) == VERSION
    assert [item.name for item in adapter.registry.list_models()] == ["wine"]
