"""What the local target can hold."""

from __future__ import annotations

import re

from trackbridge.domain.deployment_changes import checked_endpoint_name, checked_shares
from trackbridge.domain.deployments import DeploymentSpec
from trackbridge.errors import MissingExtra, Rejected
from trackbridge.ports.deployments import features_of
from trackbridge.ports.findings import Finding, Severity
from trackbridge_adapters.local.capabilities import ADAPTER, CAPABILITIES

INSTANCES_MAX = 256
TIMEOUT_S_MAX = 24 * 3600.0
OPTIONS = ("python", "queue_max", "body_bytes_max")
LACKING = ("memory_mib", "concurrency_max", "authentication", "environment", "detailed_metrics", "alarms")
PROGRAMS = ("httptools", "uvicorn")
INSTALL = "pip install 'trackbridge[serve]'"

_VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def check_spec(spec: DeploymentSpec) -> None:
    """Return if the local target can hold a spec.

    Raises:
        Rejected: A name, a number or an option is not possible here.
        Unsupported: It asks for a feature that is not declared.
    """
    checked_endpoint_name(spec.endpoint)
    checked_endpoint_name(spec.deployment, "deployment")
    checked_shares(spec)
    for feature in features_of(spec):
        CAPABILITIES.require(feature, operation="deployments.plan")
    if spec.image is not None:
        raise _rejected("there are no images on this machine", "leave the image out")
    if spec.instance_type is not None:
        raise _rejected("this machine is the only instance type", "leave the instance type out")
    for field in LACKING:
        if getattr(spec, field):
            raise _rejected(f"{field} is nothing that this machine has", f"leave {field} out")
    if not 1 <= spec.instance_count <= INSTANCES_MAX:
        raise _rejected(f"{spec.instance_count} instances are not possible", f"use 1 to {INSTANCES_MAX}")
    if not 0 < spec.request_timeout_s <= TIMEOUT_S_MAX:
        raise _rejected(f"a timeout of {spec.request_timeout_s} s is not possible", "use a positive number")
    for name, value in spec.variables.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise _rejected(f"{name[:80]!r} cannot be a variable of the environment", "use letters and _")
    _check_options(spec.options)


def _check_options(options: dict[str, str]) -> None:
    for name, value in options.items():
        if name not in OPTIONS:
            raise _rejected(f"there is no option {name[:80]!r}", f"use one of {', '.join(OPTIONS)}")
        is_number = re.fullmatch(r"[1-9][0-9]{0,11}", value) is not None
        if name != "python" and not is_number:
            raise _rejected(f"{name} is {value[:80]!r}", "use a positive whole number")


def _rejected(message: str, hint: str) -> Rejected:
    return Rejected(message, adapter=ADAPTER, operation="deployments.plan", hint=hint)


def check_programs() -> None:
    """Return if what serves is installed.

    Raises:
        MissingExtra: It is not.
    """
    missing = _missing_programs()
    if missing:
        raise MissingExtra(f"serving needs {missing}, not installed here", adapter=ADAPTER, hint=INSTALL)


def findings_of() -> tuple[Finding, ...]:
    """Return what would keep this machine from serving."""
    missing = _missing_programs()
    if not missing:
        return ()
    message = f"serving needs {missing}, not installed here"
    return (Finding(severity=Severity.ERROR, subject="programs", message=message, fix=INSTALL),)


def _missing_programs() -> str:
    from importlib.util import find_spec

    return ", ".join(name for name in PROGRAMS if find_spec(name) is None)
