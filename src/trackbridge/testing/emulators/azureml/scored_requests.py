"""What happened at online endpoints: requests, lines of logs, events. Azure Monitor tells it."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from trackbridge.testing.emulators.azureml.core import Cloud

Kind = TypeVar("Kind", bound="Entry")
KEPT_MAX = 100_000
"""Of each kind; the oldest go first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something that happened, by the id of its deployment in lower case (``""`` before one was chosen)."""

    time_s: float
    endpoint_id: str
    deployment: str = ""
    instance: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored(Entry):
    """A request that was answered. Times in milliseconds, sizes in bytes; 0 of a model that was not asked."""

    method: str = "POST"
    path: str = "/score"
    protocol: str = "HTTP/1.1"
    status: int = 200
    reason: str = ""
    model_status: int = 0
    model_reason: str = ""
    request_size: int = 0
    response_size: int = 0
    total_ms: float = 0.0
    model_ms: float = 0.0
    auth: str = ""
    identity: str = ""
    request_id: str = ""
    client_request_id: str = ""
    user_agent: str = ""
    is_mirrored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Line(Entry):
    """A line that a container wrote; ``container`` is ``inference-server`` or ``storage-initializer``."""

    container: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Entry):
    """Something in the life of a deployment, such as ``ContainerReady``."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage(Entry):
    """What an instance used at a time: CPU and memory in percent of this machine's."""

    cpu: float
    memory: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected(Entry):
    """A payload that was collected, or could not be."""

    collection: str
    is_kept: bool


class Happenings:
    """All of a cloud; ``cloud.part(Happenings)``. Any thread may use it."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._lock = threading.Lock()
        self._kept: dict[type[Entry], deque[Entry]] = {}
        self._in_flight: dict[str, int] = {}
        self._greatest: dict[str, deque[tuple[float, int]]] = {}

    def add(self, entry: Entry) -> None:
        """Remember something."""
        with self._lock:
            self._kept.setdefault(type(entry), deque(maxlen=KEPT_MAX)).append(entry)

    def of(self, kind: type[Kind], endpoint_id: str) -> list[Kind]:
        """Return what of a kind happened at an endpoint, in its order."""
        wanted = endpoint_id.lower()
        with self._lock:
            held = self._kept.get(kind, ())
            return [entry for entry in held if isinstance(entry, kind) and entry.endpoint_id == wanted]

    def last_lines(self, endpoint_id: str, deployment: str, container: str, count: int) -> list[str]:
        """Return the last lines that a deployment's containers wrote."""
        wanted = endpoint_id.lower(), deployment.lower(), container
        with self._lock:
            found = (
                entry.text
                for entry in reversed(self._kept.get(Line, ()))
                if isinstance(entry, Line)
                and (entry.endpoint_id, entry.deployment, entry.container) == wanted
            )
            return list(islice(found, count))[::-1]

    def enter(self, endpoint_id: str) -> None:
        """Say that a request has come."""
        with self._lock:
            now = self._in_flight.get(endpoint_id.lower(), 0) + 1
            self._in_flight[endpoint_id.lower()] = now
            seen = self._greatest.setdefault(endpoint_id.lower(), deque(maxlen=KEPT_MAX))
            seen.append((self._cloud.now_s(), now))

    def leave(self, endpoint_id: str) -> None:
        """Say that it was answered."""
        with self._lock:
            self._in_flight[endpoint_id.lower()] -= 1

    def connections(self, endpoint_id: str) -> list[tuple[float, int]]:
        """Return when requests came, and how many were there then."""
        with self._lock:
            return list(self._greatest.get(endpoint_id.lower(), ()))
