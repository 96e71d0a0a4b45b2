"""Which changes lead an endpoint to where it is wanted; most of it is in the deployment contract."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackbridge.domain.deployment_changes import (
    checked_endpoint_name,
    deployment_changes,
    facts_of,
    is_endpoint_name,
    is_same_deployment,
    removal_changes,
    spec_of,
    split_subject,
    traffic_changes,
)
from trackbridge.domain.deployments import DeploymentSpec, DeploymentState, EndpointState, EndpointStatus
from trackbridge.domain.plans import Action
from trackbridge.errors import InvalidInput, Rejected

SPEC = DeploymentSpec(endpoint="wine", deployment="v1", model="models:/wine/1", model_digest="sha256:1")


def state(*shares: int, mirror: int = 0, status: EndpointStatus = EndpointStatus.READY) -> EndpointState:
    """Return an endpoint with deployments v1, v2 ...; the last one is mirrored to."""
    deployments = tuple(
        DeploymentState(
            deployment=f"v{number}",
            model=SPEC.model,
            status=EndpointStatus.READY,
            traffic_percent=share,
            mirror_percent=mirror if number == len(shares) else 0,
            spec=msgspec.structs.replace(SPEC, deployment=f"v{number}"),
        )
        for number, share in enumerate(shares, start=1)
    )
    return EndpointState(endpoint="wine", status=status, deployments=deployments)


def test_facts_lead_back_to_the_deployment() -> None:
    spec = msgspec.structs.replace(SPEC, variables={"A": "1"}, traffic_percent=30)
    assert spec_of(facts_of(spec)) == msgspec.structs.replace(spec, traffic_percent=0)


@pytest.mark.parametrize("facts", [{}, {"endpoint": 1}, {"endpoint": "a", "deployment": "b", "model": None}])
def test_what_is_no_deployment_is_refused(facts: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        spec_of(facts)


def test_without_a_digest_the_address_counts() -> None:
    here, there = (
        facts_of(msgspec.structs.replace(SPEC, model_digest="", model_source=place)) for place in ("a", "b")
    )
    assert not is_same_deployment(here, there)
    assert is_same_deployment(None, None)
    assert not is_same_deployment(here, None)


@pytest.mark.parametrize(
    "subject", ["", "wine", "model wine", "traffic wine/v1", "deployment wine", "endpoint wine/v1"]
)
def test_another_subject_is_refused(subject: str) -> None:
    with pytest.raises(InvalidInput):
        split_subject(subject)


def test_a_subject_is_split() -> None:
    assert split_subject("deployment wine/v1") == ("deployment", "wine", "v1")
    assert split_subject("traffic wine") == ("traffic", "wine", "")


@given(st.text(max_size=40))
def test_a_name_is_safe_in_a_path_and_a_header(name: str) -> None:
    if is_endpoint_name(name):
        assert name.isascii()
        assert name.replace("-", "").isalnum()
        assert checked_endpoint_name(name) == name
    else:
        with pytest.raises(InvalidInput):
            checked_endpoint_name(name)


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
def test_the_shares_of_a_plan_always_add_up(first: int, second: int, wanted: int) -> None:
    spec = msgspec.structs.replace(SPEC, deployment="v3", traffic_percent=wanted)
    changes = deployment_changes(spec, state(first, second, 0))
    for change in changes:
        if change.subject == "traffic wine":
            assert change.after is not None
            assert sum(change.after["traffic"].values()) == 100


def test_a_deployment_of_which_nothing_is_known_is_replaced() -> None:
    unknown = DeploymentState(
        deployment="v1", model=SPEC.model, status=EndpointStatus.READY, traffic_percent=100
    )
    observed = EndpointState(endpoint="wine", status=EndpointStatus.READY, deployments=(unknown,))
    (change,) = deployment_changes(SPEC, observed)
    assert (change.action, change.before) == (Action.REPLACE, {"model": SPEC.model})


def test_another_content_under_the_same_name_replaces() -> None:
    (change,) = deployment_changes(msgspec.structs.replace(SPEC, model_digest="sha256:2"), state(100))
    assert (change.action, change.why) == (Action.REPLACE, "the content of the model changed")


def test_a_mirror_that_gets_traffic_is_no_mirror_any_more() -> None:
    (change,) = traffic_changes(state(100, 0, mirror=30), {"v1": 50, "v2": 50})
    assert change.after == {"traffic": {"v1": 50, "v2": 50}, "mirror": {}}


def test_a_mirror_is_taken_away_before_its_deployment() -> None:
    mirrored, deployment = removal_changes("wine", "v2", state(100, 0, mirror=30))
    assert mirrored.after == {"traffic": {"v1": 100}, "mirror": {}}
    assert deployment.action is Action.DELETE


def test_nothing_is_planned_for_what_is_being_deleted() -> None:
    deleting = state(100, 0, status=EndpointStatus.DELETING)
    for plan in (
        lambda: deployment_changes(SPEC, deleting),
        lambda: removal_changes("wine", "v2", deleting),
        lambda: traffic_changes(deleting, {"v1": 100}),
    ):
        with pytest.raises(Rejected, match="being deleted"):
            plan()
