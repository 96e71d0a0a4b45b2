"""From a deployment to what is sent: a model, and the config that has it beside the others.

A config never changes. The next one is drafted from the one in use as SageMaker tells it, with the weights
and numbers of instances that hold now: what somebody else has changed meanwhile stays.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from trackbridge.domain.deployments import DeploymentSpec, Serving
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.deployments_names import FOLDER, content_name, variant_of
from trackbridge_adapters.sagemaker.deployments_options import STEPS, Defaults, options_of
from trackbridge_adapters.sagemaker.deployments_plan import CONCURRENCY, MEMORY
from trackbridge_adapters.sagemaker.deployments_records import Companion, Served
from trackbridge_adapters.sagemaker.deployments_view import Variant, View
from trackbridge_adapters.sagemaker.limits import fits

ARCHIVE = ".tar.gz"
JSON_TYPES, CSV_TYPES = ["application/json"], ["text/csv"]
"""Content types that are captured as they are; others as Base64."""
FULL = 100.0
"""The weight of all live requests: weights are percents."""
ASYNCHRONOUS_BYTES_MAX = 1 << 30
"""What a request to an asynchronous endpoint may have (its object in S3)."""
CANARY_WAIT_S = 300
"""How long each step of an update bakes that does not say."""
_OF_SERVICE = frozenset(
    {
        "EndpointConfigName",
        "EndpointConfigArn",
        "CreationTime",
        "ProductionVariants",
        "ShadowProductionVariants",
        "EnableNetworkIsolation",
    }
)
"""What SageMaker tells of a config besides what it was asked for, and what is drafted anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A config to be: its request, the requests for models that it needs, and what is kept of it.

    ``excluded`` are the properties of variants that the config decides and not what holds now. ``leaving``
    are SageMaker's names of variants that go, or whose machines change.
    """

    request: dict[str, Any]
    models: list[dict[str, Any]] = field(default_factory=list)
    companion: Companion
    excluded: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()
    policy: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The config's name."""
        return str(self.request["EndpointConfigName"])


