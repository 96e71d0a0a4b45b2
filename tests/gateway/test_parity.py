"""The gateway over each backend answers as a real mlflow server does, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.asking import ASKING, BACKENDS, Answers
from tests.gateway.comparing import ABSENT, differences, gone, undeclared

pytestmark = pytest.mark.timeout(900)
"""The first test of a backend starts its servers and makes some 1,300 calls to each."""


@pytest.mark.parametrize("asking", ASKING)
@pytest.mark.parametrize("backend", BACKENDS)
def test_answers_as_mlflow(backend: str, asking: str, answers: Answers) -> None:
    found = differences(answers.real[asking], answers.of_backend(backend)[asking])
    assert undeclared(found, backend) == {}


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_declared_gap_is_there(backend: str, answers: Answers) -> None:
    ours = answers.of_backend(backend)
    found = {place for asking in ASKING for place in differences(answers.real[asking], ours[asking])}
    assert gone(found, backend) == []


def test_the_calls_are_made(answers: Answers) -> None:
    """No program ends early, and most of what it asks of mlflow's server succeeds."""
    for asking in ASKING:
        told = answers.real[asking].values()
        failed = [one for one in told if isinstance(one, dict) and ("fails" in one or _is_refusal(one))]
        assert len(told) > 200
        assert len(failed) < len(told) / 2


def test_a_difference_that_no_gap_names_is_found() -> None:
    theirs = {"run": {"name": "a", "tags": []}, "run updated": {"status": "SCHEDULED"}}
    ours = {"run": {"name": "b", "tags": [], "more": {}}, "run updated": {"status": "RUNNING"}}
    found = differences(theirs, ours)
    assert set(found) == {"run/name", "run/more", "run updated/status"}
    assert undeclared(found, "local") == {"run/name": ("a", "b"), "run/more": (ABSENT, {})}
    missing = [where for _, where in gone(set(found), "local")]
    assert "run updated/(status|answer/run_info/status)" not in missing
    assert "experiment of no number/code" in missing


def _is_refusal(told: dict[str, Any]) -> bool:
    return isinstance(told.get("status"), int) and told["status"] >= 400
