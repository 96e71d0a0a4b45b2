"""``bridge run``: a script or a command as a job, with a run that was opened for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trackbridge.cli.durations import DURATION
from trackbridge.cli.options import example, output_option, uri_option
from trackbridge.cli.output import Output
from trackbridge.cli.pairs import pairs_of

if TYPE_CHECKING:
    from trackbridge.domain.jobs import JobSpec, JobState
    from trackbridge.operations.opening import Opened
    from trackbridge.operations.submit import RunWanted, Submitted

on_option = click.option(
    "--on",
    default="local",
    show_default=True,
    metavar="PLACE",
    help="Where jobs run: local, a remote's name or a URI.",
)


@click.command(
    epilog=example(
        "bridge run train.py -P lr=0.1 -P epochs=5",
        "bridge run train.py -r requirements.txt --detach",
        "bridge run --name nightly -- make train",
    ),
    context_settings={"ignore_unknown_options": False},
)
@click.argument("command", nargs=-1, required=True, metavar="SCRIPT|COMMAND [ARGUMENT]...")
@click.option(
    "-P",
    "--param",
    "params",
    multiple=True,
    metavar="K=V",
    help="A parameter: --K V, and logged; repeatable.",
)
@click.option("--name", metavar="TEXT", help="Name of the job and of its run; by default the script's.")
@click.option("--experiment", metavar="NAME", help="The run's experiment; else the configured one.")
@click.option(
    "-r",
    "--requirements",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Packages to run it with, as pip takes them; by default those of this environment.",
)
@on_option
@click.option("--env", "variables", multiple=True, metavar="K=V", help="A variable of the job; repeatable.")
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="NAME=env:X",
    help="A variable whose value is read where the job starts: env:NAME or file:PATH; repeatable.",
)
@click.option("--time-limit", type=DURATION, metavar="TIME", help="End it after so long, for example 10m.")
@click.option(
    "--retries", type=click.IntRange(0), default=0, metavar="N", help="Start it again when it fails."
)
@click.option("--key", metavar="TEXT", help="The same key is the same job, however often it is submitted.")
@click.option(
    "--detach/--wait", "is_detached", default=False, help="Whether to go on without waiting for it."
)
@uri_option
@output_option
def run(
    output: Output,
    command: tuple[str, ...],
    params: tuple[str, ...],
    name: str | None,
    experiment: str | None,
    requirements: Path | None,
    on: str,
    variables: tuple[str, ...],
    secrets: tuple[str, ...],
    time_limit: float | None,
    retries: int,
    key: str | None,
    is_detached: bool,
    uri: str | None,
) -> None:
    """Run a script or a command as a job, follow its log, and end with its exit status.

    A script that ends in .py gets each -P as --K V. A command with options of its own goes behind --. Ctrl-C
    cancels the job; what --detach started is seen with bridge jobs. A program that uses trackbridge logs to
    the run that was opened for the job.
    """
    from trackbridge.domain.jobs import Environment, JobSpec
    from trackbridge.operations.opening import find_place, open_place
    from trackbridge.operations.submit import (
        command_line,
        refuse_missing_script,
        requirement_lines,
        submit,
    )
    from trackbridge.resolve.config import Settings

    settings = Settings()
    parameters = pairs_of(params, "-P")
    spec = JobSpec(
        name=name or Path(command[0]).name,
        command=command_line(command, parameters),
        code_dir=str(Path.cwd()),
        environment=Environment(requirements=requirement_lines(requirements or ())),
        parameters=parameters,
        variables=pairs_of(variables, "--env"),
        secrets=pairs_of(secrets, "--secret"),
        time_limit_s=None if time_limit is None else max(1, round(time_limit)),
        attempts_max=1 + retries,
    )
    refuse_missing_script(command[0], str(spec.code_dir))
    tracking = open_place(uri, settings=settings)
    place = tracking if find_place(on, settings=settings).uri.text == tracking.uri else open_place(on)
    wanted = _run_wanted(tracking, spec, command[0], experiment or str(settings.value("experiment_name")))
    submitted = submit(spec, place.jobs, wanted, key=key, place=place.uri)
    if is_detached:
        _tell_submitted(output, submitted)
        output.note(f"follow it with: bridge jobs logs {submitted.state.job_id} --follow")
        output.summary(job_summary(submitted.state))
        return
    _end_with(output, _follow(output, place, submitted))


def _run_wanted(tracking: Opened, spec: JobSpec, source: str, experiment: str) -> RunWanted:
    from trackbridge.operations.opening import user_name
    from trackbridge.operations.submit import RunWanted, source_tags
    from trackbridge.resolve.config import Settings

    return RunWanted(
        tracking=tracking.tracking,
        tracking_uri=tracking.uri,
        experiment=experiment,
        name=spec.name,
        user=user_name(Settings()),
        params=spec.parameters,
        tags=source_tags(source, _git_tags()),
    )


def _git_tags() -> dict[str, str]:
    from trackbridge.api.git import read_git
    from trackbridge.domain.runs import TAG_GIT_BRANCH, TAG_GIT_COMMIT, TAG_GIT_REPOSITORY

    git = read_git(Path.cwd())
    tags = {TAG_GIT_COMMIT: git.commit, TAG_GIT_BRANCH: git.branch, TAG_GIT_REPOSITORY: git.repository}
    return {name: value for name, value in tags.items() if value}


def _tell_submitted(output: Output, submitted: Submitted) -> None:
    for warning in submitted.warnings:
        output.warn(f"{warning.subject}: {warning.message}")
    state = submitted.state
    output.note(f"job {state.job_id}, run {submitted.run_id}")
    output.event("submitted", job_fields(state))


def _follow(output: Output, place: Opened, submitted: Submitted) -> JobState:
    """Print the job's log to its end and return how it ended; Ctrl-C cancels it."""
    from trackbridge.cli.job_logs import print_log
    from trackbridge.operations.following import follow_log, wait_for_job
    from trackbridge.ports.capabilities import Feature

    jobs, job_id = place.jobs, submitted.state.job_id
    try:
        _tell_submitted(output, submitted)
        if place.capabilities.supports(Feature.JOBS_LOGS):
            pieces = follow_log(lambda cursor: jobs.read_logs(job_id, cursor=cursor), on_trouble=output.warn)
            print_log(output, pieces)
        return wait_for_job(job_id, jobs)
    except KeyboardInterrupt:
        output.note("cancelling the job; Ctrl-C again does not wait for its end")
        jobs.cancel(job_id)
        ended = wait_for_job(job_id, jobs)
        settle_run(output, ended)
        output.note(f"the job is {ended.status.value}")
        output.summary(job_summary(ended))
        raise


