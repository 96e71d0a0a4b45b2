"""The end of a job is put onto its run, where its program has not: status, reason, what was used, the log.

::

    python -m trackbridge.operations.settle --tracking-uri URI --run-id ID --status FINISHED --end-time MS

    journals come home -> they are delivered -> the run is closed -> log and tags; the status of the job last

=================================  ==================================================================
the job's program                  who closes its run
=================================  ==================================================================
used trackbridge and ended well    its own journal: its status stands
closed its run as FINISHED, and    settle, as FAILED, as ``mlflow run`` does: the job has failed
failed after that
used trackbridge, ended in good    settle, with the job's status, once that journal is delivered
order and left the run open
used trackbridge and was killed    whoever delivers its journal, as KILLED (see ``delivery.lane``)
knows nothing of trackbridge       settle, with the job's status and end time
=================================  ==================================================================

Nothing is cut off: as long as a journal has records of the run that are not delivered, or a living program
has it open, the run is left alone; it is settled with the next look at the job. Of several processes of a
machine that look at once, one settles. A run whose tag ``bridge.job.status`` stands is not looked at again.
"""

from __future__ import annotations

import contextlib
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from trackbridge.domain.events import JOB_ENDED, RUN_CLOSED
from trackbridge.domain.file_uris import file_uri
from trackbridge.domain.job_tags import TAG_JOB, TAG_JOB_KEPT, TAG_JOB_PLACE, TAG_JOB_SECRETS
from trackbridge.domain.jobs import JobState, JobStatus
from trackbridge.domain.runs import LifecycleStage, Run, RunStatus
from trackbridge.errors import (
    AuthError,
    BridgeError,
    Exhausted,
    JournalCorrupt,
    NotFound,
    Rejected,
    Transient,
    Unavailable,
    Unsupported,
)
from trackbridge.events import publish
from trackbridge.journal.cursors import load_cursor
from trackbridge.journal.folder import JournalFolder, journals
from trackbridge.operations.job_facts import has_all, link_tags, write_facts, write_tags
from trackbridge.operations.job_log_tail import (
    TAIL_READ_BYTES,
    kept_tail,
    secret_values,
    tail_of_file,
    tail_of_job,
)
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.jobs import JobBackend
from trackbridge.ports.tracking import TrackingStore
from trackbridge.transport.file_locks import held

if TYPE_CHECKING:
    import argparse

DELIVERY_S_MAX = 30.0
"""How long to wait for journals that another process is delivering."""

LOCKS = 64
"""Files of locks; runs share them, so that they do not become many."""

RUN_STATUS = {
    JobStatus.SUCCEEDED: RunStatus.FINISHED,
    JobStatus.FAILED: RunStatus.FAILED,
    JobStatus.CANCELLED: RunStatus.KILLED,
}
"""The status of a run whose job ended so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where the run of a job is: its store, the store of its files, and the journals of this machine.

    ``destination`` is the tracking URI, as journals name it; ``deliver`` delivers the journals below a
    folder, by default as ``bridge sync run`` does.
    """

    tracking: TrackingStore
    artifacts: ArtifactStore | None
    journal_root: Path
    destination: str
    deliver: Callable[[Path], None] | None = None


Log = Callable[[], bytes]
"""Returns the end of a job's log, and a little before it."""


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

    A run that is FINISHED becomes FAILED where that is how its job ended; FAILED and KILLED stand.

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
    ended = run.info.status
    if ended.is_final and _is_taken_up(journal_root, run_id, destination):
        ended = RunStatus.RUNNING
    if not ended.is_final and _answering(journal_root, run_id, destination):
        (deliver or _deliver)(journal_root)
        if _answering(journal_root, run_id, destination):
            return False
        ended = tracking.get_run(run_id).info.status  # its own journal may have closed it
    if ended.is_final and not _ended_too_well(ended, status):
        return True
    try:
        tracking.close_run(run_id, status=status, end_time=end_time)
    except Rejected:  # somebody has deleted it
        return ended.is_final
    data = {"status": status.value, "start_time": run.info.start_time, "end_time": end_time}
    publish(RUN_CLOSED, subject=run_id, source=destination, data=data, time_ms=end_time)
    return True


def settle_job(
    state: JobState,
    tracking: TrackingStore,
    *,
    journal_root: Path,
    destination: str,
    artifacts: ArtifactStore | None = None,
    jobs: JobBackend | None = None,
    place: str = "",
) -> bool | None:
    """Settle the run of a job: True when it is closed and says all of its job, False when that has to wait.

    None where there is nothing to do: the job goes on, or has no run here. A job that goes on is named on its
    run, should its submitter have died before it did that.

    Args:
        state: The job.
        tracking: Where its run is.
        journal_root: Where the journals of programs on this machine lie.
        destination: The tracking URI, as journals name it.
        artifacts: Where files of runs go there; without it the log is not kept.
        jobs: Where the job ran, for its log.
        place: The URI of that.

    Raises:
        BridgeError: A backend cannot be asked now.
        Rejected: The run is closed, but does not take all that is known of its job, or some of what the job
            kept could not be brought home.
    """
    if state.run_id is None or state.tracking_uri not in ("", destination):
        return None
    if not state.status.is_final:
        _link(state, tracking, place)
        return None
    home = Home(tracking=tracking, artifacts=artifacts, journal_root=journal_root, destination=destination)
    return settle_state(state, home, place=place, log=None if jobs is None else _log_of(state.job_id, jobs))


