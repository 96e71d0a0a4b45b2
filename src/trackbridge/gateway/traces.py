"""Traces of mlflow 3 in its REST API, where the backend keeps traces.

They are written at once, not through the journal: a trace is acknowledged when the backend has it. Its spans
come as a file, ``traces.json``, and are told from there or from the backend's own store of spans.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import field

from trackbridge.api.mlflow_ids import our_experiment_id, told_experiment_id
from trackbridge.api.recorder import now_ms
from trackbridge.delivery.unspilling import all_pages
from trackbridge.domain.ids import mint_id
from trackbridge.domain.page_tokens import listing_of, place_of, token_of
from trackbridge.domain.search import Entity, matches_values, ordered_by_values, parse_trace_query
from trackbridge.domain.traces import Trace, is_trace_id
from trackbridge.errors import NotFound
from trackbridge.gateway.addresses import trace_uri_of
from trackbridge.gateway.errors import Refused, absent, invalid, missing
from trackbridge.gateway.routes import Route, Scope
from trackbridge.gateway.trace_forms import (
    FILE,
    duration_ms_of,
    duration_of,
    milliseconds_of,
    spans_of_file,
    time_of,
    told_span,
)
from trackbridge.gateway.wire import EMPTY, Answer, Empty, Request, is_ordinal

if TYPE_CHECKING:
    from trackbridge.gateway.gateway import Gateway

TRACES_PER_PAGE = 100
TRACES_PER_PAGE_MAX = 500
TRACES_READ_MAX = 10_000
TAG_PLACE = "mlflow.artifactLocation"
TAG_SPANS = "mlflow.trace.spansLocation"
_OUR_TAGS = (TAG_PLACE, TAG_SPANS)
_IN_STORE = "TRACKING_STORE"
_STATES = ("STATE_UNSPECIFIED", "OK", "ERROR", "IN_PROGRESS")
_SOURCE_RUN = "mlflow.sourceRun"
_NAME = "mlflow.traceName"

_changing = threading.Lock()  # what is read, changed and put back


# What is asked.


class ExperimentPlace(msgspec.Struct):
    """An experiment that traces lie in."""

    experiment_id: str = ""


class Location(msgspec.Struct):
    """Where traces lie."""

    type: str | int | None = None
    mlflow_experiment: ExperimentPlace | None = None


class GivenInfo(msgspec.Struct):
    """What a client says of a trace."""

    trace_id: str = ""
    trace_location: Location | None = None
    request_time: str = ""
    execution_duration: str | None = None
    state: str | int | None = None
    client_request_id: str | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    trace_metadata: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    assessments: list[dict[str, Any]] = field(default_factory=list)


class GivenTrace(msgspec.Struct):
    """A trace, whose spans come as a file."""

    trace_info: GivenInfo | None = None


class StartTrace(Request):
    """A trace to be."""

    trace: GivenTrace | None = None
    required = ("trace",)


class OneTrace(Request):
    """A trace by its id."""

    trace_id: str | None = None
    required = ("trace_id",)


class SeveralTraces(Request):
    """Traces by their ids."""

    trace_ids: list[str] = field(default_factory=list)
    experiment_ids: list[str] = field(default_factory=list)
    required = ("trace_ids",)


class SearchTraces(Request):
    """A search of traces."""

    locations: list[Location] = field(default_factory=list)
    filter: str | None = None
    max_results: int | None = None
    order_by: list[str] = field(default_factory=list)
    page_token: str | None = None
    required = ("locations",)


class TraceTag(Request):
    """A tag of a trace."""

    trace_id: str | None = None
    key: str | None = None
    value: str | None = None
    required = ("trace_id", "key")


class OneAssessment(Request):
    """An assessment of a trace; ``update_mask`` names the fields that are new, separated by commas."""

    trace_id: str | None = None
    assessment_id: str | None = None
    assessment: dict[str, Any] = field(default_factory=dict)
    update_mask: str | None = None


# What is answered.


class InfoBody(Answer, kw_only=True):
    """What is known of a trace but for its spans."""

    trace_id: str
    client_request_id: str = ""
    trace_location: dict[str, Any]
    request_preview: str = ""
    response_preview: str = ""
    request_time: str
    execution_duration: str | None = None
    state: str
    trace_metadata: dict[str, str] = field(default_factory=dict)
    assessments: list[dict[str, Any]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)


class TraceBody(Answer):
    """A trace."""

    trace_info: InfoBody
    spans: list[dict[str, Any]] = field(default_factory=list)


class TraceAnswer(Answer):
    """One trace."""

    trace: TraceBody


class TracesAnswer(Answer):
    """Traces with their spans."""

    traces: list[TraceBody] = field(default_factory=list)


class InfosAnswer(Answer):
    """Traces without their spans."""

    trace_infos: list[InfoBody] = field(default_factory=list)


class PageAnswer(Answer):
    """A page of traces without their spans."""

    traces: list[InfoBody] = field(default_factory=list)
    next_page_token: str | None = None


class AssessmentAnswer(Answer):
    """One assessment."""

    assessment: dict[str, Any]


def info_body(trace: Trace, *, is_new: bool = False) -> InfoBody:
    """Return a trace without its spans; of a new one a client is asked for them, as a file."""
    experiment_id = told_experiment_id(trace.experiment_id)
    tags = {**trace.tags, TAG_PLACE: trace_uri_of(trace.experiment_id, trace.trace_id)}
    if not is_new:
        tags[TAG_SPANS] = _IN_STORE
    return InfoBody(
        trace_id=trace.trace_id,
        client_request_id=trace.client_request_id,
        trace_location={
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": experiment_id},
        },
        request_preview=trace.request_preview,
        response_preview=trace.response_preview,
        request_time=time_of(trace.request_time),
        execution_duration=None if trace.duration_ms is None else duration_of(trace.duration_ms),
        state=trace.status,
        trace_metadata=trace.metadata,
        assessments=list(trace.assessments),
        tags=tags,
    )


# Handlers.


def start_trace(gateway: Gateway, request: StartTrace) -> TraceAnswer:
    """Create a trace, or replace the one of its id; its spans come after it."""
    given = request.trace.trace_info if request.trace is not None else None
    if given is None:
        raise missing("trace_info")
    if not is_trace_id(given.trace_id):
        raise invalid(f"{given.trace_id[:80]!r} is no id of a trace: tr- and 32 hexadecimal digits are")
    told_id = given.trace_location and given.trace_location.mlflow_experiment
    experiment = gateway.experiments.active(told_id.experiment_id if told_id else "0")
    trace = _trace_of(given, experiment.experiment_id)
    tracking = gateway.client.reader.tracking
    try:
        tracking.put_trace(trace)
    except NotFound:  # nothing was logged to the experiment before
        tracking.ensure_experiment(experiment.name, experiment_id=experiment.experiment_id)
        tracking.put_trace(trace)
    return TraceAnswer(TraceBody(info_body(trace, is_new=True)))


def _trace_of(given: GivenInfo, experiment_id: str) -> Trace:
    duration = given.execution_duration
    return Trace(
        trace_id=given.trace_id,
        experiment_id=experiment_id,
        request_time=milliseconds_of(given.request_time) if given.request_time else now_ms(),
        duration_ms=None if duration is None else duration_ms_of(duration),
        status=_state(given.state),
        client_request_id=given.client_request_id or "",
        request_preview=given.request_preview or "",
        response_preview=given.response_preview or "",
        tags={key: value for key, value in given.tags.items() if key not in _OUR_TAGS},
        metadata=given.trace_metadata,
        assessments=tuple(_made(given.trace_id, item) for item in given.assessments),
    )


def _state(given: str | int | None) -> str:
    text = str(given or "STATE_UNSPECIFIED")
    if is_ordinal(text) and int(text) < len(_STATES):
        return _STATES[int(text)]
    if text not in _STATES:
        raise invalid(f"Unknown trace state: {text[:80]}")
    return text


def get_trace_info(gateway: Gateway, request: OneTrace) -> TraceAnswer:
    """Return a trace without its spans."""
    return TraceAnswer(TraceBody(info_body(_trace(gateway, request.trace_id))))


def get_trace(gateway: Gateway, request: OneTrace) -> TraceAnswer:
    """Return a trace with its spans."""
    return TraceAnswer(_whole(gateway, _trace(gateway, request.trace_id)))


def several_traces(gateway: Gateway, request: SeveralTraces) -> TracesAnswer:
    """Return those of the traces that there are, with their spans."""
    return TracesAnswer([_whole(gateway, trace) for trace in _there(gateway, request)])


def several_infos(gateway: Gateway, request: SeveralTraces) -> InfosAnswer:
    """Return those of the traces that there are, without their spans."""
    return InfosAnswer([info_body(trace) for trace in _there(gateway, request)])


def _there(gateway: Gateway, request: SeveralTraces) -> Iterator[Trace]:
    wanted = [our_experiment_id(told) for told in request.experiment_ids]
    for trace_id in dict.fromkeys(request.trace_ids):
        try:
            trace = gateway.client.reader.tracking.get_trace(trace_id)
        except NotFound:
            continue
        if not wanted or trace.experiment_id in wanted:
            yield trace


def _whole(gateway: Gateway, trace: Trace) -> TraceBody:
    return TraceBody(info_body(trace), [told_span(span) for span in trace.spans] or _file(gateway, trace))


def _file(gateway: Gateway, trace: Trace) -> list[dict[str, Any]]:
    if not is_trace_id(trace.trace_id):
        return []
    try:
        with gateway.client.reader.artifacts.open(trace.trace_id, FILE) as file:
            return spans_of_file(file.read())
    except NotFound:  # it did not come so far
        return []


def put_file(gateway: Gateway, trace_id: str, path: str, content: bytes) -> None:
    """Store a file of a trace, as its spans are one.

    Raises:
        Refused: There is no such trace.
    """
    _trace(gateway, trace_id)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    with tempfile.TemporaryDirectory(prefix="trackbridge-") as folder:
        file = Path(folder) / "file"
        file.write_bytes(content)
        gateway.client.reader.artifacts.put(trace_id, path, file, digest=digest, size=len(content))


def search_traces(gateway: Gateway, request: SearchTraces) -> PageAnswer:
    """Return the traces that fulfil a filter, a page of them, newest first unless ordered."""
    count = TRACES_PER_PAGE if request.max_results is None else request.max_results
    if not 1 <= count <= TRACES_PER_PAGE_MAX:
        raise invalid(
            f"Invalid value {count} for parameter 'max_results' supplied: It must be at most "
            f"{TRACES_PER_PAGE_MAX}, and at least 1"
        )
    query = parse_trace_query(request.filter or "", tuple(request.order_by))
    places = [place.mlflow_experiment for place in request.locations if place.mlflow_experiment is not None]
    ids = tuple(our_experiment_id(place.experiment_id) for place in places)
    listing = listing_of(ids, request.filter, request.order_by)
    place = place_of(
        request.page_token or None, listing, adapter="gateway", operation="search_traces", types=(int,)
    )
    start = 0 if place is None else place[0]
    found = [trace for trace in _all(gateway, ids) if matches_values(query.filter, _reader(trace))]
    found.sort(key=lambda trace: (-trace.request_time, trace.trace_id))
    found = ordered_by_values(found, query.order_by, _values)
    more = token_of(listing, [start + count]) if start + count < len(found) else None
    return PageAnswer([info_body(trace) for trace in found[start : start + count]], more)


def _all(gateway: Gateway, experiment_ids: tuple[str, ...]) -> Iterator[Trace]:
    tracking = gateway.client.reader.tracking
    traces = all_pages(lambda token: tracking.list_traces(experiment_ids, token=token))
    for number, trace in enumerate(traces):
        if number == TRACES_READ_MAX:
            raise invalid(
                f"The search would read more than {TRACES_READ_MAX:,} traces: name fewer experiments."
            )
        yield trace


def _reader(trace: Trace) -> Any:
    return lambda entity, key: _values(trace, entity, key)


def _values(trace: Trace, entity: Entity, key: str) -> Sequence[str | int]:
    if entity is Entity.TAG:
        return (trace.tags[key],) if key in trace.tags else ()
    read: dict[str, str | int | None] = {
        "trace_id": trace.trace_id,
        "request_id": trace.trace_id,
        "status": trace.status,
        "state": trace.status,
        "name": trace.tags.get(_NAME),
        "run_id": trace.metadata.get(_SOURCE_RUN),
        "client_request_id": trace.client_request_id or None,
        "execution_time_ms": trace.duration_ms,
        "execution_time": trace.duration_ms,
        "execution_duration": trace.duration_ms,
    }
    value = read.get(key, trace.request_time)  # whose names are the rest
    return () if value is None else (value,)


def set_tag(gateway: Gateway, request: TraceTag) -> Empty:
    """Set a tag of a trace."""
    key = _checked_key(request.key)
    _change(gateway, request.trace_id, lambda trace: {"tags": {**trace.tags, key: request.value or ""}})
    return EMPTY


def delete_tag(gateway: Gateway, request: TraceTag) -> Empty:
    """Delete a tag of a trace."""
    key = _checked_key(request.key)
    if key not in _trace(gateway, request.trace_id).tags:
        raise absent(f"No trace tag with key '{key}' for trace with ID '{request.trace_id}'")
    _change(
        gateway,
        request.trace_id,
        lambda trace: {"tags": {name: value for name, value in trace.tags.items() if name != key}},
    )
    return EMPTY


def _checked_key(key: str | None) -> str:
    if key in _OUR_TAGS:
        raise invalid(f"Tag '{key}' is immutable and cannot be set on a trace.")
    return str(key)


def create_assessment(gateway: Gateway, request: OneAssessment) -> AssessmentAnswer:
    """Add an assessment to a trace."""
    made = _made(str(request.trace_id), request.assessment)
    _change(gateway, request.trace_id, lambda trace: {"assessments": (*trace.assessments, made)})
    return AssessmentAnswer(made)


def get_assessment(gateway: Gateway, request: OneAssessment) -> AssessmentAnswer:
    """Return an assessment of a trace."""
    return AssessmentAnswer(_assessment(_trace(gateway, request.trace_id), request.assessment_id))


def update_assessment(gateway: Gateway, request: OneAssessment) -> AssessmentAnswer:
    """Replace fields of an assessment."""
    names = [_snake(name) for name in (request.update_mask or "").split(",") if name]
    new = {name: request.assessment[name] for name in names if name in request.assessment}
    if not new:
        raise missing("update_mask")
    known = _assessment(_trace(gateway, request.trace_id), request.assessment_id)
    changed = {**known, **new, "last_update_time": time_of(now_ms())}
    if "feedback" in new or "expectation" in new:
        other = "expectation" if "feedback" in new else "feedback"
        changed.pop(other, None)
    _replace(gateway, request, changed)
    return AssessmentAnswer(changed)


def delete_assessment(gateway: Gateway, request: OneAssessment) -> Empty:
    """Take an assessment away from a trace."""
    _assessment(_trace(gateway, request.trace_id), request.assessment_id)
    _replace(gateway, request, None)
    return EMPTY


def _replace(gateway: Gateway, request: OneAssessment, new: dict[str, Any] | None) -> None:
    def changed(trace: Trace) -> dict[str, Any]:
        items = (
            item if item.get("assessment_id") != request.assessment_id else new for item in trace.assessments
        )
        return {"assessments": tuple(item for item in items if item is not None)}

    _change(gateway, request.trace_id, changed)


def _made(trace_id: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return an assessment with an id and its times."""
    if not given.get("assessment_name"):
        raise missing("assessment.assessment_name")
    now = time_of(now_ms())
    times = {"create_time": now, "last_update_time": now}
    return {**times, "assessment_id": f"a-{mint_id()}", "valid": True, **given, "trace_id": trace_id}


