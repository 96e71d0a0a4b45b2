"""Job backends that break the contract, each in one way, to see that the suite notices."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from tests.support.memory_adapter import MemoryAdapter
from tests.support.memory_jobs import MemoryJob, MemoryJobs
from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import JobSpec, JobState, JobStatus, LogChunk
from trackbridge.domain.paging import Page
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.findings import Finding


class IgnoresKeys(MemoryJobs):
    def _find_key(self, key: str) -> MemoryJob | None:
        return None


class LooksBeforeItStarts(MemoryJobs):
    """Looks for the key, waits for others, and then starts the job."""

    def submit(self, spec: JobSpec, *, key: str) -> JobState:
        known = self.state.keys.get(key)
        time.sleep(0.01)
        if known is None:
            return super().submit(spec, key=mint_id())
        return super().submit(spec, key=key)


class StartsTwice(MemoryJobs):
    """One job by its id, but its command is started by each submission."""

    def submit(self, spec: JobSpec, *, key: str) -> JobState:
        state = super().submit(spec, key=key)
        super().submit(spec, key=mint_id())
        return state


class ForgetsTheSpecOfAKey(MemoryJobs):
    def submit(self, spec: JobSpec, *, key: str) -> JobState:
        known = self._find_key(key)
        return super().submit(known.spec if known else spec, key=key)


class KillsTheLeaderAlone(MemoryJobs):
    """Leaves what the program has started."""

    def kill(self, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        if process.poll() is None:
            process.send_signal(number)


class ForgetsWhatOutlivesTheLeader(MemoryJobs):
    """Ends all processes when it is asked to, but not what goes on after a program's own end."""

    def kill(self, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        if process.returncode is None:
            super().kill(process, number)


class KillsAtOnce(MemoryJobs):
    def kill(self, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        super().kill(process, signal.SIGKILL)


class LosesAByteBetweenPieces(MemoryJobs):
    def read_logs(self, job_id: str, *, cursor: str = "") -> LogChunk:
        chunk = super().read_logs(job_id, cursor=cursor)
        if chunk.done or not chunk.text:
            return chunk
        number = int(chunk.cursor.rpartition(":")[2])
        return msgspec.structs.replace(chunk, cursor=f"{job_id}:{number + 1}")


class SendsTheWholeLog(MemoryJobs):
    def piece(self, job: MemoryJob, start: int) -> bytes:
        return bytes(job.log[start:])


class CutsCharacters(MemoryJobs):
    """Gives each piece as it comes, and with it halves of characters."""

    def read_logs(self, job_id: str, *, cursor: str = "") -> LogChunk:
        job = self._find(job_id)
        start = int(cursor.rpartition(":")[2] or 0)
        piece = self.piece(job, start)
        end = start + len(piece)
        done = job.status.is_final and end == len(job.log)
        return LogChunk(text=piece.decode("utf-8", "replace"), cursor=f"{job_id}:{end}", done=done)


class IsDoneTooEarly(MemoryJobs):
    def read_logs(self, job_id: str, *, cursor: str = "") -> LogChunk:
        return msgspec.structs.replace(super().read_logs(job_id, cursor=cursor), done=True)


class TakesAnyCursor(MemoryJobs):
    def read_logs(self, job_id: str, *, cursor: str = "") -> LogChunk:
        offset = cursor.rpartition(":")[2]
        return super().read_logs(job_id, cursor=f"{job_id}:{offset}" if offset.isdigit() else "")


class CancelsTheEnded(MemoryJobs):
    def cancel(self, job_id: str) -> None:
        super().cancel(job_id)
        job = self._find(job_id)
        if job.status.is_final:
            job.status = JobStatus.CANCELLED


class CallsEveryEndASuccess(MemoryJobs):
    def end(self, job: MemoryJob, status: JobStatus, reason: str) -> None:
        super().end(job, JobStatus.SUCCEEDED, "")


class CallsALeaveAtTheLimitASuccess(MemoryJobs):
    def end(self, job: MemoryJob, status: JobStatus, reason: str) -> None:
        super().end(job, JobStatus.SUCCEEDED if job.exit_code == 0 else status, reason)


class TriesOnce(MemoryJobs):
    def submit(self, spec: JobSpec, *, key: str) -> JobState:
        return super().submit(msgspec.structs.replace(spec, attempts_max=min(spec.attempts_max, 1)), key=key)


class IgnoresTheTimeLimit(MemoryJobs):
    def _wait(self, job: MemoryJob, process: subprocess.Popen[bytes]) -> str:
        job.spec = msgspec.structs.replace(job.spec, time_limit_s=None)
        return super()._wait(job, process)


class TellsSecrets(MemoryJobs):
    """Shows with what the program was started."""

    def start(self, job: MemoryJob) -> subprocess.Popen[bytes]:
        import os

        self.values = {os.environ.get(reference[4:]) for reference in job.spec.secrets.values()}
        return super().start(job)

    def _state(self, job: MemoryJob) -> JobState:
        state = super()._state(job)
        return msgspec.structs.replace(state, reason=f"{state.reason} {getattr(self, 'values', '')}")


class UsesAShell(MemoryJobs):
    def start(self, job: MemoryJob) -> subprocess.Popen[bytes]:
        quoted = " ".join(f'"{word}"' for word in job.spec.command)
        job.spec = msgspec.structs.replace(job.spec, command=("sh", "-c", quoted))
        return super().start(job)


class ForgetsTheFolder(MemoryJobs):
    def start(self, job: MemoryJob) -> subprocess.Popen[bytes]:
        job.spec = msgspec.structs.replace(job.spec, code_dir=None)
        return super().start(job)


class ChecksNothing(MemoryJobs):
    def check(self, spec: JobSpec) -> tuple[Finding, ...]:
        return ()


class TakesSpotSilently(MemoryJobs):
    def submit(self, spec: JobSpec, *, key: str) -> JobState:
        plain = msgspec.structs.replace(spec.compute, spot=False)
        return super().submit(msgspec.structs.replace(spec, compute=plain), key=key)


class ListsOldestJobsFirst(MemoryJobs):
    def list_jobs(self, *, max_results: int = 1000, token: str | None = None) -> Page[JobState]:
        page = super().list_jobs(max_results=max_results, token=token)
        return msgspec.structs.replace(page, items=page.items[::-1])


class RaisesKeyError(MemoryJobs):
    def _find(self, job_id: str) -> MemoryJob:
        return self.state.jobs[job_id]


class WaitsInSubmit(MemoryJobs):
    """Returns from a submission once the job has ended, or after a while."""

    def submit(self, spec: JobSpec, *, key: str) -> JobState:
        state = super().submit(spec, key=key)
        threading.Thread(target=self._stop_soon, args=(state.job_id,), daemon=True).start()
        while not self.status(state.job_id).status.is_final:
            time.sleep(0.01)
        return self.status(state.job_id)

    def _stop_soon(self, job_id: str) -> None:
        time.sleep(0.5)
        self.cancel(job_id)


def lying_jobs(jobs: Callable[..., MemoryJobs] = MemoryJobs, **options: Any) -> MemoryAdapter:
    """Return an adapter in memory whose job backend lies."""
    adapter = MemoryAdapter(**options)
    honest = adapter.jobs
    assert isinstance(honest, MemoryJobs)
    adapter.jobs = jobs(honest.state, adapter.capabilities(), honest.clock_ms)
    return adapter


NO_SPOT = {Feature.JOBS_SPOT: "spot is switched off here"}
