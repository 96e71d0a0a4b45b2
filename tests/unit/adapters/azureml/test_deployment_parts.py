"""Names, tags, logs and checks of deployments in Azure ML: nobody is contacted."""

from __future__ import annotations

import msgspec
import pytest

from trackbridge.domain.deployments import (
    Authentication,
    Autoscale,
    DeploymentSpec,
    DeploymentState,
    EndpointState,
    EndpointStatus,
    Serving,
)
from trackbridge.errors import Rejected, Unsupported
from trackbridge.ports.capabilities import Capabilities, Limits, Tier
from trackbridge_adapters.azureml import deployments_logs as logs
from trackbridge_adapters.azureml.capabilities import DEPLOYMENTS
from trackbridge_adapters.azureml.config import Workspace
from trackbridge_adapters.azureml.deployments_assets import can_read
from trackbridge_adapters.azureml.deployments_checks import check_endpoint, check_spec
from trackbridge_adapters.azureml.deployments_findings import is_allowed
from trackbridge_adapters.azureml.deployments_names import (
    asset_in,
    native_deployment,
    own_deployment,
    spec_in,
    spec_tags,
)
from trackbridge_adapters.azureml.deployments_requests import mirror_in, with_mirror
from trackbridge_adapters.azureml.deployments_state import seconds_of

CAPABILITIES = Capabilities(
    adapter="azureml", tier=Tier.EVERY_CHANGE, is_local=False, features=DEPLOYMENTS, limits=Limits()
)
SPEC = DeploymentSpec(
    endpoint="wine", deployment="v2", model="models:/wine/2", instance_type="Standard_DS2_v2"
)


def other(**fields: object) -> DeploymentSpec:
    return msgspec.structs.replace(SPEC, **fields)


@pytest.mark.parametrize("name", ["v", "v3", "blue", "dep-blue", "dep-3"])
def test_a_deployments_name_comes_back(name: str) -> None:
    native = native_deployment(name)
    assert 3 <= len(native) <= 32
    assert own_deployment(native) == name


@pytest.mark.parametrize("names", [("wi", "blue"), ("wine", "dep-v3"), ("wine", "dep-v")], ids=str)
def test_names_that_azure_cannot_tell_apart_or_hold_are_refused(names: tuple[str, str]) -> None:
    endpoint, deployment = names
    with pytest.raises(Rejected):
        check_spec(other(endpoint=endpoint, deployment=deployment), CAPABILITIES)


def test_tags_hold_any_spec_within_azures_limits() -> None:
    spec = other(
        variables={f"NAME_{number}": "ü" * 100 for number in range(20)},
        autoscale=Autoscale(instances_min=1, instances_max=3, requests_per_instance_target=60.0),
        authentication=Authentication.TOKEN,
        traffic_percent=30,
    )
    tags = spec_tags(spec, "/subscriptions/" + "s" * 400, user="somebody", time_ms=7)
    assert all(len(value) <= 256 for value in tags.values())
    assert len(tags) <= 50
    assert spec_in(tags) == msgspec.structs.replace(spec, traffic_percent=100)
    assert asset_in(tags) == "/subscriptions/" + "s" * 400
    with pytest.raises(Rejected, match="longer than"):
        check_spec(other(variables={"LONG": "x" * 11_000}), CAPABILITIES)


@pytest.mark.parametrize(
    "tags", [{}, {"bridge.spec.0": "{"}, {"bridge.spec.0": "[]"}, {"bridge.spec.1": "{}"}], ids=str
)
def test_tags_without_a_spec_hold_none(tags: dict[str, str]) -> None:
    assert spec_in(tags) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"instance_type": None},
        {"instance_count": 51},
        {"request_timeout_s": 180.5},
        {"mirror_percent": 51, "traffic_percent": 0},
        {"concurrency_max": 0},
        {"memory_mib": 2048},
        {"alarms": ["slow"]},
        {"image": "a/b:1", "environment": "azureml:env:1"},
        {"options": {"code": "src"}},
        {"options": {"code": "src", "scoring_script": "score.py"}},
        {"options": {"payload": "xml"}},
        {"options": {"port": "0"}},
        {"options": {"scoring_route": "score"}},
        {"options": {"compute": "cpu"}},
        {"variables": {"1A": "x"}},
        {"autoscale": Autoscale(instances_min=2, instances_max=1, requests_per_instance_target=1.0)},
        {"autoscale": Autoscale(instances_min=1, instances_max=99, requests_per_instance_target=1.0)},
        {"autoscale": Autoscale(instances_min=1, instances_max=2, requests_per_instance_target=0.0)},
        {"serving": Serving.BATCH},
        {"serving": Serving.BATCH, "options": {"compute": "cpu"}, "traffic_percent": 40},
        {"serving": Serving.BATCH, "options": {"compute": "cpu"}, "image": "a/b:1"},
        {"serving": Serving.BATCH, "options": {"compute": "cpu"}, "capture_percent": 10},
        {"serving": Serving.BATCH, "options": {"compute": "cpu", "error_threshold": "-2"}},
        {"serving": Serving.BATCH, "options": {"compute": "cpu"}, "authentication": Authentication.KEY},
    ],
    ids=str,
)
def test_what_azure_cannot_hold_is_refused_with_what_to_do(fields: dict[str, object]) -> None:
    with pytest.raises(Rejected) as caught:
        check_spec(other(**fields), CAPABILITIES)
    assert caught.value.hint


