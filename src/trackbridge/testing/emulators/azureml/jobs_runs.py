"""One job's life, in a thread of its own: queued, run as processes of this machine, its files kept."""

from __future__ import annotations

import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from trackbridge.testing.emulators.azureml.containers import Containers
from trackbridge.testing.emulators.azureml.core import Cloud
from trackbridge.testing.emulators.azureml.jobs_commands import (
    Process,
    filled,
    logged,
    processes_of,
    shell,
    timeout_s,
)
from trackbridge.testing.emulators.azureml.jobs_environments import BUILD_LOG, Environments
from trackbridge.testing.emulators.azureml.jobs_files import (
    ROOT,
    Failed,
    Layout,
    bring,
    kind_of,
    leave,
    mode_of,
    place_of_output,
    register_output,
    source_of,
)
from trackbridge.testing.emulators.azureml.jobs_logs import JobLogs
from trackbridge.testing.emulators.azureml.jobs_processes import kill_all
from trackbridge.testing.emulators.azureml.jobs_records import (
    CANCEL,
    OWNER,
    Job,
    Jobs,
    Taken,
    request_cancel,
    set_status,
)
from trackbridge.testing.emulators.azureml.jobs_storing import Stored, StoredOfRun
from trackbridge.testing.emulators.azureml.jobs_tracking import JobRun, job_variables, network_variables
from trackbridge.testing.emulators.azureml.refusal import Refused
from trackbridge.testing.emulators.azureml.run_files import RunFiles, artifact_place
from trackbridge.testing.emulators.azureml.slow_operations import SlowOperations
from trackbridge.testing.emulators.containers import Container, Launch, base_variables

POLL_S = 0.02
"""How often the processes of a job are looked at."""
KEEP_S = 0.5
"""How often logs, outputs and mounted folders are brought to Blob storage while the program runs."""
RETRY = "retry_{:03d}"
"""The folder of the logs of a job that was started again."""
KEPT_FOLDERS = ("outputs", "logs")
"""Folders of the working directory whose files become the run's."""
TIMED_OUT = "TimedOut"
PREEMPTED = (
    "AzureMLCompute job failed. PreemptionError: Nodes of this job got pre-empted. Check if the run has "
    "failed or restarted. Reason: Received pre-emption warning signal"
)
"""The service's own words (MachineLearningNotebooks#1242)."""
LOST = "AzureMLCompute job failed. NodeLost: The node of this job sent no heartbeat and was given up."


class Closing(Exception):
    """The emulator is closing: the job is left as it is."""


class Preempted(Exception):
    """The job's nodes were taken away; it begins again on others."""


class Lost(Failed):
    """The job's nodes are gone, and with them what was not brought away."""


