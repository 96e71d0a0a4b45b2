"""How a job stands, of what Azure Resource Manager, the run history and the job's own result file say.

==============================  ============================================
what                            who says it
==============================  ============================================
status, what was submitted      ARM: the job
times, error                    the run history: the run of the same name
exit code, attempt              the file that the bootstrap writes at each end
==============================  ============================================

A job that has ended does not change any more, so that its state is kept. Of one that has succeeded at its
first attempt there is nothing to read in the file.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trackbridge.domain.jobs import JobFacts, JobState, JobStatus
from trackbridge_adapters._jobs.plan import JobResult
from trackbridge_adapters.azureml.arm import Json
from trackbridge_adapters.azureml.assets import created_ms, milliseconds_of, properties_of
from trackbridge_adapters.azureml.config import Workspace
from trackbridge_adapters.azureml.errors import plain
from trackbridge_adapters.azureml.jobs_request import (
    OUR_ATTEMPTS,
    OUR_COUNT,
    OUR_NAME,
    OUR_RESULT,
    OUR_RUN,
    OUR_SPOT,
    OUR_TRACKING,
    OUR_TYPE,
    kept_uri,
    told_of,
)
from trackbridge_adapters.azureml.jobs_results import JobResults

STATES_KEPT_MAX = 10_000
REASON_CHARS_MAX = 500

STATUS: Mapping[str, JobStatus] = {
    "notstarted": JobStatus.QUEUED,
    "starting": JobStatus.QUEUED,
    "provisioning": JobStatus.QUEUED,
    "preparing": JobStatus.QUEUED,
    "queued": JobStatus.QUEUED,
    "paused": JobStatus.QUEUED,
    "running": JobStatus.RUNNING,
    "finalizing": JobStatus.RUNNING,
    "cancelrequested": JobStatus.RUNNING,
    "notresponding": JobStatus.RUNNING,
    "completed": JobStatus.SUCCEEDED,
    "failed": JobStatus.FAILED,
    "canceled": JobStatus.CANCELLED,
}
"""Azure's words for how a job stands. It says Starting and Preparing before Queued: none of them is the start
of a machine. A word that is not here is told as RUNNING: only the three last are ends."""

_EXIT = re.compile(r"exited with status code (\d+)")


class JobStates:
    """States of the jobs of one workspace. Any thread may use it.

    Args:
        workspace: Which.
        details: Returns what the run history says of a run, given its name; {} where it knows none.
        results: Reads the result file.
        url: Returns the address of a job in the studio.
    """

    def __init__(
        self,
        workspace: Workspace,
        details: Callable[[str], Json],
        results: JobResults,
        url: Callable[[str], str],
    ) -> None:
        self._workspace = workspace
        self._details = details
        self._results = results
        self._url = url
        self._lock = threading.Lock()
        self._ended: OrderedDict[str, JobState] = OrderedDict()

    def of(self, job: Json, *, known: Json | None = None) -> JobState:
        """Return how a job stands.

        Args:
            job: As ARM tells it.
            known: What the run history says of it, where it was asked already.
        """
        name = str(job.get("name") or "")
        with self._lock:
            kept = self._ended.get(_key(job))
        if kept is not None:
            return kept
        details = self._details(name) if known is None else known
        state = self._read(name, job, details)
        if state.status.is_final and state.end_time is not None:  # the run history may come a moment later
            with self._lock:
                self._ended[_key(job)] = state
                while len(self._ended) > STATES_KEPT_MAX:
                    self._ended.popitem(last=False)
        return state

    def unknown(self, jobs: Iterable[Json]) -> list[str]:
        """Return the names of the jobs whose state is not kept."""
        with self._lock:
            return [str(job.get("name") or "") for job in jobs if _key(job) not in self._ended]

    def _read(self, name: str, job: Json, details: Json) -> JobState:
        ours, told = told_of(job), properties_of(job)
        status = STATUS.get(str(told.get("status") or "").lower(), JobStatus.RUNNING)
        problem = _problem(details)
        if status is JobStatus.CANCELLED and problem:  # Azure's word for a job beyond its time, too
            status = JobStatus.FAILED
        started = milliseconds_of(details.get("startTimeUtc"))
        ended = milliseconds_of(details.get("endTimeUtc")) if status.is_final else None
        may_tell = bool(ours) and started is not None and _is_worth_reading(ours, status)
        experiment = str(details.get("experimentId") or "")
        where = ours.get(OUR_RESULT)
        result = self._results.find(where, job=name, experiment=experiment) if may_tell else None
        reason, exit_code = _outcome(status, result, problem)
        return JobState(
            job_id=name,
            status=status,
            name=ours.get(OUR_NAME) or str(told.get("displayName") or name),
            exit_code=exit_code,
            reason=reason,
            run_id=ours.get(OUR_RUN),
            tracking_uri=ours.get(OUR_TRACKING) or "",
            attempt=_attempt(result, status, started),
            submit_time=created_ms(job),
            start_time=_not_after(started, ended),
            end_time=ended,
            native_url=self._url(name),
            facts=_facts(ours, told, started, ended, result),
            kept_uri=kept_uri(self._workspace, name) if ours else "",
        )


def _is_worth_reading(ours: Mapping[str, str], status: JobStatus) -> bool:
    """Tell whether the result file can say something that is not known without it."""
    is_plain = ours.get(OUR_ATTEMPTS) == "1" and ours.get(OUR_SPOT) != "true"
    return not (is_plain and status in (JobStatus.SUCCEEDED, JobStatus.RUNNING))


def _key(job: Mapping[str, Any]) -> str:
    # A name may be taken again once its job was deleted.
    return f"{job.get('name')} {created_ms(job)}"


def _problem(details: Mapping[str, Any]) -> str:
    error = (details.get("error") or {}).get("error") or {}
    return plain(str(error.get("message") or error.get("code") or ""))[:REASON_CHARS_MAX]


def _outcome(status: JobStatus, result: JobResult | None, problem: str) -> tuple[str, int | None]:
    """Return why a job has failed, and its exit code."""
    if status is JobStatus.SUCCEEDED:
        return "", 0
    if not status.is_final:
        return "", None
    ended = result is not None and result.end_time is not None
    code = result.exit_code if result is not None and ended else None
    if status is JobStatus.CANCELLED:
        return "", code
    found = _EXIT.search(problem)
    if not ended and found is not None:
        code = _signal_of(int(found[1]))
    reason = result.reason if result is not None and ended else ""
    return reason or problem or "Azure ML does not say why it failed", code


def _signal_of(code: int) -> int:
    """Return the exit code of a program whose shell told it: 128 + n stands for signal n."""
    return 128 - code if 128 < code < 160 else code


def _attempt(result: JobResult | None, status: JobStatus, started: int | None) -> int:
    if result is not None:
        return max(1, result.attempt)
    return 1 if started is not None or status in (JobStatus.RUNNING, JobStatus.SUCCEEDED) else 0


def _not_after(started: int | None, ended: int | None) -> int | None:
    return started if started is None or ended is None else min(started, ended)


def _facts(
    ours: Mapping[str, str],
    told: Mapping[str, Any],
    started: int | None,
    ended: int | None,
    result: JobResult | None,
) -> JobFacts:
    resources = told.get("resources") or {}
    count = ours.get(OUR_COUNT) or resources.get("instanceCount") or 1
    return JobFacts(
        instance_type=ours.get(OUR_TYPE) or resources.get("instanceType"),
        instance_count=int(count),
        is_spot=ours[OUR_SPOT] == "true" if OUR_SPOT in ours else None,
        billed_s=None if started is None or ended is None else max(0, -(-(ended - started) // 1000)),
        interruptions=getattr(result, "interruptions", None),
    )
