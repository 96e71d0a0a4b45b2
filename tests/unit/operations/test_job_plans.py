"""Plans of jobs: every finding and a preview, and nothing is opened or submitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from trackbridge.domain.jobs import JobSpec
from trackbridge.operations.job_plans import plan_job
from trackbridge.operations.opening import Opened, open_place
from trackbridge.operations.submit import RunWanted


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / "home"))
    return open_place(str(tmp_path / "store"))


def wanted(place: Opened) -> RunWanted:
    return RunWanted(tracking=place.tracking, tracking_uri=place.uri, experiment="e", name="n")


def test_a_job_that_would_run(place: Opened, tmp_path: Path) -> None:
    planned = plan_job(
        JobSpec(name="n", command=("true",), code_dir=str(tmp_path)), place.jobs, wanted(place)
    )
    assert planned.can_run
    assert planned.preview is not None
    assert planned.spec.run_id is not None
    assert not any(tmp_path.rglob("store.db"))


def test_a_job_that_would_not(place: Opened, tmp_path: Path) -> None:
    spec = JobSpec(
        name="n",
        command=("true",),
        code_dir=str(tmp_path / "none"),
        variables={"API_TOKEN": "hunter2"},
        time_limit_s=0,
    )
    planned = plan_job(spec, place.jobs, wanted(place))
    assert not planned.can_run
    assert planned.preview is None
    subjects = {finding.subject for finding in planned.findings}
    assert subjects >= {"secrets", "code_dir", "time_limit_s"}
    assert all(finding.fix for finding in planned.findings)
    assert "hunter2" not in repr(planned.findings)
