"""Which deployment answers a request, and which ones get a copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

BODY_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a deployment is served. ``has_failed``: nothing is to be expected there for now."""

    deployment: str
    socket: str
    timeout_s: float
    body_bytes_max: int
    has_failed: bool


class Routes:
    """The routes of an endpoint and the shares of the traffic: all that the router knows of it."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        *,
        traffic: Mapping[str, int],
        mirror: Mapping[str, int],
        generation: int = 0,
    ) -> None:
        self.generation = generation
        self.by_name = dict(routes)
        self.traffic = {name: percent for name, percent in traffic.items() if name in routes and percent}
        self.mirror = {name: percent for name, percent in mirror.items() if name in routes and percent}
        self.body_bytes_max = max((route.body_bytes_max for route in routes.values()), default=BODY_BYTES_MAX)
        self._credit = dict.fromkeys(self.traffic, 0)
        self._copies = dict.fromkeys(self.mirror, 0)

    def next(self) -> Route | None:
        """Return whose turn it is: smooth weighted round robin, exact over every 100 requests."""
        if not self.traffic:
            return None
        credit, total = self._credit, 0
        for name, percent in self.traffic.items():
            credit[name] += percent
            total += percent
        chosen = max(credit, key=credit.__getitem__)
        credit[chosen] -= total
        return self.by_name[chosen]

    def copies(self) -> Iterator[Route]:
        """Yield the deployments that get a copy of this request."""
        for name, percent in self.mirror.items():
            self._copies[name] += percent
            if self._copies[name] >= 100:
                self._copies[name] -= 100
                yield self.by_name[name]


NO_ROUTES = Routes({}, traffic={}, mirror={})
