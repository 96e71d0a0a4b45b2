"""Compute jobs: what to run, and how it stands."""

from __future__ import annotations

from enum import Enum

import msgspec


class JobStatus(str, Enum):
    """State of a job; the last three are final."""

    QUEUED = "QUEUED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """True once the job has ended."""
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class Compute(msgspec.Struct, frozen=True, kw_only=True):
    """Where to run: a named cluster, or an instance type and count; nothing means the default."""

    cluster: str | None = None
    instance_type: str | None = None
    instance_count: int = 1
    spot: bool = False


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What is installed: at most one of an image, pip requirements, or a conda file."""

    image: str | None = None
    requirements: tuple[str, ...] = ()
    conda_file: str | None = None


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One job. ``secrets`` maps a variable's name to a reference, never to a value."""

    name: str
    command: tuple[str, ...]
    code_dir: str | None = None
    run_id: str | None = None
    compute: Compute = Compute()
    environment: Environment = Environment()
    parameters: dict[str, str] = msgspec.field(default_factory=dict)
    variables: dict[str, str] = msgspec.field(default_factory=dict)
    secrets: dict[str, str] = msgspec.field(default_factory=dict)
    inputs: dict[str, str] = msgspec.field(default_factory=dict)
    outputs: dict[str, str] = msgspec.field(default_factory=dict)
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    processes_per_node: int = 1
    time_limit_s: int | None = None
    attempts_max: int = 1


class JobState(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it stood when it was read. ``reason`` explains a failure in the backend's words."""

    job_id: str
    status: JobStatus
    name: str = ""
    exit_code: int | None = None
    reason: str = ""
    run_id: str | None = None
    submit_time: int | None = None
    start_time: int | None = None
    end_time: int | None = None
    native_url: str | None = None


class LogChunk(msgspec.Struct, frozen=True, kw_only=True):
    """Text of a job's log, and the cursor from which to go on; ``done`` once there will be no more."""

    text: str
    cursor: str
    done: bool
