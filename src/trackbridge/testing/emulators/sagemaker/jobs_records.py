"""What training, processing and transform jobs have in common: records, statuses, lists."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trackbridge.testing.emulators.pauses import Pauses
from trackbridge.testing.emulators.sagemaker.core import Cloud, Refused
from trackbridge.testing.emulators.sagemaker.listing import page
from trackbridge.testing.emulators.sagemaker.quotas import SPOT, Quotas, instances_of

ENDED = frozenset({"Completed", "Failed", "Stopped"})
REASON_CHARS_MAX = 1024
CLOSE_S = 20.0
"""How long a job's thread may take to end when the emulator closes."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job: how its fields are called."""

    word: str
    """``Training``; fields are ``TrainingJobName`` and so on."""
    arn_kind: str
    is_descending: bool
    """The order of its list when none is asked for."""

    @property
    def log_group(self) -> str:
        """Where its logs are."""
        return f"/aws/sagemaker/{self.word}Jobs"


TRAINING = Kind("Training", "training-job", False)
PROCESSING = Kind("Processing", "processing-job", False)
TRANSFORM = Kind("Transform", "transform-job", True)


@dataclass(slots=True, eq=False)
class Job:
    """A job. What changes is changed while the cloud's lock is held."""

    kind: Kind
    name: str
    arn: str
    asked: dict[str, Any]
    pauses: Pauses
    created_s: float
    modified_s: float
    status: str = "InProgress"
    started_s: float | None = None
    ended_s: float | None = None
    failure_reason: str | None = None
    told: dict[str, Any] = field(default_factory=dict)
    """Further fields of its description."""
    transitions: list[dict[str, Any]] = field(default_factory=list)
    wanted_end: str | None = None
    """Why it shall end: ``Stopped``, ``MaxRuntimeExceeded``, ``MaxWaitTimeExceeded``."""
    disturbance: str | None = None
    """What befalls its instances: ``Interrupted`` (spot), ``Lost``."""
    pool_until_s: float | None = None
    """Until when its warm pool is kept."""
    component_arn: str | None = None
    """Of the trial component that follows it."""
    on_change: list[Callable[[Job], None]] = field(default_factory=list)
    thread: threading.Thread | None = None

    @property
    def is_ended(self) -> bool:
        """Whether nothing changes any more."""
        return self.status in ENDED

    @property
    def secondary_status(self) -> str:
        """The last secondary status."""
        return str(self.transitions[-1]["Status"]) if self.transitions else "Starting"


