"""Jobs as processes of this machine, each watched by a runner of its own: see ``job_runner``."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import msgspec

import trackbridge_adapters
from trackbridge import errors
from trackbridge.domain.file_uris import file_uri
from trackbridge.domain.ids import mint_id
from trackbridge.domain.job_checks import shown_spec
from trackbridge.domain.jobs import JobFacts, JobPreview, JobSpec, JobState, JobStatus, LogChunk
from trackbridge.domain.paging import Page
from trackbridge.errors import Conflict, InvalidInput, MissingExtra, NotFound, Rejected
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.findings import Finding, Severity
from trackbridge.ports.jobs import JobBackend, features_of
from trackbridge_adapters.local import locks
from trackbridge_adapters.local.capabilities import ADAPTER
from trackbridge_adapters.local.config import Settings
from trackbridge_adapters.local.database import Database
from trackbridge_adapters.local.errors import Translating
from trackbridge_adapters.local.job_files import JobFiles
from trackbridge_adapters.local.job_findings import UV_HINT, find_uv, findings_of, makes_environment
from trackbridge_adapters.local.job_log import read_piece, tail_start
from trackbridge_adapters.local.job_processes import JOB_VARIABLE, LEVEL_VARIABLE, remaining
from trackbridge_adapters.local.tokens import listing_of, page_size, place_of, token_of

LOOKERS_S = 1.0
"""How long others may look at a lock that is to be taken."""

ENDING_S = 5.0
ENDING_PAUSE_S = 0.01
TAIL_BYTES = 500

FACTS = JobFacts(instance_count=1, is_spot=False, billed_s=0, interruptions=0)

_COLUMNS = (
    "job_id, number, spec, status, reason, attempt, exit_code, process_id, process_birth, "
    "submit_time, start_time, end_time, cancel_time"
)

# The folders come from the submitter, because the interpreter starts without ``site``, which takes 10 ms.
_BOOTSTRAP = (
    "import sys; sys.path[:] = {path!r}; sys.argv[0] = 'trackbridge-job'; "
    "from trackbridge_adapters.local.job_runner import main; main(sys.argv[1:])"
)

_runners: set[int] = set()
"""Runners that this process has started: unless it asks after them, they stay as zombies when they end."""

os.register_at_fork(after_in_child=_runners.clear)


class Row(msgspec.Struct, frozen=True):
    """A row of the table ``job``."""

    job_id: str
    number: int
    spec: str
    status: str
    reason: str
    attempt: int
    exit_code: int | None
    process_id: int | None
    process_birth: str | None
    submit_time: int
    start_time: int | None
    end_time: int | None
    cancel_time: int | None

    @property
    def has_ended(self) -> bool:
        """True once the state is final."""
        return JobStatus(self.status).is_final


class LocalJobs(JobBackend):
    """Jobs of one store."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        capabilities: Capabilities,
        clock_ms: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._store = os.fspath(settings.folder)
        self._store_uri = file_uri(settings.folder)
        self._database = database
        self._capabilities = capabilities
        self._clock_ms = clock_ms

    def check(self, spec: JobSpec) -> tuple[Finding, ...]:
        """Look at the spec, the folder of the code, the requirements and the secrets' references."""
        return tuple(findings_of(spec, self._capabilities))

    def preview(self, spec: JobSpec) -> JobPreview:
        """Return the spec itself: nothing is sent, and nobody is billed."""
        self._refuse(spec, "jobs.preview")
        return JobPreview(request=shown_spec(spec), hours_max=0.0)

    def submit(self, spec: JobSpec, *, key: str) -> JobState:
        """Write the job into the store and start its runner.

        What is wrong in this shell now, a secret that is not set, does not matter to a job that was started.
        """
        _reap_runners()
        with Translating("jobs.submit", f"job {spec.name!r}"):
            with self._database.reading("jobs.submit") as connection:
                known = _find_by_key(connection, key) if connection is not None else None
            if known is None:
                self._refuse(spec, "jobs.submit")
            row = known or self._created(spec, key)
            if msgspec.json.decode(row.spec, type=JobSpec) != spec:
                raise Conflict(
                    f"the key {key!r} was used for another job",
                    adapter=ADAPTER,
                    operation="jobs.submit",
                    resource=f"job {row.job_id}",
                    hint="use a new key for a new job",
                )
            if known is not None and row.status == JobStatus.QUEUED and not self._files(row).was_started():
                self._restart(row)
            return self._settled(row)

    def status(self, job_id: str) -> JobState:
        """Return how the job stands."""
        _reap_runners()
        return self._settled(self._row(job_id, "jobs.status"))

    def cancel(self, job_id: str) -> None:
        """Note the wish and wake the runner."""
        state = self._settled(self._row(job_id, "jobs.cancel"))
        if state.status.is_final:
            return
        with self._database.writing("jobs.cancel", f"job {job_id}") as connection:
            connection.execute(
                "UPDATE job SET cancel_time = ? WHERE job_id = ? AND cancel_time IS NULL",
                (self._clock_ms(), job_id),
            )
        JobFiles(self._store, job_id).ring()

    def read_logs(self, job_id: str, *, cursor: str = "", tail_bytes: int | None = None) -> LogChunk:
        """Return a piece of the log, from the byte that the cursor names."""
        listing = listing_of("read_logs", job_id)
        place = place_of(cursor or None, listing, operation="jobs.read_logs", types=(int,))
        state = self._settled(self._row(job_id, "jobs.read_logs"))
        log = JobFiles(self._store, job_id).log
        with Translating("jobs.read_logs", f"job {job_id}"):
            first = 0 if tail_bytes is None else tail_start(log, tail_bytes)
            piece = read_piece(log, place[0] if place else first, is_final=state.status.is_final)
        if piece is None:
            raise InvalidInput(
                "the cursor lies behind the end of the log",
                adapter=ADAPTER,
                operation="jobs.read_logs",
                hint="start again without a cursor",
            )
        done = piece.is_last and state.status.is_final
        return LogChunk(text=piece.text, cursor=token_of(listing, [piece.end]), done=done)

    def list_jobs(self, *, max_results: int = 1000, token: str | None = None) -> Page[JobState]:
        """List the jobs of the store, in the order of their submission, the last first."""
        _reap_runners()
        size = page_size(max_results, operation="jobs.list_jobs")
        listing = listing_of("list_jobs")
        place = place_of(token, listing, operation="jobs.list_jobs", types=(int,))
        with self._database.reading("jobs.list_jobs") as connection:
            rows = _list_before(connection, place[0] if place else None, size + 1) if connection else []
        more = token_of(listing, [rows[size - 1].number]) if len(rows) > size else None
        return Page(items=tuple(map(self._settled, rows[:size])), token=more)

    # Submission.

    def _refuse(self, spec: JobSpec, operation: str) -> None:
        for feature in features_of(spec):
            self._capabilities.require(feature, operation=operation)
        for finding in findings_of(spec, self._capabilities):
            if finding.severity is Severity.ERROR:
                kind = MissingExtra if finding.fix == UV_HINT else Rejected
                raise kind(
                    f"the job cannot run: {finding.subject}: {finding.message}",
                    adapter=ADAPTER,
                    operation=operation,
                    hint=finding.fix,
                )

    def _created(self, spec: JobSpec, key: str) -> Row:
        """Write the job and start its runner, unless another program was faster with the key.

        The lock is taken before the job can be seen, so that nobody ever sees it without a runner.
        """
        self._end_all_lost()
        job_id = mint_id()
        files = JobFiles(self._store, job_id)
        os.makedirs(files.folder, mode=0o700)
        lock = locks.hold(files.lock)
        assert lock is not None  # nobody else knows the name
        try:
            with self._database.writing("jobs.submit") as connection:
                known = _find_by_key(connection, key)
                if known is None:
                    connection.execute(
                        "INSERT INTO job (job_id, key, spec, status, submit_time) VALUES (?, ?, ?, ?, ?)",
                        (
                            job_id,
                            key,
                            msgspec.json.encode(spec).decode(),
                            JobStatus.QUEUED.value,
                            self._clock_ms(),
                        ),
                    )
            if known is not None:
                shutil.rmtree(files.folder)
                return known
            self._start_runner(files, job_id, lock, uses_uv=makes_environment(spec))
        finally:
            locks.release(lock)
        return self._row(job_id, "jobs.submit")

    def _restart(self, row: Row) -> None:
        """Start the runner of a job whose submitter died between writing it and starting one."""
        files = self._files(row)
        if locks.is_held(files.lock):  # its runner is about to start
            return
        lock = locks.hold(files.lock, patience_s=LOOKERS_S)
        if lock is None:
            return
        try:
            if not self._row(row.job_id, "jobs.submit").has_ended and not files.was_started():
                spec = msgspec.json.decode(row.spec, type=JobSpec)
                self._refuse(spec, "jobs.submit")
                self._start_runner(files, row.job_id, lock, uses_uv=makes_environment(spec))
        finally:
            locks.release(lock)

    def _start_runner(self, files: JobFiles, job_id: str, lock: int, *, uses_uv: bool) -> None:
        roots = {str(Path(module.__file__ or "").parents[1]) for module in (trackbridge_adapters, errors)}
        path = [*sorted(roots), *(os.path.abspath(entry) for entry in sys.path if entry)]
        arguments = (
            self._store,
            job_id,
            str(lock),
            str(self._settings.jobs_parallel_max),
            str(self._settings.jobs_notice_s),
            (find_uv() or "") if uses_uv else "",
        )
        log = os.open(files.runner_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = subprocess.Popen(
                [sys.executable, "-S", "-c", _BOOTSTRAP.format(path=path), *arguments],
                env={**os.environ, JOB_VARIABLE: job_id, LEVEL_VARIABLE: str(_level())},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock,),
                start_new_session=True,
            )
        finally:
            os.close(log)
        process.returncode = 0  # it goes on by itself; keeps Popen from warning of that
        _runners.add(process.pid)

    # Looking at jobs.

    def _files(self, row: Row) -> JobFiles:
        return JobFiles(self._store, row.job_id)

    def _row(self, job_id: str, operation: str) -> Row:
        with self._database.reading(operation, f"job {job_id[:80]!r}") as connection:
            row = _find_by_id(connection, job_id) if connection is not None else None
        if row is None:
            raise NotFound(
                f"there is no job {job_id[:80]!r}",
                adapter=ADAPTER,
                operation=operation,
                hint="bridge jobs list",
            )
        return row

    def _settled(self, row: Row) -> JobState:
        """Return the state of a job, having ended it if its runner has died."""
        if not row.has_ended:
            with Translating("jobs.status", f"job {row.job_id}"):
                if not locks.is_held(self._files(row).lock):
                    row = self._end_lost(row.job_id)
        return self._state(row)

    def _end_all_lost(self) -> None:
        """End what is left of any job whose runner has died: it is in the way of the next.

        Those that were never started stay, for who submits them again.
        """
        with self._database.reading("jobs.submit") as connection:
            rows = _list_active(connection) if connection is not None else []
        for row in rows:
            files = self._files(row)
            if files.was_started() and not locks.is_held(files.lock):
                self._end_lost(row.job_id)

    def _end_lost(self, job_id: str) -> Row:
        """End what is left of a job without a runner, and record that."""
        files = JobFiles(self._store, job_id)
        os.makedirs(files.folder, mode=0o700, exist_ok=True)  # somebody may have deleted it
        lock = locks.hold(files.lock, patience_s=LOOKERS_S)
        row = self._row(job_id, "jobs.status")
        if lock is None or row.has_ended:
            if lock is not None:
                locks.release(lock)
            return row
        try:
            if _end_processes(row):
                self._record_loss(row, files)
        finally:
            locks.release(lock)
        return self._row(job_id, "jobs.status")

    def _record_loss(self, row: Row, files: JobFiles) -> None:
        was_cancelled = row.cancel_time is not None
        status = JobStatus.CANCELLED if was_cancelled else JobStatus.FAILED
        reason = "it was cancelled, and its runner has died" if was_cancelled else _loss(row, files)
        with self._database.writing("jobs.status", f"job {row.job_id}") as connection:
            connection.execute(
                "UPDATE job SET status = ?, reason = ?, end_time = ? WHERE job_id = ?",
                (status.value, reason, self._clock_ms(), row.job_id),
            )

    def _state(self, row: Row) -> JobState:
        spec = msgspec.json.decode(row.spec, type=JobSpec)
        return JobState(
            job_id=row.job_id,
            status=JobStatus(row.status),
            name=spec.name,
            exit_code=row.exit_code,
            reason=row.reason,
            run_id=spec.run_id,
            tracking_uri=spec.tracking_uri,
            attempt=row.attempt,
            submit_time=row.submit_time,
            start_time=row.start_time,
            end_time=row.end_time,
            facts=FACTS,
            native_url=self._store_uri + self._files(row).log.removeprefix(self._store),
        )


