"""Endpoints of the local backend whose processes are killed, and whose machine is in trouble."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from tests.contracts.test_local import open_local
from tests.support.endpoints import kill, no_process_left, processes_of, wait_until
from tests.support.warm_python import warm_python
from trackbridge.domain.deployments import EndpointState, EndpointStatus, Operation
from trackbridge.domain.jobs import JobSpec, JobStatus
from trackbridge.domain.plans import Change
from trackbridge.errors import BridgeError, Locked, PlanStale, Transient, Unavailable
from trackbridge.ports.deployments import DeploymentTarget
from trackbridge.testing.contracts import deployment_models

ROW = b'{"inputs": [[1.0]]}'
ROUTER, SUPERVISOR, SERVER = "endpoint_router", "endpoint_supervisor", "trackbridge.serving"

APPLY = """
import os, sys
from pathlib import Path
import msgspec
from tests.contracts.test_local import open_local
from trackbridge.domain.plans import Change
from trackbridge_adapters.local import deployments, endpoint_changes, endpoint_start

folder, change, payload, where = sys.argv[1:5]
die = lambda *arguments, **named: os.kill(os.getpid(), 9)
if where == "before the commit":
    endpoint_changes.begin = die
if where == "after the commit":
    endpoint_start.ensure_supervisor = die
if where == "while it takes the payload in":
    endpoint_changes.take_in.__globals__["_sync"] = die
target = open_local(Path(folder)).deployments
target.apply(msgspec.json.decode(change, type=Change), payload=Path(payload))
"""

HOLD = """
import sys
from pathlib import Path
from tests.contracts.test_local import open_local

with open_local(Path(sys.argv[1])).deployments.lock("wine"):
    print("held", flush=True)
    sys.stdin.read()
"""


class Rig:
    """An endpoint with two deployments, 70 % and 30 %.

    The server of ``v2`` is a program of its own, whose workers outlive it when it is killed; the others are
    forks of a Python that has imported mlflow, which die as a whole.
    """

    def __init__(self, folder: Path, python: str) -> None:
        self.folder = folder
        self.options = {"python": python}
        self.models = {
            name: deployment_models.answering(folder, name, answer)
            for name, answer in (("one", 1.0), ("two", 2.0), ("three", 3.0))
        }
        self.target = self.open()
        self.deploy("one", "v1")
        self.deploy("two", "v2", traffic_percent=30)

    def open(self) -> DeploymentTarget:
        """Open the store as another command would."""
        target = open_local(self.folder).deployments
        assert target is not None
        return target

    def wait(self, operation: Operation) -> Operation:
        deadline = time.monotonic() + 60
        while not operation.done:
            assert time.monotonic() < deadline
            time.sleep(0.01)
            operation = self.target.poll(operation)
        return operation

    def deploy(self, model: str, deployment: str, **fields: object) -> None:
        options = {} if deployment == "v2" else self.options
        spec = deployment_models.spec_for(self.models[model], "wine", deployment, options=options, **fields)
        for change in self.target.plan(spec, self.target.observe("wine")):
            assert self.wait(self.target.apply(change, payload=self.models[model])).error is None

    def share(self, **shares: int) -> None:
        for change in self.traffic(**shares):
            assert self.wait(self.target.apply(change)).error is None

    def traffic(self, **shares: int) -> tuple[Change, ...]:
        return self.target.plan_traffic("wine", self.observed(), percent_by_deployment=shares)

    def observed(self) -> EndpointState:
        state = self.target.observe("wine")
        assert state is not None
        return state

    def ask(self, deployment: str | None = None) -> bytes:
        return self.target.invoke("wine", ROW, content_type="application/json", deployment=deployment)

    def pids(self, *parts: str) -> set[int]:
        """Return the processes of a kind, or all: the forks that serve have no command of theirs."""
        found = set(processes_of(self.folder, *parts))
        for ready in () if parts else (self.folder / "store/endpoints/wine/run").glob("*.ready"):
            with suppress(FileNotFoundError):
                found |= group_of(int(msgspec.json.decode(ready.read_bytes())["pid"]))
        return found

    def main_of(self, deployment: str) -> int:
        """Return the main process of a deployment's server."""
        (process_id,) = self.mains_of(deployment)
        return process_id

    def mains_of(self, deployment: str) -> list[int]:
        """Return the main processes of a deployment's servers, by the locks that they hold."""
        locks = (self.folder / "store/endpoints/wine/run").glob(f"{deployment}.*.lock")
        return [int(text) for text in (lock.read_text() for lock in locks) if text]

    def wait_until_ready(self) -> None:
        wait_until(lambda: self.observed().status is EndpointStatus.READY, "a ready endpoint")
        wait_until(lambda: len(self.pids(ROUTER)) == 1, "one router")