class Jobs:
    """All jobs of the account, how long their parts take, and what tests let happen to them."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.start_s = 0.2
        """How long instances take to come."""
        self.step_s = 0.05
        """How long each of the other steps takes besides its work."""
        self.grace_s = 120.0
        """From SIGTERM to SIGKILL."""
        self.logs_late_s = 0.0
        """How long lines take to come to CloudWatch; they come late from a job that has ended, too."""
        self._jobs: dict[tuple[str, str], Job] = {}

    def check_quota(self, kind: Kind, asked: Mapping[str, Any]) -> None:
        """Refuse a job for which the account has no instances left.

        Raises:
            Refused: ``ResourceLimitExceeded``.
        """
        use = _use(kind, asked)
        running = [job for job in self.find(kind) if not job.is_ended and _use(kind, job.asked) == use]
        held = [size for job in running for size in instances_of(_resources(job.asked))]
        self.cloud.part(Quotas).check(use, instances_of(_resources(asked)), held)

    def add(self, kind: Kind, asked: dict[str, Any]) -> Job:
        """Keep a new job.

        Raises:
            Refused: There is one of that name, or its tags are not allowed.
        """
        name = asked[f"{kind.word}JobName"]
        if (kind.word, name) in self._jobs:
            raise Refused(
                "ResourceInUse",
                f"{kind.word} job names must be unique within an AWS account and region, and a "
                f"{kind.word.lower()} job with this name already exists ({self._jobs[kind.word, name].arn})",
            )
        now = self.cloud.now_s()
        arn = self.cloud.arn(kind.arn_kind, name)
        self.cloud.tags.start(arn, asked.get("Tags"))
        job = Job(kind, name, arn, asked, Pauses(self.cloud.later), now, now)
        self._jobs[kind.word, name] = job
        return job

    def get(self, kind: Kind, name: str) -> Job:
        """Return a job.

        Raises:
            Refused: There is none.
        """
        job = self._jobs.get((kind.word, name))
        if job is None:
            raise Refused("ValidationException", "Requested resource not found.")
        return job

    def find(self, kind: Kind) -> list[Job]:
        """Return all jobs of a kind."""
        return [job for (word, _), job in self._jobs.items() if word == kind.word]

    def find_all(self) -> list[Job]:
        """Return all jobs."""
        return list(self._jobs.values())

    def remove(self, job: Job) -> None:
        """Forget a job that has ended."""
        del self._jobs[job.kind.word, job.name]

    def interrupt(self, name: str) -> None:
        """Let AWS take back the instances of a spot training job; they come again."""
        self._disturb(name, "Interrupted")

    def lose_instances(self, name: str) -> None:
        """Let a training job's instances break: InternalServerError, unless its RetryStrategy has retries."""
        self._disturb(name, "Lost")

    def _disturb(self, name: str, how: str) -> None:
        with self.cloud.lock:
            job = self.get(TRAINING, name)
            job.disturbance = how
        job.pauses.wake()

    def close(self) -> None:
        """End all jobs' threads."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.pauses.end()
        for job in jobs:
            if job.thread is not None and job.thread is not threading.current_thread():
                job.thread.join(CLOSE_S)


def _use(kind: Kind, asked: Mapping[str, Any]) -> str:
    is_spot = asked.get("EnableManagedSpotTraining", False)
    return SPOT if is_spot else f"{kind.word.lower()} job"


def _resources(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (
        asked.get("ResourceConfig")
        or asked.get("TransformResources")
        or asked.get("ProcessingResources", {}).get("ClusterConfig", {})
    )
    return found


def change(cloud: Cloud, job: Job, status: str, secondary: str, message: str = "") -> None:
    """Move a job on, and tell who waits for it."""
    with cloud.lock:
        now = cloud.now_s()
        job.status, job.modified_s = status, now
        if status in ENDED:
            job.ended_s = now
        if job.transitions and job.transitions[-1]["Status"] == secondary:
            job.transitions[-1]["StatusMessage"] = message
            return
        if job.transitions:
            job.transitions[-1]["EndTime"] = now
        row = {"Status": secondary, "StartTime": now, "StatusMessage": message}
        job.transitions.append(row | ({"EndTime": now} if status in ENDED else {}))
        for tell in job.on_change:
            tell(job)


def stop(cloud: Cloud, kind: Kind, name: str) -> None:
    """Ask a job to end; it does so some time later.

    Raises:
        Refused: There is none, or it has ended already.
    """
    job = cloud.part(Jobs).get(kind, name)
    if job.is_ended:
        word = kind.word.lower()
        raise Refused(
            "ValidationException",
            f"The request was rejected because the {word} job is in status {job.status}",
        )
    if job.wanted_end is None:
        job.wanted_end = "Stopped"
        job.status, job.modified_s = "Stopping", cloud.now_s()
    job.pauses.wake()


def delete(cloud: Cloud, kind: Kind, name: str) -> None:
    """Forget a job and its tags.

    Raises:
        Refused: There is none, or it has not ended, or it holds a warm pool.
    """
    jobs = cloud.part(Jobs)
    job = jobs.get(kind, name)
    if not job.is_ended:
        raise Refused("ResourceInUse", f"The job {job.arn} is in status {job.status} and cannot be deleted")
    if job.told.get("WarmPoolStatus", {}).get("Status") == "Available":
        raise Refused("ResourceInUse", f"The job {job.arn} retains an available warm pool")
    jobs.remove(job)
    cloud.tags.end(job.arn)


def listed(cloud: Cloud, kind: Kind, asked: Mapping[str, Any]) -> tuple[list[Job], dict[str, str]]:
    """Return one page of the jobs of a kind, and the token of the next."""
    return page(cloud.part(Jobs).find(kind), asked, _row, is_descending=kind.is_descending)


def _row(job: Job) -> dict[str, Any]:
    times = {"CreationTime": job.created_s, "LastModifiedTime": job.modified_s}
    return {"Name": job.name, "Status": job.status, **times}


def summary(job: Job) -> dict[str, Any]:
    """Return a job's row in a list."""
    word = job.kind.word
    row: dict[str, Any] = {
        f"{word}JobName": job.name,
        f"{word}JobArn": job.arn,
        f"{word}JobStatus": job.status,
        "CreationTime": job.created_s,
        "LastModifiedTime": job.modified_s,
    }
    if job.ended_s is not None:
        row[f"{word}EndTime"] = job.ended_s
    if job.failure_reason is not None and word != "Training":
        row["FailureReason"] = job.failure_reason
    return row
