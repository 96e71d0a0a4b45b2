"""Traces on an MLflow 3 endpoint. Their ids are the client's, so a trace keeps its own everywhere.

::

    what                 route                             where the server keeps it
    info, assessments    3.0/mlflow/traces                 its database
    spans                /v1/traces (OpenTelemetry's)      its database, tag mlflow.trace.spansLocation
    spans, by a client   artifacts of the trace            traces.json, which the artifact store has
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import msgspec

from trackbridge.domain.paging import Page
from trackbridge.domain.traces import Trace
from trackbridge.errors import NotFound, Rejected
from trackbridge.ports.capabilities import Feature
from trackbridge_adapters._mlflow_rest.conversions import key_values
from trackbridge_adapters._mlflow_rest.logged_models import listed_by_experiment
from trackbridge_adapters._mlflow_rest.wire import Json, encoded

if TYPE_CHECKING:
    from trackbridge_adapters._mlflow_rest.tracking import RestTracking

PREFIX = "/api/3.0/mlflow"
OTLP_PATH = "/v1/traces"
TRACES_PER_PAGE_MAX = 500
SPANS_PER_CALL_MAX = 1000

TAG_ROOT, TAG_SPANS = "mlflow.artifactLocation", "mlflow.trace.spansLocation"
TAG_ARCHIVE = "mlflow.trace.archiveLocation"
OWN_TAGS = frozenset({TAG_ROOT, TAG_SPANS, TAG_ARCHIVE})
"""Tags in which a server says where it keeps a trace."""
ROUTES = frozenset({"get", "search", "batchGet", "batchGetInfos"})
"""What stands in place of a trace's id in other routes."""
IN_DATABASE = frozenset({"TRACKING_STORE", "ARCHIVE_REPO"})
OWN_METADATA = frozenset({"mlflow.trace.infoFinalized"})
SOURCE_RUN = "mlflow.sourceRun"
ASSESSMENT_RUN = "mlflow.assessment.sourceRunId"

_ID = re.compile(r"[A-Za-z0-9_\-]{1,64}")
_IDS = ("traceId", "spanId", "parentSpanId")
_UNDERSCORE = re.compile(r"_([a-z])")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


