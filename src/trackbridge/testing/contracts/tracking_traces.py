"""The part of the tracking contract on logged models and traces."""

from __future__ import annotations

import msgspec
import pytest

from trackbridge.domain.batches import MetricColumns
from trackbridge.domain.ids import mint_id
from trackbridge.domain.paging import Page
from trackbridge.domain.traces import LoggedModel, ModelLink, ModelMetric, Trace
from trackbridge.errors import Conflict, NotFound, Rejected
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import each, requires
from trackbridge.testing.contracts.samples import HOSTILE_TEXTS, batch_of
from trackbridge.testing.contracts.tracking_base import (
    CONTRACT_EXPERIMENT_ID,
    TrackingTests,
    all_pages,
    refuses_garbage,
)

TIME = 1_700_000_000_123
TEXTS = {key: value for key, value in HOSTILE_TEXTS.items() if key not in ("nul", "lone_surrogate", "long")}
"""What tags and spans of an entity have to hold; the rest may be refused."""


def span_of(trace_id: str, name: str = "root", **fields: object) -> dict[str, object]:
    """Return a span of a trace as OpenTelemetry writes it in JSON."""
    return {
        "traceId": trace_id.removeprefix("tr-"),
        "spanId": mint_id()[-16:],
        "name": name,
        "startTimeUnixNano": TIME * 1_000_000 + 1,
        "endTimeUnixNano": TIME * 1_000_000 + 2**20 + 1,
        "attributes": [
            # mlflow adds it where it is not there, since its spans say themselves of which trace they are.
            {"key": "mlflow.traceRequestId", "value": {"stringValue": trace_id}},
            {"key": "text", "value": {"stringValue": "ü🚀\n"}},
            {"key": "number", "value": {"intValue": 2**53 + 1}},
            {"key": "list", "value": {"arrayValue": {"values": [{"doubleValue": 0.5}, {"boolValue": True}]}}},
        ],
        "status": {"code": "STATUS_CODE_OK"},
        **fields,
    }


