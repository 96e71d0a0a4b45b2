"""What a build context can hold, and what it takes to build and run its image."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from trackbridge.domain.deployment_changes import checked_endpoint_name, checked_shares
from trackbridge.domain.deployments import DeploymentSpec
from trackbridge.errors import Rejected
from trackbridge.ports.deployments import features_of
from trackbridge.ports.findings import Finding, Severity
from trackbridge_adapters.docker.capabilities import CAPABILITIES
from trackbridge_adapters.docker.config import ADAPTER
from trackbridge_adapters.docker.state import CURRENT

OPERATION = "deployments.plan"
WORKERS_MAX = 256
TIMEOUT_S_MAX = 24 * 3600.0
VALUE_CHARS_MAX = 32_768
OPTIONS = {
    "base_image": re.compile(r"[a-z0-9][A-Za-z0-9._/:-]{0,254}(@sha256:[0-9a-f]{64})?"),
    "system_packages": re.compile(r"[a-z0-9][a-z0-9.+-]+(,[a-z0-9][a-z0-9.+-]+)*"),
    "package": re.compile(r"wheel|index"),
    "extras": re.compile(r"[a-z]+(,[a-z]+)*"),
    "pins": re.compile(r"here|none"),
    "trial": re.compile(r"here|none"),
}
"""What a deployment's options may be: see ``docs/containers.md``."""
LACKING = (
    *("instance_type", "memory_mib", "concurrency_max", "authentication", "environment", "image"),
    *("detailed_metrics", "alarms"),
)

_VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_BREAKS = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]")
OURS = ("BRIDGE_SERVING_NAME", "BRIDGE_SERVING_MODEL", "BRIDGE_MODEL_PATH")


def check_spec(spec: DeploymentSpec) -> None:
    """Return if a build context can hold a spec.

    Raises:
        Rejected: A name, a number, a variable or an option is not possible here.
        Unsupported: It asks for a feature that is not declared.
    """
    checked_endpoint_name(spec.endpoint)
    checked_endpoint_name(spec.deployment, "deployment")
    for feature in features_of(spec):
        CAPABILITIES.require(feature, operation=OPERATION)
    checked_shares(spec)
    if spec.deployment in (CURRENT, "contexts"):
        raise _rejected(f"{spec.deployment!r} is a name of ours here", "choose another name")
    for field in LACKING:
        if getattr(spec, field):
            hint = "write -C base_image=…" if field == "image" else f"leave {field} out"
            raise _rejected(f"{field} is nothing that a build context has", hint)
    if not 1 <= spec.instance_count <= WORKERS_MAX:
        raise _rejected(f"{spec.instance_count} processes are not possible", f"use 1 to {WORKERS_MAX}")
    if not 0 < spec.request_timeout_s <= TIMEOUT_S_MAX:
        raise _rejected(f"a timeout of {spec.request_timeout_s} s is not possible", "use a positive number")
    _check_variables(spec.variables)
    _check_options(spec.options)


def _check_variables(variables: dict[str, str]) -> None:
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name) or _BREAKS.search(value) or len(value) > VALUE_CHARS_MAX:
            raise _rejected(
                f"{name[:80]!r} cannot be a variable of a Dockerfile, or its value has a line break",
                "use letters and _; give long values to docker run",
            )
        if name in OURS:
            raise _rejected(f"{name} is set by the build context itself", "leave it out")


def _check_options(options: dict[str, str]) -> None:
    for name, value in options.items():
        if name not in OPTIONS:
            raise _rejected(f"there is no option {name[:80]!r}", f"use one of {', '.join(OPTIONS)}")
        if not OPTIONS[name].fullmatch(value):
            raise _rejected(f"{name} is {value[:80]!r}", "see docs/containers.md for what it may be")


def _rejected(message: str, hint: str) -> Rejected:
    return Rejected(message, adapter=ADAPTER, operation=OPERATION, hint=hint)


def commands_of(folder: Path, endpoint: str, deployment: str) -> tuple[str, str]:
    """Return the commands that build the image of a deployment, and run it."""
    tag = f"{endpoint}:{deployment}".lower()
    context = shlex.quote(str(folder / endpoint / deployment))
    return f"docker build -t {tag} {context}", f"docker run --rm -p 8080:8080 {tag}"


def findings_of(folder: Path, spec: DeploymentSpec) -> tuple[Finding, ...]:
    """Return what is to be done with the context once it is there."""
    build, run = commands_of(folder, spec.endpoint, spec.deployment)
    return (Finding(severity=Severity.OK, subject="image", message=f"afterwards: {build} && {run}"),)
