"""Programs on a real MLflow server in bad weather: nothing missing, nothing twice, nobody waits."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.simulation.programs import Account, Program, start
from tests.support.mlflow_servers import MlflowServer, mlflow_server
from trackbridge import Client
from trackbridge.errors import NotFound
from trackbridge.journal.folder import journals
from trackbridge.testing.emulators.fault_proxy import FaultProxy, Weather

# As in programs.LOGGING_LOOP, at a pace that a server can follow, until a file tells it to end.
STEADY_LOOP = """
import os, struct, sys, time
import trackbridge as tb

uri, account_path, ends = sys.argv[1:4]
account = os.open(account_path, os.O_WRONLY | os.O_CREAT, 0o600)
tb.set_tracking_uri(uri)
tb.set_experiment("weather")
with tb.start_run() as run:
    tb.log_param("kind", "weather")
    os.pwrite(account, struct.pack("<qq32s", 0, 0, run.info.run_id.encode()), 0)
    step = 0
    while not os.path.exists(ends):
        tb.log_metric(f"loss-{step % 3}", 1 / (step + 1), step=step)
        step += 1
        os.pwrite(account, struct.pack("<q", step), 8)
        if step % 10 == 0:
            time.sleep(0.005)
"""
SHORT = """
import sys
import trackbridge as tb
tb.set_tracking_uri(sys.argv[1])
tb.set_experiment("weather")
with tb.start_run() as run:
    print(run.info.run_id, flush=True)
    for step in range(500):
        tb.log_metric("loss", step / 3, step=step)
"""
TIMEOUT_S = 120.0
Rows = list[tuple[object, ...]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def server(shared: MlflowServer) -> MlflowServer:
    shared.reset()
    return shared


@pytest.fixture
def proxy(server: MlflowServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.url) as proxy:
        yield proxy


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Steady:
    """A program that logs until it is told to end, and its journals."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.home = folder / "home"
        self._ends = folder / "ends"
        arguments = (uri, str(folder / "account"), str(self._ends))
        environment = {"BRIDGE_HOME": str(self.home)}
        self.program = Program(start(STEADY_LOOP, *arguments, environment=environment), folder / "account")
        self.program.wait_until_logging()

    @property
    def account(self) -> Account:
        account = self.program.account()
        assert account is not None
        return account

    def goes_on(self, calls: int) -> None:
        """Wait until so many further calls have returned."""
        goal = self.account.returned + calls
        until(lambda: self.account.returned >= goal, "calls no longer return")

    def end(self) -> None:
        self._ends.touch()
        assert self.program.process.wait(TIMEOUT_S) == 0

    def until_delivered(self) -> None:
        until(
            lambda: not any(True for _ in journals(self.home / "journal")), "the journals are not delivered"
        )


def run_of(server: MlflowServer, steady: Steady) -> tuple[str, Rows, Rows]:
    """Return the status of a program's run, its points in order and its params, as the server stores them."""
    tagged = "SELECT run_uuid FROM tags WHERE key = 'bridge.run_id' AND value = ?"
    ((native,),) = server.rows(tagged, steady.account.run_id)
    ((status,),) = server.rows("SELECT status FROM runs WHERE run_uuid = ?", native)
    points = server.rows("SELECT key, step, value FROM metrics WHERE run_uuid = ? ORDER BY step", native)
    params = server.rows("SELECT key, value FROM params WHERE run_uuid = ?", native)
    return str(status), points, params


def expected(count: int) -> list[tuple[object, ...]]:
    return [(f"loss-{step % 3}", step, 1 / (step + 1)) for step in range(count)]


def test_the_server_is_killed_in_the_middle_of_two_runs_and_one_of_the_programs_too(
    tmp_path: Path, server: MlflowServer
) -> None:
    (tmp_path / "killed").mkdir()
    steady, killed = Steady(tmp_path, server.url), Steady(tmp_path / "killed", server.url)
    arrived = "SELECT 1 FROM metrics GROUP BY run_uuid"
    until(lambda: len(server.rows(arrived)) == 2, "nothing arrives")
    server.kill()
    try:
        for program in (steady, killed):
            program.goes_on(3000)  # the loop does not know of it
        killed.program.kill()
    finally:
        server.start()
    steady.goes_on(100)
    steady.end()
    for program, end in ((steady, "FINISHED"), (killed, "KILLED")):
        program.until_delivered()
        status, points, params = run_of(server, program)
        returned = program.account.returned
        assert returned <= len(points) <= returned + (end == "KILLED")
        assert points == expected(len(points)), "no point is missing, none is twice"
        assert (status, params) == (end, [("kind", "weather")])


