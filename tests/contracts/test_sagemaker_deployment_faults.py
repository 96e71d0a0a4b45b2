"""Deployments to SageMaker when something goes wrong: killed commands, throttling, others, bad models."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.sagemaker_endpoints import Deployer, endpoints_emulator, open_place
from trackbridge.domain.deployments import Autoscale, EndpointStatus, Serving
from trackbridge.domain.plans import Change
from trackbridge.errors import Locked, PlanStale, Rejected, Unavailable
from trackbridge.ports.adapter import AdapterContext
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge_adapters.sagemaker import open_adapter
from trackbridge_adapters.sagemaker.adapter import SageMakerAdapter
from trackbridge_adapters.sagemaker.deployments_lock import HELD_S, EndpointLock

NEW = ("CreateModel", "CreateEndpointConfig", "CreateEndpoint")
MORE = ("CreateModel", "UpdateEndpoint", "UpdateEndpointWeightsAndCapacities")


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture(scope="module")
def emulator() -> Iterator[SageMakerEmulator]:
    with endpoints_emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def deployer(emulator: SageMakerEmulator, tmp_path_factory: pytest.TempPathFactory) -> Deployer:
    return Deployer(emulator, tmp_path_factory.mktemp("home"))


@pytest.fixture
def victim(emulator: SageMakerEmulator, deployer: Deployer) -> SageMakerAdapter:
    """The adapter of a process that is going to be killed."""
    context = AdapterContext(home=deployer.folder, options={}, clock_ms=lambda: time.time_ns() // 1_000_000)
    adapter = open_adapter(emulator.uri, context=context)
    assert isinstance(adapter, SageMakerAdapter)
    return adapter


def kill_at(adapter: SageMakerAdapter, operation: str, *, is_after: bool, patch: pytest.MonkeyPatch) -> None:
    """Let the process end right before, or right after, a call."""
    clients = adapter.backend.clients
    call = clients.call

    def dying(service: str, name: str, /, **named: Any) -> dict[str, Any]:
        if name == operation and not is_after:
            raise Killed
        answer = call(service, name, **named)
        if name == operation:
            raise Killed
        return answer

    patch.setattr(clients, "call", dying)


def apply_all(adapter: SageMakerAdapter, changes: tuple[Change, ...], payload: Path) -> None:
    """Apply changes one after the other."""
    for change in changes:
        operation = adapter.deployments.apply(change, payload=payload)
        while not operation.done:
            time.sleep(0.02)
            operation = adapter.deployments.poll(operation)


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("operation", NEW)
def test_a_first_deployment_that_was_killed_is_applied_again(
    deployer: Deployer,
    victim: SageMakerAdapter,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    *,
    is_after: bool,
) -> None:
    name = f"k{NEW.index(operation)}-{int(is_after)}"
    spec = deployer.spec(name)
    changes = deployer.plan(spec)
    kill_at(victim, operation, is_after=is_after, patch=monkeypatch)
    with pytest.raises(Killed):
        apply_all(victim, changes, deployer.payload())
    for change in changes:
        assert deployer.finished(deployer.start(change, spec)).error is None
    assert deployer.ask(name) == 1.0
    assert deployer.plan(spec) == ()
    assert len(deployer.left_of(name)) == 3, "one endpoint, one config, one model"
    deployer.delete(name)
    assert deployer.left_of(name) == []


@pytest.mark.parametrize("operation", MORE)
def test_a_second_deployment_that_was_killed_is_applied_again(
    deployer: Deployer, victim: SageMakerAdapter, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    name = f"m{MORE.index(operation)}"
    deployer.deploy(name)
    spec = deployer.spec(name, "v2", model="two", traffic_percent=30)
    changes = deployer.plan(spec)
    kill_at(victim, operation, is_after=True, patch=monkeypatch)
    with pytest.raises(Killed):
        apply_all(victim, changes, deployer.payload("two"))
    for change in changes:
        assert deployer.finished(deployer.start(change, spec)).error is None
    state = deployer.target.observe(name)
    assert state is not None
    assert state.traffic == {"v1": 70, "v2": 30}
    assert len(deployer.left_of(name)) == 4, "one endpoint, one config, two models"
    deployer.delete(name)


def test_a_first_deployment_that_fails_leaves_nothing_that_is_billed(deployer: Deployer) -> None:
    spec = deployer.spec("unborn", model="broken")
    *before, traffic = deployer.plan(spec)
    (error,) = [
        ended.error for change in before if (ended := deployer.finished(deployer.start(change, spec))).error
    ]
    assert error is not None
    assert "health check" in error
    assert "cannot be loaded" in error, "the last words of its log"
    deployer_state = deployer.target.observe("unborn")
    assert deployer_state is not None
    assert deployer_state.status is EndpointStatus.FAILED
    until_gone(deployer, "unborn")
    with pytest.raises(Rejected, match="does not serve"):
        deployer.start(msgspec.structs.replace(traffic, before={"traffic": {}, "mirror": {}}))
    deployer.deploy("unborn", "v2", model="two")
    assert deployer.ask("unborn") == 2.0
    deployer.delete("unborn")
    assert deployer.target.observe("unborn") is None


def until_gone(deployer: Deployer, name: str) -> None:
    """Wait until SageMaker has nothing of an endpoint."""
    deadline = time.monotonic() + 60
    while deployer.left_of(name):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_throttling_is_waited_for(deployer: Deployer) -> None:
    for operation in ("CreateEndpointConfig", "CreateEndpoint", "DescribeEndpoint"):
        deployer.emulator.throttle(operation, times=1)
    deployer.deploy("throttled")
    assert deployer.ask("throttled") == 1.0
    deployer.delete("throttled")


@pytest.mark.parametrize(("target", "warned"), [(5.0, ["autoscale"]), (0.5, [])])
def test_a_queue_that_wakes_nobody_is_told(deployer: Deployer, target: float, warned: list[str]) -> None:
    scaling = Autoscale(instances_min=0, instances_max=2, requests_per_instance_target=target)
    spec = deployer.spec("sleeping", serving=Serving.ASYNCHRONOUS, autoscale=scaling)
    assert [finding.subject for finding in deployer.target.check(spec, None)] == warned


def test_an_answer_that_got_lost_is_no_second_endpoint(deployer: Deployer) -> None:
    deployer.emulator.faults.fail("CreateEndpoint", after=True)
    deployer.deploy("answered")
    assert len(deployer.left_of("answered")) == 3
    deployer.delete("answered")


def test_traffic_that_somebody_changed_meanwhile_stays(deployer: Deployer) -> None:
    deployer.deploy("shared")
    deployer.deploy("shared", "v2", model="two", traffic_percent=0)
    state = deployer.target.observe("shared")
    assert state is not None
    (change,) = deployer.target.plan_traffic("shared", state, percent_by_deployment={"v1": 50, "v2": 50})
    shift(deployer, v1=3.0, v2=1.0)
    with pytest.raises(PlanStale, match="75"):
        deployer.start(change)
    assert weights(deployer) == {"v1": 3.0, "v2": 1.0}
    spec = deployer.spec("shared", "v3", traffic_percent=0)
    (new,) = deployer.plan(spec)
    shift(deployer, v1=1.0, v2=1.0)
    assert deployer.finished(deployer.start(new, spec)).error is None
    assert weights(deployer) == {"v1": 1.0, "v2": 1.0, "v3": 0.0}, "a new deployment wipes nobody's shares"
    deployer.delete("shared")


def shift(deployer: Deployer, **shares: float) -> None:
    """Shift the traffic as somebody else would."""
    wanted = [{"VariantName": name, "DesiredWeight": weight} for name, weight in shares.items()]
    deployer.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="shared", DesiredWeightsAndCapacities=wanted
    )
    deadline = time.monotonic() + 60
    while deployer.native("shared")["EndpointStatus"] != "InService":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def weights(deployer: Deployer) -> dict[str, float]:
    """Return the weights that SageMaker has."""
    variants = deployer.native("shared")["ProductionVariants"]
    return {variant["VariantName"]: variant["CurrentWeight"] for variant in variants}


def test_an_endpoint_that_is_being_changed_is_left_alone(
    deployer: Deployer, victim: SageMakerAdapter
) -> None:
    deployer.deploy("busy")
    spec = deployer.spec("busy", "v2", model="two", traffic_percent=0)
    (change,) = deployer.plan(spec)
    operation = deployer.start(change, spec)
    other = deployer.spec("busy", "v3", traffic_percent=0)
    (late,) = deployer.plan(other)
    with pytest.raises(Unavailable, match="being changed"):
        victim.deployments.apply(late, payload=deployer.payload())
    assert deployer.finished(operation).error is None
    deployer.delete("busy")


def test_an_endpoint_that_somebody_deleted_is_made_anew(deployer: Deployer) -> None:
    deployer.deploy("taken")
    deployer.sagemaker.delete_endpoint(EndpointName="taken")
    deadline = time.monotonic() + 60
    while "taken" in deployer.left_of("taken"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert deployer.target.observe("taken") is None
    deployer.deploy("taken", "v2", model="two")
    assert deployer.ask("taken") == 2.0
    assert len(deployer.left_of("taken")) == 3, "what was left of the first is gone"
    deployer.delete("taken")


def test_an_endpoint_is_locked_across_machines(deployer: Deployer, victim: SageMakerAdapter) -> None:
    other = open_place(deployer.emulator.uri, deployer.folder).deployments
    assert other is not None
    with deployer.target.lock("guarded"), pytest.raises(Locked, match="since"):
        other.lock("guarded")
    now_ms = time.time_ns() // 1_000_000
    bucket = victim.backend.bucket
    EndpointLock(bucket, "guarded", lambda: now_ms)._ended.set()  # as a killed process: renewed no more
    with pytest.raises(Locked):
        EndpointLock(bucket, "guarded", lambda: now_ms + 1000)
    late = EndpointLock(bucket, "guarded", lambda: now_ms + round(HELD_S * 1000) + 1)
    with late:
        late.check()


def test_who_lost_the_lock_changes_nothing(
    deployer: Deployer, victim: SageMakerAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackbridge_adapters.sagemaker.deployments_lock.RENEWED_S", 0.01)
    (change, *_) = deployer.plan(deployer.spec("lost"))
    lock = victim.deployments.lock("lost")
    victim.backend.bucket.put("endpoints/lost/lock.json", b'{"token":"x","who":"x","since":0,"until":0}')
    assert isinstance(lock, EndpointLock)
    lock._thread.join(60)
    with pytest.raises(Locked, match="somebody else"):
        victim.deployments.apply(change)
    with lock:
        assert deployer.target.observe("lost") is None
