"""What the machine of a job is told: one JSON file, which ``bootstrap`` carries out."""

from __future__ import annotations

import msgspec

from trackbridge.domain.jobs import JobSpec, Launcher

PLAN_FILE = "plan.json"
BOOTSTRAP_FILE = "bootstrap.py"
HOOKS_FILE = "platform_hooks.py"


class Paths(msgspec.Struct, frozen=True, kw_only=True):
    """Where things lie on the machine; relative paths start at the folder of the plan.

    A word ``$NAME`` at the beginning of a path is replaced by the platform's variable of that name.
    ``code`` is a folder, or a ``.tar.gz`` of it; where there is none, the command runs in the plan's folder.
    ``inputs`` are files or folders that the platform brings, ``outputs`` folders that it takes. ``home`` is
    the folder of the program's journals (``BRIDGE_HOME``), which the hook ``keep`` copies to ``kept``.
    ``result`` is the file that tells how it ended; the machines of higher rank write ``result.1.json`` and so
    on beside ``result.json``.
    """

    code: str = "code"
    home: str
    result: str
    inputs: dict[str, str] = msgspec.field(default_factory=dict)
    outputs: dict[str, str] = msgspec.field(default_factory=dict)
    checkpoints: str | None = None
    kept: str | None = None


class JobPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One job, as its machine sees it.

    ``python`` is the version that is asked for; where the image has another, the log says so.

    ``secrets`` are references: ``env:NAME`` and ``file:PATH`` on the machine, or what the hooks of the
    platform resolve. Variables whose names match ``dropped_variables`` (as a shell matches) are taken away
    before ours are set. ``notice_s`` is how long the command has after SIGTERM.
    """

    job_id: str
    command: tuple[str, ...]
    paths: Paths
    requirements: tuple[str, ...] = ()
    python: str | None = None
    variables: dict[str, str] = msgspec.field(default_factory=dict)
    secrets: dict[str, str] = msgspec.field(default_factory=dict)
    dropped_variables: tuple[str, ...] = ("MLFLOW_*",)
    launcher: Launcher = Launcher.DIRECT
    processes_per_node: int = 1
    all_ranks_track: bool = False
    attempts_max: int = 1
    time_limit_s: int | None = None
    notice_s: float = 30.0


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the bootstrap writes when an attempt begins and when it ends; times are milliseconds since 1970.

    ``end_time`` is None from the beginning to the end: a machine that was lost leaves it so. ``exit_code`` is
    negative for a signal. ``reason`` is "" for success. ``is_asked`` tells that the platform asked it to stop
    (SIGTERM). ``interruptions`` counts the attempts that were cut short and followed by another.
    """

    job_id: str
    attempt: int
    exit_code: int | None
    reason: str = ""
    is_asked: bool = False
    interruptions: int = 0
    start_time: int | None = None
    end_time: int | None = None


def plan_of(
    spec: JobSpec, job_id: str, paths: Paths, *, notice_s: float, attempts_max: int | None = None
) -> JobPlan:
    """Return the plan of a spec whose inputs and outputs the platform puts at these paths."""
    return JobPlan(
        job_id=job_id,
        command=spec.command,
        paths=paths,
        requirements=spec.environment.requirements,
        python=spec.environment.python,
        variables=spec.variables,
        secrets=spec.secrets,
        launcher=spec.launcher,
        processes_per_node=spec.processes_per_node,
        all_ranks_track=spec.all_ranks_track,
        attempts_max=spec.attempts_max if attempts_max is None else attempts_max,
        time_limit_s=spec.time_limit_s,
        notice_s=notice_s,
    )