FAULTS = (
    "reset_before",
    "reset_in_body",
    "reset_after",
    "half_answer",
    "too_many",
    "error",
    "unavailable",
    "black_hole",
)


def test_faults_of_every_kind(tmp_path: Path, server: MlflowServer, proxy: FaultProxy) -> None:
    """Half of the requests meet one kind of fault, some another, until each was met."""
    chance = random.Random(0)
    steady = Steady(tmp_path, proxy.url)
    for fault in FAULTS:
        other = chance.choice([kind for kind in FAULTS if kind != fault])
        shares = {fault: 0.5, other: 0.1}
        goal = proxy.counts[fault] + 1
        while proxy.counts[fault] < goal:
            latency_s = chance.choice([0.0, 0.02])
            proxy.weather = Weather(latency_s=latency_s, retry_after_s=0.1, **shares)
            time.sleep(0.2)  # what fell into a black hole comes out of it
    proxy.weather = Weather()
    steady.end()
    steady.until_delivered()
    status, points, _ = run_of(server, steady)
    assert points == expected(steady.account.returned)
    assert status == "FINISHED"


@pytest.mark.parametrize("weather", [Weather(is_down=True), Weather(black_hole=1.0), Weather(latency_s=8.0)])
def test_the_end_of_a_program_waits_no_longer_than_told_and_says_what_is_left(
    tmp_path: Path, server: MlflowServer, proxy: FaultProxy, weather: Weather
) -> None:
    proxy.weather = weather
    environment = {**os.environ, "BRIDGE_HOME": str(tmp_path), "BRIDGE_DELIVERY_EXIT_WAIT_S": "1"}
    process = subprocess.run(
        [sys.executable, "-c", SHORT, proxy.url], env=environment, capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 0
    told = re.search(r"(\d+) records are not delivered to (\S+) yet", process.stderr)
    assert told is not None, process.stderr
    assert int(told[1]) >= 500
    assert told[2] == proxy.url
    assert "bridge sync status" in process.stderr
    proxy.weather = Weather()
    until(lambda: not any(True for _ in journals(tmp_path / "journal")), "the child did not deliver the rest")
    assert [step for (step,) in server.rows("SELECT step FROM metrics ORDER BY step")] == list(range(500))
    assert server.rows("SELECT status FROM runs") == [("FINISHED",)]


def test_a_destination_that_is_down_delays_only_itself(
    tmp_path: Path, server: MlflowServer, proxy: FaultProxy
) -> None:
    store = f"file:{tmp_path / 'store'}"
    proxy.weather = Weather(is_down=True)
    steady = Steady(tmp_path, f"{proxy.url},{store}")
    run_id = steady.account.run_id
    until(lambda: bool(local_steps(store, run_id)), "the other one is waited for")
    steady.goes_on(500)
    until(lambda: bool(_lanes(steady.home)[proxy.url]["problem"]), "no problem is shown")
    before = _lanes(steady.home)
    assert before[store]["problem"] is None
    assert before[store]["delivered"] != 0
    assert before[proxy.url]["delivered"] == 0
    proxy.weather = Weather()
    steady.end()
    steady.until_delivered()
    returned = steady.account.returned
    assert run_of(server, steady)[:2] == ("FINISHED", expected(returned))
    assert local_steps(store, run_id) == list(range(0, returned, 3))


def local_steps(store: str, run_id: str) -> list[int]:
    """Return the steps of one of the metrics in a local store."""
    try:
        return [point.step for point in Client(store).get_metric_history(run_id, "loss-0")]
    except NotFound:
        return []


def _lanes(home: Path) -> dict[str, dict[str, object]]:
    """Return what ``bridge sync status`` shows of each destination."""
    command = [sys.executable, "-m", "trackbridge.cli", "sync", "status", "--json"]
    shown = subprocess.run(
        command, env={**os.environ, "BRIDGE_HOME": str(home)}, capture_output=True, text=True, timeout=60
    )
    events = [json.loads(line) for line in shown.stdout.splitlines()]
    return {lane["uri"]: lane for event in events for lane in event.get("destinations", [])}
