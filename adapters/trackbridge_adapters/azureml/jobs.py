"""Jobs of a workspace: command jobs, asked for and read by ARM, the run history, and storage.

::

    check     what the spec says -> computes, quota, environment, inputs, vault
    submit    GET the job of the key -> there: the same spec? it is the job
                                     -> not there: check, code, environment, inputs -> PUT jobs/NAME
    status    GET job, GET runs/NAME/details, and the result file of what failed

A PUT of the same name and spec is the same job, so that an answer that was lost is asked for again; one of
another spec is refused, by us and by Azure: the digest of the spec is a property, which never changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import msgspec

from trackbridge.domain.job_checks import shown_spec
from trackbridge.domain.jobs import JobPreview, JobSpec, JobState, LogChunk
from trackbridge.domain.page_tokens import listing_of, page_size, place_of, token_of
from trackbridge.domain.paging import Page
from trackbridge.errors import Conflict, NotFound, Rejected
from trackbridge.ports.findings import Finding, Severity
from trackbridge.ports.jobs import JobBackend
from trackbridge.transport.http import HttpClient
from trackbridge_adapters._jobs.code_files import list_code
from trackbridge_adapters._jobs.plan import JobPlan
from trackbridge_adapters._jobs.refusals import refuse_errors
from trackbridge_adapters._mlflow_rest.errors import message_of
from trackbridge_adapters._mlflow_rest.wire import encoded
from trackbridge_adapters.azureml.arm import Arm, Json, path_of
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.config import Workspace
from trackbridge_adapters.azureml.errors import arm_error, json_of
from trackbridge_adapters.azureml.jobs_assets import Code, JobAssets, is_built
from trackbridge_adapters.azureml.jobs_data import JobData, mounted_outputs
from trackbridge_adapters.azureml.jobs_findings import findings_of, hours_of
from trackbridge_adapters.azureml.jobs_logs import JobLogs
from trackbridge_adapters.azureml.jobs_places import JobPlaces
from trackbridge_adapters.azureml.jobs_request import (
    EXPERIMENT,
    OUR_SPEC,
    Brought,
    body_of,
    digest_of_spec,
    job_name_of,
    plan_for,
    timeout_s,
    told_of,
)
from trackbridge_adapters.azureml.jobs_results import JobResults
from trackbridge_adapters.azureml.jobs_states import JobStates
from trackbridge_adapters.azureml.limits import NAME

PAGE_ITEMS_MAX = 1000
AT_ONCE = 8
"""How many jobs of a listing are looked at at once."""
QUERIED_MAX = 50
"""How many runs are asked for in one request: a filter names each of them."""
_TAKEN = "A job with this name already exists"


class AzureJobs(JobBackend):
    """Jobs of one workspace. Any thread may use it.

    Args:
        arm: Asks ARM.
        workspace: Which.
        http: Sends requests to the run history and to storage.
        history_url: Returns where the routes of the run history begin.
        places: Computes, quota and vault.
        data: Reads the names of inputs.
        assets: Brings code and environments.
        results: Reads the result files.
        url: Returns the address of a job in the studio.
    """

    def __init__(
        self,
        arm: Arm,
        workspace: Workspace,
        http: HttpClient,
        *,
        history_url: Callable[[], str],
        places: JobPlaces,
        data: JobData,
        assets: JobAssets,
        results: JobResults,
        url: Callable[[str], str],
    ) -> None:
        self._arm = arm
        self._workspace = workspace
        self._http = http
        self._history_url = history_url
        self._places = places
        self._data = data
        self._assets = assets
        self._states = JobStates(workspace, self._details, results, url)
        self._logs = JobLogs(http, lambda name: self._details(name).get("logFiles") or {})
        self._scope = f"{quote(workspace.scope)}/jobs"
        self._good = ""

    def check(self, spec: JobSpec) -> tuple[Finding, ...]:
        """Look at the spec, then at the compute, its quota, the environment, the inputs and the secrets."""
        found = tuple(findings_of(spec, self._places, self._data, self._assets))
        if not any(finding.severity is Severity.ERROR for finding in found):
            self._good = digest_of_spec(spec)  # so that the submission that follows does not ask it all again
        return found

    def preview(self, spec: JobSpec) -> JobPreview:
        """Return the body of the PUT, as for a key that was not used yet."""
        self._refuse(spec, "jobs.preview")
        files = list_code(spec.code_dir, spec.ignore_file)
        name = job_name_of("")
        code = Code(plan_for(spec, name, is_built=is_built(spec.environment)), files)
        brought = self._brought(spec, self._assets.code_id(code.digest()), upload=False)
        return JobPreview(
            request={"job": body_of(spec, name, brought)["properties"], "plan": _shown_plan(spec, code.plan)},
            files=len(files.files),
            file_bytes=files.size_bytes,
            ignored=files.ignored,
            billed_to=f"the subscription {self._workspace.subscription}",
            instance_type=brought.instance_type,
            instance_count=spec.compute.instance_count,
            is_spot=spec.compute.spot,
            hours_max=hours_of(timeout_s(spec)),
        )

    def submit(self, spec: JobSpec, *, key: str) -> JobState:
        """Bring what the job needs, and put the job under the name of its key."""
        name = job_name_of(key)
        held = self._find(name)
        if held is None:
            self._refuse(spec, "jobs.submit")
            held = self._put(spec, name)
        if told_of(held).get(OUR_SPEC) != _digest(spec):
            raise _used(name)
        return self._states.of(held)

    def status(self, job_id: str) -> JobState:
        """Return how the job stands."""
        return self._states.of(self._job(job_id))

    def cancel(self, job_id: str) -> None:
        """Ask Azure to cancel the job; it sends SIGTERM to its programs, and kills them later."""
        self._job(job_id)
        # The operation's end is not waited for: the job's status tells of it.
        answer = self._http.request(
            "POST",
            f"{self._arm.base()}{self._scope}{path_of(job_id)}/cancel",
            query={"api-version": self._arm.version_of("jobs")},
        )
        if answer.status_code >= 400:
            authentication = self._http.authentication
            raise arm_error(
                answer, json_of(answer), f"/workspaces/w/jobs/{job_id}", authentication=authentication
            )

    def read_logs(self, job_id: str, *, cursor: str = "", tail_bytes: int | None = None) -> LogChunk:
        """Return a piece of the log, from storage."""
        state = self._states.of(self._job(job_id))
        return self._logs.read(job_id, cursor, is_final=state.status.is_final, tail_bytes=tail_bytes)

    def list_jobs(self, *, max_results: int = 1000, token: str | None = None) -> Page[JobState]:
        """List the jobs of the workspace, those of other clients too."""
        operation = "jobs.list_jobs"
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=ADAPTER, operation=operation)
        listing = listing_of("azureml.list_jobs", self._workspace.address)
        place = place_of(token, listing, adapter=ADAPTER, operation=operation, types=(str, int))
        skip, offset = (str(place[0]), int(place[1])) if place else ("", 0)
        jobs: list[Json] = []
        while True:
            page = self._page(skip)
            rest = page.get("value", [])[offset:]
            taken = rest[: size - len(jobs)]
            jobs += taken
            if len(taken) < len(rest):
                return self._listed(jobs, token_of(listing, [skip, offset + len(taken)]))
            skip, offset = _skip_of(page), 0
            if not skip or len(jobs) >= size:
                return self._listed(jobs, token_of(listing, [skip, 0]) if skip else None)

    # Reading.

    def _page(self, skip: str) -> Json:
        query = {"listViewType": "ActiveOnly", **({"$skip": skip} if skip else {})}
        return self._arm.get(self._scope, "jobs", query=query)

    def _listed(self, jobs: Sequence[Json], token: str | None) -> Page[JobState]:
        known = self._runs_of(jobs)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            states = pool.map(lambda job: self._states.of(job, known=known.get(str(job.get("name")))), jobs)
            return Page(items=tuple(states), token=token)

    def _runs_of(self, jobs: Sequence[Json]) -> dict[str, Json]:
        """Return what the run history says of jobs of ours, by name: many in one request.

        What it leaves out, or does not answer, is asked for one by one.
        """
        names = self._states.unknown(job for job in jobs if told_of(job))
        found: dict[str, Json] = {}
        for start in range(0, len(names), QUERIED_MAX):
            wanted = " or ".join(f"RunId eq {name}" for name in names[start : start + QUERIED_MAX])
            answer = self._http.request(
                "POST",
                f"{self._history_url()}{path_of('experiments', EXPERIMENT)}/runs:query",
                body=encoded({"filter": wanted, "top": QUERIED_MAX}),
                headers={"Content-Type": "application/json"},
            )
            runs = json_of(answer).get("value") if answer.status_code < 400 else None
            found |= {str(run.get("runId")): run for run in runs or () if isinstance(run, dict)}
        return found

    def _find(self, name: str) -> Json | None:
        found = self._arm.find(f"{self._scope}{path_of(name)}", "jobs")
        return found if found is not None and found.get("properties") else None  # else a run that is no job

    def _job(self, job_id: str) -> Json:
        found = self._find(job_id) if re.fullmatch(NAME, job_id) else None
        if found is None:
            raise NotFound("there is no such job", adapter=ADAPTER, resource=f"job {job_id[:100]!r}")
        return found

    def _details(self, name: str) -> Json:
        answer = self._http.request("GET", f"{self._history_url()}/runs{path_of(name)}/details")
        if answer.status_code == 404:  # ARM knows a job a moment before the run history does
            return {}
        if answer.status_code >= 400:
            body = json_of(answer)
            resource = f"/workspaces/w/runs/{name}: {message_of(body)[:100]}"
            raise arm_error(answer, body, resource, authentication=self._http.authentication)
        return json_of(answer)

    # Submitting.

    def _refuse(self, spec: JobSpec, operation: str) -> None:
        if self._good and self._good == _digest(spec):
            self._good = ""
            return
        refuse_errors(
            findings_of(spec, self._places, self._data, self._assets), adapter=ADAPTER, operation=operation
        )

    def _put(self, spec: JobSpec, name: str) -> Json:
        plan = plan_for(spec, name, is_built=is_built(spec.environment))
        code_id = self._assets.bring_code(Code(plan, list_code(spec.code_dir, spec.ignore_file)))
        body = body_of(spec, name, self._brought(spec, code_id, upload=True))
        try:
            return self._arm.put(f"{self._scope}{path_of(name)}", "jobs", body)
        except Rejected as error:
            if _TAKEN in error.message:  # by somebody who was faster, for another spec
                raise _used(name) from error
            raise

    def _brought(self, spec: JobSpec, code_id: str, *, upload: bool) -> Brought:
        bring = self._assets.bring_environment if upload else self._assets.environment_id
        compute = spec.compute
        cluster = None if compute.cluster is None else self._places.find_cluster(compute.cluster)
        return Brought(
            code_id=code_id,
            environment_id=bring(spec.environment),
            compute_id=None if compute.cluster is None else self._places.compute_id(compute.cluster),
            instance_type=compute.instance_type or (cluster.instance_type if cluster is not None else None),
            vault=self._places.vault() if spec.secrets else "",
            inputs={key: self._data.input(uri, upload=upload) for key, uri in spec.inputs.items()},
            outputs=mounted_outputs(spec.outputs),
        )


def _digest(spec: JobSpec) -> str:
    try:
        return digest_of_spec(spec)
    except (msgspec.EncodeError, UnicodeEncodeError):
        return ""  # a spec with half a character is refused, whatever it says


def _shown_plan(spec: JobSpec, plan: JobPlan) -> Json:
    """Return the plan as plain values, without anything that looks like a secret."""
    shown = shown_spec(spec)
    told: Json = msgspec.json.decode(msgspec.json.encode(plan))
    return {**told, **{field: shown[field] for field in ("command", "variables", "secrets")}}


def _skip_of(page: dict[str, Any]) -> str:
    """Return where the next page begins, as its address says; "" where there is none."""
    query = parse_qs(urlsplit(str(page.get("nextLink") or "")).query)
    return (query.get("$skip") or query.get("$skipToken") or query.get("%24skip") or [""])[0]


def _used(name: str) -> Conflict:
    return Conflict(
        "the key was used for another job",
        adapter=ADAPTER,
        operation="jobs.submit",
        resource=f"job {name}",
        hint="use a new key for a new job",
    )
