"""The contract suites against a workspace of Azure ML, unchanged: ``make live-azure``.

Needs BRIDGE_LIVE_AZURE_WORKSPACE (any URI of a workspace, such as azureml://SUBSCRIPTION/GROUP/WORKSPACE) and
credentials as azure-identity finds them. The workspace must have the tag ``bridge-live``: ALL of its models
are deleted. Experiments have names of their own and are archived at the end; their runs and files go.
"""

from __future__ import annotations

import itertools
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.azureml_places import MARK, OWN_TAG, Place, clean, delete_models, is_own, left_over
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.domain.artifacts import split_artifact_uri
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.ports.findings import Severity
from trackbridge.testing.contracts import (
    ArtifactContract,
    CapabilitiesContract,
    RegistryContract,
    TrackingContract,
)
from trackbridge.testing.contracts.samples import digest_of, file_of
from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
from trackbridge_adapters.azureml import open_workspace
from trackbridge_adapters.azureml.service import Backend, backend_of

WORKSPACE = os.environ.get("BRIDGE_LIVE_AZURE_WORKSPACE", "")
MLMODEL = b"flavors: {}\n"


def context_of(home: Path) -> AdapterContext:
    return AdapterContext(home=home, options={}, clock_ms=lambda: time.time_ns() // 1_000_000)


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Backend:
    """The workspace as it is, for what the tests make way with."""
    if not WORKSPACE:
        raise pytest.UsageError("set BRIDGE_LIVE_AZURE_WORKSPACE, and sign in to Azure (az login)")
    backend = backend_of(WORKSPACE, context_of(tmp_path_factory.mktemp("home")))
    if not is_own(backend):
        message = (
            f"all models of {WORKSPACE} would be deleted; give the workspace the tag {OWN_TAG} to allow it"
        )
        raise pytest.UsageError(message)
    return backend


@pytest.fixture(scope="session")
def prefix(backend: Backend) -> Iterator[str]:
    """What every experiment of this session begins with."""
    prefix = MARK + secrets.token_hex(4)
    yield prefix
    clean(prefix, backend)
    delete_models(backend)
    assert left_over(prefix, backend) == []


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    return itertools.count()


@pytest.fixture
def empty(prefix: str, backend: Backend, numbers: Iterator[int], tmp_path: Path) -> Iterator[Adapter]:
    """A place that nobody has used."""
    delete_models(backend)
    adapter = open_workspace(WORKSPACE, context=context_of(tmp_path / "home"))
    assert isinstance(adapter, RestAdapter)
    Place(f"{prefix}-{next(numbers)}", adapter.tracking.wire.service.http)
    yield wrap_adapter(adapter)
    adapter.close()


class TestCapabilities(CapabilitiesContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


class TestTracking(TrackingContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


class TestCustomModels(RegistryContract):
    """A payload of one file that is no model of MLflow's."""

    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


class TestModelsOfMlflow(RegistryContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty

    def new_source(self) -> str:
        source = super().new_source()
        place = split_artifact_uri(source)
        assert place is not None
        assert self.opened.artifacts is not None
        run_id, path = place
        file = file_of(self.folder, MLMODEL)
        self.opened.artifacts.put(
            run_id, f"{path}/MLmodel", file, digest=digest_of(MLMODEL), size=len(MLMODEL)
        )
        return source


class TestArtifacts(ArtifactContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


def test_doctor_finds_nothing_wrong(empty: Adapter) -> None:
    found = empty.check(write=True)
    assert [finding for finding in found if finding.severity is Severity.ERROR] == []
