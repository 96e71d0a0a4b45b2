"""Jobs of the emulated Azure ML really run: what they are given and leave, how they end, what is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.azureml_calls import Rig, Told
from tests.support.processes import WAIT_S, eventually, is_alive
from trackbridge.testing.emulators.azureml import jobs_logs, jobs_runs
from trackbridge.testing.emulators.azureml.containers import Containers
from trackbridge.testing.emulators.azureml.jobs_commands import filled, timeout_s
from trackbridge.testing.emulators.azureml.jobs_records import Job, Jobs
from trackbridge.testing.emulators.azureml.jobs_runs import JobLife
from trackbridge.testing.emulators.azureml.jobs_tracking import JobRun
from trackbridge.testing.emulators.azureml.places import place_of
from trackbridge.testing.emulators.azureml.refusal import Refused
from trackbridge.testing.emulators.azureml.run_names import RunNames
from trackbridge.testing.emulators.azureml.tokens import JOB_AUDIENCE

FOLDER = {"jobOutputType": "uri_folder"}
PACE = 0.005
BLOBS = "azureml://datastores/workspaceblobstore/paths"


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A cloud whose time runs, and quickly."""
    made = Rig(pace=PACE)
    made.cloud.clock.go_on()
    try:
        yield made
        made.cloud.clock.raise_errors()
    finally:
        made.cloud.close()


def submit(rig: Rig, name: str = "job-1", command: str = "true", **properties: Any) -> Told:
    environment = f"{rig.workspace}/environments/tiny/versions/1"
    rig.ask("PUT", "environments/tiny/versions/1", {"properties": {"image": "python:3.11"}})
    given = {"jobType": "Command", "command": command, "environmentId": environment, **properties}
    return rig.ask("PUT", f"jobs/{name}", {"properties": given})


def job_of(rig: Rig, name: str = "job-1") -> Job:
    found = rig.cloud.part(Jobs).find(f"{rig.workspace}/jobs/{name}")
    assert found is not None
    return found


def run(rig: Rig, name: str = "job-1", command: str = "true", **properties: Any) -> dict[str, Any]:
    """Let a job run to its end; returns its properties."""
    begun = submit(rig, name, command, **properties)
    assert begun.status == 201, begun
    return ended(rig, name)


def ended(rig: Rig, name: str = "job-1") -> dict[str, Any]:
    assert job_of(rig, name).is_done.wait(WAIT_S)
    rig.cloud.clock.raise_errors()
    found: dict[str, Any] = rig.ask("GET", f"jobs/{name}").content["properties"]
    return found


def read(rig: Rig, path: str, name: str = "job-1", output: str = "artifacts") -> str:
    place = place_of(rig.cloud, rig.workspace, f"azureml://jobs/{name}/outputs/{output}")
    assert place is not None
    content = place.read(rig.cloud, path)
    assert content is not None, [blob.path for blob in place.blobs(rig.cloud)]
    return content.decode()


def log(rig: Rig, name: str = "job-1") -> list[str]:
    return read(rig, "user_logs/std_log.txt", name).splitlines()


def code(rig: Rig, **files: str) -> str:
    """Upload code; returns its id."""
    for name, text in files.items():
        rig.storage.put(f"code/{name}.py", text.encode())
    uri = f"https://tbteststore.blob.core.windows.net/{'azureml-blobstore-default'}/code"
    made = rig.ask("PUT", "codes/mine/versions/1", {"properties": {"codeUri": uri}})
    assert made.status == 201, made
    return str(made.content["id"])


