"""Logged models and traces between two stores: selection, refusals, interruptions, hostile values."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.memory_adapter import MemoryAdapter
from tests.support.migrations import migrate, pair_of, patient_side, to_do
from trackbridge.domain.metric_values import ValueKind
from trackbridge.domain.migration import Kind, Selection, Symbol
from trackbridge.domain.plans import Action
from trackbridge.domain.runs import LifecycleStage, RunSpec, RunStatus
from trackbridge.domain.traces import LoggedModel, ModelLink, ModelMetric, Trace
from trackbridge.errors import PlanStale, Rejected
from trackbridge.operations.migrate.applying import Applying, apply_migration
from trackbridge.operations.migrate.checking import check
from trackbridge.operations.migrate.pair import Asked, Pair
from trackbridge.operations.migrate.planning import losses_of, plan_migration
from trackbridge.operations.migrate.rewriting import Rewriter
from trackbridge.ports.capabilities import Feature, Limits
from trackbridge.testing.contracts.samples import HOSTILE_TEXTS
from trackbridge.testing.contracts.tracking_traces import assessment_of, span_of

MODEL, OTHER, TRACE = f"m-{'1' * 32}", f"m-{'2' * 32}", f"tr-{'3' * 32}"
RUN, READER = "a" * 32, "b" * 32
NONE = {Feature.TRACKING_LOGGED_MODELS: "no logged models here", Feature.TRACKING_TRACES: "no traces here"}


def run_of(adapter: MemoryAdapter, run_id: str, *, tags: dict[str, str] | None = None) -> str:
    """Make a run that has ended; return its experiment."""
    tracking = adapter.tracking
    assert tracking is not None
    spec = RunSpec(
        run_id=run_id,
        experiment_id="e" * 32,
        experiment_name="wine",
        name="run",
        user="me",
        start_time=1000,
        tags=tags or {},
    )
    opened = tracking.open_run(spec)
    tracking.close_run(run_id, status=RunStatus.FINISHED, end_time=2000)
    return opened.info.experiment_id


def put_file(adapter: MemoryAdapter, owner: str, path: str, content: bytes, folder: Path) -> None:
    file = folder / "content"
    file.write_bytes(content)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert adapter.artifacts is not None
    adapter.artifacts.put(owner, path, file, digest=digest, size=len(content))


@pytest.fixture
def source(tmp_path: Path) -> MemoryAdapter:
    """A store with two runs, two logged models and a trace, each with a file."""
    adapter = MemoryAdapter()
    tracking = adapter.tracking
    assert tracking is not None
    experiment = run_of(adapter, RUN, tags={"best": f"models:/{MODEL}"})
    run_of(adapter, READER)
    metric = ModelMetric(key="acc", step=1, timestamp=5, value=0.5, run_id=READER)
    model = LoggedModel(
        model_id=MODEL,
        name="clf",
        experiment_id=experiment,
        source_run_id=RUN,
        params={"p": "1"},
        tags={"t": "ü"},
        metrics=(metric,),
    )
    tracking.put_logged_model(model)
    tracking.put_logged_model(LoggedModel(model_id=OTHER, name="lonely", experiment_id=experiment))
    tracking.link_models(RUN, (ModelLink(model_id=MODEL, step=3),))
    tracking.link_models(READER, (ModelLink(model_id=MODEL),))
    trace = Trace(
        trace_id=TRACE,
        experiment_id=experiment,
        request_time=1_700_000_000_000,
        metadata={"mlflow.sourceRun": RUN, "mlflow.modelId": MODEL},
        tags={"t": "ü"},
        assessments=(assessment_of(TRACE),),
        spans=(span_of(TRACE),),
    )
    tracking.put_trace(trace)
    put_file(adapter, MODEL, "MLmodel", f"model_id: {MODEL}\nrun_id: {RUN}\n".encode(), tmp_path)
    put_file(adapter, TRACE, "attachments/x", b"x", tmp_path)
    return adapter


def pair_to(source: MemoryAdapter, target: MemoryAdapter, folder: Path) -> Pair:
    return pair_of(patient_side(source, "memory:a"), patient_side(target, "memory:b"), folder / "home")


def symbols(pair: Pair) -> dict[str, Symbol]:
    return {item.subject: item.symbol for item in check(pair, Selection(), download=True)}


def test_all_of_them_move_and_a_repetition_does_nothing(source: MemoryAdapter, tmp_path: Path) -> None:
    target = MemoryAdapter()
    account = migrate(pair_to(source, target, tmp_path))
    assert (account.remaining, account.losses, account.unexplained()) == ([], [], {})
    assert (account.target.logged_models, account.target.traces) == (2, 1)
    again = pair_to(source, target, tmp_path)
    assert to_do(plan_migration(again, Asked())) == []
    assert set(symbols(again).values()) == {Symbol.SAME}
    assert target.tracking is not None
    assert target.tracking.get_run(RUN).models == (ModelLink(model_id=MODEL, step=3),)
    assert target.tracking.get_run(READER).models == (ModelLink(model_id=MODEL),)
    assert target.tracking.get_run(RUN).info.status is RunStatus.FINISHED
    copied = target.tracking.get_logged_model(MODEL)
    assert copied.metrics == source.state.logged_models[MODEL].metrics
    assert target.tracking.get_trace(TRACE).spans == source.state.traces[TRACE].spans


def test_what_a_target_does_not_hold_is_named_and_counted(source: MemoryAdapter, tmp_path: Path) -> None:
    pair = pair_to(source, MemoryAdapter(missing=NONE), tmp_path)
    plan = plan_migration(pair, Asked())
    lost = {loss.item: loss.detail for change in plan.changes for loss in losses_of(change)}
    assert lost == {
        f"logged_model {MODEL}": "no logged models here",
        f"logged_model {OTHER}": "no logged models here",
        f"trace {TRACE}": "no traces here",
    }
    with pytest.raises(Rejected):
        apply_migration(plan, pair, Applying(strict=True))
    account = apply_migration(plan, pair)
    assert (account.remaining, account.unexplained(), account.exit_code) == ([], {}, 0)
    assert (account.source.logged_models, account.target.logged_models) == (2, 0)
    assert (account.source.traces, account.target.traces) == (1, 0)
    assert to_do(plan_migration(pair, Asked())) == []
    found = symbols(pair)
    assert found.pop(f"trace {TRACE}") is Symbol.MISSING_AT_TARGET
    assert found[f"logged_model {MODEL}"] is Symbol.MISSING_AT_TARGET


def test_a_source_that_has_none_of_them_is_asked_for_nothing(source: MemoryAdapter, tmp_path: Path) -> None:
    bare = MemoryAdapter(source.state, missing=NONE)
    account = migrate(pair_to(bare, MemoryAdapter(), tmp_path))
    assert account.remaining == []
    assert account.source.logged_models == account.source.traces == 0


@pytest.mark.parametrize(
    "point", ["opened", "logged model", "file", "logged model ended", "ended", "trace", "trace ended"]
)
def test_an_interrupted_migration_is_gone_on_with(source: MemoryAdapter, tmp_path: Path, point: str) -> None:
    class Killed(BaseException):
        pass

    def kill(name: str) -> None:
        if name == point:
            raise Killed

    target = MemoryAdapter()
    with pytest.raises(Killed):
        migrate(pair_to(source, target, tmp_path), how=Applying(on_point=kill))
    pair = pair_to(source, target, tmp_path)
    assert migrate(pair).remaining == []
    assert set(symbols(pair).values()) == {Symbol.SAME}
    assert to_do(plan_migration(pair_to(source, target, tmp_path), Asked())) == []


def test_a_run_waits_for_its_logged_model(source: MemoryAdapter, tmp_path: Path) -> None:
    target = MemoryAdapter()
    tracking = target.tracking
    assert tracking is not None
    experiment = run_of(target, "c" * 32)
    tracking.put_logged_model(LoggedModel(model_id=MODEL, name="another", experiment_id=experiment))
    account = migrate(pair_to(source, target, tmp_path))
    remaining = {outcome.subject: outcome.error for outcome in account.remaining}
    assert set(remaining) == {f"logged_model {MODEL}", f"run {RUN}", f"run {READER}"}
    assert "its logged model" in remaining[f"run {RUN}"]
    assert tracking.get_run(RUN).info.status is RunStatus.RUNNING
    del target.state.logged_models[MODEL]
    pair = pair_to(source, target, tmp_path)
    assert migrate(pair).remaining == []
    assert tracking.get_run(RUN).info.status is RunStatus.FINISHED
    assert tracking.get_run(RUN).models == (ModelLink(model_id=MODEL, step=3),)


def test_a_chosen_run_brings_what_belongs_to_it(source: MemoryAdapter, tmp_path: Path) -> None:
    target = MemoryAdapter()
    migrate(pair_to(source, target, tmp_path), Asked(selection=Selection(runs=(RUN,))))
    assert set(target.state.logged_models) == {MODEL}
    assert set(target.state.traces) == {TRACE}


def plan_of(source: MemoryAdapter, target: MemoryAdapter, folder: Path) -> tuple[Any, ...]:
    return plan_migration(pair_to(source, target, folder), Asked()).changes


def test_metrics_of_a_run_that_does_not_come_are_listed(source: MemoryAdapter, tmp_path: Path) -> None:
    target = MemoryAdapter()
    account = migrate(pair_to(source, target, tmp_path), Asked(selection=Selection(runs=(RUN,))))
    assert account.remaining == []
    (loss,) = account.losses
    assert (loss.item, loss.field, loss.count) == (f"logged_model {MODEL}", "metrics.acc@1", 1)
    assert target.state.logged_models[MODEL].metrics == ()


def test_what_changed_since_the_plan_refuses_that_item(source: MemoryAdapter, tmp_path: Path) -> None:
    pair = pair_to(source, MemoryAdapter(), tmp_path)
    plan = plan_migration(pair, Asked())
    model = source.state.logged_models[OTHER]
    source.state.logged_models[OTHER] = msgspec.structs.replace(model, tags={"late": "1"})
    with pytest.raises(PlanStale):
        apply_migration(plan, pair)
    assert pair.target.adapter.capabilities() is not None
    assert list(pair.target.logged_models(("e" * 32,))) == []


def test_what_is_gone_since_the_plan_remains(source: MemoryAdapter, tmp_path: Path) -> None:
    pair = pair_to(source, MemoryAdapter(), tmp_path)
    plan = plan_migration(pair, Asked())
    del source.state.logged_models[OTHER], source.state.traces[TRACE]
    account = apply_migration(plan, pair)
    assert {outcome.subject for outcome in account.remaining} == {f"logged_model {OTHER}", f"trace {TRACE}"}
    assert account.exit_code == 3


def test_a_deleted_run_keeps_its_links(source: MemoryAdapter, tmp_path: Path) -> None:
    assert source.tracking is not None
    source.tracking.delete_run(RUN)
    target = MemoryAdapter()
    assert migrate(pair_to(source, target, tmp_path)).remaining == []
    assert target.tracking is not None
    copied = target.tracking.get_run(RUN)
    assert copied.models == (ModelLink(model_id=MODEL, step=3),)
    assert copied.info.lifecycle_stage is LifecycleStage.DELETED


def test_a_deleted_experiment_brings_its_own(source: MemoryAdapter, tmp_path: Path) -> None:
    assert source.tracking is not None
    source.tracking.delete_experiment("e" * 32)
    target = MemoryAdapter()
    pair = pair_to(source, target, tmp_path)
    account = migrate(pair)
    assert (account.remaining, account.losses) == ([], [])
    assert set(target.state.logged_models) == {MODEL, OTHER}


@pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS)
def test_any_text_moves(source: MemoryAdapter, tmp_path: Path, text: str) -> None:
    for kind, key in (("logged_models", OTHER), ("traces", TRACE)):
        items = getattr(source.state, kind)
        items[key] = msgspec.structs.replace(items[key], tags={text or "t": text})
    target = MemoryAdapter()
    pair = pair_to(source, target, tmp_path)
    assert migrate(pair).remaining == []
    assert set(symbols(pair).values()) == {Symbol.SAME}


def test_a_metric_value_that_the_target_does_not_hold_is_listed(
    source: MemoryAdapter, tmp_path: Path
) -> None:
    model = source.state.logged_models[MODEL]
    infinite = ModelMetric(key="loss", step=0, timestamp=0, value=float("inf"), run_id=READER)
    source.state.logged_models[MODEL] = msgspec.structs.replace(model, metrics=(*model.metrics, infinite))
    limits = Limits(metric_values_unheld=frozenset({ValueKind.INFINITY}))
    account = migrate(pair_to(source, MemoryAdapter(limits=limits), tmp_path))
    assert account.remaining == []
    lost = [loss.field for loss in account.losses if loss.item == f"logged_model {MODEL}"]
    assert lost == ["metrics.loss@0"]


def test_ids_of_logged_models_are_rewritten_wherever_they_stand() -> None:
    new = f"m-{'9' * 32}"
    rewriter = Rewriter("memory:a", models={MODEL: new})
    assert rewriter.text(f"x models:/{MODEL}/y, {MODEL}") == f"x models:/{new}/y, {new}"
    for text in (f"tm-{'1' * 32}", f"{MODEL}0", MODEL[:-1], f"m-{'A' * 32}", OTHER, ""):
        assert rewriter.text(text) == text
    mlmodel = f"artifact_path: mlflow-artifacts:/1/models/{MODEL}/artifacts\nmodel_id: {MODEL}\n\xff"
    assert rewriter.mlmodel(mlmodel.encode("latin-1")).decode("latin-1") == mlmodel.replace(MODEL, new)
    assert not Rewriter("memory:a").renames_models


def test_plans_name_kinds(source: MemoryAdapter, tmp_path: Path) -> None:
    changes = plan_of(source, MemoryAdapter(), tmp_path)
    created = [change.subject for change in changes if change.action is Action.CREATE]
    assert created.index("experiment wine") < created.index(f"logged_model {MODEL}")
    assert {kind.value for kind in (Kind.LOGGED_MODEL, Kind.TRACE)} <= {item.split()[0] for item in created}
