"""The job contract on the emulator of Azure ML, which runs the commands; and what of jobs is Azure's own."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.azureml_emulators import PACE, ask, azureml_emulator
from tests.support.processes import eventually
from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import Compute, Environment, JobSpec, JobState, JobStatus
from trackbridge.errors import RateLimited, Transient
from trackbridge.operations.following import follow_log
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.ports.streams import AddressedArtifacts
from trackbridge.testing.contracts import JobContract
from trackbridge.testing.contracts.jobs_base import ReadBack, port_of
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.azureml.jobs_records import Jobs
from trackbridge.testing.emulators.azureml.vaults import Vault
from trackbridge_adapters.azureml import open_workspace

GRACE_S = 4.0
"""How long programs of jobs may take to end, in seconds of this machine."""


def open_jobs(azureml: AzureMlEmulator, home: Path) -> Adapter:
    context = AdapterContext(home=home, options=azureml.options, clock_ms=lambda: time.time_ns() // 1_000_000)
    return open_workspace(azureml.uri, context=context, credential=azureml.credential())


def files_at(adapter: Adapter, place: str) -> dict[str, bytes]:
    artifacts = adapter.artifacts
    assert isinstance(artifacts, AddressedArtifacts)
    found = {}
    for name, info in artifacts.members_at(place):
        with artifacts.open_at(place, info.path) as file:
            found[name] = file.read()
    return found


@pytest.fixture(scope="session")
def _machines() -> Iterator[AzureMlEmulator]:
    with azureml_emulator(mlflow="") as emulator:
        yield emulator


@pytest.fixture
def machines(_machines: AzureMlEmulator) -> Iterator[AzureMlEmulator]:
    """A workspace with nothing in it; a fault of the emulator fails the test."""
    _machines.reset()
    _machines.cloud.part(Jobs).grace_s = GRACE_S / PACE
    yield _machines
    _machines.raise_failures()


class TestJobs(JobContract):
    pause_s = 0.05  # every look is work for the process that runs the emulator, too
    missing_secret = "keyvault:bridge-contract-is-not-set"

    @pytest.fixture
    def adapter(self, machines: AzureMlEmulator, tmp_path: Path) -> Adapter:
        self.azure, self.home = machines, tmp_path / "home"
        return open_jobs(machines, self.home)

    def reopened(self) -> Adapter:
        return open_jobs(self.azure, self.home.with_name("another home"))

    @pytest.fixture
    def new_secret(self, machines: AzureMlEmulator) -> Callable[[str], str]:
        def keep(value: str) -> str:
            name = f"contract-{mint_id()}"
            machines.cloud.part(Vault).put(name, value)
            return f"keyvault:{name}"

        return keep

    @pytest.fixture
    def new_place(self) -> Callable[[], str]:
        return lambda: f"azureml://datastores/workspaceblobstore/paths/contract/{mint_id()}"

    @pytest.fixture
    def read_back(self) -> ReadBack:
        def read(place: str) -> dict[str, bytes]:
            # There is no MLflow server here that would know the run: what lies in the storage is the same.
            of_run = re.sub(
                r"jobs/([^/]+)/outputs/artifacts/paths/",
                r"datastores/workspaceartifactstore/paths/ExperimentRun/dcid.\1/",
                place,
            )
            return files_at(self.opened, of_run)

        return read


# What is Azure's own.


@pytest.fixture
def ours(machines: AzureMlEmulator, tmp_path: Path) -> Iterator[Adapter]:
    adapter = open_jobs(machines, tmp_path / "home")
    yield adapter
    adapter.close()


def python(code: str, **fields: Any) -> JobSpec:
    return JobSpec(**{"name": "a job", "command": (sys.executable, "-c", code), **fields})


def ended(adapter: Adapter, job_id: str) -> JobState:
    jobs = port_of(adapter)
    eventually(lambda: jobs.status(job_id).status.is_final)
    return jobs.status(job_id)


def calls_since(machines: AzureMlEmulator, begun: int, method: str, end: str) -> int:
    return sum(call.method == method and call.path.endswith(end) for call in machines.calls[begun:])


def test_a_lost_answer_is_asked_for_again(machines: AzureMlEmulator, ours: Adapter) -> None:
    jobs, spec = port_of(ours), python("print('ran')")
    machines.faults.fail("PUT */jobs/*", status=500, after=True)

    with pytest.raises(Transient):
        jobs.submit(spec, key="k")
    state = jobs.submit(spec, key="k")

    assert ended(ours, state.job_id).status is JobStatus.SUCCEEDED
    assert [item.job_id for item in jobs.list_jobs()] == [state.job_id]
    assert sum(call.method == "PUT" and "/codes/" in call.path for call in machines.calls) == 1, "sent once"


def test_a_log_is_followed_through_an_outage(
    machines: AzureMlEmulator, ours: Adapter, tmp_path: Path
) -> None:
    jobs, go = port_of(ours), tmp_path / "go"
    waits = f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(.02)"
    code = f"import pathlib, time\nprint('a')\n{waits}\nprint('b')"
    job_id = jobs.submit(python(code), key="k").job_id
    came = ""
    troubles: list[str] = []
    for piece in follow_log(lambda cursor: jobs.read_logs(job_id, cursor=cursor), on_trouble=troubles.append):
        came += piece
        if came == "a\n":
            machines.faults.fail("GET */details", status=503, times=3)
            machines.faults.throttle("GET */jobs/*", times=3)
            go.touch()

    assert came == "a\nb\n"
    assert troubles


def test_a_stream_that_breaks_off_is_gone_on_with(ours: Adapter) -> None:
    """By the blob's length: what was read is counted, and the rest asked for from there."""
    jobs = port_of(ours)
    job_id = jobs.submit(python("print('x' * 3_000_000)"), key="k").job_id
    ended(ours, job_id)

    first = jobs.read_logs(job_id)
    rest = "".join(follow_log(lambda cursor: jobs.read_logs(job_id, cursor=cursor or first.cursor)))

    assert 0 < len(first.text) < 3_000_001
    assert first.text + rest == "x" * 3_000_000 + "\n"


