"""Between MLflow's JSON and our values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trackbridge.domain.batches import MetricColumns
from trackbridge_adapters._mlflow_rest.conversions import in_order

POINT = st.tuples(st.integers(-2, 2), st.integers(0, 2), st.floats(allow_nan=False))


@given(st.lists(POINT))
def test_points_are_put_in_order_and_those_of_one_place_stay_as_they_came(
    points: list[tuple[int, int, float]],
) -> None:
    columns = MetricColumns()
    for step, timestamp, value in points:
        columns.append(step=step, timestamp=timestamp, value=value, sequence=0)
    found = in_order(columns)
    told = list(zip(found.steps, found.timestamps, found.values, strict=True))
    assert told == sorted(points, key=lambda point: point[:2])
