"""Closing the run of a job that has ended, where its program has not.

::

    python -m trackbridge.operations.settle --tracking-uri URI --run-id ID --status FINISHED --end-time MS

=================================  ==================================================================
the job's program                  who closes its run
=================================  ==================================================================
used trackbridge and ended well    its own journal: its status stands
used trackbridge, ended in good    settle, with the job's status, once that journal is delivered
order and left the run open
used trackbridge and was killed    whoever delivers its journal, as KILLED (see ``delivery.lane``)
knows nothing of trackbridge       settle, with the job's status and end time
=================================  ==================================================================

Nothing is cut off: as long as a journal has records of the run that are not delivered, or a living program
has it open, the run is left alone; it is settled with the next look at the job.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from trackbridge.domain.events import JOB_ENDED, RUN_CLOSED
from trackbridge.domain.jobs import JobState, JobStatus
from trackbridge.domain.runs import Run, RunStatus
from trackbridge.errors import BridgeError, JournalCorrupt, NotFound, Rejected
from trackbridge.events import publish
from trackbridge.journal.cursors import load_cursor
from trackbridge.journal.folder import JournalFolder, journals
from trackbridge.ports.tracking import TrackingStore

DELIVERY_S_MAX = 30.0
"""How long to wait for journals that another process is delivering."""

RUN_STATUS = {
    JobStatus.SUCCEEDED: RunStatus.FINISHED,
    JobStatus.FAILED: RunStatus.FAILED,
    JobStatus.CANCELLED: RunStatus.KILLED,
}
"""The status of a run whose job ended so."""


def settle(
    run_id: str,
    tracking: TrackingStore,
    *,
    status: RunStatus,
    end_time: int,
    journal_root: Path,
    destination: str,
    deliver: Callable[[Path], None] | None = None,
) -> bool:
    """Close a run unless it is closed, or somebody still answers for it; True when it is closed now.

    Args:
        run_id: The run.
        tracking: Where it is.
        status: With which status to close it.
        end_time: When its job ended, in milliseconds.
        journal_root: Where the journals of programs on this machine lie.
        destination: The tracking URI, as journals name it.
        deliver: Delivers the journals below a folder; by default ``bridge sync run`` does the same.

    Raises:
        BridgeError: The backend cannot be asked now.
    """
    run = _find(tracking, run_id)
    if run is None:
        return False
    if run.info.status.is_final:
        return True
    if _answering(journal_root, run_id, destination):
        (deliver or _deliver)(journal_root)
        if _answering(journal_root, run_id, destination):
            return False
        if tracking.get_run(run_id).info.status.is_final:  # its own journal has closed it
            return True
    try:
        tracking.close_run(run_id, status=status, end_time=end_time)
    except Rejected:  # somebody has deleted it
        return False
    data = {"status": status.value, "start_time": run.info.start_time, "end_time": end_time}
    publish(RUN_CLOSED, subject=run_id, source=destination, data=data, time_ms=end_time)
    return True


def settle_job(
    state: JobState, tracking: TrackingStore, *, journal_root: Path, destination: str
) -> bool | None:
    """Settle the run of a job; None where there is nothing to do: it goes on, or has no run here."""
    if not state.status.is_final or state.run_id is None or state.tracking_uri not in ("", destination):
        return None
    end_time = state.end_time or state.start_time or state.submit_time or 0
    return settle(
        state.run_id,
        tracking,
        status=RUN_STATUS[state.status],
        end_time=end_time,
        journal_root=journal_root,
        destination=destination,
    )


def settle_where_it_is(state: JobState) -> bool | None:
    """Settle the run of a job at the job's own tracking URI; None where there is nothing to do.

    Raises:
        BridgeError: The backend cannot be asked now.
    """
    from trackbridge.operations.opening import open_place
    from trackbridge.resolve.config import Settings
    from trackbridge.resolve.destinations import journal_root, resolve_destinations

    if not state.status.is_final or state.run_id is None or not state.tracking_uri:
        return None
    settings = Settings()
    root = journal_root(resolve_destinations(state.tracking_uri, settings=settings), settings=settings)
    place = open_place(state.tracking_uri, settings=settings)
    try:
        return settle_job(state, place.tracking, journal_root=root, destination=place.uri)
    finally:
        place.close()


def _find(tracking: TrackingStore, run_id: str) -> Run | None:
    try:
        return tracking.get_run(run_id)
    except NotFound:
        return None


def _answering(root: Path, run_id: str, destination: str) -> bool:
    """Tell whether a journal has the run open, or was left behind with records that may be the run's."""
    return any(_answers_for(folder, run_id, destination) for folder in journals(root))


def _answers_for(folder: JournalFolder, run_id: str, destination: str) -> bool:
    try:
        if destination not in folder.describe().destinations:
            return False
    except JournalCorrupt:  # it is told by bridge sync status
        return False
    if load_cursor(folder, destination).finished:
        return False
    return folder.has_open(run_id) or not folder.writer_lives()


def _deliver(root: Path) -> None:
    from trackbridge.delivery.by_hand import HandDelivery  # seldom needed, and slow to import
    from trackbridge.delivery.connect import connect

    HandDelivery(root, open_backend=connect).run(others_wait_s=DELIVERY_S_MAX)


def main(arguments: Sequence[str] | None = None) -> int:
    """Settle one run, and tell that its job has ended; job backends start this once for each job.

    Returns:
        0 when the run is closed, 5 when that has to wait, else the exit code of the error.
    """
    import argparse

    from trackbridge.operations.opening import open_place
    from trackbridge.resolve.config import Settings
    from trackbridge.resolve.destinations import journal_root, resolve_destinations

    parser = argparse.ArgumentParser(prog="python -m trackbridge.operations.settle")
    parser.add_argument("--tracking-uri", required=True)
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--status", required=True, choices=[status.value for status in RUN_STATUS.values()])
    parser.add_argument("--end-time", required=True, type=int, help="milliseconds since 1970")
    options = parser.parse_args(arguments)
    try:
        settings = Settings()
        destinations = resolve_destinations(options.tracking_uri, settings=settings)
        place = open_place(options.tracking_uri, settings=settings)
        _tell_ended(options.run_id, place.tracking, place.uri, options.status, options.end_time)
        is_closed = settle(
            options.run_id,
            place.tracking,
            status=RunStatus(options.status),
            end_time=options.end_time,
            journal_root=journal_root(destinations, settings=settings),
            destination=place.uri,
        )
    except BridgeError as error:
        sys.stderr.write(f"trackbridge: the run {options.run_id} is not settled: {error}\n")
        return error.exit_code
    return 0 if is_closed else 5


def _tell_ended(run_id: str, tracking: TrackingStore, source: str, status: str, end_time: int) -> None:
    """Tell that a job has ended, with the job's id where its run has it."""
    from trackbridge.operations.submit import TAG_JOB

    run = _find(tracking, run_id)
    job_id = run.data.tags.get(TAG_JOB) if run is not None else None
    data = {"run_id": run_id, "status": status, "end_time": end_time}
    publish(JOB_ENDED, subject=job_id or run_id, source=source, data=data, time_ms=end_time)


if __name__ == "__main__":
    sys.exit(main())
