"""Ending a sweep that was killed: no job of it is left behind."""

from __future__ import annotations

from pathlib import Path

from trackbridge.domain.jobs import JobSpec, JobStatus
from trackbridge.domain.sweeps import parse_space
from trackbridge.operations.following import wait_for_job
from trackbridge.operations.job_sources.sources import JobSource
from trackbridge.operations.submit import run_id_of
from trackbridge.operations.sweeps.definition import Sampler, SweepDefinition, SweepLimits, trial_key
from trackbridge.operations.sweeps.records import Trial, TrialState
from trackbridge.operations.sweeps.starting import Sweep
from trackbridge.resolve.config import Settings


def test_a_job_that_was_submitted_and_not_noted_is_cancelled_too(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    definition = SweepDefinition(
        key="night",
        source=JobSource(base=JobSpec(name="train", command=("sleep", "60")), source_name="train"),
        space=parse_space({"x": "1,2"}),
        sampler=Sampler.GRID,
        seed=1,
        metric="loss",
        place=store,
        tracking_uri=store,
    )
    sweep = Sweep(definition, SweepLimits(), settings=Settings())
    try:
        key = trial_key("night", 0)
        spec = JobSpec(name="train", command=("sleep", "60"), run_id=run_id_of(key))
        state = sweep.place.jobs.submit(spec, key=key)
        with sweep.folder.held():
            sweep.folder.note(Trial(number=0, params={"x": "1"}, state=TrialState.PROPOSED))
            sweep.folder.note(Trial(number=1, params={"x": "2"}, state=TrialState.PROPOSED))
        assert sweep.cancel() == [state.job_id]
        assert wait_for_job(state.job_id, sweep.place.jobs).status is JobStatus.CANCELLED
    finally:
        sweep.close()
