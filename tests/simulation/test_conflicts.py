"""Programs whose runs somebody else changes on the server: each ends as docs/conflicts.md says."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.programs import kill_quietly
from tests.support.mlflow_servers import MlflowServer, mlflow_server
from trackbridge.journal.folder import journals
from trackbridge.testing.emulators.fault_proxy import FaultProxy

# Two runs, "hit" and "beside", each in an experiment of its own. Every command of the test is a line of the
# program's input; it answers with a line when the command is done.
PROGRAM = """
import json, sys
import trackbridge as tb

client = tb.Client(sys.argv[1])
hit, beside = (client.open_experiment(name).experiment_id for name in ("hit", "beside"))
runs = {}

def open_run(name, experiment):
    runs[name] = client.create_run(experiment, run_name=name).info.run_id
    return runs[name]

def log(first, last):
    for run in runs.values():
        for step in range(first, last):
            client.log_metric(run, "loss", step / 3, step=step)
        client.log_param(run, f"from-{first}", "ours")
        client.set_tag(run, "last", last)
        client.log_text(run, "text", f"text-{first}.txt")

for line in sys.stdin:
    command, *arguments = json.loads(line)
    answer = None
    if command == "open":
        answer = open_run(arguments[0], {"hit": hit, "beside": beside}[arguments[1]])
    elif command == "log":
        log(*arguments)
    elif command == "flush":
        client.flush()
        answer = client.session.pending()
    elif command == "info":
        info = client.get_run(runs["hit"]).info
        answer = [info.native_id, info.native_url]
    elif command == "child":
        answer = client.session.child_process_id
    elif command == "end":
        for run in runs.values():
            client.set_terminated(run)
    print(json.dumps(answer), flush=True)
