"""The tracking contract: the life of a run, listings, logged models and traces."""

from __future__ import annotations

import msgspec
import pytest

from trackbridge.domain.ids import experiment_id_of, mint_id
from trackbridge.domain.runs import TAG_NAME, LifecycleStage, RunStatus
from trackbridge.errors import NotFound, Rejected
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import each, requires
from trackbridge.testing.contracts.samples import batch_of, run_spec
from trackbridge.testing.contracts.tracking_base import (
    CONTRACT_EXPERIMENT_ID,
    TrackingTests,
    pages_hold,
    refuses_garbage,
    same_run,
)

FINAL = [status for status in RunStatus if status.is_final]
NOT_FINAL = [status for status in RunStatus if not status.is_final]


class RunTests(TrackingTests):
    """open_run, close_run, get_run, list_runs, delete_run, restore_run, logged models and traces."""

    def test_a_run_is_created_running_with_what_the_spec_says(self) -> None:
        spec = run_spec("first", start_time=self.now, tags={"a": "1"})
        run = self.store.open_run(spec)
        assert run.info.run_id == spec.run_id
        assert (run.info.run_name, run.info.user_id) == ("first", "tester")
        assert run.info.status is RunStatus.RUNNING
        assert (run.info.start_time, run.info.end_time) == (spec.start_time, None)
        assert run.info.lifecycle_stage is LifecycleStage.ACTIVE
        assert run.data.tags["a"] == "1"
        assert run.data.tags[TAG_NAME] == "first"
        assert (run.data.metrics, run.data.params, run.inputs.dataset_inputs) == ({}, {}, ())
        assert same_run(self.store.get_run(spec.run_id), run)

    def test_a_run_that_is_said_to_be_new_is_opened_like_any_other(self) -> None:
        known = self.store.open_run(run_spec("earlier"))
        spec = run_spec("new", tags={"a": "1"})
        run = self.store.open_run(msgspec.structs.replace(spec, is_new=True))
        assert (run.info.run_id, run.info.run_name) == (spec.run_id, "new")
        assert run.info.experiment_id == known.info.experiment_id
        assert same_run(self.store.open_run(spec), run)
        assert same_run(self.store.get_run(spec.run_id), run)

    def test_the_experiment_of_a_run_is_created_when_missing(self) -> None:
        run = self.store.open_run(run_spec(experiment="new"))
        found = self.store.ensure_experiment("new", experiment_id=mint_id())
        assert run.info.experiment_id == found.experiment_id == experiment_id_of("new")

    def test_a_run_goes_to_the_experiment_of_its_name(self) -> None:
        first = self.store.ensure_experiment("contract", experiment_id=mint_id())
        assert self.store.open_run(run_spec()).info.experiment_id == first.experiment_id

    def test_opening_twice_equals_once(self) -> None:
        spec = run_spec(tags={"a": "1"})
        self.store.open_run(spec)
        self.unchanged_by(spec.run_id, lambda: self.store.open_run(spec))
        assert self.listed(CONTRACT_EXPERIMENT_ID) == [spec.run_id]

    def test_a_run_that_exists_is_returned_as_it_is(self) -> None:
        run_id = self.open_run("first", start_time=10, tags={"a": "1"})
        self.close(run_id, RunStatus.FAILED, 20)
        before = self.store.get_run(run_id)
        other = run_spec("second", run_id=run_id, start_time=99, tags={"a": "2", "b": "2"})
        assert same_run(self.store.open_run(other), before)
        assert same_run(self.store.get_run(run_id), before)

    def test_resuming_sets_an_ended_run_back_to_running(self) -> None:
        run_id = self.open_run("first", start_time=10, tags={"a": "1", "b": "1"})
        self.write_all(batch_of(run_id, params=[("p", "1")], metrics=[("m", 1.0, 0, self.now)]))
        self.close(run_id, RunStatus.KILLED, 20)
        again = run_spec("second", run_id=run_id, start_time=99, tags={"b": "2"}, resume=True)
        run = self.store.open_run(again)
        assert (run.info.status, run.info.end_time, run.info.start_time) == (RunStatus.RUNNING, None, 10)
        assert {key: run.data.tags[key] for key in "ab"} == {"a": "1", "b": "2"}
        assert run.info.run_name == run.data.tags[TAG_NAME] == "second"
        assert (run.data.params, run.data.metrics) == ({"p": "1"}, {"m": 1.0})
        self.unchanged_by(run_id, lambda: self.store.open_run(again))

    def test_resuming_a_run_that_does_not_exist_creates_it(self) -> None:
        run = self.store.open_run(run_spec(resume=True))
        assert run.info.status is RunStatus.RUNNING

    @each("start_time", [0, 1, 1_700_000_000_123, 2**53 + 1])
    def test_the_start_time_is_kept_to_the_millisecond(self, start_time: int) -> None:
        run_id = self.open_run(start_time=start_time)
        assert self.store.get_run(run_id).info.start_time == start_time

    @requires(Feature.TRACKING_DELETE)
    def test_a_deleted_run_cannot_be_opened(self) -> None:
        run_id = self.open_run()
        self.store.delete_run(run_id)
        for resume in (False, True):
            with pytest.raises(Rejected):
                self.store.open_run(run_spec(run_id=run_id, resume=resume))

    @each("status", FINAL)
    def test_closing_sets_status_and_end_time(self, status: RunStatus) -> None:
        run_id = self.open_run()
        self.close(run_id, status, 1_700_000_000_999)
        info = self.store.get_run(run_id).info
        assert (info.status, info.end_time) == (status, 1_700_000_000_999)
        self.unchanged_by(run_id, lambda: self.close(run_id, status, 1_700_000_000_999))

    def test_closing_an_ended_run_sets_the_new_status_and_time(self) -> None:
        run_id = self.open_run()
        self.close(run_id, RunStatus.KILLED, 20)
        self.close(run_id, RunStatus.FINISHED, 10)
        info = self.store.get_run(run_id).info
        assert (info.status, info.end_time) == (RunStatus.FINISHED, 10)

    @each("status", NOT_FINAL)
    def test_a_run_cannot_be_closed_with_a_status_that_is_not_final(self, status: RunStatus) -> None:
        run_id = self.open_run()
        with pytest.raises(Rejected):
            self.close(run_id, status)
        info = self.store.get_run(run_id).info
        assert (info.status, info.end_time) == (RunStatus.RUNNING, None)

    def test_an_unknown_run_is_not_found(self) -> None:
        self.open_run()
        for unknown in (mint_id(), "", "no such run", "'; --", "../x", "ü" * 300, "a\0b"):
            with pytest.raises(NotFound):
                self.store.get_run(unknown)
            with pytest.raises(NotFound):
                self.close(unknown)
            with pytest.raises(NotFound):
                self.store.write(batch_of(unknown, params=[("p", "1")]))

    @requires(Feature.TRACKING_METRIC_HISTORY)
    def test_an_unknown_run_has_no_history(self) -> None:
        with pytest.raises(NotFound):
            self.store.metric_history(mint_id(), "m")

    def test_an_empty_store_knows_no_run(self) -> None:
        with pytest.raises(NotFound):
            self.store.get_run(mint_id())
        with pytest.raises(NotFound):
            self.close(mint_id())
        with pytest.raises(NotFound):
            self.store.write(batch_of(mint_id(), params=[("p", "1")]))
        assert len(self.store.list_runs(mint_id())) == 0

    @requires(Feature.TRACKING_DELETE)
    def test_a_deleted_run_can_be_read_and_restored(self) -> None:
        run_id = self.open_run()
        self.write_all(batch_of(run_id, params=[("p", "1")]))
        self.store.delete_run(run_id)
        run = self.store.get_run(run_id)
        assert run.info.lifecycle_stage is LifecycleStage.DELETED
        assert run.data.params == {"p": "1"}
        self.unchanged_by(run_id, lambda: self.store.delete_run(run_id))
        self.store.restore_run(run_id)
        assert self.store.get_run(run_id).info.lifecycle_stage is LifecycleStage.ACTIVE
        self.unchanged_by(run_id, lambda: self.store.restore_run(run_id))

    @requires(Feature.TRACKING_DELETE)
    def test_a_deleted_run_takes_no_records(self) -> None:
        run_id = self.open_run()
        self.store.delete_run(run_id)
        before = self.store.get_run(run_id)
        with pytest.raises(Rejected):
            self.store.write(batch_of(run_id, params=[("p", "1")]))
        with pytest.raises(Rejected):
            self.close(run_id)
        assert same_run(self.store.get_run(run_id), before)

    @requires(Feature.TRACKING_DELETE)
    def test_deleted_runs_are_listed_by_stage(self) -> None:
        kept, deleted = self.open_run(start_time=1), self.open_run(start_time=2)
        experiment_id = self.experiment_of(kept)
        self.store.delete_run(deleted)
        assert self.listed(experiment_id) == [kept]
        assert self.listed(experiment_id, LifecycleStage.DELETED) == [deleted]
        assert self.listed(experiment_id, None) == [deleted, kept]

    @requires(Feature.TRACKING_DELETE)
    def test_an_unknown_run_cannot_be_deleted(self) -> None:
        with pytest.raises(NotFound):
            self.store.delete_run(mint_id())

    @requires(Feature.TRACKING_DELETE)
    def test_an_unknown_run_cannot_be_restored(self) -> None:
        with pytest.raises(NotFound):
            self.store.restore_run(mint_id())

    def test_runs_are_listed_newest_start_first_then_by_id(self) -> None:
        ids = sorted(mint_id() for _ in range(6))
        times = [5, 7, 5, 9, 5, 7]
        for run_id, start_time in reversed(list(zip(ids, times, strict=True))):
            self.open_run(run_id=run_id, start_time=start_time)
        self.open_run(experiment="other")
        expected = [ids[3], ids[1], ids[5], ids[0], ids[2], ids[4]]
        assert self.listed(CONTRACT_EXPERIMENT_ID) == expected

    def test_runs_are_paged(self) -> None:
        for number in range(7):
            self.open_run(start_time=number // 2)
        whole = self.listed(CONTRACT_EXPERIMENT_ID)
        assert len(whole) == 7
        pages_hold(
            whole,
            lambda size, token: self.store.list_runs(CONTRACT_EXPERIMENT_ID, max_results=size, token=token),
            sizes=(1, 2, 3, 7, 100),
            item=lambda run: run.info.run_id,
        )

    def test_a_foreign_token_of_a_listing_of_runs_is_refused(self) -> None:
        self.open_run()
        refuses_garbage(lambda token: self.store.list_runs(CONTRACT_EXPERIMENT_ID, token=token))

    def test_a_listed_run_is_the_run(self) -> None:
        run_id = self.open_run(tags={"a": "1"})
        self.write_all(batch_of(run_id, params=[("p", "1")], metrics=[("m", 0.5, 0, self.now)]))
        (listed,) = self.store.list_runs(CONTRACT_EXPERIMENT_ID)
        assert same_run(listed, self.store.get_run(run_id))

    def test_an_unknown_experiment_has_no_runs(self) -> None:
        self.open_run()
        for stage in (LifecycleStage.ACTIVE, LifecycleStage.DELETED, None):
            page = self.store.list_runs(mint_id(), stage=stage)
            assert (page.items, page.token) == ((), None)