class Drafts:
    """Drafts requests for one place."""

    def __init__(self, backend: Backend, defaults: Defaults) -> None:
        self._backend = backend
        self._defaults = defaults

    # Models.

    def model(self, spec: DeploymentSpec, native: str, *, source: str, role: str) -> dict[str, Any]:
        """Return the request for the model of a deployment.

        Args:
            spec: What is wanted.
            native: SageMaker's name of the endpoint.
            source: Where the model lies, in S3.
            role: What it runs with.
        """
        options = options_of(spec.options)
        container: dict[str, Any] = {
            "Image": self.image_of(spec),
            "ModelDataSource": {"S3DataSource": data_source(source)},
            "Environment": _variables(spec),
        }
        if spec.detailed_metrics:
            container["ContainerMetricsConfig"] = {"MetricsEndpoints": [{"MetricsEndpointPath": "/metrics"}]}
        request: dict[str, Any] = {"PrimaryContainer": container, "ExecutionRoleArn": role}
        if options.subnets:
            request["VpcConfig"] = {
                "Subnets": list(options.subnets),
                "SecurityGroupIds": list(options.security_groups),
            }
        if options.network_isolation:
            request["EnableNetworkIsolation"] = True
        name = content_name((native, spec.deployment), [request, spec.model_digest])
        return {"ModelName": name, **request, "Tags": tags_of(spec, self._backend.context.clock_ms())}

    def image_of(self, spec: DeploymentSpec) -> str:
        """Return the image that serves a deployment."""
        return spec.image or self._defaults.image

    def instance_type(self, spec: DeploymentSpec) -> str:
        """Return the machines that a deployment runs on."""
        return spec.instance_type or self._defaults.jobs.instance_type

    def served(self, facts: dict[str, Any], model: str) -> Served:
        """Return what is kept of a deployment that is brought now, by this user."""
        return Served(facts=facts, model=model, time=self._backend.context.clock_ms(), user=_user())

    # Configs.

    def with_deployment(
        self, view: View, spec: DeploymentSpec, facts: dict[str, Any], model: dict[str, Any], *, mirror: int
    ) -> Draft:
        """Return the config in which a deployment stands as it is wanted."""
        current = view.find(spec.deployment)
        others = [each for each in view.variants if each.deployment != spec.deployment]
        is_mirror = current.mirrors if current is not None else bool(mirror)
        produced = [each for each in others if not each.mirrors]
        if current is not None:
            weight = current.weight
        elif is_mirror:
            weight = mirror / 100 * sum(each.weight for each in produced)
        else:
            weight = 0.0 if produced else FULL
        own = self._variant(spec, model["ModelName"], variant_of(spec.deployment, mirrors=is_mirror), weight)
        if spec.autoscale is not None and current is not None and current.desired_count:
            bounds = (own["InitialInstanceCount"], current.desired_count)
            own["InitialInstanceCount"] = min(max(bounds), spec.autoscale.instances_max)  # as it has scaled
        production = [_as_it_is(each) for each in produced]
        shadows = [_as_it_is(each) for each in others if each.mirrors]
        (shadows if is_mirror else production).append(own)
        served = {spec.deployment: self.served(facts, model["ModelName"])}
        excluded = ["DataCaptureConfig"]
        if current is not None and current.desired_count != own.get("InitialInstanceCount"):
            excluded.append("DesiredInstanceCount")
        is_other_machine = current is not None and current.asked.get("InstanceType") != own.get(
            "InstanceType"
        )
        return self._draft(
            view,
            production,
            shadows,
            served=served,
            wide=self._wide(spec, view.endpoint),
            models=[model],
            excluded=tuple(excluded),
            leaving=(current.name,) if current is not None and is_other_machine else (),
            policy=_policy(spec),
        )

    def without(self, view: View, deployment: str) -> Draft | None:
        """Return the config without a deployment; None when nothing would be left."""
        others = [each for each in view.variants if each.deployment != deployment]
        production = [_as_it_is(each) for each in others if not each.mirrors]
        if not production:
            return None
        gone = [each.name for each in view.variants if each.deployment == deployment]
        shadows = [_as_it_is(each) for each in others if each.mirrors]
        return self._draft(view, production, shadows, served={}, leaving=tuple(gone))

    def with_shares(self, view: View, traffic: Mapping[str, int], mirrors: Mapping[str, int]) -> Draft:
        """Return the config in which other deployments mirror than now."""
        production: list[dict[str, Any]] = []
        shadows: list[dict[str, Any]] = []
        for each in view.variants:
            is_mirror = bool(mirrors.get(each.deployment))
            part = {**_as_it_is(each), "VariantName": variant_of(each.deployment, mirrors=is_mirror)}
            share = (mirrors if is_mirror else traffic).get(each.deployment, 0)
            part["InitialVariantWeight"] = float(share)
            (shadows if is_mirror else production).append(part)
        changed = [each.name for each in view.variants if each.mirrors != bool(mirrors.get(each.deployment))]
        return self._draft(
            view, production, shadows, served={}, excluded=("DesiredWeight",), leaving=tuple(changed)
        )

    def _draft(
        self,
        view: View,
        production: list[dict[str, Any]],
        shadows: list[dict[str, Any]],
        *,
        served: dict[str, Served],
        wide: dict[str, Any] | None = None,
        models: list[dict[str, Any]] | None = None,
        excluded: tuple[str, ...] = (),
        leaving: tuple[str, ...] = (),
        policy: dict[str, Any] | None = None,
    ) -> Draft:
        kept = {name: value for name, value in view.config.items() if name not in _OF_SERVICE}
        if view.config.get("EnableNetworkIsolation"):
            kept["EnableNetworkIsolation"] = True
        if wide is not None:
            for name in ("DataCaptureConfig", "AsyncInferenceConfig", "MetricsConfig"):
                kept.pop(name, None)
            kept |= wide
        request: dict[str, Any] = {"ProductionVariants": production, **kept}
        if shadows:
            request["ShadowProductionVariants"] = shadows
        names = {variant["ModelName"] for variant in (*production, *shadows) if "ModelName" in variant}
        live = {
            name: old
            for name, old in view.kept.deployments.items()
            if old.model in names and name not in served
        }
        companion = Companion(
            deployments={**live, **served},
            models=tuple(sorted(names & {*view.kept.models, *(each["ModelName"] for each in models or ())})),
        )
        name = content_name((view.native,), [request, view.config_name])
        tags = [{"Key": "bridge.endpoint", "Value": view.endpoint}]
        return Draft(
            request={"EndpointConfigName": name, **request, "Tags": tags},
            models=models or [],
            companion=companion,
            excluded=excluded,
            leaving=leaving,
            policy=policy,
        )

    def _variant(self, spec: DeploymentSpec, model: str, name: str, weight: float) -> dict[str, Any]:
        options = options_of(spec.options)
        numbers = options.numbers
        variant: dict[str, Any] = {"VariantName": name, "ModelName": model, "InitialVariantWeight": weight}
        if spec.serving is Serving.SERVERLESS:
            serverless = {
                "MemorySizeInMB": spec.memory_mib or MEMORY,
                "MaxConcurrency": spec.concurrency_max or CONCURRENCY,
            }
            if "provisioned_concurrency" in numbers:
                serverless["ProvisionedConcurrency"] = numbers["provisioned_concurrency"]
            variant["ServerlessConfig"] = serverless
        else:
            scaling = spec.autoscale
            least = max(1, scaling.instances_min) if scaling is not None else spec.instance_count
            variant["InstanceType"] = self.instance_type(spec)
            variant["InitialInstanceCount"] = max(least, spec.instance_count if scaling is None else least)
        named = {
            "VolumeSizeInGB": "volume_gb",
            "ModelDataDownloadTimeoutInSeconds": "model_timeout_s",
            "ContainerStartupHealthCheckTimeoutInSeconds": "startup_timeout_s",
        }
        variant |= {field_: numbers[option] for field_, option in named.items() if option in numbers}
        if options.routing is not None:
            variant["RoutingConfig"] = {"RoutingStrategy": options.routing}
        return variant

    def _wide(self, spec: DeploymentSpec, endpoint: str) -> dict[str, Any]:
        """Return what a config has once, for all its variants."""
        folder = self._backend.bucket.address(f"{FOLDER}/{endpoint}")
        wide: dict[str, Any] = {}
        if spec.capture_percent:
            wide["DataCaptureConfig"] = {
                "EnableCapture": True,
                "InitialSamplingPercentage": spec.capture_percent,
                "DestinationS3Uri": f"{folder}/captured",
                "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
                "CaptureContentTypeHeader": {"JsonContentTypes": JSON_TYPES, "CsvContentTypes": CSV_TYPES},
            }
        if spec.serving is not Serving.SERVERLESS:
            is_on = spec.detailed_metrics  # AWS has the second one on, and bills it, unless told otherwise
            wide["MetricsConfig"] = {"EnableEnhancedMetrics": is_on, "EnableDetailedObservability": is_on}
        if spec.serving is Serving.ASYNCHRONOUS:
            wide["AsyncInferenceConfig"] = _asynchronous(spec, folder)
        return wide


