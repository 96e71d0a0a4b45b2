"""What a deployment target plans: nothing of this contacts the backend."""

from __future__ import annotations

import msgspec
import pytest

from trackbridge.domain.deployments import (
    Autoscale,
    DeploymentSpec,
    DeploymentState,
    EndpointState,
    EndpointStatus,
)
from trackbridge.domain.plans import Action, Change
from trackbridge.errors import Rejected, Unsupported
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import requires
from trackbridge.testing.contracts.deployments_base import FAILED, READY, DeploymentTests

BAD_NAMES = {
    "empty": "",
    "blank": " ",
    "slash": "a/b",
    "climbs": "..",
    "dot": "a.b",
    "colon": "a:b",
    "space": "a b",
    "newline": "wine\n",
    "nul": "wine\0",
    "begins with a digit": "1wine",
    "begins with a dash": "-wine",
    "ends with a dash": "wine-",
    "two dashes": "wi--ne",
    "underscore": "wi_ne",
    "umlaut": "wüne",
    "other digits": "wine٣",
    "long": "w" * 33,
    "very long": "w" * 10_000,
}


def state_of(*specs: DeploymentSpec, status: EndpointStatus = READY) -> EndpointState:
    """Return an endpoint with these deployments, as ``observe`` would."""
    deployments = [
        DeploymentState(
            deployment=spec.deployment,
            model=spec.model,
            status=status,
            traffic_percent=spec.traffic_percent,
            mirror_percent=spec.mirror_percent,
            instance_count=spec.instance_count,
            reason="it broke" if status is FAILED else "",
            spec=spec,
        )
        for spec in specs
    ]
    return EndpointState(endpoint=specs[0].endpoint, status=READY, deployments=tuple(deployments))


def changed(spec: DeploymentSpec, **fields: object) -> DeploymentSpec:
    """Return another spec."""
    return msgspec.structs.replace(spec, **fields)


def steps(changes: tuple[Change, ...]) -> list[tuple[str, str]]:
    """Return action and subject of each change."""
    return [(change.action.value, change.subject) for change in changes]


