"""What the gateway answers: every route of mlflow's REST API that it has, in one table."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trackbridge.gateway.gateway import Gateway
    from trackbridge.gateway.wire import Request

PREFIXES = ("/api/{version}/mlflow/", "/ajax-api/{version}/mlflow/")
"""Where a route is served: for clients, and for mlflow's own pages."""


class Scope(str, Enum):
    """What a caller must be allowed to do."""

    READ = "read"
    WRITE = "write"


def _never(gateway: Gateway, request: Any) -> bool:
    return False


@dataclass(frozen=True)
class Route:
    """One call of the API.

    Args:
        method: ``GET``, ``POST``, ``PATCH``, ``PUT`` or ``DELETE``.
        path: Below the prefix, for example ``runs/create``; parts in braces, as ``traces/{trace_id}``, are
            fields of the request.
        handler: Takes the gateway and the decoded request, and returns a Struct for ``wire.encode``, or the
            encoded bytes of the answer. It may raise any ``BridgeError``.
        request: What the request is decoded into (``wire.decode``).
        scope: What a caller must be allowed to do.
        is_quick: Asked for every request: True when the handler would wait for nothing but the journal, so
            that it may run on the event loop; else it runs on a thread.
        versions: The versions of the API under which it is served.
    """

    method: str
    path: str
    handler: Callable[[Gateway, Any], Any]
    request: type[Request]
    scope: Scope
    is_quick: Callable[[Gateway, Any], bool] = _never
    versions: tuple[str, ...] = ("2.0",)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every full path under which the route is served."""
        return tuple(
            prefix.format(version=version) + self.path for version in self.versions for prefix in PREFIXES
        )


@functools.cache
def all_routes() -> tuple[Route, ...]:
    """Return every route of the REST API; the modules of the handlers are imported by the first call."""
    from trackbridge.gateway import (
        artifacts,
        experiments,
        logged_models,
        metrics,
        registry,
        runs_api,
        searches,
        traces,
    )

    tracking = (experiments.ROUTES, runs_api.ROUTES, metrics.ROUTES, searches.ROUTES)
    tables = (*tracking, registry.ROUTES, logged_models.ROUTES, traces.ROUTES, artifacts.ROUTES)
    return tuple(route for table in tables for route in table)
