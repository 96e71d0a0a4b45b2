"""Compute and lengths of time in the users' words."""

from __future__ import annotations

import pytest

from trackbridge.domain.jobs import Compute
from trackbridge.errors import InvalidInput
from trackbridge.operations.job_sources.words import compute_of, seconds_of


@pytest.mark.parametrize(
    ("word", "compute"),
    [
        (None, Compute()),
        ("serverless", Compute()),
        ("cpu-cluster", Compute(cluster="cpu-cluster")),
        ("gpu-v2", Compute(cluster="gpu-v2")),
        ("ml.m5.large", Compute(instance_type="ml.m5.large")),
        ("ml.p4d.24xlarge", Compute(instance_type="ml.p4d.24xlarge")),
        ("Standard_DS3_v2", Compute(instance_type="Standard_DS3_v2")),
        ("2xStandard_DS3_v2", Compute(instance_type="Standard_DS3_v2", instance_count=2)),
        ("16xml.m5.large", Compute(instance_type="ml.m5.large", instance_count=16)),
        ("4xcpu-cluster", Compute(cluster="cpu-cluster", instance_count=4)),
        ("i3.xlarge", Compute(instance_type="i3.xlarge")),
        ("m5d.2xlarge", Compute(instance_type="m5d.2xlarge")),
        ("g4dn.metal", Compute(instance_type="g4dn.metal")),
    ],
)
def test_compute(word: str | None, compute: Compute) -> None:
    assert compute_of(word) == compute


def test_how_many_is_said_once() -> None:
    assert compute_of("ml.m5.large", instance_count=3, is_spot=True) == Compute(
        instance_type="ml.m5.large", instance_count=3, spot=True
    )
    assert compute_of("3xml.m5.large", instance_count=3).instance_count == 3
    with pytest.raises(InvalidInput, match="says 2 machines, and 3 are asked for"):
        compute_of("2xml.m5.large", instance_count=3)
    with pytest.raises(InvalidInput, match="no compute"):
        compute_of(" ")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), (90, 90), ("90s", 90), ("1.5h", 5400), ("0.1s", 1)]
)
def test_lengths_of_time(text: object, seconds: int) -> None:
    assert seconds_of(text, "time_limit") == seconds


@pytest.mark.parametrize("text", ["soon", "0", "-1", "", None, True, "1w"])
def test_no_length_of_time(text: object) -> None:
    with pytest.raises(InvalidInput, match="time_limit is no length of time"):
        seconds_of(text, "time_limit")