@pytest.mark.parametrize("is_mounted", [True, False])
def test_a_job_gets_its_code_and_inputs_and_its_files_are_kept(rig: Rig, is_mounted: bool) -> None:
    containers = rig.cloud.part(Containers)
    containers.is_mounted = containers.is_mounted and is_mounted  # where the kernel lets nobody mount
    rig.storage.put("data/a.csv", b"a")
    rig.storage.put("data/deep/b.csv", b"b")
    rig.ask(
        "PUT",
        "data/table/versions/1",
        {"properties": {"dataType": "uri_file", "dataUri": f"{BLOBS}/data/a.csv"}},
    )
    program = (
        "import pathlib, sys\n"
        "folder, file, asset, out, rate = sys.argv[1:]\n"
        "names = sorted(p.relative_to(folder).as_posix() for p in pathlib.Path(folder).rglob('*.csv'))\n"
        "print(names, pathlib.Path(file).read_text(), pathlib.Path(asset).read_text(), rate)\n"
        "pathlib.Path(out, 'model.txt').write_text('weights')\n"
        "pathlib.Path('outputs/deep').mkdir()\n"
        "pathlib.Path('outputs/deep/plot.svg').write_text('svg')\n"
    )
    inputs = {
        "folder": {"jobInputType": "uri_folder", "uri": f"{BLOBS}/data"},
        "file": {"jobInputType": "uri_file", "uri": f"{BLOBS}/data/deep/b.csv", "mode": "Download"},
        "asset": {"jobInputType": "uri_file", "uri": "azureml:table:1"},
        "rate": {"jobInputType": "literal", "value": "0.1"},
    }
    outputs = {"model": {"jobOutputType": "custom_model", "assetName": "learned"}}

    told = run(
        rig,
        command="python train.py ${{inputs.folder}} ${{inputs.file}} ${{ inputs.asset }} ${{outputs.model}} "
        "${{inputs.rate}}",
        codeId=code(rig, train=program),
        inputs=inputs,
        outputs=outputs,
    )

    assert told["status"] == "Completed"
    assert log(rig) == ["['a.csv', 'deep/b.csv'] b a 0.1"]
    assert read(rig, "outputs/deep/plot.svg") == "svg"
    assert read(rig, "model.txt", output="model") == "weights"
    model = rig.ask("GET", "models/learned/versions/1").content["properties"]
    assert (model["modelType"], model["jobName"]) == ("custom_model", "job-1")
    files = rig.history("GET", "experiments/Default/runs/job-1/artifacts").content["value"]
    assert [file["path"] for file in files] == ["outputs/deep/plot.svg", "user_logs/std_log.txt"]


