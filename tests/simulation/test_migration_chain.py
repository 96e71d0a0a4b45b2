"""Everything from place to place and home again: what comes back is what was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.chain import CHECK, HOME, SMALL, chain
from tests.support.corpus import EXPERIMENT_NAMES
from trackbridge.domain.migration import Treatment

STOPS = ["MLflow server", "Azure ML", "SageMaker Experiments", "managed MLflow", HOME, CHECK]


@pytest.mark.timeout(1200)
def test_what_comes_home_is_what_left_less_what_the_report_names(tmp_path: Path) -> None:
    stops = {stop.name: stop for stop in chain(tmp_path, SMALL)}
    assert list(stops) == STOPS
    assert {name: stop.trouble for name, stop in stops.items() if stop.trouble} == {}
    lost = sorted(f"experiment {name} tags.charter" for name in EXPERIMENT_NAMES)
    assert {name: sorted(stop.lost) for name, stop in stops.items() if stop.lost} == {
        "Azure ML": lost,
        CHECK: lost,
    }
    assert Treatment.SPILLED in {loss.treatment for loss in stops["MLflow server"].losses}
