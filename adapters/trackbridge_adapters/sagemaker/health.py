"""What ``bridge doctor`` asks AWS, beside what it asks of every MLflow endpoint: where, who, and the server.

AWS itself (STS, SageMaker's control plane) is asked only what needs no permission, or what may be refused
without harm: the server works without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from trackbridge.domain.secrets import shown
from trackbridge.errors import BridgeError, MissingExtra
from trackbridge.ports.findings import CREDENTIALS, Finding, Severity
from trackbridge_adapters._mlflow_rest.health import OLDEST
from trackbridge_adapters.sagemaker.arn import DOCUMENTED, MlflowArn
from trackbridge_adapters.sagemaker.config import Access
from trackbridge_adapters.sagemaker.credentials import Credentials, new_session

ABSENT = frozenset({"ResourceNotFound", "ResourceNotFoundException", "ValidationException"})
"""What SageMaker answers for a server that is not there."""
STOPPED = frozenset({"Stopping", "Stopped", "StopFailed"})
WORKING = frozenset({"Created", "Updating", "Updated", "UpdateFailed", "Started", "MaintenanceComplete"})


def examine_aws(arn: MlflowArn, access: Access, credentials: Credentials) -> tuple[Finding, ...]:
    """Return what is found; never raises for what is wrong."""
    findings = list(_region(arn, access))
    if any(finding.severity is Severity.ERROR for finding in findings) or not access.has_control_plane:
        return tuple(findings)
    try:
        findings += [*_identity(arn, access, credentials), *_server(arn, credentials)]
    except BridgeError:
        return tuple(findings)  # without keys; the look at the endpoint has told that
    return tuple(findings)


def _region(arn: MlflowArn, access: Access) -> Iterator[Finding]:
    try:
        known = new_session().get_available_regions("sagemaker", partition_name=arn.partition)
    except MissingExtra:
        return
    if known and arn.region not in known:
        yield _finding(
            Severity.ERROR,
            "region",
            f"{arn.region!r} is no region of {arn.partition} that has SageMaker",
            f"correct the ARN; known are {', '.join(sorted(known))}",
        )
    elif arn.partition not in DOCUMENTED and not access.endpoint:
        yield _finding(
            Severity.WARNING,
            "region",
            f"AWS does not document the host of managed MLflow in {arn.partition}; tried is {arn.url}",
            "name the host: bridge remotes add NAME ARN --option endpoint=https://HOST",
        )


def _identity(arn: MlflowArn, access: Access, credentials: Credentials) -> Iterator[Finding]:
    found = _asked(credentials, "sts", "get_caller_identity")
    if isinstance(found, str):
        return  # the look at the endpoint tells what is wrong with the keys
    yield _finding(Severity.OK, CREDENTIALS, f"signed in as {found.get('Arn')}")
    if found.get("Account") not in (None, arn.account):
        yield _finding(
            Severity.WARNING,
            CREDENTIALS,
            f"you are of the account {found['Account']}, the server is of {arn.account}",
            f"take on a role of {arn.account}: option role_arn, or SAGEMAKER_MLFLOW_ASSUME_ROLE_ARN",
        )


def _server(arn: MlflowArn, credentials: Credentials) -> Iterator[Finding]:
    if arn.kind_name == "mlflow-app":
        found = _asked(credentials, "sagemaker", "describe_mlflow_app", Arn=arn.text)
    else:
        operation = "describe_mlflow_tracking_server"
        found = _asked(credentials, "sagemaker", operation, TrackingServerName=arn.name)
    if isinstance(found, str):  # it need not be permitted
        if found in ABSENT:
            yield _finding(
                Severity.ERROR,
                "server",
                f"there is no {arn.kind_name} {arn.name} in {arn.region}",
                f"correct region, account or name in the ARN: see {arn.command}",
            )
        return
    status = str(found.get("TrackingServerStatus") or found.get("Status") or "")
    version = str(found.get("MlflowVersion") or "")
    if status in STOPPED:
        name = f"--tracking-server-name {arn.name} --region {arn.region}"
        fix = f"start it: aws sagemaker start-mlflow-tracking-server {name}"
        yield _finding(Severity.ERROR, "server", f"{arn.name} is stopped (status {status})", fix)
    elif status and status not in WORKING:
        fix = "wait until it is done; what is logged meanwhile is kept and delivered later"
        yield _finding(Severity.WARNING, "server", f"{arn.name} has the status {status}", fix)
    else:
        yield _finding(Severity.OK, "server", f"{arn.name} is there, with mlflow {version or 'unknown'}")
    number = re.match(r"(\d+)\.(\d+)", version)
    if number is not None and (int(number[1]), int(number[2])) < OLDEST:
        yield _finding(
            Severity.WARNING,
            "version",
            f"SageMaker runs mlflow {version} on it; older than 2.16 is not tested",
            "make a server with a newer MlflowVersion; models and runs can be migrated to it",
        )


def _asked(credentials: Credentials, service: str, operation: str, **named: Any) -> Any:
    """Return an answer of AWS's, or the code of its refusal; "" where it is not reached."""
    client = credentials.client(service)
    try:
        return getattr(client, operation)(**named)
    except Exception as error:  # botocore's many, an old botocore's missing operation among them
        code = (getattr(error, "response", None) or {}).get("Error", {}).get("Code", "")
        return shown(str(code))
    finally:
        client.close()


def _finding(severity: Severity, subject: str, message: str, fix: str = "") -> Finding:
    return Finding(severity=severity, subject=subject, message=message, fix=fix)
