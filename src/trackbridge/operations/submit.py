"""Submitting a job: its run is opened first, so that whatever happens to the job can be seen there.

::

    check -> open the run (RUNNING) -> submit -> note the job on the run
                                         |
                                         +-- refused: the run is closed as FAILED, and says why
                                         +-- Ctrl-C: what was started by then is cancelled

The key makes it repeatable: the same key is the same run and the same job, which is not checked again: this
shell may have no more what it was started with. A run that was closed because
there was no job is opened again for one. What becomes of a run whose submitter dies here is told in
``job_notes``, who closes the run at the job's end in ``settle``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from trackbridge._version import __version__
from trackbridge.domain.batches import Batch, Setting
from trackbridge.domain.ids import experiment_id_of, is_minted, mint_id
from trackbridge.domain.job_tags import TAG_JOB as TAG_JOB
from trackbridge.domain.job_tags import TAG_JOB_PLACE, TAG_JOB_REFUSED, TAG_JOB_SECRETS
from trackbridge.domain.jobs import Environment, JobSpec, JobState
from trackbridge.domain.runs import TAG_SOURCE_NAME, TAG_SOURCE_TYPE, TAG_USER, Run, RunSpec, RunStatus
from trackbridge.errors import (
    BridgeError,
    ConfigError,
    Exhausted,
    InvalidInput,
    NotFound,
    Rejected,
    Transient,
    Unsupported,
)
from trackbridge.operations.job_facts import is_refused, link_tags, refuse_run, write_tags
from trackbridge.operations.job_notes import noted
from trackbridge.operations.plans import refuse_secrets
from trackbridge.ports.findings import Finding, Severity
from trackbridge.ports.jobs import JobBackend
from trackbridge.ports.tracking import TrackingStore

SOURCE_TYPE = "JOB"
JOBS_LOOKED_AT = 100

_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NAME = re.compile(r"-{0,2}[A-Za-z_][A-Za-z0-9_.\-]*")

VARIABLE_TRACKING_URI = "BRIDGE_TRACKING_URI"
VARIABLE_RUN_ID = "BRIDGE_RUN_ID"
VARIABLE_EXPERIMENT = "BRIDGE_EXPERIMENT_NAME"
VARIABLE_MLFLOW_URI = "MLFLOW_TRACKING_URI"
VARIABLE_MLFLOW_RUN = "MLFLOW_RUN_ID"
OUR_URI_OF_MLFLOW = "bridge:"
"""With it, mlflow's own client logs through our plugin, to what the variables above say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWanted:
    """The run that a job is to log to.

    ``tracking_uri`` is what the job's program gets to know; it holds no credentials. ``params`` and ``tags``
    are set when the run is opened.
    """

    tracking: TrackingStore
    tracking_uri: str
    experiment: str
    name: str
    user: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job as it was submitted, its run, and what its backend remarked on."""

    state: JobState
    run_id: str
    warnings: tuple[Finding, ...] = ()


def submit(
    spec: JobSpec,
    jobs: JobBackend,
    run: RunWanted,
    *,
    key: str | None = None,
    place: str = "",
    notes: Path | None = None,
) -> Submitted:
    """Open the job's run and start the job, or queue it; called again with the same key it is the same job.

    Args:
        spec: What to run; its run, tracking URI and the variables for them are filled in here.
        jobs: Where to run it.
        run: The run to open for it.
        key: Makes it repeatable; by default a new one.
        place: The URI of the job backend, for the run's tags and events.
        notes: Where submissions that are under way are noted, see ``job_notes``.

    Raises:
        InvalidInput: A variable, a parameter or an option looks like a secret, or a secret's reference is
            none.
        Rejected: The backend does not take the spec; the message says why.
        Conflict: The key was used for another spec.
    """
    refuse_unfit(spec)
    is_minted_here = key is None
    key = mint_id() if key is None else _checked_key(key)
    run_id = run_id_of(key)
    complete = with_run(spec, run, run_id)
    existing = None if is_minted_here else _find(run.tracking, run_id)
    is_again = existing is not None and is_refused(existing)
    is_new = existing is None or is_again
    warnings = _checked(complete, jobs) if is_new else ()
    with noted(notes, run_id, tracking_uri=run.tracking_uri, place=place) as note:
        opening = _run_spec(run, run_id, _first_tags(complete, run.user, place), is_again=is_again)
        try:
            _open_run(run, opening)
            state = jobs.submit(complete, key=key)
        except (Transient, Exhausted) as error:  # it may have been taken all the same: the run stays open
            error.hint = f"submit it again with --key {key}: it is the same job, started once"
            raise
        except (BridgeError, KeyboardInterrupt) as error:
            if is_new and not (isinstance(error, KeyboardInterrupt) and cancel_of_run(jobs, run_id)):
                _close_refused(run.tracking, run_id, error)
                note.done()
            raise
        try:
            if existing is not None:
                _open_again(run, opening)
            _note_job(run.tracking, run_id, state, place)
            note.done()
            _tell(state, run_id, place)
        except KeyboardInterrupt:
            if is_new:
                jobs.cancel(state.job_id)
            raise
        except BridgeError as error:
            error.hint = f"the job goes on all the same: bridge jobs show {state.job_id}"
            raise
    return Submitted(state, run_id, warnings)


def refuse_unfit(spec: JobSpec) -> None:
    """Refuse a spec that holds what looks like a secret.

    Raises:
        InvalidInput: A variable, a parameter or an option does, or a secret's reference is none.
    """
    refuse_secrets("the variable", spec.variables)
    refuse_secrets("the parameter", spec.parameters)
    for name, value in _named_words(spec.command):
        refuse_secrets("the command's", {name: value})
    _refuse_values_as_secrets(spec.secrets)


def _named_words(command: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Yield each word by its name: ``--token x``, ``--token=x``, ``TOKEN=x``, else by its place.

    What a shell is to make of ``$NAME`` is no secret yet.
    """
    for number, (word, following) in enumerate(zip(command, (*command[1:], "-"), strict=True), 1):
        name, equals, value = word.partition("=")
        if equals and value and _NAME.fullmatch(name) and not value.startswith("$"):
            yield name, value
        elif word.startswith("-") and not following.startswith("-"):
            yield word, following
        else:
            yield f"word {number}", word