class LoggedModelTests(TrackingTests):
    """Logged models and their links with runs."""

    def model(self, **fields: object) -> LoggedModel:
        """Return a logged model of a new run in the experiment of the contract."""
        run_id = fields.pop("run_id", None) or self.open_run()
        known: dict[str, object] = {
            "model_id": f"m-{mint_id()}",
            "name": "modèle 🚀",
            "experiment_id": self.experiment_of(str(run_id)),
            "source_run_id": run_id,
            "model_type": "agent",
            "params": {"a": "1", "ü": "x" * 1000},
            "tags": {"t": "ü"},
        }
        return LoggedModel(**{**known, **fields})  # type: ignore[arg-type]

    def put_model(self, model: LoggedModel) -> None:
        """Put a logged model, and see that it is there as it was said."""
        assert plain(self.store.put_logged_model(model)) == plain(model)
        assert plain(self.store.get_logged_model(model.model_id)) == plain(model)

    def models_page(self, token: str | None, size: int = 2, *others: str) -> Page[LoggedModel]:
        """Return a page of the logged models of the contract's experiment."""
        ids = (CONTRACT_EXPERIMENT_ID, *others)
        return self.store.list_logged_models(ids, max_results=size, token=token)

    @requires(Feature.TRACKING_LOGGED_MODELS)
    def test_a_logged_model_is_created_once_and_brought_up_to_date_by_its_id(self) -> None:
        model = self.model(status="PENDING")
        self.put_model(model)
        self.put_model(model)
        more = {**model.params, **{f"p{number}": str(number) for number in range(250)}}
        for status in ("READY", "FAILED", "PENDING"):
            changed = msgspec.structs.replace(
                model, status=status, tags={"t": "other", "new": status}, params=more
            )
            self.put_model(changed)
        self.put_model(msgspec.structs.replace(model, tags={}, params=more))
        assert len(all_pages(self.models_page, size=2)) == 1

    @requires(Feature.TRACKING_LOGGED_MODELS)
    def test_when_a_logged_model_was_created_is_known_and_stays(self) -> None:
        model = self.model()
        created = self.store.put_logged_model(model).creation_time
        assert created is not None
        assert created > 0
        self.store.put_logged_model(msgspec.structs.replace(model, status="FAILED"))
        assert self.store.get_logged_model(model.model_id).creation_time == created

    @requires(Feature.TRACKING_LOGGED_MODELS)
    @each("change", [{"name": "other"}, {"model_type": "x"}, {"params": {"a": "2"}}])
    def test_what_a_logged_model_is_made_of_stays(self, change: dict[str, object]) -> None:
        model = self.model()
        self.put_model(model)
        with pytest.raises(Conflict):
            self.store.put_logged_model(msgspec.structs.replace(model, **change))
        assert plain(self.store.get_logged_model(model.model_id)) == plain(model)

    @requires(Feature.TRACKING_LOGGED_MODELS)
    def test_a_logged_model_needs_no_run(self) -> None:
        self.put_model(self.model(source_run_id="", params={}, tags={}, model_type=""))

    @requires(Feature.TRACKING_LOGGED_MODELS)
    def test_tags_and_params_of_a_logged_model_hold_any_text(self) -> None:
        self.put_model(self.model(tags=TEXTS, params=TEXTS))

    @requires(Feature.TRACKING_LOGGED_MODELS)
    def test_metrics_of_a_logged_model_are_added_once(self) -> None:
        run_id = self.open_run()
        first = ModelMetric(key="acc", step=1, timestamp=self.now, value=0.25, run_id=run_id)
        more = ModelMetric(
            key="acc",
            step=2,
            timestamp=self.now,
            value=-1e300,
            run_id=run_id,
            dataset_name="ü data",
            dataset_digest="d1",
        )
        model = self.model(run_id=run_id, metrics=(first,))
        self.put_model(model)
        both = msgspec.structs.replace(model, metrics=tuple(sorted((first, more))))
        self.put_model(both)
        self.put_model(both)
        points: MetricColumns = self.store.metric_history(run_id, "acc")
        assert sorted(points.values) == [-1e300, 0.25]

    @requires(Feature.TRACKING_LOGGED_MODELS)
    @each("name", ["m-" + "0" * 32, "m-1", "", "'", "../runs", "\0", "💥"])
    def test_an_unknown_logged_model_is_not_found(self, name: str) -> None:
        self.open_run()
        with pytest.raises(NotFound):
            self.store.get_logged_model(name)

    @requires(Feature.TRACKING_LOGGED_MODELS)
    def test_a_logged_model_of_an_unknown_experiment_is_refused(self) -> None:
        model = self.model(experiment_id=mint_id())
        with pytest.raises(NotFound):
            self.store.put_logged_model(model)
        with pytest.raises(NotFound):
            self.store.get_logged_model(model.model_id)

    @requires(Feature.TRACKING_LOGGED_MODELS)
    def test_logged_models_are_listed_page_by_page(self) -> None:
        run_id = self.open_run()
        wanted = {self.store.put_logged_model(self.model(run_id=run_id)).model_id for _ in range(5)}
        unknown = mint_id()
        found = all_pages(lambda token: self.models_page(token, 2, unknown), size=2)
        assert {model.model_id for model in found} == wanted
        assert len(found) == len(wanted)
        for model in found:
            assert model == self.store.get_logged_model(model.model_id)
        assert self.store.list_logged_models((mint_id(),)).items == ()
        assert self.store.list_logged_models(()).items == ()

    @requires(Feature.TRACKING_LOGGED_MODELS)
    def test_a_foreign_token_of_a_listing_of_logged_models_is_refused(self) -> None:
        self.open_run()
        refuses_garbage(self.models_page)

    @requires(Feature.TRACKING_LOGGED_MODELS)
    def test_a_run_names_the_models_that_it_made_and_read(self) -> None:
        run_id, other = self.open_run(), self.open_run("other")
        made, read = self.model(run_id=run_id), self.model(run_id=other)
        self.store.put_logged_model(made)
        self.store.put_logged_model(read)
        first = (ModelLink(model_id=made.model_id, step=0),)
        self.store.link_models(run_id, first)
        self.store.link_models(run_id, (ModelLink(model_id=made.model_id, step=7),))
        links = (*first, ModelLink(model_id=made.model_id), ModelLink(model_id=read.model_id))
        for _ in range(2):
            self.store.link_models(run_id, links)
            found = self.store.get_run(run_id).models
            assert set(found) == set(links)
            assert len(found) == len(links)
        assert self.store.get_run(other).models == ()

    @requires(Feature.TRACKING_LOGGED_MODELS)
    def test_a_link_leads_from_a_run_to_a_model_that_are_there(self) -> None:
        model = self.model()
        self.store.put_logged_model(model)
        with pytest.raises(NotFound):
            self.store.link_models(mint_id(), (ModelLink(model_id=model.model_id),))
        with pytest.raises(NotFound):
            self.store.link_models(model.source_run_id, (ModelLink(model_id=f"m-{mint_id()}"),))


