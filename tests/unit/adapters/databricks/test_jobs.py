"""Requests, faults and listings of Databricks' jobs, on the double."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import pytest

from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import Compute, Environment, JobFacts, JobSpec, JobState, JobStatus
from trackbridge.errors import ConfigError, NotFound, Rejected
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.ports.findings import Severity
from trackbridge.ports.jobs import JobBackend
from trackbridge.testing.emulators.databricks import Databricks
from trackbridge.testing.emulators.databricks_jobs import ENDED, Run
from trackbridge_adapters.databricks import open_workspace
from trackbridge_adapters.databricks.jobs_requests import request_of, told_of
from trackbridge_adapters.databricks.jobs_settings import Cloud, JobSettings, job_settings_of
from trackbridge_adapters.databricks.jobs_states import state_of, told_by

NOBODY = "http://127.0.0.1:9"
FOLDER = "/Volumes/main/ml/jobs"
PATIENCE_S = 120.0
FOREVER = "print('begun', flush=True)\nimport time\nwhile True: time.sleep(1)"


def spec_of(code: str = "", **fields: object) -> JobSpec:
    spec = JobSpec(name="train", command=(sys.executable, "-c", code))
    return msgspec.structs.replace(spec, **fields)


def opened(databricks: Databricks, home: Path, options: Mapping[str, str]) -> Adapter:
    context = AdapterContext(home=home, options=options, clock_ms=lambda: time.time_ns() // 1_000_000)
    return open_workspace("databricks", context=context, environment=databricks.environment())


@pytest.fixture
def databricks() -> Iterator[Databricks]:
    with Databricks(NOBODY) as databricks:
        yield databricks


@pytest.fixture
def jobs(databricks: Databricks, tmp_path: Path) -> JobBackend:
    options = {"job_folder": FOLDER, "job_node_type": "i3.xlarge", "job_notice_s": "1"}
    return port(databricks, tmp_path, options)


def port(databricks: Databricks, home: Path, options: Mapping[str, str]) -> JobBackend:
    found = opened(databricks, home, options).jobs
    assert found is not None
    return found


def submit(jobs: JobBackend, spec: JobSpec) -> JobState:
    return jobs.submit(spec, key=mint_id())


def waited(jobs: JobBackend, job_id: str, status: JobStatus) -> JobState:
    deadline_s = time.monotonic() + PATIENCE_S
    while (state := jobs.status(job_id)).status is not status:
        assert not state.status.is_final, state
        assert time.monotonic() < deadline_s, state
        Event().wait(0.02)
    return state


def request_to(databricks: Databricks, job_id: str) -> dict[str, Any]:
    return databricks.jobs.runs[int(job_id)].request


def errors(jobs: JobBackend, spec: JobSpec) -> dict[str, str]:
    found = [item for item in jobs.check(spec) if item.severity is Severity.ERROR]
    assert all(item.fix for item in found)
    return {item.subject: item.message for item in found}


# What is requested.


def test_a_cluster_of_its_own_has_one_machine(jobs: JobBackend, databricks: Databricks) -> None:
    state = submit(jobs, spec_of())
    cluster = request_to(databricks, state.job_id)["tasks"][0]["new_cluster"]
    assert (cluster["node_type_id"], cluster["num_workers"]) == ("i3.xlarge", 0)
    assert cluster["spark_version"] == "15.4.x-scala2.12", "the newest LTS, neither ML nor newer"
    state = waited(jobs, state.job_id, JobStatus.SUCCEEDED)
    facts = state.facts
    assert (facts.instance_type, facts.instance_count, facts.is_spot) == ("i3.xlarge", 1, False)
    assert facts.billed_s is not None


@pytest.mark.parametrize(
    ("cloud", "host"),
    [
        (Cloud.AWS, "https://dbc-1.cloud.databricks.com"),
        (Cloud.AZURE, "https://adb-1.2.azuredatabricks.net"),
        (Cloud.GCP, "https://1.2.gcp.databricks.com"),
    ],
)
def test_spot_is_what_each_cloud_calls_it(cloud: Cloud, host: str) -> None:
    settings = job_settings_of({"job_folder": f"dbfs:{FOLDER}/", "job_node_type": "x"}, host)
    assert (settings.cloud, settings.folder) == (cloud, FOLDER)
    spec = spec_of(compute=Compute(spot=True))
    request = request_of(spec, settings, folder="/f", token="t", cluster_id=None, spark_version="v")
    assert "WITH_FALLBACK" in request["tasks"][0]["new_cluster"][cloud.value]["availability"]


def test_serverless_installs_requirements_itself(databricks: Databricks, tmp_path: Path) -> None:
    jobs = port(databricks, tmp_path, {"job_folder": FOLDER})
    state = submit(jobs, spec_of(environment=Environment(requirements=("six==1.17.0",))))
    request = request_to(databricks, state.job_id)
    assert request["environments"][0]["spec"]["dependencies"] == ["six==1.17.0"]
    assert request["tasks"][0]["environment_key"] == request["environments"][0]["environment_key"]
    ended = waited(jobs, state.job_id, JobStatus.SUCCEEDED)
    assert ended.facts == JobFacts(), "nothing is known of machines"


def test_a_cluster_is_found_by_its_name(jobs: JobBackend, databricks: Databricks) -> None:
    state = submit(jobs, spec_of(compute=Compute(cluster="shared")))
    assert request_to(databricks, state.job_id)["tasks"][0]["existing_cluster_id"] == "0101-000000-shared"
    waited(jobs, state.job_id, JobStatus.SUCCEEDED)
    databricks.jobs.clusters["0202-000000-other"] = "shared"
    assert "2 clusters" in errors(jobs, spec_of(compute=Compute(cluster="shared")))["compute"]
    assert not errors(jobs, spec_of(compute=Compute(cluster="0202-000000-other")))


def test_the_value_of_a_secret_goes_from_the_workspace_to_the_job(
    jobs: JobBackend, databricks: Databricks
) -> None:
    databricks.jobs.secrets["team", "token"] = "Pa55word"
    spec = spec_of("import os; raise SystemExit(os.environ['T'][::-1] != 'drow55aP')")
    state = submit(jobs, msgspec.structs.replace(spec, secrets={"T": "databricks-secret:team/token"}))
    cluster = request_to(databricks, state.job_id)["tasks"][0]["new_cluster"]
    assert cluster["spark_env_vars"] == {"T": "{{secrets/team/token}}"}
    waited(jobs, state.job_id, JobStatus.SUCCEEDED)
    assert not any(b"Pa55word" in content for content, _ in databricks.files.files.values())


def test_what_a_run_remembers_is_never_taken_for_a_reference() -> None:
    spec = spec_of(tracking_uri="https://a.example/{{job.id}}/}}", run_id="r")
    told = told_of(spec)
    assert "{{" not in told
    assert "}}" not in told
    run = {"tasks": [{"task_key": "job", "spark_python_task": {"parameters": [f"{FOLDER}/x", "1", told]}}]}
    found = told_by(run)
    assert found is not None
    assert found[1]["tracking_uri"] == spec.tracking_uri


@pytest.mark.parametrize(
    ("subject", "fields"),
    [
        ("compute", {"compute": Compute(instance_type="no.such")}),
        ("compute", {"compute": Compute(cluster="no-such")}),
        ("compute", {"compute": Compute(cluster="shared", instance_type="i3.xlarge")}),
        ("compute", {"compute": Compute(cluster="shared", spot=True)}),
        ("secrets", {"secrets": {"T": "databricks-secret:team/none"}}),
        ("secrets", {"secrets": {"T": "env:T"}}),
        ("secrets", {"secrets": {"T": "databricks-secret:a/b}}"}}),
        ("environment", {"environment": Environment(image="a"), "compute": Compute(cluster="shared")}),
        ("environment", {"environment": Environment(conda_file="c.yaml")}),
        ("inputs", {"inputs": {"a": "s3://bucket/a"}}),
        ("inputs", {"inputs": {"a": "/Volumes/main/ml/../x/y"}}),
        ("name", {"name": "n" * 4097}),
        ("name", {"name": "a\nb"}),
    ],
)
def test_what_the_workspace_does_not_take_is_found_before(
    jobs: JobBackend, databricks: Databricks, subject: str, fields: dict[str, object]
) -> None:
    assert subject in errors(jobs, spec_of(**fields))
    with pytest.raises(Rejected):
        submit(jobs, spec_of(**fields))
    assert databricks.files.files == {}
    assert databricks.jobs.runs == {}


def test_without_a_folder_the_fix_is_told(databricks: Databricks, tmp_path: Path) -> None:
    assert "job_folder" in errors(port(databricks, tmp_path, {}), spec_of())


@pytest.mark.parametrize(
    "options",
    [
        {"job_folder": "/Volumes/main"},
        {"job_folder": "dbfs:/tmp/jobs"},
        {"job_folder": "/Volumes/a/b/../c"},
        {"job_notice_s": "soon"},
        {"job_notice_s": "-1"},
    ],
    ids=str,
)
def test_wrong_options_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        job_settings_of(options, "https://a.example")
    assert caught.value.hint


# What happens to runs.


def test_a_lost_machine_is_a_failure_and_its_journal_stays(jobs: JobBackend, databricks: Databricks) -> None:
    code = (
        "import os, pathlib\nfile = pathlib.Path(os.environ['BRIDGE_HOME'], 'journal', 'records')\n"
        f"file.parent.mkdir()\nfile.write_bytes(b'accepted')\n{FOREVER}"
    )
    job_id = submit(jobs, spec_of(code)).job_id
    state = waited(jobs, job_id, JobStatus.RUNNING)
    kept = f"{state.kept_uri.removeprefix('dbfs:')}/journal/records"
    deadline_s = time.monotonic() + PATIENCE_S
    while kept not in databricks.files.files:
        assert time.monotonic() < deadline_s
        databricks.files.volumes.read()
        Event().wait(0.05)
    databricks.jobs.lose_machine(int(job_id))
    state = waited(jobs, job_id, JobStatus.FAILED)
    assert "lost" in state.reason
    assert (state.exit_code, state.attempt) == (None, 1)
    assert databricks.files.files[kept][0] == b"accepted"
    adapter = opened(databricks, Path("/"), {"job_folder": FOLDER})
    store: Any = adapter.artifacts
    assert store.reads(state.kept_uri)
    ((name, info),) = store.members_at(f"{state.kept_uri}/journal/")
    with store.open_at(f"{state.kept_uri}/journal/", info.path) as reader:
        assert (name, reader.read()) == ("records", b"accepted")
    with pytest.raises(NotFound):
        store.members_at(f"{state.kept_uri}/nothing/")


def test_a_job_that_waits_for_its_machine_is_cancelled_at_once(
    jobs: JobBackend, databricks: Databricks
) -> None:
    databricks.jobs.holds.clear()
    job_id = submit(jobs, spec_of(FOREVER)).job_id
    waited(jobs, job_id, JobStatus.STARTING)
    jobs.cancel(job_id)
    state = waited(jobs, job_id, JobStatus.CANCELLED)
    assert (state.attempt, state.exit_code) == (0, None)


def test_who_asks_twice_does_not_wait_for_the_notice(databricks: Databricks, tmp_path: Path) -> None:
    options = {"job_folder": FOLDER, "job_node_type": "i3.xlarge", "job_notice_s": "3600"}
    jobs = port(databricks, tmp_path, options)
    job_id = submit(
        jobs, spec_of(f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{FOREVER}")
    ).job_id
    waited(jobs, job_id, JobStatus.RUNNING)
    jobs.cancel(job_id)
    jobs.cancel(job_id)
    waited(jobs, job_id, JobStatus.CANCELLED)


def test_runs_of_others_are_none_of_our_jobs(jobs: JobBackend, databricks: Databricks) -> None:
    add_runs(databricks, 1, parameters=["a", "b"])
    assert list(jobs.list_jobs()) == []
    with pytest.raises(NotFound):
        jobs.status("1")


def test_a_thousand_jobs_cost_a_call_for_each_page_and_none_for_each_job(
    jobs: JobBackend, databricks: Databricks
) -> None:
    add_runs(databricks, 1000, parameters=[f"{FOLDER}/token/digest", "1", told_of(spec_of())])
    databricks.requests.clear()
    page = jobs.list_jobs(max_results=1000)
    assert [int(state.job_id) for state in page] == list(range(1000, 0, -1))
    assert {state.status for state in page} == {JobStatus.SUCCEEDED}
    assert page.token is None
    assert len(databricks.requests) == 1000 // 24 + 1


def test_a_listing_goes_on_where_it_was_though_jobs_come(jobs: JobBackend, databricks: Databricks) -> None:
    told = [f"{FOLDER}/token/digest", "1", told_of(spec_of())]
    add_runs(databricks, 60, parameters=told)
    first = jobs.list_jobs(max_results=30)
    add_runs(databricks, 5, parameters=told, first=2000, start_ms=int(time.time() * 1000) + 60_000)
    second = jobs.list_jobs(max_results=30, token=first.token)
    assert [int(state.job_id) for state in (*first, *second)] == list(range(60, 0, -1))
    assert second.token is None


def test_one_call_looks_through_so_many_runs_of_others(
    jobs: JobBackend, databricks: Databricks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackbridge_adapters.databricks.jobs.PAGES_MAX", 2)
    add_runs(databricks, 1, parameters=[f"{FOLDER}/token/digest", "1", told_of(spec_of())])
    add_runs(databricks, 60, parameters=["/Volumes/others", "1", "{}"], first=2)
    databricks.requests.clear()
    first = jobs.list_jobs()
    assert (list(first), len(databricks.requests)) == ([], 2)
    second = jobs.list_jobs(token=first.token)
    assert ([state.job_id for state in second], second.token) == (["1"], None)


def add_runs(
    databricks: Databricks, count: int, *, parameters: list[str], first: int = 1, start_ms: int = 1_000
) -> None:
    """Add runs that have ended, the last the newest."""
    task = {"task_key": "job", "spark_python_task": {"python_file": "/x.py", "parameters": parameters}}
    for number in range(first, first + count):
        run = Run(
            run_id=number, user="ada", request={"run_name": "a", "tasks": [task]}, start_ms=start_ms + number
        )
        run.state, run.code, run.end_ms = ENDED, "SUCCESS", start_ms + number + 5
        databricks.jobs.runs[number] = run


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ({"status": {"state": "QUEUED"}}, JobStatus.QUEUED),
        ({"status": {"state": "BLOCKED"}}, JobStatus.QUEUED),
        ({"status": {"state": "WAITING"}}, JobStatus.QUEUED),
        ({"state": {"life_cycle_state": "PENDING"}}, JobStatus.STARTING),
        ({"state": {"life_cycle_state": "TERMINATED", "result_state": "SUCCESS"}}, JobStatus.SUCCEEDED),
        ({"state": {"life_cycle_state": "TERMINATED", "result_state": "CANCELED"}}, JobStatus.CANCELLED),
        ({"state": {"life_cycle_state": "TERMINATED", "result_state": "TIMEDOUT"}}, JobStatus.FAILED),
        ({"state": {"life_cycle_state": "INTERNAL_ERROR", "state_message": "why"}}, JobStatus.FAILED),
        ({"state": {"life_cycle_state": "SKIPPED"}}, JobStatus.FAILED),
        (
            {"status": {"state": "TERMINATED", "termination_details": {"code": "USER_CANCELED"}}},
            JobStatus.CANCELLED,
        ),
        (
            {"status": {"state": "TERMINATED", "termination_details": {"code": "CLUSTER_ERROR"}}},
            JobStatus.FAILED,
        ),
        ({"status": {"state": "A_STATE_OF_TOMORROW"}}, JobStatus.STARTING),  # it is no end
    ],
)
def test_each_state_of_a_run_is_one_of_a_job(
    databricks: Databricks, jobs: JobBackend, state: dict[str, Any], status: JobStatus
) -> None:
    add_runs(databricks, 1, parameters=[f"{FOLDER}/token/digest", "1", told_of(spec_of())])
    described = {"run_id": 1, "tasks": databricks.jobs.runs[1].request["tasks"], **state}
    found = state_of(described, jobs._folder)  # type: ignore[attr-defined]
    assert found.status is status
    assert bool(found.reason) == (status in (JobStatus.FAILED, JobStatus.CANCELLED))


def test_a_result_that_was_torn_is_none(jobs: JobBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = jobs._folder(f"{FOLDER}/token")  # type: ignore[attr-defined]
    monkeypatch.setattr(type(folder), "_read", lambda self, path: b'{"job_id": "1", "att')
    assert folder.result() is None


def test_settings_have_a_default() -> None:
    assert job_settings_of({}, "https://a.example") == JobSettings(cloud=Cloud.AWS)
