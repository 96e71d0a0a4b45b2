"""The stock azure-ai-ml client submits jobs to the emulator, follows them, and brings their files home."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.azureml_emulators import ask
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.azureml.jobs_records import Jobs

WAIT_S = 60.0
PROGRAM = """
import os, pathlib, sys
pathlib.Path("outputs").mkdir(exist_ok=True)
pathlib.Path("outputs/seen.txt").write_text(os.environ["AZUREML_RUN_ID"])
pathlib.Path(sys.argv[2], "model.txt").write_text(pathlib.Path(sys.argv[1]).read_text().upper())
print("learned", sys.argv[3])
"""
CURATED = "azureml://registries/azureml/environments"
COMMAND = "python train.py ${{inputs.data}} ${{outputs.model}} ${{inputs.rate}}"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    (folder / "deep").mkdir(parents=True)
    (folder / "train.py").write_text(PROGRAM)
    (folder / "deep" / "more.py").write_text("x = 1\n")
    (tmp_path / "data.csv").write_text("a,b\n")
    return folder


def _job(code: Path, command: str = COMMAND, **settings: Any) -> Any:
    from azure.ai.ml import Input, Output
    from azure.ai.ml import command as make
    from azure.ai.ml.entities import Environment

    given = {
        "code": str(code),
        "command": command,
        "environment": Environment(name="tiny", image="python:3.11"),
        "experiment_name": "digits",
    }
    if command is COMMAND:
        given |= {
            "inputs": {"data": Input(type="uri_file", path=str(code.parent / "data.csv")), "rate": 0.1},
            "outputs": {"model": Output(type="uri_folder")},
        }
    return make(**{**given, **settings})


def _wait(azure: AzureMlEmulator, name: str) -> str:
    job = azure.cloud.part(Jobs).find(f"{azure.scope}/jobs/{name}")
    assert job is not None
    assert job.is_done.wait(WAIT_S)
    return job.status


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _until(file: Path) -> str:
    return f"while [ ! -e {file} ]; do sleep 0.02; done"


def _touch_when_asked(azure: AzureMlEmulator, file: Path) -> None:
    while not any(call.path.endswith("/details") for call in azure.calls):
        time.sleep(0.02)
    file.touch()


def test_a_job_runs_and_its_files_come_home(
    sdk: Any, azure: AzureMlEmulator, code: Path, tmp_path: Path
) -> None:
    made = sdk.jobs.create_or_update(_job(code, name="job-1", display_name="first", tags={"a": "b"}))

    assert _wait(azure, made.name) == "Completed"
    found = sdk.jobs.get("job-1")
    sdk.jobs.download("job-1", download_path=str(tmp_path / "home"))
    sdk.jobs.download("job-1", download_path=str(tmp_path / "home"), output_name="model")

    assert (found.status, found.display_name, found.tags) == ("Completed", "first", {"a": "b"})
    assert found.experiment_name == "digits"
    home = tmp_path / "home"
    assert (home / "named-outputs" / "model" / "model.txt").read_text() == "A,B\n"
    assert (home / "artifacts" / "outputs" / "seen.txt").read_text() == "job-1"
    assert (home / "artifacts" / "user_logs" / "std_log.txt").read_text() == "learned 0.1\n"


def test_the_log_is_streamed(
    sdk: Any, azure: AzureMlEmulator, code: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = tmp_path / "seen"
    made = sdk.jobs.create_or_update(_job(code, f"echo one; {_until(seen)}; echo two"))
    # Who asks when a job has ended is shown no log.
    watcher = threading.Thread(target=_touch_when_asked, args=(azure, seen), daemon=True)
    watcher.start()

    sdk.jobs.stream(made.name)

    told = capsys.readouterr().out
    assert "Streaming user_logs/std_log.txt" in told
    assert "one\ntwo\n" in told
    assert sdk.jobs.get(made.name).status == "Completed"


def test_a_job_that_fails_says_why(sdk: Any, azure: AzureMlEmulator, code: Path) -> None:
    made = sdk.jobs.create_or_update(_job(code, "echo broken >&2; exit 3"))

    with pytest.raises(Exception, match="exited with status code 3") as caught:
        sdk.jobs.stream(made.name)

    assert "broken" in str(caught.value)
    assert sdk.jobs.get(made.name).status == "Failed"


def test_a_job_is_canceled(sdk: Any, azure: AzureMlEmulator, code: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"
    made = sdk.jobs.create_or_update(_job(code, f"touch {started}; sleep 600"))
    until(started.exists)

    sdk.jobs.begin_cancel(made.name).result(WAIT_S)

    assert sdk.jobs.get(made.name).status == "Canceled"


def _delete(sdk: Any, azure: AzureMlEmulator, name: str) -> None:
    if hasattr(sdk.jobs, "begin_delete"):
        sdk.jobs.begin_delete(name).result(WAIT_S)
        return
    assert ask(azure, "DELETE", f"jobs/{name}").status == 202  # older clients have no way to do so
    until(lambda: ask(azure, "GET", f"jobs/{name}").status == 404)


def test_jobs_are_listed_archived_and_deleted(sdk: Any, azure: AzureMlEmulator, code: Path) -> None:
    for name in ("one", "two"):
        sdk.jobs.create_or_update(_job(code, "true", name=name))
        assert _wait(azure, name) == "Completed"

    listed = [job.name for job in sdk.jobs.list()]
    sdk.jobs.archive("one")
    archived = [job.name for job in sdk.jobs.list()]
    sdk.jobs.restore("one")
    restored = [job.name for job in sdk.jobs.list()]
    _delete(sdk, azure, "two")

    assert (listed, archived, restored) == (["two", "one"], ["two"], ["two", "one"])
    assert [job.name for job in sdk.jobs.list()] == ["one"]


def test_a_job_that_is_there_is_changed_but_not_replaced(
    sdk: Any, azure: AzureMlEmulator, code: Path
) -> None:
    sdk.jobs.create_or_update(_job(code, "true", name="one"))
    assert _wait(azure, "one") == "Completed"

    found = sdk.jobs.get("one")
    found.tags = {"seen": "yes"}
    sdk.jobs.create_or_update(found)
    with pytest.raises(Exception, match="A job with this name already exists"):
        sdk.jobs.create_or_update(_job(code, "false", name="one"))

    assert sdk.jobs.get("one").tags == {"seen": "yes"}


def test_what_the_emulator_does_not_run_is_refused_in_words(
    sdk: Any, azure: AzureMlEmulator, code: Path
) -> None:
    from azure.ai.ml.sweep import Uniform

    trial = _job(code, "echo ${{inputs.rate}}", inputs={"rate": 0.1})
    sweep = trial(rate=Uniform(0.0, 1.0)).sweep(
        sampling_algorithm="random", primary_metric="loss", goal="Minimize"
    )
    sweep.set_limits(max_total_trials=2)

    with pytest.raises(Exception, match="it has no jobs of the type Sweep"):
        sdk.jobs.create_or_update(sweep)


def test_a_job_tracks_with_its_own_token(sdk: Any, azure: AzureMlEmulator, code: Path) -> None:
    (code / "track.py").write_text(
        "import json, os, requests\n"
        "base = os.environ['MLFLOW_TRACKING_URI'].replace('azureml://', 'https://').rstrip('?')\n"
        "token = {'Authorization': 'Bearer ' + os.environ['MLFLOW_TRACKING_TOKEN']}\n"
        "run = os.environ['MLFLOW_RUN_ID']\n"
        "def call(path, body):\n"
        "    answer = requests.post(base + '/api/2.0/mlflow/' + path, json=body, headers=token, timeout=30)\n"
        "    answer.raise_for_status()\n"
        "call('runs/log-metric', {'run_id': run, 'key': 'loss', 'value': 0.5, 'timestamp': 1, 'step': 0})\n"
        "arm = requests.get('https://management.azure.com' + os.environ['AZUREML_WORKSPACE_SCOPE'],\n"
        "    params={'api-version': '2024-04-01'}, headers=token, timeout=30)\n"
        "print(json.dumps({'arm': arm.status_code}))\n"
    )
    made = sdk.jobs.create_or_update(_job(code, "python track.py", name="tracked"))

    assert _wait(azure, made.name) == "Completed"
    log = azure.cloud.storage.get("ExperimentRun/dcid.tracked/user_logs/std_log.txt", container="azureml")
    run = ask(
        azure, "GET", f"/mlflow/v2.0{azure.scope}/api/2.0/mlflow/runs/get", version="", run_id="tracked"
    )
    assert json.loads(log) == {"arm": 401}
    assert run.content["run"]["info"]["status"] == "FINISHED"
    assert run.content["run"]["info"]["run_id"] == "tracked"
    assert [(item["key"], item["value"]) for item in run.content["run"]["data"]["metrics"]] == [("loss", 0.5)]


def _of_data(path: str, **settings: Any) -> dict[str, Any]:
    from azure.ai.ml import Input

    return {"inputs": {"x": Input(type="uri_file", path=path, **settings)}}


def _variant(kind: str, azure: AzureMlEmulator) -> tuple[str, dict[str, Any]]:
    """Return a command and the settings of a job that asks for something of its own."""
    from azure.ai.ml.entities import (
        AmlTokenConfiguration,
        ManagedIdentityConfiguration,
        UserIdentityConfiguration,
    )

    place = "azureml://datastores/workspaceblobstore/paths/given"
    azure.cloud.storage.put("given/table.csv", b"a,b")
    data = {"properties": {"dataType": "uri_file", "dataUri": f"{place}/table.csv"}}
    assert ask(azure, "PUT", "data/table/versions/1", data).status == 201
    reads = 'test "$(cat ${{inputs.x}})" = a,b'
    return {
        "serverless": ("true", {"compute": "serverless", "instance_type": "Standard_DS3_v2"}),
        "resources": ("true", {"instance_count": 1, "shm_size": "2g", "docker_args": "--ipc=host"}),
        "pytorch": (
            'test "$WORLD_SIZE" = 4',
            {"distribution": {"type": "pytorch", "process_count_per_instance": 2}, "instance_count": 2},
        ),
        "user": ('test -z "$IDENTITY_ENDPOINT"', {"identity": UserIdentityConfiguration()}),
        "managed": ('test -n "$IDENTITY_ENDPOINT"', {"identity": ManagedIdentityConfiguration()}),
        "token": ('test -n "$AZUREML_RUN_TOKEN"', {"identity": AmlTokenConfiguration()}),
        "timeout": ("true", {"timeout": 3600}),
        "data": (reads, _of_data("azureml:table:1", mode="download")),
        "address": (reads, _of_data(f"{place}/table.csv")),
        "direct": (
            f'test "${{{{inputs.x}}}}" = {place}/table.csv',
            _of_data(f"{place}/table.csv", mode="direct"),
        ),
        "variables": ('test "$MODE" = fast', {"environment_variables": {"MODE": "fast"}}),
        "curated": ("true", {"environment": f"{CURATED}/sklearn-1.5/versions/1"}),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        *("serverless", "resources", "pytorch", "user", "managed", "token", "timeout", "data"),
        *("address", "direct", "variables", "curated"),
    ],
)
def test_jobs_of_all_shapes_run(sdk: Any, azure: AzureMlEmulator, code: Path, kind: str) -> None:
    command, settings = _variant(kind, azure)

    made = sdk.jobs.create_or_update(_job(code, command, name="shaped", **settings))

    assert _wait(azure, made.name) == "Completed"
    assert sdk.jobs.get("shaped").status == "Completed"
