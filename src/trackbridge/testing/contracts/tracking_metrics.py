"""The tracking contract: points, their bits, their order and their last value."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest

import pytest

from trackbridge.domain.batches import MetricColumns
from trackbridge.domain.ids import experiment_id_of
from trackbridge.domain.metric_values import kind_of
from trackbridge.domain.runs import Moment, Run
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import each, requires
from trackbridge.testing.contracts.samples import (
    FINITE_VALUES,
    INT64_MAX,
    INT64_MIN,
    NON_FINITE_VALUES,
    batch_of,
    bits_of,
    points_of,
)
from trackbridge.testing.contracts.tracking_base import CONTRACT_EXPERIMENT_ID, TrackingTests

INF, NAN = float("inf"), float("nan")

LAST_VALUES: dict[str, tuple[list[tuple[float, int, int]], float]] = {
    "highest step": ([(1.0, 5, 9), (2.0, 7, 1), (3.0, 6, 8)], 2.0),
    "latest of a step": ([(1.0, 5, 3), (2.0, 5, 9), (3.0, 5, 8)], 2.0),
    "greatest of a time": ([(1.0, 5, 3), (3.0, 5, 3), (2.0, 5, 3)], 3.0),
    "negative steps": ([(1.0, -5, 3), (2.0, -7, 9)], 1.0),
    "zero above negative": ([(1.0, -1, 9), (2.0, 0, 1)], 2.0),
    "least values": ([(-3.0, 1, 1), (-2.0, 1, 1)], -2.0),
    "not the last written": ([(1.0, 9, 9), (2.0, 1, 1)], 1.0),
}
NON_FINITE_LAST_VALUES: dict[str, tuple[list[tuple[float, int, int]], float]] = {
    "nan is least": ([(NAN, 5, 3), (-1e300, 5, 3)], -1e300),
    "nan is less than minus infinity": ([(-INF, 5, 3), (NAN, 5, 3)], -INF),
    "infinity is greatest": ([(1e300, 5, 3), (INF, 5, 3)], INF),
    "nan at a higher step": ([(1.0, 5, 3), (NAN, 6, 3)], NAN),
    "nan at a later time": ([(1.0, 5, 3), (NAN, 5, 4)], NAN),
    "number after nan": ([(NAN, 5, 3), (1.0, 6, 3)], 1.0),
}


class MetricTests(TrackingTests):
    """``write`` of metrics, ``metric_history``, and the last values of ``get_run``."""

    def holds(self, value: float) -> bool:
        return kind_of(value) not in self.limits.metric_values_unheld

    def point_is_accepted(
        self, run_id: str, value: float, *, key: str = "m", step: int = 0, timestamp: int | None = None
    ) -> bool:
        at = self.now if timestamp is None else timestamp
        return self.is_accepted(batch_of(run_id, metrics=[(key, value, step, at)]))

    def test_a_value_is_kept_by_its_bits(self) -> None:
        run_id, expected = self.open_run(), dict[str, int]()
        for name, value in (FINITE_VALUES | NON_FINITE_VALUES).items():
            accepted = self.point_is_accepted(run_id, value, key=name)
            assert accepted == self.holds(value), name
            expected |= {name: bits_of(value)} if accepted else {}
        assert metrics_of(self.store.get_run(run_id)) == expected
        (listed,) = self.store.list_runs(CONTRACT_EXPERIMENT_ID)
        assert metrics_of(listed) == expected

    @requires(Feature.TRACKING_METRIC_HISTORY)
    def test_a_history_keeps_every_value_by_its_bits(self) -> None:
        values = [value for value in (FINITE_VALUES | NON_FINITE_VALUES).values() if self.holds(value)]
        run_id, now = self.open_run(), self.now
        points = [("m", value, step, now) for step, value in enumerate(values)]
        self.write_all(batch_of(run_id, metrics=points))
        assert self.history(run_id, "m") == [(step, now, bits_of(value)) for step, value in enumerate(values)]

    @requires(Feature.TRACKING_METRIC_HISTORY)
    def test_values_of_different_bits_are_different_points(self) -> None:
        alike = [0.0, -0.0, NON_FINITE_VALUES["nan"], NON_FINITE_VALUES["nan_with_payload"]]
        values = [value for value in alike if self.holds(value)]
        run_id, now = self.open_run(), self.now
        self.write_all(batch_of(run_id, metrics=[("m", value, 0, now) for value in values]))
        assert sorted(self.history(run_id, "m")) == sorted((0, now, bits_of(value)) for value in values)

    def test_a_step_is_any_64_bit_integer(self) -> None:
        run_id, kept = self.open_run(), {}
        for number, step in enumerate([INT64_MIN, -(2**53) - 1, -1, 0, 2**31, 2**53 + 1, INT64_MAX]):
            if self.point_is_accepted(run_id, 1.0, key=f"m{number}", step=step):
                kept[f"m{number}"] = step
        assert self.store.get_run(run_id).data.metrics == dict.fromkeys(kept, 1.0)
        if self.capabilities.supports(Feature.TRACKING_METRIC_HISTORY):
            steps = {key: [point[0] for point in self.history(run_id, key)] for key in kept}
            assert steps == {key: [step] for key, step in kept.items()}

    @each("step", [INT64_MIN, INT64_MAX])
    def test_extreme_steps_are_ordered(self, step: int) -> None:
        run_id = self.open_run()
        if not self.point_is_accepted(run_id, 1.0, step=step):
            return
        self.write_all(batch_of(run_id, metrics=[("m", 2.0, 0, self.now)]))
        assert self.store.get_run(run_id).data.metrics == {"m": 1.0 if step > 0 else 2.0}

    @requires(Feature.TRACKING_METRIC_HISTORY)
    def test_a_timestamp_is_kept_exactly_or_refused(self) -> None:
        run_id = self.open_run()
        for number, timestamp in enumerate([INT64_MIN, -1, 0, 1, 2**53 + 1, INT64_MAX]):
            key = f"m{number}"
            accepted = self.point_is_accepted(run_id, 1.0, key=key, timestamp=timestamp)
            expected = [(0, timestamp, bits_of(1.0))] if accepted else []
            assert self.history(run_id, key) == expected, timestamp

    def test_a_point_older_than_the_limit_is_refused_or_kept(self) -> None:
        run_id = self.open_run()
        age_max = self.limits.metric_age_ms_max
        old = self.now - (age_max if age_max is not None else 10**12) - 60_000
        accepted = self.point_is_accepted(run_id, 1.0, timestamp=old)
        assert accepted or age_max is not None, "no limit of age is declared"
        assert self.store.get_run(run_id).data.metrics == ({"m": 1.0} if accepted else {})

    @requires(Feature.TRACKING_METRIC_HISTORY)
    def test_a_point_written_twice_is_one_point(self) -> None:
        run_id, now = self.open_run(), self.now
        points = [("m", 1.0, 0, now), ("m", 2.0, 1, now + 1), ("m", 2.0, 1, now + 2), ("m", 2.5, 1, now + 2)]
        batch = batch_of(run_id, metrics=points)
        for _ in range(3):
            self.write_all(batch)
        self.assert_once(run_id, [(step, timestamp, bits_of(value)) for _, value, step, timestamp in points])

    @requires(Feature.TRACKING_METRIC_HISTORY)
    def test_a_point_repeated_within_a_batch_is_one_point(self) -> None:
        run_id, now = self.open_run(), self.now
        self.write_all(batch_of(run_id, metrics=[("m", 1.0, 0, now)] * 3))
        self.assert_once(run_id, [(0, now, bits_of(1.0))])

    def assert_once(self, run_id: str, points: list[tuple[int, int, int]]) -> None:
        """See that repeated points are there once, or repeated where the store declares that."""
        stored = points_of(self.store.metric_history(run_id, "m"))
        if self.capabilities.supports(Feature.TRACKING_METRIC_DEDUP):
            assert sorted(stored) == sorted(points)
            return
        reason = self.declared_reason(Feature.TRACKING_METRIC_DEDUP)
        assert sorted(dict.fromkeys(stored)) == sorted(points)
        assert len(stored) > len(points), (
            "tracking.metric_dedup works although it is not declared; declare it"
        )
        pytest.xfail(reason)

    @requires(Feature.TRACKING_METRIC_HISTORY)
    def test_a_history_is_in_order_of_step_then_time(self) -> None:
        run_id, now = self.open_run(), self.now
        first = [("m", 9.0, 2, now), ("m", 1.0, 1, now + 5), ("m", 8.0, 1, now), ("m", 3.0, -1, now + 9)]
        second = [("m", 2.0, 1, now), ("m", 7.0, 1, now), ("m", 0.5, 2, now - 1)]
        for points in (first, second):
            self.write_all(batch_of(run_id, metrics=points))
        expected = [
            (-1, 9, 3.0),
            (1, 0, 2.0),
            (1, 0, 7.0),
            (1, 0, 8.0),
            (1, 5, 1.0),
            (2, -1, 0.5),
            (2, 0, 9.0),
        ]
        found = self.history(run_id, "m")
        assert [point[:2] for point in found] == [(step, now + at) for step, at, _ in expected]
        assert sorted(found) == [(step, now + at, bits_of(value)) for step, at, value in expected]

    @requires(Feature.TRACKING_METRIC_HISTORY)
    def test_an_unknown_key_has_no_points(self) -> None:
        run_id = self.open_run()
        self.write_all(batch_of(run_id, metrics=[("m", 1.0, 0, self.now)]))
        for key in ("n", "M", "m ", "", "%", "a\0b"):
            found = self.store.metric_history(run_id, key)
            assert isinstance(found, MetricColumns)
            assert points_of(found) == []

    @requires(Feature.TRACKING_METRIC_HISTORY)
    def test_a_history_has_columns_of_numbers(self) -> None:
        run_id = self.open_run()
        self.write_all(batch_of(run_id, metrics=[("m", 1.0, 0, self.now)]))
        found = self.store.metric_history(run_id, "m")
        typecodes = [column.typecode for column in (found.steps, found.timestamps, found.values)]
        assert typecodes == ["q", "q", "d"]

    @requires(Feature.TRACKING_METRIC_HISTORY)
    def test_a_long_history_is_whole(self) -> None:
        run_id, now = self.open_run(), self.now
        points = [(f"m{number % 3}", float(number), number, now + number) for number in range(3_000)]
        self.write_all(batch_of(run_id, metrics=points))
        for index in range(3):
            assert self.history(run_id, f"m{index}") == [
                (number, now + number, bits_of(float(number))) for number in range(index, 3_000, 3)
            ]

    def test_the_last_value_of_a_metric(self) -> None:
        cases = {name: points for name, (points, _) in LAST_VALUES.items()}
        expected = {name: bits_of(value) for name, (_, value) in LAST_VALUES.items()}
        assert self.last_values(cases) == [expected] * 4

    def test_the_last_value_among_those_that_are_not_finite(self) -> None:
        cases, expected = {}, {}
        for name, (points, value) in NON_FINITE_LAST_VALUES.items():
            unheld = [given for given, _, _ in points if not self.holds(given)]
            if unheld:
                assert not self.point_is_accepted(self.open_run(), unheld[0]), name
                continue
            cases[name], expected[name] = points, bits_of(value)
        assert self.last_values(cases) == [expected] * (4 if cases else 0)

    def last_values(self, cases: Mapping[str, list[tuple[float, int, int]]]) -> list[dict[str, int]]:
        """Write points (value, step, milliseconds after now) and read the bits of the last values by case.

        The moments of these values are checked on the way. Each case has a metric, in four runs of a new
        experiment: at once and one by one, in this order and the other way round.
        """
        if not cases:
            return []
        now, found = self.now, {}
        rows = [
            [(f"m{number}", value, step, now + after) for value, step, after in points]
            for number, points in enumerate(cases.values())
        ]
        moments = {
            f"m{number}": Moment(*max((step, now + after) for _, step, after in points))
            for number, points in enumerate(cases.values())
        }
        for ordered in (rows, [points[::-1] for points in rows]):
            whole = [point for points in ordered for point in points]
            turns = [[point for point in turn if point] for turn in zip_longest(*ordered)]
            for batches in ([whole], turns):
                run_id = self.open_run(experiment="last values")
                for batch in batches:
                    self.write_all(batch_of(run_id, metrics=batch))
                run = self.store.get_run(run_id)
                assert run.data.moments == moments
                found[run_id] = metrics_of(run)
        listed = self.store.list_runs(experiment_id_of("last values"))
        assert all(run.data.moments == moments for run in listed)
        assert {run.info.run_id: metrics_of(run) for run in listed} == found
        return [{name: bits[f"m{number}"] for number, name in enumerate(cases)} for bits in found.values()]


def metrics_of(run: Run) -> dict[str, int]:
    """Return the bits of the last value of each metric."""
    return {key: bits_of(value) for key, value in run.data.metrics.items()}
