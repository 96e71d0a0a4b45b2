"""``bridge jobs``: jobs that were submitted, here or elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from trackbridge.cli.durations import DURATION
from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import Output
from trackbridge.cli.run import (
    exit_code_of,
    job_fields,
    job_summary,
    on_option,
    settle_run,
    tell_end,
)

if TYPE_CHECKING:
    from trackbridge.domain.jobs import JobState
    from trackbridge.operations.opening import Opened

LISTED = 20
CANDIDATES_MAX = 1000
SETTLED_MAX = 20
"""How many runs a listing looks after; older ones have been looked after long ago."""


@click.group(
    epilog=example("bridge jobs list", "bridge jobs logs 0193f2a1b --follow", "bridge jobs cancel 0193f2a1b")
)
def jobs() -> None:
    """List, show, follow, cancel and wait for jobs."""


@jobs.command("list", epilog=example("bridge jobs list", "bridge jobs list --limit 100 --json"))
@click.option("--limit", type=click.IntRange(1), default=LISTED, show_default=True, help="How many.")
@on_option
@output_option
def list_(output: Output, limit: int, on: str) -> None:
    """List jobs, newest first."""
    from trackbridge.api.display import format_duration, format_time
    from trackbridge.operations.opening import open_place

    place = open_place(on)
    page = place.jobs.list_jobs(max_results=limit)
    for number, state in enumerate(page.items):
        output.event("job", job_fields(state))
        if place.capabilities.is_local and number < SETTLED_MAX:
            settle_run(output, state)
    rows = [
        (
            state.job_id,
            state.name,
            state.status.value,
            "" if state.exit_code is None else state.exit_code,
            format_duration(state.start_time, state.end_time) if state.start_time else "",
            format_time(state.submit_time),
        )
        for state in page.items
    ]
    if rows:
        output.table(("ID", "NAME", "STATE", "EXIT", "DURATION", "SUBMITTED (UTC)"), rows)
    else:
        output.note("there are no jobs; start one: bridge run SCRIPT")
    if page.token is not None:
        output.note(f"there are more; see them with --limit {limit * 10}")
    output.summary({"jobs": len(page.items), "has_more": page.token is not None})


@jobs.command(epilog=example("bridge jobs show 0193f2a1b"))
@click.argument("job")
@on_option
@output_option
def show(output: Output, job: str, on: str) -> None:
    """Show one job."""
    from trackbridge.api.display import format_duration, format_time
    from trackbridge.operations.opening import open_place

    state = find_job(open_place(on), job)
    settle_run(output, state)
    facts = [
        ("Name", state.name),
        ("Id", state.job_id),
        ("State", state.status.value),
        ("Exit code", "" if state.exit_code is None else str(state.exit_code)),
        ("Because", state.reason),
        ("Run", state.run_id or ""),
        ("Tracking URI", state.tracking_uri),
        ("Attempt", str(state.attempt) if state.attempt > 1 else ""),
        ("Submitted", format_time(state.submit_time)),
        ("Started", format_time(state.start_time)),
        ("Ended", format_time(state.end_time)),
        ("Duration", format_duration(state.start_time, state.end_time) if state.start_time else ""),
        ("Address", state.native_url or ""),
    ]
    for label, value in facts:
        if value:
            output.show(f"{label:<13} {value}")
    output.summary(job_summary(state))


@jobs.command(epilog=example("bridge jobs logs 0193f2a1b", "bridge jobs logs 0193f2a1b --follow"))
@click.argument("job")
@click.option(
    "--follow", "-f", is_flag=True, help="Go on until the job ends, or Ctrl-C, which leaves it alone."
)
@on_option
@output_option
def logs(output: Output, job: str, follow: bool, on: str) -> None:
    """Print what a job wrote to stdout and stderr."""
    from trackbridge.cli.job_logs import print_log
    from trackbridge.operations.following import follow_log
    from trackbridge.operations.opening import open_place

    place = open_place(on)
    job_id = find_job(place, job).job_id
    pieces = follow_log(
        lambda cursor: place.jobs.read_logs(job_id, cursor=cursor),
        goes_on=lambda: follow,
        on_trouble=output.warn,
    )
    try:
        print_log(output, pieces)
    except KeyboardInterrupt:
        output.note(f"the job goes on; cancel it with: bridge jobs cancel {job_id}")
        raise
    output.summary(job_summary(place.jobs.status(job_id)))


@jobs.command(epilog=example("bridge jobs cancel 0193f2a1b"))
@click.argument("job")
@on_option
@output_option
def cancel(output: Output, job: str, on: str) -> None:
    """Ask a job to stop, with all processes that it started; one that has ended stays as it ended."""
    from trackbridge.operations.opening import open_place

    place = open_place(on)
    state = find_job(place, job)
    place.jobs.cancel(state.job_id)
    if state.status.is_final:
        output.show(f"job {state.job_id} has ended already: {state.status.value}")
    else:
        output.show(f"job {state.job_id} is asked to stop; see when it has: bridge jobs wait {state.job_id}")
    output.summary(job_summary(place.jobs.status(state.job_id)))


@jobs.command(epilog=example("bridge jobs wait 0193f2a1b", "bridge jobs wait 0193f2a1b --timeout 1h"))
@click.argument("job")
@click.option("--timeout", type=DURATION, metavar="TIME", help="How long to wait; by default until it ends.")
@on_option
@output_option
def wait(output: Output, job: str, timeout: float | None, on: str) -> None:
    """Wait for the end of a job, and end with its exit status."""
    from trackbridge.operations.following import wait_for_job
    from trackbridge.operations.opening import open_place

    place = open_place(on)
    job_id = find_job(place, job).job_id
    try:
        state = wait_for_job(job_id, place.jobs, timeout_s=timeout)
    except KeyboardInterrupt:
        output.note(f"the job goes on; cancel it with: bridge jobs cancel {job_id}")
        raise
    settle_run(output, state)
    output.show(f"job {job_id} is {state.status.value}")
    tell_end(output, state)
    output.summary(job_summary(state))
    output.end(exit_code_of(state))


def find_job(place: Opened, job: str) -> JobState:
    """Return a job by its id, by a beginning of the id that only one has, or by the newest of its name.

    Raises:
        NotFound: There is none.
        UsageError: Several begin so, or nothing was said.
    """
    from trackbridge.errors import NotFound
    from trackbridge.ports.capabilities import Feature

    if not job.strip():  # such as an unset variable of a shell, which every id begins with
        raise click.UsageError("name a job; see: bridge jobs list", click.get_current_context())
    try:
        return place.jobs.status(job)
    except NotFound:
        if not place.capabilities.supports(Feature.JOBS_LIST):
            raise
        known = place.jobs.list_jobs(max_results=CANDIDATES_MAX).items
        found = [state for state in known if state.job_id.startswith(job)]
        found = found or [state for state in known if state.name == job][:1]
        if not found:
            raise
    if len(found) > 1:
        ids = ", ".join(state.job_id for state in found[:5])
        raise click.UsageError(f"{job!r} means {len(found)} jobs: {ids}", click.get_current_context())
    return found[0]
