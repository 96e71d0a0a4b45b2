"""Traces from one MLflow server to another, as mlflow's own client wrote them and finds them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from tests.support.migrations import local_side, migrate, pair_of, to_do
from tests.support.mlflow_clients import client_of, talking_to
from tests.support.mlflow_servers import MlflowServer
from trackbridge.delivery.connect import open_uri
from trackbridge.domain.migration import Kind, Selection, Symbol
from trackbridge.operations.migrate.applying import Applying
from trackbridge.operations.migrate.checking import check
from trackbridge.operations.migrate.pair import Asked, Pair
from trackbridge.operations.migrate.planning import losses_of, plan_migration
from trackbridge.operations.migrate.side import Side, side_of
from trackbridge.resolve.uri import parse


def side(server: MlflowServer) -> Side:
    return side_of(open_uri(parse(server.url)), server.url)


def trace_at(server: MlflowServer, trace_id: str) -> Any:
    """Return a trace as mlflow's client reads it, from wherever its spans lie."""
    with talking_to(server) as mlflow:
        return mlflow.get_trace(trace_id)


def ask(mlflow: Any, question: str) -> str:
    """Have a traced function answer, or fail where that is asked for; return the trace's id."""

    @mlflow.trace(name="answer ü", attributes={"n": 1, "list": ["a", None, 0.5], "nested": {"x": 1}})
    def answer(question: str) -> dict[str, str]:
        mlflow.update_current_trace(tags={"t": "🚀"}, metadata={"m": "ü"}, client_request_id="client-1")
        with mlflow.start_span("child") as span:
            span.set_inputs({"q": question})
            span.set_attribute("big", 2**70 if question == "huge" else 2**53 + 1)
            span.add_event(mlflow.entities.SpanEvent("event", attributes={"k": [1, 2]}))
            if question == "fail":
                raise ValueError("asked for")
        return {"out": question}

    if question == "fail":
        with pytest.raises(ValueError, match="asked for"):
            answer(question)
    else:
        answer(question)
    return str(mlflow.get_last_active_trace_id())


@pytest.fixture
def written(
    newest: MlflowServer, second: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Write traces with mlflow's client; return their ids by what they are."""
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / "bridge"))
    newest.reset()
    second.reset()
    found: dict[str, str] = {}
    with talking_to(newest) as mlflow:
        from mlflow.entities import AssessmentSource
        from mlflow.store.tracking.rest_store import RestStore
        from mlflow.tracking._tracking_service.utils import _get_store

        experiment = client_of(newest).create_experiment("asked")
        with mlflow.start_run(experiment_id=experiment), monkeypatch.context() as patch:
            # As with a server before 3.4: spans go into files.
            patch.setattr(RestStore, "_get_server_version", lambda *_: Version("3.3.0"))
            for name, question in (("in the database", "b"), ("failed", "fail"), ("in files", "huge")):
                found[name] = ask(mlflow, question)
            mlflow.flush_trace_async_logging()
        spans = mlflow.get_trace(found["in the database"]).data.spans
        _get_store().log_spans(experiment, spans)
        source = AssessmentSource("HUMAN", "me")
        mlflow.log_feedback(
            trace_id=found["failed"],
            name="good",
            value=0.5,
            rationale="ü",
            source=source,
            metadata={"k": "v"},
        )
        mlflow.log_expectation(trace_id=found["failed"], name="wanted", value={"a": [1, None]}, source=source)
    return found


@pytest.fixture
def pair(written: dict[str, str], newest: MlflowServer, second: MlflowServer, tmp_path: Path) -> Pair:
    return pair_of(side(newest), side(second), tmp_path / "home")


def test_every_trace_arrives_as_mlflow_wrote_it(
    written: dict[str, str], pair: Pair, newest: MlflowServer, second: MlflowServer
) -> None:
    account = migrate(pair)
    assert (account.remaining, account.losses, account.unexplained()) == ([], [], {})
    assert account.source.traces == account.target.traces == 3
    (run,) = (str(value) for (value,) in second.rows("SELECT run_uuid FROM runs"))
    for trace_id in written.values():
        original, copy = trace_at(newest, trace_id), trace_at(second, trace_id)
        assert copy.data.to_dict() == original.data.to_dict()
        for field in (
            "request_time",
            "execution_duration",
            "state",
            "client_request_id",
            "request_preview",
            "response_preview",
            "assessments",
        ):
            assert getattr(copy.info, field) == getattr(original.info, field), field
        own = ("bridge.", "mlflow.artifactLocation")
        tags = {key: value for key, value in copy.info.tags.items() if not key.startswith(own)}
        assert tags == {key: value for key, value in original.info.tags.items() if not key.startswith(own)}
        assert copy.info.trace_metadata["mlflow.sourceRun"] == run
        metadata = {**original.info.trace_metadata, "mlflow.sourceRun": run}
        assert copy.info.trace_metadata == metadata
    spans = "SELECT trace_id, span_id, name, type, status, content FROM spans ORDER BY span_id"
    assert second.rows(spans) == newest.rows(spans)
    assert len(second.rows(spans)) >= 2
    assert "traces.json" in {info.path for info in pair.target.files(written["in files"])}
    assert {item.symbol for item in check(pair, Selection(), download=True)} == {Symbol.SAME}


