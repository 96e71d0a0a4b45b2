"""Submitting a job from a program: ``tb.submit("train.py", {"lr": 0.1}, wait=True)``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackbridge.domain.jobs import Compute, Environment, JobSpec, JobState, LogChunk
from trackbridge.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trackbridge.operations.opening import Opened, UriArgument


class Job:
    """A job that was submitted; ``id`` and ``run_id`` name it and its run."""

    def __init__(self, place: Opened, job_id: str, run_id: str) -> None:
        self._place = place
        self.id = job_id
        self.run_id = run_id

    def __repr__(self) -> str:
        return f"<Job {self.id} run {self.run_id}>"

    def state(self) -> JobState:
        """Return how it stands."""
        return self._place.jobs.status(self.id)

    def wait(self, timeout_s: float | None = None) -> JobState:
        """Return how it ended, once it has; its run is closed then.

        Raises:
            TimedOut: It has not ended so far; it goes on.
        """
        from trackbridge.operations.following import wait_for_job
        from trackbridge.operations.settle import settle_where_it_is

        state = wait_for_job(self.id, self._place.jobs, timeout_s=timeout_s)
        settle_where_it_is(state)
        return state

    def cancel(self) -> None:
        """Ask it to stop; one that has ended stays as it ended."""
        self._place.jobs.cancel(self.id)

    def logs(self) -> Iterator[str]:
        """Yield what it writes to stdout and stderr, until it ends."""
        from trackbridge.operations.following import follow_log

        def read(cursor: str) -> LogChunk:
            return self._place.jobs.read_logs(self.id, cursor=cursor)

        return follow_log(read)


def submit(
    command: str | os.PathLike[str] | Sequence[str],
    parameters: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    experiment_name: str | None = None,
    requirements: Sequence[str] | str | os.PathLike[str] = (),
    on: UriArgument = "local",
    code_dir: str | os.PathLike[str] | None = None,
    variables: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    compute: Compute | None = None,
    time_limit_s: int | None = None,
    attempts_max: int = 1,
    key: str | None = None,
    wait: bool = False,
) -> Job:
    """Run a script or a command as a job, with a run that is opened for it, and return the job.

    Args:
        command: A script (one that ends in .py is run by Python, with ``--name value`` for each parameter),
            or a command as a list of words.
        parameters: Logged as params of the run, and handed to a script.
        name: Name of the job and of its run; by default the script's.
        experiment_name: The run's experiment; by default the one in use.
        requirements: Packages to run it with, as pip takes them, or the path of a requirements file; by
            default those of this environment.
        on: Where to run it: ``local``, a remote's name or a URI.
        code_dir: The folder that it runs in; by default the current one.
        variables: Variables of its environment, none of them secret.
        secrets: Variables whose values are read where the job starts: ``{"TOKEN": "env:TOKEN"}``.
        compute: Machines; by default those of the place.
        time_limit_s: End an attempt after so many seconds.
        attempts_max: How often a command that fails is started.
        key: The same key is the same job, however often it is submitted.
        wait: Whether to wait for its end.

    Raises:
        InvalidInput: A variable, a parameter or an option looks like a secret.
        NotFound: There is no such script.
        Rejected: It cannot run there; the message says why.
        Conflict: The key was used for another job.
    """
    from trackbridge.operations.submit import command_line, refuse_missing_script, requirement_lines

    words = _words(command)
    texts = {name: str(value) for name, value in (parameters or {}).items()}
    spec = JobSpec(
        name=name or Path(words[0]).name,
        command=command_line(words, texts),
        code_dir=str(Path(code_dir or ".").absolute()),
        compute=compute or Compute(),
        environment=Environment(requirements=requirement_lines(requirements)),
        parameters=texts,
        variables=dict(variables or {}),
        secrets=dict(secrets or {}),
        time_limit_s=time_limit_s,
        attempts_max=attempts_max,
    )
    refuse_missing_script(words[0], str(spec.code_dir))
    job = _submitted(spec, words[0], on=on, experiment_name=experiment_name, key=key)
    if wait:
        job.wait()
    return job


def _submitted(
    spec: JobSpec, source: str, *, on: UriArgument, experiment_name: str | None, key: str | None
) -> Job:
    """Submit a job whose run is opened where this program's runs go."""
    from trackbridge.api import fluent
    from trackbridge.operations.opening import open_place, user_name
    from trackbridge.operations.submit import RunWanted, source_tags
    from trackbridge.operations.submit import submit as submit_job
    from trackbridge.resolve.config import Settings

    settings = Settings()
    tracking = open_place(fluent.client().tracking_uri, settings=settings)
    place = open_place(on, settings=settings)
    run = RunWanted(
        tracking=tracking.tracking,
        tracking_uri=tracking.uri,
        experiment=experiment_name or fluent._experiment_of(None, settings)[1],
        name=spec.name,
        user=user_name(settings),
        params=spec.parameters,
        tags=source_tags(source),
    )
    submitted = submit_job(spec, place.jobs, run, key=key, place=place.uri)
    return Job(place, submitted.state.job_id, submitted.run_id)


def _words(command: str | os.PathLike[str] | Sequence[str]) -> tuple[str, ...]:
    if isinstance(command, (str, os.PathLike)):
        return (os.fspath(command),)
    words = tuple(command)
    if not words or not all(isinstance(word, str) for word in words):
        raise InvalidInput(
            "a command is a script, or a list of words",
            operation="submit",
            hint='for example tb.submit("train.py") or tb.submit(["make", "train"])',
        )
    return words
