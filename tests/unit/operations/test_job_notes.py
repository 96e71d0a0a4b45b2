"""A submitter that dies, or that never learns whether its job was taken, leaves no run open for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trackbridge.domain.job_tags import TAG_JOB, TAG_JOB_REFUSED
from trackbridge.domain.jobs import JobSpec, JobStatus
from trackbridge.domain.runs import RunStatus
from trackbridge.errors import Rejected, Unavailable
from trackbridge.operations.following import wait_for_job
from trackbridge.operations.job_facts import refuse_run
from trackbridge.operations.job_notes import (
    NEVER_SUBMITTED,
    PATIENCE_MS,
    finish_submissions,
    noted,
    notes_folder,
)
from trackbridge.operations.opening import Opened, open_place
from trackbridge.operations.settle import settle_where_it_is
from trackbridge.operations.submit import RunWanted, Submitted, submit
from trackbridge.resolve.config import Settings

DIES = """
import os, sys
from trackbridge.domain.jobs import JobSpec
from trackbridge.operations import submit as submitting
from trackbridge.operations.job_notes import notes_folder
from trackbridge.operations.opening import open_place
from trackbridge.resolve.config import Settings

place = open_place(sys.argv[1])
real = place.jobs.submit
class Jobs:
    def check(self, spec):
        return ()
    def submit(self, spec, *, key):
        if sys.argv[2] == "after":
            real(spec, key=key)
        os.kill(os.getpid(), 9)
run = submitting.RunWanted(tracking=place.tracking, tracking_uri=place.uri, experiment="e", name="n")
spec = JobSpec(name="n", command=("true",))
notes = notes_folder(place.uri, Settings())
submitting.submit(spec, Jobs(), run, key="a" * 32, place=place.uri, notes=notes)
"""
RUN_ID = "a" * 32


class Scene:
    """A local store, and submissions to it."""

    def __init__(self, folder: Path) -> None:
        self.place = open_place(str(folder / "store"))
        self.notes = notes_folder(self.place.uri, Settings())
        self.troubles: list[str] = []

    def submit(self, *, key: str = RUN_ID, jobs: Any = None) -> Submitted:
        place = self.place
        run = RunWanted(tracking=place.tracking, tracking_uri=place.uri, experiment="e", name="n")
        spec = JobSpec(name="n", command=("true",))
        return submit(spec, jobs or place.jobs, run, key=key, place=place.uri, notes=self.notes)

    def die(self, when: str) -> None:
        done = subprocess.run([sys.executable, "-c", DIES, self.place.uri, when], check=False)
        assert done.returncode == -9

    def look(self, *, later_ms: int = PATIENCE_MS + 60_000, place: Opened | None = None) -> None:
        finish_submissions(
            place or self.place,
            settings=Settings(),
            on_trouble=self.troubles.append,
            now_ms=int(_now_ms() + later_ms),
        )

    @property
    def left(self) -> list[str]:
        return os.listdir(self.notes)

    @property
    def run(self) -> Any:
        return self.place.tracking.get_run(RUN_ID)

    def status(self) -> RunStatus:
        return self.place.tracking.get_run(RUN_ID).info.status


def _now_ms() -> int:
    import time

    return time.time_ns() // 1_000_000


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


class Refusing:
    """Jobs of a place that takes none."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def check(self, spec: JobSpec) -> tuple[()]:
        return ()

    def submit(self, spec: JobSpec, *, key: str) -> Any:
        raise self._error


def test_a_submission_that_goes_well_leaves_no_note(scene: Scene) -> None:
    scene.submit()
    assert scene.left == []


def test_killed_before_the_job_was_submitted_the_run_is_closed_and_says_why(scene: Scene) -> None:
    scene.die("before")
    scene.look(later_ms=0)  # it may just be slow to be listed
    assert scene.status() is RunStatus.RUNNING
    scene.look()
    assert scene.status() is RunStatus.FAILED
    assert scene.run.data.tags[TAG_JOB_REFUSED] == NEVER_SUBMITTED
    assert scene.left == []
    assert scene.troubles == []


def test_killed_after_the_job_was_submitted_the_run_gets_its_job(scene: Scene) -> None:
    scene.die("after")
    (state,) = scene.place.jobs.list_jobs().items
    wait_for_job(state.job_id, scene.place.jobs)
    scene.look()
    assert scene.run.data.tags[TAG_JOB] == state.job_id
    assert TAG_JOB_REFUSED not in scene.run.data.tags
    assert scene.left == []


