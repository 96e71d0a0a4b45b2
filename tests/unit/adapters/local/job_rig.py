"""Jobs of a local store in a temporary folder, their runners and processes; nothing is left behind."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from trackbridge.domain.file_uris import file_uri
from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import JobSpec, JobState, JobStatus
from trackbridge.ports.adapter import AdapterContext
from trackbridge_adapters.local import open_adapter
from trackbridge_adapters.local.adapter import LocalAdapter
from trackbridge_adapters.local.job_files import JobFiles

if TYPE_CHECKING:
    import psutil

PATIENCE_S = 60.0
FOREVER = "import time\nwhile True: time.sleep(1)"

BEATING = """
import sys, time
with open(sys.argv[1], "ab", buffering=0) as beats:
    while True:
        beats.write(b".")
        time.sleep(0.01)
"""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Rig:
    """One store and its jobs, at most one at a time unless said otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "a store, 100% ours?#"
        self.opened: list[LocalAdapter] = []
        self.adapter = self.open()
        self.jobs = self.adapter.jobs
        self.runners: set[int] = set()
        self.submitted: list[str] = []

    def open(self, **options: str) -> LocalAdapter:
        given = {"jobs_parallel_max": "1", "jobs_notice_s": "0.5", **options}
        context = AdapterContext(home=self.store, options=given, clock_ms=now_ms)
        adapter = open_adapter(file_uri(self.store), context=context)
        assert isinstance(adapter, LocalAdapter)
        self.opened.append(adapter)
        return adapter

    def close(self) -> None:
        """Cancel what is left, and wait for the runners to end."""
        if self.store.exists():
            for job_id in self.submitted:
                self.jobs.cancel(job_id)
            for job_id in self.submitted:
                self.ended(job_id)
        until(lambda: not any(is_runner(process) for process in self.processes()))
        for adapter in self.opened:
            adapter.close()

    def spec(self, code: str = "", **fields: object) -> JobSpec:
        spec = JobSpec(name="job", command=(sys.executable, "-c", code))
        return msgspec.structs.replace(spec, **fields)

    def submit(self, code: str = "", *, key: str | None = None, **fields: object) -> str:
        state = self.jobs.submit(self.spec(code, **fields), key=key or mint_id())
        self.submitted.append(state.job_id)
        return state.job_id

    def run(self, code: str = "", **fields: object) -> JobState:
        return self.ended(self.submit(code, **fields))

    def ended(self, job_id: str) -> JobState:
        until(lambda: self.jobs.status(job_id).status.is_final)
        return self.jobs.status(job_id)

    def becomes(self, job_id: str, status: JobStatus) -> None:
        until(lambda: self.jobs.status(job_id).status is status)

    def files(self, job_id: str) -> JobFiles:
        return JobFiles(os.fspath(self.store), job_id)

    def log(self, job_id: str) -> str:
        return "".join(self._pieces(job_id))

    def _pieces(self, job_id: str) -> Iterator[str]:
        cursor = ""
        while True:
            chunk = self.jobs.read_logs(job_id, cursor=cursor)
            yield chunk.text
            if chunk.done:
                return
            cursor = chunk.cursor

    def processes(self, job_id: str | None = None) -> list[psutil.Process]:
        """Return the processes of a job, or of all jobs submitted here, with their runners."""
        import psutil

        wanted = self.submitted if job_id is None else [job_id]
        return [process for process in psutil.process_iter() if job_of(process) in wanted]

    def runner(self, job_id: str) -> psutil.Process:
        """Return the runner of a job, once it has begun."""
        until(lambda: self.files(job_id).was_started())
        (runner,) = [process for process in self.processes(job_id) if is_runner(process)]
        return runner

    def kill_runner(self, job_id: str) -> None:
        runner = self.runner(job_id)
        runner.kill()
        until(lambda: not is_alive(runner))


def job_of(process: psutil.Process) -> str | None:
    import psutil

    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.environ().get("BRIDGE_JOB_ID")
    except psutil.Error:
        return None


def is_runner(process: psutil.Process) -> bool:
    import psutil

    try:
        return any("job_runner" in word for word in process.cmdline())
    except psutil.Error:
        return False


def is_alive(process: psutil.Process) -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def until(holds: Callable[[], bool]) -> None:
    """Wait for something to hold."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, f"it did not happen within {PATIENCE_S} s"
        time.sleep(0.01)


def touches(path: Path) -> str:
    """Return code that makes a file."""
    return f"open({str(path)!r}, 'a').close()\n"


def waits_for(path: Path) -> str:
    """Return code that waits for a file."""
    return f"import os, time\nwhile not os.path.exists({str(path)!r}): time.sleep(0.01)\n"


def is_still(beats: Path) -> bool:
    """Tell whether a process that beats has ended."""
    before = beats.stat().st_size
    time.sleep(0.2)
    return beats.stat().st_size == before
