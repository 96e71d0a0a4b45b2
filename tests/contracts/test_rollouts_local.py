"""Rollouts on the local target, whose servers are real processes, under load."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contracts.test_local import open_local
from tests.support.endpoints import no_process_left
from tests.support.real_rollouts import CASES, Ground, check_bad, check_good_after_death


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, quick_python: str) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("rollouts")
    made = Ground(open_local(folder / "place"), folder, options={"python": quick_python})
    yield made
    made.close()
    no_process_left(folder)


@pytest.mark.parametrize("case", CASES)
def test_a_bad_version_goes_back_by_its_guard(ground: Ground, case: str) -> None:
    check_bad(ground, case)


def test_killed_on_the_way_and_resumed_a_good_version_is_promoted(ground: Ground) -> None:
    check_good_after_death(ground)
