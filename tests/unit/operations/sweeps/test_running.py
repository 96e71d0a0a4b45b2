"""Going on with a sweep: each trial once, so many at a time, whatever happens meanwhile."""

from __future__ import annotations

import math

import pytest

from tests.unit.operations.sweeps.conftest import Scene, distance, log
from trackbridge.domain.jobs import JobSpec, JobStatus
from trackbridge.domain.runs import TAG_PARENT, RunStatus
from trackbridge.domain.sweeps import Mode, ValueOf, parse_space
from trackbridge.errors import AuthError, LimitReached, Rejected, Unavailable
from trackbridge.operations.sweeps.definition import Sampler
from trackbridge.operations.sweeps.records import TrialState
from trackbridge.operations.waiting import Stop


class Killed(BaseException):
    """What no code of ours catches: the process is gone at this point."""


def test_every_trial_is_a_nested_run_and_the_best_is_known(scene: Scene) -> None:
    outcome = scene.run()
    assert outcome.best is not None
    assert (outcome.best.number, outcome.best.params, outcome.best.value) == (2, {"x": "3"}, 0.0)
    assert outcome.counts == {"trials": 4, "complete": 4, "failed": 0}
    assert scene.jobs.at_once == 2
    runs, parent = scene.runs(), scene.parent()
    assert [run.data.params for run in runs] == [{"x": "1"}, {"x": "2"}, {"x": "3"}, {"x": "4"}]
    assert {run.data.tags[TAG_PARENT] for run in runs} == {parent.info.run_id}
    assert {run.info.status for run in (*runs, parent)} == {RunStatus.FINISHED}
    assert runs[2].info.run_name == "train-2"
    tags = parent.data.tags
    assert tags["bridge.sweep.best.run_id"] == outcome.best.run_id == runs[2].info.run_id
    assert tags["bridge.sweep.space"] == '{"x": "choice(1, 2, 3, 4)"}'
    assert (tags["bridge.sweep.complete"], tags["bridge.sweep.failed"]) == ("4", "0")
    assert parent.data.metrics == {"loss": 0.0}, "the best value so far"


def test_what_has_ended_is_not_begun_again(scene: Scene) -> None:
    first = scene.run()
    calls, ended = list(scene.jobs.calls), scene.parent().info
    again = scene.run()
    assert again == first
    assert scene.parent().info == ended
    assert scene.jobs.calls == calls


def test_the_greatest_may_be_the_best(scene: Scene) -> None:
    best = scene.run(scene.definition(mode=Mode.MAX)).best
    assert best is not None
    assert best.params == {"x": "1"}, "of equal ones the first"


@pytest.mark.parametrize(("which", "value"), [(ValueOf.LAST, 2.0), (ValueOf.MIN, 0.5), (ValueOf.MAX, 3.0)])
def test_which_point_counts(scene: Scene, which: ValueOf, value: float) -> None:
    def work(scene: Scene, spec: JobSpec) -> JobStatus:
        log(scene, spec, 3.0, math.nan, 0.5, 2.0)
        return JobStatus.SUCCEEDED

    scene.jobs.work = work
    best = scene.run(scene.definition(value_of=which), trials=1).best
    assert best is not None
    assert best.value == value


def test_trials_that_fail_say_why(scene: Scene) -> None:
    def work(scene: Scene, spec: JobSpec) -> JobStatus:
        if spec.parameters["x"] == "1":
            return JobStatus.FAILED
        if spec.parameters["x"] == "2":
            log(scene, spec, 1.0, metric="accuracy")
            return JobStatus.SUCCEEDED
        if spec.parameters["x"] == "3":
            log(scene, spec, math.nan)
            return JobStatus.SUCCEEDED
        return distance(scene, spec)

    scene.jobs.work = work
    outcome = scene.run()
    reasons = [outcome.trials[number].reason for number in range(4)]
    assert reasons == [
        "its job is FAILED with exit code 1",
        "its run has no metric 'loss'; it has accuracy",
        "the metric 'loss' is nan",
        "",
    ]
    assert outcome.counts == {"trials": 4, "complete": 1, "failed": 3}
    assert [run.info.status.value for run in scene.runs()] == ["FAILED", "FINISHED", "FINISHED", "FINISHED"]
    assert scene.parent().info.status is RunStatus.FINISHED


def test_after_too_many_failures_no_further_trial_is_begun(scene: Scene) -> None:
    scene.jobs.work = lambda scene, spec: JobStatus.FAILED
    with pytest.raises(LimitReached, match="2 trials have failed"):
        scene.run(parallel=1, failures_max=2)
    assert len(scene.jobs.calls) == 2
    assert scene.parent().info.status is RunStatus.FAILED
    scene.jobs.work = distance
    assert scene.run(failures_max=3).counts == {"trials": 4, "complete": 2, "failed": 2}
    assert scene.parent().info.status is RunStatus.FINISHED


def test_a_job_that_is_gone_is_a_failed_trial(scene: Scene) -> None:
    def forget(job_id: str) -> None:
        if job_id == "night/1":
            scene.jobs.states.pop(job_id, None)

    scene.jobs.before_status = forget
    outcome = scene.run()
    assert outcome.trials[1].state is TrialState.FAILED
    assert "no job night/1" in outcome.trials[1].reason


def test_a_job_that_was_cancelled_by_hand_is_a_failed_trial(scene: Scene) -> None:
    def work(scene: Scene, spec: JobSpec) -> JobStatus:
        return JobStatus.CANCELLED if spec.parameters["x"] == "2" else distance(scene, spec)

    scene.jobs.work = work
    outcome = scene.run()
    assert outcome.trials[1].reason == "its job is CANCELLED"
    assert scene.runs()[1].info.status is RunStatus.KILLED


