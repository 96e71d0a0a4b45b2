"""mlflow's own databases through a private server: shared, secret, and gone with the last that used it."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.simulation.programs import kill_quietly
from trackbridge.domain.artifacts import artifact_uri
from trackbridge.domain.models import ChangeReason, ModelVersionSpec
from trackbridge.domain.runs import RunStatus
from trackbridge.errors import BridgeError, ConfigError, MissingExtra
from trackbridge.ports.adapter import AdapterContext
from trackbridge.testing.contracts.samples import batch_of, run_spec
from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
from trackbridge_adapters.mlflow import open_adapter

TIMEOUT_S = 120.0
SECRET = "hunter2-Xy9"

# Opens a store in a project, says where the server listens, and waits to be killed; a fork of it lives on.
USER = """
import os, sys, time
from pathlib import Path
from trackbridge.ports.adapter import AdapterContext
from trackbridge_adapters.mlflow import open_adapter

uri, home = sys.argv[1:3]
adapter = open_adapter(uri, context=AdapterContext(home=Path(home), options={}, clock_ms=lambda: 0))
names = [experiment.name for experiment in adapter.tracking.list_experiments()]
if os.fork() == 0:
    os.close(1)
    time.sleep(600)
(address,) = Path(home).glob("mlflow-servers/*/address")
print(address.read_text(), *names, flush=True)
time.sleep(600)
"""


def opened(uri: str, home: Path, **options: str) -> RestAdapter:
    context = AdapterContext(home=home, options=options, clock_ms=lambda: time.time_ns() // 1_000_000)
    adapter = open_adapter(uri, context=context)
    assert isinstance(adapter, RestAdapter)
    return adapter


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def servers_of(home: Path) -> list[int]:
    """Return the processes whose command line names the project's folder for servers."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if f"{home}/mlflow-servers/".encode() in command:
            found.append(int(process.name))
    return found