def group_of(leader: int) -> set[int]:
    """Return the living processes of a group."""
    found = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(group) == leader and state != "Z":
                found.add(int(entry.name))
    return found


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with warm_python(tmp_path_factory.mktemp("warm")) as python:
        yield python


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, python: str) -> Iterator[Rig]:
    rig = Rig(tmp_path_factory.mktemp("faults"), python)
    yield rig
    rig.wait(rig.target.delete("wine"))
    no_process_left(rig.folder)


@pytest.fixture
def rig(shared: Rig) -> Rig:
    shared.target = shared.open()
    shared.wait_until_ready()
    shared.share(v1=70, v2=30)
    return shared


def test_a_server_killed_under_load_comes_back(rig: Rig) -> None:
    url, failures, stop = rig.observed().url, [], threading.Event()
    answers: list[bytes] = []

    def load() -> None:
        while not stop.is_set():
            try:
                answers.append(rig.ask("v2"))
            except Transient as error:  # what was in flight when the server died
                failures.append(error)

    with ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(load) for _ in range(4)]
        wait_until(lambda: len(answers) > 50, "some load")
        killed = rig.main_of("v2")
        kill(killed)
        (change,) = rig.traffic(v1=20, v2=80)
        operation = rig.target.apply(change)  # while the server is away
        count = len(answers)
        wait_until(lambda: len(answers) > count + 50, "answers after the death")
        stop.set()
        for finished in loads:
            finished.result()
    assert rig.wait(operation).error is None
    # A client fails once for what was in flight, and may fail again on a connection whose end the router
    # has not seen yet. Whatever comes later waits for the new server instead of failing in a loop.
    assert len(failures) <= 3 * 4, "only what was sent to the server that died"
    rig.wait_until_ready()
    assert rig.main_of("v2") != killed
    assert (rig.observed().url, rig.observed().traffic) == (url, {"v1": 20, "v2": 80})
    answered = [rig.ask() for _ in range(100)]
    assert answered.count(b'{"predictions":[2.0]}') == 80


def test_a_router_that_was_killed_is_started_again_at_its_port(rig: Rig) -> None:
    url, servers = rig.observed().url, {rig.main_of("v1"), rig.main_of("v2")}
    (router,) = rig.pids(ROUTER)
    kill(router)
    wait_until(lambda: bool(rig.pids(ROUTER) - {router}), "another router")
    assert rig.ask("v1") == b'{"predictions":[1.0]}'
    rig.wait_until_ready()
    assert rig.observed().url == url
    assert {rig.main_of("v1"), rig.main_of("v2")} == servers


def test_a_supervisor_that_was_killed_is_replaced_by_the_next_command(rig: Rig) -> None:
    before = {rig.main_of("v1"), rig.main_of("v2"), *rig.pids(ROUTER)}
    (supervisor,) = rig.pids(SUPERVISOR)
    kill(supervisor)
    wait_until(lambda: not rig.pids(SUPERVISOR), "its end")
    assert processes_of(rig.folder, ROUTER), "the router goes on"
    assert rig.ask() in (b'{"predictions":[1.0]}', b'{"predictions":[2.0]}')
    assert len(rig.pids(SUPERVISOR)) == 1, "asking was a command"
    assert rig.pids(SUPERVISOR) != {supervisor}
    assert {rig.main_of("v1"), rig.main_of("v2"), *rig.pids(ROUTER)} == before, "nothing was started twice"
    rig.share(v1=50, v2=50)
    assert rig.observed().traffic == {"v1": 50, "v2": 50}


def test_many_commands_at_once_start_one_supervisor(rig: Rig) -> None:
    before = {rig.main_of("v1"), rig.main_of("v2"), *rig.pids(ROUTER)}
    for supervisor in rig.pids(SUPERVISOR):
        kill(supervisor)
    with ThreadPoolExecutor(6) as pool:
        states = list(pool.map(lambda _: rig.open().observe("wine"), range(6)))
    assert all(state is not None for state in states)
    wait_until(lambda: len(rig.pids(SUPERVISOR)) == 1, "one supervisor")
    assert {rig.main_of("v1"), rig.main_of("v2"), *rig.pids(ROUTER)} == before


def nobody_supervises(rig: Rig) -> None:
    while supervisors := rig.pids(SUPERVISOR):
        for supervisor in supervisors:
            kill(supervisor)


def test_a_server_that_dies_while_nobody_supervises_is_started_by_the_next_command(rig: Rig) -> None:
    nobody_supervises(rig)
    while True:
        kill(rig.main_of("v1"))
        if not rig.pids(SUPERVISOR):
            break
        nobody_supervises(rig)  # one that an earlier command has started came late
        rig.wait_until_ready()
        nobody_supervises(rig)
    assert rig.observed().status is not EndpointStatus.READY, "the first look tells the truth"
    assert rig.ask("v1") == b'{"predictions":[1.0]}'
    rig.wait_until_ready()