def _log_of(job_id: str, jobs: JobBackend) -> Log:
    return lambda: tail_of_job(
        lambda cursor: jobs.read_logs(job_id, cursor=cursor, tail_bytes=None if cursor else TAIL_READ_BYTES)
    )


def settle_state(state: JobState, home: Home, *, place: str = "", log: Log | None = None) -> bool:
    """Settle the run of a job that has ended; see ``settle_job``."""
    run_id = state.run_id or ""
    run = _find(home.tracking, run_id)
    if run is None:
        return False
    if has_all(run, state):
        return True
    with _alone(home.journal_root, run_id):
        run = home.tracking.get_run(run_id)
        if has_all(run, state):  # another process was faster
            return True
        stranded = _bring_home(state, home, place) if state.kept_uri else None
        is_closed = settle(
            run_id,
            home.tracking,
            status=RUN_STATUS[state.status],
            end_time=_end_time(state),
            journal_root=home.journal_root,
            destination=home.destination,
            deliver=home.deliver,
        )
        if is_closed and run.info.lifecycle_stage is not LifecycleStage.DELETED:
            _write(run, state, home, place, log)
            if stranded is not None:
                write_tags(home.tracking, run_id, {TAG_JOB_KEPT: state.kept_uri})
                raise stranded
    return is_closed


def _write(run: Run, state: JobState, home: Home, place: str, log: Log | None) -> None:
    """Put onto a closed run what is known of its job, and tell that the job has ended."""
    tail, problem = _tail(log, run.data.tags.get(TAG_JOB_SECRETS, "[]"))
    try:
        write_facts(run, state, home.tracking, home.artifacts, place=place, log=tail, log_problem=problem)
    finally:
        job_id = state.job_id or run.data.tags.get(TAG_JOB) or run.info.run_id
        status, end_time = RUN_STATUS[state.status].value, _end_time(state)
        data = {"run_id": run.info.run_id, "status": status, "end_time": end_time}
        publish(JOB_ENDED, subject=job_id, source=home.destination, data=data, time_ms=end_time)


def _tail(log: Log | None, references: str) -> tuple[bytes | None, str]:
    """Return the end of a log without secrets; None, and why, where there is none to be had."""
    if log is None:
        return None, ""
    try:
        return kept_tail(log(), secret_values(msgspec.json.decode(references, type=list[str]))), ""
    except (Rejected, NotFound, Unsupported, AuthError) as error:
        return None, error.message
    except BridgeError:  # among them are some that are errors of the system as well
        raise
    except msgspec.DecodeError:
        return None, f"the tag {TAG_JOB_SECRETS}, which names what is to be kept out of it, cannot be read"
    except OSError as error:
        return None, f"the log cannot be read: {error.strerror}"


def settle_where_it_is(state: JobState, jobs: JobBackend | None = None, place: str = "") -> bool | None:
    """Settle the run of a job at the job's own tracking URI; None where there is nothing to do.

    Args:
        state: The job.
        jobs: Where it ran, for its log; by default it is opened as the run names it.
        place: The URI of that.

    Raises:
        BridgeError: A backend cannot be asked now.
    """
    from trackbridge.operations.opening import open_place
    from trackbridge.resolve.config import Settings
    from trackbridge.resolve.destinations import journal_root, resolve_destinations

    if state.run_id is None or not state.tracking_uri or not (state.status.is_final or place):
        return None
    settings = Settings()
    root = journal_root(resolve_destinations(state.tracking_uri, settings=settings), settings=settings)
    with contextlib.ExitStack() as opened:
        home = open_place(state.tracking_uri, settings=settings)
        opened.callback(home.close)
        if jobs is None and state.status.is_final:
            run = _find(home.tracking, state.run_id)
            place = "" if run is None or has_all(run, state) else run.data.tags.get(TAG_JOB_PLACE, "")
            if place:
                backend = open_place(place, settings=settings)
                opened.callback(backend.close)
                jobs = backend.jobs
        return settle_job(
            state,
            home.tracking,
            journal_root=root,
            destination=home.uri,
            artifacts=home.adapter.artifacts,
            jobs=jobs,
            place=place,
        )


def _link(state: JobState, tracking: TrackingStore, place: str) -> None:
    """Name the job on its run, where nobody has."""
    run = _find(tracking, state.run_id or "") if place else None
    if run is not None and TAG_JOB not in run.data.tags:
        write_tags(tracking, run.info.run_id, link_tags(state, place))


