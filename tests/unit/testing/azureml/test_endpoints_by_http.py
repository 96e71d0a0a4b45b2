"""Endpoints of the whole emulator: over its ports, and under Azure's own host names through its proxy."""

from __future__ import annotations

import threading
from typing import Any

import requests

from tests.support.azureml_emulators import ask, azureml_emulator
from tests.support.azureml_endpoints import REQUESTS, SCRIPT
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.azureml.online_state import OnlineEndpoints
from trackbridge.testing.emulators.azureml.storage import ACCOUNT, CONTAINER

WAIT_S = 120.0


def _until_done(azure: AzureMlEmulator, begun: Any) -> None:
    place = begun.headers["Azure-AsyncOperation"].partition("?")[0].removeprefix(azure.url)
    pause = threading.Event()
    for _ in range(int(WAIT_S / 0.02)):
        azure.cloud.part(OnlineEndpoints).settle()
        operation = ask(azure, "GET", place).content
        if operation["status"] != "InProgress":
            assert operation["status"] == "Succeeded", operation
            return
        pause.wait(0.02)
    raise AssertionError(f"{place} goes on for {WAIT_S:g} s")


def _deployed(azure: AzureMlEmulator) -> str:
    """Deploy a script as ``blue`` of ``wine``, with all traffic; returns the endpoint's key."""
    azure.cloud.storage.put("code/score.py", SCRIPT.encode())
    azure.cloud.storage.put("weights/model/version.txt", b"v1")
    code = {"codeUri": f"https://{ACCOUNT}.blob.core.windows.net/{CONTAINER}/code"}
    model = {"modelUri": "azureml://datastores/workspaceblobstore/paths/weights/model"}
    ids = [
        ask(azure, "PUT", f"{path}/versions/1", {"properties": properties}).content["id"]
        for path, properties in (
            ("codes/code", code),
            ("models/wine", {"modelType": "custom_model", **model}),
            ("environments/tiny", {"image": "python:3.11"}),
        )
    ]
    body = {"location": "westeurope", "properties": {"authMode": "Key"}}
    _until_done(azure, ask(azure, "PUT", "onlineEndpoints/wine", body))
    properties = {
        "endpointComputeType": "Managed",
        "codeConfiguration": {"codeId": ids[0], "scoringScript": "score.py"},
        "model": ids[1],
        "environmentId": ids[2],
        "requestSettings": REQUESTS,
    }
    deployment = {"location": "westeurope", "properties": properties}
    _until_done(azure, ask(azure, "PUT", "onlineEndpoints/wine/deployments/blue", deployment))
    body["properties"] = {"authMode": "Key", "traffic": {"blue": 100}}  # type: ignore[dict-item]
    _until_done(azure, ask(azure, "PUT", "onlineEndpoints/wine", body))
    return str(ask(azure, "POST", "onlineEndpoints/wine/listKeys").content["primaryKey"])


def test_an_endpoint_is_scored_at_a_port_and_under_its_own_name(azure: AzureMlEmulator) -> None:
    key = _deployed(azure)
    told = ask(azure, "GET", "onlineEndpoints/wine").content["properties"]["scoringUri"]
    assert told == f"{azure.url}/endpoints/wine/score"
    headers = {"Authorization": f"Bearer {key}"}
    direct = requests.post(told, json={"a": 1}, headers=headers, timeout=WAIT_S)
    assert (direct.status_code, direct.json()["asked"]) == (200, {"a": 1})
    assert direct.headers["azureml-model-deployment"] == "blue"
    name = "https://wine.westeurope.inference.ml.azure.com/score"
    through = requests.post(
        name,
        json={"a": 2},
        headers=headers,
        timeout=WAIT_S,
        proxies={"https": azure.url},
        verify=str(azure.certificates.trusted),
    )
    assert (through.status_code, through.json()["asked"]) == (200, {"a": 2})
    assert requests.post(told, json={}, timeout=WAIT_S).status_code == 401
    failed = requests.post(told, json={"fail": True}, headers=headers, timeout=WAIT_S)
    assert (failed.status_code, failed.headers["ms-azureml-model-error-statuscode"]) == (424, "500")


def test_an_image_that_was_declared_runs(azure: AzureMlEmulator) -> None:
    program = (
        "import sys;from http.server import *;HTTPServer(('127.0.0.1',int(sys.argv[1])),H).serve_forever()"
    )
    handler = "from http.server import SimpleHTTPRequestHandler as H;"
    azure.declare_image("own/*", serve=("python3", "-c", f"{handler}{program}", "{port}"))
    environment = {"properties": {"image": "own/image:1"}}
    made = ask(azure, "PUT", "environments/own/versions/1", environment).content["id"]
    body = {"location": "westeurope", "properties": {"authMode": "Key"}}
    _until_done(azure, ask(azure, "PUT", "onlineEndpoints/wine", body))
    properties = {"endpointComputeType": "Managed", "environmentId": made}
    begun = ask(
        azure, "PUT", "onlineEndpoints/wine/deployments/blue", {"location": "x", "properties": properties}
    )
    _until_done(azure, begun)
    key = ask(azure, "POST", "onlineEndpoints/wine/listKeys").content["primaryKey"]
    headers = {"Authorization": f"Bearer {key}", "azureml-model-deployment": "blue"}
    answer = requests.get(f"{azure.url}/endpoints/wine/", headers=headers, timeout=WAIT_S)
    assert answer.status_code == 200


def test_another_cloud_has_its_own_names_and_audiences() -> None:
    with azureml_emulator(mlflow="", azure_cloud="AzureChinaCloud") as azure:
        _deployed(azure)
        body = {"location": "westeurope", "properties": {"authMode": "AADToken", "traffic": {"blue": 100}}}
        _until_done(azure, ask(azure, "PUT", "onlineEndpoints/wine", body))
        name = "https://wine.westeurope.inference.ml.azure.cn/score"
        for audience, status in (("https://ml.azure.cn", 200), ("https://ml.azure.com", 401)):
            token = azure.cloud.issuer.issue(audience=audience).token
            answer = requests.post(
                name,
                json={},
                headers={"Authorization": f"Bearer {token}"},
                timeout=WAIT_S,
                proxies={"https": azure.url},
                verify=str(azure.certificates.trusted),
            )
            assert answer.status_code == status