class JobLife:
    """The life of a job, from its submission on."""

    def __init__(self, cloud: Cloud, job: Job) -> None:
        self.cloud, self.job = cloud, job
        # Taken now: after a reset the cloud has others.
        self._jobs, self._containers = cloud.part(Jobs), cloud.part(Containers)
        self._files, self._slow = cloud.part(RunFiles), cloud.part(SlowOperations)
        self._environments = cloud.part(Environments)
        self._logs, self._run = JobLogs(cloud, job), JobRun(cloud, job)
        self._folder: Path | None = None
        self._programs: Path | None = None
        self._started: list[tuple[Process, Container]] = []
        self._stored: list[Stored] = []
        self._has_nodes = False

    def open(self) -> None:
        """Open the job's run.

        Raises:
            Refused: MLflow does not take it.
        """
        self._run.open()

    def begin(self) -> None:
        """Take a place in the queue, in the order of submission, and start the thread."""
        self._jobs.enqueue(self.job)
        self.job.thread = threading.Thread(target=self._live, name=f"job {self.job.name}", daemon=True)
        self.job.thread.start()

    def _live(self) -> None:
        try:
            self._end(*self._lived())
        except Closing:
            return
        except Exception as error:
            self._fault(error)
        finally:
            for _, container in self._started:
                self._containers.forget(container)
            self._jobs.leave(self.job, had_nodes=self._has_nodes)
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            self.job.is_done.set()

    def _lived(self) -> tuple[str, dict[str, Any] | None]:
        """Live until the end is known: the status, and what is wrong."""
        try:
            return self._pass_through()
        except Closing:
            raise
        except Failed as failure:
            return "Failed", error_of(failure.code, str(failure))
        except Refused as refused:
            return "Failed", error_of("UserError", refused.message)
        except Exception as error:
            self._check_open()
            self._fault(error)
            return "Failed", error_of("ServiceError", f"{type(error).__name__}: {error}")

    def _fault(self, error: Exception) -> None:
        """Keep a fault of the emulator for whoever tests; one that comes of its end is none."""
        if not self.job.pauses.is_ended:
            self.cloud.clock.errors.append(error)

    def _pass_through(self) -> tuple[str, dict[str, Any] | None]:
        for status in ("Starting", "Preparing"):
            self._enter(status)
            if self.job.wanted_end:
                return self._canceled()
        self._build()
        while True:
            self._set("Queued")
            self.job.pauses.wait_for(lambda: bool(self.job.wanted_end) or self._took_nodes())
            self._check_open()
            if self.job.wanted_end:
                return self._canceled()
            try:
                return self._ran()
            except Preempted:
                self._begin_again()

    def _build(self) -> None:
        """Have the environment built, but not for batch endpoints: their program is the emulator's own."""
        job = self.job
        if not (job.asked.get("properties") or {}).get(OWNER):
            self._programs = self._environments.programs_of(
                str(job.asked.get("environmentId") or ""),
                write=self._to(BUILD_LOG),
                is_over=lambda: bool(job.wanted_end) or job.pauses.is_ended,
            )
        self._check_open()

    def _begin_again(self) -> None:
        """Give the nodes back, and wait for others."""
        self._jobs.leave(self.job, had_nodes=True)
        self._has_nodes, self.job.taken = False, None
        for _, container in self._started:
            self._containers.forget(container)
        self._started, self._stored = [], []
        self._logs.let_go()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._jobs.enqueue(self.job)

    def _ran(self) -> tuple[str, dict[str, Any] | None]:
        """Run the program on nodes that were taken: the status that follows, and what is wrong."""
        layout, values = self._prepare()
        self._limit()
        self.job.started_s = self.job.started_s or self.cloud.now_s()
        self._set("Running")
        self._start(layout, values)
        codes = self._watch(layout)
        if codes is None:
            self._keep(layout, has_succeeded=False)
            return self._canceled()
        failed = [(process, code) for (process, _), code in zip(self._started, codes, strict=True) if code]
        if failed:
            self._keep(layout, has_succeeded=False)
            raise Failed(self._told(*failed[0]))
        self._enter("Finalizing")
        self._keep(layout, has_succeeded=True)
        return "Completed", None

    def _took_nodes(self) -> bool:
        self._has_nodes = self._has_nodes or self._jobs.take(self.job)
        return self._has_nodes

    def _canceled(self) -> tuple[str, dict[str, Any] | None]:
        if self.job.wanted_end == CANCEL:
            return "Canceled", None
        limit = (self.job.asked.get("limits") or {}).get("timeout")
        return "Canceled", error_of("UserError", f"The job was canceled: it exceeded its timeout of {limit}")

    def _enter(self, status: str) -> None:
        """Go to a step, and let it take its time; a wanted end cuts it short."""
        self._set(status)
        self.job.pauses.wait(self._jobs.step_s, until=lambda: bool(self.job.wanted_end))
        self._check_open()

    def _set(self, status: str) -> None:
        self._check_open()
        with self.cloud.lock:  # a cancellation that comes now is not overwritten
            if self.job.wanted_end:
                return
            set_status(self.cloud, self.job, status)
        self._run.follow(status)

    def _check_open(self) -> None:
        if self.job.pauses.is_ended:
            raise Closing

    def _end(self, status: str, error: dict[str, Any] | None) -> None:
        self._check_open()
        self._logs.keep()
        self.job.ended_s, self.job.error = self.cloud.now_s(), error
        try:
            self._run.follow(status)  # who sees that the job has ended finds its run closed
        finally:
            set_status(self.cloud, self.job, status)
            with self.cloud.lock:
                for begun in self.job.cancels:
                    self._slow.end(begun)

    # The program.

    def _prepare(self) -> tuple[Layout, dict[str, str]]:
        """Bring what the program needs; returns where things are, and what stands for its parameters."""
        job, asked = self.job, self.job.asked
        self._folder = self._containers.folder(job.name)
        layout, values = Layout(self._folder), {"name": job.name}
        if asked.get("codeId"):
            bring(self.cloud, self._place(self._code_uri()), layout.real(layout.work))
        for name, given in (asked.get("inputs") or {}).items():
            values[f"inputs.{name}"] = self._input(layout, name, given)
        for name, given in asked["outputs"].items():
            values[f"outputs.{name}"] = self._output(layout, name, given)
        for name in KEPT_FOLDERS:
            layout.real(f"{layout.work}/{name}").mkdir(exist_ok=True)
        return layout, values

    def _code_uri(self) -> str:
        held = self.cloud.resources.get(str(self.job.asked["codeId"]))
        if held is None:
            raise Failed("The code of the job was deleted")
        return str(held["properties"]["codeUri"])

    def _place(self, uri: str) -> Any:
        with self.cloud.lock:
            return source_of(self.cloud, self.job.workspace_id, uri)

    def _input(self, layout: Layout, name: str, given: dict[str, Any]) -> str:
        if kind_of(given, "jobInputType") == "literal":
            return str(given["value"])
        if mode_of(given, "ReadOnlyMount") == "direct":
            return str(given["uri"])
        path = layout.input(name)
        found = bring(self.cloud, self._place(str(given["uri"])), layout.real(path))
        return path if found == layout.real(path) else f"{path}/{found.name}"

    def _output(self, layout: Layout, name: str, given: dict[str, Any]) -> str:
        if mode_of(given, "ReadWriteMount") == "direct":
            return str(given["uri"])
        path = layout.output(name)
        if kind_of(given, "jobOutputType") == "uri_file":
            return path
        folder = layout.real(path)
        folder.mkdir(parents=True, exist_ok=True)
        if mode_of(given, "ReadWriteMount") == "readwritemount":
            with self.cloud.lock:
                place = place_of_output(self.cloud, self.job.workspace_id, self.job.name, name)
            if place.blobs(self.cloud):
                bring(self.cloud, place, folder)
            self._stored.append(Stored(self.cloud, folder, place, is_mount=True))
        return path

    def _start(self, layout: Layout, values: dict[str, str]) -> None:
        job = self.job
        command = shell(filled(str(job.asked["command"]), values))
        told = {
            f"AZURE_ML_{kind[:-1].upper()}_{name}": value
            for key, value in values.items()
            for kind, _, name in [key.partition(".")]
            if name
        }
        variables = {
            **told,
            **(job.asked.get("environmentVariables") or {}),
            **network_variables(self.cloud, job.asked.get("identity")),
            **job_variables(self.cloud, job),
        }
        assert self._folder is not None
        if self._programs is not None:
            folders = (str(self._programs), base_variables(self._folder)["PATH"])
            variables.setdefault("PATH", os.pathsep.join(folders))
        job.starts += 1
        for process in processes_of(job.asked):
            log = process.log if job.starts == 1 else f"{RETRY.format(job.starts - 1)}/{process.log}"
            process = replace(process, log=log)
            file = layout.log(log.rpartition("/")[2])
            self._logs.follow(log, layout.real(file))
            try:
                container = self._containers.launch(
                    Launch(
                        logged(command, file),
                        self._folder,
                        {**variables, **process.variables},
                        self._to(process.log),
                        roots=(ROOT,),
                        work=layout.work,
                    )
                )
            except (OSError, ValueError) as error:  # such as variables that no program can have
                raise Failed(f"The program cannot be started: {error}") from error
            self._started.append((process, container))

    def _to(self, log: str) -> Any:
        return lambda line: self._logs.write(log, line)

    def _limit(self) -> None:
        seconds = timeout_s(self.job.asked)
        if seconds is not None and self.job.starts == 0:
            self.cloud.later(seconds, lambda: request_cancel(self.cloud, self.job, TIMED_OUT))

    def _watch(self, layout: Layout) -> list[int] | None:
        """Wait until the processes have ended; returns their exit codes, None when they shall be ended.

        One that fails ends the others.
        """
        due_s = time.monotonic() + KEEP_S
        while True:
            self._check_open()
            codes = [container.exit_code for _, container in self._started]
            if self.job.taken is None and (any(codes) or all(code is not None for code in codes)):
                self._stop_processes(self._jobs.grace_s * self.cloud.pace)
                return [code or 0 for code in codes]
            if self.job.wanted_end:
                self._stop_processes(self._jobs.grace_s * self.cloud.pace)
                return None
            if self.job.taken is not None:
                self._lose(self.job.taken, layout)
            if time.monotonic() >= due_s:
                self._logs.keep()
                self._bring_away(layout)
                due_s = time.monotonic() + KEEP_S
            running = next((c for _, c in self._started if c.exit_code is None), None)
            if running is not None:
                running.wait(POLL_S)

    def _lose(self, taken: Taken, layout: Layout) -> None:
        """Take the nodes away.

        Raises:
            Preempted: Others take over.
            Failed: Nobody does.
        """
        if taken.notice_s is None:
            for _, container in self._started:
                kill_all(container)
            self._logs.let_go()
            raise Lost(LOST, "ServiceError")
        self._stop_processes(taken.notice_s)
        self._logs.keep()
        self._bring_away(layout)
        if taken.restarts:
            raise Preempted
        raise Lost(PREEMPTED)

    def _bring_away(self, layout: Layout) -> None:
        """Bring to storage what the program has written since the last time."""
        if not any(isinstance(stored, StoredOfRun) for stored in self._stored):
            artifacts = artifact_place(self.cloud, self.job.workspace_id).below(self.job.folder)
            for folder in KEPT_FOLDERS:
                source = layout.real(f"{layout.work}/{folder}")
                self._stored.append(StoredOfRun(self.cloud, source, artifacts.below(folder), folder))
        for stored in self._stored:
            added = stored.bring_away()
            if added and isinstance(stored, StoredOfRun):
                with self.cloud.lock:
                    paths = [f"{stored.name}/{path}" for path in added]
                    self._files.add(self.job.workspace_id, self.job.name, paths)

    def _stop_processes(self, seconds: float) -> None:
        """Ask the processes to end; kill those that do not within some seconds, with all below them."""
        for _, container in self._started:
            container.terminate()
        until_s = time.monotonic() + seconds
        for _, container in self._started:
            while not container.ends_within(POLL_S) and time.monotonic() < until_s:
                self._check_open()
            kill_all(container)

    def _told(self, process: Process, code: int) -> str:
        return (
            f"Execution failed. User process '{Path(shell('')[0]).name}' exited with status code {code}. "
            f"Please check log file '{process.log}' for error details. Error: {self._logs.tail(process.log)}"
        )

    # What it leaves.

    def _keep(self, layout: Layout, *, has_succeeded: bool) -> None:
        self._check_open()
        job = self.job
        self._logs.keep()
        self._bring_away(layout)
        for name, given in job.asked["outputs"].items():
            mode = mode_of(given, "ReadWriteMount")
            # What is uploaded waits for the program's success.
            if mode == "readwritemount" or (mode == "upload" and has_succeeded):
                self._keep_output(layout, name, given, has_succeeded=has_succeeded)

    def _keep_output(self, layout: Layout, name: str, given: dict[str, Any], *, has_succeeded: bool) -> None:
        source = layout.real(layout.output(name))
        with self.cloud.lock:
            place = place_of_output(self.cloud, self.job.workspace_id, self.job.name, name)
        is_stored = source.is_dir() and mode_of(given, "ReadWriteMount") == "readwritemount"
        if source.exists() and not is_stored:  # that is there already
            leave(self.cloud, source, place)
        if has_succeeded:
            with self.cloud.lock:
                register_output(self.cloud, self.job.workspace_id, self.job.name, name, given)


def error_of(code: str, message: str) -> dict[str, Any]:
    """Return an error as the run history tells it."""
    return {
        "error": {"code": code, "message": message, "messageParameters": {}, "details": []},
        "correlation": {},
        "environment": "",
        "location": "",
        "time": "0001-01-01T00:00:00+00:00",
    }