def _asynchronous(spec: DeploymentSpec, folder: str) -> dict[str, Any]:
    options = options_of(spec.options)
    output = (options.output_path or f"{folder}/answers").rstrip("/")
    config: dict[str, Any] = {
        "OutputConfig": {"S3OutputPath": output, "S3FailurePath": f"{output}/failed"},
    }
    topics = {"SuccessTopic": "success_topic", "ErrorTopic": "error_topic"}
    told = {field_: options.topics[name] for field_, name in topics.items() if name in options.topics}
    if told:
        config["OutputConfig"]["NotificationConfig"] = told
    if spec.concurrency_max is not None:
        config["ClientConfig"] = {"MaxConcurrentInvocationsPerInstance": spec.concurrency_max}
    return config


def _as_it_is(variant: Variant) -> dict[str, Any]:
    """Return a variant's part of the next config, as it really stands now."""
    part = dict(variant.asked)
    part["InitialVariantWeight"] = variant.weight
    if variant.desired_count:
        part["InitialInstanceCount"] = variant.desired_count
    return part


def _policy(spec: DeploymentSpec) -> dict[str, Any] | None:
    """Return how a config takes over from the one before; None is SageMaker's own way, all at once."""
    options = options_of(spec.options)
    numbers, update = options.numbers, options.update
    policy: dict[str, Any] = {}
    timeout = (
        {"MaximumExecutionTimeoutInSeconds": numbers["update_timeout_s"]}
        if "update_timeout_s" in numbers
        else {}
    )
    wait_s = numbers.get("update_wait_s", CANARY_WAIT_S if update in STEPS else 0)
    size = {"Type": "CAPACITY_PERCENT", "Value": numbers.get("update_percent", STEPS.get(update, (0, 0))[0])}
    if update == "rolling":
        policy["RollingUpdatePolicy"] = {"MaximumBatchSize": size, "WaitIntervalInSeconds": wait_s, **timeout}
    elif update != "all_at_once" or spec.alarms or "termination_wait_s" in numbers or timeout or wait_s:
        routing: dict[str, Any] = {"Type": update.upper(), "WaitIntervalInSeconds": wait_s}
        if update in STEPS:
            routing["CanarySize" if update == "canary" else "LinearStepSize"] = size
        policy["BlueGreenUpdatePolicy"] = {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": numbers.get("termination_wait_s", 0),
            **timeout,
        }
    if spec.alarms:
        policy["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in spec.alarms]}
    return policy or None


def data_source(address: str) -> dict[str, Any]:
    """Return how SageMaker is told where a model lies: a folder, used as it is, or an archive."""
    if address.endswith(ARCHIVE):
        return {"S3Uri": address, "S3DataType": "S3Object", "CompressionType": "Gzip"}
    return {"S3Uri": f"{address.rstrip('/')}/", "S3DataType": "S3Prefix", "CompressionType": "None"}


def tags_of(spec: DeploymentSpec, now_ms: int) -> list[dict[str, str]]:
    """Return the tags by which a deployment is known in AWS's console; those that AWS can hold."""
    moment = datetime.fromtimestamp(now_ms / 1000, timezone.utc)
    told = {
        "bridge.endpoint": spec.endpoint,
        "bridge.deployment": spec.deployment,
        "bridge.model": spec.model,
        "bridge.digest": spec.model_digest,
        "bridge.user": _user(),
        "bridge.time": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
    }
    return [
        {"Key": key, "Value": value}
        for key, value in told.items()
        if fits("sagemaker", "CreateModel", "Tags.member.Value", value)
    ]


def _variables(spec: DeploymentSpec) -> dict[str, str]:
    """Return the variables of the container: the server's own, then the user's."""
    own = {
        "BRIDGE_SERVING_NAME": f"{spec.endpoint}/{spec.deployment}",
        "BRIDGE_SERVING_MODEL": spec.model,
        "BRIDGE_SERVING_TIMEOUT_S": f"{spec.request_timeout_s:g}",
    }
    if spec.serving is Serving.REALTIME and spec.concurrency_max is not None:
        own["BRIDGE_SERVING_WORKERS"] = str(spec.concurrency_max)
    if spec.serving is Serving.ASYNCHRONOUS:
        own["BRIDGE_SERVING_BODY_BYTES_MAX"] = str(ASYNCHRONOUS_BYTES_MAX)
    if spec.detailed_metrics:
        own["BRIDGE_TELEMETRY_SINKS"] = "cloudwatch"
    return own | spec.variables


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container whose user id has no name
        return ""
