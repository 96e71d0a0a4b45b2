"""Endpoints that we made, as the stock azure-ai-ml client sees, asks and changes them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import scoring_container
from tests.support.processes import eventually
from trackbridge.domain.deployments import DeploymentSpec
from trackbridge.errors import PlanStale
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.deployments import DeploymentTarget
from trackbridge.testing.contracts import deployment_models
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator

IMAGE = "test/scoring:1"
JSON = "application/json"
ROWS = {"inputs": [[1.0], [2.0]]}


@pytest.fixture
def target(azure: AzureMlEmulator, ours: Adapter) -> DeploymentTarget:
    azure.declare_image(IMAGE, serve=[sys.executable, str(scoring_container.__file__), "{port}"])
    assert ours.deployments is not None
    return ours.deployments


def deployed(
    target: DeploymentTarget, folder: Path, deployment: str, answer: float, **fields: Any
) -> DeploymentSpec:
    payload = deployment_models.answering(folder, f"answers-{deployment}", answer)
    named = {"instance_type": "Standard_DS2_v2", "image": IMAGE, **fields}
    spec = deployment_models.spec_for(payload, "wine", deployment, **named)
    for change in target.plan(spec, target.observe("wine")):
        operation = target.apply(change, payload=payload)
        eventually(lambda begun=operation: target.poll(begun).done, change.subject)  # type: ignore[misc]
    return spec


def test_an_endpoint_of_ours_is_got_listed_and_invoked(
    target: DeploymentTarget, sdk: Any, tmp_path: Path
) -> None:
    spec = deployed(target, tmp_path, "blue", 1.0, variables={"A": "b"}, capture_percent=50)
    deployed(target, tmp_path, "green", 2.0, traffic_percent=10)
    asked = tmp_path / "rows.json"
    asked.write_text(json.dumps(ROWS))

    endpoint = sdk.online_endpoints.get("wine")
    found = sdk.online_deployments.get("blue", "wine")
    answers = [
        sdk.online_endpoints.invoke("wine", request_file=str(asked), deployment_name=name)
        for name in ("blue", "green")
    ]

    assert endpoint.traffic == {"blue": 90, "green": 10}
    assert (found.instance_type, found.instance_count) == ("Standard_DS2_v2", 1)
    assert found.environment_variables["A"] == "b"
    assert found.tags["bridge.model"] == spec.model
    assert found.data_collector.collections["request"].sampling_rate == 0.5
    assert [json.loads(answer) for answer in answers] == [
        {"predictions": [1.0] * 2},
        {"predictions": [2.0] * 2},
    ]
    assert sorted(item.name for item in sdk.online_deployments.list("wine")) == ["blue", "green"]
    assert "serving" in sdk.online_deployments.get_logs("blue", "wine", lines=50)


def test_traffic_that_the_client_sets_is_seen_and_not_wiped(
    target: DeploymentTarget, sdk: Any, tmp_path: Path
) -> None:
    deployed(target, tmp_path, "blue", 1.0)
    deployed(target, tmp_path, "green", 2.0, traffic_percent=0)
    state = target.observe("wine")
    assert state is not None
    (change,) = target.plan_traffic("wine", state, percent_by_deployment={"blue": 50, "green": 50})
    theirs = sdk.online_endpoints.get("wine")
    theirs.traffic = {"blue": 30, "green": 70}
    sdk.online_endpoints.begin_create_or_update(theirs).result()

    with pytest.raises(PlanStale):
        target.apply(change)

    found = target.observe("wine")
    assert found is not None
    assert found.traffic == {"blue": 30, "green": 70}
    assert all(item.spec is not None for item in found.deployments), "what is ours of it stays"
    assert sdk.online_endpoints.get("wine").traffic == {"blue": 30, "green": 70}


def test_a_deployment_that_the_client_scales_is_seen_so(
    target: DeploymentTarget, sdk: Any, tmp_path: Path
) -> None:
    spec = deployed(target, tmp_path, "blue", 1.0)
    theirs = sdk.online_deployments.get("blue", "wine")
    theirs.instance_count = 2
    sdk.online_deployments.begin_create_or_update(theirs).result()

    state = target.observe("wine")

    assert state is not None
    assert state.deployments[0].instance_count == 2
    (change,) = target.plan(spec, state)
    assert "instance_count" in change.why
    body = target.invoke("wine", json.dumps(ROWS).encode(), content_type=JSON)
    assert json.loads(body) == {"predictions": [1.0, 1.0]}
