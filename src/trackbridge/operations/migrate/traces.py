"""Traces from the source to the target: what is known of one and its spans, then its files, then its mark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from trackbridge.domain.migration import TAG_SOURCE_PRINT, TAG_SOURCE_URI, Counts, Kind, Outcome
from trackbridge.domain.plans import Change
from trackbridge.domain.runs import Experiment
from trackbridge.domain.traces import Trace, is_trace_id
from trackbridge.errors import Conflict, NotFound
from trackbridge.operations.migrate.entities import EntityPlanner, Found, marks_of
from trackbridge.operations.migrate.files import FileCopier
from trackbridge.operations.migrate.logged_models import entry_of, home_of
from trackbridge.operations.migrate.outcomes import done, gone
from trackbridge.operations.migrate.pair import Pair
from trackbridge.operations.migrate.prints import differences, own_tags, print_of
from trackbridge.operations.migrate.registries import refuse_other_print
from trackbridge.operations.migrate.rewriting import Rewriter
from trackbridge.operations.migrate.side import Side
from trackbridge.ports.capabilities import Feature

SOURCE_RUN = "mlflow.sourceRun"
ASSESSMENT_RUN = "mlflow.assessment.sourceRunId"


def trace_planner(pair: Pair) -> EntityPlanner:
    """Return what plans traces."""
    return EntityPlanner(pair, Kind.TRACE, Feature.TRACKING_TRACES, _listed, differences_of_traces)


def _listed(side: Side, experiment_ids: tuple[str, ...]) -> Iterator[Found]:
    for trace in side.traces(experiment_ids):
        mark, is_copy = marks_of(trace.tags)
        yield Found(
            identifier=trace.trace_id,
            experiment_id=trace.experiment_id,
            name=trace.tags.get("mlflow.traceName", ""),
            run_id=trace.metadata.get(SOURCE_RUN, ""),
            print=print_of(fields_of_trace(trace)),
            mark=mark,
            is_copy=is_copy,
            native=trace.trace_id,
        )


def fields_of_trace(trace: Trace) -> dict[str, Any]:
    """Return what makes two traces equal, but for spans and files."""
    return {
        "request_time": trace.request_time,
        "duration": trace.duration_ms,
        "status": trace.status,
        "client_request_id": trace.client_request_id,
        "request_preview": trace.request_preview,
        "response_preview": trace.response_preview,
        "tags": own_tags(trace.tags),
        "metadata": trace.metadata,
        "assessments": {str(item.get("assessment_id", "")): item for item in trace.assessments},
    }


def fields_with_spans(trace: Trace) -> dict[str, Any]:
    """Return what makes two traces equal, but for files."""
    spans = {str(span.get("spanId", "")): print_of(span) for span in trace.spans}
    return {**fields_of_trace(trace), "spans": spans}


def wanted_trace(rewriter: Rewriter, trace: Trace) -> Trace:
    """Return a trace of the source with its links as they are at the target."""
    return msgspec.structs.replace(
        trace,
        tags=rewriter.tags(own_tags(trace.tags)),
        metadata=_relinked(rewriter, trace.metadata, SOURCE_RUN),
        assessments=tuple(
            {**item, "metadata": _relinked(rewriter, item["metadata"], ASSESSMENT_RUN)}
            if item.get("metadata")
            else item
            for item in trace.assessments
        ),
    )


def _relinked(rewriter: Rewriter, values: dict[str, str], run_key: str) -> dict[str, str]:
    found = rewriter.tags(values)
    return {**found, run_key: rewriter.run_id(values[run_key])} if values.get(run_key) else found


@dataclass(slots=True, kw_only=True)
class TraceCopier:
    """Copies traces. Any thread may use it.

    Args:
        pair: Source and target.
        files: Copies their files.
        experiments: The target's experiments by name.
        on_point: Told of every step.
    """

    pair: Pair
    files: FileCopier
    experiments: dict[str, Experiment]
    on_point: Callable[[str], None]

    def copy(self, change: Change) -> Outcome:
        """Copy one trace as its planned change says.

        Raises:
            PlanStale: It has changed at the source since the plan was made.
            Conflict: What was written is not there.
        """
        after = change.after or {}
        source, target = self.pair.source, self.pair.target.tracking
        try:
            original = source.tracking.get_trace(after["id"])
        except NotFound:
            return gone(change)
        refuse_other_print(change, fields_of_trace(original))
        wanted = wanted_trace(self.pair.rewriter, original)
        tags = {**self._there(original.trace_id), **wanted.tags, TAG_SOURCE_URI: self.pair.source.uri}
        home = home_of(self.experiments, change)
        wanted = msgspec.structs.replace(wanted, experiment_id=home, tags=tags)
        infos = source.files(original.trace_id) if is_trace_id(original.trace_id) else []
        if infos:
            target.put_trace(wanted)
            self.on_point("trace")
        copied = self.files.copy(
            infos, original.trace_id, original.trace_id, is_new=False, subject=change.subject
        )
        marked = msgspec.structs.replace(wanted, tags={**tags, TAG_SOURCE_PRINT: after["print"]})
        target.put_trace(marked)
        self._compare(marked, change)
        self.on_point("trace ended")
        self.pair.ledger.put([entry_of(Kind.TRACE, original.trace_id, original.trace_id, after, self.pair)])
        return done(change, Counts(traces=1), tuple(copied.losses))

    def _there(self, trace_id: str) -> dict[str, str]:
        """Return the tags that others gave to a copy."""
        try:
            return own_tags(self.pair.target.tracking.get_trace(trace_id).tags)
        except NotFound:
            return {}

    def _compare(self, wanted: Trace, change: Change) -> None:
        found = self.pair.target.tracking.get_trace(wanted.trace_id)
        differing = differences(fields_with_spans(wanted), fields_with_spans(found))
        if differing:
            raise Conflict(f"the copy differs: {differing[0]}", operation="migrate", resource=change.subject)


def differences_of_traces(pair: Pair, trace_id: str) -> tuple[str, ...] | None:
    """Return how a trace and its copy differ, but for files; None where there is no copy."""
    original = pair.source.tracking.get_trace(trace_id)
    try:
        found = pair.target.tracking.get_trace(trace_id)
    except NotFound:
        return None
    return differences(fields_with_spans(wanted_trace(pair.rewriter, original)), fields_with_spans(found))
