"""From a run of Databricks to the state of a job.

===============================  ==========================================================================
state of the run                 status of the job
===============================  ==========================================================================
QUEUED, BLOCKED, WAITING         QUEUED
PENDING                          STARTING
RUNNING, TERMINATING             RUNNING, once the job has told of its first attempt; before STARTING
TERMINATED, with SUCCESS         SUCCEEDED
TERMINATED, with …CANCELED       CANCELLED; so is one that failed because it was asked to end
TERMINATED, with anything else   FAILED; so are SKIPPED and INTERNAL_ERROR
a state that is not listed here  RUNNING: only the three above are ends
===============================  ==========================================================================

A successful run of one attempt needs no file of the job to be described: a listing of a thousand costs no
call for each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from trackbridge.domain.jobs import JobFacts, JobState, JobStatus
from trackbridge.domain.secrets import shown
from trackbridge_adapters._jobs.plan import JobResult
from trackbridge_adapters.databricks.jobs_files import JobFolder

Run = Mapping[str, Any]

STATUS = {
    "QUEUED": JobStatus.QUEUED,
    "BLOCKED": JobStatus.QUEUED,
    "WAITING": JobStatus.QUEUED,
    "WAITING_FOR_RETRY": JobStatus.QUEUED,
    "PENDING": JobStatus.STARTING,
    "RUNNING": JobStatus.RUNNING,
    "TERMINATING": JobStatus.RUNNING,
}
ENDS = frozenset({"TERMINATED", "SKIPPED", "INTERNAL_ERROR"})
CANCELLED = frozenset({"USER_CANCELED", "CANCELED"})
SUCCESS = "SUCCESS"
TIMED_OUT = "TIMEDOUT"


def told_by(run: Run) -> tuple[str, dict[str, Any]] | None:
    """Return the folder of the job's programs and what was told of its spec; None for others' runs."""
    task = task_of(run)
    parameters = (task.get("spark_python_task") or {}).get("parameters") or []
    if (
        len(parameters) != 3
        or task.get("task_key") != "job"
        or not str(parameters[0]).startswith("/Volumes/")
    ):
        return None
    try:
        told = json.loads(parameters[2])
    except ValueError:
        return None
    return (str(parameters[0]), told) if isinstance(told, dict) and "attempts_max" in told else None


def task_of(run: Run) -> Run:
    """Return the only task of a run."""
    found: Run = next(iter(run.get("tasks") or ()), {})
    return found


def status_of(run: Run) -> JobStatus | None:
    """Return the status of a run that goes on; None at its end."""
    name = (run.get("status") or {}).get("state") or (run.get("state") or {}).get("life_cycle_state")
    return None if name in ENDS else STATUS.get(str(name), JobStatus.RUNNING)


def state_of(run: Run, folder_at: Callable[[str], JobFolder]) -> JobState:
    """Return the state of the job that a run is.

    Args:
        run: As ``runs/get`` and ``runs/list`` return it.
        folder_at: Returns the job's folder, by its path.
    """
    source, told = told_by(run) or ("", {"attempts_max": 1})
    folder = folder_at(source.rpartition("/")[0])
    status, task = status_of(run), task_of(run)
    state = JobState(
        job_id=str(run["run_id"]),
        status=status or JobStatus.SUCCEEDED,
        name=str(run.get("run_name") or ""),
        run_id=told.get("run_id"),
        tracking_uri=told.get("tracking_uri") or "",
        submit_time=run.get("start_time") or None,
        native_url=run.get("run_page_url") or None,
        kept_uri=folder.kept_uri,
    )
    if status in (JobStatus.QUEUED, JobStatus.STARTING):
        return state
    return _begun(state, run, task, folder, status=status, attempts_max=int(told["attempts_max"]))


def _begun(
    state: JobState, run: Run, task: Run, folder: JobFolder, *, status: JobStatus | None, attempts_max: int
) -> JobState:
    result = _result_state(run)
    is_plain = attempts_max == 1 and status is None and result == SUCCESS
    found = None if is_plain else folder.result()
    if status is JobStatus.RUNNING and found is None:  # its environment is made
        return _replaced(state, {"status": JobStatus.STARTING})
    begin = (task.get("start_time") or 0) + (task.get("setup_duration") or 0)
    changes: dict[str, Any] = {"attempt": found.attempt if found is not None else int(is_plain)}
    changes["start_time"] = begin or state.submit_time
    if status is JobStatus.RUNNING:
        return _replaced(state, changes)
    end_time = run.get("end_time") or None
    if end_time is not None:
        changes["start_time"] = min(changes["start_time"] or end_time, end_time)
    ended, reason = _end(run, result, found, folder)
    changes |= {"status": ended, "end_time": end_time, "facts": _facts(task), "reason": reason}
    changes["exit_code"] = (
        0 if ended is JobStatus.SUCCEEDED else found.exit_code if found is not None else None
    )
    return _replaced(state, changes)


def _result_state(run: Run) -> str:
    return str((run.get("state") or {}).get("result_state") or _termination(run).get("code") or "")


def _termination(run: Run) -> Run:
    found: Run = (run.get("status") or {}).get("termination_details") or {}
    return found


def _end(run: Run, result: str, found: JobResult | None, folder: JobFolder) -> tuple[JobStatus, str]:
    """Return how a run has ended, and why."""
    if result == SUCCESS:
        return JobStatus.SUCCEEDED, ""
    code = str(_termination(run).get("code") or "")
    told = _termination(run).get("message") or (run.get("state") or {}).get("state_message") or ""
    reason = shown(str(told)) or code or result or "Databricks does not say why"
    if result == TIMED_OUT:
        return JobStatus.FAILED, f"Databricks' own time limit was reached: {reason}"
    is_ours = found is not None and found.is_asked and folder.is_asked_to_end()
    if result == "CANCELED" or code in CANCELLED or is_ours:
        return JobStatus.CANCELLED, "it was cancelled"
    if found is not None and found.reason:
        return JobStatus.FAILED, found.reason
    return JobStatus.FAILED, reason


def _facts(task: Run) -> JobFacts:
    cluster = task.get("new_cluster") or {}
    if not cluster:
        return JobFacts()
    spent_ms = sum(task.get(f"{part}_duration") or 0 for part in ("setup", "execution", "cleanup"))
    clouds = (cluster.get(f"{cloud}_attributes") or {} for cloud in ("aws", "azure", "gcp"))
    availability = next((found["availability"] for found in clouds if "availability" in found), "")
    return JobFacts(
        instance_type=cluster.get("node_type_id"),
        instance_count=(cluster.get("num_workers") or 0) + 1,
        is_spot=str(availability).startswith(("SPOT", "PREEMPTIBLE")),
        billed_s=round(spent_ms / 1000),
    )


def _replaced(state: JobState, changes: Mapping[str, Any]) -> JobState:
    return msgspec.structs.replace(state, **changes)
