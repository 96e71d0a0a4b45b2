"""Job backends that break the contract, each in one way, to see that the suite notices."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from tests.support.memory_adapter import MemoryAdapter
from tests.support.memory_jobs import MemoryJob, MemoryJobs
from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import Compute, JobPreview, JobSpec, JobState, JobStatus, Launcher, LogChunk
from trackbridge.domain.paging import Page
from trackbridge.errors import Conflict
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
    def read_logs(self, job_id: str, *, cursor: str = "", tail_bytes: int | None = None) -> LogChunk:
        chunk = super().read_logs(job_id, cursor=cursor, tail_bytes=tail_bytes)
        if chunk.done or not chunk.text:
            return chunk
        number = int(chunk.cursor.rpartition(":")[2])
        return msgspec.structs.replace(chunk, cursor=f"{job_id}:{number + 1}")


class SendsTheWholeLog(MemoryJobs):
    def piece(self, job: MemoryJob, start: int) -> bytes:
        return bytes(job.log[start:])


class CutsCharacters(MemoryJobs):
    """Gives each piece as it comes, and with it halves of characters."""

    def read_logs(self, job_id: str, *, cursor: str = "", tail_bytes: int | None = None) -> LogChunk:
        job = self._find(job_id)
        start = int(cursor.rpartition(":")[2] or 0)
        piece = self.piece(job, start)
        end = start + len(piece)
        done = job.status.is_final and end == len(job.log)
        return LogChunk(text=piece.decode("utf-8", "replace"), cursor=f"{job_id}:{end}", done=done)


class IsDoneTooEarly(MemoryJobs):
    def read_logs(self, job_id: str, *, cursor: str = "", tail_bytes: int | None = None) -> LogChunk:
        return msgspec.structs.replace(
            super().read_logs(job_id, cursor=cursor, tail_bytes=tail_bytes), done=True
        )


class TakesAnyCursor(MemoryJobs):
    def read_logs(self, job_id: str, *, cursor: str = "", tail_bytes: int | None = None) -> LogChunk:
        offset = cursor.rpartition(":")[2]
        return super().read_logs(job_id, cursor=f"{job_id}:{offset}" if offset.isdigit() else "")


class LeavesOutTooMuch(MemoryJobs):
    def tail_start(self, job: MemoryJob, tail_bytes: int) -> int:
        return super().tail_start(job, tail_bytes // 2)


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


# Previews.


class PreviewsAnything(MemoryJobs):
    def preview(self, spec: JobSpec) -> JobPreview:
        return JobPreview(request={"command": list(spec.command)})


class PreviewsBySubmitting(MemoryJobs):
    def preview(self, spec: JobSpec) -> JobPreview:
        self.submit(spec, key=mint_id())
        return super().preview(spec)


class PreviewsWithATime(MemoryJobs):
    def preview(self, spec: JobSpec) -> JobPreview:
        preview = super().preview(spec)
        return msgspec.structs.replace(preview, request={**preview.request, "time": time.monotonic_ns()})


class PreviewsNoCommand(MemoryJobs):
    def preview(self, spec: JobSpec) -> JobPreview:
        return msgspec.structs.replace(super().preview(spec), request={"name": spec.name})


class PreviewsValues(MemoryJobs):
    """Shows what the references of secrets lead to."""

    def preview(self, spec: JobSpec) -> JobPreview:
        values = {reference: os.environ.get(reference[4:]) for reference in spec.secrets.values()}
        return msgspec.structs.replace(super().preview(spec), request={"command": [], "secrets": values})


class PreviewsVariables(MemoryJobs):
    """Shows variables as they are, whatever their names say."""

    def preview(self, spec: JobSpec) -> JobPreview:
        preview = super().preview(spec)
        return msgspec.structs.replace(preview, request={**preview.request, "variables": spec.variables})


class TakesNothingThatItPreviewed(MemoryJobs):
    previewed: tuple[JobSpec, ...] = ()

    def preview(self, spec: JobSpec) -> JobPreview:
        self.previewed = (*self.previewed, spec)
        return super().preview(spec)

    def submit(self, spec: JobSpec, *, key: str) -> JobState:
        if spec in self.previewed:
            raise Conflict("it was submitted already", hint="do not preview")
        return super().submit(spec, key=key)


class CountsIgnoredCode(MemoryJobs):
    def preview(self, spec: JobSpec) -> JobPreview:
        files = [path for path in Path(spec.code_dir or ".").rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        return msgspec.structs.replace(super().preview(spec), files=len(files), file_bytes=size)


class BillsWithoutLimit(MemoryJobs):
    def preview(self, spec: JobSpec) -> JobPreview:
        return msgspec.structs.replace(super().preview(spec), billed_to="somebody")


class HidesSpot(MemoryJobs):
    def preview(self, spec: JobSpec) -> JobPreview:
        return msgspec.structs.replace(super().preview(spec), is_spot=False)


# Data.


class BringsNoInputs(MemoryJobs):
    def data(self, job: MemoryJob) -> tuple[dict[str, str], dict[str, str]]:
        job.spec = msgspec.structs.replace(job.spec, inputs=dict.fromkeys(job.spec.inputs, self.kept(job)))
        return super().data(job)


class MixesInputs(MemoryJobs):
    def data(self, job: MemoryJob) -> tuple[dict[str, str], dict[str, str]]:
        last = list(job.spec.inputs.values())[-1]
        job.spec = msgspec.structs.replace(job.spec, inputs=dict.fromkeys(job.spec.inputs, last))
        return super().data(job)


class FillsNoWords(MemoryJobs):
    def data(self, job: MemoryJob) -> tuple[dict[str, str], dict[str, str]]:
        return {}, super().data(job)[1]


class LosesOutputs(MemoryJobs):
    def data(self, job: MemoryJob) -> tuple[dict[str, str], dict[str, str]]:
        elsewhere = {name: f"{self.kept(job)}/{name}" for name in job.spec.outputs}
        job.spec = msgspec.structs.replace(job.spec, outputs=elsewhere)
        return super().data(job)


class ForgetsCheckpoints(MemoryJobs):
    def data(self, job: MemoryJob) -> tuple[dict[str, str], dict[str, str]]:
        shutil.rmtree(job.spec.checkpoints or "", ignore_errors=True)
        return super().data(job)


class ChecksNoInputs(MemoryJobs):
    def check(self, spec: JobSpec) -> tuple[Finding, ...]:
        return tuple(finding for finding in super().check(spec) if finding.subject != "inputs")


class ChecksNoPlaces(MemoryJobs):
    def check(self, spec: JobSpec) -> tuple[Finding, ...]:
        subjects = ("inputs", "outputs", "checkpoints")
        return tuple(finding for finding in super().check(spec) if finding.subject not in subjects)


class TakesWhatItFoundWrong(MemoryJobs):
    def _refuse(self, spec: JobSpec, operation: str) -> None:
        return


class TakesDataSilently(MemoryJobs):
    def submit(self, spec: JobSpec, *, key: str) -> JobState:
        plain = msgspec.structs.replace(spec, inputs={}, outputs={}, checkpoints=None)
        return super().submit(plain, key=key)


# What is kept, and what the program knows.


class ForgetsJournals(MemoryJobs):
    def end(self, job: MemoryJob, status: JobStatus, reason: str) -> None:
        shutil.rmtree(self.kept(job), ignore_errors=True)
        super().end(job, status, reason)


class DropsMlflowsVariables(MemoryJobs):
    """Takes away what the platform has preset, and with it what the spec says."""

    def start(self, job: MemoryJob) -> subprocess.Popen[bytes]:
        left = {name: value for name, value in job.spec.variables.items() if not name.startswith("MLFLOW_")}
        job.spec = msgspec.structs.replace(job.spec, variables=left)
        return super().start(job)


class NamesNoJob(MemoryJobs):
    def processes(self, job: MemoryJob, command: list[str]) -> list[tuple[list[str], dict[str, str]]]:
        return [(words, {**own, "BRIDGE_JOB_ID": ""}) for words, own in super().processes(job, command)]


# Several processes.


class StartsOne(MemoryJobs):
    def processes(self, job: MemoryJob, command: list[str]) -> list[tuple[list[str], dict[str, str]]]:
        return super().processes(job, command)[:1]


class WaitsForAll(MemoryJobs):
    """Lets the others go on when one has failed."""

    def processes(self, job: MemoryJob, command: list[str]) -> list[tuple[list[str], dict[str, str]]]:
        patient = ["sh", "-c", '"$@" || sleep 1000', "sh", *command]
        return super().processes(job, patient)


class IgnoresTorchrun(MemoryJobs):
    def processes(self, job: MemoryJob, command: list[str]) -> list[tuple[list[str], dict[str, str]]]:
        job.spec = msgspec.structs.replace(job.spec, launcher=Launcher.DIRECT)
        return super().processes(job, command)[:1]


class IgnoresMpi(IgnoresTorchrun):
    pass


class LetsAllTrack(MemoryJobs):
    def processes(self, job: MemoryJob, command: list[str]) -> list[tuple[list[str], dict[str, str]]]:
        job.spec = msgspec.structs.replace(job.spec, all_ranks_track=True)
        return super().processes(job, command)


class TakesSeveralMachines(MemoryJobs):
    def _problems(self, spec: JobSpec) -> Iterator[tuple[str, str, str]]:
        return super()._problems(msgspec.structs.replace(spec, compute=Compute()))


def lying_jobs(jobs: Callable[..., MemoryJobs] = MemoryJobs, **options: Any) -> MemoryAdapter:
    """Return an adapter in memory whose job backend lies."""
    adapter = MemoryAdapter(**options)
    honest = adapter.jobs
    assert isinstance(honest, MemoryJobs)
    adapter.jobs = jobs(honest.state, adapter.capabilities(), honest.clock_ms)
    return adapter


NO_SPOT = {Feature.JOBS_SPOT: "spot is switched off here"}
NO_DATA = {Feature.JOBS_DATA: "data is switched off here"}
