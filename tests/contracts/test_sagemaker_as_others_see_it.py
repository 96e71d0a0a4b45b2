"""Runs and models of ours as boto3 finds them: by ``Search``, in lists, by tags."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.domain.models import Approval, ModelVersionSpec
from trackbridge.domain.runs import RunStatus
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts.registry_base import DIGEST, put_payload
from trackbridge.testing.contracts.samples import batch_of, run_spec
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge_adapters.sagemaker import open_adapter

RUNS = 3


@pytest.fixture(scope="module")
def emulator() -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator() as emulator:
        yield emulator
        emulator.raise_failures()


@pytest.fixture(scope="module")
def client(emulator: SageMakerEmulator) -> Any:
    return emulator.client("sagemaker")


@pytest.fixture(scope="module")
def adapter(emulator: SageMakerEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adapter]:
    """A place with three runs and a model, written once for all tests of this file."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(name, str(home / "none"))
        for name, value in emulator.environment().items():
            patch.setenv(name, value)
        context = AdapterContext(home=home, options={}, clock_ms=lambda: time.time_ns() // 1_000_000)
        adapter = wrap_adapter(open_adapter(emulator.uri, context=context))
        for number in range(RUNS):
            _write(adapter, number)
        _register(adapter, home)
        yield adapter
        adapter.close()


def _write(adapter: Adapter, number: int) -> None:
    assert adapter.tracking is not None
    now_ms = time.time_ns() // 1_000_000
    spec = run_spec(f"run {number}", experiment="digits", start_time=now_ms, tags={"team": f"t{number}"})
    run_id = adapter.tracking.open_run(spec).info.run_id
    points = [("loss", 1.0 / (step + 1 + number), step, now_ms + step) for step in range(12)]
    params = [("lr", str(0.1 * (number + 1))), ("optimizer", "adam" if number else "sgd")]
    assert adapter.tracking.write(batch_of(run_id, metrics=points, params=params)).rejected == ()
    status = RunStatus.FAILED if number == 2 else RunStatus.FINISHED
    adapter.tracking.close_run(run_id, status=status, end_time=now_ms + 500)


def _register(adapter: Adapter, folder: Path) -> None:
    registry = adapter.registry
    assert registry is not None
    registry.ensure_model("wine", tags={"owner": "vision"})
    spec = ModelVersionSpec(name="wine", source=put_payload(adapter, folder), digest=DIGEST)
    version = registry.create_version(spec, key="once").version
    registry.set_alias("wine", "champion", version=version)
    registry.set_approval("wine", version, approval=Approval.APPROVED)


def searched(client: Any, *filters: dict[str, Any], **more: Any) -> list[str]:
    """Return the display names of the components that boto3's search finds, in its order."""
    pages = client.get_paginator("search")
    ours = {"Name": "Tags.sagemaker:trial-component-source", "Operator": "Equals", "Value": "run"}
    found = pages.paginate(
        Resource="ExperimentTrialComponent", SearchExpression={"Filters": [ours, *filters]}, **more
    )
    return [
        item["TrialComponent"]["DisplayName"]
        for page in found
        for item in page["Results"]
        if item["TrialComponent"]["Parents"][0]["ExperimentName"] == "digits"
    ]


def where(name: str, operator: str, value: str) -> dict[str, str]:
    return {"Name": name, "Operator": operator, "Value": value}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (where("Parameters.lr", "GreaterThan", "0.15"), ["run-1", "run-2"]),
        (where("Parameters.optimizer", "Equals", "sgd"), ["run-0"]),
        (where("Metrics.loss.min", "LessThan", "0.0835"), ["run-0", "run-1", "run-2"]),
        (where("Metrics.loss.max", "GreaterThanOrEqualTo", "1"), ["run-0"]),
        (where("Tags.team", "Equals", "t1"), ["run-1"]),
        (where("Status.PrimaryStatus", "Equals", "Failed"), ["run-2"]),
        (where("Parents.ExperimentName", "Equals", "digits"), ["run-0", "run-1", "run-2"]),
        (where("Parents.ExperimentName", "Equals", "others"), []),
        (where("DisplayName", "Contains", "run"), ["run-0", "run-1", "run-2"]),
    ],
)
def test_search_finds_runs(adapter: Adapter, client: Any, asked: dict[str, str], found: list[str]) -> None:
    assert sorted(searched(client, asked)) == found