def test_after_a_reboot_the_next_command_brings_everything_back(rig: Rig) -> None:
    url = rig.observed().url
    rig.target.apply(rig.traffic(v1=10, v2=90)[0])
    while rig.pids():
        for process_id in rig.pids():
            kill(process_id)
    rig.target = rig.open()
    assert rig.observed().status is not EndpointStatus.READY
    assert rig.ask("v2") == b'{"predictions":[2.0]}'
    rig.wait_until_ready()
    assert (rig.observed().url, rig.observed().traffic) == (url, {"v1": 10, "v2": 90})
    answered = [rig.ask() for _ in range(100)]
    assert answered.count(b'{"predictions":[2.0]}') == 90


def test_a_server_that_dies_again_and_again_has_failed_until_it_lives(rig: Rig) -> None:
    def has_failed() -> bool:
        for process_id in rig.mains_of("v1"):  # none between the death of one and the start of the next
            kill(process_id)
        return rig.observed().deployments[0].status is EndpointStatus.FAILED

    wait_until(has_failed, "the failure")
    found = rig.observed()
    assert found.status is EndpointStatus.FAILED, "it has traffic"
    assert "again and again" in found.deployments[0].reason
    with pytest.raises(Unavailable):  # at once, and not after the request's timeout
        rig.ask("v1")
    assert rig.ask("v2") == b'{"predictions":[2.0]}'
    rig.wait_until_ready()
    assert rig.observed().deployments[0].reason == ""
    assert rig.ask("v1") == b'{"predictions":[1.0]}'


def test_a_port_that_is_taken_is_told_and_used_again_once_it_is_free(rig: Rig) -> None:
    url = rig.observed().url
    assert url is not None
    port = int(url.rpartition(":")[2])
    for supervisor in rig.pids(SUPERVISOR):
        kill(supervisor)
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for router in rig.pids(ROUTER):
            kill(router)
        wait_until(lambda: _binds(thief, port), "the port")
        thief.listen()
        wait_until(lambda: "taken by another program" in rig.observed().reason, "the reason")
        assert rig.observed().status is EndpointStatus.FAILED
    rig.wait_until_ready()
    assert (rig.observed().url, rig.observed().reason) == (url, "")


def _binds(thief: socket.socket, port: int) -> bool:
    try:
        thief.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def _change_of(rig: Rig, kind: str) -> tuple[Change, Path]:
    if kind == "traffic":
        return rig.traffic(v1=1, v2=99)[0], rig.models["one"]
    attempt = {"ATTEMPT": str(time.monotonic_ns())}
    spec = deployment_models.spec_for(
        rig.models["three"], "wine", "v3", traffic_percent=0, variables=attempt, options=rig.options
    )
    (change,) = rig.target.plan(spec, rig.observed())
    return change, rig.models["three"]


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("traffic", "before the commit"),
        ("traffic", "after the commit"),
        ("deployment", "while it takes the payload in"),
        ("deployment", "before the commit"),
        ("deployment", "after the commit"),
    ],
)
def test_a_command_killed_while_it_applies_changes_all_or_nothing(rig: Rig, kind: str, where: str) -> None:
    if where == "while it takes the payload in":
        deployment_models.write_model(rig.folder, "fourth", body="        return [3.0] * len(model_input)")
        rig.models["three"] = rig.folder / "fourth"
    change, payload = _change_of(rig, kind)
    before = rig.observed()
    encoded = msgspec.json.encode(change).decode()
    arguments = [sys.executable, "-c", APPLY, str(rig.folder), encoded, str(payload), where]
    killed = subprocess.run(arguments, check=False)
    assert killed.returncode == -9, "it was to die"
    if where != "after the commit":
        assert rig.observed() == before
    assert rig.wait(rig.target.apply(change, payload=payload)).error is None
    if kind == "traffic":
        wait_until(lambda: rig.observed().traffic == {"v1": 1, "v2": 99}, "the traffic")
        rig.wait_until_ready()
        return
    wait_until(lambda: rig.observed().status is EndpointStatus.READY, "the deployment")
    assert rig.ask("v3") == b'{"predictions":[3.0]}'
    (removal,) = rig.target.plan_removal("wine", "v3", rig.observed())
    assert rig.wait(rig.target.apply(removal)).error is None


def test_of_two_changes_at_once_one_is_applied(rig: Rig) -> None:
    wanted = [rig.traffic(v1=share, v2=100 - share)[0] for share in (11, 22, 33, 44)]

    def apply(change: Change) -> str:
        try:
            rig.open().apply(change)
        except PlanStale:
            return "stale"
        return "applied"

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(apply, wanted))
    assert sorted(told) == ["applied", "stale", "stale", "stale"]
    winner = wanted[told.index("applied")]
    assert winner.after is not None
    assert rig.observed().traffic == winner.after["traffic"]


