"""Jobs whose command is the driver of a Spark application, in client mode."""

from __future__ import annotations

from pathlib import Path

import msgspec

from trackbridge.domain.job_checks import shown_spec
from trackbridge.domain.jobs import Compute, JobPreview, JobSpec, JobState, Launcher, LogChunk
from trackbridge.domain.paging import Page
from trackbridge.domain.secrets import redact
from trackbridge.errors import Rejected
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.findings import Finding
from trackbridge.ports.jobs import JobBackend
from trackbridge_adapters._jobs.code_files import CodeFile
from trackbridge_adapters._jobs.refusals import refuse_errors
from trackbridge_adapters.spark.config import ADAPTER, Settings
from trackbridge_adapters.spark.errors import as_ours
from trackbridge_adapters.spark.installation import spark_home_of
from trackbridge_adapters.spark.job_findings import features_of, findings_of
from trackbridge_adapters.spark.submission import (
    local_spec,
    modules_of,
    modules_path,
    submit_words,
    write_modules,
)


class SparkJobs(JobBackend):
    """Jobs of one master; ``drivers`` is the backend that runs programs on this machine."""

    def __init__(
        self, settings: Settings, folder: Path, drivers: JobBackend, capabilities: Capabilities
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._drivers = drivers
        self._capabilities = capabilities

    def check(self, spec: JobSpec) -> tuple[Finding, ...]:
        """Look at the spec, Spark and Java here, and what the driver's backend looks at."""
        ours = tuple(findings_of(spec, self._settings, self._capabilities))
        with as_ours():
            theirs = self._drivers.check(_plain(spec))
        return (*ours, *(finding for finding in theirs if finding not in ours))

    def preview(self, spec: JobSpec) -> JobPreview:
        """Return the words of ``spark-submit``, and the modules for executors; nobody is billed by us."""
        self._refuse(spec, "jobs.preview")
        words = [redact(word) for word in submit_words(spec, self._settings)]
        modules = [module.path for module in modules_of(spec, self._settings)]
        return JobPreview(
            request={"spark-submit": words, "modules": modules, **shown_spec(spec)},
            instance_count=spec.compute.instance_count,
        )

    def submit(self, spec: JobSpec, *, key: str) -> JobState:
        """Have the driver started on this machine."""
        self._refuse(spec, "jobs.submit", leaves=("secrets",))  # the drivers look for the key first
        modules = modules_of(spec, self._settings)
        archive = modules_path(self._folder, key) if modules else None
        home = spark_home_of(self._settings)
        assert home is not None  # or it was refused
        if archive is not None:
            _write(archive, modules)
        wanted = local_spec(spec, self._settings, self._folder, home, modules=archive)
        with as_ours():
            return self._drivers.submit(wanted, key=key)

    def status(self, job_id: str) -> JobState:
        """Return how the driver stands."""
        with as_ours():
            return self._drivers.status(job_id)

    def cancel(self, job_id: str) -> None:
        """Ask the driver to stop; its executors stop with it."""
        with as_ours():
            self._drivers.cancel(job_id)

    def read_logs(self, job_id: str, *, cursor: str = "", tail_bytes: int | None = None) -> LogChunk:
        """Return a piece of what the driver wrote."""
        with as_ours():
            return self._drivers.read_logs(job_id, cursor=cursor, tail_bytes=tail_bytes)

    def list_jobs(self, *, max_results: int = 1000, token: str | None = None) -> Page[JobState]:
        """List the jobs that this project submitted to the master."""
        with as_ours():
            return self._drivers.list_jobs(max_results=max_results, token=token)

    def _refuse(self, spec: JobSpec, operation: str, *, leaves: tuple[str, ...] = ()) -> None:
        for feature in features_of(spec):
            self._capabilities.require(feature, operation=operation)
        findings = [finding for finding in self.check(spec) if finding.subject not in leaves]
        refuse_errors(findings, adapter=ADAPTER, operation=operation)


def _plain(spec: JobSpec) -> JobSpec:
    """Return a spec without what concerns Spark alone."""
    environment = msgspec.structs.replace(spec.environment, image=None, conda_file=None)
    return msgspec.structs.replace(
        spec, compute=Compute(), environment=environment, launcher=Launcher.DIRECT, processes_per_node=1
    )


def _write(archive: Path, modules: list[CodeFile]) -> None:
    try:
        write_modules(archive, modules)
    except OSError as error:
        raise Rejected(
            f"the modules for the executors cannot be written: {error}",
            adapter=ADAPTER,
            operation="jobs.submit",
            hint="free some space, and submit it again",
        ) from error
