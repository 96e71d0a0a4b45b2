"""Jobs as one-time runs of the workspace's Jobs API; their files lie in a volume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from trackbridge.domain.job_checks import shown_spec
from trackbridge.domain.jobs import JobPreview, JobSpec, JobState, JobStatus, LogChunk
from trackbridge.domain.page_tokens import listing_of, page_size, place_of, token_of
from trackbridge.domain.paging import Page
from trackbridge.errors import BridgeError, Conflict, NotFound, Rejected
from trackbridge.ports.adapter import AdapterContext
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.findings import Finding
from trackbridge.ports.jobs import JobBackend, features_of
from trackbridge_adapters._jobs.refusals import refuse_errors
from trackbridge_adapters._mlflow_rest.wire import Json, Wire
from trackbridge_adapters.databricks import jobs_files
from trackbridge_adapters.databricks.config import ADAPTER
from trackbridge_adapters.databricks.jobs_compute import Workspace, is_about_absence
from trackbridge_adapters.databricks.jobs_files import JobFolder, code_of, plan_for
from trackbridge_adapters.databricks.jobs_findings import findings_of
from trackbridge_adapters.databricks.jobs_requests import limit_of, node_type_of, request_of
from trackbridge_adapters.databricks.jobs_settings import JobSettings
from trackbridge_adapters.databricks.jobs_states import state_of, status_of, told_by

RUNS = "/api/2.2/jobs/runs"
LIST_RUNS_MAX = 24
"""Runs in an answer (API: List job runs: "greater than 0 and less than 25")."""

PAGES_MAX = 100
"""How many pages of runs one call looks through: others may have many runs between ours."""

RUN_ID_MAX = 2**63 - 1
PAGE_ITEMS_MAX = 1000


class DatabricksJobs(JobBackend):
    """Jobs of one workspace."""

    def __init__(
        self,
        wire: Wire,
        settings: JobSettings,
        capabilities: Callable[[], Capabilities],
        context: AdapterContext,
    ) -> None:
        self._wire = wire
        self._settings = settings
        self._declared = capabilities
        self._clock_ms = context.clock_ms
        self._workspace = Workspace(wire)

    def check(self, spec: JobSpec) -> tuple[Finding, ...]:
        """Look at the spec and its files, then whether the workspace has the compute and the secrets."""
        return tuple(findings_of(spec, self._settings, self._capabilities, self._workspace))

    def preview(self, spec: JobSpec) -> JobPreview:
        """Return the request, what of the code would be uploaded, and what the machine is."""
        self._refuse(spec, "jobs.preview")
        code, limit_s = code_of(spec), limit_of(spec)
        folder = f"{self._settings.folder}/…"
        shown = shown_spec(spec)
        plan = {name: shown[name] for name in ("command", "variables", "inputs", "outputs", "checkpoints")}
        plan["secrets"] = dict(spec.secrets)  # places in a scope, or they were refused
        return JobPreview(
            request={**self._request(spec, folder=folder, token="…"), "plan": plan},
            files=len(code.files),
            file_bytes=code.size_bytes,
            ignored=code.ignored,
            billed_to=self._wire.service.address,
            instance_type=node_type_of(spec, self._settings),
            instance_count=spec.compute.instance_count,
            is_spot=spec.compute.spot,
            hours_max=None if limit_s is None else limit_s / 3600,
        )

    def submit(self, spec: JobSpec, *, key: str) -> JobState:
        """Upload the programs, the plan and the code, and submit the run with the key's token."""
        self._refuse(spec, "jobs.submit")
        token = jobs_files.token_of(key)
        digest = jobs_files.digest_of(spec)
        folder = JobFolder(self._wire, f"{self._settings.folder}/{token}")
        first = folder.claimed()
        if first is None:
            code = code_of(spec)
            plan = plan_for(
                self._on_machine(spec),
                code=code,
                notice_s=self._settings.notice_s,
                secrets=tuple(spec.secrets),
            )
            folder.write_program(digest, plan, code)
            first = folder.claim(digest)
        if first != digest:
            raise Conflict(
                f"the key {key!r} was used for another job",
                adapter=ADAPTER,
                operation="jobs.submit",
                resource=f"job {spec.name!r}",
                hint="use a new key for a new job",
            )
        return self._submitted(spec, folder, f"{folder.path}/{digest[:16]}", token)

    def status(self, job_id: str) -> JobState:
        """Return how the run stands, and at its end what the job's own record says of it."""
        return state_of(self._run(job_id, "jobs.status"), self._folder)

    def cancel(self, job_id: str) -> None:
        """Have the job's program end the job; one that does not run yet, or is asked again, is cancelled."""
        run = self._run(job_id, "jobs.cancel")
        status = status_of(run)
        if status is None:
            return
        folder = self._folder_of(run)
        if folder.ask_to_end() and status is JobStatus.RUNNING:
            return
        self._wire.post("cancel", {"run_id": int(job_id)}, prefix=RUNS)

    def read_logs(self, job_id: str, *, cursor: str = "", tail_bytes: int | None = None) -> LogChunk:
        """Return the piece of the log whose number the cursor holds."""
        listing = listing_of("read_logs", job_id)
        place = place_of(cursor or None, listing, adapter=ADAPTER, operation="jobs.read_logs", types=(int,))
        run = self._run(job_id, "jobs.read_logs")
        folder = self._folder_of(run)
        first = 1 if place or tail_bytes is None else folder.tail_piece(tail_bytes)
        number = place[0] if place else first
        text = folder.log_piece(number)
        done = text is None and status_of(run) is None
        return LogChunk(
            text=text or "", cursor=token_of(listing, [number if text is None else number + 1]), done=done
        )

    def list_jobs(self, *, max_results: int = 1000, token: str | None = None) -> Page[JobState]:
        """List the runs whose files lie in our folder, of those that were there at the first page."""
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=ADAPTER, operation="jobs.list_jobs")
        listing = listing_of("list_jobs", self._settings.folder)
        place = place_of(token, listing, adapter=ADAPTER, operation="jobs.list_jobs", types=(int, str))
        until, page_token, index = place or [self._clock_ms() + 1, None, 0]
        runs: list[Json] = []
        for _ in range(PAGES_MAX):
            page = self._page(until, page_token)
            found = page.get("runs") or []
            for number, run in enumerate(found[index:], index):
                if not self._is_ours(run):
                    continue
                if len(runs) == size:
                    return self._listed(runs, token_of(listing, [until, page_token, number]))
                runs.append(run)
            page_token, index = page.get("next_page_token"), 0
            if not page_token:
                return self._listed(runs, None)
        return self._listed(runs, token_of(listing, [until, page_token, 0]))

    # Submission.

    @property
    def _capabilities(self) -> Capabilities:
        return self._declared()

    def _on_machine(self, spec: JobSpec) -> JobSpec:
        """Return a spec without what the platform itself does: serverless compute installs requirements."""
        if spec.compute.cluster or node_type_of(spec, self._settings) is not None:
            return spec
        return msgspec.structs.replace(
            spec, environment=msgspec.structs.replace(spec.environment, requirements=())
        )

    def _request(self, spec: JobSpec, *, folder: str, token: str) -> Json:
        cluster = self._workspace.clusters(spec.compute.cluster)[0] if spec.compute.cluster else None
        needs_runtime = node_type_of(spec, self._settings) is not None and cluster is None
        runtime = self._settings.spark_version or (
            self._workspace.newest_runtime() if needs_runtime else None
        )
        return request_of(
            spec,
            self._settings,
            folder=folder,
            token=token,
            cluster_id=None if cluster is None else str(cluster["cluster_id"]),
            spark_version=runtime,
        )

    def _submitted(self, spec: JobSpec, folder: JobFolder, source: str, token: str) -> JobState:
        try:
            answer = self._wire.post("submit", self._request(spec, folder=source, token=token), prefix=RUNS)
        except Rejected:
            folder.release()
            raise
        return self.status(str(answer["run_id"]))

    def _refuse(self, spec: JobSpec, operation: str) -> None:
        for feature in features_of(spec):
            self._capabilities.require(feature, operation=operation)
        refuse_errors(self.check(spec), adapter=ADAPTER, operation=operation)

    # Runs.

    def _run(self, job_id: str, operation: str) -> Json:
        """Return a run that is a job of ours.

        Raises:
            NotFound: There is none.
        """
        run: Json | None = None
        if job_id.isascii() and job_id.isdecimal() and int(job_id) <= RUN_ID_MAX:
            try:
                run = self._wire.get("get", {"run_id": job_id}, prefix=RUNS)
            except BridgeError as error:
                if not is_about_absence(error):
                    raise
        if run is None or told_by(run) is None:
            raise NotFound(
                f"there is no job {job_id[:80]!r}",
                adapter=ADAPTER,
                operation=operation,
                hint="bridge jobs list",
            )
        return run

    def _folder(self, path: str) -> JobFolder:
        return JobFolder(self._wire, path)

    def _folder_of(self, run: Json) -> JobFolder:
        source, _ = told_by(run) or ("", {})
        return self._folder(source.rpartition("/")[0])

    def _is_ours(self, run: Json) -> bool:
        told = told_by(run)
        return told is not None and told[0].startswith(f"{self._settings.folder}/")

    def _page(self, until: int, page_token: str | None) -> Json:
        query: dict[str, Any] = {
            "run_type": "SUBMIT_RUN",
            "expand_tasks": "true",
            "limit": LIST_RUNS_MAX,
            "start_time_to": until,
        }
        return self._wire.get(
            "list", {**query, "page_token": page_token} if page_token else query, prefix=RUNS
        )

    def _listed(self, runs: list[Json], token: str | None) -> Page[JobState]:
        return Page(items=tuple(state_of(run, self._folder) for run in runs), token=token)
