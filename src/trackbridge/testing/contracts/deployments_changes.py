"""What changes of a deployment target do."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from trackbridge.domain.deployments import Operation
from trackbridge.domain.plans import Change
from trackbridge.errors import InvalidInput, NotFound, PlanStale, Rejected
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import requires
from trackbridge.testing.contracts.deployments_base import ENDPOINT, FAILED, READY, DeploymentTests
from trackbridge.testing.contracts.tracking_base import GARBAGE_TOKENS, all_pages


class ChangeTests(DeploymentTests):
    """Applying."""

    def test_what_was_planned_stands(self) -> None:
        self.deploy("one")
        spec = self.spec("one")
        state = self.observed()
        found = self.deployment("v1")
        assert (state.endpoint, state.status) == (ENDPOINT, READY)
        assert (found.model, found.status, found.instance_count) == (spec.model, READY, 1)
        assert found.spec is not None
        assert (found.spec.model_digest, found.spec.endpoint) == (spec.model_digest, ENDPOINT)
        assert sum(state.traffic.values()) == 100
        again = msgspec.structs.replace(spec, traffic_percent=found.traffic_percent)
        assert self.plan(again) == ()

    def test_each_change_may_be_repeated(self) -> None:
        endpoint, spec = "repeated", self.spec("one", endpoint="repeated")
        for change in self.plan(spec):
            payload = self.payload_of(change, spec)
            for _ in range(2):
                assert self.wait(self.target.apply(change, payload=payload)).error is None
            before = self.target.observe(endpoint)
            assert self.target.apply(change, payload=payload).done, "it holds already"
            assert self.target.observe(endpoint) == before
        self.delete(endpoint)

    def test_a_change_is_applied_by_another_process(self) -> None:
        endpoint, spec = "handed-over", self.spec("one", endpoint="handed-over")
        other = self.open_again()
        target = self.target_of(other)
        saved = msgspec.json.encode(self.plan(spec))
        for change in msgspec.json.decode(saved, type=tuple[Change, ...]):
            started = self.target.apply(change, payload=self.payload_of(change, spec))
            assert self.wait(started, target).error is None, "any process may ask how it stands"
            assert target.apply(change, payload=self.payload_of(change, spec)).done
        assert target.observe(endpoint) == self.target.observe(endpoint)
        assert self.serves(endpoint) <= {1.0}
        other.close()
        self.delete(endpoint)

    @requires(Feature.DEPLOYMENTS_TRAFFIC)
    def test_a_plan_is_stale_once_the_traffic_changed(self) -> None:
        self.pair(v1=100)
        stale = self.target.plan_traffic(
            ENDPOINT, self.observed(), percent_by_deployment={"v1": 50, "v2": 50}
        )
        self.share(v1=80, v2=20)
        with pytest.raises(PlanStale):
            self.target.apply(stale[0])
        assert self.deployment("v1").traffic_percent == 80

    @requires(Feature.DEPLOYMENTS_TRAFFIC)
    def test_a_plan_is_stale_once_the_deployment_is_another(self) -> None:
        self.pair()
        spec = self.spec("three", "v2", traffic_percent=0)
        (change,) = self.plan(spec)
        self.deploy("one", "v2", traffic_percent=0)
        with pytest.raises(PlanStale):
            self.target.apply(change, payload=self.payload_of(change, spec))
        found = self.deployment("v2").spec
        assert found is not None
        assert found.model_digest == self.spec("one").model_digest

    @requires(Feature.DEPLOYMENTS_TRAFFIC)
    def test_a_plan_is_stale_once_the_endpoint_is_gone(self) -> None:
        self.deploy("one", endpoint="short-lived")
        spec = self.spec("two", "v2", endpoint="short-lived", traffic_percent=0)
        (change,) = self.plan(spec)
        self.delete("short-lived")
        with pytest.raises(PlanStale):
            self.target.apply(change, payload=self.payload_of(change, spec))
        assert self.target.observe("short-lived") is None

    @requires(Feature.DEPLOYMENTS_TRAFFIC)
    def test_a_deployment_with_traffic_is_not_removed_by_a_stale_plan(self) -> None:
        self.pair()
        changes = self.target.plan_removal(ENDPOINT, "v2", self.observed())
        self.share(v1=50, v2=50)
        with pytest.raises((PlanStale, Rejected)):
            self.apply(changes)
        assert self.deployment("v2").traffic_percent == 50

    @requires(Feature.DEPLOYMENTS_TRAFFIC)
    def test_what_is_not_there_gets_no_traffic(self) -> None:
        self.pair()
        self.deploy("three", "v3", traffic_percent=0)
        shares = {"v1": 50, "v3": 50}
        (change,) = self.target.plan_traffic(ENDPOINT, self.observed(), percent_by_deployment=shares)
        self.remove("v3")
        with pytest.raises((PlanStale, Rejected)):
            self.target.apply(change)
        assert self.deployment("v1").traffic_percent == 100

    @requires(Feature.DEPLOYMENTS_TRAFFIC, Feature.DEPLOYMENTS_INVOKE)
    def test_it_serves_between_any_two_changes(self) -> None:
        self.pair()
        for model, deployment, percent in (("three", "v2", 100), ("two", "v2", 30), ("one", "v2", 0)):
            spec = self.spec(model, deployment, traffic_percent=percent)
            for change in self.plan(spec):
                assert self.ask() in (1.0, 2.0, 3.0)
                self.apply([change], spec)
                assert self.ask() in (1.0, 2.0, 3.0)
        assert self.ask() == 1.0

    @requires(Feature.DEPLOYMENTS_TRAFFIC)
    def test_a_replaced_deployment_keeps_its_traffic(self) -> None:
        self.pair(v1=60, v2=40)
        self.deploy("three", "v2", traffic_percent=40)
        assert (self.deployment("v1").traffic_percent, self.deployment("v2").traffic_percent) == (60, 40)
        assert self.serves(deployment="v2") <= {3.0}

    def test_a_model_that_cannot_be_loaded_fails(self) -> None:
        spec = self.spec("broken", endpoint="unlucky")
        *before, traffic = self.plan(spec)
        (error,) = self.apply(before, spec)
        found = self.deployment("v1", "unlucky")
        assert error
        assert (found.status, found.traffic_percent) == (FAILED, 0)
        assert found.reason
        state = self.target.observe("unlucky")
        assert state is not None
        assert state.status is FAILED, "an endpoint that nobody can ask is not ready"
        with pytest.raises((PlanStale, Rejected)):
            self.target.apply(traffic)
        assert self.plan(spec), "a failure is not what is wanted"
        self.deploy("one", endpoint="unlucky")
        assert self.serves("unlucky") <= {1.0}
        self.delete("unlucky")

    @requires(Feature.DEPLOYMENTS_TRAFFIC)
    def test_the_others_serve_on_when_one_fails(self) -> None:
        self.pair()
        spec = self.spec("broken", "v3", traffic_percent=0)
        assert self.apply(self.plan(spec), spec)
        assert self.deployment("v3").status is FAILED
        assert self.deployment("v1").traffic_percent == 100
        assert self.serves() <= {1.0}
        self.remove("v3")
        assert self.observed().find("v3") is None

    @requires(Feature.DEPLOYMENTS_TRAFFIC)
    def test_what_served_serves_on_when_its_replacement_fails(self) -> None:
        self.pair()
        self.deploy("one", "v2", traffic_percent=0)
        spec = self.spec("broken", "v2", traffic_percent=0)
        assert self.apply(self.plan(spec), spec)
        assert self.deployment("v2").reason
        assert self.plan(spec), "a failure is not what is wanted"
        assert self.serves(deployment="v2") <= {1.0}
        self.deploy("two", "v2", traffic_percent=0)
        assert self.serves(deployment="v2") <= {2.0}

    def test_a_change_that_brings_a_model_needs_its_payload(self) -> None:
        spec = self.spec("three", endpoint="no-payload", variables={"UNIQUE": "1"})
        if self.target.can_read(spec.model_source):
            return
        unknown = msgspec.structs.replace(spec, model_digest="sha256:" + "0" * 64)
        first, second, *_ = self.plan(unknown)
        self.apply([first])
        with pytest.raises(Rejected):
            self.target.apply(second)
        self.delete("no-payload")

    def test_the_payload_is_left_alone_and_may_go(self, tmp_path: Path) -> None:
        spec = self.spec("three", endpoint="own-copy")
        payload = tmp_path / "payload"
        shutil.copytree(self.payload("three"), payload)
        files = {path: path.read_bytes() for path in payload.rglob("*") if path.is_file()}
        for change in self.plan(spec):
            assert self.wait(self.target.apply(change, payload=payload)).error is None
        assert {path: path.read_bytes() for path in payload.rglob("*") if path.is_file()} == files
        shutil.rmtree(payload)
        assert self.serves("own-copy") <= {3.0}
        self.delete("own-copy")

    def test_an_unknown_operation_is_not_found(self) -> None:
        with pytest.raises(NotFound):
            self.target.poll(Operation(operation_id="no-such-operation", done=False))

    # Removing, deleting, listing.

    @requires(Feature.DEPLOYMENTS_TRAFFIC)
    def test_a_removed_deployment_is_gone(self) -> None:
        self.pair()
        changes = self.target.plan_removal(ENDPOINT, "v2", self.observed())
        assert self.apply(changes) == []
        assert self.observed().find("v2") is None
        assert self.apply(changes) == [], "it is gone already"
        assert self.target.plan_removal(ENDPOINT, "v2", self.observed()) == ()
        assert self.serves() <= {1.0}

    def test_a_deleted_endpoint_is_gone(self) -> None:
        self.deploy("one", endpoint="doomed")
        self.delete("doomed")
        assert self.target.observe("doomed") is None
        assert "doomed" not in [state.endpoint for state in self.target.list_endpoints()]
        self.delete("doomed")
        self.deploy("two", endpoint="doomed")
        assert self.serves("doomed") <= {2.0}
        self.delete("doomed")

    def test_deleting_what_never_was_succeeds(self) -> None:
        self.delete("never-was")

    def test_an_absent_endpoint_is_none(self) -> None:
        assert self.target.observe("never-was") is None

    def test_endpoints_are_listed_in_order_of_name(self) -> None:
        names = ["list-a", "list-b", "list-c"]
        for name in reversed(names):
            self.apply(self.plan(self.spec("one", endpoint=name))[:1])
        for size in (1, 2, 1000):
            pages = all_pages(
                lambda token, size=size: self.target.list_endpoints(max_results=size, token=token),  # type: ignore[misc]
                size=size,
            )
            listed = [state.endpoint for state in pages]
            assert listed == sorted(listed)
            assert [name for name in listed if name in names] == names
        for name in names:
            self.delete(name)

    @pytest.mark.parametrize("token", GARBAGE_TOKENS)
    def test_a_token_of_another_listing_is_refused(self, token: str) -> None:
        with pytest.raises(InvalidInput):
            self.target.list_endpoints(token=token)

    @pytest.mark.parametrize("size", [0, -1])
    def test_a_page_has_at_least_one_item(self, size: int) -> None:
        with pytest.raises(InvalidInput):
            self.target.list_endpoints(max_results=size)
