"""Entities of mlflow 3 that not every backend has: logged models and traces."""

from __future__ import annotations

from typing import Any

import msgspec


class LoggedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model as a run logged it, before any registry. ``artifact_path`` lies in the source run."""

    model_id: str
    name: str
    experiment_id: str
    source_run_id: str
    artifact_path: str
    status: str = "READY"
    creation_time: int = 0
    params: dict[str, str] = msgspec.field(default_factory=dict)
    tags: dict[str, str] = msgspec.field(default_factory=dict)


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """One traced request. ``spans`` are OpenTelemetry spans in their JSON encoding."""

    trace_id: str
    experiment_id: str
    request_time: int
    duration_ms: int | None = None
    status: str = "OK"
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    spans: tuple[dict[str, Any], ...] = ()
