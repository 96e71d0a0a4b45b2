"""One job's life, in a thread of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trackbridge.testing.emulators.containers import Container
from trackbridge.testing.emulators.sagemaker.container_logs import LogStream
from trackbridge.testing.emulators.sagemaker.containers import Containers
from trackbridge.testing.emulators.sagemaker.core import Cloud
from trackbridge.testing.emulators.sagemaker.jobs_records import REASON_CHARS_MAX, Job, Jobs, change

POLL_S = 0.02
"""How often the containers of a job are looked at."""


class Failed(Exception):
    """A job has failed; the text is its FailureReason."""


class Ended(Exception):
    """The emulator is closing: the job is left as it is."""


class Host:
    """One instance of a job: its folder, its log and its container."""

    def __init__(self, cloud: Cloud, job: Job, number: int) -> None:
        self.name = f"algo-{number}"
        self._cloud = cloud
        self._jobs = cloud.part(Jobs)
        self._containers = cloud.part(Containers)
        self.folder = self._containers.folder(f"{job.name}-{self.name}")
        self.ml = self.folder / "opt" / "ml"
        stream = f"{job.name}/{self.name}-{int(cloud.now_s())}"
        self.log = LogStream(cloud, job.kind.log_group, stream)
        self.role: str = job.asked.get("RoleArn", "")
        self.container: Container | None = None

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], on_line: Callable[[str], None]
    ) -> None:
        """Start the job's command.

        Raises:
            Failed: It cannot be started.
        """

        def take(line: str) -> None:
            self._log(line)
            on_line(line)

        try:
            self.container = self._containers.start(
                command, folder=self.folder, role=self.role, environment=environment, on_line=take
            )
        except OSError as error:
            told = f"unable to start container process: {error.strerror or error}: {command[0]}"
            raise Failed(f"AlgorithmError: {told}, exit code: 127") from error

    def _log(self, line: str) -> None:
        late_s = self._jobs.logs_late_s
        if late_s:
            self._cloud.later(late_s, lambda: self.log.write(line))
        else:
            self.log.write(line)

    def leave(self) -> None:
        """End the container, and remove what it wrote here."""
        self._containers.discard(self.container, self.folder)
        self.container = None


class Run(ABC):
    """A job's life; the kinds of jobs say what each step does."""

    def __init__(self, cloud: Cloud, job: Job) -> None:
        self.cloud = cloud
        self.job = job
        self.settings = cloud.part(Jobs)
        self.hosts: list[Host] = []

    def begin(self) -> None:
        """Start the thread."""
        self.job.thread = threading.Thread(target=self._run, name=self.job.name, daemon=True)
        self.job.thread.start()

    @abstractmethod
    def live(self) -> None:
        """Live from the first step to the last.

        Raises:
            Failed: The job fails.
            Ended: The emulator closes.
        """

    def _run(self) -> None:
        try:
            self.live()
        except Failed as failure:
            self.job.failure_reason = str(failure)[:REASON_CHARS_MAX]
            change(self.cloud, self.job, "Failed", "Failed", self.job.failure_reason)
        except Ended:
            return
        except Exception as error:  # a fault of the emulator, kept for whoever tests
            self.cloud.clock.errors.append(error)
            self.job.failure_reason = f"InternalServerError: {type(error).__name__}: {error}"
            change(self.cloud, self.job, "Failed", "Failed", self.job.failure_reason)
        finally:
            self.leave_hosts()

    def leave_hosts(self) -> None:
        """End all containers and remove their folders."""
        for host in self.hosts:
            host.leave()
        self.hosts = []

    def enter(self, secondary: str, message: str, seconds: float) -> None:
        """Go to a step, and let it take its time; a wanted end cuts it short.

        Raises:
            Ended: The emulator closes.
        """
        status = "Stopping" if self.job.wanted_end else "InProgress"
        change(self.cloud, self.job, status, secondary, message)
        if seconds:
            self.job.pauses.wait(seconds, until=lambda: self.job.wanted_end is not None)
        self.check_open()

    def check_open(self) -> None:
        """Leave when the emulator closes.

        Raises:
            Ended: It closes.
        """
        if self.job.pauses.is_ended:
            raise Ended

    def limit(self, seconds: float | None, why: str) -> None:
        """Let the job be stopped when it takes longer."""
        if seconds is None:
            return

        def stop() -> None:
            if not self.job.is_ended and self.job.wanted_end is None:
                self.job.wanted_end = why
                self.job.pauses.wake()

        self.cloud.later(seconds, stop)

    def watch(self, meanwhile: Callable[[], None]) -> list[int] | None:
        """Wait until the containers have ended; returns their exit codes, None when they shall be ended.

        One that fails ends the wait. ``meanwhile`` is called again and again.

        Raises:
            Ended: The emulator closes.
        """
        while True:
            self.check_open()
            codes = [host.container.exit_code if host.container else 0 for host in self.hosts]
            if all(code is not None for code in codes) or any(codes):
                self._join_output()
                return [code or 0 for code in codes]
            if self.job.wanted_end or self.job.disturbance:
                return None
            meanwhile()
            self._nap()

    def _nap(self) -> None:
        first = next((host.container for host in self.hosts if host.container), None)
        if first is not None and first.exit_code is None:
            first.wait(POLL_S)
        else:
            time.sleep(POLL_S)

    def _join_output(self) -> None:
        for host in self.hosts:
            if host.container and host.container.exit_code is not None:
                host.container.wait(POLL_S)

    def end_containers(self) -> None:
        """Ask the containers to end; kill those that do not within the grace."""
        for host in self.hosts:
            if host.container:
                host.container.terminate()
        until = time.monotonic() + self.settings.grace_s
        for host in self.hosts:
            if host.container:
                while not host.container.ends_within(POLL_S) and time.monotonic() < until:
                    self.check_open()
                host.container.kill()


def text_of(path: Path, chars_max: int = REASON_CHARS_MAX) -> str:
    """Return the beginning of a file that a container wrote; empty when there is none."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(4 * chars_max).decode("utf-8", "replace")[:chars_max].strip()
    return ""
