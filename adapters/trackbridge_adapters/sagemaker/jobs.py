"""Jobs of SageMaker: training jobs, or processing jobs where those are asked for, by boto3 alone.

::

    check -> is there a job of this key already? -- yes: the same spec, or a Conflict
                     | no
             upload what is not there yet -> Create…Job -> taken meanwhile by another: as above

A job is named by its key, so that it is started once. Of what runs there tells ``_jobs.bootstrap``; what it
leaves is in the folder of checkpoints, which SageMaker brings to S3 all the time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from trackbridge.domain.job_checks import shown_spec
from trackbridge.domain.jobs import JobPreview, JobSpec, JobState, LogChunk
from trackbridge.domain.paging import Page
from trackbridge.errors import AuthError, BridgeError, Conflict, NotFound, Rejected, Unavailable
from trackbridge.ports.findings import Finding, Severity
from trackbridge.ports.jobs import JobBackend
from trackbridge_adapters._jobs.code_files import digest_of, list_code
from trackbridge_adapters._jobs.plan import JobResult
from trackbridge_adapters._jobs.refusals import refuse_errors
from trackbridge_adapters.sagemaker import jobs_listing, jobs_logs
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.artifacts_linked import SCHEME
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.jobs_checks import Checks
from trackbridge_adapters.sagemaker.jobs_draft import SPEC, Draft, Parts, draft_of, spec_digest
from trackbridge_adapters.sagemaker.jobs_files import Uploads
from trackbridge_adapters.sagemaker.jobs_findings import Unfit, about, refused, spec_findings
from trackbridge_adapters.sagemaker.jobs_images import image_of
from trackbridge_adapters.sagemaker.jobs_inputs import Inputs
from trackbridge_adapters.sagemaker.jobs_kinds import KINDS, Kind, job_name, kind_of, kind_of_job
from trackbridge_adapters.sagemaker.jobs_roles import role_of
from trackbridge_adapters.sagemaker.jobs_settings import job_settings
from trackbridge_adapters.sagemaker.jobs_states import has_ended, kept_uri, state_of
from trackbridge_adapters.sagemaker.limits import check as check_limits

if TYPE_CHECKING:
    from trackbridge_adapters.sagemaker.registry import SageMakerRegistry
    from trackbridge_adapters.sagemaker.tracking import SageMakerTracking

RESULT_BYTES_MAX = 1_000_000
ENDED_MAX = 10_000
"""How many jobs that have ended are remembered: nothing of them changes any more."""
TRIAL_KEY = "0" * 32


class SageMakerJobs(JobBackend):
    """The jobs of one place. Any thread may use it.

    Args:
        backend: The place.
        tracking: Knows where files of runs are.
        registry: Knows where models are.

    Raises:
        ConfigError: An option of jobs is wrong.
    """

    def __init__(self, backend: Backend, tracking: SageMakerTracking, registry: SageMakerRegistry) -> None:
        self._backend = backend
        self._place = backend.place
        self._clients = backend.clients
        self._settings = job_settings(backend.context.options, os.environ)
        self._inputs = Inputs(backend, tracking, registry)
        self._checks = Checks(backend)
        self._uploads = Uploads(backend.bucket)
        self._lock = threading.Lock()
        self._ended: dict[str, JobState] = {}

    def check(self, spec: JobSpec) -> tuple[Finding, ...]:
        """Look at the spec, hold the request against SageMaker's limits, and ask AWS about the rest."""
        return tuple(self._findings(spec))

    def preview(self, spec: JobSpec) -> JobPreview:
        """Return the request, and whose account pays for it."""
        self._refuse(spec, "jobs.preview")
        parts = self._parts(spec, is_trial=False)
        draft = self._draft(spec, TRIAL_KEY, parts)
        return JobPreview(
            request={draft.kind.operation: draft.request, "spec": shown_spec(spec)},
            files=len(parts.code.files),
            file_bytes=parts.code.size_bytes,
            ignored=parts.code.ignored,
            billed_to=f"AWS account {self._clients.account()}, {self._place.region}",
            instance_type=parts.instance_type,
            instance_count=spec.compute.instance_count,
            is_spot=spec.compute.spot,
            hours_max=draft.runtime_s / 3600,
        )

    def submit(self, spec: JobSpec, *, key: str) -> JobState:
        """Upload what is not there yet, and let SageMaker start the job."""
        findings = spec_findings(spec, self._type_of(spec))
        refuse_errors(findings, adapter=ADAPTER, operation="jobs.submit")
        known = self._known(spec, key)
        if known is not None:
            return known
        self._refuse(spec, "jobs.submit")
        parts = self._parts(spec, is_trial=False)
        draft = self._draft(spec, key, parts)
        for found in parts.inputs.values():
            self._uploads.put_input(found)
        if draft.code_key:
            self._uploads.put_code(draft.code_key, parts.code)
        for name, content in draft.files.items():
            self._uploads.put(name, content)
        try:
            self._clients.call("sagemaker", draft.kind.operation, **draft.request)
        except Conflict:
            known = self._known(spec, key)
            if known is None:
                raise
            return known
        return self._described(draft.request[draft.kind.name_field], draft.kind)

    def status(self, job_id: str) -> JobState:
        """Describe the job; of one that has ended, with what its machine left."""
        return self._described(job_id, self._kind(job_id, "jobs.status"))

    def cancel(self, job_id: str) -> None:
        """Let SageMaker stop it."""
        kind = self._kind(job_id, "jobs.cancel")
        try:
            self._clients.call("sagemaker", f"Stop{kind.word}Job", **{kind.name_field: job_id})
        except (Rejected, Conflict):
            # It has ended: SageMaker refuses to stop what does not run.
            if not self._described(job_id, kind).status.is_final:
                raise

    def read_logs(self, job_id: str, *, cursor: str = "", tail_bytes: int | None = None) -> LogChunk:
        """Read what CloudWatch has of it."""
        kind = self._kind(job_id, "jobs.read_logs")
        state = self._described(job_id, kind)
        now_ms = self._backend.context.clock_ms()
        late_ms = self._settings.logs_late_s * 1000
        is_settled = state.end_time is not None and now_ms - state.end_time >= late_ms
        return jobs_logs.read_piece(
            self._clients,
            kind,
            state,
            cursor,
            place=self._place.text,
            is_settled=is_settled,
            tail_bytes=tail_bytes,
        )

    def list_jobs(self, *, max_results: int = 1000, token: str | None = None) -> Page[JobState]:
        """List the jobs of the place."""
        return jobs_listing.page(
            self._clients, self._place, max_results=max_results, token=token, describe=self._described
        )

    # Submission.

    def _findings(self, spec: JobSpec) -> Iterator[Finding]:
        found = tuple(spec_findings(spec, self._type_of(spec)))
        yield from found
        if any(map(_is_error, found)):
            return
        try:
            parts = self._parts(spec, is_trial=True)
            draft = self._draft(spec, TRIAL_KEY, parts)
            check_limits("sagemaker", draft.kind.operation, draft.request)
        except Rejected as error:
            yield refused(error.subject if isinstance(error, Unfit) else "request", error)
            return
        yield from self._checks.look(spec, draft.kind, parts)

    def _refuse(self, spec: JobSpec, operation: str) -> None:
        refuse_errors(self._findings(spec), adapter=ADAPTER, operation=operation)

    def _type_of(self, spec: JobSpec) -> str:
        return spec.compute.instance_type or self._settings.instance_type

    def _parts(self, spec: JobSpec, *, is_trial: bool) -> Parts:
        """Return what the spec means here; for a trial the code is not read, which may take its time."""
        instance_type = self._type_of(spec)
        with about("code_dir"):
            code = list_code(spec.code_dir, spec.ignore_file)
        with about("role"):
            role = role_of(self._settings, self._clients)
        with about("image"):
            image = image_of(spec, self._settings, self._place, instance_type)
        with about("inputs"):
            inputs = {name: self._inputs.find(name, address) for name, address in spec.inputs.items()}
        return Parts(
            place=self._place,
            root=self._backend.bucket.root,
            role=role,
            image=image,
            instance_type=instance_type,
            settings=self._settings,
            inputs=inputs,
            code=code,
            code_digest="0" * 64 if is_trial else digest_of(code),
        )

    def _draft(self, spec: JobSpec, key: str, parts: Parts) -> Draft:
        kind = kind_of(spec)
        return draft_of(spec, job_name(self._place, key, kind), kind, parts)

    def _known(self, spec: JobSpec, key: str) -> JobState | None:
        """Return the job that was started with a key; None where there is none.

        Raises:
            Conflict: It is a job of another spec.
        """
        for kind in KINDS.values():
            job_id = job_name(self._place, key, kind)
            try:
                told = self._describe(job_id, kind)
            except NotFound:
                continue
            if told.get("Environment", {}).get(SPEC) != spec_digest(spec):
                raise Conflict(
                    f"the key {key[:80]!r} was used for another job",
                    adapter=ADAPTER,
                    operation="jobs.submit",
                    resource=f"job {job_id}",
                    hint="use a new key for a new job",
                )
            return self._described(job_id, kind, told)
        return None

    # Looking at jobs.

    def _kind(self, job_id: str, operation: str) -> Kind:
        kind = kind_of_job(self._place, job_id)
        if kind is None:
            raise _no_job(job_id, operation)
        return kind

    def _describe(self, job_id: str, kind: Kind) -> dict[str, Any]:
        return self._clients.call("sagemaker", f"Describe{kind.word}Job", **{kind.name_field: job_id})

    def _described(self, job_id: str, kind: Kind, told: Mapping[str, Any] | None = None) -> JobState:
        with self._lock:
            known = self._ended.get(job_id)
        if known is not None:
            return known
        if told is None:
            try:
                told = self._describe(job_id, kind)
            except NotFound:
                raise _no_job(job_id, "jobs.status") from None
        if not has_ended(kind, told):
            return state_of(kind, told, None, self._place)
        state = state_of(kind, told, self._result(kept_uri(kind, told)), self._place)
        with self._lock:
            if len(self._ended) >= ENDED_MAX:
                self._ended.clear()
            self._ended[job_id] = state
        return state

    def _result(self, kept: str) -> JobResult | None:
        """Return what a machine wrote of its end; the one that failed, where there were several."""
        bucket, _, key = kept.removeprefix(SCHEME).partition("/")
        if not bucket:
            return None
        results = [result for result in self._results(bucket, key) if result is not None]
        failed = [result for result in results if result.reason]
        return next(iter(failed or results), None)

    def _results(self, bucket: str, key: str) -> Iterator[JobResult | None]:
        first = self._read_result(bucket, f"{key}/result.json")
        yield first
        if first is None or first.reason:
            return
        try:
            found = self._clients.call("s3", "ListObjectsV2", Bucket=bucket, Prefix=f"{key}/result.")
        except (NotFound, AuthError):
            return
        for row in found.get("Contents", ()):
            name = str(row["Key"])
            if name.endswith(".json") and not name.endswith("/result.json"):
                yield self._read_result(bucket, name)

    def _read_result(self, bucket: str, key: str) -> JobResult | None:
        from botocore.exceptions import BotoCoreError

        try:
            body = self._clients.call("s3", "GetObject", Bucket=bucket, Key=key)["Body"]
            return msgspec.json.decode(body.read(RESULT_BYTES_MAX), type=JobResult)
        except BotoCoreError as error:  # while it was read: the call itself has its own words
            message = "the file in which the job tells its end broke off as it was read"
            raise Unavailable(message, adapter=ADAPTER, operation="jobs.status") from error
        except (
            NotFound,
            AuthError,
            msgspec.DecodeError,
        ):  # torn, or not ours to read: SageMaker tells enough
            return None


def _is_error(finding: Finding) -> bool:
    return finding.severity is Severity.ERROR


def _no_job(job_id: str, operation: str) -> BridgeError:
    return NotFound(
        f"there is no job {job_id[:80]!r}", adapter=ADAPTER, operation=operation, hint="bridge jobs list"
    )
