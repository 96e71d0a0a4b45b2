"""What a run says of its job: tags, and the end of the log."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

from trackbridge.domain.batches import Batch, Setting
from trackbridge.domain.job_tags import (
    LOG_TAIL_PATH,
    TAG_JOB,
    TAG_JOB_BILLED_S,
    TAG_JOB_EXIT_CODE,
    TAG_JOB_INSTANCE_COUNT,
    TAG_JOB_INSTANCE_TYPE,
    TAG_JOB_INTERRUPTIONS,
    TAG_JOB_LOG,
    TAG_JOB_PLACE,
    TAG_JOB_REASON,
    TAG_JOB_REFUSED,
    TAG_JOB_SPOT,
    TAG_JOB_STATUS,
    TAG_JOB_URL,
)
from trackbridge.domain.jobs import JobState
from trackbridge.domain.runs import Run, RunStatus
from trackbridge.domain.secrets import shown
from trackbridge.errors import Rejected
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.tracking import TrackingStore

REASON_CHARS_MAX = 500


def link_tags(state: JobState, place: str) -> dict[str, str]:
    """Return the tags by which a run names its job."""
    tags = {TAG_JOB: state.job_id, TAG_JOB_PLACE: place, TAG_JOB_URL: state.native_url or ""}
    return {name: value for name, value in tags.items() if value}


def end_tags(state: JobState) -> dict[str, str]:
    """Return the tags that say how a job ended and what it used, as far as that is known."""
    facts = state.facts
    numbers = {
        TAG_JOB_EXIT_CODE: state.exit_code,
        TAG_JOB_INSTANCE_COUNT: facts.instance_count,
        TAG_JOB_BILLED_S: facts.billed_s,
        TAG_JOB_INTERRUPTIONS: facts.interruptions,
    }
    texts = {
        TAG_JOB_REASON: shown(state.reason, chars_max=REASON_CHARS_MAX),
        TAG_JOB_INSTANCE_TYPE: facts.instance_type or "",
        TAG_JOB_SPOT: "" if facts.is_spot is None else str(facts.is_spot).lower(),
        **{name: "" if number is None else str(number) for name, number in numbers.items()},
        TAG_JOB_STATUS: state.status.value,
    }
    return {name: text for name, text in texts.items() if text}


def has_all(run: Run, state: JobState) -> bool:
    """Tell whether a run has ended and says everything of its job."""
    return run.info.status.is_final and run.data.tags.get(TAG_JOB_STATUS) == state.status.value


def is_refused(run: Run) -> bool:
    """Tell whether a run is closed because there was no job for it: see ``refuse_run``."""
    tags = run.data.tags
    return run.info.status.is_final and TAG_JOB_REFUSED in tags and TAG_JOB_STATUS not in tags


def write_tags(tracking: TrackingStore, run_id: str, tags: Mapping[str, str | None]) -> None:
    """Write tags of a run; None deletes one.

    Raises:
        Rejected: The store does not take all of them; the others are there.
    """
    settings = [Setting(name, value, number) for number, (name, value) in enumerate(tags.items(), 1)]
    refused = tracking.write(Batch(run_id=run_id, tags=settings)).rejected
    if refused:
        names = list(tags)
        told = ", ".join(names[item.sequence - 1] for item in refused)
        raise Rejected(
            f"the run does not take what is known of its job ({told}): {refused[0].reason}",
            operation="jobs.settle",
            resource=f"run {run_id}",
        )


def refuse_run(
    tracking: TrackingStore,
    run_id: str,
    reason: str,
    *,
    end_time: int,
    status: RunStatus = RunStatus.FAILED,
) -> None:
    """Close the run of a job that there is not; the tag says why, and that it may be opened again for one.

    Raises:
        NotFound: There is no such run.
    """
    try:
        write_tags(tracking, run_id, {TAG_JOB_REFUSED: shown(reason, chars_max=REASON_CHARS_MAX)})
    finally:
        tracking.close_run(run_id, status=status, end_time=end_time)


def write_facts(
    run: Run,
    state: JobState,
    tracking: TrackingStore,
    artifacts: ArtifactStore | None,
    *,
    place: str,
    log: bytes | None,
    log_problem: str = "",
) -> None:
    """Put onto a run what is known of its job, the status last.

    Args:
        run: The run as it stands.
        state: How the job ended.
        tracking: Where the run is.
        artifacts: Where its files go; None where the backend keeps none.
        place: The URI of the job's backend, "" where that is not known.
        log: The end of the log without secrets, None where there is none to be had.
        log_problem: Why.

    Raises:
        Rejected: The store does not take all of it; the rest is there.
    """
    if log and artifacts is None:
        log_problem = "the backend keeps no files"
    elif log and artifacts is not None:
        _put_log(artifacts, run.info.run_id, log)
    known = run.data.tags
    links = {name: value for name, value in link_tags(state, place).items() if known.get(name) != value}
    problem = {TAG_JOB_LOG: shown(log_problem, chars_max=REASON_CHARS_MAX)} if log_problem else {}
    write_tags(tracking, run.info.run_id, {**links, **problem, **end_tags(state)})


def _put_log(artifacts: ArtifactStore, run_id: str, log: bytes) -> None:
    digest = f"sha256:{hashlib.sha256(log).hexdigest()}"
    with tempfile.TemporaryDirectory(prefix="trackbridge-log-") as folder:
        file = Path(folder) / "log"
        file.write_bytes(log)
        artifacts.put(run_id, LOG_TAIL_PATH, file, digest=digest, size=len(log))