def test_a_repetition_does_nothing_and_a_change_comes_after(
    written: dict[str, str], pair: Pair, newest: MlflowServer, second: MlflowServer
) -> None:
    migrate(pair)
    assert to_do(plan_migration(pair, Asked())) == []
    source, target = client_of(newest), client_of(second)
    source.set_trace_tag(written["in files"], "late", "ü")
    with talking_to(newest) as mlflow:
        mlflow.log_feedback(trace_id=written["in the database"], name="late", value="x")
    target.set_trace_tag(written["in files"], "theirs", "stays")
    changed = {line.split()[2].rstrip(":") for line in to_do(plan_migration(pair, Asked()))}
    assert changed == {written["in files"], written["in the database"]}
    migrate(pair)
    tags = trace_at(second, written["in files"]).info.tags
    assert (tags["late"], tags["theirs"]) == ("ü", "stays")
    copy = trace_at(second, written["in the database"])
    assert [item.name for item in copy.info.assessments] == ["late"]
    assert len(copy.data.spans) == 2
    assert to_do(plan_migration(pair, Asked())) == []


class _Killed(BaseException):
    """Stands for a process that ends on the spot."""


@pytest.mark.parametrize("point", ["trace", "file", "trace ended"])
def test_an_interrupted_copy_is_gone_on_with(
    written: dict[str, str],
    pair: Pair,
    tmp_path: Path,
    newest: MlflowServer,
    second: MlflowServer,
    point: str,
) -> None:
    def kill(name: str) -> None:
        if name == point:
            raise _Killed

    with pytest.raises(_Killed):
        migrate(pair, how=Applying(on_point=kill))
    again = pair_of(side(newest), side(second), tmp_path / "home")
    assert migrate(again).remaining == []
    assert {item.symbol for item in check(again, Selection(), download=True)} == {Symbol.SAME}
    assert second.rows("SELECT count(*) FROM trace_info") == [(3,)]


def test_a_target_that_holds_none_names_each(
    written: dict[str, str], newest: MlflowServer, floor: MlflowServer, tmp_path: Path
) -> None:
    floor.reset()
    pair = pair_of(side(newest), side(floor), tmp_path / "home")
    plan = plan_migration(pair, Asked())
    losses = [loss for change in plan.changes for loss in losses_of(change)]
    refused = {loss.item for loss in losses if loss.field == Kind.TRACE.value}
    assert refused == {f"trace {trace_id}" for trace_id in written.values()}
    account = migrate(pair)
    assert account.remaining == []
    assert account.unexplained() == {}
    assert (account.source.traces, account.target.traces) == (3, 0)
    assert to_do(plan_migration(pair, Asked())) == []


def test_by_way_of_this_machine_nothing_is_lost(
    written: dict[str, str], newest: MlflowServer, second: MlflowServer, tmp_path: Path
) -> None:
    local = local_side(tmp_path / "local")
    assert migrate(pair_of(side(newest), local, tmp_path / "home")).losses == []
    account = migrate(pair_of(local, side(second), tmp_path / "home"))
    assert (account.remaining, account.losses, account.target.traces) == ([], [], 3)
    for trace_id in written.values():
        original, copy = trace_at(newest, trace_id), trace_at(second, trace_id)
        assert copy.data.to_dict() == original.data.to_dict()
        assert copy.info.assessments == original.info.assessments


def test_a_chosen_run_comes_with_its_traces_alone(
    written: dict[str, str], pair: Pair, newest: MlflowServer, second: MlflowServer
) -> None:
    (run,) = [
        run.info.run_id for item in pair.source.experiments() for run in pair.source.runs(item.experiment_id)
    ]
    experiment = client_of(newest).get_experiment_by_name("asked").experiment_id
    with talking_to(newest) as mlflow, mlflow.start_run(experiment_id=experiment):
        ask(mlflow, "other")
    migrate(pair, Asked(selection=Selection(runs=(run,))))
    rows = second.rows("SELECT request_id FROM trace_info")
    assert {str(value) for (value,) in rows} == set(written.values())
