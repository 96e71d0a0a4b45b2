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
    """One job.

    ``command`` is run in the folder of ``code_dir``, without a shell. ``run_id`` is the run that was opened
    for it, at ``tracking_uri``. ``variables`` are added to the job's environment; ``secrets`` maps a
    variable's name to a reference (``env:NAME``, ``file:PATH``, or what the backend knows), never to a value.
    ``time_limit_s`` counts from the start of an attempt; ``attempts_max`` is how often a command that fails
    is started.
    """

    name: str
    command: tuple[str, ...]
    code_dir: str | None = None
    run_id: str | None = None
    tracking_uri: str = ""
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
    """A job as it stood when it was read; times are milliseconds since 1970.

    ``reason`` explains a failure in the backend's words. ``exit_code`` is that of the last attempt, negative
    for a signal, None before its end and for a job that never started. ``attempt`` counts from 1.
    """

    job_id: str
    status: JobStatus
    name: str = ""
    exit_code: int | None = None
    reason: str = ""
    run_id: str | None = None
    tracking_uri: str = ""
    attempt: int = 0
    submit_time: int | None = None
    start_time: int | None = None
    end_time: int | None = None
    native_url: str | None = None


class LogChunk(msgspec.Struct, frozen=True, kw_only=True):
    """Text of a job's log, and the cursor from which to go on; ``done`` once there will be no more."""

    text: str
    cursor: str
    done: bool
