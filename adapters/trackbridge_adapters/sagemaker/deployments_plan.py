"""What SageMaker can hold of a deployment, told before anything is sent; and what is planned there."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

import msgspec

from trackbridge.domain.deployment_changes import (
    checked_endpoint_name,
    checked_shares,
    deployment_changes,
    removal_changes,
    traffic_changes,
)
from trackbridge.domain.deployments import (
    Authentication,
    DeploymentSpec,
    DeploymentState,
    EndpointState,
    EndpointStatus,
    Serving,
)
from trackbridge.domain.plans import Action, Change
from trackbridge.errors import Rejected
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.deployments import features_of
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.deployments_names import NATIVE_CHARS_MAX, native_endpoint
from trackbridge_adapters.sagemaker.deployments_options import Defaults, options_of
from trackbridge_adapters.sagemaker.limits import fits, limit_of
from trackbridge_adapters.sagemaker.place import Place

REALTIME_S_MAX, ASYNCHRONOUS_S_MAX = 60.0, 3600.0
"""How long a model may take for one answer (runtime service: InvokeEndpoint, InvokeEndpointAsync)."""
INSTANCES_MAX = 1000
MEMORY_MIB = tuple(range(1024, 6144 + 1, 1024))
SERVERLESS_CONCURRENCY = (1, 200)
ASYNCHRONOUS_CONCURRENCY = (1, 1000)
CONCURRENCY, MEMORY = 20, 2048
"""Of a serverless deployment that does not say: requests at once, and MiB."""
BATCH_CONCURRENCY_MAX = 16
"""Requests at once to one machine of a transform job: each may have 6 MB, all together 100."""
ALARMS_MAX = 10
_VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,1023}")
_OF_SERVERLESS = ("instance_type", "autoscale", "detailed_metrics", "capture_percent", "alarms")
_OF_LIVE = ("memory_mib", "autoscale", "mirror_percent", "capture_percent", "detailed_metrics", "alarms")
_BATCH_OPTIONS = ("role", "subnets", "security_groups", "network_isolation")
_MACHINE_OPTIONS = ("volume_gb", "routing")


class Planner:
    """Plans for one place; contacts nobody."""

    def __init__(self, place: Place, defaults: Defaults, capabilities: Capabilities) -> None:
        self._place = place
        self._defaults = defaults
        self._capabilities = capabilities

    def plan(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Change, ...]:
        """Return the changes to a spec.

        Raises:
            Rejected: SageMaker cannot hold it, by itself or beside what is there.
            Unsupported: It asks for a feature that is not declared.
        """
        self.check(spec)
        changes = deployment_changes(spec, observed)
        if observed is not None:
            _check_beside(spec, observed)
        return tuple(_as_mirror(change, spec) for change in changes)

    def plan_removal(self, endpoint: str, deployment: str, observed: EndpointState) -> tuple[Change, ...]:
        """Return the change that takes a deployment away; of a mirror that is one change, not two.

        Raises:
            Rejected: It has traffic.
        """
        changes = removal_changes(endpoint, deployment, observed)
        return tuple(change for change in changes if change.action is Action.DELETE)

    def plan_traffic(
        self, observed: EndpointState, traffic: Mapping[str, int], mirrors: Mapping[str, int] | None
    ) -> tuple[Change, ...]:
        """Return the change of the shares.

        Raises:
            Rejected: They do not add up, or SageMaker cannot mirror so.
        """
        changes = traffic_changes(observed, traffic, mirrors)
        for change in changes:
            wanted = (change.after or {}).get("mirror", {})
            if wanted:
                _check_mirrors(observed, set(wanted), [found.deployment for found in _living(observed)])
        return changes

    def check(self, spec: DeploymentSpec) -> None:
        """Return if SageMaker can hold a spec by itself.

        Raises:
            Rejected: It cannot.
        """
        checked_endpoint_name(spec.endpoint)
        checked_endpoint_name(spec.deployment, "deployment")
        checked_shares(spec)
        for feature in features_of(spec):
            self._capabilities.require(feature, operation="deployments.plan")
        if len(native_endpoint(self._place, spec.endpoint)) > NATIVE_CHARS_MAX:
            raise _rejected("endpoint", "its name with the place's prefix is too long", "use shorter names")
        _check_common(spec)
        options = options_of(spec.options)
        if not (spec.image or self._defaults.image):
            raise _rejected(
                "image",
                "nothing says which image serves the model",
                "name one in ECR: the spec's image, the place's option image, or "
                "BRIDGE_SAGEMAKER_SERVING_IMAGE; 'bridge deploy --target docker' writes what builds one",
            )
        {
            Serving.REALTIME: _check_realtime,
            Serving.SERVERLESS: _check_serverless,
            Serving.ASYNCHRONOUS: _check_asynchronous,
            Serving.BATCH: _check_batch,
        }[spec.serving](spec)
        if spec.serving is not Serving.SERVERLESS and "provisioned_concurrency" in options.numbers:
            raise _rejected("provisioned_concurrency", "is for serverless deployments", "leave it out")
        asynchronous = options.output_path or options.topics
        if asynchronous and spec.serving is not Serving.ASYNCHRONOUS:
            raise _rejected("output_path", "is for asynchronous deployments", "leave it and the topics out")


def _check_common(spec: DeploymentSpec) -> None:
    if spec.authentication not in (None, Authentication.IDENTITY):
        raise _rejected(
            "authentication",
            f"{spec.authentication.value!r} is nothing that SageMaker has: callers sign as themselves",
            "leave authentication out, or write identity",
        )
    if spec.environment is not None:
        raise _rejected("environment", "SageMaker has no environments", "name an image instead")
    if spec.image is not None and not fits("sagemaker", "CreateModel", "PrimaryContainer.Image", spec.image):
        raise _rejected(
            "image", f"{spec.image[:80]!r} is no image", "write ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG"
        )
    if not 1 <= spec.instance_count <= INSTANCES_MAX:
        raise _rejected("instance_count", f"is {spec.instance_count}", f"use 1 to {INSTANCES_MAX}")
    path = "ProductionVariants.member.InstanceType"
    if spec.instance_type is not None and not fits(
        "sagemaker", "CreateEndpointConfig", path, spec.instance_type
    ):
        known = limit_of("sagemaker", "CreateEndpointConfig", path, "enum") or ()
        meant = difflib.get_close_matches(spec.instance_type[:40], known, 1) or ["ml.m5.large"]
        found = f"{spec.instance_type[:40]!r} is no type of instance that SageMaker serves models on"
        raise _rejected("instance_type", found, f"write one such as {meant[0]}")
    if len(spec.alarms) > ALARMS_MAX or not all(0 < len(name) <= 255 for name in spec.alarms):
        raise _rejected("alarms", "cannot be so", f"name up to {ALARMS_MAX} alarms of CloudWatch")
    for name, value in spec.variables.items():
        fitting = fits("sagemaker", "CreateModel", "PrimaryContainer.Environment.value", value)
        if not _VARIABLE.fullmatch(name) or not fitting:
            raise _rejected(
                "variables",
                f"{name[:80]!r} cannot be a variable of a container",
                "use letters, digits and _ in its name, and at most 1024 characters in its value",
            )


def _check_realtime(spec: DeploymentSpec) -> None:
    _check_timeout(spec, REALTIME_S_MAX)
    _check_machines(spec, least=1)
    if spec.concurrency_max is not None and not 1 <= spec.concurrency_max <= ASYNCHRONOUS_CONCURRENCY[1]:
        raise _rejected("concurrency_max", f"is {spec.concurrency_max}", "use 1 to 1000")


def _check_serverless(spec: DeploymentSpec) -> None:
    _check_timeout(spec, REALTIME_S_MAX)
    _check_serverless_options(spec)
    for name in _OF_SERVERLESS:
        if getattr(spec, name):
            raise _rejected(name, "is nothing that a serverless deployment has", f"leave {name} out")
    if spec.instance_count != 1:
        raise _rejected("instance_count", "a serverless deployment has no instances", "leave it out")
    if spec.memory_mib is not None and spec.memory_mib not in MEMORY_MIB:
        told = ", ".join(map(str, MEMORY_MIB))
        raise _rejected("memory_mib", f"is {spec.memory_mib}", f"use one of {told}")
    least, most = SERVERLESS_CONCURRENCY
    if spec.concurrency_max is not None and not least <= spec.concurrency_max <= most:
        raise _rejected("concurrency_max", f"is {spec.concurrency_max}", f"use {least} to {most}")


def _check_serverless_options(spec: DeploymentSpec) -> None:
    options = options_of(spec.options)
    for name in _MACHINE_OPTIONS:
        if name in spec.options:
            raise _rejected(name, "is nothing that a serverless deployment has", f"leave {name} out")
    if options.subnets or options.network_isolation:
        raise _rejected("subnets", "a serverless deployment is in no network of yours", "leave it out")
    if options.update != "all_at_once":
        raise _rejected("update", "a serverless deployment is updated all at once", "leave it out")
    if options.numbers.get("provisioned_concurrency", 0) > (spec.concurrency_max or CONCURRENCY):
        raise _rejected("provisioned_concurrency", "is more than concurrency_max", "use at most as much")


def _check_asynchronous(spec: DeploymentSpec) -> None:
    _check_timeout(spec, ASYNCHRONOUS_S_MAX)
    _check_machines(spec, least=0)
    least, most = ASYNCHRONOUS_CONCURRENCY
    if spec.concurrency_max is not None and not least <= spec.concurrency_max <= most:
        raise _rejected("concurrency_max", f"is {spec.concurrency_max}", f"use {least} to {most}")
    if spec.mirror_percent:
        raise _rejected("mirror_percent", "asynchronous deployments have no mirrors", "leave it out")


def _check_batch(spec: DeploymentSpec) -> None:
    _check_timeout(spec, ASYNCHRONOUS_S_MAX)
    for name in _OF_LIVE:
        if getattr(spec, name):
            raise _rejected(name, "is nothing that the scoring of files has", f"leave {name} out")
    for name in spec.options:
        if name not in _BATCH_OPTIONS:
            raise _rejected(name, "is nothing that the scoring of files has", f"leave {name} out")
    if spec.concurrency_max is not None and not 1 <= spec.concurrency_max <= BATCH_CONCURRENCY_MAX:
        raise _rejected("concurrency_max", f"is {spec.concurrency_max}", f"use 1 to {BATCH_CONCURRENCY_MAX}")


def _check_timeout(spec: DeploymentSpec, most_s: float) -> None:
    if not 0 < spec.request_timeout_s <= most_s:
        raise _rejected(
            "request_timeout_s",
            f"is {spec.request_timeout_s}",
            f"SageMaker waits at most {most_s:g} s for an answer of a {spec.serving.value} deployment",
        )


def _check_machines(spec: DeploymentSpec, *, least: int) -> None:
    if spec.memory_mib is not None:
        raise _rejected("memory_mib", "is for serverless deployments", "choose an instance type instead")
    scaling = spec.autoscale
    if scaling is None:
        return
    if (
        not least <= scaling.instances_min <= scaling.instances_max <= INSTANCES_MAX
        or scaling.instances_max < 1
    ):
        raise _rejected(
            "autoscale",
            f"from {scaling.instances_min} to {scaling.instances_max} instances is not possible",
            f"use {least} to {INSTANCES_MAX}, the smaller number first",
        )
    if not scaling.requests_per_instance_target > 0:
        raise _rejected(
            "autoscale", "its target is no positive number", "give requests a minute for an instance"
        )
    if (spec.instance_type or "").startswith("ml.t2."):
        raise _rejected("instance_type", f"{spec.instance_type} does not scale by itself", "use ml.m5.large")


def _check_beside(spec: DeploymentSpec, observed: EndpointState) -> None:
    """Refuse what cannot stand beside the other deployments of an endpoint."""
    others = [found for found in _living(observed) if found.deployment != spec.deployment]
    kinds = {found.spec.serving for found in _living(observed) if found.spec is not None}
    if kinds and kinds != {spec.serving}:
        raise _rejected(
            "serving",
            f"endpoint {spec.endpoint!r} is {next(iter(kinds)).value}, and SageMaker changes that for none",
            "use another endpoint, or delete this one first",
        )
    if others and spec.serving in (Serving.SERVERLESS, Serving.ASYNCHRONOUS):
        names = ", ".join(found.deployment for found in others)
        raise _rejected(
            "deployment",
            f"a {spec.serving.value} endpoint has one deployment, and {spec.endpoint!r} has {names}",
            f"replace it: deploy under its name, {others[0].deployment}",
        )
    mirrors = {found.deployment for found in others if found.mirror_percent}
    if spec.mirror_percent:
        mirrors.add(spec.deployment)
    if mirrors:
        _check_mirrors(observed, mirrors, [*(found.deployment for found in others), spec.deployment])


def _check_mirrors(observed: EndpointState, mirrors: set[str], names: list[str]) -> None:
    if len(mirrors) == 1 and len(set(names)) == 2:
        return
    others = ", ".join(sorted(set(names) - mirrors))
    raise _rejected(
        "mirror_percent",
        f"SageMaker mirrors from one deployment to one other, and {observed.endpoint!r} would have "
        f"{others or 'none'} beside {', '.join(sorted(mirrors))}",
        "remove the deployments that are not needed, or end the mirroring first",
    )


def _living(observed: EndpointState) -> Iterator[DeploymentState]:
    """Yield the deployments that SageMaker has."""
    for found in observed.deployments:
        is_there = found.traffic_percent or found.mirror_percent
        if found.status is not EndpointStatus.FAILED or is_there:
            yield found


def _as_mirror(change: Change, spec: DeploymentSpec) -> Change:
    """Let a new deployment that is to be a mirror be made as one: a change less that takes minutes."""
    if change.action is not Action.CREATE or not spec.mirror_percent or change.after is None:
        return change
    after = {**change.after, "mirror_percent": spec.mirror_percent}
    return msgspec.structs.replace(change, after=after)


def _rejected(subject: str, message: str, hint: str) -> Rejected:
    return Rejected(f"{subject}: {message}", adapter=ADAPTER, operation="deployments.plan", hint=hint)
