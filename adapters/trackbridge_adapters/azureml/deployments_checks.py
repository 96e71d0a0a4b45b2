"""What Azure can hold of a deployment: looked at before anything is sent, asking nobody."""

from __future__ import annotations

import re
from collections.abc import Mapping

from trackbridge.domain.deployment_changes import checked_shares
from trackbridge.domain.deployments import Autoscale, DeploymentSpec, EndpointState, Serving
from trackbridge.domain.plans import Change
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.deployments import features_of
from trackbridge_adapters.azureml.deployments_names import checked_names, checked_size, rejected
from trackbridge_adapters.azureml.deployments_resources import BATCH

TIMEOUT_S_MAX = 180.0
INSTANCES_MAX = 50
MIRROR_PERCENT_MAX = 50
CONCURRENCY_MAX = 1000
LACKING = ("memory_mib", "alarms")
ONLINE_OPTIONS = (
    "code",
    "scoring_script",
    "payload",
    "queue_wait_s",
    "scoring_route",
    "health_route",
    "port",
)
BATCH_OPTIONS = ("code", "scoring_script", "compute", "mini_batch_size", "output_file", "error_threshold")
AZURE, MLFLOW, RAW = "azure", "mlflow", "raw"
"""Forms of payloads: of Azure's own server for MLflow's models, of MLflow's servers (and ours, which takes
Azure's as well), and of a program that only its maker knows."""
_VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_ROUTE = re.compile(r"/[\w./:~-]*")


def check_spec(spec: DeploymentSpec, capabilities: Capabilities) -> None:
    """Return if Azure can hold a spec.

    Raises:
        Rejected: A name, a number or an option is not possible.
        Unsupported: It asks for a feature that is not declared.
    """
    checked_names(spec.endpoint, spec.deployment)
    checked_shares(spec)
    for feature in features_of(spec):
        capabilities.require(feature, operation="deployments.plan")
    for field in LACKING:
        if getattr(spec, field):
            raise rejected(f"{field} is nothing that Azure ML has", f"leave {field} out")
    _check_machines(spec)
    _check_requests(spec)
    _check_container(spec)
    _check_options(spec)
    _check_variables(spec.variables)
    if spec.serving is Serving.BATCH:
        _check_batch(spec)
    checked_size(spec)


def _check_machines(spec: DeploymentSpec) -> None:
    if spec.serving is Serving.REALTIME and not spec.instance_type:
        raise rejected(
            "no instance type was given, and Azure bills by it",
            "name one of the region, such as Standard_DS3_v2: az ml compute list-sizes",
        )
    if not 1 <= spec.instance_count <= INSTANCES_MAX:
        raise rejected(f"{spec.instance_count} instances are not possible", f"use 1 to {INSTANCES_MAX}")
    scale = spec.autoscale
    if scale is not None:
        _check_scale(scale)


def _check_scale(scale: Autoscale) -> None:
    if not 1 <= scale.instances_min <= scale.instances_max <= INSTANCES_MAX:
        raise rejected(
            f"{scale.instances_min} to {scale.instances_max} instances are not possible",
            f"use 1 to {INSTANCES_MAX}, the lesser number first",
        )
    if not scale.requests_per_instance_target > 0:
        raise rejected(
            "the requests per instance must be more than 0", "say how many a minute one instance takes"
        )


def _check_requests(spec: DeploymentSpec) -> None:
    if not 0 < spec.request_timeout_s <= TIMEOUT_S_MAX and spec.serving is not Serving.BATCH:
        raise rejected(
            f"a timeout of {spec.request_timeout_s:g} s is not possible", f"use up to {TIMEOUT_S_MAX:g} s"
        )
    if spec.request_timeout_s <= 0:
        raise rejected(f"a timeout of {spec.request_timeout_s:g} s is not possible", "use a positive number")
    if spec.concurrency_max is not None and not 1 <= spec.concurrency_max <= CONCURRENCY_MAX:
        raise rejected(
            f"{spec.concurrency_max} requests at once are not possible", f"use 1 to {CONCURRENCY_MAX}"
        )
    if spec.mirror_percent > MIRROR_PERCENT_MAX:
        raise rejected(
            f"Azure copies at most {MIRROR_PERCENT_MAX} % of the requests, not {spec.mirror_percent}",
            f"use up to {MIRROR_PERCENT_MAX}",
        )


