"""Our own client in a job of the emulated Azure ML: it tracks to the job's run, by what the platform set."""

from __future__ import annotations

import pytest

from tests.support.azureml_calls import Told
from tests.support.azureml_emulators import ask
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.azureml.jobs_records import Job, Jobs
from trackbridge.testing.emulators.azureml.places import place_of

WAIT_S = 120.0
TRACKS = """
import pathlib
import trackbridge as tb

with tb.start_run() as run:
    print("run", run.info.run_id)
    tb.log_param("rate", 0.1)
    tb.log_metrics({"loss": 0.5, "top": 1.0}, step=3)
    tb.set_tag("seen", "yes")
    pathlib.Path("weights.bin").write_bytes(b"w" * 100_000)
    tb.log_artifact("weights.bin", "model")
print("delivered", tb.flush(60))
"""
REGISTERS = """
import pathlib
import trackbridge as tb

pathlib.Path("model").mkdir()
pathlib.Path("model/MLmodel").write_text("flavors: {}\\n")
with tb.start_run() as run:
    tb.log_artifacts("model", "model")
tb.flush(60)
version = tb.register_model(f"runs:/{run.info.run_id}/model", "wine")
print("registered", version.name, version.version)
"""


def _submit(azureml: AzureMlEmulator, name: str, program: str, **properties: object) -> Job:
    azureml.cloud.storage.put("code/track.py", program.encode())
    address = f"{azureml.blob_url}/tbteststore/azureml-blobstore-default/code"
    code = ask(azureml, "PUT", "codes/mine/versions/1", {"properties": {"codeUri": address}})
    image = ask(azureml, "PUT", "environments/tiny/versions/1", {"properties": {"image": "python:3.11"}})
    asked = {
        "jobType": "Command",
        "command": "python track.py",
        "codeId": code.content["id"],
        "environmentId": image.content["id"],
        "experimentName": "digits",
        **properties,
    }
    made = ask(azureml, "PUT", f"jobs/{name}", {"properties": asked})
    assert made.status == 201, made
    found = azureml.cloud.part(Jobs).find(f"{azureml.scope}/jobs/{name}")
    assert found is not None
    return found


def _mlflow(azureml: AzureMlEmulator, method: str, route: str, content: object = None, **query: str) -> Told:
    path = f"/mlflow/v2.0{azureml.scope}/api/2.0/mlflow/{route}"
    return ask(azureml, method, path, content, version="", **query)


def _ended(azureml: AzureMlEmulator, job: Job) -> str:
    assert job.is_done.wait(WAIT_S)
    azureml.cloud.clock.raise_errors()
    place = place_of(azureml.cloud, azureml.scope, f"azureml://jobs/{job.name}/outputs/artifacts")
    assert place is not None
    return (place.read(azureml.cloud, "user_logs/std_log.txt") or b"").decode()


def test_a_program_in_a_job_tracks_to_the_jobs_own_run(azureml: AzureMlEmulator) -> None:
    job = _submit(azureml, "learns", TRACKS, displayName="first")

    log = _ended(azureml, job)

    assert job.status == "Completed", log
    assert "run learns" in log
    found = _mlflow(azureml, "GET", "runs/get", run_id="learns").content["run"]
    assert found["info"]["status"] == "FINISHED"
    assert {item["key"]: item["value"] for item in found["data"]["metrics"]} == {"loss": 0.5, "top": 1.0}
    assert {item["key"]: item["value"] for item in found["data"]["params"]} == {"rate": "0.1"}
    tags = {item["key"]: item["value"] for item in found["data"]["tags"]}
    assert (tags["seen"], tags["mlflow.runName"]) == ("yes", "first")
    place = place_of(azureml.cloud, azureml.scope, "runs:/learns/model/weights.bin")
    assert place is not None
    assert place.read(azureml.cloud) == b"w" * 100_000


@pytest.mark.parametrize("identity", ["AMLToken", "Managed"])
def test_a_program_in_a_job_registers_a_model(azureml: AzureMlEmulator, identity: str) -> None:
    job = _submit(azureml, "registers", REGISTERS, identity={"identityType": identity})

    log = _ended(azureml, job)

    assert job.status == "Completed", log
    assert "registered wine 1" in log
    made = ask(azureml, "GET", "models/wine/versions/1").content["properties"]
    assert made["modelType"] == "mlflow_model"
    assert "dcid.registers/model" in made["modelUri"]


def test_the_run_is_there_from_the_submission_on_and_follows_the_job(azureml: AzureMlEmulator) -> None:
    failing = _submit(azureml, "fails", "raise SystemExit(1)")

    at_first = _mlflow(azureml, "GET", "runs/get", run_id="fails").content["run"]["info"]
    _ended(azureml, failing)
    at_last = _mlflow(azureml, "GET", "runs/get", run_id="fails").content["run"]["info"]

    assert at_first["run_id"] == at_first["run_uuid"] == "fails"
    assert at_first["artifact_uri"].endswith("/runs/fails/artifacts")
    assert at_last["status"] == "FAILED"
    assert at_last["end_time"] >= at_last["start_time"]


def test_the_run_of_a_deleted_job_is_gone(azureml: AzureMlEmulator) -> None:
    job = _submit(azureml, "gone", "")
    _ended(azureml, job)

    azureml.cloud.clock.stop()
    deleted = ask(azureml, "DELETE", "jobs/gone")
    azureml.cloud.clock.advance(WAIT_S)

    assert deleted.status == 202
    assert ask(azureml, "GET", "jobs/gone").status == 404
    assert _mlflow(azureml, "GET", "runs/get", run_id="gone").status == 404
    asked = {"experiment_ids": [job.experiment_id]}
    assert _mlflow(azureml, "POST", "runs/search", asked).content.get("runs", []) == []


def test_runs_of_jobs_are_searched_by_their_own_names(azureml: AzureMlEmulator) -> None:
    job = _submit(azureml, "found", "")
    _ended(azureml, job)
    experiments = [job.experiment_id]
    asked = {"experiment_ids": experiments, "filter": "attributes.run_id = 'found'"}

    runs = _mlflow(azureml, "POST", "runs/search", asked).content["runs"]
    _mlflow(azureml, "POST", "runs/set-tag", {"run_id": "found", "key": "by", "value": "name"})
    history = {"run_id": "found", "metric_key": "none"}

    assert [run["info"]["run_id"] for run in runs] == ["found"]
    tags = _mlflow(azureml, "GET", "runs/get", run_id="found").content["run"]["data"]["tags"]
    assert {"key": "by", "value": "name"} in tags
    assert _mlflow(azureml, "GET", "metrics/get-history", **history).status == 200