def run_id_of(key: str) -> str:
    """Return the id of the run that a key stands for."""
    return key if is_minted(key) else hashlib.sha256(b"trackbridge job\0" + key.encode()).hexdigest()[:32]


def cancel_of_run(jobs: JobBackend, run_id: str) -> str | None:
    """Cancel the job of a run, where one was started; return its id."""
    with contextlib.suppress(Unsupported):
        for state in jobs.list_jobs(max_results=JOBS_LOOKED_AT).items:
            if state.run_id == run_id:
                jobs.cancel(state.job_id)
                return state.job_id
    return None


def with_run(spec: JobSpec, run: RunWanted, run_id: str) -> JobSpec:
    """Return the spec with its run, and with the variables by which its program finds that.

    A program that knows only mlflow finds it by mlflow's own variables and our plugin, unless the spec has
    those variables already.
    """
    has_own = VARIABLE_MLFLOW_URI in spec.variables
    variables = {
        **({} if has_own else _mlflow_variables(run_id)),
        **spec.variables,
        VARIABLE_TRACKING_URI: run.tracking_uri,
        VARIABLE_RUN_ID: run_id,
        VARIABLE_EXPERIMENT: run.experiment,
    }
    return msgspec.structs.replace(
        spec,
        run_id=run_id,
        tracking_uri=run.tracking_uri,
        variables=variables,
        environment=spec.environment if has_own else _with_plugin(spec.environment),
    )


def _mlflow_variables(run_id: str) -> dict[str, str]:
    return {VARIABLE_MLFLOW_URI: OUR_URI_OF_MLFLOW, VARIABLE_MLFLOW_RUN: run_id}


def _checked(spec: JobSpec, jobs: JobBackend) -> tuple[Finding, ...]:
    """Return the warnings about a spec.

    Raises:
        Rejected: There are errors.
    """
    findings = jobs.check(spec)
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if errors:
        told = "; ".join(f"{finding.subject}: {finding.message}" for finding in errors)
        fixes = "; ".join(finding.fix for finding in errors if finding.fix)
        raise Rejected(f"the job cannot run: {told}", operation="jobs.check", hint=fixes or None)
    return tuple(finding for finding in findings if finding.severity is Severity.WARNING)


def _with_plugin(environment: Environment) -> Environment:
    """Return an environment with us beside mlflow, which does not know the address of the run without us."""
    listed = environment.requirements
    names = {found[0].lower() for line in listed if (found := _PACKAGE.match(line))}
    if not names & {"mlflow", "mlflow-skinny"} or any("trackbridge" in line.lower() for line in listed):
        return environment
    ours = f"trackbridge{'[mlflow]' if 'mlflow' in names else ''}=={__version__}"
    return msgspec.structs.replace(environment, requirements=(*listed, ours))


def _find(tracking: TrackingStore, run_id: str) -> Run | None:
    try:
        return tracking.get_run(run_id)
    except NotFound:
        return None


def _first_tags(spec: JobSpec, user: str, place: str) -> dict[str, str]:
    """Return what a run says of its job before there is one."""
    secrets = json.dumps(sorted(spec.secrets.values())) if spec.secrets else ""
    tags = {TAG_SOURCE_TYPE: SOURCE_TYPE, TAG_USER: user, TAG_JOB_PLACE: place, TAG_JOB_SECRETS: secrets}
    return {name: value for name, value in tags.items() if value}