@pytest.mark.parametrize("serving", [Serving.SERVERLESS, Serving.ASYNCHRONOUS])
def test_what_azure_does_not_offer_is_unsupported(serving: Serving) -> None:
    with pytest.raises(Unsupported):
        check_spec(other(serving=serving), CAPABILITIES)


def test_payloads_of_one_endpoint_have_one_form() -> None:
    first = DeploymentState(
        deployment="v1", model="models:/wine/1", status=EndpointStatus.READY, spec=other(deployment="v1")
    )
    state = EndpointState(
        endpoint="wine",
        status=EndpointStatus.READY,
        deployments=(first,),
        native_id="/x/onlineEndpoints/wine",
    )
    check_endpoint(other(image="ours:1"), state)
    own = {"code": "src", "scoring_script": "score.py"}
    with pytest.raises(Rejected, match="another form"):
        check_endpoint(other(environment="azureml:env:1", options=own), state)
    with pytest.raises(Rejected, match="answers requests"):
        check_endpoint(other(serving=Serving.BATCH), state)


@pytest.mark.parametrize(
    ("source", "is_read"),
    [
        ("azureml:wine:3", True),
        ("azureml://sub/group/ws/models/wine/versions/3", True),
        ("azureml://other/group/ws/models/wine/versions/3", False),
        ("azureml://registries/shared/models/wine/versions/3", True),
        ("azureml://datastores/workspaceblobstore/paths/model", True),
        ("azureml://subscriptions/sub/resourcegroups/group/workspaces/ws/datastores/d/paths/p", True),
        ("azureml://subscriptions/sub/resourcegroups/group/workspaces/ws2/datastores/d/paths/p", False),
        ("azureml://jobs/learn/outputs/artifacts/paths/model", True),
        ("runs:/1234/model", False),
        ("bridge-artifacts:/1234/model", False),
        ("file:///model", False),
        ("s3://bucket/model", False),
        ("", False),
    ],
)
def test_a_deployment_names_what_is_in_azure_itself(source: str, is_read: bool) -> None:
    assert can_read(source, Workspace("sub", "group", "ws")) is is_read


def test_logs_go_on_behind_what_was_read() -> None:
    lines = [f"line {number}" for number in range(10)]
    place = [4, logs._anchor(lines, 4)]
    assert logs._start(lines, place) == (4, False)
    assert logs._start(lines[1:], place) == (3, False), "Azure gives the last lines only"
    assert logs._start(lines[6:], place) == (0, True), "what was read is no longer among them"
    assert logs._start([], place) == (0, True)
    assert logs._start(lines, [0, ""]) == (0, False)


def test_the_time_of_a_mirror_is_kept() -> None:
    begun = with_mirror({"team": "red"}, "v2", 1000)
    assert mirror_in(begun) == ("v2", 1000, 0)
    assert mirror_in(with_mirror(begun, "v2", 2000)) == ("v2", 1000, 0)
    ended = with_mirror(begun, "", 3000)
    assert (mirror_in(ended), ended["team"]) == (("v2", 1000, 3000), "red")
    assert mirror_in(with_mirror(ended, "", 4000)) == ("v2", 1000, 3000)
    assert mirror_in(with_mirror(ended, "v3", 4000)) == ("v3", 4000, 0)
    assert mirror_in({"bridge.mirrored": "garbage"}) == ("", 0, 0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT5S", 5.0), ("PT1M30S", 90.0), ("P1DT0.5S", 86_400.5), ("", 7.0), (None, 7.0), ("5", 7.0)],
)
def test_durations_are_read(text: object, seconds: float) -> None:
    assert seconds_of(text, 7.0) == seconds


def test_rights_are_actions_without_those_taken_back() -> None:
    right = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/write"
    assert is_allowed([{"actions": ["*"]}], right)
    assert is_allowed([{"actions": ["microsoft.machinelearningservices/workspaces/*/write"]}], right)
    assert not is_allowed([{"actions": ["*/read"]}, {"actions": ["*"], "notActions": ["*/write"]}], right)
    assert not is_allowed([], right)
