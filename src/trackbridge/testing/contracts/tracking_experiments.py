"""The tracking contract: experiments."""

from __future__ import annotations

from contextlib import suppress

import pytest

from trackbridge.domain.ids import experiment_id_of, mint_id
from trackbridge.domain.runs import Experiment, LifecycleStage
from trackbridge.errors import NotFound, Rejected
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import each, requires
from trackbridge.testing.contracts.samples import HOSTILE_TEXTS, run_spec
from trackbridge.testing.contracts.tracking_base import TrackingTests, pages_hold, refuses_garbage


class ExperimentTests(TrackingTests):
    """ensure_experiment, list_experiments, delete_experiment, restore_experiment."""

    def ensure(self, name: str, tags: dict[str, str] | None = None) -> Experiment:
        return self.store.ensure_experiment(name, experiment_id=experiment_id_of(name), tags=tags)

    def find(self, experiment_id: str, stage: LifecycleStage | None = None) -> Experiment | None:
        found = self.store.list_experiments(stage=stage)
        return next((item for item in found if item.experiment_id == experiment_id), None)

    def test_an_experiment_is_created_with_the_given_id(self) -> None:
        created = self.ensure("one", {"team": "a"})
        assert created.experiment_id == experiment_id_of("one")
        assert created.name == "one"
        assert created.tags["team"] == "a"
        assert created.lifecycle_stage is LifecycleStage.ACTIVE

    def test_an_experiment_that_exists_keeps_its_id(self) -> None:
        created = self.ensure("one")
        found = self.store.ensure_experiment("one", experiment_id=mint_id())
        assert found.experiment_id == created.experiment_id

    def test_ensuring_twice_equals_once(self) -> None:
        once = self.ensure("one", {"a": "1"})
        twice = self.ensure("one", {"a": "1"})
        assert (twice.experiment_id, twice.name, twice.tags) == (once.experiment_id, once.name, once.tags)

    def test_tags_are_set_on_an_experiment_that_exists(self) -> None:
        self.ensure("one", {"a": "1", "b": "1"})
        tags = self.ensure("one", {"b": "2", "c": "3"}).tags
        assert {key: tags.get(key) for key in "abc"} == {"a": "1", "b": "2", "c": "3"}
        assert self.ensure("one").tags == tags

    def test_experiments_of_different_names_are_different(self) -> None:
        names = ["one", "One", "one ", "öne"]
        assert len({self.ensure(name).experiment_id for name in names}) == len(names)

    @each("name", HOSTILE_TEXTS)
    def test_a_hostile_name_is_kept_or_refused(self, name: str) -> None:
        text = HOSTILE_TEXTS[name]
        identifier = mint_id()
        try:
            created = self.store.ensure_experiment(text, experiment_id=identifier)
        except Rejected:
            return
        assert created.name == text
        again = self.store.ensure_experiment(text, experiment_id=mint_id())
        assert (again.experiment_id, again.name) == (identifier, text)

    def test_a_hostile_tag_of_an_experiment_is_kept_or_refused(self) -> None:
        kept = dict(self.ensure("one").tags)
        for name, text in HOSTILE_TEXTS.items():
            with suppress(Rejected):
                self.ensure("one", {name: text})
                kept[name] = text
        assert self.ensure("one").tags == kept

    @requires(Feature.TRACKING_EXPERIMENT_LISTING)
    def test_experiments_are_listed_newest_first_then_by_id(self) -> None:
        created = {self.ensure(f"e{number}").experiment_id for number in range(5)}
        listed = list(self.store.list_experiments())
        assert created <= {item.experiment_id for item in listed}
        keys = [(-(item.creation_time or 0), item.experiment_id) for item in listed]
        assert keys == sorted(keys)

    @requires(Feature.TRACKING_EXPERIMENT_LISTING)
    def test_experiments_are_paged(self) -> None:
        for number in range(5):
            self.ensure(f"e{number}")
        whole = [item.experiment_id for item in self.store.list_experiments(stage=None)]
        pages_hold(
            whole,
            lambda size, token: self.store.list_experiments(stage=None, max_results=size, token=token),
            sizes=(1, 2, 5, 100),
            item=lambda experiment: experiment.experiment_id,
        )

    @requires(Feature.TRACKING_EXPERIMENT_LISTING)
    def test_a_foreign_token_of_a_listing_of_experiments_is_refused(self) -> None:
        self.ensure("one")
        refuses_garbage(lambda token: self.store.list_experiments(token=token))

    @requires(Feature.TRACKING_EXPERIMENT_LISTING)
    def test_a_listed_experiment_has_what_it_was_given(self) -> None:
        created = self.ensure("one", {"a": "1"})
        assert self.find(created.experiment_id) == self.ensure("one")

    @requires(Feature.TRACKING_DELETE, Feature.TRACKING_EXPERIMENT_LISTING)
    def test_a_deleted_experiment_is_listed_by_stage(self) -> None:
        experiment_id = self.ensure("one").experiment_id
        self.store.delete_experiment(experiment_id)
        assert self.find(experiment_id, LifecycleStage.ACTIVE) is None
        for stage in (LifecycleStage.DELETED, None):
            found = self.find(experiment_id, stage)
            assert found is not None
            assert found.lifecycle_stage is LifecycleStage.DELETED
        self.store.restore_experiment(experiment_id)
        assert self.find(experiment_id, LifecycleStage.ACTIVE) is not None
        assert self.find(experiment_id, LifecycleStage.DELETED) is None

    @requires(Feature.TRACKING_DELETE)
    def test_the_name_of_a_deleted_experiment_stays_taken(self) -> None:
        experiment_id = self.ensure("one").experiment_id
        self.store.delete_experiment(experiment_id)
        with pytest.raises(Rejected) as caught:
            self.store.ensure_experiment("one", experiment_id=mint_id())
        assert "restore" in (caught.value.hint or ""), "the hint says how to restore it"
        self.store.restore_experiment(experiment_id)
        assert self.ensure("one").experiment_id == experiment_id

    @requires(Feature.TRACKING_DELETE)
    def test_a_run_cannot_be_opened_in_a_deleted_experiment(self) -> None:
        run_id = self.open_run()
        self.store.delete_experiment(self.experiment_of(run_id))
        for spec in (run_spec(), run_spec(run_id=run_id), run_spec(run_id=run_id, resume=True)):
            with pytest.raises(Rejected):
                self.store.open_run(spec)

    @requires(Feature.TRACKING_DELETE)
    def test_deleting_an_experiment_takes_its_runs_along_and_restoring_brings_them_back(self) -> None:
        kept, deleted_before = self.open_run("kept"), self.open_run("deleted before")
        other = self.open_run("other", experiment="other")
        experiment_id = self.experiment_of(kept)
        self.store.delete_run(deleted_before)

        self.store.delete_experiment(experiment_id)
        assert self.listed(experiment_id) == []
        assert set(self.listed(experiment_id, LifecycleStage.DELETED)) == {kept, deleted_before}
        assert self.store.get_run(kept).info.lifecycle_stage is LifecycleStage.DELETED
        assert self.store.get_run(other).info.lifecycle_stage is LifecycleStage.ACTIVE

        self.store.restore_experiment(experiment_id)
        assert self.listed(experiment_id) == [kept]
        assert self.listed(experiment_id, LifecycleStage.DELETED) == [deleted_before]

    @requires(Feature.TRACKING_DELETE)
    def test_deleting_and_restoring_an_experiment_twice_equals_once(self) -> None:
        kept, deleted_before = self.open_run("kept"), self.open_run("deleted before")
        experiment_id = self.experiment_of(kept)
        self.store.delete_run(deleted_before)
        self.store.restore_experiment(experiment_id)
        assert self.listed(experiment_id) == [kept], "restoring an active experiment changes nothing"
        self.store.delete_experiment(experiment_id)
        self.store.delete_experiment(experiment_id)
        self.store.restore_experiment(experiment_id)
        self.store.restore_experiment(experiment_id)
        assert self.listed(experiment_id) == [kept]

    @requires(Feature.TRACKING_DELETE)
    def test_an_unknown_experiment_cannot_be_deleted(self) -> None:
        with pytest.raises(NotFound):
            self.store.delete_experiment(mint_id())

    @requires(Feature.TRACKING_DELETE)
    def test_an_unknown_experiment_cannot_be_restored(self) -> None:
        with pytest.raises(NotFound):
            self.store.restore_experiment(mint_id())