def _end_processes(row: Row) -> bool:
    """Kill what is left of a job whose runner is gone; True when nothing is."""
    deadline_s = time.monotonic() + ENDING_S
    while left := remaining(row.job_id, row.process_id, row.process_birth):
        for process in left:
            process.send(signal.SIGKILL)
        if time.monotonic() > deadline_s:
            return False
        Event().wait(ENDING_PAUSE_S)
    return True


def _loss(row: Row, files: JobFiles) -> str:
    """Return what became of a job that lost its runner."""
    if not files.was_started():
        return "it was never started: the program that submitted it ended before"
    told = ""
    with contextlib.suppress(FileNotFoundError), open(files.runner_log, "rb") as file:
        file.seek(max(0, os.path.getsize(files.runner_log) - TAIL_BYTES))
        told = file.read().decode("utf-8", "replace").strip()
    when = {"QUEUED": "while the job waited", "STARTING": "while its environment was made"}
    reason = f"the job's runner died {when.get(row.status, 'while the job ran')}, or the machine went down"
    return f"{reason}: {told}" if told else reason


def _level() -> int:
    """Return how many jobs this process belongs to, one in the other."""
    if JOB_VARIABLE not in os.environ:
        return 0
    level = os.environ.get(LEVEL_VARIABLE, "")
    return int(level) + 1 if level.isdecimal() else 1