def _run_spec(run: RunWanted, run_id: str, first_tags: Mapping[str, str], *, is_again: bool) -> RunSpec:
    return RunSpec(
        run_id=run_id,
        experiment_id=experiment_id_of(run.experiment),
        experiment_name=run.experiment,
        name=run.name,
        user=run.user,
        start_time=time.time_ns() // 1_000_000,
        tags={**first_tags, **run.tags},
        resume=is_again,
    )


def _open_run(run: RunWanted, opening: RunSpec) -> None:
    """Open the run with its tags and params."""
    run.tracking.ensure_experiment(run.experiment, experiment_id=opening.experiment_id)
    run.tracking.open_run(opening)
    if run.params:
        params = [Setting(name, value, number) for number, (name, value) in enumerate(run.params.items())]
        _write(run.tracking, Batch(run_id=opening.run_id, params=params))


def _open_again(run: RunWanted, opening: RunSpec) -> None:
    """Have a run no longer say that there is no job; one that was closed for that meanwhile is opened."""
    found = run.tracking.get_run(opening.run_id)
    if is_refused(found):
        run.tracking.open_run(msgspec.structs.replace(opening, resume=True))
    if TAG_JOB_REFUSED in found.data.tags:
        write_tags(run.tracking, opening.run_id, {TAG_JOB_REFUSED: None})


def _close_refused(tracking: TrackingStore, run_id: str, error: BaseException) -> None:
    """Close the run of a job that was not taken: there is nobody else to do it."""
    is_error = isinstance(error, BridgeError)
    status = RunStatus.FAILED if is_error else RunStatus.KILLED
    reason = str(error) if is_error else "its submitter was interrupted"
    with contextlib.suppress(NotFound):  # it was not opened either
        refuse_run(tracking, run_id, reason, end_time=time.time_ns() // 1_000_000, status=status)


def _note_job(tracking: TrackingStore, run_id: str, state: JobState, place: str) -> None:
    tags = link_tags(state, place)
    settings = [Setting(name, value, number) for number, (name, value) in enumerate(tags.items())]
    _write(tracking, Batch(run_id=run_id, tags=settings))


def _write(tracking: TrackingStore, batch: Batch) -> None:
    """Write records of a run.

    Raises:
        Rejected: The store does not take one of them.
    """
    rejected = tracking.write(batch).rejected
    if rejected:
        raise Rejected(
            f"the run does not take what is known of the job: {rejected[0].reason}",
            operation="submit",
            resource=f"run {batch.run_id}",
            hint="was the same key used with other parameters? use another key",
        )


def _tell(state: JobState, run_id: str, place: str) -> None:
    from trackbridge.domain.events import JOB_SUBMITTED
    from trackbridge.events import publish

    data = {"run_id": run_id, "name": state.name, "status": state.status.value}
    publish(JOB_SUBMITTED, subject=state.job_id, source=place, data=data)


def _refuse_values_as_secrets(secrets: Mapping[str, str]) -> None:
    for name, reference in secrets.items():
        if not reference.partition(":")[2]:
            raise InvalidInput(
                f"the secret {name!r} is no reference",
                operation="submit",
                hint=f"say where its value is, for example: {name}=env:{name}",
            )


def _checked_key(key: str) -> str:
    if not key.strip() or len(key) > 200 or not key.isprintable():
        raise ConfigError("a key is 1 to 200 printable characters", operation="submit")
    return key


def source_tags(source: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the tags that say what a job runs."""
    return {TAG_SOURCE_NAME: source, **(extra or {})}


def command_line(words: tuple[str, ...], parameters: Mapping[str, str]) -> tuple[str, ...]:
    """Return the command of a script or a command: a script of Python gets ``--name value``, as in mlflow."""
    if not words[0].endswith(".py"):
        return words
    script = f"./{words[0]}" if words[0].startswith("-") else words[0]
    options = tuple(word for name, value in parameters.items() for word in (f"--{name}", value))
    return ("python", script, *words[1:], *options)


def refuse_missing_script(script: str, code_dir: str) -> None:
    """Refuse a script of Python that is not there, before a run is opened for it.

    Raises:
        NotFound: There is none.
    """
    if script.endswith(".py") and "\0" not in script and not Path(code_dir, script).exists():
        raise NotFound(
            f"there is no script {script!r} in {code_dir}",
            operation="submit",
            hint="name it as it is seen from the folder that the job runs in",
        )


def requirement_lines(given: Sequence[str] | str | os.PathLike[str]) -> tuple[str, ...]:
    """Return requirements, or those of a file, without comments and empty lines.

    Raises:
        ConfigError: The file cannot be read.
    """
    lines: Iterable[str] = ()
    if isinstance(given, (str, os.PathLike)):
        try:
            lines = Path(given).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"the requirements cannot be read: {error}", resource=str(given), hint="name a text file"
            ) from error
    else:
        lines = given
    stripped = (re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip() for line in lines)
    return tuple(line for line in stripped if line)