class Project:
    """A project with a database of mlflow's, and its adapter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".bridge"
        self.database = folder / "mlflow.db"
        self.uri = f"mlflow+sqlite:///{self.database}"
        self.adapter = opened(self.uri, self.home)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.database, timeout=30)) as database:
            return database.execute(query).fetchall()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("project"))
    yield project
    project.adapter.close()


def test_a_database_is_used_like_any_server(project: Project, tmp_path: Path) -> None:
    adapter = project.adapter
    spec = run_spec()
    run = adapter.tracking.open_run(spec)
    batch = batch_of(spec.run_id, metrics=[("m", 1.5, 3, 1000)], params=[("p", "1")], tags=[("t", "2")])
    assert adapter.tracking.write(batch).rejected == ()
    assert adapter.tracking.write(batch).rejected == ()
    file = tmp_path / "file"
    file.write_bytes(b"content")
    digest = "sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    assert adapter.artifacts is not None
    stored = adapter.artifacts.put(spec.run_id, "model/file", file, digest=digest, size=7)
    adapter.tracking.close_run(spec.run_id, status=RunStatus.FINISHED, end_time=5000)

    native = run.info.native_id
    assert project.rows("SELECT key, value, step, timestamp FROM metrics") == [("m", 1.5, 3, 1000)]
    assert project.rows("SELECT run_uuid, status, end_time FROM runs") == [(native, "FINISHED", 5000)]
    assert project.rows("SELECT key, value FROM params") == [("p", "1")]
    assert stored.native_uri is not None
    assert stored.native_uri.startswith(f"file://{project.folder}/mlruns/")
    assert (project.folder / "mlruns").is_dir()

    assert adapter.registry is not None
    adapter.registry.ensure_model("wine", reason=ChangeReason(user="me"))
    source = artifact_uri(spec.run_id, "model")
    version = ModelVersionSpec(name="wine", source=source, digest=digest, run_id=spec.run_id)
    adapter.registry.create_version(version, key="k", reason=ChangeReason(user="me"))
    assert project.rows("SELECT name, version, run_id FROM model_versions") == [("wine", 1, native)]


def test_two_processes_share_a_server_and_the_death_of_one_leaves_it_to_the_other(project: Project) -> None:
    project.adapter.tracking.ensure_experiment("shared", experiment_id="a" * 32)
    before = servers_of(project.home)
    with User(project.uri, project.home) as user:
        address, names = _told(user)
        assert "shared" in names
        assert servers_of(project.home) == before
        user.kill()
        user.wait()
    project.adapter.tracking.list_experiments()
    assert servers_of(project.home) == before
    assert Path(address).exists()


def test_nobody_but_this_user_reaches_it(project: Project) -> None:
    project.adapter.tracking.list_experiments()
    (address,) = project.home.glob("mlflow-servers/*/address")
    assert (address.parent.stat().st_mode & 0o777, address.stat().st_uid) == (0o700, os.getuid())
    assert Path(address.read_text()).parent.stat().st_mode & 0o777 == 0o700
    (server,) = servers_of(project.home)
    listening = subprocess.run(["ls", "-l", f"/proc/{server}/fd"], capture_output=True, text=True).stdout
    inodes = {line.split("socket:[")[1].rstrip("]") for line in listening.splitlines() if "socket:[" in line}
    for table in ("tcp", "tcp6"):
        lines = Path(f"/proc/{server}/net/{table}").read_text().splitlines()[1:]
        assert not inodes & {line.split()[9] for line in lines}, "it listens on a port"


def test_a_server_that_was_killed_is_started_again(project: Project) -> None:
    project.adapter.tracking.list_experiments()
    (server,) = servers_of(project.home)
    (address,) = project.home.glob("mlflow-servers/*/address")
    os.kill(server, signal.SIGKILL)
    until(lambda: not _answers(address.read_text()), "it does not die")
    assert project.adapter.tracking.list_experiments()
    assert server not in servers_of(project.home)


def test_it_ends_with_the_last_that_used_it_killed_or_not_whatever_that_had_forked(project: Project) -> None:
    project.adapter.tracking.list_experiments()
    (address,) = (path.read_text() for path in project.home.glob("mlflow-servers/*/address"))
    with User(project.uri, project.home) as user:
        assert _told(user)[0] == address
        project.adapter.close()
        assert _answers(address)
        user.kill()
        user.wait()
        until(lambda: not servers_of(project.home), "the server outlives those who used it")
    assert not Path(address).parent.exists()


def test_what_mlflow_cannot_open_is_said_in_its_words_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no.db").write_text("this is no database at all")
    monkeypatch.setenv("THE_PASSWORD", SECRET)
    wrong: dict[str, tuple[type[BridgeError], str]] = {
        f"sqlite:///{tmp_path}/no.db": (ConfigError, "file is not a database"),
        "mysql://me@host/db": (MissingExtra, "No module named 'MySQLdb'"),
    }

    def failure(uri: str) -> BridgeError:
        options = {"password_env": "THE_PASSWORD"} if uri.startswith("mysql") else {}
        adapter = opened(f"mlflow+{uri}", tmp_path / "home", **options)
        try:
            with pytest.raises(BridgeError) as caught:
                adapter.tracking.list_experiments()
            return caught.value
        finally:
            adapter.close()

    with ThreadPoolExecutor() as pool:
        found = dict(zip(wrong, pool.map(failure, wrong), strict=True))
    for uri, (kind, words) in wrong.items():
        assert type(found[uri]) is kind, found[uri]
        assert words in str(found[uri])
    assert servers_of(tmp_path / "home") == []
    kept = [file for file in (tmp_path / "home").rglob("*") if file.is_file()]
    assert kept
    assert not [file for file in kept if SECRET.encode() in file.read_bytes()]
    assert SECRET not in "".join(map(repr, found.values()))


class User:
    """A program that uses a store until it is killed; its fork is killed at the end as well."""

    def __init__(self, uri: str, home: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", USER, uri, str(home)], stdout=subprocess.PIPE, start_new_session=True
        )

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self._process

    def __exit__(self, *error: object) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            kill_quietly(self._process.pid)
        self._process.wait()


def _told(user: subprocess.Popen[bytes]) -> tuple[str, list[str]]:
    assert user.stdout is not None
    address, *names = user.stdout.readline().decode().split()
    return address, names


def _answers(address: str) -> bool:
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        return connection.connect_ex(address) == 0