def _reap_runners() -> None:
    for process_id in tuple(_runners):
        try:
            if os.waitpid(process_id, os.WNOHANG)[0] == 0:
                continue
        except ChildProcessError:  # somebody else has asked after all children
            pass
        _runners.discard(process_id)


def _find_by_id(connection: sqlite3.Connection, job_id: str) -> Row | None:
    return _first(connection.execute(f"SELECT {_COLUMNS} FROM job WHERE job_id = ?", (job_id,)))


def _find_by_key(connection: sqlite3.Connection, key: str) -> Row | None:
    return _first(connection.execute(f"SELECT {_COLUMNS} FROM job WHERE key = ?", (key,)))


def _first(cursor: sqlite3.Cursor) -> Row | None:
    row: tuple[Any, ...] | None = cursor.fetchone()
    return Row(*row) if row else None


def _list_active(connection: sqlite3.Connection) -> list[Row]:
    active = [status.value for status in JobStatus if not status.is_final]
    places = ", ".join("?" for _ in active)
    rows = connection.execute(f"SELECT {_COLUMNS} FROM job WHERE status IN ({places})", active)
    return [Row(*row) for row in rows]


def _list_before(connection: sqlite3.Connection, number: int | None, count: int) -> list[Row]:
    """Return the jobs submitted before one, or all, the last first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM job WHERE ? IS NULL OR number < ? ORDER BY number DESC LIMIT ?",
        (number, number, count),
    )
    return [Row(*row) for row in rows]