def _bring_home(state: JobState, home: Home, place: str) -> BridgeError | None:
    """Bring the journals that the platform kept to this machine and deliver them.

    Returns:
        Why some of them cannot come; None when all have.

    Raises:
        Transient: They cannot be read now.
        Exhausted: The same.
    """
    from trackbridge.operations.job_homecoming import bring_home
    from trackbridge.operations.opening import open_place
    from trackbridge.operations.uri_files import open_files

    hint = f"deliver them by hand: bridge sync run {state.kept_uri} --uri {home.destination}"
    try:
        with contextlib.ExitStack() as opened:
            stores: list[object] = [home.artifacts]
            if place not in ("", home.destination):
                backend = open_place(place)
                opened.callback(backend.close)
                stores.insert(0, backend.adapter.artifacts)
            files = open_files(state.kept_uri, *stores)
            arrival = bring_home(files, home.journal_root, accepts=lambda uri: uri == home.destination)
    except (Transient, Exhausted):
        raise
    except BridgeError as error:
        message = f"the job's journals cannot be brought home: {error.message}"
        return Rejected(message, operation="jobs.settle", resource=state.kept_uri, hint=hint)
    if arrival.journals:
        (home.deliver or _deliver)(home.journal_root)
        arrival.note_delivered()
    if not arrival.left_behind:
        return None
    first = arrival.left_behind[0]
    message = f"the journal {first.journal[:12]} was not brought home: {first.why}"
    return Rejected(message, operation="jobs.settle", resource=state.kept_uri, hint=hint)


@contextlib.contextmanager
def _alone(journal_root: Path, run_id: str) -> Iterator[None]:
    """Let one process of this machine at a time settle a run; where files have no locks, any may."""
    number = zlib.crc32(run_id.encode()) % LOCKS
    try:
        lock = held(journal_root / "settling" / f"{number:02d}.lock")
        lock.__enter__()
    except Unavailable:
        raise
    except OSError:
        yield
        return
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def _ended_too_well(ended: RunStatus, status: RunStatus) -> bool:
    """Tell whether a program closed its run as FINISHED, and failed after that."""
    return ended is RunStatus.FINISHED and status is RunStatus.FAILED


def _end_time(state: JobState) -> int:
    return state.end_time or state.start_time or state.submit_time or 0


def _find(tracking: TrackingStore, run_id: str) -> Run | None:
    try:
        return tracking.get_run(run_id)
    except NotFound:
        return None


def _answering(root: Path, run_id: str, destination: str) -> bool:
    """Tell whether a journal has the run open, or was left behind with records that may be the run's."""
    return any(_answers_for(folder, run_id, destination) for folder in journals(root))


def _is_taken_up(root: Path, run_id: str, destination: str) -> bool:
    """Tell whether a journal that is not delivered takes the run up, after somebody else has ended it."""
    return any(
        folder.resumes(run_id) and _answers_for(folder, run_id, destination) for folder in journals(root)
    )


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
    from trackbridge.operations.opening import open_place
    from trackbridge.resolve.config import Settings
    from trackbridge.resolve.destinations import journal_root, resolve_destinations

    options = _arguments(arguments)
    try:
        settings = Settings()
        destinations = resolve_destinations(options.tracking_uri, settings=settings)
        place = open_place(options.tracking_uri, settings=settings)
        home = Home(
            tracking=place.tracking,
            artifacts=place.adapter.artifacts,
            journal_root=journal_root(destinations, settings=settings),
            destination=place.uri,
        )
        log = (lambda: tail_of_file(Path(options.log))) if options.log else None
        is_closed = settle_state(_state_of(options), home, log=log)
    except BridgeError as error:
        sys.stderr.write(f"trackbridge: the run {options.run_id} is not settled: {error}\n")
        return error.exit_code
    return 0 if is_closed else 5


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    import argparse

    parser = argparse.ArgumentParser(prog="python -m trackbridge.operations.settle")
    parser.add_argument("--tracking-uri", required=True)
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--status", required=True, choices=[status.value for status in RUN_STATUS.values()])
    parser.add_argument("--end-time", required=True, type=int, help="milliseconds since 1970")
    parser.add_argument("--job-id", default="")
    parser.add_argument("--exit-code", type=int)
    parser.add_argument("--reason", default="")
    parser.add_argument("--log", default="", help="the file that holds the job's log")
    return parser.parse_args(arguments)


def _state_of(options: argparse.Namespace) -> JobState:
    status = next(job for job, run in RUN_STATUS.items() if run.value == options.status)
    return JobState(
        job_id=options.job_id,
        status=status,
        run_id=options.run_id,
        exit_code=options.exit_code,
        reason=options.reason,
        end_time=options.end_time,
        native_url=file_uri(Path(options.log)) if options.log else None,
    )


if __name__ == "__main__":
    sys.exit(main())
