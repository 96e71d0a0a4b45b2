"""``bridge run``: a script, a project or a command as a job, with a run that was opened for it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import click

from trackbridge.cli.job_options import COURSE, RUN, SOURCE, job_options
from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import Output
from trackbridge.cli.pairs import pairs_of
from trackbridge.cli.sections import SectionedCommand, SectionOption

if TYPE_CHECKING:
    from trackbridge.domain.jobs import JobState
    from trackbridge.operations.job_sources.requests import JobRequest
    from trackbridge.operations.opening import Opened
    from trackbridge.operations.submit import Submitted

on_option = click.option(
    "--on",
    default="local",
    show_default=True,
    metavar="PLACE",
    help="Where jobs run: local, a remote's name or a URI.",
)


@click.command(
    cls=SectionedCommand,
    epilog=example(
        "bridge run train.py -P lr=0.1 -P epochs=5",
        "bridge run examples/project -P alpha=0.5 --env-manager local",
        "bridge run https://github.com/mlflow/mlflow-example -v master -P alpha=0.4",
        "bridge run . -e train --on azureml: --compute cpu-cluster --plan",
        "bridge run job.yaml --on sagemaker: --compute ml.m5.large --time-limit 1h --detach",
        "bridge run --name nightly -- make train",
    ),
    context_settings={"ignore_unknown_options": False},
)
@click.argument("words", nargs=-1, required=True, metavar="SOURCE|COMMAND [ARGUMENT]...")
@click.option(
    "-P",
    "--param",
    "params",
    cls=SectionOption,
    section=SOURCE,
    multiple=True,
    metavar="K=V",
    help="A parameter, logged too; a script gets it as --K V; repeatable.",
)
@job_options
@click.option("--uri", cls=SectionOption, section=RUN, metavar="URI", help="Where the run is tracked.")
@click.option(
    "--key",
    cls=SectionOption,
    section=COURSE,
    metavar="TEXT",
    help="The same key is the same job, however often it is submitted.",
)
@click.option(
    "--detach/--wait",
    "is_detached",
    cls=SectionOption,
    section=COURSE,
    default=False,
    help="Whether to go on without waiting for it.",
)
@click.option(
    "--plan", "only_plan", is_flag=True, help="Check it and show what would be sent; start nothing."
)
@output_option
def run(
    output: Output,
    words: tuple[str, ...],
    params: tuple[str, ...],
    request: JobRequest,
    uri: str | None,
    key: str | None,
    is_detached: bool,
    only_plan: bool,
) -> None:
    """Run a script or a command as a job, follow its log, and end with its exit status.

    SOURCE is a script (one that ends in .py gets each -P as --K V), a folder with an MLproject file or with
    -e, a git address (#folder behind it), or a job file (.yaml). A command with options of its own goes
    behind --. Ctrl-C cancels a job on this machine; elsewhere it goes on, and is seen with bridge jobs. A
    program that uses trackbridge or mlflow logs to the run that was opened for the job.
    """
    import msgspec

    from trackbridge.api.job_submission import prepare_job
    from trackbridge.operations.job_notes import finish_submissions
    from trackbridge.resolve.config import Settings

    _refuse_a_slip(words[0])
    request = msgspec.structs.replace(request, words=words, parameters=pairs_of(params, "-P"))
    prepared = prepare_job(request, settings=Settings(), tracking_uri=uri)
    if only_plan:
        from trackbridge.cli.job_plans import show_job_plan

        show_job_plan(output, prepared)
        return
    finish_submissions(prepared.place, settings=Settings(), on_trouble=output.warn)
    submitted = prepared.submit(key=key)
    if is_detached:
        _tell_submitted(output, submitted)
        output.note(f"follow it with: {job_command('logs -f', submitted.state.job_id, prepared.place)}")
        output.summary(job_summary(submitted.state))
        return
    _end_with(output, prepared.place, _follow(output, prepared.place, submitted))


def job_command(verb: str, job_id: str, place: Opened) -> str:
    """Return the command that does something with a job, wherever it runs."""
    on = "" if place.capabilities.is_local else f" --on {place.uri}"
    return f"bridge jobs {verb} {job_id}{on}"


def _tell_submitted(output: Output, submitted: Submitted) -> None:
    for warning in submitted.warnings:
        output.warn(f"{warning.subject}: {warning.message}")
    state = submitted.state
    output.note(f"job {state.job_id}, run {submitted.run_id}")
    output.event("submitted", job_fields(state))


def _follow(output: Output, place: Opened, submitted: Submitted) -> JobState:
    """Print the job's log to its end and return how it ended; Ctrl-C cancels a job on this machine.

    Elsewhere it leaves the job alone: it may have run for days, and whoever stops looking at it does not
    want to lose that. It is told that it goes on, and how to cancel it.
    """
    from trackbridge.cli.job_logs import print_log
    from trackbridge.operations.following import follow_log, pace_of, wait_for_job
    from trackbridge.ports.capabilities import Feature

    jobs, job_id = place.jobs, submitted.state.job_id
    pace = pace_of(is_local=place.capabilities.is_local)
    try:
        _tell_submitted(output, submitted)
        if place.capabilities.supports(Feature.JOBS_LOGS):
            pieces = follow_log(
                lambda cursor: jobs.read_logs(job_id, cursor=cursor), pace=pace, on_trouble=output.warn
            )
            print_log(output, pieces)
        return wait_for_job(job_id, jobs, pace=pace, on_trouble=output.warn)
    except KeyboardInterrupt:
        if not place.capabilities.is_local:
            output.warn(f"the job goes on at {place.uri}, and is paid for until it ends")
            output.note(f"cancel it with: {job_command('cancel', job_id, place)}")
            output.note(f"follow it with: {job_command('logs -f', job_id, place)}")
            raise
        output.note("cancelling the job; Ctrl-C again does not wait for its end")
        jobs.cancel(job_id)
        ended = wait_for_job(job_id, jobs)
        settle_run(output, ended, place)
        output.note(f"the job is {ended.status.value}")
        output.summary(job_summary(ended))
        raise


def _end_with(output: Output, place: Opened, state: JobState) -> None:
    settle_run(output, state, place)
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


def settle_run(output: Output, state: JobState, place: Opened) -> None:
    """Close the run of a job that has ended, where its program has not; what fails is told."""
    from trackbridge.errors import BridgeError
    from trackbridge.operations.settle import settle_where_it_is

    try:
        if settle_where_it_is(state, place.jobs, place.uri) is False:
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


def _refuse_a_slip(word: str) -> None:
    """Refuse what is no source and no program, but what can be asked of runs: ``bridge run list``.

    Raises:
        UsageError: It is such a word.
    """
    if os.path.exists(word) or shutil.which(word):
        return
    from trackbridge.cli.runs import runs

    if word in runs.commands:
        raise click.UsageError(f"there is no program {word!r}; did you mean 'bridge runs {word}'?")
