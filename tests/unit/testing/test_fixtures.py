"""The fixtures that users of pytest import: an empty account for each test, found by the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


def pytest_of(folder: Path, text: str) -> tuple[int, str]:
    (folder / "test_user.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_user.py"]
    environment = {**os.environ, "AWS_PROFILE": "mine", "BRIDGE_HOME": str(folder / "home")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout


def test_each_test_has_an_account_of_its_own(tmp_path: Path) -> None:
    code, out = pytest_of(tmp_path, TESTS)
    assert code == 0, out
    assert "3 passed" in out


def test_a_fault_of_the_emulator_fails_the_test_that_it_was_in(tmp_path: Path) -> None:
    code, out = pytest_of(tmp_path, FAULT)
    assert code == 1, out
    assert "ZeroDivisionError" in out
