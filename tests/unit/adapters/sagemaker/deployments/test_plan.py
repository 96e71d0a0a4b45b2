"""What SageMaker cannot hold of a deployment is refused by the plan, with what to do; nobody is contacted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.adapters.sagemaker.place_rig import backend
from trackbridge.domain.deployment_changes import facts_of
from trackbridge.domain.deployments import (
    Authentication,
    Autoscale,
    DeploymentSpec,
    DeploymentState,
    EndpointState,
    EndpointStatus,
    Serving,
)
from trackbridge.domain.plans import Action, Change
from trackbridge.errors import InvalidInput, Rejected
from trackbridge_adapters.sagemaker.deployments import SageMakerDeployments

IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/serving:1"
SERVERLESS: dict[str, Any] = {"serving": Serving.SERVERLESS}
BATCH: dict[str, Any] = {"serving": Serving.BATCH}
QUEUE: dict[str, Any] = {"serving": Serving.ASYNCHRONOUS}


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SageMakerDeployments:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    return SageMakerDeployments(backend(tmp_path))


def spec(deployment: str = "v1", **fields: Any) -> DeploymentSpec:
    given: dict[str, Any] = {"image": IMAGE, "model_digest": "sha256:00", **fields}
    return DeploymentSpec(endpoint="wine", deployment=deployment, model="models:/wine/1", **given)


def state(*specs: DeploymentSpec, status: EndpointStatus = EndpointStatus.READY) -> EndpointState:
    deployments = tuple(
        DeploymentState(
            deployment=each.deployment,
            model=each.model,
            status=status,
            traffic_percent=each.traffic_percent,
            mirror_percent=each.mirror_percent,
            spec=each,
        )
        for each in specs
    )
    return EndpointState(endpoint="wine", status=EndpointStatus.READY, deployments=deployments)


def steps(changes: tuple[Change, ...]) -> list[tuple[Action, str]]:
    return [(change.action, change.subject) for change in changes]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"image": None}, "which image"),
        ({"image": "an image"}, "no image"),
        ({"authentication": Authentication.KEY}, "sign as themselves"),
        ({"environment": "curated"}, "image instead"),
        ({"instance_type": "Standard_DS3_v2"}, "ml.m5.large"),
        ({"instance_type": "ml.c5.xlarg"}, "such as ml.c5.xlarge"),
        ({"instance_count": 1001}, "1 to 1000"),
        ({"request_timeout_s": 61.0}, "60 s"),
        ({"memory_mib": 2048}, "instance type"),
        ({"concurrency_max": 0}, "1 to 1000"),
        ({"alarms": [f"a{number}" for number in range(11)]}, "10 alarms"),
        ({"variables": {"A-B": "1"}}, "letters"),
        ({"variables": {"A": "x" * 1025}}, "1024"),
        (
            {"autoscale": Autoscale(instances_min=0, instances_max=2, requests_per_instance_target=1.0)},
            "1 to",
        ),
        (
            {"autoscale": Autoscale(instances_min=3, instances_max=2, requests_per_instance_target=1.0)},
            "smaller",
        ),
        (
            {"autoscale": Autoscale(instances_min=1, instances_max=2, requests_per_instance_target=0.0)},
            "positive",
        ),
        (
            {
                "autoscale": Autoscale(instances_min=1, instances_max=2, requests_per_instance_target=1.0),
                "instance_type": "ml.t2.medium",
            },
            "ml.m5.large",
        ),
        ({**SERVERLESS, "memory_mib": 1500}, "1024, 2048"),
        ({**SERVERLESS, "concurrency_max": 201}, "1 to 200"),
        ({**SERVERLESS, "instance_type": "ml.m5.large"}, "leave instance_type out"),
        ({**SERVERLESS, "instance_count": 2}, "no instances"),
        ({**SERVERLESS, "capture_percent": 5}, "leave capture_percent out"),
        ({**SERVERLESS, "detailed_metrics": True}, "leave detailed_metrics out"),
        ({**SERVERLESS, "alarms": ["a"]}, "leave alarms out"),
        ({**SERVERLESS, "options": {"update": "canary"}}, "all at once"),
        ({**SERVERLESS, "options": {"volume_gb": "10"}}, "leave volume_gb out"),
        ({**SERVERLESS, "options": {"provisioned_concurrency": "21"}}, "at most as much"),
        ({**QUEUE, "request_timeout_s": 3601.0}, "3600 s"),
        ({**BATCH, "capture_percent": 5}, "leave capture_percent out"),
        ({**BATCH, "options": {"update": "canary"}}, "leave update out"),
        ({**BATCH, "concurrency_max": 17}, "1 to 16"),
        ({**QUEUE, "concurrency_max": 1001}, "1 to 1000"),
        ({"options": {"provisioned_concurrency": "2"}}, "serverless"),
        ({"options": {"output_path": "s3://bucket/x"}}, "asynchronous"),
        ({"options": {"output_path": "/tmp/x"}}, "check it"),
        ({"options": {"update": "sometimes"}}, "canary"),
        ({"options": {"update": "linear", "update_percent": "5"}}, "10 to 50"),
        ({"options": {"update_percent": "5"}}, "update=canary"),
        ({"options": {"update": "rolling", "termination_wait_s": "5"}}, "leave"),
        ({"options": {"update_wait_s": "3601"}}, "0 to 3600"),
        ({"options": {"subnets": "subnet-1a"}}, "both"),
        ({"options": {"role": "me"}}, "check it"),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
def test_what_cannot_be_is_rejected(target: SageMakerDeployments, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Rejected) as caught:
        target.plan(spec(**fields), None)
    assert words in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    "fields",
    [
        {**BATCH, "request_timeout_s": 3600.0, "concurrency_max": 16},
        {**SERVERLESS, "memory_mib": 6144, "concurrency_max": 200},
        {**SERVERLESS, "options": {"provisioned_concurrency": "20"}},
        {**QUEUE, "request_timeout_s": 3600.0, "options": {"output_path": "s3://bucket/answers"}},
        {**QUEUE, "autoscale": Autoscale(instances_min=0, instances_max=1, requests_per_instance_target=5.0)},
        {"options": {"update": "rolling", "update_percent": "5", "update_wait_s": "0"}, "alarms": ["a"]},
        {"options": {"subnets": "subnet-1a,subnet-2b", "security_groups": "sg-1"}},
        {"authentication": Authentication.IDENTITY, "request_timeout_s": 60.0},
    ],
    ids=lambda fields: str(fields)[:60],
)
def test_what_can_be_is_planned(target: SageMakerDeployments, fields: dict[str, Any]) -> None:
    wanted = spec(**fields)
    assert len(target.plan(wanted, None)) == 3
    assert target.plan(wanted, state(wanted)) == ()


def test_a_name_of_a_place_with_a_long_prefix_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = SageMakerDeployments(backend(tmp_path, uri=f"sagemaker://eu-west-1/{'p' * 59}"))
    with pytest.raises(Rejected, match="too long"):
        target.plan(spec(), None)


def test_a_mirror_is_made_as_one(target: SageMakerDeployments) -> None:
    mirror = spec("v2", traffic_percent=0, mirror_percent=40)
    create, traffic = target.plan(mirror, state(spec()))
    assert create.after is not None
    assert create.after["mirror_percent"] == 40
    assert (traffic.after or {})["mirror"] == {"v2": 40}
    assert {**create.after, "mirror_percent": 0} == {**facts_of(mirror), "mirror_percent": 0}


def test_a_mirror_is_between_two(target: SageMakerDeployments) -> None:
    two = state(spec(), spec("v2", traffic_percent=0))
    with pytest.raises(Rejected, match="one other"):
        target.plan(spec("v3", traffic_percent=0, mirror_percent=10), two)
    mirrored = state(spec(), spec("v2", traffic_percent=0, mirror_percent=10))
    with pytest.raises(Rejected, match="one other"):
        target.plan(spec("v3", traffic_percent=0), mirrored)
    three = state(spec(), spec("v2", traffic_percent=0), spec("v3", traffic_percent=0))
    with pytest.raises(Rejected, match="one other"):
        target.plan_traffic(
            "wine", three, percent_by_deployment={"v1": 100}, mirror_percent_by_deployment={"v2": 5}
        )


def test_a_mirror_goes_in_one_step(target: SageMakerDeployments) -> None:
    mirrored = state(spec(), spec("v2", traffic_percent=0, mirror_percent=10))
    assert steps(target.plan_removal("wine", "v2", mirrored)) == [(Action.DELETE, "deployment wine/v2")]


def test_a_deployment_that_failed_is_in_nobodys_way(target: SageMakerDeployments) -> None:
    failed = state(spec("v1", **SERVERLESS, traffic_percent=0), status=EndpointStatus.FAILED)
    assert steps(target.plan(spec("v2"), failed))[0] == (Action.CREATE, "deployment wine/v2")


def test_shares_that_cannot_be_are_invalid(target: SageMakerDeployments) -> None:
    with pytest.raises(InvalidInput):
        target.plan(spec(traffic_percent=101), None)


@pytest.mark.parametrize(
    ("source", "is_read"),
    [
        ("s3://bucket/models/wine", True),
        ("s3://bucket/models/wine/", True),
        ("s3://bucket/model.tar.gz", True),
        ("s3://bucket", False),
        ("s3:///x", False),
        ("file:///models/wine", False),
        ("bridge-artifacts:/0/model", False),
        ("", False),
    ],
)
def test_what_lies_in_s3_is_read_by_sagemaker(
    target: SageMakerDeployments, source: str, *, is_read: bool
) -> None:
    assert target.can_read(source) is is_read
