"""The tracking contract: params, tags, data set inputs, and batches of many records."""

from __future__ import annotations

import pytest

from trackbridge.domain.batches import Batch, Receipt
from trackbridge.domain.runs import TAG_NAME, DatasetInput, RunStatus
from trackbridge.errors import Rejected
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import requires
from trackbridge.testing.contracts.samples import batch_of, run_spec
from trackbridge.testing.contracts.tracking_base import TrackingTests, same_run

DATASET = DatasetInput(
    name="iris",
    digest="1234",
    source_type="s3",
    source="s3://bucket/iris.csv",
    schema='{"columns": 4}',
    profile='{"rows": 150}',
    tags={"mlflow.data.context": "training"},
)


class SettingTests(TrackingTests):
    """``write`` of everything but metrics."""

    def params(self, run_id: str) -> dict[str, str]:
        return self.store.get_run(run_id).data.params

    def tags(self, run_id: str) -> dict[str, str]:
        """Return the tags that the test wrote."""
        tags = self.store.get_run(run_id).data.tags
        return {key: value for key, value in tags.items() if key.startswith("t")}

    def test_an_empty_batch_changes_nothing(self) -> None:
        run_id = self.open_run()
        before = self.store.get_run(run_id)
        assert self.store.write(Batch(run_id=run_id)) == Receipt()
        assert same_run(self.store.get_run(run_id), before)

    def test_the_same_param_again_is_accepted(self) -> None:
        run_id = self.open_run()
        batch = batch_of(run_id, params=[("p", "1"), ("q", "")])
        self.write_all(batch)
        assert self.params(run_id) == {"p": "1", "q": ""}
        self.unchanged_by(run_id, lambda: self.write_all(batch))

    def test_another_value_of_a_param_is_rejected_and_the_first_stays(self) -> None:
        run_id = self.open_run()
        self.write_all(batch_of(run_id, params=[("p", "1")]))
        for _ in range(2):
            assert not self.is_accepted(batch_of(run_id, params=[("p", "2")], first_sequence=9))
        assert self.params(run_id) == {"p": "1"}

    @pytest.mark.parametrize(("one", "other"), [("1", "1.0"), ("a", "A"), ("", " "), ("1", "1\n")])
    def test_params_are_compared_exactly(self, one: str, other: str) -> None:
        run_id = self.open_run()
        self.write_all(batch_of(run_id, params=[("p", one)]))
        assert not self.is_accepted(batch_of(run_id, params=[("p", other)]))
        assert self.params(run_id) == {"p": one}

    def test_a_rejected_param_is_named_or_nothing_is_promised_of_the_batch(self) -> None:
        run_id = self.open_run()
        self.write_all(batch_of(run_id, params=[("p", "1")]))
        good = batch_of(run_id, params=[("q", "1")], tags=[("t", "1")], metrics=[("m", 1.0, 0, self.now)])
        mixed = batch_of(
            run_id,
            metrics=[("m", 1.0, 0, self.now)],
            params=[("p", "2"), ("q", "1")],
            tags=[("t", "1")],
            first_sequence=50,
        )
        try:
            rejected = self.write(mixed)
        except Rejected:
            self.write_all(good)
        else:
            assert [rejection.sequence for rejection in rejected] == [51]
            assert rejected[0].reason
        run = self.store.get_run(run_id)
        assert run.data.params == {"p": "1", "q": "1"}
        assert run.data.tags["t"] == "1"
        assert run.data.metrics == {"m": 1.0}

    def test_of_two_values_of_a_param_in_one_batch_the_first_counts(self) -> None:
        run_id = self.open_run()
        batch = batch_of(run_id, params=[("p", "1"), ("p", "2"), ("p", "1")], first_sequence=5)
        try:
            rejected = self.write(batch)
        except Rejected:
            return
        assert [rejection.sequence for rejection in rejected] == [6]
        assert self.params(run_id) == {"p": "1"}

    def test_keys_that_differ_in_case_are_different(self) -> None:
        run_id = self.open_run()
        self.write_all(
            batch_of(
                run_id,
                params=[("k", "1"), ("K", "2")],
                tags=[("t", "1"), ("tT", "2"), ("tt", "3")],
                metrics=[("m", 1.0, 0, self.now), ("M", 2.0, 0, self.now)],
            )
        )
        assert self.params(run_id) == {"k": "1", "K": "2"}
        assert self.tags(run_id) == {"t": "1", "tT": "2", "tt": "3"}
        assert self.store.get_run(run_id).data.metrics == {"m": 1.0, "M": 2.0}

    def test_one_key_can_name_a_metric_a_param_and_a_tag(self) -> None:
        run_id = self.open_run()
        self.write_all(
            batch_of(run_id, params=[("t", "p")], tags=[("t", "t")], metrics=[("t", 1.0, 0, self.now)])
        )
        data = self.store.get_run(run_id).data
        assert (data.params["t"], data.tags["t"], data.metrics["t"]) == ("p", "t", 1.0)

    def test_a_tag_takes_the_last_value(self) -> None:
        run_id = self.open_run()
        self.write_all(batch_of(run_id, tags=[("t", "1"), ("t", "2"), ("t1", "x")]))
        assert self.tags(run_id) == {"t": "2", "t1": "x"}
        self.write_all(batch_of(run_id, tags=[("t", "3"), ("t", "1")]))
        assert self.tags(run_id) == {"t": "1", "t1": "x"}

    def test_none_deletes_a_tag(self) -> None:
        run_id = self.open_run()
        self.write_all(batch_of(run_id, tags=[("t", "1"), ("t1", "1")]))
        self.write_all(batch_of(run_id, tags=[("t", None), ("tabsent", None)]))
        assert self.tags(run_id) == {"t1": "1"}
        self.write_all(batch_of(run_id, tags=[("t", None), ("t", "2"), ("t1", "2"), ("t1", None)]))
        assert self.tags(run_id) == {"t": "2"}

    def test_an_empty_value_of_a_tag_is_a_value(self) -> None:
        run_id = self.open_run()
        self.write_all(batch_of(run_id, tags=[("t", "")]))
        assert self.tags(run_id) == {"t": ""}

    def test_the_tag_of_the_name_is_the_name_of_the_run(self) -> None:
        run_id = self.open_run("first")
        self.write_all(batch_of(run_id, tags=[(TAG_NAME, "second")]))
        run = self.store.get_run(run_id)
        assert (run.info.run_name, run.data.tags[TAG_NAME]) == ("second", "second")
        (listed,) = self.store.list_runs(run.info.experiment_id)
        assert listed.info.run_name == "second"

    def test_a_run_that_has_ended_still_accepts_records(self) -> None:
        run_id = self.open_run()
        self.close(run_id, RunStatus.KILLED, 77)
        self.write_all(
            batch_of(run_id, params=[("p", "1")], tags=[("t", "1")], metrics=[("m", 1.0, 0, self.now)])
        )
        run = self.store.get_run(run_id)
        assert (run.data.params, run.data.metrics, self.tags(run_id)) == ({"p": "1"}, {"m": 1.0}, {"t": "1"})
        assert (run.info.status, run.info.end_time) == (RunStatus.KILLED, 77)

    def test_records_of_one_run_are_not_those_of_another(self) -> None:
        one, other = self.open_run("one"), self.open_run("other")
        self.write_all(batch_of(one, params=[("p", "1")], metrics=[("m", 1.0, 0, self.now)]))
        self.write_all(batch_of(other, params=[("p", "2")], metrics=[("m", 2.0, 0, self.now)]))
        assert (self.params(one), self.params(other)) == ({"p": "1"}, {"p": "2"})
        assert self.store.get_run(one).data.metrics == {"m": 1.0}

    def test_a_repeated_sequence_of_writes_equals_the_first(self) -> None:
        """What delivery does after a crash: it goes back some records and says them all again, in order."""
        spec, now = run_spec(tags={"t": "0"}), self.now
        resumed = run_spec("again", run_id=spec.run_id, tags={"t": "9"}, resume=True)

        def everything() -> None:
            self.store.open_run(spec)
            self.write_all(batch_of(spec.run_id, tags=[("t", "1"), ("t1", "1")], params=[("p", "1")]))
            self.write_all(
                batch_of(spec.run_id, tags=[("t1", None)], metrics=[("m", 1.0, 1, now), ("m", 2.0, 0, now)])
            )
            self.close(spec.run_id, RunStatus.FAILED, 10)
            self.store.open_run(resumed)
            self.write_all(batch_of(spec.run_id, tags=[("t2", "2")], params=[("q", "2")]))
            self.close(spec.run_id, RunStatus.FINISHED, 20)

        everything()
        self.unchanged_by(spec.run_id, everything)
        assert self.tags(spec.run_id) == {"t": "9", "t2": "2"}

    @requires(Feature.TRACKING_DATASETS)
    def test_a_data_set_is_kept_whole(self) -> None:
        run_id = self.open_run()
        self.write_all(batch_of(run_id, inputs=[DATASET]))
        assert self.store.get_run(run_id).inputs.dataset_inputs == (DATASET,)
        (listed,) = self.store.list_runs(self.experiment_of(run_id))
        assert listed.inputs.dataset_inputs == (DATASET,)

    @requires(Feature.TRACKING_DATASETS)
    def test_a_data_set_is_one_per_name_and_digest(self) -> None:
        run_id = self.open_run()
        others = [DatasetInput(name="iris", digest="5678"), DatasetInput(name="other", digest="1234")]
        batch = batch_of(run_id, inputs=[DATASET, DATASET, *others])
        self.write_all(batch)
        found = self.store.get_run(run_id).inputs.dataset_inputs
        assert sorted((item.name, item.digest) for item in found) == [
            ("iris", "1234"),
            ("iris", "5678"),
            ("other", "1234"),
        ]
        self.unchanged_by(run_id, lambda: self.write_all(batch))

    @requires(Feature.TRACKING_DATASETS)
    def test_two_runs_can_read_the_same_data_set(self) -> None:
        runs = [self.open_run(), self.open_run()]
        for run_id in runs:
            self.write_all(batch_of(run_id, inputs=[DATASET]))
        assert all(self.store.get_run(run_id).inputs.dataset_inputs == (DATASET,) for run_id in runs)

    @pytest.mark.parametrize("kind", ["metrics", "params", "tags"])
    def test_more_records_than_a_write_takes_are_refused_or_kept(self, kind: str) -> None:
        most = getattr(self.limits, f"{kind}_per_write_max") or 500
        run_id = self.open_run()
        texts = [(f"t{number}", str(number)) for number in range(most + 1)]
        points = [(key, 1.0, 0, self.now) for key, _ in texts]
        batch = {
            "metrics": batch_of(run_id, metrics=points),
            "params": batch_of(run_id, params=texts),
            "tags": batch_of(run_id, tags=texts),
        }[kind]
        try:
            receipt = self.store.write(batch)
        except Rejected:
            self.write_all(batch)
        else:
            assert receipt.rejected == ()
        data = self.store.get_run(run_id).data
        counts = {"metrics": len(data.metrics), "params": len(data.params), "tags": len(self.tags(run_id))}
        assert counts[kind] == most + 1
