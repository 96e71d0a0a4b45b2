"""From SageMaker's description of a job to ours, with what the machine has left in the kept folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from trackbridge.domain.jobs import JobFacts, JobState, JobStatus
from trackbridge_adapters._jobs.plan import JobResult
from trackbridge_adapters.sagemaker.jobs_draft import NAME, RUN, TRACKING, kept_folder, unpacked
from trackbridge_adapters.sagemaker.jobs_kinds import PROCESSING, Kind
from trackbridge_adapters.sagemaker.place import Place

ENDED = {
    "Completed": JobStatus.SUCCEEDED,
    "Failed": JobStatus.FAILED,
    "Stopped": JobStatus.CANCELLED,
}
OVERTIME = {
    "MaxRuntimeExceeded": "it ran longer than SageMaker was to let it (MaxRuntimeInSeconds)",
    "MaxWaitTimeExceeded": "spot capacity did not come, or did not last, in time (MaxWaitTimeInSeconds)",
}
QUEUED = frozenset({"Pending"})
CONSOLES = {
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}
_EXIT_CODE = re.compile(r"exit code: ?(?P<code>[0-9]{1,3})\b", re.IGNORECASE)
SIGNALS = range(129, 160)
"""Exit codes of containers whose program a signal has ended."""


def kept_uri(kind: Kind, told: Mapping[str, Any]) -> str:
    """Return the folder in S3 that holds what outlives the machine."""
    if kind is PROCESSING:
        outputs = told.get("ProcessingOutputConfig", {}).get("Outputs", ())
        root = next(
            (each["S3Output"]["S3Uri"] for each in outputs if each["S3Output"]["LocalPath"] == kind.kept), ""
        )
    else:
        root = told.get("CheckpointConfig", {}).get("S3Uri", "")
    folder = kept_folder(kind, told[kind.name_field]).removeprefix(kind.kept)
    return f"{root}{folder}" if root else ""


def has_ended(kind: Kind, told: Mapping[str, Any]) -> bool:
    """Tell whether nothing of a job changes any more."""
    return told[f"{kind.word}JobStatus"] in ENDED


def state_of(kind: Kind, told: Mapping[str, Any], result: JobResult | None, place: Place) -> JobState:
    """Return how a job stands.

    Args:
        kind: Of the job.
        told: SageMaker's description of it.
        result: What its machine wrote at the end; None where it has not ended, or left nothing.
        place: For the address of its page.
    """
    variables = told.get("Environment", {})
    status = _status(kind, told)
    started = _time(told.get(f"{kind.word}StartTime"))
    return JobState(
        job_id=told[kind.name_field],
        status=status,
        name=unpacked(variables.get(NAME, "")),
        exit_code=_exit_code(status, told, result),
        reason=_reason(status, told, result),
        run_id=unpacked(variables[RUN]) if RUN in variables else None,
        tracking_uri=unpacked(variables.get(TRACKING, "")),
        attempt=_attempt(told, result, has_started=started is not None),
        submit_time=_time(told.get("CreationTime")),
        start_time=started,
        end_time=_end_time(kind, told) if status.is_final else None,
        native_url=_page(kind, told[kind.name_field], place),
        facts=_facts(kind, told),
        kept_uri=kept_uri(kind, told),
    )


def _status(kind: Kind, told: Mapping[str, Any]) -> JobStatus:
    native = told[f"{kind.word}JobStatus"]
    if native in ENDED:
        return JobStatus.FAILED if told.get("SecondaryStatus") in OVERTIME else ENDED[native]
    if (
        f"{kind.word}StartTime" in told
    ):  # a spot job starts anew after an interruption: it goes on all the same
        return JobStatus.RUNNING
    return JobStatus.QUEUED if told.get("SecondaryStatus") in QUEUED else JobStatus.STARTING


def _exit_code(status: JobStatus, told: Mapping[str, Any], result: JobResult | None) -> int | None:
    if not status.is_final:
        return None
    if result is not None and result.end_time is not None:
        return result.exit_code
    if status is JobStatus.SUCCEEDED:
        return 0
    found = _EXIT_CODE.search(told.get("FailureReason", ""))
    if found is None:
        return None
    code = int(found["code"])
    return 128 - code if code in SIGNALS else code


def _reason(status: JobStatus, told: Mapping[str, Any], result: JobResult | None) -> str:
    if status is JobStatus.CANCELLED:
        return "it was stopped"
    if status is not JobStatus.FAILED:
        return ""
    overtime = OVERTIME.get(told.get("SecondaryStatus", ""))
    if overtime:
        return overtime
    native = str(told.get("FailureReason", ""))
    if result is not None and result.end_time is not None and result.reason:
        return result.reason
    return native or "SageMaker does not tell why"


def _attempt(told: Mapping[str, Any], result: JobResult | None, *, has_started: bool) -> int:
    if result is not None and result.attempt:
        return result.attempt
    return int(has_started) + (_interruptions(told) or 0 if has_started else 0)


def _interruptions(told: Mapping[str, Any]) -> int | None:
    rows = told.get("SecondaryStatusTransitions")
    return None if rows is None else sum(row["Status"] == "Interrupted" for row in rows)


def _facts(kind: Kind, told: Mapping[str, Any]) -> JobFacts:
    resources = told["ProcessingResources"] if kind is PROCESSING else {}
    machines = resources.get("ClusterConfig") or told["ResourceConfig"]
    return JobFacts(
        instance_type=machines.get("InstanceType"),
        instance_count=machines.get("InstanceCount"),
        is_spot=bool(told.get("EnableManagedSpotTraining", False)),
        billed_s=told.get("BillableTimeInSeconds"),
        interruptions=_interruptions(told),
    )


def _end_time(kind: Kind, told: Mapping[str, Any]) -> int | None:
    """Return when it ended; one that never got a machine has only the time of its last change."""
    return _time(told.get(f"{kind.word}EndTime") or told.get("LastModifiedTime"))


def _time(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)


def _page(kind: Kind, job_id: str, place: Place) -> str:
    console = CONSOLES.get(place.partition, f"{place.region}.console.aws.amazon.com")
    return f"https://{console}/sagemaker/home?region={place.region}#/{kind.page}/{job_id}"