def test_the_platforms_variables_win_over_the_jobs_own(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_USER", "x")
    wanted = {"MLFLOW_TRACKING_URI": "http://mine", "MLFLOW_RUN_ID": "mine", "MODE": "fast"}

    run(rig, command="env", environmentVariables=wanted, experimentName="digits")

    told = dict(line.partition("=")[::2] for line in log(rig))
    assert told["MODE"] == "fast"
    assert told["MLFLOW_TRACKING_URI"] == f"azureml://here/mlflow/v1.0{rig.workspace}?"
    assert (told["MLFLOW_RUN_ID"], told["AZUREML_RUN_ID"]) == ("job-1", "job-1")
    assert told["MLFLOW_EXPERIMENT_NAME"] == "digits"
    assert told["AZUREML_ARM_WORKSPACE_NAME"] == rig.cloud.workspace
    assert told["PWD"].startswith("/")
    assert told["PWD"].endswith("/exe/wd")
    assert "SECRET_OF_THE_USER" not in told
    assert "IDENTITY_ENDPOINT" not in told


def test_only_a_managed_identity_can_sign_in(rig: Rig) -> None:
    rig.cloud.environment = {"IDENTITY_ENDPOINT": "http://here/identity", "HTTPS_PROXY": "http://here"}

    run(rig, "plain", "env")
    run(rig, "managed", "env", identity={"identityType": "Managed"})

    assert [line for line in log(rig, "plain") if line.startswith(("IDENTITY", "HTTPS_"))] == [
        "HTTPS_PROXY=http://here"
    ]
    assert "IDENTITY_ENDPOINT=http://here/identity" in log(rig, "managed")


def test_the_jobs_token_is_for_the_workspace_and_not_for_arm(rig: Rig) -> None:
    token = rig.cloud.issuer.issue(audience=JOB_AUDIENCE)
    run(rig)

    def ask(path: str) -> int:
        from trackbridge.testing.emulators.listener import Arrived

        headers = {"Host": "127.0.0.1:1", "Authorization": f"Bearer {token.token}"}
        return rig.services.answer(Arrived("GET", path, headers, b"", False)).status

    assert ask(f"/history/v1.0{rig.workspace}/runs/job-1/details") == 200
    assert ask(f"{rig.workspace}?api-version=2024-04-01") == 401


def test_a_program_that_fails_fails_the_job_and_says_why(rig: Rig) -> None:
    outputs = {
        "mounted": {"jobOutputType": "uri_folder", "assetName": "partial"},
        "uploaded": {"jobOutputType": "uri_folder", "mode": "Upload"},
    }
    command = "echo x > ${{outputs.mounted}}/x; echo x > ${{outputs.uploaded}}/x; echo no memory >&2; exit 3"

    told = run(rig, command=command, outputs=outputs)

    details = rig.history("GET", "runs/job-1/details").content
    assert (told["status"], details["status"]) == ("Failed", "Failed")
    assert details["error"]["error"]["code"] == "UserError"
    assert "exited with status code 3" in details["error"]["error"]["message"]
    assert "no memory" in details["error"]["error"]["message"]
    assert list(details["logFiles"]) == ["user_logs/std_log.txt"]
    assert read(rig, "x", output="mounted") == "x\n"
    uploaded = place_of(rig.cloud, rig.workspace, "azureml://jobs/job-1/outputs/uploaded")
    assert uploaded is not None
    assert uploaded.blobs(rig.cloud) == []
    assert rig.ask("GET", "data/partial/versions/1").status == 404


def test_inputs_that_are_not_there_fail_the_job(rig: Rig) -> None:
    told = run(rig, inputs={"x": {"jobInputType": "uri_folder", "uri": f"{BLOBS}/nothing"}})

    message = rig.history("GET", "runs/job-1/details").content["error"]["error"]["message"]
    assert told["status"] == "Failed"
    assert "there is nothing at azureml-blobstore-default/nothing" in message


def test_a_program_that_cannot_be_started_fails_the_job(rig: Rig) -> None:
    told = run(rig, command="true", environmentVariables={"A": "nul\0"})

    message = rig.history("GET", "runs/job-1/details").content["error"]["error"]["message"]
    assert told["status"] == "Failed"
    assert message.startswith("The program cannot be started: ")


def test_a_fault_of_the_emulator_is_not_blamed_on_the_program(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise OSError("storage is gone")

    monkeypatch.setattr(jobs_runs, "bring", broken)
    submit(rig, codeId=code(rig, x=""))
    assert job_of(rig).is_done.wait(WAIT_S)

    error = rig.history("GET", "runs/job-1/details").content["error"]["error"]
    assert (error["code"], error["message"]) == ("ServiceError", "OSError: storage is gone")
    with pytest.raises(OSError, match="storage is gone"):
        rig.cloud.clock.raise_errors()


def test_files_that_lead_out_of_their_folder_fail_the_job(rig: Rig) -> None:
    rig.storage.put("data/../../out.txt", b"x")

    told = run(rig, inputs={"x": {"jobInputType": "uri_folder", "uri": f"{BLOBS}/data"}})

    message = rig.history("GET", "runs/job-1/details").content["error"]["error"]["message"]
    assert told["status"] == "Failed"
    assert "leads out of its folder" in message


def test_a_log_is_kept_up_to_a_bound(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_logs, "LOG_CHARS_MAX", 100)

    told = run(
        rig, command="for i in 1 2 3 4 5 6 7 8 9; do echo 123456789012345678901234567890; done; exit 1"
    )

    assert told["status"] == "Failed"
    assert log(rig) == ["1234567890" * 3] * 3 + ["The emulator keeps no more than 100 characters of a log."]


def test_the_longest_name_that_azure_takes_runs(rig: Rig) -> None:
    assert run(rig, "j" * 255)["status"] == "Completed"
    assert submit(rig, "j" * 256).status == 400


def test_a_canceled_program_is_asked_to_end_and_its_log_is_kept(rig: Rig, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    submit(rig, command=f"trap 'echo asked; exit 0' TERM; touch {ready}; while true; do sleep 0.02; done")
    rig.cloud.part(Jobs).grace_s = WAIT_S / PACE
    eventually(ready.exists)

    begun = rig.ask("POST", "jobs/job-1/cancel")
    told = ended(rig)

    assert begun.status == 202
    assert rig.outcome(begun, seconds=0)["status"] == "Succeeded"
    assert told["status"] == "Canceled"
    assert log(rig) == ["asked"]
    assert rig.ask("POST", "jobs/job-1/cancel").status == 200


def test_a_program_that_does_not_end_is_killed_with_all_that_it_started(rig: Rig, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    rig.cloud.part(Jobs).grace_s = 0.2 / PACE
    submit(rig, command=f"trap '' TERM; sleep 600 & echo $! > {pid}.new; mv {pid}.new {pid}; wait; sleep 600")
    eventually(pid.exists)

    rig.ask("POST", "jobs/job-1/cancel")

    assert ended(rig)["status"] == "Canceled"
    eventually(lambda: not is_alive(int(pid.read_text())))


def test_a_job_that_takes_too_long_is_canceled(rig: Rig) -> None:
    told = run(rig, command="sleep 600", limits={"jobLimitsType": "Command", "timeout": "PT10S"})

    message = rig.history("GET", "runs/job-1/details").content["error"]["error"]["message"]
    assert told["status"] == "Canceled"
    assert "exceeded its timeout of PT10S" in message


def test_jobs_wait_for_nodes_in_the_order_of_their_submission(rig: Rig, tmp_path: Path) -> None:
    go = tmp_path / "go"
    order = tmp_path / "order"
    rig.cloud.part(Jobs).nodes = 1
    submit(rig, "first", f"while [ ! -e {go} ]; do sleep 0.02; done; echo first >> {order}")
    eventually(lambda: job_of(rig, "first").status == "Running")
    submit(rig, "second", f"echo second >> {order}")
    eventually(lambda: job_of(rig, "second").status == "Queued")
    submit(rig, "third", f"echo third >> {order}")
    made = {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_DS2_v2"}}
    rig.ask("PUT", "computes/other", {"properties": made})
    submit(rig, "elsewhere", computeId=f"{rig.workspace}/computes/other")
    eventually(lambda: job_of(rig, "third").status == "Queued")
    assert ended(rig, "elsewhere")["status"] == "Completed"

    rig.ask("POST", "jobs/second/cancel")
    assert ended(rig, "second")["status"] == "Canceled"
    go.touch()

    assert [ended(rig, name)["status"] for name in ("first", "third")] == ["Completed", "Completed"]
    assert order.read_text().split() == ["first", "third"]


def test_a_job_that_is_slow_to_start_keeps_its_place(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job has a thread: which of them comes to the queue first is nobody's to say."""
    rig.cloud.part(Jobs).nodes = 1
    enter, late, told = JobLife._enter, threading.Event(), tmp_path / "told"

    def enter_late(life: JobLife, status: str) -> None:
        if life.job.name == "first":
            late.wait(WAIT_S)
        enter(life, status)

    monkeypatch.setattr(JobLife, "_enter", enter_late)
    for name in ("first", "second"):
        submit(rig, name, f"echo {name} >> {told}")
    eventually(lambda: job_of(rig, "second").status == "Queued", "the second to wait")
    late.set()
    for name in ("first", "second"):
        assert ended(rig, name)["status"] == "Completed"
    assert told.read_text().split() == ["first", "second"]


def test_a_job_ends_for_those_who_wait_even_if_its_run_cannot_be_closed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def follow(run: JobRun, status: str) -> None:
        if status == "Completed":
            raise RuntimeError("the MLflow server is gone")

    monkeypatch.setattr(JobRun, "follow", follow)
    submit(rig)
    eventually(lambda: job_of(rig).status == "Completed", "its end")
    assert job_of(rig).is_done.wait(WAIT_S)
    with pytest.raises(RuntimeError, match="is gone"):
        rig.cloud.clock.raise_errors()


def test_a_distributed_job_has_a_process_for_each_rank(rig: Rig) -> None:
    distribution = {"distributionType": "PyTorch", "processCountPerInstance": 2}
    resources = {"instanceCount": 2}

    told = run(
        rig,
        command="echo $RANK of $WORLD_SIZE, $LOCAL_RANK on $NODE_RANK",
        distribution=distribution,
        resources=resources,
    )

    assert told["status"] == "Completed"
    lines = [read(rig, f"user_logs/std_log_process_{rank}.txt").strip() for rank in range(4)]
    assert lines == ["0 of 4, 0 on 0", "1 of 4, 1 on 0", "2 of 4, 0 on 1", "3 of 4, 1 on 1"]


def test_one_rank_that_fails_ends_the_others(rig: Rig) -> None:
    distribution = {"distributionType": "Mpi", "processCountPerInstance": 2}

    told = run(rig, command='[ "$OMPI_COMM_WORLD_RANK" = 0 ] && sleep 600; exit 7', distribution=distribution)

    assert told["status"] == "Failed"
    message = rig.history("GET", "runs/job-1/details").content["error"]["error"]["message"]
    assert "status code 7" in message
    assert "std_log_process_1.txt" in message


REFUSED = [
    ({"jobType": "Pipeline", "jobs": {}}, "no jobs of the type Pipeline"),
    ({"command": "echo ${{inputs.nothing}}"}, "which the job does not define"),
    ({"codeId": "{ws}/codes/none/versions/1"}, "not found"),
    ({"environmentId": "{ws}/environments/none/versions/1"}, "not found"),
    ({"inputs": {"x": {"jobInputType": "uri_file", "uri": "azureml:none:1"}}}, "was not found"),
    (
        {"inputs": {"x": {"jobInputType": "uri_file", "uri": "https://example.com/x.csv"}}},
        "has no storage at",
    ),
    (
        {"inputs": {"x": {"jobInputType": "mltable", "uri": f"{BLOBS}/x", "mode": "EvalMount"}}},
        "by evalmount",
    ),
    ({"distribution": {"distributionType": "TensorFlow"}}, "not by tensorflow"),
    ({"resources": {"instanceCount": 5}}, "a compute of the emulator has 4"),
    ({"limits": {"jobLimitsType": "Command", "timeout": "P1Y"}}, "duration"),
]


@pytest.mark.parametrize(("properties", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_cannot_run_is_refused_in_words(rig: Rig, properties: dict[str, Any], words: str) -> None:
    properties = {
        key: value.replace("{ws}", rig.workspace) if isinstance(value, str) else value
        for key, value in properties.items()
    }

    refused = submit(rig, **properties)

    assert refused.status in (400, 404), refused
    assert words in refused.message
    assert rig.ask("GET", "jobs/job-1").status == 404


def test_a_job_that_is_there_can_be_renamed_tagged_and_archived_and_no_more(rig: Rig) -> None:
    run(rig, tags={"a": "b"})

    changed = submit(rig, tags={"c": "d"}, displayName="other", isArchived=True)
    refused = submit(rig, command="false")

    assert changed.status == 200
    assert refused.status == 400
    assert "A job with this name already exists" in refused.message
    kept = rig.ask("GET", "jobs/job-1").content["properties"]
    assert (kept["displayName"], kept["tags"], kept["command"]) == ("other", {"c": "d"}, "true")
    assert rig.ask("GET", "jobs").content["value"] == []
    archived = rig.ask("GET", "jobs?listViewType=ArchivedOnly").content["value"]
    assert [job["name"] for job in archived] == ["job-1"]


def test_jobs_are_listed_by_tag_and_a_running_one_is_not_deleted(rig: Rig, tmp_path: Path) -> None:
    go = tmp_path / "go"
    run(rig, "one", tags={"team": "a"})
    submit(rig, "two", f"while [ ! -e {go} ]; do sleep 0.02; done")

    by_tag = rig.ask("GET", "jobs?tag=team%3Da").content["value"]
    refused = rig.ask("DELETE", "jobs/two")
    go.touch()
    ended(rig, "two")
    deleted = rig.ask("DELETE", "jobs/two")
    eventually(lambda: rig.ask("GET", "jobs/two").status == 404)
    again = run(rig, "two")

    assert [job["name"] for job in by_tag] == ["one"]
    assert (refused.status, deleted.status) == (400, 202)
    assert again["status"] == "Completed"
    assert rig.ask("DELETE", "jobs/none").status == 204


def test_outputs_are_found_by_the_run_history(rig: Rig) -> None:
    run(rig, outputs={"model": {"jobOutputType": "uri_folder", "uri": f"{BLOBS}/kept/${{{{name}}}}"}})

    outputs = rig.history("POST", "rundata", {"runId": "job-1"}).content["runMetadata"]["outputs"]
    asset = outputs["model"]["assetId"]
    path = f"/data/v1.0{rig.workspace}/dataversion/batchGetResolvedUris"
    found = rig.ask("POST", path, {"values": [asset]}, version="").content["values"]

    assert outputs["model"]["type"] == "UriFolder"
    assert found[asset]["uri"].endswith("/datastores/workspaceblobstore/paths/kept/job-1")


def test_a_model_is_registered_from_a_jobs_output(rig: Rig) -> None:
    run(
        rig,
        command="echo w > outputs/model.pkl; echo w > ${{outputs.best}}/model.pkl",
        outputs={"best": FOLDER},
    )

    for name, output in (("own", "artifacts/paths/outputs"), ("named", "best")):
        uri = f"azureml://jobs/job-1/outputs/{output}"
        made = rig.ask("PUT", f"models/{name}/versions/1", {"properties": {"modelUri": uri}})
        assert made.status == 201, made
        place = place_of(rig.cloud, rig.workspace, made.content["properties"]["modelUri"])
        assert place is not None
        assert place.read(rig.cloud, "model.pkl") == b"w\n"


def test_nothing_runs_on_when_the_cloud_is_reset(rig: Rig, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    submit(rig, command=f"echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 600")
    eventually(pid.exists)
    job, pool = job_of(rig), rig.cloud.part(Containers)
    folder = pool.folder("probe").parent

    rig.cloud.reset()

    assert job.thread is not None
    assert not job.thread.is_alive()
    eventually(lambda: not is_alive(int(pid.read_text())))
    assert not folder.exists()
    rig.cloud.clock.raise_errors()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("run $[[--x ${{inputs.x}}]] $[[--y ${{inputs.y}}]]", "run --x 1 "),
        ("${{name}} ${{ inputs.x }}", "job 1"),
        ("echo ${HOME} $[[ ]]", "echo ${HOME}  "),
    ],
)
def test_a_command_is_filled(command: str, expected: str) -> None:
    assert filled(command, {"inputs.x": "1", "name": "job"}) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT1H", 3600.0), ("PT1M30S", 90.0), ("P1DT1H", 90_000.0), ("PT0.5S", 0.5), ("", None)],
)
def test_durations_are_read(text: str, seconds: float | None) -> None:
    assert timeout_s({"limits": {"timeout": text}}) == seconds


@pytest.mark.parametrize("text", ["P", "PT", "1H", "PT1X", "soon"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="no duration"):
        timeout_s({"limits": {"timeout": text}})


def test_runs_have_their_jobs_names_outside_and_the_servers_ids_inside() -> None:
    names = RunNames()
    names.add("job-1", "abc")

    assert names.inward(b'{"run_id": "job-1", "key": "job-1"}') == b'{"run_id": "abc", "key": "job-1"}'
    assert names.inward(b'{"run_ids": ["job-1", "x"]}') == b'{"run_ids": ["abc", "x"]}'
    assert names.inward(b'{"filter": "attributes.run_id = \'job-1\'"}') == (
        b'{"filter": "attributes.run_id = \'abc\'"}'
    )
    assert names.inward(b'{"filter": "params.x = \'job-1\'"}') == b'{"filter": "params.x = \'job-1\'"}'
    assert names.inward(b"not json") == b"not json"
    assert names.inward_query("run_id=job-1&name=job-1") == "run_id=abc&name=job-1"
    assert names.outward({"run": {"info": {"run_id": "abc", "run_uuid": "abc", "name": "abc"}}}) == {
        "run": {"info": {"run_id": "job-1", "run_uuid": "job-1", "name": "abc"}}
    }


# Nodes that are taken away, and what is brought away from them meanwhile.

FOREVER = "while true; do sleep 0.02; done"


def is_stored(rig: Rig, path: str, output: str = "artifacts") -> bool:
    place = place_of(rig.cloud, rig.workspace, f"azureml://jobs/job-1/outputs/{output}")
    assert place is not None
    return place.read(rig.cloud, path) is not None


def test_what_a_job_writes_is_stored_while_it_runs(rig: Rig) -> None:
    mounted = {"jobOutputType": "uri_folder", "mode": "ReadWriteMount", "uri": f"{BLOBS}/kept"}
    submit(
        rig,
        command=f"printf half; echo x > outputs/a; echo y > ${{{{outputs.kept}}}}/b; {FOREVER}",
        outputs={"kept": mounted},
    )

    eventually(lambda: is_stored(rig, "outputs/a") and is_stored(rig, "b", "kept"))
    eventually(lambda: is_stored(rig, "user_logs/std_log.txt"))

    assert read(rig, "user_logs/std_log.txt") == "half", "as it was written, without an end of line"
    rig.ask("POST", "jobs/job-1/cancel")
    ended(rig)


def test_a_mounted_folder_shows_what_lies_there_and_forgets_what_is_deleted(rig: Rig) -> None:
    rig.storage.put("kept/old", b"old")
    mounted = {"jobOutputType": "uri_folder", "mode": "ReadWriteMount", "uri": f"{BLOBS}/kept"}

    run(rig, command="cd ${{outputs.kept}} && cat old > new && rm old", outputs={"kept": mounted})

    assert read(rig, "new", output="kept") == "old"
    assert not is_stored(rig, "old", "kept")


def test_nodes_that_vanish_take_along_what_was_not_stored(rig: Rig) -> None:
    submit(rig, command=f"trap 'echo asked > outputs/asked; exit' TERM; echo begun; {FOREVER}")
    eventually(lambda: is_stored(rig, "user_logs/std_log.txt"))

    rig.cloud.part(Jobs).lose_nodes(job_of(rig))

    assert ended(rig)["status"] == "Failed"
    details = rig.history("GET", "runs/job-1/details").content
    assert "sent no heartbeat" in details["error"]["error"]["message"]
    assert not is_stored(rig, "outputs/asked"), "nobody asked it"


def test_nodes_that_are_taken_away_are_replaced(rig: Rig) -> None:
    mounted = {"jobOutputType": "uri_folder", "mode": "ReadWriteMount", "uri": f"{BLOBS}/kept"}
    program = (
        "cd ${{outputs.kept}}; if [ -e step ]; then echo again; exit 0; fi; echo 1 > step; "
        f"trap 'echo asked; exit 1' TERM; echo begun; {FOREVER}"
    )
    submit(rig, command=program, outputs={"kept": mounted})
    eventually(lambda: is_stored(rig, "user_logs/std_log.txt"))

    rig.cloud.part(Jobs).take_away(job_of(rig), notice_s=30.0)

    assert ended(rig)["status"] == "Completed"
    assert log(rig) == ["begun", "asked"]
    assert read(rig, "retry_001/user_logs/std_log.txt") == "again\n"
    assert sorted(rig.history("GET", "runs/job-1/details").content["logFiles"]) == [
        "retry_001/user_logs/std_log.txt",
        "user_logs/std_log.txt",
    ]


def test_nodes_that_are_taken_away_may_fail_the_job(rig: Rig) -> None:
    submit(rig, command=FOREVER)
    eventually(lambda: job_of(rig).status == "Running")

    rig.cloud.part(Jobs).take_away(job_of(rig), notice_s=0.1, restarts=False)

    assert ended(rig)["status"] == "Failed"
    message = rig.history("GET", "runs/job-1/details").content["error"]["error"]["message"]
    assert "PreemptionError" in message


def test_a_job_ends_with_all_that_it_has_put_in_sessions_of_its_own(rig: Rig, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    rig.cloud.part(Jobs).grace_s = 0.2 / PACE
    submit(
        rig, command=f"trap '' TERM; setsid sleep 600 & echo $! > {pid}.new; mv {pid}.new {pid}; {FOREVER}"
    )
    eventually(pid.exists)

    rig.ask("POST", "jobs/job-1/cancel")

    assert ended(rig)["status"] == "Canceled"
    eventually(lambda: not is_alive(int(pid.read_text())))
