"""A tracking store on a scripted server, and what MLflow's servers answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.scripted_servers import Answer, Request, ScriptedServer
from trackbridge.ports.adapter import AdapterContext
from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
from trackbridge_adapters.mlflow import open_adapter

OURS, NATIVE = "0" * 31 + "a", "f" * 32
PREFIX = "/api/2.0/mlflow/"


def opened(
    server: ScriptedServer, home: Path, *, options: Mapping[str, str] | None = None, skew_ms: int = 0
) -> RestAdapter:
    """Open the adapter of the server, with a clock that is wrong by ``skew_ms``."""
    context = AdapterContext(
        home=home, options=dict(options or {}), clock_ms=lambda: time.time_ns() // 1_000_000 + skew_ms
    )
    adapter = open_adapter(server.url, context=context)
    assert isinstance(adapter, RestAdapter)
    return adapter


def route_of(request: Request) -> str:
    """Return the route of a request, for example ``runs/get``."""
    return request.path.split("?")[0].removeprefix(PREFIX)


def by_route(**routes: Answer) -> Any:
    """Answer by route (``runs_get`` for ``runs/get``), and with ``{}`` elsewhere."""
    return lambda request: routes.get(route_of(request).replace("/", "_").replace("-", "_"), Answer())


def refusal(status: int, code: str, message: str = "no") -> Answer:
    """An error as MLflow says it."""
    return Answer(status=status, body={"error_code": code, "message": message})


def run_json(**data: Any) -> Answer:
    """The answer of ``runs/get`` for our run."""
    info = {
        "run_id": NATIVE,
        "experiment_id": "1",
        "status": "RUNNING",
        "start_time": 1,
        "lifecycle_stage": "active",
    }
    tags = [{"key": "bridge.run_id", "value": OURS}, *data.pop("tags", [])]
    return Answer(body={"run": {"info": info, "data": {**data, "tags": tags}}})


EXPERIMENT = Answer(
    body={"experiment": {"experiment_id": "1", "name": "contract", "lifecycle_stage": "active"}}
)