def test_search_sorts_and_pages(adapter: Adapter, client: Any) -> None:
    named = searched(client, MaxResults=1, SortBy="Parameters.lr", SortOrder="Descending")
    assert named == ["run-2", "run-1", "run-0"]


def test_a_component_tells_what_was_logged(
    adapter: Adapter, client: Any, emulator: SageMakerEmulator
) -> None:
    (trial,) = client.list_trials(ExperimentName="digits")["TrialSummaries"]
    assert trial["TrialName"] == "Default-Run-Group-digits"
    components = client.list_trial_components(TrialName=trial["TrialName"])["TrialComponentSummaries"]
    (first,) = (item for item in components if item["DisplayName"] == "run-0")
    told = client.describe_trial_component(TrialComponentName=first["TrialComponentName"])
    assert told["Parameters"]["lr"] == {"NumberValue": 0.1}
    assert told["Parameters"]["optimizer"] == {"StringValue": "sgd"}
    assert told["Status"]["PrimaryStatus"] == "Completed"
    assert (told["EndTime"] - told["StartTime"]).total_seconds() == 0.5
    (loss,) = told["Metrics"]
    assert (loss["MetricName"], loss["Count"], loss["Max"], loss["Last"]) == ("loss", 12, 1.0, 1 / 12)
    history = emulator.client("sagemaker-metrics").batch_get_metrics(
        MetricQueries=[
            {
                "MetricName": "loss",
                "ResourceArn": told["TrialComponentArn"],
                "MetricStat": "Last",
                "Period": "IterationNumber",
                "XAxisType": "IterationNumber",
            }
        ]
    )["MetricQueryResults"][0]
    assert history["XAxisValues"] == list(range(12))
    assert history["MetricValues"] == [1.0 / (step + 1) for step in range(12)]


def test_a_model_is_a_group_with_an_approved_package(adapter: Adapter, client: Any) -> None:
    group = client.describe_model_package_group(ModelPackageGroupName="wine")
    tags = client.list_tags(ResourceArn=group["ModelPackageGroupArn"])["Tags"]
    by_key = {tag["Key"]: tag["Value"] for tag in tags}
    assert (by_key["owner"], by_key["alias:champion"]) == ("vision", "1")
    expression = {"Filters": [where("ModelApprovalStatus", "Equals", "Approved")]}
    results = client.search(Resource="ModelPackage", SearchExpression=expression)["Results"]
    assert [item["ModelPackage"]["ModelPackageVersion"] for item in results] == [1]


def test_what_is_left_when_the_records_are_lost(
    emulator: SageMakerEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody deletes the folder in the bucket: SageMaker's side of the runs is still there to be read."""
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    context = AdapterContext(home=tmp_path, options={}, clock_ms=lambda: time.time_ns() // 1_000_000)
    uri = f"{emulator.uri}/lost"
    adapter = wrap_adapter(open_adapter(uri, context=context))
    assert adapter.tracking is not None
    run_id = adapter.tracking.open_run(run_spec("run", experiment="gone")).info.run_id
    points = [("loss", 0.25, 7, time.time_ns() // 1_000_000)]
    adapter.tracking.write(batch_of(run_id, params=[("lr", "0.1")], metrics=points))
    adapter.tracking.close_run(run_id, status=RunStatus.FINISHED, end_time=1_700_000_001_000)
    adapter.close()
    bucket = f"sagemaker-{emulator.region}-{emulator.cloud.account}"
    s3 = emulator.client("s3")
    for item in s3.list_objects_v2(Bucket=bucket, Prefix="trackbridge/at/lost/")["Contents"]:
        s3.delete_object(Bucket=bucket, Key=item["Key"])
    adapter = wrap_adapter(open_adapter(uri, context=context))
    assert adapter.tracking is not None
    (experiment,) = (found for found in adapter.tracking.list_experiments() if "gone" in found.name)
    (run,) = adapter.tracking.list_runs(experiment.experiment_id)
    assert run.info.status is RunStatus.FINISHED
    assert (run.data.params, run.data.metrics) == ({"lr": "0.1"}, {"loss": 0.25})
    adapter.close()