# Backends that fail.


def test_a_passing_trouble_passes(scene: Scene) -> None:
    failures = {"submit": 3, "status": 3}

    def fail(kind: str) -> None:
        failures[kind] -= 1
        if failures[kind] >= 0:
            raise Unavailable("down")

    scene.jobs.before_submit = lambda key: fail("submit")
    scene.jobs.before_status = lambda job_id: fail("status")
    assert scene.run().counts["complete"] == 4
    assert len(scene.jobs.calls) == len(set(scene.jobs.calls)) == 4
    assert scene.troubles[0] == "down; trying again"


def test_an_answer_that_is_lost_starts_no_second_job(scene: Scene) -> None:
    lost = {"night/0", "night/2"}
    real = scene.jobs.submit

    def lose(spec: JobSpec, *, key: str) -> object:
        state = real(spec, key=key)
        if key in lost:
            lost.discard(key)
            raise Unavailable("no answer")
        return state

    scene.jobs.submit = lose  # type: ignore[method-assign]
    assert scene.run().counts["complete"] == 4
    assert sorted(scene.jobs.calls) == ["night/0", "night/1", "night/2", "night/3"]


def test_a_backend_that_is_down_for_long_ends_the_process_not_the_sweep(scene: Scene) -> None:
    def fail(job_id: str) -> None:
        raise Unavailable("down")

    scene.jobs.before_status = fail
    with pytest.raises(Unavailable) as raised:
        scene.run()
    assert "bridge sweep resume night" in str(raised.value.hint)
    assert scene.parent().info.status is RunStatus.FAILED
    scene.jobs.before_status = lambda job_id: None
    assert scene.run().counts["complete"] == 4
    assert sorted(scene.jobs.calls) == ["night/0", "night/1", "night/2", "night/3"]
    assert scene.parent().info.status is RunStatus.FINISHED


def test_credentials_that_run_out_end_the_process_at_once(scene: Scene) -> None:
    def fail(key: str) -> None:
        if key == "night/2":
            raise AuthError("expired")

    scene.jobs.before_submit = fail
    with pytest.raises(AuthError):
        scene.run()
    scene.jobs.before_submit = lambda key: None
    assert scene.run().counts["complete"] == 4


def test_a_first_job_that_is_refused_ends_the_sweep_a_later_one_only_its_trial(scene: Scene) -> None:
    refused = "night/0"

    def refuse(key: str) -> None:
        if key == refused:
            raise Rejected("x is too small")

    scene.jobs.before_submit = refuse
    with pytest.raises(Rejected, match="too small"):
        scene.run()
    assert scene.jobs.calls == []
    refused = "night/2"
    outcome = scene.run()
    assert outcome.trials[2].reason.startswith("its job is not taken: x is too small")
    assert outcome.counts == {"trials": 4, "complete": 3, "failed": 1}


# Interruptions.


@pytest.mark.parametrize("sampler", [Sampler.RANDOM, Sampler.TPE])
@pytest.mark.parametrize("step", range(0, 30, 2))
def test_a_kill_at_any_step_loses_and_repeats_nothing(scene: Scene, sampler: Sampler, step: int) -> None:
    definition = scene.definition(sampler=sampler, space=parse_space({"x": "uniform(0, 6)"}))
    first = scene.sweeping(definition, trials=6)
    steps = iter(range(1000))

    def die(*_: object) -> None:
        if next(steps) == step:
            raise Killed

    noted = first.folder.note

    def note(trial: object) -> None:
        die()
        noted(trial)  # type: ignore[arg-type]
        die()

    first.folder.note = note  # type: ignore[method-assign,assignment]
    try:
        first.run()
    except Killed:
        assert scene.parent().info.status is RunStatus.RUNNING
    outcome = scene.run(definition, trials=6)
    assert outcome.counts == {"trials": 6, "complete": 6, "failed": 0}
    assert len(scene.jobs.calls) == len(set(scene.jobs.calls)) == 6, "each job once"
    runs = scene.runs()
    assert len(runs) == 6
    for run in runs:
        assert run.data.params == outcome.trials[int(run.data.tags["bridge.sweep.trial"])].params
        assert run.info.status is RunStatus.FINISHED
    assert scene.parent().info.status is RunStatus.FINISHED


def test_a_stop_leaves_jobs_alone_and_they_are_taken_up(scene: Scene) -> None:
    scene.jobs.before_status = lambda job_id: scene.stop.set()
    outcome = scene.run()
    assert outcome.is_interrupted
    assert not any(state.status is JobStatus.CANCELLED for state in scene.jobs.states.values())
    assert scene.parent().info.status is RunStatus.KILLED
    under_way = list(scene.jobs.calls)
    scene.stop = Stop()
    scene.jobs.before_status = lambda job_id: None
    for key in under_way:  # they end while nobody looks
        if not scene.jobs.states[key].status.is_final:
            scene.jobs.end(key, distance(scene, scene.jobs.specs[key]))
    assert scene.run().counts["complete"] == 4
    assert len(scene.jobs.calls) == 4
    assert scene.parent().info.status is RunStatus.FINISHED


def test_more_trials_may_be_asked_for_later(scene: Scene) -> None:
    definition = scene.definition(sampler=Sampler.RANDOM, space=parse_space({"x": "uniform(0, 6)"}))
    few = scene.run(definition, trials=3)
    more = scene.run(definition, trials=5)
    assert [more.trials[number] for number in range(3)] == [few.trials[number] for number in range(3)]
    assert more.counts["complete"] == 5
