"""``bridge jobs``: jobs that were submitted, here or elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from trackbridge.cli.durations import DURATION
from trackbridge.cli.failures import EXIT_PARTLY
from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import Output
from trackbridge.cli.run import (
    exit_code_of,
    job_command,
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
PLACES_AT_ONCE = 8


@click.group(
    epilog=example("bridge jobs list", "bridge jobs logs 0193f2a1b --follow", "bridge jobs cancel 0193f2a1b")
)
def jobs() -> None:
    """List, show, follow, cancel and wait for jobs."""


@jobs.command(
    "list",
    epilog=example("bridge jobs list", "bridge jobs list --all", "bridge jobs list --limit 100 --json"),
)
@click.option("--limit", type=click.IntRange(1), default=LISTED, show_default=True, help="How many.")
@on_option
@click.option(
    "--all", "everywhere", is_flag=True, help="Those here, of the tracking URI and of every remote."
)
@output_option
def list_(output: Output, limit: int, on: str, everywhere: bool) -> None:
    """List jobs, newest first; the runs of some that have ended meanwhile are closed."""
    from trackbridge.api.display import format_duration, format_time
    from trackbridge.operations.opening import open_place

    listings = _list_everywhere(output, limit) if everywhere else [_listed(output, on, open_place(on), limit)]
    found = [(listing.label, state) for listing in listings for state in listing.jobs]
    found.sort(key=lambda item: -(item[1].submit_time or 0))
    for label, state in found[:limit]:
        output.event("job", {"place": label, **job_fields(state)})
    rows = [
        (
            *((label,) if everywhere else ()),
            state.job_id,
            state.name,
            state.status.value,
            "" if state.exit_code is None else state.exit_code,
            format_duration(state.start_time, state.end_time) if state.start_time else "",
            format_time(state.submit_time),
        )
        for label, state in found[:limit]
    ]
    columns = ("ID", "NAME", "STATE", "EXIT", "DURATION", "SUBMITTED (UTC)")
    if rows:
        output.table(("PLACE", *columns) if everywhere else columns, rows)
    else:
        output.note("there are no jobs; start one: bridge run SCRIPT")
    has_more = len(found) > limit or any(listing.has_more for listing in listings)
    if has_more:
        output.note(f"there are more; see them with --limit {limit * 10}")
    for listing in listings:
        _settle(output, listing)
    failed = [listing.label for listing in listings if listing.failed]
    output.summary({"jobs": len(rows), "has_more": has_more, "failed": failed})
    if failed:
        output.end(EXIT_PARTLY)


class Listing(NamedTuple):
    """The jobs of one place, newest first."""

    label: str
    place: Opened | None = None
    jobs: tuple[JobState, ...] = ()
    has_more: bool = False
    failed: bool = False


def _list_everywhere(output: Output, limit: int) -> list[Listing]:
    """List what is here, and at every other place in use that runs jobs.

    One that fails is told, and the others are listed.
    """
    from concurrent.futures import ThreadPoolExecutor

    from trackbridge.errors import BridgeError
    from trackbridge.operations.opening import LOCAL, find_place, open_place
    from trackbridge.ports.capabilities import Feature
    from trackbridge.resolve.config import Settings
    from trackbridge.resolve.destinations import resolve_destinations
    from trackbridge.resolve.remotes import list_remotes

    settings, places = Settings(), dict[str, str]()
    tracked = (destination.uri.text for destination in resolve_destinations(settings=settings))
    for name in (LOCAL, *(remote.name for remote in list_remotes()), *tracked):
        try:
            address = find_place(name, settings=settings).uri.address
        except BridgeError:  # opening it says so again, and is told
            address = name
        places.setdefault(address, name)

    def listing(name: str) -> Listing | None:
        try:
            place = open_place(name, settings=settings)
            if place.adapter.jobs is None or not place.capabilities.supports(Feature.JOBS_LIST):
                return None
            return _listed(output, name, place, limit)
        except BridgeError as error:
            output.warn(f"{name}: {error}")
            return Listing(name, failed=True)

    with ThreadPoolExecutor(PLACES_AT_ONCE) as pool:
        return [found for found in pool.map(listing, places.values()) if found is not None]


def _listed(output: Output, label: str, place: Opened, limit: int) -> Listing:
    from trackbridge.operations.job_listing import newest_jobs
    from trackbridge.operations.job_notes import finish_submissions
    from trackbridge.resolve.config import Settings

    finish_submissions(place, settings=Settings(), on_trouble=output.warn)
    page = newest_jobs(place, limit)
    return Listing(label, place, tuple(page.items), page.token is not None)


def _settle(output: Output, listing: Listing) -> None:
    """Have the runs say how jobs of a listing have ended, where nobody has seen to that."""
    from trackbridge.operations.job_listing import settle_listed
    from trackbridge.resolve.config import Settings

    if listing.place is not None:
        settle_listed(
            listing.jobs, listing.place, settings=Settings(), on_note=output.note, on_trouble=output.warn
        )


@jobs.command(epilog=example("bridge jobs show 0193f2a1b"))
@click.argument("job")
@on_option
@output_option
def show(output: Output, job: str, on: str) -> None:
    """Show one job."""
    from trackbridge.api.display import format_duration, format_time
    from trackbridge.operations.opening import open_place

    place = open_place(on)
    state = find_job(place, job)
    settle_run(output, state, place)
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
        ("Machines", _machines(state)),
        ("Billed", f"{state.facts.billed_s:,} s on each" if state.facts.billed_s else ""),
        ("Interrupted", f"{state.facts.interruptions} times" if state.facts.interruptions else ""),
        ("Kept at", state.kept_uri),
        ("Address", state.native_url or ""),
    ]
    for label, value in facts:
        if value:
            output.show(f"{label:<13} {value}")
    output.summary(job_summary(state))


def _machines(state: JobState) -> str:
    facts = state.facts
    if facts.instance_type is None:
        return ""
    return f"{facts.instance_count or 1} x {facts.instance_type}{' (spot)' if facts.is_spot else ''}"


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
    from trackbridge.operations.following import follow_log, pace_of
    from trackbridge.operations.opening import open_place

    place = open_place(on)
    job_id = find_job(place, job).job_id
    pieces = follow_log(
        lambda cursor: place.jobs.read_logs(job_id, cursor=cursor),
        pace=pace_of(is_local=place.capabilities.is_local),
        goes_on=lambda: follow,
        on_trouble=output.warn,
    )
    try:
        print_log(output, pieces)
    except KeyboardInterrupt:
        output.note(f"the job goes on; cancel it with: {job_command('cancel', job_id, place)}")
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
        seen = job_command("wait", state.job_id, place)
        output.show(f"job {state.job_id} is asked to stop; see when it has: {seen}")
    output.summary(job_summary(place.jobs.status(state.job_id)))


@jobs.command(epilog=example("bridge jobs wait 0193f2a1b", "bridge jobs wait 0193f2a1b --timeout 1h"))
@click.argument("job")
@click.option("--timeout", type=DURATION, metavar="TIME", help="How long to wait; by default until it ends.")
@on_option
@output_option
def wait(output: Output, job: str, timeout: float | None, on: str) -> None:
    """Wait for the end of a job, and end with its exit status."""
    from trackbridge.operations.following import pace_of, wait_for_job
    from trackbridge.operations.opening import open_place

    place = open_place(on)
    job_id = find_job(place, job).job_id
    try:
        pace = pace_of(is_local=place.capabilities.is_local)
        state = wait_for_job(job_id, place.jobs, timeout_s=timeout, pace=pace, on_trouble=output.warn)
    except KeyboardInterrupt:
        output.note(f"the job goes on; cancel it with: {job_command('cancel', job_id, place)}")
        raise
    settle_run(output, state, place)
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