class TraceTests(TrackingTests):
    """Traces with their spans and assessments."""

    def trace(self, **fields: object) -> Trace:
        """Return a trace of the contract's experiment that has of everything."""
        trace_id = f"tr-{mint_id()}"
        run_id = fields.pop("run_id", None) or self.open_run()
        root = span_of(trace_id)
        child = span_of(trace_id, "child", parentSpanId=root["spanId"])
        known: dict[str, object] = {
            "trace_id": trace_id,
            "experiment_id": self.experiment_of(str(run_id)),
            "request_time": TIME,
            "duration_ms": 12_345,
            "client_request_id": "client 1",
            "request_preview": "what?",
            "response_preview": "ü",
            "tags": {"t": "ü"},
            "metadata": {"m": "🚀", "mlflow.sourceRun": run_id},
            "assessments": (assessment_of(trace_id),),
            "spans": (root, child),
        }
        return Trace(**{**known, **fields})  # type: ignore[arg-type]

    def put_trace(self, trace: Trace) -> None:
        """Put a trace, and see that it is there as it was said."""
        self.store.put_trace(trace)
        found = self.store.get_trace(trace.trace_id)
        assert by_id(found) == by_id(trace)

    def traces_page(self, token: str | None, size: int = 2, *others: str) -> Page[Trace]:
        """Return a page of the traces of the contract's experiment."""
        return self.store.list_traces((CONTRACT_EXPERIMENT_ID, *others), max_results=size, token=token)

    @requires(Feature.TRACKING_TRACES)
    def test_a_trace_is_created_and_replaced_by_its_id(self) -> None:
        trace = self.trace()
        self.put_trace(trace)
        self.put_trace(trace)
        changed = Trace(
            trace_id=trace.trace_id, experiment_id=trace.experiment_id, request_time=1, status="ERROR"
        )
        self.put_trace(changed)
        self.put_trace(trace)
        assert len(all_pages(self.traces_page, size=2)) == 1

    @requires(Feature.TRACKING_TRACES)
    def test_tags_of_a_trace_are_replaced(self) -> None:
        trace = self.trace()
        for tags in ({"a": "1", "b": "2"}, {"b": "3", "c": ""}, {}):
            self.put_trace(msgspec.structs.replace(trace, tags=tags))

    @requires(Feature.TRACKING_TRACES)
    @pytest.mark.parametrize(
        ("status", "time", "duration"),
        [
            ("OK", 0, None),
            ("ERROR", 1, 0),
            ("IN_PROGRESS", TIME, 999),
            ("STATE_UNSPECIFIED", 4_102_444_800_001, 86_400_000),
        ],
    )
    def test_times_and_states_of_a_trace_are_held(self, status: str, time: int, duration: int | None) -> None:
        trace = self.trace(status=status, request_time=time, duration_ms=duration, spans=())
        self.put_trace(trace)

    @requires(Feature.TRACKING_TRACES)
    def test_a_trace_holds_any_text(self) -> None:
        preview = "".join(TEXTS.values())
        self.put_trace(self.trace(tags=TEXTS, metadata=TEXTS, request_preview=preview))

    @requires(Feature.TRACKING_TRACES)
    def test_a_span_of_another_trace_is_refused(self) -> None:
        for span in (span_of(f"tr-{mint_id()}"), {"name": "none"}):
            trace = self.trace(spans=(span,))
            with pytest.raises(Rejected):
                self.store.put_trace(trace)
            with pytest.raises(NotFound):
                self.store.get_trace(trace.trace_id)

    @requires(Feature.TRACKING_TRACES)
    @each("name", ["tr-" + "0" * 32, "tr-1", "", "get", "../runs", "\0", "💥", "a?b=c"])
    def test_an_unknown_trace_is_not_found(self, name: str) -> None:
        self.open_run()
        with pytest.raises(NotFound):
            self.store.get_trace(name)

    @requires(Feature.TRACKING_TRACES)
    def test_a_trace_of_an_unknown_experiment_is_refused(self) -> None:
        trace = self.trace(experiment_id=mint_id())
        with pytest.raises(NotFound):
            self.store.put_trace(trace)

    @requires(Feature.TRACKING_TRACES)
    def test_traces_are_listed_page_by_page_without_spans(self) -> None:
        run_id = self.open_run()
        traces = {trace.trace_id: trace for trace in (self.trace(run_id=run_id) for _ in range(5))}
        for trace in traces.values():
            self.store.put_trace(trace)
        unknown = mint_id()
        found = all_pages(lambda token: self.traces_page(token, 2, unknown), size=2)
        assert len(found) == len(traces)
        for trace in found:
            assert trace == msgspec.structs.replace(self.store.get_trace(trace.trace_id), spans=())
        assert self.store.list_traces((mint_id(),)).items == ()
        assert self.store.list_traces(()).items == ()

    @requires(Feature.TRACKING_TRACES)
    def test_a_foreign_token_of_a_listing_of_traces_is_refused(self) -> None:
        self.open_run()
        refuses_garbage(self.traces_page)

    @requires(Feature.TRACKING_TRACES)
    def test_records_of_a_run_are_none_of_its_traces(self) -> None:
        run_id = self.open_run()
        self.put_trace(self.trace(run_id=run_id))
        self.write_all(batch_of(run_id, params=[("p", "1")]))
        assert self.store.get_run(run_id).data.params == {"p": "1"}


def plain(model: LoggedModel) -> LoggedModel:
    """Return a logged model without what its backend says of it."""
    return msgspec.structs.replace(model, creation_time=None, native_id=None)


def by_id(trace: Trace) -> Trace:
    """Return a trace with its spans and assessments in order of their ids."""
    return msgspec.structs.replace(
        trace,
        spans=tuple(sorted(trace.spans, key=lambda span: str(span["spanId"]))),
        assessments=tuple(sorted(trace.assessments, key=lambda item: str(item["assessment_id"]))),
    )


def assessment_of(trace_id: str) -> dict[str, object]:
    """Return an assessment as mlflow writes it in JSON."""
    return {
        "assessment_id": f"a-{mint_id()}",
        "assessment_name": "good",
        "trace_id": trace_id,
        "source": {"source_type": "HUMAN", "source_id": "me"},
        "create_time": "2026-11-21T19:50:54.936Z",
        "last_update_time": "2026-11-21T19:50:55.001Z",
        "feedback": {"value": True},
        "rationale": "because ü",
        "metadata": {"k": "v"},
        "valid": True,
    }
