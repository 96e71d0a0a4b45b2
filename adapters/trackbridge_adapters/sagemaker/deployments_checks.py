"""What AWS says of a deployment before it is billed: role, image, model, alarms, quota, name. Costs nothing.

What may not be looked at is a warning, never an error: the role may be allowed more than we are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from trackbridge.domain.deployments import DeploymentSpec, EndpointState, Serving
from trackbridge.errors import AuthError, BridgeError, NotFound, Rejected
from trackbridge.ports.findings import Finding
from trackbridge_adapters._jobs.findings import error, warning
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.deployments_options import Defaults, options_of
from trackbridge_adapters.sagemaker.deployments_payloads import SCHEME, can_read
from trackbridge_adapters.sagemaker.deployments_requests import Drafts, data_source
from trackbridge_adapters.sagemaker.jobs_checks import Checks
from trackbridge_adapters.sagemaker.jobs_findings import refused, unchecked
from trackbridge_adapters.sagemaker.jobs_images import image_findings
from trackbridge_adapters.sagemaker.jobs_roles import role_findings, role_of
from trackbridge_adapters.sagemaker.limits import check as check_limits

AT_ONCE = 8
ALARM_TYPES = ["MetricAlarm", "CompositeAlarm"]
"""Without them CloudWatch tells of metric alarms alone, though others have the names that are asked for."""
Look = Callable[[], Iterable[Finding]]


class DeploymentChecks:
    """Looks at what a deployment needs at AWS. Any thread may use it."""

    def __init__(self, backend: Backend, defaults: Defaults, drafts: Drafts) -> None:
        self._backend = backend
        self._clients = backend.clients
        self._defaults = defaults
        self._drafts = drafts
        self._jobs = Checks(backend)

    def look(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Finding, ...]:
        """Return what is wrong or doubtful, as far as AWS tells."""
        try:
            role = options_of(spec.options).role or role_of(self._defaults.jobs, self._clients)
            model = self._drafts.model(spec, spec.endpoint, source=self._source(spec), role=role)
            check_limits("sagemaker", "CreateModel", model)
        except Rejected as wrong:
            return (refused("deployment", wrong),)
        image = self._drafts.image_of(spec)
        looks: list[Look] = [
            partial(role_findings, role, self._clients),
            partial(image_findings, image, self._clients, self._backend.place),
            partial(self._bucket, self._source(spec)),
            partial(self._beside, spec, observed),
        ]
        if can_read(spec.model_source):
            looks.append(partial(self._model, spec.model_source))
        if spec.alarms:
            looks.append(partial(self._alarms, spec.alarms))
        if spec.serving is not Serving.SERVERLESS:
            looks.append(partial(self._quota, spec, observed))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = pool.map(_looked, looks)
            looked = tuple(finding for findings in found for finding in findings)
        return (*looked, *_sleeping(spec))

    def _source(self, spec: DeploymentSpec) -> str:
        return spec.model_source if can_read(spec.model_source) else self._backend.bucket.root

    def _bucket(self, source: str) -> Iterator[Finding]:
        bucket = source.removeprefix(SCHEME).partition("/")[0]
        yield from self._jobs.bucket_findings("model", bucket)

    def _model(self, source: str) -> Iterator[Finding]:
        address = data_source(source)["S3Uri"]
        bucket, _, key = address.removeprefix(SCHEME).partition("/")
        try:
            found = self._clients.call("s3", "ListObjectsV2", Bucket=bucket, Prefix=key, MaxKeys=1)
        except NotFound:
            return  # the look at the bucket says so
        except AuthError as denied:
            yield unchecked("model", "the model", denied, "s3:ListBucket")
            return
        if not found.get("Contents"):
            yield error(
                "model", f"nothing lies at {address}", "register the model again, or correct its source"
            )

    def _alarms(self, names: list[str]) -> Iterator[Finding]:
        try:
            told = self._clients.call(
                "cloudwatch", "DescribeAlarms", AlarmNames=names, AlarmTypes=ALARM_TYPES
            )
        except AuthError as denied:
            yield unchecked("alarms", "the alarms", denied, "cloudwatch:DescribeAlarms")
            return
        rows = [*told.get("MetricAlarms", ()), *told.get("CompositeAlarms", ())]
        states = {str(row["AlarmName"]): str(row.get("StateValue", "")) for row in rows}
        for name in names:
            if name not in states:
                yield error("alarms", f"there is no alarm {name!r}", "make it in CloudWatch, in this region")
            elif states[name] == "ALARM":
                yield warning(
                    "alarms", f"{name!r} rings already", "SageMaker would take the change back at once"
                )

    def _quota(self, spec: DeploymentSpec, observed: EndpointState | None) -> Iterator[Finding]:
        instance_type = self._drafts.instance_type(spec)
        name = f"{instance_type} for endpoint usage"
        try:
            limit = self._jobs.quota_of(name)
        except BridgeError as denied:  # of no kind is it a reason not to try
            yield unchecked("quota", "the quota", denied, "servicequotas:ListServiceQuotas")
            return
        # Blue/green: while a config takes over, the instances of all variants are there twice.
        wanted = spec.autoscale.instances_min if spec.autoscale is not None else spec.instance_count
        there = [found for found in observed.deployments if found.spec] if observed is not None else []
        others = sum(
            found.instance_count or 0
            for found in there
            if found.spec is not None and self._drafts.instance_type(found.spec) == instance_type
        )
        if limit is None:
            yield warning("quota", f"AWS tells no quota {name!r}", "see whether the region has the type")
        elif limit < wanted + others:
            region = self._backend.place.region
            yield error(
                "quota",
                f"the account may have {limit:g} of {name!r}, the deployment needs {wanted}"
                + (f" beside the {others} that serve until it is there" if others else ""),
                f"ask for more: https://console.aws.amazon.com/servicequotas/home?region={region}"
                "#!/services/sagemaker/quotas",
            )

    def _beside(self, spec: DeploymentSpec, observed: EndpointState | None) -> Iterator[Finding]:
        for found in observed.deployments if observed is not None else ():
            if found.deployment == spec.deployment:
                continue
            if found.spec is None:
                yield warning(
                    "endpoint",
                    f"its deployment {found.deployment} was not made by trackbridge",
                    "it stays as it is; see that nobody else expects the endpoint to be theirs alone",
                )
            elif found.spec.capture_percent != spec.capture_percent:
                yield warning(
                    "capture_percent",
                    f"SageMaker captures for all deployments alike: {found.deployment} goes from "
                    f"{found.spec.capture_percent} % to {spec.capture_percent} %",
                    "deploy with the same share, or know of it",
                )


def _sleeping(spec: DeploymentSpec) -> Iterator[Finding]:
    """Tell of requests that wake nobody: at zero instances a backlog up to the target just waits."""
    scaling = spec.autoscale
    if spec.serving is not Serving.ASYNCHRONOUS or scaling is None or scaling.instances_min:
        return
    target = scaling.requests_per_instance_target
    if target >= 1:
        yield warning(
            "autoscale",
            f"while there is no instance, requests wait until there are more than {target:g} of them",
            "lower requests_per_instance_target (below 1, the first one wakes it), or keep one instance",
        )


def _looked(look: Look) -> tuple[Finding, ...]:
    return tuple(look())
