"""The fixtures that users of pytest import: an empty account for each test, found by the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import os
import boto3
import trackbridge as tb
from trackbridge.testing.fixtures import sagemaker_emulator

URLS = []

def test_first(sagemaker_emulator):
    client = boto3.client("sagemaker")
    client.create_experiment(ExperimentName="digits")
    boto3.client("s3").create_bucket(Bucket="bucket")
    assert "AWS_PROFILE" not in os.environ
    URLS.append(os.environ["AWS_ENDPOINT_URL"])
    tb.set_tracking_uri(sagemaker_emulator.uri)
    with tb.start_run():
        for step in range(100):
            tb.log_metric("loss", step, step)

def test_second(sagemaker_emulator):
    client = boto3.client("sagemaker")
    assert client.list_experiments()["ExperimentSummaries"] == []
    assert boto3.client("s3").list_buckets()["Buckets"] == []
    assert URLS == [sagemaker_emulator.url]

def test_without():
    assert os.environ["AWS_PROFILE"] == "mine"
    assert "AWS_ENDPOINT_URL" not in os.environ
"""
FAULT = """
import boto3
from trackbridge.testing.fixtures import *

def test_fault(sagemaker_emulator, monkeypatch):
    monkeypatch.setattr(type(sagemaker_emulator.cloud), "now_s", lambda cloud: 1 / 0)
    try:
        sagemaker_emulator.client("sagemaker").create_experiment(ExperimentName="a")
    except Exception as error:
        assert "InternalFailure" in str(error)
"""

AZURE = """
import os
import requests
import trackbridge as tb
from azure.identity import DefaultAzureCredential
from trackbridge.testing.fixtures import azureml_emulator

URLS = []

def models():
    token = DefaultAzureCredential().get_token("https://management.azure.com/.default").token
    names = ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZURE_WORKSPACE_NAME")
    ids = [os.environ[name] for name in names]
    place = "subscriptions/{}/resourceGroups/{}/providers/Microsoft.MachineLearningServices/workspaces/{}"
    address = f"https://management.azure.com/{place.format(*ids)}/models"
    given = {"headers": {"Authorization": f"Bearer {token}"}, "params": {"api-version": "2024-04-01"}}
    return address, given

def test_first(azureml_emulator):
    address, given = models()
    body = {"properties": {"modelUri": "azureml://datastores/workspaceblobstore/paths/m/"}}
    assert requests.put(address + "/m/versions/1", json=body, **given).status_code == 201
    assert "AZURE_CLIENT_ID" not in os.environ
    azureml_emulator.permissions.clear()
    URLS.append(os.environ["HTTPS_PROXY"])
    azureml_emulator.permissions.update({"read", "write", "secrets"})
    tb.set_tracking_uri(azureml_emulator.uri)
    with tb.start_run():
        for step in range(100):
            tb.log_metric("loss", step, step)
    azureml_emulator.permissions.clear()

def test_second(azureml_emulator):
    address, given = models()
    assert requests.get(address, **given).json()["value"] == []
    assert URLS == [azureml_emulator.url]

def test_without():
    assert os.environ["AZURE_CLIENT_ID"] == "mine"
    assert "HTTPS_PROXY" not in os.environ
"""
AZURE_FAULT = """
import requests
from trackbridge.testing.fixtures import *

def test_fault(azureml_emulator, monkeypatch):
    monkeypatch.setattr(azureml_emulator.cloud.resources, "get", lambda place: 1 / 0)
    token = azureml_emulator.cloud.issuer.issue().token
    address = f"{azureml_emulator.url}{azureml_emulator.scope}?api-version=2024-04-01"
    answer = requests.get(address, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 500
"""


def pytest_of(folder: Path, text: str) -> tuple[int, str]:
    (folder / "test_user.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_user.py"]
    own = {"AWS_PROFILE": "mine", "AZURE_CLIENT_ID": "mine", "BRIDGE_HOME": str(folder / "home")}
    foreign = ("AWS_", "AZURE_", "AZUREML_", "IDENTITY_", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(foreign)}
    environment = {**kept, **own}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)
    return done.returncode, done.stdout


@pytest.mark.parametrize("tests", [TESTS, AZURE], ids=["sagemaker", "azureml"])
def test_each_test_has_an_account_of_its_own(tests: str, tmp_path: Path) -> None:
    code, out = pytest_of(tmp_path, tests)
    assert code == 0, out
    assert "3 passed" in out


@pytest.mark.parametrize("tests", [FAULT, AZURE_FAULT], ids=["sagemaker", "azureml"])
def test_a_fault_of_the_emulator_fails_the_test_that_it_was_in(tests: str, tmp_path: Path) -> None:
    code, out = pytest_of(tmp_path, tests)
    assert code == 1, out
    assert "ZeroDivisionError" in out