def _assessment(trace: Trace, assessment_id: str | None) -> dict[str, Any]:
    for found in trace.assessments:
        if found.get("assessment_id") == assessment_id:
            return found
    raise absent(f"Assessment with ID '{assessment_id}' not found for trace '{trace.trace_id}'")


def _snake(name: str) -> str:
    """Return the name of a field in a mask, which protobuf's JSON writes in camel case."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name.strip())


def not_here(gateway: Gateway, request: Request) -> Empty:
    """Refuse what no port of ours can do with traces."""
    raise Refused("NOT_IMPLEMENTED", "traces are neither deleted nor linked to runs through the gateway")


def _trace(gateway: Gateway, trace_id: str | None) -> Trace:
    try:
        return gateway.client.reader.tracking.get_trace(str(trace_id))
    except NotFound as error:
        raise absent(f"Trace with ID '{trace_id}' not found.") from error


def _change(gateway: Gateway, trace_id: str | None, new: Any) -> None:
    with _changing:
        trace = _trace(gateway, trace_id)
        gateway.client.reader.tracking.put_trace(msgspec.structs.replace(trace, **new(trace)))


_READ, _WRITE = Scope.READ, Scope.WRITE
_ONE = "traces/{trace_id}"
_ASSESSMENTS = f"{_ONE}/assessments"
_V3, _BOTH = ("3.0",), ("2.0", "3.0")

ROUTES = (
    Route("POST", "traces", start_trace, StartTrace, _WRITE, versions=_V3),
    Route("GET", "traces/get", get_trace, OneTrace, _READ, versions=_V3),
    Route("GET", "traces/batchGet", several_traces, SeveralTraces, _READ, versions=_V3),
    Route("POST", "traces/batchGetInfos", several_infos, SeveralTraces, _READ, versions=_V3),
    Route("POST", "traces/search", search_traces, SearchTraces, _READ, versions=_V3),
    Route("POST", "traces/delete-traces", not_here, Request, _WRITE, versions=_BOTH),
    Route("POST", "traces/link-to-run", not_here, Request, _WRITE, versions=_BOTH),
    Route("GET", _ONE, get_trace_info, OneTrace, _READ, versions=_V3),
    Route("PATCH", f"{_ONE}/tags", set_tag, TraceTag, _WRITE, versions=_BOTH),
    Route("DELETE", f"{_ONE}/tags", delete_tag, TraceTag, _WRITE, versions=_BOTH),
    Route("POST", _ASSESSMENTS, create_assessment, OneAssessment, _WRITE, versions=_V3),
    Route("GET", f"{_ASSESSMENTS}/{{assessment_id}}", get_assessment, OneAssessment, _READ, versions=_V3),
    Route(
        "PATCH", f"{_ASSESSMENTS}/{{assessment_id}}", update_assessment, OneAssessment, _WRITE, versions=_V3
    ),
    Route(
        "DELETE", f"{_ASSESSMENTS}/{{assessment_id}}", delete_assessment, OneAssessment, _WRITE, versions=_V3
    ),
)