def test_a_listing_asks_for_many_at_once(machines: AzureMlEmulator, ours: Adapter, tmp_path: Path) -> None:
    jobs = port_of(ours)
    ids = [jobs.submit(python("", name=str(number)), key=str(number)).job_id for number in range(4)]
    states = [ended(ours, job_id) for job_id in ids]
    another, begun = open_jobs(machines, tmp_path / "another"), len(machines.calls)

    listed = list(port_of(another).list_jobs())

    assert listed == states[::-1]
    assert len(machines.calls) - begun <= 3, [call.path for call in machines.calls[begun:]]
    assert calls_since(machines, begun, "POST", "/runs:query") == 1


def test_a_service_that_does_not_take_the_query_is_asked_one_by_one(
    machines: AzureMlEmulator, ours: Adapter, tmp_path: Path
) -> None:
    state = ended(ours, port_of(ours).submit(python(""), key="k").job_id)
    machines.faults.fail("POST */runs:query", status=400, times=None)

    assert list(port_of(open_jobs(machines, tmp_path / "another")).list_jobs()) == [state]


def test_throttling_is_told_with_how_long_to_wait(machines: AzureMlEmulator, ours: Adapter) -> None:
    machines.throttle("GET */jobs*", times=1)

    with pytest.raises(RateLimited) as caught:
        port_of(ours).list_jobs()

    assert caught.value.retry_after_s == 1.0


def test_jobs_of_other_clients_are_seen(machines: AzureMlEmulator, ours: Adapter) -> None:
    image = ask(machines, "PUT", "environments/tiny/versions/1", {"properties": {"image": "python:3.11"}})
    asked = {"jobType": "Command", "command": "exit 3", "environmentId": image.content["id"]}
    ask(machines, "PUT", "jobs/theirs", {"properties": {**asked, "displayName": "of another"}})

    state = ended(ours, "theirs")

    assert (state.name, state.status, state.exit_code) == ("of another", JobStatus.FAILED, 3)
    assert (state.run_id, state.kept_uri) == (None, "")
    assert list(port_of(ours).list_jobs()) == [state]


