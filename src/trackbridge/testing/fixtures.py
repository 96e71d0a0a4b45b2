"""Fixtures of pytest for programs that talk to AWS or Azure: an emulator in place of an account.

Import them in ``conftest.py``, or put ``pytest_plugins = ("trackbridge.testing.fixtures",)`` into the topmost
one. Needs the extras ``testing`` and ``emulators``.

    def test_training(sagemaker_emulator):
        train()  # boto3 and trackbridge find the emulator by the environment
        assert sagemaker_emulator.client("sagemaker").list_experiments()["ExperimentSummaries"]

``azureml_emulator`` also needs mlflow, and Azurite: ``bridge emulate azureml --setup`` fetches it once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from trackbridge.api.session import all_sessions

if TYPE_CHECKING:
    from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
    from trackbridge.testing.emulators.sagemaker import SageMakerEmulator

__all__ = ["azureml_emulator", "sagemaker_emulator"]

DELIVERY_S = 10.0
PACE = 0.05
"""Seconds that a second of a life cycle takes."""


_RUNNING = pytest.StashKey["SageMakerEmulator"]()
_AZURE = pytest.StashKey["AzureMlEmulator"]()
AZURE_VARIABLES = ("AZURE_", "AZUREML_", "IDENTITY_", "MSI_", "ARM_CLOUD_METADATA_URL")
"""How variables begin by which a program would find another Azure."""


@pytest.fixture
def sagemaker_emulator(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SageMakerEmulator]:
    """Give a test an empty account, and let everything that it calls find it by the environment.

    When the test is over, nothing of what it made or started is left, and a fault of the emulator fails it.
    """
    emulator = _running(request.config)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    try:
        yield emulator
        emulator.raise_failures()
    finally:
        emulator.faults.clear()
        emulator.access.allow_all()
        _deliver()  # what the test has logged belongs into its own account
        emulator.reset()


def _deliver() -> None:
    for session in all_sessions():
        session.flush(DELIVERY_S)


def _running(config: pytest.Config) -> SageMakerEmulator:
    """Return the one emulator of this process: it takes half a second to start."""
    from trackbridge.testing.emulators.sagemaker import SageMakerEmulator

    if _RUNNING not in config.stash:
        emulator = SageMakerEmulator(pace=PACE).__enter__()
        config.add_cleanup(lambda: emulator.__exit__(None, None, None))
        config.stash[_RUNNING] = emulator
    return config.stash[_RUNNING]


@pytest.fixture
def azureml_emulator(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AzureMlEmulator]:
    """Give a test an empty workspace of Azure ML, found by the environment by everything that it calls.

    When the test is over, nothing of what it made or started is left, and a fault of the emulator fails it.
    """
    from trackbridge.testing.emulators.azureml.emulator import RIGHTS

    emulator = _running_azure(request.config)
    for name in [name for name in os.environ if name.startswith(AZURE_VARIABLES)]:
        monkeypatch.delenv(name)
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    try:
        yield emulator
        emulator.raise_failures()
    finally:
        emulator.faults.clear()
        emulator.permissions.update(RIGHTS)
        _deliver()  # what the test has logged belongs into its own workspace
        emulator.reset()


def _running_azure(config: pytest.Config) -> AzureMlEmulator:
    """Return the one emulator of this process: it takes seconds to start."""
    from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator

    if _AZURE not in config.stash:
        emulator = AzureMlEmulator(pace=PACE).__enter__()
        config.add_cleanup(lambda: emulator.__exit__(None, None, None))
        emulator.wait_for_mlflow()
        config.stash[_AZURE] = emulator
    return config.stash[_AZURE]
