"""Endpoints of the account, and what goes on with each."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from trackbridge.testing.emulators.balance import Balance
from trackbridge.testing.emulators.pauses import Pauses
from trackbridge.testing.emulators.sagemaker.core import Cloud, Refused
from trackbridge.testing.emulators.sagemaker.endpoint_fleets import Fleet

CLOSE_S = 20.0


@dataclass(slots=True, eq=False)
class Endpoint:
    """An endpoint. What changes is changed while the cloud's lock is held."""

    name: str
    arn: str
    fleet: Fleet
    pauses: Pauses
    created_s: float
    modified_s: float
    status: str = "Creating"
    failure_reason: str | None = None
    pending: Fleet | None = None
    share: float = 0.0
    """How much of the traffic the pending fleet gets."""
    shares: Balance = field(default_factory=Balance)
    deployment: dict[str, Any] | None = None
    """The deployment configuration that is in force."""
    last_deployment: dict[str, Any] | None = None
    capture: dict[str, Any] | None = None
    """``DataCaptureConfig``."""
    thread: threading.Thread | None = None

    def choose(self) -> Fleet:
        """Return the fleet that takes the next request."""
        if self.pending is None or self.share <= 0:
            return self.fleet
        chosen = self.shares.pick({"live": 1 - self.share, "pending": self.share})
        return self.pending if chosen == "pending" else self.fleet


class Endpoints:
    """All endpoints, and how long what is done with them takes."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.start_s = 0.2
        """How long instances take to come."""
        self.step_s = 0.05
        """How long other changes take."""
        self.health_s = 60.0
        """How long a container may take to answer a ping, when its variant does not allow less."""
        self.invocation_s = 60.0
        """How long a model may take to answer."""
        self.held: dict[str, Endpoint] = {}

    def get(self, name: str) -> Endpoint:
        """Return an endpoint.

        Raises:
            Refused: There is none.
        """
        if name not in self.held:
            arn = self.cloud.arn("endpoint", name)
            raise Refused("ValidationException", f'Could not find endpoint "{arn}".')
        return self.held[name]

    def close(self) -> None:
        """End what goes on; the containers end with ``Containers``."""
        held = list(self.held.values())
        for endpoint in held:
            endpoint.pauses.end()
        for endpoint in held:
            if endpoint.thread is not None and endpoint.thread is not threading.current_thread():
                endpoint.thread.join(CLOSE_S)
            endpoint.fleet.stop()
            if endpoint.pending is not None:
                endpoint.pending.stop()


def set_status(cloud: Cloud, endpoint: Endpoint, status: str, reason: str | None = None) -> None:
    """Move an endpoint on."""
    with cloud.lock:
        endpoint.status, endpoint.failure_reason = status, reason
        endpoint.modified_s = cloud.now_s()