def test_a_lost_answer_is_looked_after_like_a_death(scene: Scene) -> None:
    with pytest.raises(Unavailable):
        scene.submit(jobs=Refusing(Unavailable("no answer")))
    assert len(scene.left) == 1
    scene.look()
    assert scene.status() is RunStatus.FAILED
    assert scene.left == []


def test_who_is_still_at_it_is_left_alone(scene: Scene) -> None:
    scene.die("before")
    with noted(scene.notes, RUN_ID, tracking_uri=scene.place.uri, place=scene.place.uri) as note:
        scene.look()
        assert scene.status() is RunStatus.RUNNING
        assert len(scene.left) == 2
        note.done()
    assert len(scene.left) == 1
    scene.look()
    assert scene.status() is RunStatus.FAILED


def test_a_note_of_a_run_that_was_never_opened_and_one_that_was_cut_off_go(scene: Scene) -> None:
    with noted(scene.notes, "b" * 32, tracking_uri=scene.place.uri, place=scene.place.uri):
        pass
    (scene.notes / f"{'c' * 32}.{'d' * 32}").write_text('{"run_id": "c')
    scene.look()
    assert scene.left == []
    assert scene.troubles == []


def test_a_backend_that_cannot_list_now_closes_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.die("before")

    def fail(**_: Any) -> Any:
        raise Unavailable("down")

    with monkeypatch.context() as patch:
        patch.setattr(scene.place.jobs, "list_jobs", fail, raising=False)
        scene.look()
    assert scene.status() is RunStatus.RUNNING
    assert "down" in scene.troubles[0]
    scene.look()
    assert scene.status() is RunStatus.FAILED


def test_a_refused_run_says_why_and_is_opened_again_for_a_job_of_its_key(scene: Scene) -> None:
    with pytest.raises(Rejected):
        scene.submit(jobs=Refusing(Rejected("no such quota")))
    assert scene.status() is RunStatus.FAILED
    assert "no such quota" in scene.run.data.tags[TAG_JOB_REFUSED]
    assert scene.left == []

    with pytest.raises(Rejected):  # refused again, it is closed again
        scene.submit(jobs=Refusing(Rejected("still none")))
    assert scene.status() is RunStatus.FAILED
    assert "still none" in scene.run.data.tags[TAG_JOB_REFUSED]

    submitted = scene.submit()
    assert TAG_JOB_REFUSED not in scene.run.data.tags
    ended = wait_for_job(submitted.state.job_id, scene.place.jobs)
    assert ended.status is JobStatus.SUCCEEDED
    settle_where_it_is(ended, scene.place.jobs, scene.place.uri)
    assert scene.status() is RunStatus.FINISHED


def test_a_run_that_somebody_closed_while_its_job_was_submitted_is_opened_again(scene: Scene) -> None:
    with pytest.raises(Unavailable):
        scene.submit(jobs=Refusing(Unavailable("no answer")))
    real = scene.place.jobs

    class Slow:
        def check(self, spec: JobSpec) -> Any:
            return real.check(spec)

        def submit(self, spec: JobSpec, *, key: str) -> Any:
            refuse_run(scene.place.tracking, RUN_ID, NEVER_SUBMITTED, end_time=1)
            return real.submit(spec, key=key)

    submitted = scene.submit(jobs=Slow())
    ended = wait_for_job(submitted.state.job_id, real)
    settle_where_it_is(ended, real, scene.place.uri)
    assert TAG_JOB_REFUSED not in scene.run.data.tags
    assert scene.status() is RunStatus.FINISHED


def test_a_job_that_has_ended_stays_ended_when_its_key_is_used_again(scene: Scene) -> None:
    ended = wait_for_job(scene.submit().state.job_id, scene.place.jobs)
    settle_where_it_is(ended, scene.place.jobs, scene.place.uri)
    assert scene.status() is RunStatus.FINISHED
    scene.submit()
    assert scene.status() is RunStatus.FINISHED


def test_a_home_that_cannot_be_written_to_keeps_nobody_from_submitting(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    scene.notes = tmp_path / "file" / "submitting"
    assert scene.submit().state.job_id
