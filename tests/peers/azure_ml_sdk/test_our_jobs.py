"""Jobs that we submit, as the stock azure-ai-ml client sees them; and its own, as we do."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import eventually
from trackbridge.domain.jobs import JobSpec, JobState, JobStatus
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.jobs import JobBackend
from trackbridge.testing.contracts.jobs_base import port_of
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator

WRITES = (
    "import os, pathlib\nprint('learned', flush=True)\n"
    "pathlib.Path(os.environ['BRIDGE_OUTPUT_MODEL'], 'weights').write_text('w')"
)
PLACE = "azureml://datastores/workspaceblobstore/paths/models/ours"


@pytest.fixture
def jobs(ours: Adapter) -> JobBackend:
    return port_of(ours)


def submitted(jobs: JobBackend, code: str, **fields: Any) -> JobState:
    command = (sys.executable, "-c", code)
    return jobs.submit(JobSpec(name="of ours", command=command, tags={"team": "vision"}, **fields), key="k")


def ended(jobs: JobBackend, job_id: str) -> JobState:
    eventually(lambda: jobs.status(job_id).status.is_final)
    return jobs.status(job_id)


def test_a_job_of_ours_is_got_listed_and_downloaded(jobs: JobBackend, sdk: Any, tmp_path: Path) -> None:
    state = ended(jobs, submitted(jobs, WRITES, outputs={"model": PLACE}).job_id)

    found = sdk.jobs.get(state.job_id)
    sdk.jobs.download(state.job_id, download_path=str(tmp_path / "down"))  # outputs of a place: sdk#48972

    assert (found.name, found.display_name, found.status) == (state.job_id, "of ours", "Completed")
    assert found.tags["team"] == "vision"
    assert found.outputs["model"].path == PLACE
    assert state.job_id in [job.name for job in sdk.jobs.list()]
    log = tmp_path / "down" / "artifacts" / "user_logs" / "std_log.txt"
    assert log.read_text() == "learned\n"


def test_the_log_of_a_job_of_ours_is_streamed(
    jobs: JobBackend, azure: AzureMlEmulator, sdk: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = tmp_path / "seen"
    waits = f"while not pathlib.Path({str(seen)!r}).exists(): time.sleep(0.02)"
    state = submitted(jobs, f"import pathlib, time\nprint('one', flush=True)\n{waits}\nprint('two')")

    begun = len(azure.calls)

    def touch() -> None:  # who asks when a job has ended is shown no log
        eventually(lambda: any(call.path.endswith("/details") for call in azure.calls[begun:]))
        seen.touch()

    threading.Thread(target=touch, daemon=True).start()
    sdk.jobs.stream(state.job_id)

    assert "one\ntwo\n" in capsys.readouterr().out


def test_a_job_of_ours_is_cancelled_by_the_other_client(jobs: JobBackend, sdk: Any) -> None:
    state = submitted(jobs, "import time\nwhile True: time.sleep(1)")
    eventually(lambda: jobs.status(state.job_id).status is JobStatus.RUNNING)

    sdk.jobs.begin_cancel(state.job_id).result()

    assert ended(jobs, state.job_id).status is JobStatus.CANCELLED


def test_a_job_of_the_other_client_is_seen_read_and_cancelled(
    jobs: JobBackend, sdk: Any, tmp_path: Path
) -> None:
    from azure.ai.ml import command
    from azure.ai.ml.entities import Environment

    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text("import time\nprint('theirs', flush=True)\ntime.sleep(600)\n")
    made = sdk.jobs.create_or_update(
        command(
            code=str(tmp_path / "code"),
            command="python train.py",
            environment=Environment(name="tiny", image="python:3.11"),
            display_name="of theirs",
            experiment_name="digits",
        )
    )
    eventually(lambda: "theirs" in jobs.read_logs(made.name).text)

    listed = {state.job_id: state for state in jobs.list_jobs()}
    jobs.cancel(made.name)

    assert (listed[made.name].name, listed[made.name].status) == ("of theirs", JobStatus.RUNNING)
    assert ended(jobs, made.name).status is JobStatus.CANCELLED
