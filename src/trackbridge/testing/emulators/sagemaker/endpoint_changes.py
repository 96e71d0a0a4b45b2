"""What is done with an endpoint in a thread of its own: made, updated blue/green, taken back, deleted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Cloud
from trackbridge.testing.emulators.sagemaker.endpoint_alarms import names_in, ringing
from trackbridge.testing.emulators.sagemaker.endpoint_fleets import Fleet
from trackbridge.testing.emulators.sagemaker.endpoint_records import Endpoint, Endpoints, set_status
from trackbridge.testing.emulators.sagemaker.model_servers import NotServing

POLL_S = 0.02
"""How often alarms are looked at."""


class Closing(Exception):
    """The emulator is closing."""


class RolledBack(Exception):
    """A deployment is taken back."""


def begin(cloud: Cloud, endpoint: Endpoint, work: Callable[[], None]) -> None:
    """Do some work in the endpoint's thread."""

    def run() -> None:
        try:
            work()
        except Closing:
            return
        except Exception as error:  # a fault of the emulator, kept for whoever tests
            cloud.clock.errors.append(error)
            set_status(cloud, endpoint, "Failed", f"{type(error).__name__}: {error}")

    endpoint.thread = threading.Thread(target=run, name=endpoint.name, daemon=True)
    endpoint.thread.start()


def create(cloud: Cloud, endpoint: Endpoint) -> None:
    """Start the first fleet."""
    settings = cloud.part(Endpoints)
    _pause(endpoint, settings.start_s)
    try:
        endpoint.fleet.start(settings.health_s, lambda: not endpoint.pauses.is_ended)
    except NotServing as failure:
        _check_open(endpoint)
        endpoint.fleet.stop()
        set_status(cloud, endpoint, "Failed", str(failure)[:1024])
        return
    endpoint.fleet.set_status(None)
    set_status(cloud, endpoint, "InService")


def update(cloud: Cloud, endpoint: Endpoint, fleet: Fleet) -> None:
    """Bring a new fleet up beside the old one, move the traffic, end the old one; or take it back."""
    settings = cloud.part(Endpoints)
    began_s = cloud.now_s()
    try:
        _pause(endpoint, settings.start_s)
        fleet.start(settings.health_s, lambda: not endpoint.pauses.is_ended)
        _move_traffic(cloud, endpoint, fleet, began_s)
    except (NotServing, RolledBack):
        _check_open(endpoint)
        _take_back(cloud, endpoint, fleet)
        return
    with cloud.lock:
        old, endpoint.fleet = endpoint.fleet, fleet
        endpoint.pending, endpoint.share = None, 0.0
        if not fleet.retains_capture:
            endpoint.capture = fleet.config.asked.get("DataCaptureConfig")
        fleet.set_status(None)
        set_status(cloud, endpoint, "InService")
    old.drain(settings.invocation_s)


def _move_traffic(cloud: Cloud, endpoint: Endpoint, fleet: Fleet, began_s: float) -> None:
    """Move the traffic in the steps of the deployment configuration.

    Raises:
        RolledBack: An alarm rings.
    """
    policy, names = endpoint.deployment or {}, names_in(endpoint.deployment)
    shares, wait_s = steps(policy, sum(variant.count for variant in fleet.variants) or 1)
    for share in shares:
        fleet.set_status("ActivatingTraffic")
        with cloud.lock:
            endpoint.share = share
        fleet.set_status("Baking")
        _bake(cloud, endpoint, wait_s, names, began_s)
    last_s = policy.get("BlueGreenUpdatePolicy", {}).get("TerminationWaitInSeconds", 0)
    _bake(cloud, endpoint, last_s, names, began_s)


def steps(policy: Mapping[str, Any], instances: int) -> tuple[list[float], float]:
    """Return the shares of the traffic that a new fleet gets one after the other, and the wait after each."""
    rolling = policy.get("RollingUpdatePolicy")
    if rolling is not None:
        return _even(_fraction(rolling["MaximumBatchSize"], instances)), rolling["WaitIntervalInSeconds"]
    routing = policy.get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration", {})
    kind, wait_s = routing.get("Type", "ALL_AT_ONCE"), routing.get("WaitIntervalInSeconds", 0)
    if kind == "CANARY":
        return [_fraction(routing["CanarySize"], instances), 1.0], wait_s
    if kind == "LINEAR":
        return _even(_fraction(routing["LinearStepSize"], instances)), wait_s
    return [1.0], wait_s


def _fraction(size: Mapping[str, Any], instances: int) -> float:
    part = size["Value"] / (100 if size["Type"] == "CAPACITY_PERCENT" else instances)
    return float(min(1.0, part))


def _even(step: float) -> list[float]:
    shares, share = [], step
    while share < 1.0 - 1e-9:
        shares.append(share)
        share += step
    return [*shares, 1.0]


def _bake(cloud: Cloud, endpoint: Endpoint, seconds: float, names: list[str], since_s: float) -> None:
    due = threading.Event()
    if seconds:
        cloud.later(seconds, due.set)
    else:
        due.set()
    while True:
        is_due = due.wait(POLL_S)
        _check_open(endpoint)
        if ringing(cloud, names, since_s):
            raise RolledBack
        if is_due:
            return


def _take_back(cloud: Cloud, endpoint: Endpoint, fleet: Fleet) -> None:
    with cloud.lock:
        endpoint.share = 0.0
        set_status(cloud, endpoint, "RollingBack")
    _pause(endpoint, cloud.part(Endpoints).step_s)
    with cloud.lock:
        endpoint.pending = None
        set_status(cloud, endpoint, "InService")
    fleet.drain(cloud.part(Endpoints).invocation_s)


def settle_weights(cloud: Cloud, endpoint: Endpoint) -> None:
    """Let desired weights and counts become the current ones."""
    _pause(endpoint, cloud.part(Endpoints).step_s)
    with cloud.lock:
        for variant in endpoint.fleet.all:
            variant.weight, variant.count = variant.desired_weight, variant.desired_count
        endpoint.fleet.set_status(None)
        set_status(cloud, endpoint, "InService")


def delete(cloud: Cloud, endpoint: Endpoint) -> None:
    """End everything, and forget the endpoint."""
    _pause(endpoint, cloud.part(Endpoints).step_s)
    endpoint.fleet.drain(cloud.part(Endpoints).invocation_s)
    with cloud.lock:
        cloud.part(Endpoints).held.pop(endpoint.name, None)
        cloud.tags.end(endpoint.arn)


def _pause(endpoint: Endpoint, seconds: float) -> None:
    endpoint.pauses.wait(seconds)
    _check_open(endpoint)


def _check_open(endpoint: Endpoint) -> None:
    if endpoint.pauses.is_ended:
        raise Closing
