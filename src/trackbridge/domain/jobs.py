"""Compute jobs: what to run, and how it stands."""

from __future__ import annotations

from enum import Enum
from typing import Any

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


class Launcher(str, Enum):
    """What starts the command on each machine of a job, and how many processes of it."""

    DIRECT = "direct"
    TORCHRUN = "torchrun"
    MPI = "mpi"
    SPARK = "spark"


class Compute(msgspec.Struct, frozen=True, kw_only=True):
    """Where to run: a named cluster, or an instance type and count; nothing means the default.

    Spot capacity is cheaper and may be taken away with a short notice; the job then goes on elsewhere, from
    what it kept in its checkpoints.
    """

    cluster: str | None = None
    instance_type: str | None = None
    instance_count: int = 1
    spot: bool = False


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What the job runs in: an image, packages for Python, or a conda file.

    With an image, the requirements are installed into it when the job starts. ``python`` is a version, such
    as ``3.11`` or ``3.11.7``; it goes with requirements, where the backend makes the environment.
    """

    image: str | None = None
    requirements: tuple[str, ...] = ()
    conda_file: str | None = None
    python: str | None = None


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One job.

    ``command`` is run in the folder of ``code_dir``, without a shell. Where the machine is another one, the
    folder is sent there but for what ``ignore_file`` excludes (patterns as git takes them; by default the
    folder's ``.bridgeignore``, where there is one). ``run_id`` is the run that was opened for the job, at
    ``tracking_uri``. ``variables`` are added to the job's environment; ``secrets`` maps a variable's name to
    a reference (``env:NAME``, ``file:PATH``, or what the backend knows), never to a value.

    ``inputs`` and ``outputs`` map names to URIs or paths. Inputs are there as files before the command
    starts; what it writes below the folder of an output is at the URI after it has ended. A word of the
    command finds them by ``{inputs.NAME}`` and ``{outputs.NAME}``, the program by the variables
    ``BRIDGE_INPUT_NAME`` and ``BRIDGE_OUTPUT_NAME`` (the name as it is, in capitals). ``checkpoints`` is the
    URI or path of a folder that outlives an interruption: ``BRIDGE_CHECKPOINTS`` is where the program sees
    it, empty at first, and with what was written to it when the job is started again.

    ``time_limit_s`` counts from the start of an attempt; ``attempts_max`` is how often a command that fails
    is started. ``launcher`` starts ``processes_per_node`` processes on each machine; the first of all of
    them (rank 0) tracks, the others where ``all_ranks_track``.
    """

    name: str
    command: tuple[str, ...]
    code_dir: str | None = None
    ignore_file: str | None = None
    run_id: str | None = None
    tracking_uri: str = ""
    compute: Compute = Compute()
    environment: Environment = Environment()
    parameters: dict[str, str] = msgspec.field(default_factory=dict)
    variables: dict[str, str] = msgspec.field(default_factory=dict)
    secrets: dict[str, str] = msgspec.field(default_factory=dict)
    inputs: dict[str, str] = msgspec.field(default_factory=dict)
    outputs: dict[str, str] = msgspec.field(default_factory=dict)
    checkpoints: str | None = None
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    launcher: Launcher = Launcher.DIRECT
    processes_per_node: int = 1
    all_ranks_track: bool = False
    time_limit_s: int | None = None
    attempts_max: int = 1


class JobFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a job used, as its backend tells it; None where it does not.

    ``billed_s`` are the seconds that are paid for, on each of ``instance_count`` machines. ``interruptions``
    counts how often spot capacity was taken away.
    """

    instance_type: str | None = None
    instance_count: int | None = None
    is_spot: bool | None = None
    billed_s: int | None = None
    interruptions: int | None = None


class JobPreview(msgspec.Struct, frozen=True, kw_only=True):
    """What ``submit`` would send, and where it would be billed; it holds no secret.

    ``request`` is the request in the backend's own words. ``files`` and ``file_bytes`` are what of the code
    would be uploaded, ``ignored`` what would stay behind (folders and patterns, not every file of them).
    ``billed_to`` names who pays, "" for nobody; ``hours_max`` is the longest time that could be billed on
    each machine, None without a limit.
    """

    request: dict[str, Any]
    files: int = 0
    file_bytes: int = 0
    ignored: tuple[str, ...] = ()
    billed_to: str = ""
    instance_type: str | None = None
    instance_count: int = 1
    is_spot: bool = False
    hours_max: float | None = None


class JobState(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it stood when it was read; times are milliseconds since 1970.

    ``reason`` explains a failure in the backend's words. ``exit_code`` is that of the last attempt, negative
    for a signal, None before its end and for a job that never started. ``attempt`` counts from 1.
    ``native_url`` leads to it in the backend's own pages. ``kept_uri`` is the folder that the platform keeps
    for the job, with the journals of its program below ``journal/``; "" where the journals lie elsewhere.
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
    facts: JobFacts = JobFacts()
    kept_uri: str = ""


class LogChunk(msgspec.Struct, frozen=True, kw_only=True):
    """Text of a job's log, and the cursor from which to go on; ``done`` once there will be no more."""

    text: str
    cursor: str
    done: bool
