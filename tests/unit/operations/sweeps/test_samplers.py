"""Optuna's samplers, asked and told, with a memory that survives the process."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.operations.sweeps.conftest import Scene
from trackbridge.domain.sweeps import Mode, parse_space
from trackbridge.errors import MissingExtra
from trackbridge.operations.sweeps.definition import Sampler, SweepDefinition
from trackbridge.operations.sweeps.records import Trial, TrialState
from trackbridge.operations.sweeps.samplers import Proposer, proposer_of

SPACE = parse_space(
    {
        "x": "uniform(-4, 4)",
        "rate": "loguniform(1e-4, 1)",
        "layers": "int(1, 9, step=3)",
        "q": "uniform(0, 1, step=0.1)",
        "act": "relu,tanh",
        "fixed": "7",
    }
)
NUMBERS = parse_space({"x": "uniform(-4, 4)", "y": "uniform(-4, 4)"})


def ended(trial: Trial, value: float | None) -> Trial:
    state = TrialState.FAILED if value is None else TrialState.COMPLETE
    return msgspec.structs.replace(trial, state=state, value=value)


def go(proposer: Proposer, numbers: range) -> list[Trial]:
    trials = []
    for number in numbers:
        trial = proposer.propose(number)
        trials.append(ended(trial, float(trial.params["x"]) ** 2 + number / 1000))
        proposer.tell(trials[-1])
        proposer.tell(trials[-1])  # again changes nothing
    return trials


@pytest.mark.parametrize("sampler", [Sampler.TPE, Sampler.QMC, Sampler.NSGA2, Sampler.CMAES])
def test_a_sampler_goes_on_where_it_was(scene: Scene, tmp_path: Path, sampler: Sampler) -> None:
    space = NUMBERS if sampler is Sampler.CMAES else SPACE
    definition = scene.definition(sampler=sampler, space=space)
    first = go(proposer_of(definition, tmp_path / "log", []), range(6))
    second = go(proposer_of(definition, tmp_path / "log", first), range(6, 12))
    points = [tuple(trial.params.items()) for trial in (*first, *second)]
    assert len(set(points)) == 12, "a sampler that forgets proposes the same again"
    assert [trial.study_number for trial in (*first, *second)] == list(range(12))
    if space is SPACE:
        for trial in (*first, *second):
            assert -4 <= float(trial.params["x"]) <= 4
            assert trial.params["layers"] in {"1", "4", "7"}
            assert len(trial.params["q"]) <= 3
            assert trial.params["act"] in {"relu", "tanh"}
            assert trial.params["fixed"] == "7"


def test_tpe_learns(scene: Scene, tmp_path: Path) -> None:
    for mode, sign in ((Mode.MIN, 1), (Mode.MAX, -1)):
        definition = scene.definition(
            sampler=Sampler.TPE, space=parse_space({"x": "uniform(-4, 4)"}), mode=mode, seed=3
        )
        proposer = proposer_of(definition, tmp_path / mode.value, [])
        far = []
        for number in range(40):
            trial = proposer.propose(number)
            distance = (float(trial.params["x"]) - 1) ** 2
            far.append(distance)
            proposer.tell(ended(trial, sign * distance))
        assert sum(far[20:]) < sum(far[:10])


def test_what_was_noted_and_not_told_is_told_and_what_was_never_noted_has_failed(
    scene: Scene, tmp_path: Path
) -> None:
    definition = scene.definition(sampler=Sampler.TPE, space=NUMBERS)
    proposer = proposer_of(definition, tmp_path / "log", [])
    noted, under_way = proposer.propose(0), proposer.propose(1)
    proposer.propose(2)  # the process dies before this is noted
    known = [ended(noted, 0.5), under_way]
    proposer_of(definition, tmp_path / "log", known)
    states = study_of(definition, tmp_path / "log")
    assert states == ["COMPLETE", "RUNNING", "FAIL"]


def test_trials_that_fail_are_told_as_failed(scene: Scene, tmp_path: Path) -> None:
    definition = scene.definition(sampler=Sampler.TPE, space=NUMBERS)
    proposer = proposer_of(definition, tmp_path / "log", [])
    proposer.tell(ended(proposer.propose(0), None))
    assert study_of(definition, tmp_path / "log") == ["FAIL"]


def study_of(definition: SweepDefinition, path: Path) -> list[str]:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    study = optuna.load_study(study_name=definition.run_id, storage=storage)
    return [trial.state.name for trial in study.get_trials()]


@pytest.mark.parametrize("sampler", [Sampler.GRID, Sampler.RANDOM, Sampler.TPE])
def test_without_optuna(
    scene: Scene, tmp_path: Path, sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "optuna":
            raise ImportError("no optuna")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    definition = scene.definition(sampler=sampler)
    if sampler.is_ours:
        assert proposer_of(definition, tmp_path / "log", []).propose(0).params["x"] in "1234"
        return
    with pytest.raises(MissingExtra) as raised:
        proposer_of(definition, tmp_path / "log", [])
    assert "trackbridge[sweeps]" in str(raised.value.hint)
