"""What is read of deployments, and sent, where Azure or others have changed them meanwhile."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import msgspec
import pytest

from trackbridge.domain.deployment_changes import facts_of
from trackbridge.domain.deployments import Autoscale, DeploymentSpec, Operation
from trackbridge.domain.plans import Action, Change
from trackbridge_adapters.azureml import deployments_score as score
from trackbridge_adapters.azureml.deployments_batch import MARK, BatchScoring
from trackbridge_adapters.azureml.deployments_changes import DeploymentChanges
from trackbridge_adapters.azureml.deployments_logs import DeploymentLogs
from trackbridge_adapters.azureml.deployments_metrics import DeploymentMetrics
from trackbridge_adapters.azureml.deployments_names import spec_tags
from trackbridge_adapters.azureml.deployments_requests import Brought, deployment_body
from trackbridge_adapters.azureml.deployments_resources import ONLINE, HeldEndpoint
from trackbridge_adapters.azureml.deployments_state import spec_of

ASSET = "/models/wine/versions/2"
ENDPOINT = "/workspaces/w/onlineEndpoints/wine"
SCALE = Autoscale(instances_min=1, instances_max=9, requests_per_instance_target=60.0)
SPEC = DeploymentSpec(
    endpoint="wine",
    deployment="v2",
    model="models:/wine/2",
    instance_type="Standard_DS2_v2",
    variables={"COLOUR": "red"},
    traffic_percent=0,
    autoscale=SCALE,
)
UNSCALED = msgspec.structs.replace(SPEC, autoscale=None)


def told(spec: DeploymentSpec, **variables: str) -> dict[str, Any]:
    """Return a deployment as ARM tells it, with more variables than were asked for."""
    sent = deployment_body(spec, Brought(ASSET), spec_tags(spec, ASSET, user="", time_ms=1), "west", None)
    sent["properties"]["environmentVariables"] |= variables
    return {**sent, "id": f"{ENDPOINT}/deployments/dep-v2", "name": "dep-v2"}


def test_variables_that_azure_adds_are_no_change_of_a_deployment() -> None:
    added = {
        "AML_APP_ROOT": "/var/azureml-app/onlinescoring",
        "AZUREML_ENTRY_SCRIPT": "score.py",
        "AZUREML_MODEL_DIR": "/var/azureml-app/azureml-models/wine/2",
    }
    assert spec_of(told(UNSCALED, **added), {}) == UNSCALED
    by_others = spec_of(told(UNSCALED, SHADE="dark"), {})
    assert by_others is not None
    assert by_others.variables == {"COLOUR": "red", "SHADE": "dark"}
    wanted = msgspec.structs.replace(UNSCALED, variables={"AZUREML_LOG_LEVEL": "debug"})
    assert spec_of(told(wanted, **added), {}) == wanted


@pytest.mark.parametrize(("held", "capacity"), [(None, 1), (4, 4), (12, 9)])
def test_a_new_version_goes_on_with_as_many_instances_as_there_are(held: int | None, capacity: int) -> None:
    there = None if held is None else {"sku": {"capacity": held}, "properties": {}}
    assert deployment_body(SPEC, Brought(ASSET), {}, "west", there)["sku"]["capacity"] == capacity
    assert deployment_body(UNSCALED, Brought(ASSET), {}, "west", there)["sku"]["capacity"] == 1


@pytest.mark.parametrize("was_scaled", [True, False])
def test_a_setting_that_others_have_changed_ends_with_its_deployment(was_scaled: bool) -> None:
    spec = SPEC if was_scaled else UNSCALED
    resources, scaling = Mock(), Mock()
    scaling.bounds.return_value = {}  # it is off, or has rules that are not ours
    found = told(spec)
    resources.find.return_value = HeldEndpoint(ONLINE, {"name": "wine", "id": ENDPOINT}, [found])
    changes = DeploymentChanges(
        resources, Mock(), scaling, location=str, user=str, clock_ms=int, before_end=Mock()
    )
    removal = Change(action=Action.DELETE, subject="deployment wine/v2", before=facts_of(UNSCALED))
    changes.apply(removal, None)
    changes.delete("wine")
    assert [call.args for call in scaling.set.call_args_list] == [(found["id"], None, was_scaled)] * 2


def test_why_something_failed_tells_no_secrets() -> None:
    resources = Mock()
    resources.arm.post.return_value = {
        "content": "Container logs:\nError: no login, password=hunter2hunter2\n"
    }
    reason = DeploymentLogs(resources, Mock()).why_failed(told(SPEC))
    assert "no login" in reason
    assert "hunter2" not in reason

    resources.workspace.scope = "/workspaces/w"
    error = {"message": "no login, password=hunter2hunter2"}
    resources.arm.find.return_value = {"properties": {"status": "Failed", "error": error}}
    batch = BatchScoring(resources, Mock(), Mock(), Mock(), Mock())
    ended = batch.poll(Operation(operation_id=f"{MARK}wine/job", done=False)).error or ""
    assert "no login" in ended
    assert "hunter2" not in ended


@pytest.mark.parametrize(
    ("status", "body", "rows"),
    [
        (200, '{"predictions": [1, 2]}', 2),
        (200, '{"predictions": 1.5}', 1),
        (200, '{"predictions": {"a": 1, "b": 2}}', 1),
        (400, "no JSON", 0),
    ],
)
def test_rows_are_counted_whatever_a_model_returns(status: int, body: str, rows: int) -> None:
    assert score._rows(status, body) == rows


def test_instances_are_those_that_serve_at_the_same_time() -> None:
    def get(path: str, kind: str, query: dict[str, Any]) -> dict[str, Any]:
        """Answer as Azure: no totals of this metric, and one series for each instance that is asked for."""
        if query["metricnames"] != "DeploymentCapacity" or query["aggregation"] == "total":
            return {}
        data = [{"timeStamp": "1970-01-01T00:10:00Z", "maximum": 1.0}]
        series = [{"metadatavalues": [], "data": data}]
        return {"value": [{"timeseries": series * (2 if "instanceId eq '*'" in query["$filter"] else 1)}]}

    held = HeldEndpoint(ONLINE, {"name": "wine", "id": ENDPOINT}, [told(UNSCALED)])
    (figures,) = DeploymentMetrics(Mock(get=get), lambda: 660_000).read(held, 300)
    assert figures.instances == 2
