"""The role that a job runs with: the one that was named, else that of the notebook which submits it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trackbridge.errors import AuthError, NotFound, Rejected
from trackbridge.ports.findings import Finding
from trackbridge_adapters._jobs.findings import error
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.clients import Clients
from trackbridge_adapters.sagemaker.jobs_findings import unchecked
from trackbridge_adapters.sagemaker.jobs_settings import ROLE_VARIABLE, JobSettings

SERVICE = "sagemaker.amazonaws.com"
SESSION = "SageMaker"
"""How a session is called that SageMaker itself has opened with a role."""
_INSIDE = re.compile(
    rf"arn:(?P<partition>[a-z-]+):sts::(?P<account>[0-9]{{12}}):assumed-role/(?P<name>[^/]+)/{SESSION}"
)


def role_of(settings: JobSettings, clients: Clients) -> str:
    """Return the ARN of the role.

    Raises:
        Rejected: None was named, and this is no machine of SageMaker's.
    """
    if settings.role is not None:
        return settings.role
    caller = str(clients.call("sts", "GetCallerIdentity")["Arn"])
    found = _INSIDE.fullmatch(caller)
    if found is None:
        raise Rejected(
            "nothing says with which role the job runs",
            adapter=ADAPTER,
            operation="jobs.check",
            hint=f"name one that trusts {SERVICE}: the option job_role, or {ROLE_VARIABLE}="
            "arn:aws:iam::ACCOUNT:role/NAME",
        )
    try:
        return str(clients.call("iam", "GetRole", RoleName=found["name"])["Role"]["Arn"])
    except AuthError:  # without the right to look, the path is a guess: that of roles which the console makes
        path = "service-role/" if found["name"].startswith("AmazonSageMaker-") else ""
        return f"arn:{found['partition']}:iam::{found['account']}:role/{path}{found['name']}"


def role_findings(role: str, clients: Clients) -> Iterator[Finding]:
    """Yield what is wrong with a role, as far as IAM tells."""
    account = role.split(":")[4]
    if account != clients.account():
        yield error(
            "role",
            f"the role is of the account {account}, the job of {clients.account()}",
            "name a role of the same account: SageMaker takes no other",
        )
        return
    try:
        told = clients.call("iam", "GetRole", RoleName=role.rpartition("/")[2])["Role"]
    except NotFound:
        yield error("role", f"there is no role {role}", "make it, or correct the option job_role")
        return
    except AuthError as denied:
        yield unchecked("role", "the role", denied, "iam:GetRole")
        return
    if SERVICE not in str(told.get("AssumeRolePolicyDocument", "")):
        yield error(
            "role",
            f"{role} does not trust {SERVICE}",
            f'let its trust policy allow sts:AssumeRole to {{"Service": "{SERVICE}"}}',
        )