class PlanTests(DeploymentTests):
    """Planning."""

    def test_a_new_endpoint_is_made_step_by_step(self) -> None:
        changes = self.target.plan(self.spec("one", endpoint="planned"), None)
        assert steps(changes) == [
            ("create", "endpoint planned"),
            ("create", "deployment planned/v1"),
            ("update", "traffic planned"),
        ]
        assert [change.before for change in changes[:2]] == [None, None]
        assert all(change.after and change.why for change in changes)

    def test_planning_changes_nothing_and_gives_the_same_again(self) -> None:
        spec = self.spec("one", endpoint="planned")
        assert self.target.plan(spec, None) == self.target.plan(spec, None)
        assert self.target.observe("planned") is None

    def test_changes_survive_being_saved(self) -> None:
        changes = self.target.plan(self.spec("one", variables={"A": "1"}), None)
        assert msgspec.json.decode(msgspec.json.encode(changes), type=tuple[Change, ...]) == changes

    def test_nothing_is_planned_for_what_holds(self) -> None:
        spec = self.spec("one")
        assert self.target.plan(spec, state_of(spec)) == ()

    @requires(Feature.DEPLOYMENTS_TRAFFIC)
    def test_another_share_changes_the_traffic_alone(self) -> None:
        one, two = self.spec("one"), self.spec("two", "v2", traffic_percent=0)
        changes = self.target.plan(changed(two, traffic_percent=10), state_of(one, two))
        assert steps(changes) == [("update", "traffic contract")]

    @requires(Feature.DEPLOYMENTS_TRAFFIC)
    def test_a_new_deployment_is_there_before_it_gets_traffic(self) -> None:
        changes = self.target.plan(self.spec("two", "v2", traffic_percent=10), state_of(self.spec("one")))
        assert steps(changes) == [("create", "deployment contract/v2"), ("update", "traffic contract")]

    def test_another_model_replaces(self) -> None:
        spec = self.spec("two")
        (change,) = self.target.plan(spec, state_of(self.spec("one")))
        assert (change.action, change.subject) == (Action.REPLACE, "deployment contract/v1")
        assert change.before is not None
        assert change.before != change.after

    def test_other_settings_are_a_change_of_the_deployment_alone(self) -> None:
        spec = self.spec("one")
        (change,) = self.target.plan(changed(spec, instance_count=2), state_of(spec))
        assert change.subject == "deployment contract/v1"
        assert change.action in (Action.UPDATE, Action.REPLACE)
        assert "instance_count" in change.why

    def test_the_same_content_from_elsewhere_is_the_same(self) -> None:
        spec = self.spec("one")
        assert self.target.plan(changed(spec, model_source="file:///elsewhere"), state_of(spec)) == ()

    def test_what_failed_is_made_again(self) -> None:
        spec = self.spec("one")
        (change,) = self.target.plan(spec, state_of(spec, status=FAILED))
        assert (change.action, change.subject) == (Action.REPLACE, "deployment contract/v1")
        assert "it broke" in change.why

    @pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
    @pytest.mark.parametrize("field", ["endpoint", "deployment"])
    def test_a_name_that_cannot_be_is_rejected(self, field: str, name: str) -> None:
        with pytest.raises(Rejected):
            self.target.plan(changed(self.spec("one"), **{field: name}), None)

    @pytest.mark.parametrize("name", ["wine", "Wine-2", "a1-b2-c3", "w" * 32])
    def test_a_name_that_can_be_is_planned(self, name: str) -> None:
        assert self.target.plan(self.spec("one", endpoint=name), None)

    @pytest.mark.parametrize("percent", [-1, 101])
    @pytest.mark.parametrize("field", ["traffic_percent", "mirror_percent", "capture_percent"])
    def test_a_share_that_cannot_be_is_rejected(self, field: str, percent: int) -> None:
        with pytest.raises((Rejected, Unsupported)):
            self.target.plan(changed(self.spec("one"), **{field: percent}), state_of(self.spec("two", "v2")))

    @pytest.mark.parametrize(
        "field", [{"instance_count": 0}, {"instance_count": -1}, {"request_timeout_s": 0.0}], ids=str
    )
    def test_a_number_that_cannot_be_is_rejected(self, field: dict[str, object]) -> None:
        with pytest.raises(Rejected):
            self.target.plan(changed(self.spec("one"), **field), None)

    def test_an_unknown_option_is_rejected(self) -> None:
        with pytest.raises(Rejected):
            self.target.plan(self.spec("one", options={"no-such-option": "1"}), None)

    @requires(Feature.DEPLOYMENTS_TRAFFIC)
    def test_the_only_deployment_cannot_share(self) -> None:
        with pytest.raises(Rejected):
            self.target.plan(self.spec("one", traffic_percent=40), None)

    @requires(Feature.DEPLOYMENTS_TRAFFIC, Feature.DEPLOYMENTS_MIRROR)
    def test_requests_and_copies_of_requests_are_not_for_one_deployment(self) -> None:
        spec = self.spec("two", "v2", traffic_percent=10, mirror_percent=10)
        with pytest.raises(Rejected):
            self.target.plan(spec, state_of(self.spec("one")))

    @requires(Feature.DEPLOYMENTS_AUTOSCALE)
    def test_autoscaling_is_planned(self) -> None:
        bounds = Autoscale(instances_min=1, instances_max=3, requests_per_instance_target=100.0)
        assert self.target.plan(self.spec("one", autoscale=bounds), None)

    @requires(Feature.DEPLOYMENTS_CAPTURE)
    def test_capture_is_planned(self) -> None:
        spec = self.spec("one", capture_percent=10)
        (change,) = self.target.plan(spec, state_of(changed(spec, capture_percent=0)))
        assert change.subject == "deployment contract/v1"

    @requires(Feature.DEPLOYMENTS_MIRROR, Feature.DEPLOYMENTS_TRAFFIC)
    def test_a_mirror_is_planned(self) -> None:
        spec = self.spec("two", "v2", traffic_percent=0, mirror_percent=50)
        state = state_of(self.spec("one"), changed(spec, mirror_percent=0))
        assert steps(self.target.plan(spec, state)) == [("update", "traffic contract")]

    # plan_traffic

    @requires(Feature.DEPLOYMENTS_TRAFFIC)
    def test_traffic_is_one_change(self) -> None:
        state = self._two()
        changes = self.target.plan_traffic("contract", state, percent_by_deployment={"v1": 70, "v2": 30})
        assert steps(changes) == [("update", "traffic contract")]

    @requires(Feature.DEPLOYMENTS_TRAFFIC)
    def test_who_is_not_named_gets_nothing(self) -> None:
        state = state_of(self.spec("one", traffic_percent=60), self.spec("two", "v2", traffic_percent=40))
        named = self.target.plan_traffic("contract", state, percent_by_deployment={"v1": 100, "v2": 0})
        assert self.target.plan_traffic("contract", state, percent_by_deployment={"v1": 100}) == named

    @requires(Feature.DEPLOYMENTS_TRAFFIC)
    def test_the_same_traffic_is_no_change(self) -> None:
        assert self.target.plan_traffic("contract", self._two(), percent_by_deployment={"v1": 100}) == ()

    @requires(Feature.DEPLOYMENTS_TRAFFIC)
    @pytest.mark.parametrize(
        "shares",
        [{}, {"v1": 99}, {"v1": 100, "v2": 1}, {"v1": 150, "v2": -50}, {"v1": 50, "v3": 50}],
        ids=str,
    )
    def test_traffic_that_cannot_be_is_rejected(self, shares: dict[str, int]) -> None:
        with pytest.raises(Rejected):
            self.target.plan_traffic("contract", self._two(), percent_by_deployment=shares)

    @requires(Feature.DEPLOYMENTS_TRAFFIC)
    def test_what_failed_gets_no_traffic(self) -> None:
        failed = state_of(self.spec("two", "v2", traffic_percent=0), status=FAILED).deployments
        state = state_of(self.spec("one"))
        state = msgspec.structs.replace(state, deployments=(*state.deployments, *failed))
        with pytest.raises(Rejected):
            self.target.plan_traffic("contract", state, percent_by_deployment={"v1": 50, "v2": 50})

    @requires(Feature.DEPLOYMENTS_TRAFFIC, Feature.DEPLOYMENTS_MIRROR)
    def test_mirrors_stay_unless_they_are_named(self) -> None:
        two = self.spec("two", "v2", traffic_percent=0, mirror_percent=20)
        state = state_of(self.spec("one"), two)
        shares = {"v1": 100}
        assert self.target.plan_traffic("contract", state, percent_by_deployment=shares) == ()
        for percent in (0, 30):
            changes = self.target.plan_traffic(
                "contract",
                state,
                percent_by_deployment=shares,
                mirror_percent_by_deployment={"v2": percent},
            )
            assert steps(changes) == [("update", "traffic contract")]

    # plan_removal

    def test_a_deployment_without_traffic_can_be_removed(self) -> None:
        (change,) = self.target.plan_removal("contract", "v2", self._two())
        assert (change.action, change.subject, change.after) == (
            Action.DELETE,
            "deployment contract/v2",
            None,
        )

    def test_what_is_not_there_need_not_be_removed(self) -> None:
        assert self.target.plan_removal("contract", "v9", state_of(self.spec("one"))) == ()

    def test_a_deployment_with_traffic_is_not_removed(self) -> None:
        with pytest.raises(Rejected):
            self.target.plan_removal("contract", "v1", state_of(self.spec("one")))

    def _two(self) -> EndpointState:
        return state_of(self.spec("one"), self.spec("two", "v2", traffic_percent=0))
