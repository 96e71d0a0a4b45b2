"""What AWS says of a job before it is started: role, image, buckets, secrets, quotas. Costs nothing.

What may not be looked at is a warning, never an error: the job's role may be allowed more than we are. What
was found good, or could not be looked at, is not asked again for a while: a sweep submits a job a second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from trackbridge.domain.jobs import JobSpec
from trackbridge.errors import AuthError, BridgeError, ConfigError, NotFound, Rejected
from trackbridge.ports.findings import Finding, Severity
from trackbridge_adapters._jobs.findings import error, warning
from trackbridge_adapters.sagemaker.artifacts_linked import SCHEME
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.jobs_draft import Parts
from trackbridge_adapters.sagemaker.jobs_findings import refused, unchecked
from trackbridge_adapters.sagemaker.jobs_images import image_findings
from trackbridge_adapters.sagemaker.jobs_kinds import Kind
from trackbridge_adapters.sagemaker.jobs_roles import role_findings

REMEMBERED_MS = 120_000
AT_ONCE = 8
QUOTA_PAGES_MAX = 60
"""Of a hundred each; SageMaker has some 3,000 quotas, and no filter for them."""

Look = Callable[[], Iterable[Finding]]


class Checks:
    """Looks at what a job needs at AWS. Any thread may use it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._clients = backend.clients
        self._lock = threading.Lock()
        self._remembered: dict[str, tuple[int, tuple[Finding, ...]]] = {}
        self._quotas: dict[str, float] = {}
        self._quotas_at_ms: int | None = None

    def look(self, spec: JobSpec, kind: Kind, parts: Parts) -> tuple[Finding, ...]:
        """Return what is wrong or doubtful, as far as AWS tells."""
        machines = f"{kind.word} {parts.instance_type} {spec.compute.spot} {spec.compute.instance_count}"
        looks: dict[str, Look] = {
            f"role {parts.role}": partial(role_findings, parts.role, self._clients),
            f"image {parts.image}": partial(image_findings, parts.image, self._clients, self._backend.place),
            f"quota {machines}": partial(self._quota, spec, kind, parts.instance_type),
        }
        for subject, bucket in sorted(_buckets(spec, parts)):
            looks[f"{subject} {bucket}"] = partial(self.bucket_findings, subject, bucket)
        for name, reference in spec.secrets.items():
            looks[f"secret {name} {reference}"] = partial(self._secret, name, reference)
        with ThreadPoolExecutor(min(AT_ONCE, len(looks))) as pool:
            found = pool.map(lambda item: self._remembering(*item), looks.items())
            return tuple(finding for findings in found for finding in findings)

    def _remembering(self, name: str, look: Look) -> tuple[Finding, ...]:
        now_ms = self._backend.context.clock_ms()
        with self._lock:
            at_ms, known = self._remembered.get(name, (0, ()))
        if at_ms and now_ms - at_ms < REMEMBERED_MS:
            return known
        found = tuple(look())
        if not any(finding.severity is Severity.ERROR for finding in found):
            with self._lock:
                self._remembered[name] = (now_ms, found)
        return found

    def bucket_findings(self, subject: str, bucket: str) -> Iterator[Finding]:
        """Yield what is wrong with a bucket that is needed here."""
        region = self._backend.place.region
        try:
            told = self._clients.call("s3", "HeadBucket", Bucket=bucket).get("BucketRegion")
        except NotFound:
            if bucket != self._backend.bucket.name or self._backend.access.bucket:  # else it is made
                yield error(subject, f"there is no bucket {bucket}", f"make it: aws s3 mb s3://{bucket}")
            return
        except ConfigError as elsewhere:
            yield refused(subject, elsewhere)
            return
        except (AuthError, Rejected) as denied:
            yield unchecked(subject, f"the bucket {bucket}", denied, "s3:ListBucket")
            return
        if told and told != region:
            yield error(
                subject,
                f"the bucket {bucket} is in {told}, {region} is the place's",
                "copy the data to a bucket of the job's region, or run the job where the bucket is",
            )

    def _secret(self, name: str, reference: str) -> Iterator[Finding]:
        kind, _, place = reference.partition(":")
        action = "secretsmanager:DescribeSecret" if kind == "secretsmanager" else "ssm:DescribeParameters"
        try:
            is_there = self._finds_secret(place) if kind == "secretsmanager" else self._finds_parameter(place)
        except AuthError as denied:
            yield unchecked("secrets", f"what {name} refers to", denied, action)
            return
        if not is_there:
            yield error(
                "secrets",
                f"{name} refers to {reference}, which is not in {self._backend.place.region}",
                "make it there, or correct the reference",
            )

    def _finds_secret(self, place: str) -> bool:
        try:
            self._clients.call("secretsmanager", "DescribeSecret", SecretId=place.partition("#")[0])
        except NotFound:
            return False
        return True

    def _finds_parameter(self, name: str) -> bool:
        wanted = [{"Key": "Name", "Option": "Equals", "Values": [name]}]
        try:
            found = self._clients.call("ssm", "DescribeParameters", ParameterFilters=wanted)
        except NotFound:
            return False
        return bool(found.get("Parameters"))

    def _quota(self, spec: JobSpec, kind: Kind, instance_type: str) -> Iterator[Finding]:
        use = "spot training" if spec.compute.spot else kind.word.lower()
        wanted = spec.compute.instance_count
        name = f"{instance_type} for {use} job usage"
        try:
            limit = self.quota_of(name)
        except BridgeError as denied:  # of no kind is it a reason not to try
            yield unchecked("quota", "the quota", denied, "servicequotas:ListServiceQuotas")
            return
        if limit is None:
            yield warning("quota", f"AWS tells no quota {name!r}", "see whether the region has the type")
        elif limit < wanted:
            region = self._backend.place.region
            yield error(
                "quota",
                f"the account may have {limit:g} of {name!r}, the job needs {wanted}",
                f"ask for more: https://console.aws.amazon.com/servicequotas/home?region={region}"
                "#!/services/sagemaker/quotas",
            )

    def quota_of(self, name: str) -> float | None:
        """Return a quota; all are read at once, since AWS has no way to ask for one by its name."""
        now_ms = self._backend.context.clock_ms()
        with self._lock:
            if self._quotas_at_ms is None or now_ms - self._quotas_at_ms > REMEMBERED_MS:
                self._quotas = dict(self._all_quotas())
                self._quotas_at_ms = now_ms
            return self._quotas.get(name)

    def _all_quotas(self) -> Iterator[tuple[str, float]]:
        token: dict[str, str] = {}
        for _ in range(QUOTA_PAGES_MAX):
            answer = self._clients.call(
                "service-quotas", "ListServiceQuotas", ServiceCode="sagemaker", MaxResults=100, **token
            )
            for row in answer.get("Quotas", ()):
                yield str(row["QuotaName"]), float(row["Value"])
            if not answer.get("NextToken"):
                return
            token = {"NextToken": answer["NextToken"]}


def _buckets(spec: JobSpec, parts: Parts) -> set[tuple[str, str]]:
    """Return the buckets that a job needs, each with the part of the spec that names it."""
    addresses = [("bucket", parts.root)]
    addresses += [("inputs", found.address) for found in parts.inputs.values() if not found.local]
    addresses += [("outputs", address) for address in spec.outputs.values()]
    addresses += [("checkpoints", spec.checkpoints)] if spec.checkpoints is not None else []
    return {(subject, address.removeprefix(SCHEME).partition("/")[0]) for subject, address in addresses}