def test_the_lock_of_a_process_ends_with_it(rig: Rig) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(rig.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Locked, match=f"process {holder.pid}"):
            rig.target.lock("wine")
        holder.kill()
    with rig.target.lock("wine"):
        pass


def test_a_deletion_that_was_interrupted_goes_on(tmp_path: Path, python: str) -> None:
    target = open_local(tmp_path).deployments
    assert target is not None
    payload = deployment_models.answering(tmp_path, "one", 1.0)
    spec = deployment_models.spec_for(payload, "doomed", "v1", options={"python": python})
    operations = [target.apply(change, payload=payload) for change in target.plan(spec, None)[:2]]
    wait_until(lambda: all(target.poll(operation).done for operation in operations), "the deployment")
    operation = target.delete("doomed")
    for process_id in processes_of(tmp_path):
        kill(process_id)
    wait_until(lambda: target.poll(operation).done, "the deletion")
    assert target.observe("doomed") is None
    assert not (tmp_path / "store/endpoints/doomed/token").exists()
    assert [place.name for place in (tmp_path / "store/models").iterdir()] == [".lock"]
    no_process_left(tmp_path)


def test_processes_end_when_the_store_is_removed(tmp_path: Path, python: str) -> None:
    import shutil

    target = open_local(tmp_path).deployments
    assert target is not None
    payload = deployment_models.answering(tmp_path, "one", 1.0)
    spec = deployment_models.spec_for(payload, "orphan", "v1", options={"python": python})
    operations = [target.apply(change, payload=payload) for change in target.plan(spec, None)[:2]]
    wait_until(lambda: all(target.poll(operation).done for operation in operations), "the deployment")
    shutil.rmtree(tmp_path / "store")
    wait_until(lambda: not processes_of(tmp_path), "the end of every process")


def test_a_store_with_a_long_path_serves(tmp_path: Path, python: str) -> None:
    folder = tmp_path / ("deep" * 20) / ("er" * 40)
    folder.mkdir(parents=True)
    target = open_local(folder).deployments
    assert target is not None
    payload = deployment_models.answering(tmp_path, "one", 1.0)
    spec = deployment_models.spec_for(payload, "w" * 32, "d" * 32, options={"python": python})
    for change in target.plan(spec, None):
        operation = target.apply(change, payload=payload)
        wait_until(lambda operation=operation: target.poll(operation).done, change.subject)  # type: ignore[misc]
    answer = target.invoke("w" * 32, ROW, content_type="application/json")
    assert answer == b'{"predictions":[1.0]}'
    operation = target.delete("w" * 32)
    wait_until(lambda: target.poll(operation).done, "the deletion")
    no_process_left(folder)


def test_a_refused_change_of_a_hostile_hand_changes_nothing(rig: Rig) -> None:
    before = rig.observed()
    hostile = [
        {"subject": "traffic wine", "after": {"traffic": {"v1": 250, "v2": -150}, "mirror": {}}},
        {"subject": "traffic wine", "after": {"traffic": "v1"}},
        {"subject": "traffic ../wine", "after": {"traffic": {"v1": 100}, "mirror": {}}},
        {"subject": "deployment wine/../../x", "after": {"endpoint": "wine", "deployment": "../../x"}},
        {"subject": "endpoint ../outside", "after": {"endpoint": "../outside"}},
        {"subject": "nonsense", "after": {}},
    ]
    for fields in hostile:
        change = Change(action="update", before=None, **fields)  # type: ignore[arg-type]
        with pytest.raises(BridgeError):
            rig.target.apply(change, payload=rig.models["one"])
    assert rig.observed() == before
    assert not (rig.folder / "store" / "outside").exists()


def test_an_endpoint_outlives_the_job_that_started_its_processes(rig: Rig) -> None:
    """All processes are killed, and a job's program, as the next to look, starts them again."""
    for process_id in rig.pids():
        kill(process_id)
    look = f"from tests.contracts.test_local import open_local; from pathlib import Path; \
open_local(Path({str(rig.folder)!r})).deployments.observe('wine')"
    jobs = open_local(rig.folder).jobs
    assert jobs is not None
    job = jobs.submit(
        JobSpec(name="look", command=(sys.executable, "-c", look), code_dir=str(Path.cwd())), key="look"
    )
    wait_until(lambda: jobs.status(job.job_id).status.is_final, "the end of the job")
    assert jobs.status(job.job_id).status is JobStatus.SUCCEEDED
    assert len(rig.pids(SUPERVISOR)) == 1  # before the next look, which would start another
    rig.wait_until_ready()
    assert rig.ask()
