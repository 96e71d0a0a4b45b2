"""A submission that was killed is finished by the next ``bridge jobs list`` or ``bridge run``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import trackbridge as tb
from tests.cli.conftest import Bridge
from trackbridge.domain.ids import experiment_id_of, mint_id
from trackbridge.domain.runs import RunSpec
from trackbridge.operations.job_notes import noted, notes_folder
from trackbridge.operations.opening import LOCAL, open_place
from trackbridge.resolve.config import Settings


@pytest.mark.parametrize("command", [("jobs", "list"), ("jobs", "list", "--all"), ("run", "--", "true")])
def test_the_run_that_it_had_opened_says_that_there_is_no_job(
    bridge: Bridge, project: Path, command: tuple[str, ...]
) -> None:
    run_id = mint_id()
    place = open_place(LOCAL)
    folder = notes_folder(place.uri, Settings())
    assert folder.is_relative_to(project)
    key = mint_id()
    with noted(folder, key, tracking_uri=place.uri, place=place.uri):
        bridge("run", "--key", key, "--", "true")  # a run that has its job is left alone
    assert len(list(folder.iterdir())) == 1
    with noted(folder, run_id, tracking_uri=place.uri, place=place.uri):
        experiment = place.tracking.ensure_experiment("e", experiment_id=experiment_id_of("e"))
        place.tracking.open_run(
            RunSpec(
                run_id=run_id,
                experiment_id=experiment.experiment_id,
                experiment_name="e",
                name="n",
                user="anna",
                start_time=1,
            )
        )
    for path in folder.iterdir():
        os.utime(path, (0, 0))
    bridge(*command)
    assert tb.Client().get_run(run_id).info.status == "FAILED"
    assert "before the job was submitted" in tb.Client().get_run(run_id).data.tags["bridge.job.refused"]
    assert tb.Client().get_run(key).info.status == "FINISHED"
    assert list(folder.iterdir()) == []
