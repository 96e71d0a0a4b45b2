"""The stock azure-ai-ml client deploys models to the emulator online and in batches, and asks them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from trackbridge.testing.emulators.azureml.data_collection import DataCollection
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.azureml.jobs_records import Jobs
from trackbridge.testing.emulators.azureml.monitor_logs import Logs
from trackbridge.testing.emulators.azureml.online_state import OnlineEndpoints

WAIT_S = 120.0
SCRIPT = """
import json, os, pathlib
def init():
    global version
    version = pathlib.Path(os.environ["AZUREML_MODEL_DIR"], "weights", "version.txt").read_text()
def run(raw_data):
    asked = json.loads(raw_data)
    if asked.get("fail"):
        raise ValueError("asked to fail")
    return {"version": version, "asked": asked}
"""
BATCH_SCRIPT = """
import os, pathlib
def init():
    pass
def run(mini_batch):
    return [f"{pathlib.Path(name).name}: {len(pathlib.Path(name).read_text())}" for name in mini_batch]
"""


def _wait(poller: Any) -> Any:
    return poller.result(timeout=WAIT_S)


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    made = tmp_path / "request.json"
    made.write_text(json.dumps({"a": 1}))
    return made


def _model(tmp_path: Path, version: str) -> Any:
    from azure.ai.ml.entities import Model

    folder = tmp_path / version / "weights"
    folder.mkdir(parents=True)
    (folder / "version.txt").write_text(version)
    return Model(name="wine", version=version, path=str(folder), type="custom_model")


def _code(tmp_path: Path, text: str = SCRIPT) -> Any:
    from azure.ai.ml.entities import CodeConfiguration

    folder = tmp_path / f"code-{len(text)}"
    folder.mkdir(exist_ok=True)
    (folder / "score.py").write_text(text)
    return CodeConfiguration(code=str(folder), scoring_script="score.py")


def _environment() -> Any:
    from azure.ai.ml.entities import Environment

    return Environment(name="tiny", version="1", image="python:3.11")


def _endpoint(sdk: Any, name: str = "wine", **settings: Any) -> Any:
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    made = ManagedOnlineEndpoint(name=name, **{"auth_mode": "key", **settings})
    return _wait(sdk.online_endpoints.begin_create_or_update(made))


def _deployment(tmp_path: Path, name: str = "blue", version: str = "1", **settings: Any) -> Any:
    from azure.ai.ml.entities import ManagedOnlineDeployment

    given = {
        "endpoint_name": "wine",
        "model": _model(tmp_path, version),
        "environment": _environment(),
        "code_configuration": _code(tmp_path),
        "instance_type": "Standard_DS3_v2",
        "instance_count": 1,
    }
    return ManagedOnlineDeployment(name=name, **{**given, **settings})


def _deploy(sdk: Any, deployment: Any) -> Any:
    return _wait(sdk.online_deployments.begin_create_or_update(deployment))


def test_a_script_is_deployed_asked_rolled_out_and_deleted(
    sdk: Any, tmp_path: Path, request_file: Path
) -> None:
    from azure.core.exceptions import ResourceNotFoundError

    made = _endpoint(sdk, description="reds", tags={"team": "a"})
    assert made.provisioning_state == "Succeeded"
    assert made.scoring_uri == "https://wine.westeurope.inference.ml.azure.com/score"
    blue = _deploy(sdk, _deployment(tmp_path))
    assert (blue.provisioning_state, blue.instance_count) == ("Succeeded", 1)
    assert blue.request_settings.request_timeout_ms == 5000
    named = {"endpoint_name": "wine", "request_file": str(request_file)}
    answer = json.loads(sdk.online_endpoints.invoke(**named, deployment_name="blue"))
    assert answer == {"version": "1", "asked": {"a": 1}}
    _deploy(sdk, _deployment(tmp_path, "green", "2"))
    endpoint = sdk.online_endpoints.get("wine")
    assert endpoint.traffic == {"blue": 0, "green": 0}
    endpoint.traffic = {"blue": 0, "green": 100}
    assert _wait(sdk.online_endpoints.begin_create_or_update(endpoint)).traffic == {"green": 100}
    assert sorted(each.name for each in sdk.online_deployments.list("wine")) == ["blue", "green"]
    _wait(sdk.online_deployments.begin_delete("blue", endpoint_name="wine"))
    assert [each.name for each in sdk.online_endpoints.list()] == ["wine"]
    _wait(sdk.online_endpoints.begin_delete("wine"))
    with pytest.raises(ResourceNotFoundError):
        sdk.online_endpoints.get("wine")


def test_an_update_without_traffic_wipes_it_as_the_client_sends_it(sdk: Any, tmp_path: Path) -> None:
    _endpoint(sdk)
    _deploy(sdk, _deployment(tmp_path))
    endpoint = sdk.online_endpoints.get("wine")
    endpoint.traffic = {"blue": 100}
    _wait(sdk.online_endpoints.begin_create_or_update(endpoint))
    assert _endpoint(sdk, tags={"new": "1"}).traffic == {}


def test_traffic_rules_are_the_services_and_reach_the_caller(sdk: Any, tmp_path: Path) -> None:
    from azure.core.exceptions import HttpResponseError

    _endpoint(sdk)
    _deploy(sdk, _deployment(tmp_path))
    endpoint = sdk.online_endpoints.get("wine")
    endpoint.traffic = {"blue": 40}
    with pytest.raises(HttpResponseError, match="must be 0 or 100"):
        sdk.online_endpoints.begin_create_or_update(endpoint)
    endpoint.traffic, endpoint.mirror_traffic = {}, {"blue": 60}
    with pytest.raises(HttpResponseError, match="At most 50 %"):
        sdk.online_endpoints.begin_create_or_update(endpoint)


def test_keys_and_logs(sdk: Any, tmp_path: Path) -> None:
    _endpoint(sdk)
    before = sdk.online_endpoints.get_keys("wine")
    _wait(sdk.online_endpoints.begin_regenerate_keys("wine", key_type="secondary"))
    after = sdk.online_endpoints.get_keys("wine")
    assert after.primary_key == before.primary_key
    assert after.secondary_key != before.secondary_key
    _deploy(sdk, _deployment(tmp_path))
    assert "ready for serving" in sdk.online_deployments.get_logs("blue", "wine", 50)
    first = sdk.online_deployments.get_logs("blue", "wine", 50, container_type="storage-initializer")
    assert "Downloaded" in first


@pytest.mark.parametrize("mode", ["aml_token", "aad_token"])
def test_endpoints_with_tokens_are_asked_with_them(
    sdk: Any, tmp_path: Path, request_file: Path, mode: str
) -> None:
    made = _endpoint(sdk, auth_mode=mode)
    assert made.auth_mode.replace("_", "").lower() == mode.replace("_", "")
    _deploy(sdk, _deployment(tmp_path))
    answer = sdk.online_endpoints.invoke("wine", request_file=str(request_file), deployment_name="blue")
    assert json.loads(answer)["asked"] == {"a": 1}


def test_a_model_that_fails_is_424(sdk: Any, tmp_path: Path) -> None:
    from azure.core.exceptions import HttpResponseError

    failing = tmp_path / "fail.json"
    failing.write_text('{"fail": true}')
    _endpoint(sdk)
    _deploy(sdk, _deployment(tmp_path))
    with pytest.raises(HttpResponseError) as caught:
        sdk.online_endpoints.invoke("wine", request_file=str(failing), deployment_name="blue")
    assert caught.value.status_code == 424


def test_a_deployment_that_does_not_come_up_is_an_error(sdk: Any, tmp_path: Path) -> None:
    from azure.core.exceptions import HttpResponseError

    _endpoint(sdk)
    broken = _code(tmp_path, "def init(): raise RuntimeError('no weights')\ndef run(x): pass\n")
    with pytest.raises(HttpResponseError, match="crashed or terminated"):
        _deploy(sdk, _deployment(tmp_path, code_configuration=broken))
    assert sdk.online_deployments.get("blue", "wine").provisioning_state == "Failed"
    assert "no weights" in sdk.online_deployments.get_logs("blue", "wine", 100)


def test_settings_come_back_as_they_went(sdk: Any, tmp_path: Path) -> None:
    from azure.ai.ml.entities import OnlineRequestSettings, ProbeSettings

    _endpoint(sdk)
    settings = OnlineRequestSettings(max_concurrent_requests_per_instance=2, request_timeout_ms=9000)
    probe = ProbeSettings(initial_delay=20, failure_threshold=7)
    given = {"request_settings": settings, "liveness_probe": probe, "environment_variables": {"A": "1"}}
    _deploy(sdk, _deployment(tmp_path, app_insights_enabled=True, tags={"t": "1"}, **given))
    found = sdk.online_deployments.get("blue", "wine")
    assert found.request_settings.max_concurrent_requests_per_instance == 2
    assert found.request_settings.request_timeout_ms == 9000
    assert (found.liveness_probe.initial_delay, found.liveness_probe.failure_threshold) == (20, 7)
    assert (found.app_insights_enabled, found.tags) == (True, {"t": "1"})
    added = {"AZUREML_MODEL_DIR", "AZUREML_ENTRY_SCRIPT", "AML_APP_ROOT"}  # Azure tells its own beside them
    assert found.environment_variables.keys() - {"A"} == added
    assert found.environment_variables["A"] == "1"


def test_the_collector_keeps_what_was_asked_and_answered(
    azure: AzureMlEmulator, sdk: Any, tmp_path: Path, request_file: Path
) -> None:
    from azure.ai.ml.entities import DataCollector, DeploymentCollection

    _endpoint(sdk)
    collections = {name: DeploymentCollection(enabled="true") for name in ("request", "response")}
    _deploy(sdk, _deployment(tmp_path, data_collector=DataCollector(collections=collections)))
    sdk.online_endpoints.invoke("wine", request_file=str(request_file), deployment_name="blue")
    azure.cloud.part(DataCollection).settle()
    found = [each.path for each in azure.cloud.storage.blobs("modelDataCollector/wine/blue/request/")]
    assert len(found) == 1
    event = json.loads(azure.cloud.storage.get(found[0]))
    assert (event["specversion"], event["data"]) == ("1.0", {"a": 1})
    data = sdk.data.get("wine-blue-request", version="1")
    assert data.path.endswith("/modelDataCollector/wine/blue/request")


def test_files_are_scored_in_a_batch_and_brought_home(
    azure: AzureMlEmulator, sdk: Any, tmp_path: Path
) -> None:
    from azure.ai.ml import Input
    from azure.ai.ml.entities import BatchEndpoint

    _wait(sdk.batch_endpoints.begin_create_or_update(BatchEndpoint(name="scores")))
    made = _wait(sdk.batch_deployments.begin_create_or_update(_batch_deployment(tmp_path)))
    assert (made.provisioning_state, made.mini_batch_size) == ("Succeeded", 1)
    endpoint = sdk.batch_endpoints.get("scores")
    endpoint.defaults = {"deployment_name": "one"}
    _wait(sdk.batch_endpoints.begin_create_or_update(endpoint))
    files = tmp_path / "files"
    files.mkdir()
    (files / "a.txt").write_text("12")
    (files / "b.txt").write_text("123")
    job = sdk.batch_endpoints.invoke(
        endpoint_name="scores", input=Input(type="uri_folder", path=str(files)), deployment_name="one"
    )
    running = azure.cloud.part(Jobs).find(f"{azure.scope}/jobs/{job.name}")
    assert running is not None
    assert running.is_done.wait(WAIT_S)
    assert sdk.jobs.get(job.name).status == "Completed"
    assert [each.name for each in sdk.batch_endpoints.list_jobs("scores")] == [job.name]
    assert [each.name for each in sdk.batch_deployments.list_jobs("scores", name="one")] == [job.name]
    sdk.jobs.download(job.name, output_name="score", download_path=str(tmp_path / "home"))
    found = next((tmp_path / "home").rglob("predictions.csv"))
    assert found.read_text() == "a.txt: 2\nb.txt: 3\n"
    assert [each.name for each in sdk.batch_deployments.list("scores")] == ["one"]
    _wait(sdk.batch_endpoints.begin_delete("scores"))
    assert list(sdk.batch_endpoints.list()) == []


def _batch_deployment(tmp_path: Path) -> Any:
    from azure.ai.ml.entities import BatchDeployment, BatchRetrySettings

    return BatchDeployment(
        name="one",
        endpoint_name="scores",
        model=_model(tmp_path, "1"),
        environment=_environment(),
        code_configuration=_code(tmp_path, BATCH_SCRIPT),
        compute="cpu-cluster",
        instance_count=1,
        mini_batch_size=1,
        output_file_name="predictions.csv",
        retry_settings=BatchRetrySettings(max_retries=1, timeout=60),
    )


def test_azure_monitor_is_asked_under_its_own_names(
    azure: AzureMlEmulator, sdk: Any, tmp_path: Path, request_file: Path
) -> None:
    """By plain requests, as the clients of Azure Monitor send them: they are not installed here."""
    _endpoint(sdk)
    setting = {
        "workspaceId": azure.cloud.part(Logs).workspace_id,
        "logs": [{"categoryGroup": "allLogs", "enabled": True}],
    }
    resource = f"{azure.scope}/onlineEndpoints/wine"
    place = f"https://management.azure.com{resource}/providers/Microsoft.Insights/diagnosticSettings/all"
    arm = {
        "Authorization": f"Bearer {azure.credential().get_token('https://management.azure.com/.default').token}"
    }
    query = {"api-version": "2021-05-01-preview"}
    sent = requests.put(place, params=query, json={"properties": setting}, headers=arm, timeout=30)
    assert sent.status_code == 200
    _deploy(sdk, _deployment(tmp_path))
    sdk.online_endpoints.invoke("wine", request_file=str(request_file), deployment_name="blue")
    azure.cloud.part(OnlineEndpoints).settle()
    logs = azure.credential().get_token("https://api.loganalytics.io//.default").token
    asked = requests.post(
        f"https://api.loganalytics.io/v1/workspaces/{azure.cloud.part(Logs).customer_id}/query",
        json={
            "query": "AmlOnlineEndpointTrafficLog | project DeploymentName, ResponseCode",
            "timespan": "PT1H",
        },
        headers={"Authorization": f"Bearer {logs}"},
        timeout=30,
    )
    assert asked.json()["tables"][0]["rows"] == [["blue", 200]]
    token = azure.credential().get_token("https://metrics.monitor.azure.com/.default").token
    named = {
        "api-version": "2024-02-01",
        "metricnamespace": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints",
        "metricnames": "RequestsPerMinute",
        "aggregation": "total",
        "interval": "P1D",
    }
    told = requests.post(
        f"https://westeurope.metrics.monitor.azure.com/subscriptions/{azure.cloud.subscription}/metrics:getBatch",
        params=named,
        json={"resourceids": [resource]},
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    )
    series = told.json()["values"][0]["value"][0]["timeseries"][0]["data"]
    assert sum(point.get("total", 0) for point in series) == 1
