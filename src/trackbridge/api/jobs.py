"""Submitting a job from a program: ``tb.submit("train.py", {"lr": 0.1}, wait=True)``, and ``@tb.job``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec

from trackbridge.domain.jobs import Compute, JobSpec, JobState, JobStatus, Launcher, LogChunk
from trackbridge.errors import BridgeError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Unpack

    from trackbridge.api.job_submission import PreparedJob
    from trackbridge.operations.job_sources.requests import EnvironmentManager, JobRequest
    from trackbridge.operations.opening import Opened, UriArgument

Source = str | os.PathLike[str] | Sequence[str] | JobSpec


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
        from trackbridge.operations.following import pace_of, wait_for_job
        from trackbridge.operations.settle import settle_where_it_is

        pace = pace_of(is_local=self._place.capabilities.is_local)
        state = wait_for_job(self.id, self._place.jobs, timeout_s=timeout_s, pace=pace)
        settle_where_it_is(state, self._place.jobs, self._place.uri)
        return state

    def wait_for_success(self, timeout_s: float | None = None) -> JobState:
        """Return how it ended, once it has ended well.

        Raises:
            BridgeError: It failed or was cancelled.
            TimedOut: It has not ended so far; it goes on.
        """
        state = self.wait(timeout_s)
        if state.status is not JobStatus.SUCCEEDED:
            because = f": {state.reason}" if state.reason else ""
            raise BridgeError(
                f"the job {state.name!r} is {state.status.value}{because}",
                operation="jobs.wait",
                resource=f"job {self.id}",
                hint=f"see what it wrote: bridge jobs logs {self.id}",
            )
        return state

    def cancel(self) -> None:
        """Ask it to stop; one that has ended stays as it ended."""
        self._place.jobs.cancel(self.id)

    def logs(self) -> Iterator[str]:
        """Yield what it writes to stdout and stderr, until it ends."""
        from trackbridge.operations.following import follow_log, pace_of

        def read(cursor: str) -> LogChunk:
            return self._place.jobs.read_logs(self.id, cursor=cursor)

        return follow_log(read, pace=pace_of(is_local=self._place.capabilities.is_local))


class JobOptions(TypedDict, total=False):
    """What may be said of a job besides its source and parameters.

    Attributes:
        entry_point: The entry point of a project, ``main`` by default, or a script of its folder.
        version: A branch, tag or commit of a git address.
        name: Name of the job and of its run; by default the source's.
        experiment_name: The run's experiment; by default the one in use.
        compute: ``cpu-cluster``, ``ml.m5.large``, ``2xStandard_DS3_v2``, ``serverless``, or a Compute; by
            default what the place takes.
        instances: How many machines.
        spot: Whether to take spot capacity.
        requirements: Packages to run it with, as pip takes them, or the path of a requirements file; by
            default what a project declares, else those of this environment.
        image: A container image.
        conda_file: A conda file.
        python: A version of Python, for the requirements.
        env_manager: ``local`` runs a project in the environment that is there; by default one is made.
        code_dir: The folder that a script or a command runs in; by default the current one.
        ignore_file: Patterns of what of it is not sent; by default its ``.bridgeignore``.
        inputs: URIs or paths of what is to be there before it starts, by name.
        outputs: Where what it writes is to end up, by name.
        checkpoints: Where its checkpoints outlive an interruption.
        variables: Variables of its environment, none of them secret.
        secrets: Variables whose values are read where the job starts: ``{"TOKEN": "env:TOKEN"}``.
        tags: Tags of the job and of its run.
        launcher: ``torchrun`` or ``mpi``.
        processes_per_node: How many processes the launcher starts on each machine.
        all_ranks_track: Whether every process logs, not just the first.
        time_limit_s: End an attempt after so many seconds.
        attempts_max: How often a command that fails is started.
    """

    entry_point: str | None
    version: str | None
    name: str | None
    experiment_name: str | None
    compute: str | Compute | None
    instances: int | None
    spot: bool
    requirements: Sequence[str] | str | os.PathLike[str]
    image: str | None
    conda_file: str | os.PathLike[str] | None
    python: str | None
    env_manager: EnvironmentManager | None
    code_dir: str | os.PathLike[str] | None
    ignore_file: str | os.PathLike[str] | None
    inputs: Mapping[str, str] | None
    outputs: Mapping[str, str] | None
    checkpoints: str | None
    variables: Mapping[str, str] | None
    secrets: Mapping[str, str] | None
    tags: Mapping[str, str] | None
    launcher: str | Launcher | None
    processes_per_node: int | None
    all_ranks_track: bool
    time_limit_s: int | None
    attempts_max: int | None


_FIELDS = {
    "experiment_name": "experiment",
    "instances": "instance_count",
    "env_manager": "environment_manager",
}
"""Options that a JobRequest calls otherwise."""


def submit(
    source: Source,
    parameters: Mapping[str, Any] | None = None,
    *,
    on: UriArgument = None,
    key: str | None = None,
    wait: bool = False,
    **options: Unpack[JobOptions],
) -> Job:
    """Run something as a job, with a run that is opened for it, and return the job.

    Inside of an active run the job's run is nested in it, so that steps of a pipeline stand below it.

    Args:
        source: A script (one that ends in .py is run by Python, with ``--name value`` for each parameter), a
            project's folder, a git address (``#folder`` behind it), a job file (.yaml), a command as a list
            of words, or a JobSpec.
        parameters: Logged as params of the run, and handed to a script or an entry point.
        on: Where to run it: ``local``, a remote's name or a URI; by default what a job file says, else here.
        key: The same key is the same job, however often it is submitted.
        wait: Whether to wait for its end.
        options: What else there is to say: see ``JobOptions``.

    Raises:
        InvalidInput: A parameter is of the wrong type, or something looks like a secret.
        NotFound: There is no such script, folder, file, entry point or version.
        ConfigError: A file of the project is wrong; the error says in which line.
        Rejected: It cannot run there; the message says why.
        Conflict: The key was used for another job.
    """
    from trackbridge.operations.job_sources.requests import JobRequest

    said = request_fields(options)
    texts = {name: str(value) for name, value in (parameters or {}).items()}
    if isinstance(source, JobSpec):
        spec = _spec_as_said(source, said, texts)
        prepared = _prepare_spec(spec, on=on, experiment_name=said.get("experiment"))
    else:
        request = JobRequest(words=_words(source), parameters=texts, **said)
        prepared = _prepare(request, on=on)
    submitted = prepared.submit(key=key)
    job = Job(prepared.place, submitted.state.job_id, submitted.run_id)
    if wait:
        job.wait()
    return job


def request_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as fields of a JobRequest.

    Raises:
        TypeError: There is no such option.
    """
    known, said = JobOptions.__annotations__, {}
    for name, value in options.items():
        if name not in known:
            from trackbridge.resolve.config import close_match

            raise TypeError(f"a job has no option {name!r}{close_match(name, known)}")
        if value is None:
            continue
        if name == "requirements":
            value = _requirements(value)
        elif name == "launcher":
            value = _launcher(value)
        elif isinstance(value, os.PathLike):
            value = os.fspath(value)
        elif isinstance(value, Mapping):
            value = dict(value)
        said[_FIELDS.get(name, name)] = value
    return said