"""
STEPS = 1200
TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def server(shared: MlflowServer) -> MlflowServer:
    shared.reset()
    return shared


@pytest.fixture
def program(server: MlflowServer, tmp_path: Path) -> Iterator[Program]:
    program = Program(server, tmp_path / "home")
    yield program
    program.stop()


class Program:
    """The program, what it opened, and the server's and the command line's view of it."""

    def __init__(self, server: MlflowServer, home: Path, *, uri: str = "") -> None:
        from mlflow import MlflowClient

        self._server = server
        self.home = home
        self.uri = uri or server.url
        self.theirs = MlflowClient(server.url)
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, self.uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "BRIDGE_HOME": str(home)},
        )
        self.hit = self.does("open", "hit", "hit")
        self.beside = self.does("open", "beside", "beside")

    def does(self, *command: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def delivers(self) -> None:
        assert set(self.does("flush").values()) == {0}, "something blocks the delivery"

    def ends(self) -> None:
        """Let it end its runs and itself, and wait until nothing of it is left to deliver."""
        self.does("end")
        self.stop()
        self.until_delivered()

    def until_delivered(self) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while any(True for _ in journals(self.home / "journal")):
            assert time.monotonic() < deadline, f"something blocks: {self.bridge('sync', 'status')}"
            time.sleep(0.02)

    def forgets(self) -> None:
        """Kill its delivery, and lose what that kept of ids and of how far it had got."""
        kill_quietly(self.does("child"))
        (self.home / "native-ids.db").unlink()
        for cursor in self.home.glob("journal/*/cursor-*.json"):
            cursor.unlink()

    def listed(self, experiment: str) -> list[dict[str, Any]]:
        return [event for event in self.bridge("runs", "list", "--experiment", experiment) if "run" in event]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(TIMEOUT_S)

    def bridge(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> list[dict[str, Any]]:
        """Run a command in the program's project; return its events, the summary last."""
        done = subprocess.run(
            [sys.executable, "-m", "trackbridge.cli", *arguments, "--json"],
            env={**os.environ, "BRIDGE_HOME": str(self.home), "BRIDGE_TRACKING_URI": self.uri},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert done.returncode in codes, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def letters(self) -> list[dict[str, Any]]:
        events = self.bridge("sync", "dead-letters", "--limit", "99999")
        return [event for event in events if "reason" in event]

    def native(self, run_id: str) -> str:
        ((native,),) = self._server.rows(
            "SELECT run_uuid FROM tags WHERE key = 'bridge.run_id' AND value = ?", run_id
        )
        return str(native)

    def stored(self, run_id: str) -> tuple[str, list[int], set[str]]:
        """Return status, steps and params of a run, from the server's own database."""
        native = self.native(run_id)
        ((status,),) = self._server.rows("SELECT status FROM runs WHERE run_uuid = ?", native)
        steps = self._server.rows("SELECT step FROM metrics WHERE run_uuid = ? ORDER BY step", native)
        params = self._server.rows("SELECT key FROM params WHERE run_uuid = ?", native)
        return str(status), [int(str(step)) for (step,) in steps], {str(key) for (key,) in params}

    def is_whole(self, run_id: str) -> None:
        status, steps, params = self.stored(run_id)
        assert (status, steps) == ("FINISHED", list(range(STEPS)))
        assert params == {"from-0", "from-100"}
        files = {file.path for file in self.theirs.list_artifacts(self.native(run_id))}
        assert files == {"text-0.txt", "text-100.txt"}

    def logs_first(self) -> None:
        self.does("log", 0, 100)
        self.delivers()

    def logs_the_rest(self) -> None:
        self.does("log", 100, STEPS)
        self.delivers()


def test_the_program_learns_what_the_server_calls_its_run(server: MlflowServer, program: Program) -> None:
    program.delivers()
    native = program.native(program.hit)
    experiment = program.theirs.get_run(native).info.experiment_id
    page = f"{server.url}/#/experiments/{experiment}/runs/{native}"
    assert program.does("info") == [native, page]
    shown = program.bridge("runs", "show", native)[-1]["run"]["info"]
    assert (shown["run_id"], shown["native_id"], shown["native_url"]) == (program.hit, native, page)


def test_a_param_that_somebody_else_has_set_is_the_only_dead_letter(program: Program) -> None:
    program.logs_first()
    program.theirs.log_param(program.native(program.hit), "from-100", "theirs")
    program.logs_the_rest()
    program.ends()
    program.is_whole(program.beside)
    program.is_whole(program.hit)
    assert program.theirs.get_run(program.native(program.hit)).data.params["from-100"] == "theirs"
    (letter,) = program.letters()
    assert letter["kind"] == "ParamsSet"
    assert letter["run_id"] == program.hit
    assert "'from-100' is 'theirs' and cannot become 'ours'" in letter["reason"]


def test_a_deleted_run_keeps_what_it_has_and_gets_the_rest_once_it_is_restored(program: Program) -> None:
    program.logs_first()
    program.theirs.delete_run(program.native(program.hit))
    program.logs_the_rest()
    program.ends()
    program.is_whole(program.beside)
    status, steps, _ = program.stored(program.hit)
    assert (status, steps) == ("RUNNING", list(range(100)))
    letters = program.letters()
    assert {letter["run_id"] for letter in letters} == {program.hit}
    assert {letter["kind"] for letter in letters} == {"MetricLogged", "ParamsSet", "TagsSet", "RunClosed"}
    hint = f"the run was deleted; restore it: bridge runs restore {program.hit}"
    assert {letter["reason"] for letter in letters} == {hint}

    program.bridge("sync", "replay", "--all", codes=(1,))
    assert len(program.letters()) == len(letters), "a replay of what is still refused loses nothing"
    program.bridge("runs", "restore", program.hit)
    program.bridge("sync", "replay", "--all")
    program.is_whole(program.hit)
    assert program.letters() == []


def test_the_records_of_a_deleted_run_are_refused_together(server: MlflowServer, tmp_path: Path) -> None:
    with FaultProxy(server.url) as proxy:
        program = Program(server, tmp_path / "home", uri=proxy.url)
        program.logs_first()
        program.theirs.delete_run(program.native(program.hit))
        before = proxy.counts["requests"]
        program.logs_the_rest()
        program.ends()
        assert len(program.letters()) > STEPS - 100
        assert proxy.counts["requests"] - before < 100, "each record is tried alone"


def test_a_run_restored_in_time_goes_on(program: Program) -> None:
    program.logs_first()
    native = program.native(program.hit)
    program.theirs.delete_run(native)
    program.does("log", 100, 101)
    program.delivers()
    program.theirs.restore_run(native)
    program.does("log", 101, STEPS)
    program.ends()
    status, steps, _ = program.stored(program.hit)
    assert (status, steps) == ("FINISHED", [*range(100), *range(101, STEPS)])
    program.bridge("sync", "replay", "--all")
    assert program.stored(program.hit)[:2] == ("FINISHED", list(range(STEPS)))


def test_a_run_that_is_gone_for_good_takes_nothing_and_blocks_nothing(
    server: MlflowServer, program: Program
) -> None:
    program.logs_first()
    native = program.native(program.hit)
    program.theirs.delete_run(native)
    forget(server, native)
    program.logs_the_rest()
    program.ends()
    program.is_whole(program.beside)
    assert {letter["run_id"] for letter in program.letters()} == {program.hit}
    program.bridge("sync", "replay", "--all", codes=(1,))
    program.bridge("sync", "drop", "--all", "--yes")
    assert program.letters() == []
    assert server.rows("SELECT count(*) FROM runs") == [(1,)], "nothing of it was made again"


def test_the_runs_of_a_deleted_experiment_wait_until_it_is_restored(program: Program) -> None:
    program.logs_first()
    native = program.theirs.get_experiment_by_name("hit").experiment_id
    program.theirs.delete_experiment(native)
    late = program.does("open", "late", "hit")
    program.does("log", 100, STEPS)
    program.delivers()
    program.ends()
    program.is_whole(program.beside)
    letters = program.letters()
    assert {letter["run_id"] for letter in letters} == {program.hit, late}
    (opening,) = (letter for letter in letters if letter["kind"] == "RunOpened")
    assert opening["run_id"] == late
    why, _, command = opening["reason"].partition("; restore it: bridge ")
    assert why == "the experiment 'hit' was deleted"

    program.bridge(*command.split())
    program.bridge("sync", "replay", "--all")
    assert program.letters() == []
    program.is_whole(program.hit)
    assert program.stored(late)[:2] == ("FINISHED", list(range(100, STEPS)))


def test_a_renamed_experiment_is_followed(server: MlflowServer, program: Program) -> None:
    program.logs_first()
    native = program.theirs.get_experiment_by_name("hit").experiment_id
    program.theirs.rename_experiment(native, "renamed")
    program.logs_the_rest()
    late = program.does("open", "late", "hit")
    program.ends()
    program.is_whole(program.hit)
    assert program.letters() == []
    assert server.rows("SELECT name FROM experiments WHERE name = 'hit'") == []
    assert program.theirs.get_run(program.native(late)).info.experiment_id == native


@pytest.mark.parametrize("is_name_taken", [False, True])
def test_what_is_delivered_again_after_a_renaming_is_not_there_twice(
    server: MlflowServer, program: Program, is_name_taken: bool
) -> None:
    """The map of ids is lost, and how far delivery had got as well."""
    program.logs_first()
    renamed = expected = program.theirs.get_experiment_by_name("hit").experiment_id
    program.theirs.rename_experiment(renamed, "renamed")
    if is_name_taken:
        expected = program.theirs.create_experiment("hit")
    program.forgets()
    program.logs_the_rest()
    late = program.does("open", "late", "hit")
    program.ends()
    assert program.letters() == []
    program.is_whole(program.hit)
    program.is_whole(program.beside)
    assert server.rows("SELECT count(*) FROM runs") == [(3,)]
    assert program.theirs.get_run(program.native(program.hit)).info.experiment_id == renamed
    assert program.theirs.get_run(program.native(late)).info.experiment_id == expected


def test_the_name_of_an_experiment_that_was_renamed_and_deleted_is_free(
    server: MlflowServer, program: Program
) -> None:
    program.logs_first()
    old = program.theirs.get_experiment_by_name("hit").experiment_id
    program.theirs.rename_experiment(old, "old")
    program.theirs.delete_experiment(old)
    late = program.does("open", "late", "hit")
    program.does("log", 100, STEPS)
    program.ends()
    program.is_whole(program.beside)
    assert {letter["run_id"] for letter in program.letters()} == {program.hit}
    assert program.stored(late)[:2] == ("FINISHED", list(range(100, STEPS)))
    assert [run["run"]["info"]["run_id"] for run in program.listed("hit")] == [late]


def test_the_last_word_on_how_a_run_ended_is_the_programs(program: Program) -> None:
    program.logs_first()
    program.theirs.set_terminated(program.native(program.hit), "FAILED", end_time=1)
    program.logs_the_rest()
    program.ends()
    program.is_whole(program.hit)
    program.is_whole(program.beside)
    assert program.letters() == []


def test_a_run_that_somebody_else_ended_keeps_that_end_when_its_program_dies(program: Program) -> None:
    program.logs_first()
    program.theirs.set_terminated(program.native(program.hit), "FAILED")
    program.kill()
    program.until_delivered()
    assert program.stored(program.hit)[0] == "FAILED"
    assert program.stored(program.beside)[0] == "KILLED"


def forget(server: MlflowServer, native: str) -> None:
    """Do what ``mlflow gc`` does to a run."""
    with closing(sqlite3.connect(server.database, timeout=30, isolation_level=None)) as database:
        for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
            database.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (native,))