def test_a_job_beyond_azures_own_limit_has_failed(machines: AzureMlEmulator, ours: Adapter) -> None:
    image = ask(machines, "PUT", "environments/tiny/versions/1", {"properties": {"image": "python:3.11"}})
    limits = {"jobLimitsType": "Command", "timeout": "PT1S"}
    asked = {"jobType": "Command", "command": "sleep 600", "environmentId": image.content["id"]}
    ask(machines, "PUT", "jobs/late", {"properties": {**asked, "limits": limits}})

    state = ended(ours, "late")

    assert state.status is JobStatus.FAILED
    assert "exceeded its timeout" in state.reason


def test_a_lost_node_is_told_by_the_platform(
    machines: AzureMlEmulator, ours: Adapter, tmp_path: Path
) -> None:
    jobs, here = port_of(ours), tmp_path / "here"
    code = f"import pathlib, time\npathlib.Path({str(here)!r}).touch()\nwhile True: time.sleep(1)"
    job_id = jobs.submit(python(code, attempts_max=3), key="k").job_id
    eventually(here.exists)
    job = machines.cloud.part(Jobs).find(f"{machines.scope}/jobs/{job_id}")
    assert job is not None

    machines.cloud.part(Jobs).lose_nodes(job)
    state = ended(ours, job_id)

    assert (state.status, state.exit_code) == (JobStatus.FAILED, None)
    assert "sent no heartbeat" in state.reason
    assert state.facts.billed_s is not None


def test_a_cluster_is_asked_for_by_its_id(machines: AzureMlEmulator, ours: Adapter) -> None:
    inner = {"vmSize": "Standard_DS3_v2", "scaleSettings": {"maxNodeCount": 2}}
    properties = {"computeType": "AmlCompute", "properties": inner}
    ask(machines, "PUT", "computes/cpu", {"properties": properties})
    eventually(
        lambda: ask(machines, "GET", "computes/cpu").content["properties"]["provisioningState"] == "Succeeded"
    )

    state = port_of(ours).submit(python("", compute=Compute(cluster="cpu", instance_count=2)), key="k")

    facts = ended(ours, state.job_id).facts
    assert (facts.instance_type, facts.instance_count, facts.is_spot) == ("Standard_DS3_v2", 2, False)
    asked = ask(machines, "GET", f"jobs/{state.job_id}").content["properties"]
    assert asked["computeId"] == f"{machines.scope}/computes/cpu"
    assert asked["distribution"] == {"distributionType": "PyTorch", "processCountPerInstance": 1}


def test_the_environment_is_made_once(
    machines: AzureMlEmulator, ours: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    environment = Environment(requirements=("a==1",), python="3.11")
    for key in ("one", "two"):
        port_of(ours).submit(python("", environment=environment), key=key)

    (made,) = [call for call in machines.calls if call.method == "PUT" and "/environments/" in call.path]
    name = made.path.split("/environments/")[1].split("/")[0]
    kept = ask(machines, "GET", f"environments/{name}/versions/1").content["properties"]
    assert json.loads(kept["condaFile"])["dependencies"] == ["python=3.11", "pip", {"pip": ["a==1"]}]


def test_inputs_of_the_workspace_are_mounted(machines: AzureMlEmulator, ours: Adapter) -> None:
    machines.cloud.storage.put("data/a.csv", b"a,b\n")
    uri = "azureml://datastores/workspaceblobstore/paths/data/a.csv"
    ask(machines, "PUT", "data/table/versions/1", {"properties": {"dataType": "uri_file", "dataUri": uri}})
    model = "azureml://datastores/workspaceblobstore/paths/data"
    ask(
        machines,
        "PUT",
        "models/wine/versions/1",
        {"properties": {"modelType": "custom_model", "modelUri": model}},
    )
    code = (
        "import os, pathlib\n"
        "one, two, three = (pathlib.Path(os.environ['BRIDGE_INPUT_' + name]) for name in ('A', 'B', 'C'))\n"
        "assert one.read_text() == two.read_text() == (three / 'a.csv').read_text() == 'a,b\\n'"
    )
    inputs = {"a": "azureml:table:1", "b": uri, "c": "azureml:wine:1"}

    state = port_of(ours).submit(python(code, inputs=inputs), key="k")

    assert ended(ours, state.job_id).status is JobStatus.SUCCEEDED