def run_project(
    uri: str | os.PathLike[str],
    entry_point: str = "main",
    parameters: Mapping[str, Any] | None = None,
    **options: Any,
) -> Job:
    """Run an entry point of a project to its end, as one step after the other of a pipeline.

    ::

        with tb.start_run():
            data = tb.run_project(".", "load")
            tb.run_project(".", "train", {"data": f"runs:/{data.run_id}/data.csv"})

    Args:
        uri: The project's folder or git address.
        entry_point: Its entry point, or a script of its folder.
        parameters: Its parameters.
        options: As for ``submit``, but for ``wait``.

    Raises:
        BridgeError: It did not end well; what ``submit`` raises besides.
    """
    job = submit(uri, parameters, entry_point=entry_point, **options)
    job.wait_for_success()
    return job


def _prepare(request: JobRequest, *, on: UriArgument = None) -> PreparedJob:
    """Return a job whose run is opened where this program's runs go, nested in the active one."""
    from trackbridge.api.job_submission import prepare_job
    from trackbridge.resolve.config import Settings

    settings = Settings()
    tracking_uri, parent_run_id = _surroundings()
    return prepare_job(
        request,
        settings=settings,
        tracking_uri=tracking_uri,
        on=on,
        experiment=_experiment(settings),
        parent_run_id=parent_run_id,
    )


