"""Submissions that are under way are noted beside the journals, so that one that dies leaves no run open.

::

    <where journals of the job's place lie>/submitting/<run id>.<id>    locked as long as its process is at it

The note is written before the run is opened, and taken away once the run names its job, or is closed because
there is none. A note that nobody holds any more was left by a process that died, or that did not learn
whether its job was taken. Whoever looks next asks the job's backend: the run of a job that is there gets its
job; a run without a job is closed as FAILED and says why, and the same key opens it again.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import msgspec

from trackbridge.domain.ids import mint_id
from trackbridge.domain.job_tags import TAG_JOB
from trackbridge.domain.jobs import JobState
from trackbridge.errors import BridgeError, NotFound
from trackbridge.operations.job_facts import refuse_run
from trackbridge.operations.opening import Opened, open_place
from trackbridge.operations.settle import settle_job
from trackbridge.resolve.config import Settings
from trackbridge.resolve.destinations import journal_root, resolve_destinations
from trackbridge.transport.file_locks import try_held

FOLDER = "submitting"
PATIENCE_MS = 5 * 60 * 1000
"""How old a note has to be: a backend may take a job late, and list it later still."""
LOOKED_AT_MAX = 20
"""How many notes one look goes through."""
PAGES_MAX, JOBS_MAX = 20, 10_000
"""How many pages and jobs are looked through; beyond, it is not known whether there is a job."""

NEVER_SUBMITTED = "its submitter ended before the job was submitted"


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A submission: the run, where it is, the URI of the job backend, and when it began in milliseconds."""

    run_id: str
    tracking_uri: str
    place: str
    time_ms: int


class Noted:
    """A note of this process. ``done`` says that there is nothing left to look after."""

    def __init__(self) -> None:
        self.is_done = False

    def done(self) -> None:
        """Have the note taken away."""
        self.is_done = True


def notes_folder(place: str, settings: Settings) -> Path:
    """Return where submissions to a place are noted, by whoever submits and whoever looks."""
    return _journals_of(place, settings) / FOLDER


@contextlib.contextmanager
def noted(folder: Path | None, run_id: str, *, tracking_uri: str, place: str) -> Iterator[Noted]:
    """Keep a note of a submission for as long as it takes, and longer unless it is done.

    Args:
        folder: Where notes of the place lie, see ``notes_folder``; without it nothing is noted.
        run_id: The run to be opened.
        tracking_uri: Where.
        place: The URI of the job backend.
    """
    made = Noted()
    if folder is None:
        yield made
        return
    note = Note(run_id=run_id, tracking_uri=tracking_uri, place=place, time_ms=_now_ms())
    path = folder / f"{run_id}.{mint_id()}"
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(try_held(path, makes_it=True))
            path.write_bytes(msgspec.json.encode(note))
        except OSError:  # a home that cannot be written to keeps nobody from submitting
            yield made
            return
        try:
            yield made
        finally:
            if made.is_done:
                path.unlink(missing_ok=True)


def finish_submissions(
    place: Opened,
    *,
    settings: Settings,
    on_trouble: Callable[[str], None],
    now_ms: int | None = None,
) -> None:
    """Look after the runs whose submission to a place has died.

    Args:
        place: Where the jobs were to run.
        settings: The settings in use.
        on_trouble: Told what could not be looked after, and why.
        now_ms: The time, in milliseconds.
    """
    until_ms = (_now_ms() if now_ms is None else now_ms) - PATIENCE_MS
    left = list(islice(_left(notes_folder(place.uri, settings), place.uri, until_ms), LOOKED_AT_MAX))
    if not left:
        return
    try:
        jobs = _jobs_since(place, min(note.time_ms for _, note in left) - PATIENCE_MS)
    except BridgeError as error:
        on_trouble(f"{len(left)} submissions that have died could not be looked after: {error}")
        return
    for path, note in left:
        try:
            with try_held(path) as is_mine:
                if is_mine and _finish(path, note, place, jobs, settings):
                    path.unlink(missing_ok=True)
        except (BridgeError, OSError) as error:
            on_trouble(
                f"the run {note.run_id}, whose submission has died, could not be looked after: {error}"
            )


def _left(folder: Path, place: str, until_ms: int) -> Iterator[tuple[Path, Note]]:
    """Yield old notes of a place; one that was cut off is taken away: its run had not been opened."""
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    for path in (folder / name for name in names):
        try:
            if path.stat().st_mtime_ns // 1_000_000 > until_ms:
                continue
            note = msgspec.json.decode(path.read_bytes(), type=Note)
        except OSError:  # gone meanwhile, or another user's
            continue
        except msgspec.MsgspecError:
            path.unlink(missing_ok=True)
            continue
        if note.place == place:
            yield path, note


def _jobs_since(place: Opened, since_ms: int) -> Mapping[str, JobState] | None:
    """Return the jobs that were submitted since, by their runs; None where there are too many."""
    found: dict[str, JobState] = {}
    token: str | None = None
    size, seen = min(1000, place.capabilities.limits.page_items_max), 0
    for _ in range(PAGES_MAX):
        page = place.jobs.list_jobs(max_results=size, token=token)
        found.update((state.run_id, state) for state in page.items if state.run_id)
        seen, token = seen + len(page.items), page.token
        oldest_ms = min((state.submit_time or since_ms for state in page.items), default=since_ms)
        if token is None or oldest_ms < since_ms:
            return found
        if seen >= JOBS_MAX:
            break
    return None


def _finish(
    path: Path, note: Note, place: Opened, jobs: Mapping[str, JobState] | None, settings: Settings
) -> bool:
    """Look after one run; True when that is done."""
    if _is_submitted_again(path, note.run_id):
        return False
    home = open_place(note.tracking_uri, settings=settings)
    try:
        run = home.tracking.get_run(note.run_id)
        if TAG_JOB in run.data.tags:
            return True
        if jobs is None:
            return False
        state = jobs.get(note.run_id)
        if state is None:
            if not run.info.status.is_final:
                refuse_run(home.tracking, note.run_id, NEVER_SUBMITTED, end_time=note.time_ms)
            return True
        settled = settle_job(
            state,
            home.tracking,
            journal_root=_journals_of(note.tracking_uri, settings),
            destination=home.uri,
            artifacts=home.adapter.artifacts,
            jobs=place.jobs,
            place=place.uri,
        )
        return settled is not False
    except NotFound:  # it was not opened, or is gone
        return True
    finally:
        home.close()


def _is_submitted_again(path: Path, run_id: str) -> bool:
    """Tell whether a living process is submitting the job of the same run."""
    for other in path.parent.glob(f"{run_id}.*"):
        if other != path:
            with contextlib.suppress(FileNotFoundError), try_held(other) as is_free:  # done meanwhile
                if not is_free:
                    return True
    return False


def _journals_of(uri: str, settings: Settings) -> Path:
    return journal_root(resolve_destinations(uri, settings=settings), settings=settings)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
