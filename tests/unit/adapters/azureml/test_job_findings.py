"""What keeps a job from running in Azure ML is found before anything is sent, with what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.azureml_emulators import ask
from tests.unit.adapters.azureml.rig import milliseconds
from trackbridge.domain.jobs import Compute, Environment, JobSpec, Launcher
from trackbridge.errors import Rejected
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.ports.findings import Finding, Severity
from trackbridge.ports.jobs import JobBackend
from trackbridge.testing.emulators.azureml.computes import Quotas
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.azureml.vaults import Vault
from trackbridge_adapters.azureml import open_workspace

GOOD = JobSpec(name="a job", command=("python", "train.py"))
BLOBS = "azureml://datastores/workspaceblobstore/paths"


@pytest.fixture
def ours(azure: AzureMlEmulator, tmp_path: Path) -> Adapter:
    context = AdapterContext(home=tmp_path / "home", options=azure.options, clock_ms=milliseconds)
    return open_workspace(azure.uri, context=context, credential=azure.credential())


@pytest.fixture
def jobs(ours: Adapter) -> JobBackend:
    assert ours.jobs is not None
    return ours.jobs


def cluster(azure: AzureMlEmulator, name: str, *, nodes: int = 2, priority: str = "Dedicated") -> None:
    inner = {"vmSize": "Standard_DS3_v2", "vmPriority": priority, "scaleSettings": {"maxNodeCount": nodes}}
    made = ask(
        azure, "PUT", f"computes/{name}", {"properties": {"computeType": "AmlCompute", "properties": inner}}
    )
    assert made.status == 201, made
    azure.cloud.clock.stop()
    azure.cloud.clock.advance(10)
    azure.cloud.clock.go_on()


def found(jobs: JobBackend, **fields: Any) -> tuple[Finding, ...]:
    return jobs.check(msgspec.structs.replace(GOOD, **fields))


def the_error(jobs: JobBackend, **fields: Any) -> Finding:
    errors = [finding for finding in found(jobs, **fields) if finding.severity is Severity.ERROR]
    assert len(errors) == 1, errors
    assert errors[0].fix
    with pytest.raises(Rejected, match="the job cannot run"):
        jobs.submit(msgspec.structs.replace(GOOD, **fields), key="k")
    return errors[0]


def the_warning(jobs: JobBackend, **fields: Any) -> Finding:
    (warning,) = found(jobs, **fields)
    assert warning.severity is Severity.WARNING
    return warning


def test_nothing_is_sent_by_looking(azure: AzureMlEmulator, jobs: JobBackend, tmp_path: Path) -> None:
    cluster(azure, "cpu")
    (tmp_path / "data.csv").write_text("a")
    begun = len(azure.calls)

    jobs.check(msgspec.structs.replace(GOOD, compute=Compute(cluster="cpu"), inputs={"d": str(tmp_path)}))
    jobs.preview(msgspec.structs.replace(GOOD, compute=Compute(cluster="cpu"), inputs={"d": str(tmp_path)}))

    assert {call.method for call in azure.calls[begun:]} == {"GET"}


def test_a_compute_that_is_not_there_is_told_with_those_that_are(
    azure: AzureMlEmulator, jobs: JobBackend
) -> None:
    cluster(azure, "cpu")

    error = the_error(jobs, compute=Compute(cluster="gpu"))

    assert "'gpu'; there is cpu" in error.message
    assert "az ml compute create" in error.fix


def test_a_cluster_has_enough_nodes(azure: AzureMlEmulator, jobs: JobBackend) -> None:
    cluster(azure, "cpu", nodes=2)

    assert found(jobs, compute=Compute(cluster="cpu", instance_count=2)) == ()
    error = the_error(jobs, compute=Compute(cluster="cpu", instance_count=3))

    assert "wants 3 machines, and cpu has at most 2" in error.message


def test_spot_capacity_is_a_clusters_own_matter(azure: AzureMlEmulator, jobs: JobBackend) -> None:
    cluster(azure, "cpu")
    cluster(azure, "cheap", priority="LowPriority")

    assert found(jobs, compute=Compute(cluster="cheap", spot=True)) == ()
    assert "no cluster of spot" in the_error(jobs, compute=Compute(cluster="cpu", spot=True)).message
    assert "may be taken away" in the_warning(jobs, compute=Compute(cluster="cheap")).message


def test_a_cluster_and_an_instance_type_are_one_too_many(jobs: JobBackend) -> None:
    compute = Compute(cluster="cpu", instance_type="Standard_DS3_v2")

    assert "one of the two" in the_error(jobs, compute=compute).fix


def test_an_instance_type_is_one_of_the_region(jobs: JobBackend) -> None:
    assert found(jobs, compute=Compute(instance_type="standard_ds3_v2")) == ()
    error = the_error(jobs, compute=Compute(instance_type="Standard_DS33_v2"))
    assert "has no instance type" in error.message
    known = "Standard_DS2_v2, Standard_DS3_v2, Standard_E4s_v3, Standard_M128s, Standard_NC6s_v3"
    assert error.fix == f"did you mean Standard_DS3_v2? there are {known}: az ml compute list-sizes"
    far = the_error(jobs, compute=Compute(instance_type="x")).fix
    assert far == f"there are {known}: az ml compute list-sizes"
    spot = Compute(instance_type="Standard_M128s", spot=True)
    assert "there is no spot capacity" in the_error(jobs, compute=spot).message


def test_quota_is_looked_at(azure: AzureMlEmulator, jobs: JobBackend) -> None:
    quotas = azure.cloud.part(Quotas)
    family = "Standard DSv2 Family Cluster Dedicated vCPUs"
    quotas.limits[family], quotas.used[family] = 10, 8

    assert (
        "wants 12 cores"
        in the_error(jobs, compute=Compute(instance_type="Standard_DS3_v2", instance_count=3)).message
    )
    assert "it will wait" in the_warning(jobs, compute=Compute(instance_type="Standard_DS3_v2")).message
    assert found(jobs, compute=Compute(instance_type="Standard_DS2_v2")) == ()


def test_spot_capacity_has_a_quota_of_its_own(azure: AzureMlEmulator, jobs: JobBackend) -> None:
    azure.cloud.part(Quotas).limits["Total Cluster LowPriority Regional vCPUs"] = 0

    error = the_error(jobs, compute=Compute(instance_type="Standard_DS2_v2", spot=True))

    assert "Total Cluster LowPriority Regional vCPUs: 0 are allowed" in error.message


@pytest.mark.parametrize(
    "image", ["Python 3", "https://registry.example/x", "a//b", "python:3.11 ", ":latest"]
)
def test_an_image_is_written_as_one(jobs: JobBackend, image: str) -> None:
    assert "no image" in the_error(jobs, environment=Environment(image=image)).message


@pytest.mark.parametrize(
    "image",
    ["python:3.11", "mcr.microsoft.com/azureml/base:1", "localhost:5000/a/b@sha256:" + "0" * 64],
)
def test_images_that_are_written_well(jobs: JobBackend, image: str) -> None:
    assert found(jobs, environment=Environment(image=image)) == ()


def test_an_environment_of_the_workspace_is_there(azure: AzureMlEmulator, jobs: JobBackend) -> None:
    ask(azure, "PUT", "environments/mine/versions/3", {"properties": {"image": "python:3.11"}})

    for name in (
        "azureml:mine:3",
        "azureml:mine@latest",
        "azureml://registries/azureml/environments/x/versions/1",
    ):
        assert found(jobs, environment=Environment(image=name)) == ()
    assert "mine" in the_error(jobs, environment=Environment(image="azureml:mine:4")).message


def test_a_conda_file_is_there(jobs: JobBackend, tmp_path: Path) -> None:
    (tmp_path / "conda.yaml").write_text("dependencies: [python=3.11]")

    assert found(jobs, environment=Environment(conda_file=str(tmp_path / "conda.yaml"))) == ()
    assert "there is no file" in the_error(jobs, environment=Environment(conda_file="none.yaml")).message


def test_secrets_are_in_the_vault_and_nowhere_else(azure: AzureMlEmulator, jobs: JobBackend) -> None:
    azure.cloud.part(Vault).put("there", "v4lue")

    assert found(jobs, secrets={"TOKEN": "keyvault:there"}) == ()
    assert "has no secret missing" in the_error(jobs, secrets={"TOKEN": "keyvault:missing"}).message
    assert "TOKEN=keyvault:NAME" in the_error(jobs, secrets={"TOKEN": "env:TOKEN"}).fix
    assert "v4lue" not in repr(azure.calls)
    assert not any(call.path.endswith("/secrets/there") for call in azure.calls), "the value was asked for"


def test_who_may_not_look_into_the_vault_is_warned(azure: AzureMlEmulator, jobs: JobBackend) -> None:
    azure.faults.fail("GET /keyvault/*", status=403, code="Forbidden", times=None)

    assert "nobody here may look" in the_warning(jobs, secrets={"TOKEN": "keyvault:there"}).message


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"outputs": {"model": "s3://bucket/model"}}, "writes to no folder of s3://bucket/model"),
        ({"outputs": {"model": "./model"}}, "writes to no folder of this machine"),
        ({"checkpoints": "/tmp/x"}, "writes to no folder of this machine"),
        ({"inputs": {"data": "s3://bucket/data"}}, "reads nothing from s3://bucket/data"),
        ({"inputs": {"data": f"{BLOBS}/nothing"}}, "there is nothing at"),
        ({"inputs": {"data": "azureml:none:1"}}, "no data or model none:1"),
        ({"inputs": {"bridge_kept": "/tmp"}}, "cannot be a name"),
        ({"inputs": {"a-b": "/tmp"}}, "cannot be a name"),
        ({"name": "n" * 257}, "cannot be a job's name"),
        ({"tags": {f"t{number}": "" for number in range(50)}}, "there are 50 tags"),
        ({"tags": {"t": "x" * 1001}}, "is longer than Azure ML takes"),
        ({"launcher": Launcher.SPARK}, "another kind of job"),
        ({"launcher": Launcher.MPI, "attempts_max": 2}, "does not start them again"),
        ({"environment": Environment(requirements=("./wheel.whl",))}, "is a path of this machine"),
    ],
)
def test_what_azure_does_not_take(jobs: JobBackend, fields: dict[str, Any], told: str) -> None:
    assert told in the_error(jobs, **fields).message


def test_much_code_is_advised_against(
    jobs: JobBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackbridge_adapters.azureml.jobs_findings.CODE_BYTES_ADVISED", 100)
    (tmp_path / "data.bin").write_bytes(b"x" * 101)

    assert "advises at most 300" in the_warning(jobs, code_dir=str(tmp_path)).message
