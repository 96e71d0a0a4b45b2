"""What a sweep has noted survives torn lines, and belongs to one process at a time."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import msgspec
import pytest

from tests.unit.operations.sweeps.conftest import Scene
from trackbridge.domain.sweeps import parse_space
from trackbridge.errors import ConfigError, Conflict, InvalidInput, Locked, NotFound
from trackbridge.operations.sweeps.definition import (
    Sampler,
    SweepDefinition,
    SweepLimits,
    refuse_unfit,
    trials_of,
)
from trackbridge.operations.sweeps.records import SweepFolder, Trial, TrialState, all_sweeps


@pytest.fixture
def definition(scene: Scene) -> SweepDefinition:
    return scene.definition()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path, "night")
    with folder.held():
        assert folder.is_held()
        with pytest.raises(Locked) as raised, SweepFolder(tmp_path, "night").held():
            pass
        assert raised.value.exit_code == 11
        with SweepFolder(tmp_path, "another").held():
            pass
    assert not folder.is_held()


def test_looking_is_in_nobodys_way_and_makes_nothing(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path, "night")
    assert not folder.is_held()
    assert list(tmp_path.iterdir()) == []
    with folder.held():
        pass
    with open(folder.path / "lock", "rb") as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)  # as who looks does, for an instant
        assert not folder.is_held(), "another who looks is nobody who goes on"
        timer = threading.Timer(0.05, fcntl.flock, (looked_at, fcntl.LOCK_UN))
        timer.start()
        with folder.held():
            assert folder.is_held()
        timer.join()


def test_a_torn_line_is_no_line(tmp_path: Path, definition: SweepDefinition) -> None:
    folder = SweepFolder(tmp_path, "night")
    folder.path.mkdir(parents=True)
    first = Trial(number=0, params={"x": "1"}, state=TrialState.PROPOSED)
    folder.note(first)
    with open(folder.path / "trials.jsonl", "ab") as file:
        file.write(b'{"number":0,"params":{"x":"1"},"state":"COMP')
    assert folder.trials() == {0: first}
    folder.mend()
    second = msgspec.structs.replace(first, state=TrialState.COMPLETE, value=0.5)
    folder.note(second)
    assert folder.trials() == {0: second}


def test_the_same_key_is_the_same_sweep(tmp_path: Path, definition: SweepDefinition) -> None:
    folder = SweepFolder(tmp_path, "night")
    with pytest.raises(NotFound):
        folder.read()
    with folder.held():
        folder.settle_on(definition, SweepLimits(trials=3))
        other_seed = msgspec.structs.replace(definition, seed=9)
        assert folder.settle_on(other_seed, SweepLimits(trials=5)) == definition
        assert folder.read() == (definition, SweepLimits(trials=5))
        changed = msgspec.structs.replace(definition, metric="acc", space=parse_space({"x": "1,2"}))
        with pytest.raises(Conflict, match="space, metric differ"):
            folder.settle_on(changed, SweepLimits())
    assert [found.key for found in all_sweeps(tmp_path)] == ["night"]


@pytest.mark.parametrize(
    ("fields", "limits", "problem"),
    [
        ({"key": " "}, {}, "key"),
        ({"key": "x" * 181}, {}, "key"),
        ({}, {"parallel": 0}, "at once"),
        ({}, {"trials": 0}, "trials"),
        ({}, {"failures_max": 0}, "failure"),
        ({"metric": ""}, {}, "metric"),
        ({"space": parse_space({"x": "uniform(0,1)"})}, {}, "grid"),
        ({"sampler": Sampler.TPE}, {}, "for ever"),
        ({"sampler": Sampler.TPE, "space": parse_space({"x": "1"})}, {"trials": 3}, "more than one value"),
    ],
)
def test_what_no_sweep_could_be(scene: Scene, fields: object, limits: object, problem: str) -> None:
    with pytest.raises((ConfigError, InvalidInput), match=problem):
        refuse_unfit(scene.definition(**fields), SweepLimits(**limits))  # type: ignore[arg-type]


def test_how_many_trials(scene: Scene) -> None:
    assert trials_of(scene.definition(), SweepLimits()) == 4
    assert trials_of(scene.definition(), SweepLimits(trials=2)) == 2
    assert trials_of(scene.definition(), SweepLimits(trials=20)) == 4
    assert trials_of(scene.definition(sampler=Sampler.RANDOM), SweepLimits(trials=20)) == 20
