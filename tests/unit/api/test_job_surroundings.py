"""Whether a process of a job tracks, by what it finds in its environment."""

from __future__ import annotations

import pytest

from trackbridge.api.job_surroundings import is_attempt, is_tracking, only_adds, rank
from trackbridge.errors import ConfigError

JOB = {"BRIDGE_JOB_ID": "j", "BRIDGE_RUN_ID": "r"}


@pytest.mark.parametrize("name", ["RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"])
def test_ranks_count_in_jobs_only(name: str) -> None:
    assert rank({**JOB, name: "2"}) == 2
    assert rank({name: "2"}) == 0
    assert rank({**JOB, name: "two"}) == 0
    assert rank(JOB) == 0


@pytest.mark.parametrize(
    ("more", "tracks"),
    [
        ({}, True),
        ({"RANK": "0"}, True),
        ({"RANK": "1"}, False),
        ({"RANK": "1", "BRIDGE_TRACKING": "on"}, True),
        ({"BRIDGE_TRACKING": " OFF "}, False),
        ({"BRIDGE_TRACKING": "off", "RANK": "0"}, False),
    ],
)
def test_who_tracks(more: dict[str, str], tracks: bool) -> None:
    assert is_tracking({**JOB, **more}) is tracks


def test_off_is_off_outside_of_jobs_too() -> None:
    assert is_tracking({"BRIDGE_TRACKING": "off"}) is False
    assert is_tracking({"RANK": "3"}) is True


def test_other_words_are_refused() -> None:
    with pytest.raises(ConfigError, match="neither on nor off"):
        is_tracking({"BRIDGE_TRACKING": "no"})


def test_whose_run_it_is() -> None:
    assert only_adds("r", {**JOB, "RANK": "1"})
    assert not only_adds("r", {**JOB, "RANK": "0"})
    assert not only_adds("another", {**JOB, "RANK": "1"})
    assert is_attempt("r", JOB)
    assert not is_attempt("another", JOB)
    assert not is_attempt("r", {"BRIDGE_RUN_ID": "r"})
