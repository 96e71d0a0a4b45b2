"""Jobs of the backend in memory: each is a process, watched by a thread."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.memory_pages import NAME, page_of
from trackbridge.domain.file_uris import file_uri
from trackbridge.domain.ids import mint_id
from trackbridge.domain.job_checks import job_problems, shown_spec
from trackbridge.domain.jobs import JobPreview, JobSpec, JobState, JobStatus, Launcher, LogChunk
from trackbridge.domain.paging import Page
from trackbridge.errors import BridgeError, Conflict, InvalidInput, NotFound, Rejected
from trackbridge.ports.capabilities import Capabilities, Feature
from trackbridge.ports.findings import Finding, Severity
from trackbridge.ports.jobs import JobBackend, features_of
from trackbridge_adapters._jobs.bootstrap import Machines, filled, launched
from trackbridge_adapters._jobs.log_tails import begun_before
from trackbridge_adapters.local import job_ranks

LOG_BYTES_MAX = 64 * 1024
NOTICE_S = 0.5
LOG_S = 5.0
"""How long to wait for the rest of a log: who left the session may hold the pipe for ever."""


@dataclass
class MemoryJob:
    job_id: str
    spec: JobSpec
    submit_time: int
    status: JobStatus = JobStatus.QUEUED
    exit_code: int | None = None
    reason: str = ""
    attempt: int = 0
    start_time: int | None = None
    end_time: int | None = None
    log: bytearray = field(default_factory=bytearray)
    cancelled: threading.Event = field(default_factory=threading.Event)


@dataclass
class MemoryJobsState:
    """What outlives an adapter; ``parallel_max`` jobs run at a time, in the order of their submission."""

    jobs: dict[str, MemoryJob] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    parallel_max: int = 4
    changed: threading.Condition = field(default_factory=threading.Condition)
    home: tempfile.TemporaryDirectory[str] = field(default_factory=tempfile.TemporaryDirectory)


class MemoryJobs(JobBackend):
    def __init__(
        self, state: MemoryJobsState, capabilities: Capabilities, clock_ms: Callable[[], int]
    ) -> None:
        self.state = state
        self.capabilities = capabilities
        self.clock_ms = clock_ms

    def check(self, spec: JobSpec) -> tuple[Finding, ...]:
        return tuple(
            Finding(severity=Severity.ERROR, subject=subject, message=message, fix=fix)
            for subject, message, fix in self._problems(spec)
        )

    def preview(self, spec: JobSpec) -> JobPreview:
        self._refuse(spec, "jobs.preview")
        return JobPreview(request=shown_spec(spec), is_spot=spec.compute.spot)

    def submit(self, spec: JobSpec, *, key: str) -> JobState:
        self._refuse(spec, "jobs.submit")
        with self.state.changed:
            known = self._find_key(key)
            if known is not None:
                if known.spec != spec:
                    raise Conflict(f"key {key!r} is another job's", adapter=NAME, hint="use another key")
                return self._state(known)
            job = MemoryJob(job_id=mint_id(), spec=spec, submit_time=self.clock_ms())
            self.state.jobs[job.job_id] = job
            self.state.keys[key] = job.job_id
            state = self._state(job)
        threading.Thread(target=self._run, args=(job,), daemon=True).start()
        return state

    def status(self, job_id: str) -> JobState:
        with self.state.changed:
            return self._state(self._find(job_id))

    def cancel(self, job_id: str) -> None:
        with self.state.changed:
            self._find(job_id).cancelled.set()
            self.state.changed.notify_all()

    def read_logs(self, job_id: str, *, cursor: str = "", tail_bytes: int | None = None) -> LogChunk:
        self._require(Feature.JOBS_LOGS, "jobs.read_logs")
        with self.state.changed:
            job = self._find(job_id)
            start = _offset_of(job, cursor)
            if tail_bytes is not None and not cursor:
                start = self.tail_start(job, tail_bytes)
            piece = self.piece(job, start)
            has_all = start + len(piece) == len(job.log)
            end = start + len(piece)
            if not (has_all and job.status.is_final):
                end -= incomplete_bytes(piece)
            text = bytes(job.log[start:end]).decode("utf-8", "replace")
            done = end == len(job.log) and job.status.is_final
            return LogChunk(text=text, cursor=f"{job_id}:{end}", done=done)

    def list_jobs(self, *, max_results: int = 1000, token: str | None = None) -> Page[JobState]:
        self._require(Feature.JOBS_LIST, "jobs.list_jobs")
        if max_results < 1:
            raise InvalidInput(f"max_results is {max_results}", adapter=NAME, hint="ask for at least 1")
        with self.state.changed:
            states = [self._state(job) for job in reversed(self.state.jobs.values())]
        return page_of(states, min(max_results, self.capabilities.limits.page_items_max), token, "list_jobs")

    def tail_start(self, job: MemoryJob, tail_bytes: int) -> int:
        start = max(0, len(job.log) - tail_bytes)
        return start + begun_before(bytes(job.log[start:]))

    def _refuse(self, spec: JobSpec, operation: str) -> None:
        for feature in features_of(spec):
            self._require(feature, operation)
        for subject, message, fix in self._problems(spec):
            raise Rejected(message, adapter=NAME, operation=operation, resource=subject, hint=fix)

    def _require(self, feature: Feature, operation: str) -> None:
        self.capabilities.require(feature, operation=operation)

    def _find(self, job_id: str) -> MemoryJob:
        found = self.state.jobs.get(job_id)
        if found is None:
            raise NotFound(f"there is no job {job_id[:80]!r}", adapter=NAME, hint="list the jobs")
        return found

    def _find_key(self, key: str) -> MemoryJob | None:
        job_id = self.state.keys.get(key)
        return self.state.jobs[job_id] if job_id is not None else None

    def _state(self, job: MemoryJob) -> JobState:
        return JobState(
            job_id=job.job_id,
            status=job.status,
            name=job.spec.name,
            exit_code=job.exit_code,
            reason=job.reason,
            run_id=job.spec.run_id,
            tracking_uri=job.spec.tracking_uri,
            attempt=job.attempt,
            submit_time=job.submit_time,
            start_time=job.start_time,
            end_time=job.end_time,
            kept_uri=file_uri(Path(self.kept(job))),
        )

    def _problems(self, spec: JobSpec) -> Iterator[tuple[str, str, str]]:
        for problem in job_problems(spec):
            yield problem.subject, problem.message, problem.fix
        for feature in features_of(spec):
            if not self.capabilities.supports(feature):
                yield "compute", f"{feature.value} is not supported", "leave it out"
        yield from _wrong_places(spec)
        if spec.code_dir is not None and not Path(spec.code_dir).is_dir():
            yield "code_dir", f"{spec.code_dir} is not a folder", "name one that exists"
        if spec.environment.image or spec.environment.conda_file:
            yield "environment", "memory makes no environments", "leave it out"
        for name, reference in spec.secrets.items():
            if not reference.startswith(("env:", "file:")):
                yield "secrets", f"{name} has no reference that memory knows", "write env:NAME or file:PATH"

    def _run(self, job: MemoryJob) -> None:
        """Wait for the job's turn, and start its command as often as it takes."""
        with self.state.changed:
            self.state.changed.wait_for(lambda: job.cancelled.is_set() or self._has_turn(job))
            if job.cancelled.is_set():
                self.end(job, JobStatus.CANCELLED, "cancelled before it was started")
                return
            job.status, job.start_time = JobStatus.STARTING, self.clock_ms()
            self.state.changed.notify_all()  # the next may be first in the queue now
        status, reason = JobStatus.FAILED, ""
        for _ in range(job.spec.attempts_max):
            status, reason = self._attempt(job)
            if status is not JobStatus.FAILED:
                break
        self.end(job, status, reason)

    def _has_turn(self, job: MemoryJob) -> bool:
        active = [other for other in self.state.jobs.values() if not other.status.is_final]
        waiting = [other for other in active if other.status is JobStatus.QUEUED]
        return waiting[0] is job and len(active) - len(waiting) < self.state.parallel_max

    def _attempt(self, job: MemoryJob) -> tuple[JobStatus, str]:
        try:
            process = self.start(job)
        except (OSError, BridgeError) as error:
            return JobStatus.FAILED, f"it cannot be started: {error}"
        with self.state.changed:
            job.status, job.attempt = JobStatus.RUNNING, job.attempt + 1
        reader = threading.Thread(target=self._copy_log, args=(job, process), daemon=True)
        reader.start()
        stopped = self._wait(job, process)
        code = process.wait()
        self.kill(process, signal.SIGKILL)
        reader.join(LOG_S)
        job.exit_code = code
        if code == 0 and not stopped:
            return JobStatus.SUCCEEDED, ""
        if job.cancelled.is_set():
            return JobStatus.CANCELLED, "cancelled"
        return JobStatus.FAILED, stopped or _reason_of(code)

    def start(self, job: MemoryJob) -> subprocess.Popen[bytes]:
        """Start the command in a group of its own, or several with one that waits for them."""
        secrets = {name: _secret(reference) for name, reference in job.spec.secrets.items()}
        places, variables = self.data(job)
        command = [filled(word, places) for word in job.spec.command]
        started = self.processes(job, command)
        words, more = started[0]
        if len(started) > 1:
            each = json.dumps([more for _, more in started])
            words, more = [sys.executable, job_ranks.__file__, each, *words], {}
        own = {"BRIDGE_JOB_ID": job.job_id, "BRIDGE_HOME": self.kept(job)}
        return subprocess.Popen(
            words,
            cwd=job.spec.code_dir,
            env={**os.environ, **job.spec.variables, **secrets, **variables, **own, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def processes(self, job: MemoryJob, command: list[str]) -> list[tuple[list[str], dict[str, str]]]:
        """Return what is started, each with its own variables."""
        return launched(
            job.spec.launcher.value,
            command,
            sys.executable,
            processes=job.spec.processes_per_node,
            machines=Machines(),
            all_ranks_track=job.spec.all_ranks_track,
        )

    def data(self, job: MemoryJob) -> tuple[dict[str, str], dict[str, str]]:
        """Return where inputs, outputs and checkpoints are: for the words, and as variables."""
        spec = job.spec
        for folder in (*spec.outputs.values(), spec.checkpoints or "."):
            os.makedirs(folder, exist_ok=True)
        inputs = {f"inputs.{name}": place for name, place in spec.inputs.items()}
        outputs = {f"outputs.{name}": place for name, place in spec.outputs.items()}
        variables = {
            **{f"BRIDGE_INPUT_{name.upper()}": place for name, place in spec.inputs.items()},
            **{f"BRIDGE_OUTPUT_{name.upper()}": place for name, place in spec.outputs.items()},
        }
        if spec.checkpoints is None:
            return {**inputs, **outputs}, variables
        kept = {**variables, "BRIDGE_CHECKPOINTS": spec.checkpoints}
        return {**inputs, **outputs, "checkpoints": spec.checkpoints}, kept

    def kept(self, job: MemoryJob) -> str:
        """Return the folder of the journals of a job's programs."""
        return os.path.join(self.state.home.name, job.job_id)

    def _wait(self, job: MemoryJob, process: subprocess.Popen[bytes]) -> str:
        """Wait for the end, and bring it about when it is due; return why it was."""
        limit = job.spec.time_limit_s
        deadline = time.monotonic() + limit if limit is not None else float("inf")
        stopped, kill_at = "", float("inf")
        while process.poll() is None:
            if not stopped and (job.cancelled.is_set() or time.monotonic() > deadline):
                stopped = (
                    "cancelled" if job.cancelled.is_set() else f"the time limit of {limit} s was reached"
                )
                self.kill(process, signal.SIGTERM)
                kill_at = time.monotonic() + NOTICE_S
            if time.monotonic() > kill_at:
                self.kill(process, signal.SIGKILL)
            time.sleep(0.01)
        return stopped

    def kill(self, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        """Signal the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    def _copy_log(self, job: MemoryJob, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as stream:
            while part := os.read(stream.fileno(), LOG_BYTES_MAX):
                with self.state.changed:
                    job.log += part

    def end(self, job: MemoryJob, status: JobStatus, reason: str) -> None:
        """Record the end."""
        with self.state.changed:
            job.status, job.reason, job.end_time = status, reason, self.clock_ms()
            self.state.changed.notify_all()

    def piece(self, job: MemoryJob, start: int) -> bytes:
        """Return the bytes of the log from there on, as many as one answer may hold."""
        return bytes(job.log[start : start + LOG_BYTES_MAX])


def _wrong_places(spec: JobSpec) -> Iterator[tuple[str, str, str]]:
    if spec.compute.instance_count > 1 or spec.launcher is Launcher.SPARK:
        yield "compute", "there is one machine, without Spark", "ask for several processes on it"
    for name, place in spec.inputs.items():
        if "\0" not in place and not os.path.exists(place):
            yield "inputs", f"{name} is not at {place}", "name a file or folder that is there"
    for field_name, places in (("outputs", spec.outputs.values()), ("checkpoints", [spec.checkpoints or ""])):
        if any("://" in place for place in places):
            yield field_name, "memory writes to folders alone", "name a folder"


def _secret(reference: str) -> str:
    kind, _, where = reference.partition(":")
    value = os.environ.get(where) if kind == "env" else Path(where).read_text().rstrip("\n")
    if value is None:
        raise NotFound(f"the secret {reference} is not there", adapter=NAME, hint="set it")
    return value


def _reason_of(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _offset_of(job: MemoryJob, cursor: str) -> int:
    if not cursor:
        return 0
    job_id, _, offset = cursor.partition(":")
    if job_id == job.job_id and offset.isascii() and offset.isdigit() and int(offset) <= len(job.log):
        return int(offset)
    raise InvalidInput("the cursor was not given out for this job", adapter=NAME, hint="begin with none")


def incomplete_bytes(piece: bytes) -> int:
    """Return how many bytes at the end are the beginning of a character."""
    for count in range(1, min(4, len(piece) + 1)):
        byte = piece[-count]
        if byte & 0xC0 == 0x80:
            continue
        length = 2 if byte >> 5 == 0b110 else 3 if byte >> 4 == 0b1110 else 4 if byte >> 3 == 0b11110 else 1
        return count if length > count else 0
    return 0
