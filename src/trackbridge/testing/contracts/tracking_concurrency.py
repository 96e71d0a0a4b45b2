"""The tracking contract: every method may be called from any thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from trackbridge.domain.ids import mint_id
from trackbridge.domain.runs import RunStatus
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import requires
from trackbridge.testing.contracts.samples import batch_of, bits_of, run_spec
from trackbridge.testing.contracts.tracking_base import CONTRACT_EXPERIMENT_ID, TrackingTests

Result = TypeVar("Result")

THREADS = 6


def at_once(call: Callable[[int], Result], threads: int = THREADS) -> list[Result]:
    """Call with 0, 1, 2 … in as many threads, all starting together; the results in that order."""
    barrier = Barrier(threads)

    def start(number: int) -> Result:
        barrier.wait()
        return call(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(start, range(threads)))


def flatten(lists: Iterable[list[Result]]) -> list[Result]:
    """Join lists."""
    return [item for items in lists for item in items]


class ConcurrencyTests(TrackingTests):
    """Threads that do the same, or different things, at the same time."""

    def test_the_same_experiment_ensured_by_all_is_one(self) -> None:
        found = at_once(lambda _: self.store.ensure_experiment("one", experiment_id=mint_id()))
        assert len({experiment.experiment_id for experiment in found}) == 1

    def test_the_same_run_opened_by_all_is_one(self) -> None:
        spec = run_spec()
        assert {run.info.run_id for run in at_once(lambda _: self.store.open_run(spec))} == {spec.run_id}
        assert self.listed(CONTRACT_EXPERIMENT_ID) == [spec.run_id]

    def test_runs_opened_by_each_are_all_there(self) -> None:
        opened = at_once(lambda number: self.open_run(f"run {number}"))
        assert set(self.listed(CONTRACT_EXPERIMENT_ID)) == set(opened)

    @requires(Feature.TRACKING_METRIC_HISTORY)
    def test_points_written_by_each_are_all_there(self) -> None:
        run_id, now = self.open_run(), self.now

        def write(number: int) -> None:
            for part in range(5):
                steps = range(number * 100 + part * 20, number * 100 + part * 20 + 20)
                self.write_all(batch_of(run_id, metrics=[("m", float(step), step, now) for step in steps]))

        at_once(write)
        steps = flatten(list(range(number * 100, number * 100 + 100)) for number in range(THREADS))
        assert self.history(run_id, "m") == [(step, now, bits_of(float(step))) for step in steps]

    @requires(Feature.TRACKING_METRIC_HISTORY)
    def test_the_same_points_written_by_all_are_there_once(self) -> None:
        run_id, now = self.open_run(), self.now
        points = [("m", float(step), step, now) for step in range(20)]
        at_once(lambda _: self.write_all(batch_of(run_id, metrics=points)))
        assert self.history(run_id, "m") == [(step, now, bits_of(float(step))) for step in range(20)]

    def test_of_different_values_of_a_param_one_wins(self) -> None:
        run_id = self.open_run()
        accepted = at_once(lambda number: self.is_accepted(batch_of(run_id, params=[("p", str(number))])))
        assert accepted.count(True) == 1
        assert self.store.get_run(run_id).data.params == {"p": str(accepted.index(True))}

    def test_tags_set_by_each_are_all_there(self) -> None:
        run_id = self.open_run()
        at_once(
            lambda number: self.write_all(
                batch_of(run_id, tags=[(f"t{number}", "1"), ("shared", str(number))])
            )
        )
        tags = self.store.get_run(run_id).data.tags
        assert all(tags[f"t{number}"] == "1" for number in range(THREADS))
        assert tags["shared"] in map(str, range(THREADS))

    def test_reading_while_writing_sees_whole_records(self) -> None:
        run_id, now = self.open_run(), self.now

        def work(number: int) -> None:
            if number % 2:
                for step in range(5):
                    self.write_all(batch_of(run_id, metrics=[("m", float(step), step, now)]))
                return
            for _ in range(5):
                run = self.store.get_run(run_id)
                assert run.info.status is RunStatus.RUNNING
                assert set(run.data.metrics) <= {"m"}
                assert [item.info.run_id for item in self.store.list_runs(CONTRACT_EXPERIMENT_ID)] == [run_id]

        at_once(work)
        assert self.store.get_run(run_id).data.metrics == {"m": 4.0}

    def test_closing_by_all_closes_once_with_one_of_the_values(self) -> None:
        run_id = self.open_run()
        at_once(lambda number: self.close(run_id, RunStatus.FINISHED, 100 + number))
        info = self.store.get_run(run_id).info
        assert info.status is RunStatus.FINISHED
        assert info.end_time in range(100, 100 + THREADS)