def _end_with(output: Output, state: JobState) -> None:
    settle_run(output, state)
    tell_end(output, state)
    output.summary(job_summary(state))
    output.end(exit_code_of(state))


def tell_end(output: Output, state: JobState) -> None:
    """Say how a job ended, unless it ended well."""
    if exit_code_of(state) == 0:
        return
    code = f" with exit code {state.exit_code}" if state.exit_code is not None else ""
    output.warn(f"the job is {state.status.value}{code}{': ' if state.reason else ''}{state.reason}")


def exit_code_of(state: JobState) -> int:
    """Return the exit code of a command that waited for a job: the job's own, 128 and the signal, or 1."""
    from trackbridge.domain.jobs import JobStatus

    if state.status is JobStatus.SUCCEEDED:
        return 0
    if state.exit_code is None or state.exit_code == 0:
        return 1
    return 128 - state.exit_code if state.exit_code < 0 else min(state.exit_code, 255)


def settle_run(output: Output, state: JobState) -> None:
    """Close the run of a job that has ended, where its program has not; what fails is told."""
    from trackbridge.errors import BridgeError
    from trackbridge.operations.settle import settle_where_it_is

    try:
        if settle_where_it_is(state) is False:
            output.note(f"the run {state.run_id} is closed once what it logged is delivered")
    except BridgeError as error:
        output.warn(f"the run {state.run_id} could not be looked after: {error}")


def job_fields(state: JobState) -> dict[str, object]:
    """Return a job as fields of a JSON object."""
    import msgspec

    fields: dict[str, object] = msgspec.to_builtins(state)
    return fields


def job_summary(state: JobState) -> dict[str, object]:
    """Return what a command's summary says of a job."""
    return {**job_fields(state), "exit_status": exit_code_of(state) if state.status.is_final else None}
