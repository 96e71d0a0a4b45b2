"""Entities of mlflow 3 that not every backend has: logged models and traces.

The files of both lie in the artifact store of their backend, addressed by their own ids as those of a run are
by its id. Ids keep their form everywhere, which is how they are told from the ids of runs::

    m-<32 hexadecimal digits>     a logged model
    tr-<32 hexadecimal digits>    a trace; the digits are the trace id of OpenTelemetry
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

MODEL_ID = re.compile(r"m-[0-9a-f]{32}")
TRACE_ID = re.compile(r"tr-[0-9a-f]{32}")


class ModelMetric(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One value of a metric that a run measured of a logged model, on a data set where one is named.

    ``timestamp`` is in milliseconds since 1970.
    """

    key: str
    step: int
    timestamp: int
    value: float
    run_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class ModelLink(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """That a run made a logged model at a step, or read one: then ``step`` is None."""

    model_id: str
    step: int | None = None


class LoggedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model as a run logged it, before any registry.

    ``status`` is PENDING until its files are there, then READY or FAILED. ``native_id`` is the backend's own
    id where it differs: that is the one in ``models:/m-…`` which mlflow's clients read there. Times are in
    milliseconds since 1970.
    """

    model_id: str
    name: str
    experiment_id: str
    source_run_id: str = ""
    model_type: str = ""
    status: str = "READY"
    creation_time: int | None = None
    params: dict[str, str] = msgspec.field(default_factory=dict)
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    metrics: tuple[ModelMetric, ...] = ()
    native_id: str | None = None


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """One traced request.

    ``spans`` are OpenTelemetry spans in their JSON encoding (ids in hexadecimal digits). A store may keep
    them as a file of the trace instead, ``traces.json``: they are empty then. ``assessments`` are mlflow's,
    in their JSON encoding. Times are in milliseconds since 1970.
    """

    trace_id: str
    experiment_id: str
    request_time: int
    duration_ms: int | None = None
    status: str = "OK"
    client_request_id: str = ""
    request_preview: str = ""
    response_preview: str = ""
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    assessments: tuple[dict[str, Any], ...] = ()
    spans: tuple[dict[str, Any], ...] = ()


def is_model_id(text: str) -> bool:
    """Tell whether a text has the form of a logged model's id."""
    return MODEL_ID.fullmatch(text) is not None


def is_trace_id(text: str) -> bool:
    """Tell whether a text has the form of a trace's id."""
    return TRACE_ID.fullmatch(text) is not None
