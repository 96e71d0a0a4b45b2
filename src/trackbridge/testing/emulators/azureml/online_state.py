"""What lives of online endpoints beside their resources: keys, turns, and what serves."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from trackbridge.testing.emulators.azureml.core import Cloud
from trackbridge.testing.emulators.azureml.deployment_fleets import Fleet
from trackbridge.testing.emulators.balance import Balance

KIND = "onlineEndpoints"
JOIN_S, SETTLE_S = 10.0, 300.0


class LiveEndpoint:
    """An endpoint: its keys, whose turn it is, and the fleets of its deployments by lower-case names."""

    def __init__(self, keys: Mapping[str, Any] | None) -> None:
        given = keys or {}
        self.keys = {
            "primaryKey": given.get("primaryKey") or new_key(),
            "secondaryKey": given.get("secondaryKey") or new_key(),
        }
        self.turns = Balance()
        self.mirror_turns = Balance()
        self.fleets: dict[str, Fleet] = {}
        self.arrivals_s: deque[float] = deque()
        """When requests came in the last second."""


class OnlineEndpoints:
    """All of a cloud; ``cloud.part(OnlineEndpoints)``. The numbers may be changed by a test.

    Quotas are those of how-to-manage-quotas.md: for a region and a subscription.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._live: dict[str, LiveEndpoint] = {}
        self._threads: list[threading.Thread] = []
        self.is_closed = False
        self.endpoints_max = 100
        self.deployments_max = 20
        self.deployments_in_all_max = 500
        self.instances_max = 50
        self.timeout_max_s = 180.0
        self.requests_per_second_max = 500
        self.start_s = 180.0
        """How long a container may take to be ready."""

    def live(self, endpoint_id: str) -> LiveEndpoint:
        """Return what lives of an endpoint that is there."""
        return self._live[endpoint_id.lower()]

    def find(self, endpoint_id: str) -> LiveEndpoint | None:
        """Return what lives of an endpoint, None when it is not there."""
        return self._live.get(endpoint_id.lower())

    def ensure(self, endpoint_id: str, keys: Mapping[str, Any] | None) -> LiveEndpoint:
        """Return what lives of an endpoint, made when it is new."""
        return self._live.setdefault(endpoint_id.lower(), LiveEndpoint(keys))

    def forget(self, endpoint_id: str) -> list[Fleet]:
        """Forget an endpoint; returns the fleets that are to be stopped, without the lock."""
        live = self._live.pop(endpoint_id.lower(), None)
        return list(live.fleets.values()) if live else []

    def work(self, thread: threading.Thread) -> None:
        """Start a thread that ends before the cloud does."""
        with self._cloud.lock:
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
            thread.start()

    def going_on(self) -> list[threading.Thread]:
        """Return what goes on beside requests."""
        with self._cloud.lock:
            return [each for each in self._threads if each.is_alive()]

    def settle(self, timeout_s: float = SETTLE_S) -> None:
        """Wait for what goes on beside requests: mirrored ones, changes of deployments."""
        for thread in self.going_on():
            thread.join(timeout_s)

    def close(self) -> None:
        """Stop everything."""
        self.is_closed = True
        with self._cloud.lock:
            fleets = [fleet for live in self._live.values() for fleet in live.fleets.values()]
            self._live.clear()
        for fleet in fleets:
            fleet.stop()
        self.settle(JOIN_S)


def new_key() -> str:
    """Return a key as Azure makes them."""
    return secrets.token_urlsafe(24)