def _prepare_spec(spec: JobSpec, *, on: UriArgument, experiment_name: str | None) -> PreparedJob:
    """Return a job that was described whole, in the same way."""
    from trackbridge.api.job_submission import prepare_spec
    from trackbridge.domain.runs import TAG_SOURCE_NAME
    from trackbridge.operations.job_sources.sources import JobSource
    from trackbridge.operations.opening import LOCAL
    from trackbridge.resolve.config import Settings

    settings = Settings()
    tracking_uri, parent_run_id = _surroundings()
    return prepare_spec(
        spec,
        JobSource(base=spec, source_name=spec.name, tags={TAG_SOURCE_NAME: spec.name, **spec.tags}),
        settings=settings,
        tracking_uri=tracking_uri,
        on=on or LOCAL,
        experiment=experiment_name or _experiment(settings),
        parent_run_id=parent_run_id,
    )


def _surroundings() -> tuple[str, str | None]:
    """Return where runs go, and the run that is active in this thread."""
    from trackbridge.api import active, fluent

    run = active.current()
    return fluent.client().tracking_uri, run.recorder.run_id if run is not None else None


def _experiment(settings: Any) -> str:
    from trackbridge.api import active, fluent

    run = active.current()
    return fluent._experiment_of(run.info.experiment_id if run is not None else None, settings)[1]


def _spec_as_said(spec: JobSpec, said: Mapping[str, Any], parameters: Mapping[str, str]) -> JobSpec:
    """Return a spec that was handed over whole.

    Raises:
        InvalidInput: Something else was said besides.
    """
    others = {name for name, value in said.items() if value not in (None, (), {}, False)} - {"experiment"}
    if others or parameters:
        raise InvalidInput(
            f"a JobSpec was given, and besides it: {', '.join(sorted(others)) or 'parameters'}",
            operation="submit",
            hint="write all of it into the JobSpec",
        )
    return msgspec.structs.replace(spec, code_dir=str(Path(spec.code_dir or ".").absolute()))


def _requirements(given: Sequence[str] | str | os.PathLike[str]) -> tuple[str, ...]:
    from trackbridge.operations.job_sources.environments import read_requirements
    from trackbridge.operations.submit import requirement_lines

    if isinstance(given, (str, os.PathLike)):
        return read_requirements(Path(given))
    return requirement_lines(given)


def _launcher(given: str | Launcher | None) -> Launcher | None:
    if given is None:
        return None
    try:
        return Launcher(given)
    except ValueError:
        names = ", ".join(launcher.value for launcher in Launcher)
        raise InvalidInput(
            f"{given!r} is no launcher", operation="submit", hint=f"there are: {names}"
        ) from None


def _words(source: str | os.PathLike[str] | Sequence[str]) -> tuple[str, ...]:
    if isinstance(source, (str, os.PathLike)):
        return (os.fspath(source),)
    words = tuple(source)
    if not words or not all(isinstance(word, str) for word in words):
        raise InvalidInput(
            "a command is a script, or a list of words",
            operation="submit",
            hint='for example tb.submit("train.py") or tb.submit(["make", "train"])',
        )
    return words