def _check_container(spec: DeploymentSpec) -> None:
    if spec.image and spec.environment:
        raise rejected("an image and an environment were given", "give one of the two")
    has_code = bool(spec.options.get("code"))
    if has_code != bool(spec.options.get("scoring_script")):
        raise rejected(
            "a scoring script needs both options: code (its folder) and scoring_script (its file there)",
            "give both, or neither",
        )
    if has_code and not (spec.image or spec.environment):
        raise rejected(
            "a scoring script needs an environment",
            "name one of the workspace: environment azureml:NAME:VERSION; or an image",
        )


def _check_options(spec: DeploymentSpec) -> None:
    known = BATCH_OPTIONS if spec.serving is Serving.BATCH else ONLINE_OPTIONS
    for name, value in spec.options.items():
        if name not in known:
            raise rejected(f"there is no option {name[:80]!r}", f"use one of {', '.join(known)}")
        if name in ("queue_wait_s", "port", "mini_batch_size") and not _NUMBER.fullmatch(value):
            raise rejected(f"{name} is {value[:80]!r}", "use a positive whole number")
        if name == "error_threshold" and not re.fullmatch(r"-1|[0-9]{1,9}", value):
            raise rejected(
                f"{name} is {value[:80]!r}", "use a whole number, or -1 for any number of failures"
            )
        if name in ("scoring_route", "health_route") and not _ROUTE.fullmatch(value):
            raise rejected(f"{name} is {value[:80]!r}", "use a path such as /score")
    if spec.options.get("payload", RAW) not in (AZURE, MLFLOW, RAW):
        raise rejected(f"payload is {spec.options['payload'][:80]!r}", f"use {AZURE}, {MLFLOW} or {RAW}")


def _check_variables(variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise rejected(f"{name[:80]!r} cannot be a variable of the environment", "use letters and _")


def _check_batch(spec: DeploymentSpec) -> None:
    for field in ("capture_percent", "mirror_percent", "autoscale", "detailed_metrics"):
        if getattr(spec, field):
            raise rejected(f"{field} is nothing that a batch endpoint has", f"leave {field} out")
    if spec.traffic_percent not in (0, 100):
        raise rejected(
            f"a batch endpoint cannot share its work: {spec.traffic_percent} %", "use 100, or 0 and name it"
        )
    if (spec.image or spec.environment) and not spec.options.get("code"):
        raise rejected(
            "a batch endpoint runs a scoring script on an image or environment, and none was given",
            "give the options code and scoring_script, or leave image and environment out",
        )
    if not spec.options.get("compute"):
        raise rejected(
            "no compute was given for the batch endpoint", "name a cluster of the workspace: option compute"
        )
    if spec.authentication is not None and spec.authentication.value != "identity":
        raise rejected("a batch endpoint asks who its caller is", "leave authentication out")


def check_endpoint(spec: DeploymentSpec, observed: EndpointState | None) -> None:
    """Return if a spec fits the endpoint that is there.

    Raises:
        Rejected: The endpoint is of the other kind, or its deployments take another form of payloads.
    """
    if observed is None:
        return
    is_batch = f"/{BATCH}/" in str(observed.native_id or "")
    if observed.native_id and is_batch != (spec.serving is Serving.BATCH):
        kind = "scores files" if is_batch else "answers requests"
        raise rejected(f"the endpoint {spec.endpoint!r} {kind}", "choose another name for the new endpoint")
    others = [found.spec for found in observed.deployments if found.deployment != spec.deployment]
    mixed = [
        other for other in others if other is not None and (form_of(other) == RAW) != (form_of(spec) == RAW)
    ]
    if mixed and not is_batch:
        raise rejected(
            f"{mixed[0].deployment!r} takes its payloads in another form, and one request may come to either",
            "give what has a scoring script or container of its own an endpoint of its own",
        )


def check_mirrors(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """Return changes if Azure can mirror as the change of the traffic says.

    Raises:
        Rejected: Copies would go to several deployments, or be more than half.
    """
    for change in changes:
        mirror = (change.after or {}).get("mirror") or {}
        if len(mirror) > 1:
            raise rejected(
                f"Azure copies requests to one deployment, not to {', '.join(sorted(mirror))}",
                "end the other mirror first, with 0 %",
            )
        if any(percent > MIRROR_PERCENT_MAX for percent in mirror.values()):
            raise rejected(
                f"Azure copies at most {MIRROR_PERCENT_MAX} % of the requests",
                f"use up to {MIRROR_PERCENT_MAX}",
            )
    return changes


def form_of(spec: DeploymentSpec) -> str:
    """Return the form of payloads that a deployment takes."""
    if spec.options.get("code") or spec.options.get("scoring_route"):
        usual = RAW
    else:
        usual = MLFLOW if spec.image or spec.environment else AZURE
    return spec.options.get("payload", usual)