class Traces:
    """The traces of one endpoint."""

    def __init__(self, tracking: RestTracking) -> None:
        self._tracking = tracking
        self._wire = tracking.wire
        self._adapter = tracking.service.adapter

    # Reading.

    def get(self, trace_id: str) -> Trace:
        """Return a trace with the spans that the server keeps in its database."""
        info = self._info(trace_id)
        spans = self._spans(trace_id) if key_values_of(info, "tags").get(TAG_SPANS) in IN_DATABASE else ()
        return self._trace_of(info, spans)

    def root(self, trace_id: str) -> str:
        """Return where the files of a trace lie."""
        return key_values_of(self._info(trace_id), "tags").get(TAG_ROOT, "")

    def page(self, experiment_ids: tuple[str, ...], max_results: int, token: str | None) -> Page[Trace]:
        """List the traces of experiments, without spans."""
        return listed_by_experiment(
            self._tracking, "tracking.list_traces", experiment_ids, max_results, token, self._search
        )

    def _search(self, natives: list[str], size: int, token: str | None) -> tuple[list[Trace], str | None]:
        body: Json = {
            "locations": [_location(native) for native in natives],
            "max_results": min(size, TRACES_PER_PAGE_MAX),
        }
        if token is not None:
            body["page_token"] = token
        with self._tracking.negotiation.optional(Feature.TRACKING_TRACES):
            answer = self._wire.post("traces/search", body, prefix=PREFIX)
        found = [self._trace_of(info, ()) for info in answer.get("traces") or ()]
        return found, answer.get("next_page_token")

    def _info(self, trace_id: str) -> Json:
        if not _ID.fullmatch(trace_id) or trace_id in ROUTES:
            raise self._no_trace(trace_id)
        with self._tracking.negotiation.optional(Feature.TRACKING_TRACES):
            answer = self._wire.get(f"traces/{trace_id}", prefix=PREFIX)
        found: Json = answer["trace"]["trace_info"]
        return found

    def _spans(self, trace_id: str) -> tuple[Json, ...]:
        with self._tracking.negotiation.optional(Feature.TRACKING_TRACES):
            answer = self._wire.get(
                "traces/get", {"trace_id": trace_id, "allow_partial": "true"}, prefix=PREFIX
            )
        return tuple(otlp_of(span) for span in answer["trace"].get("spans") or ())

    def _trace_of(self, info: Json, spans: tuple[Json, ...]) -> Trace:
        tags, metadata = key_values_of(info, "tags"), key_values_of(info, "trace_metadata")
        location = (info.get("trace_location") or {}).get("mlflow_experiment") or {}
        return Trace(
            trace_id=str(info["trace_id"]),
            experiment_id=self._tracking.experiments.our_id(str(location.get("experiment_id", ""))),
            request_time=milliseconds_of(str(info.get("request_time", ""))),
            duration_ms=duration_ms_of(info.get("execution_duration")),
            status=str(info.get("state") or "STATE_UNSPECIFIED"),
            client_request_id=str(info.get("client_request_id") or ""),
            request_preview=str(info.get("request_preview") or ""),
            response_preview=str(info.get("response_preview") or ""),
            tags={key: value for key, value in tags.items() if key not in OWN_TAGS},
            metadata=self._with_run(
                {key: value for key, value in metadata.items() if key not in OWN_METADATA},
                SOURCE_RUN,
                self._tracking.our_run_id,
            ),
            assessments=tuple(
                self._assessment(item, self._tracking.our_run_id) for item in info.get("assessments") or ()
            ),
            spans=spans,
        )

    # Writing.

    def put(self, trace: Trace) -> None:
        """Create a trace; one that is there is replaced, where more than its tags differs."""
        experiment = self._tracking.native_experiment_id(trace.experiment_id)
        self._refuse_foreign_spans(trace)
        try:
            there: Trace | None = self.get(trace.trace_id)
        except NotFound:
            there = None
        if there is not None and not _differ_in_tags_alone(there, trace):
            self._delete(there)
            there = None
        if there is None:
            self._start(trace, experiment)
            self._send_spans(trace, experiment)
            there = self._trace_of(self._info(trace.trace_id), ())
        self._set_tags(trace.trace_id, there.tags, trace.tags)

    def _start(self, trace: Trace, experiment: str) -> None:
        info: Json = {
            "trace_id": trace.trace_id,
            "trace_location": _location(experiment),
            "request_time": time_of(trace.request_time),
            "state": trace.status,
            "tags": trace.tags,
            "trace_metadata": self._with_run(trace.metadata, SOURCE_RUN, self._tracking.native_run_id),
            "assessments": [
                self._assessment(item, self._tracking.native_run_id) for item in trace.assessments
            ],
        }
        for name in ("client_request_id", "request_preview", "response_preview"):
            if getattr(trace, name):
                info[name] = getattr(trace, name)
        if trace.duration_ms is not None:
            info["execution_duration"] = f"{trace.duration_ms // 1000}.{trace.duration_ms % 1000:03}s"
        with self._tracking.negotiation.optional(Feature.TRACKING_TRACES):
            self._wire.post("traces", {"trace": {"trace_info": info}}, prefix=PREFIX)

    def _send_spans(self, trace: Trace, experiment: str) -> None:
        headers = {"Content-Type": "application/json", "x-mlflow-experiment-id": experiment}
        for start in range(0, len(trace.spans), SPANS_PER_CALL_MAX):
            some = trace.spans[start : start + SPANS_PER_CALL_MAX]
            body: Json = {"resourceSpans": [{"scopeSpans": [{"spans": some}]}]}
            with self._tracking.negotiation.optional(Feature.TRACKING_TRACES):
                self._wire.send("POST", OTLP_PATH, body=encoded(body), headers=headers)

    def _delete(self, trace: Trace) -> None:
        body = {
            "experiment_id": self._tracking.native_experiment_id(trace.experiment_id),
            "request_ids": [trace.trace_id],
        }
        self._wire.post("traces/delete-traces", body, prefix=PREFIX)

    def _set_tags(self, trace_id: str, current: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        for key, value in wanted.items():
            if current.get(key) != value:
                self._wire.patch(f"traces/{trace_id}/tags", {"key": key, "value": value}, prefix=PREFIX)
        for key in current.keys() - wanted.keys():
            self._wire.delete(f"traces/{trace_id}/tags", {"key": key}, prefix=PREFIX)

    def _refuse_foreign_spans(self, trace: Trace) -> None:
        digits = trace.trace_id.removeprefix("tr-")
        if any(span.get("traceId") != digits for span in trace.spans):
            raise Rejected(
                "a span is of another trace, or does not say of which it is",
                adapter=self._adapter,
                resource=f"trace {trace.trace_id[:80]}",
                hint="spans are OpenTelemetry's in JSON: traceId holds the digits of the trace's id",
            )

    # Runs.

    def _assessment(self, item: Mapping[str, Any], other: Callable[[str], str]) -> Json:
        metadata = item.get("metadata")
        return {**item, "metadata": self._with_run(metadata, ASSESSMENT_RUN, other)} if metadata else {**item}

    def _with_run(self, values: Mapping[str, str], key: str, other: Callable[[str], str]) -> dict[str, str]:
        """Return values with the run that one of them names under its other id, where there is such a run."""
        run = values.get(key)
        if not run:
            return {**values}
        try:
            return {**values, key: other(run)}
        except NotFound:
            return {**values}

    def _no_trace(self, trace_id: str) -> NotFound:
        return NotFound(f"there is no trace {trace_id[:80]!r}", adapter=self._adapter)


def key_values_of(info: Json, name: str) -> dict[str, str]:
    """Return tags or metadata of a trace: a JSON object, in old answers a list of pairs."""
    found = info.get(name) or {}
    if isinstance(found, dict):
        return {str(key): str(value) for key, value in found.items()}
    return key_values(found)


def _location(native_experiment: str) -> Json:
    return {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": native_experiment}}


def _differ_in_tags_alone(there: Trace, wanted: Trace) -> bool:
    return _in_order(msgspec.structs.replace(wanted, tags=there.tags)) == _in_order(there)


def _in_order(trace: Trace) -> Trace:
    """Return a trace with spans and assessments by their ids: a server has an order of its own."""
    return msgspec.structs.replace(
        trace,
        spans=tuple(sorted(trace.spans, key=lambda span: str(span.get("spanId")))),
        assessments=tuple(sorted(trace.assessments, key=lambda item: str(item.get("assessment_id")))),
    )


def milliseconds_of(text: str) -> int:
    """Return a time of protobuf's JSON (``2026-11-21T19:50:53.727Z``) in milliseconds since 1970."""
    found = _TIME.fullmatch(text)
    if found is None:
        return 0
    since = datetime.fromisoformat(f"{found[1]}+00:00") - _EPOCH
    return since // timedelta(milliseconds=1) + int((found[2] or "0").ljust(9, "0")) // 1_000_000


def time_of(milliseconds: int) -> str:
    """Return a time as protobuf's JSON has it."""
    time = _EPOCH + timedelta(milliseconds=milliseconds)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03}Z"


def duration_ms_of(text: Any) -> int | None:
    """Return a duration of protobuf's JSON (``0.129s``) in milliseconds."""
    if not isinstance(text, str) or not text.endswith("s"):
        return None
    whole, _, rest = text[:-1].partition(".")
    return int(whole or "0") * 1000 + int(rest.ljust(9, "0")) // 1_000_000


def otlp_of(value: Any) -> Any:
    """Return a span of protobuf's JSON, whose ids are base64, as OpenTelemetry's, where they are digits."""
    if isinstance(value, list):
        return [otlp_of(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {
        _UNDERSCORE.sub(lambda match: match[1].upper(), key): otlp_of(item) for key, item in value.items()
    }
    return found | {name: base64.b64decode(found[name]).hex() for name in _IDS if name in found}
