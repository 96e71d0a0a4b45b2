"""What every part of the emulator stands on: one account in one region, its clock, its tags, its states.

A module of operations exports ``OPERATIONS`` (and, where it has such, ``METRICS_OPERATIONS`` and
``RUNTIME_OPERATIONS``): AWS's name of the operation, and a function of the cloud and the request.

- The request was checked against the service's own model before: required members are there, types, lengths,
  patterns and enumerations hold. Times are seconds since 1970, blobs are bytes.
- An answer has the members of the output shape; times are seconds, members without a value are left out.
- Operations of SageMaker and of metrics run one at a time, with ``cloud.lock`` held. Those of the runtime run
  without it, since they wait for a model.
- What AWS refuses raises ``Refused``. Anything else that is raised is a fault of the emulator (HTTP 500).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from trackbridge.testing.emulators.cloud import EmulatedCloud
from trackbridge.testing.emulators.sagemaker.refusal import Refused
from trackbridge.testing.emulators.sagemaker.tags import Tags

__all__ = ["ACCOUNT", "Cloud", "Operation", "Refused", "identity_of"]

ACCOUNT = "210987654321"
"""Not the one that moto has by default: what it keeps for others in this process stays apart."""


class Cloud(EmulatedCloud):
    """One AWS account in one region.

    Args:
        region: Such as ``us-east-1``.
        account: Twelve digits.
        pace: Seconds that a second of a life cycle takes; less is quicker.
    """

    def __init__(self, region: str = "us-east-1", account: str = ACCOUNT, *, pace: float = 1.0) -> None:
        super().__init__(pace)
        self.region, self.account = region, account
        self.partition = "aws-cn" if region.startswith("cn-") else "aws"
        self.skew_s = 0.0
        """How far AWS's clock is ahead of this machine's: for signatures and times alike."""
        self.tags = Tags()
        self.denies: Callable[[str], bool] = lambda _: False
        """Tells whether a right, such as ``iam:PassRole``, was taken away from who calls."""
        self.role_environment: Callable[[str], Mapping[str, str]] = lambda _: self.environment
        """``environment`` for a role, by its ARN: with keys of its own, as a job or a model has them."""

    def now_s(self) -> float:
        """Return AWS's time, in seconds since 1970, to the millisecond."""
        return int((self.clock.now_s() + self.skew_s) * 1000) / 1000

    def signing_now_s(self) -> float:
        """Return the time that signatures are held against: a clock moved on by a test does not count."""
        return time.time() + self.skew_s

    def arn(self, kind: str, name: str) -> str:
        """Return the ARN of one of SageMaker's resources, such as ``("experiment", "digits")``."""
        return f"arn:{self.partition}:sagemaker:{self.region}:{self.account}:{kind}/{name}"

    @property
    def caller(self) -> str:
        """The ARN of whoever sent the request that this thread answers."""
        held: str | None = getattr(self._callers, "arn", None)
        return held or f"arn:{self.partition}:iam::{self.account}:user/someone"

    @caller.setter
    def caller(self, arn: str | None) -> None:
        self._callers.arn = arn

    @property
    def caller_account(self) -> str:
        """The account of whoever sent the request."""
        return self.caller.split(":")[4] or self.account

    def user_context(self) -> dict[str, Any]:
        """Return who made or changed something, as AWS tells it (``CreatedBy``, ``LastModifiedBy``)."""
        return {"IamIdentity": identity_of(self.caller)}

    def s3(self) -> Any:
        """Return moto's backend of S3."""
        return _backend("s3", self.account, self.partition)

    def logs(self) -> Any:
        """Return moto's backend of CloudWatch Logs."""
        return _backend("logs", self.account, self.region)

    def iam(self) -> Any:
        """Return moto's backend of IAM."""
        return _backend("iam", self.account, self.partition)

    def ecr(self) -> Any:
        """Return moto's backend of ECR."""
        return _backend("ecr", self.account, self.region)

    def cloudwatch(self) -> Any:
        """Return moto's backend of CloudWatch."""
        return _backend("cloudwatch", self.account, self.region)

    def reset(self) -> None:
        """Make everything new. What runs is stopped."""
        super().reset()
        self.tags = Tags()
        self.skew_s = 0.0


Operation = Callable[[Cloud, dict[str, Any]], dict[str, Any]]
"""What answers one of SageMaker's operations."""


def identity_of(arn: str) -> dict[str, str]:
    """Return the members of ``IamIdentity`` for a principal."""
    return {"Arn": arn, "PrincipalId": f"AIDA:{arn.rpartition('/')[2]}"}


def _backend(service: str, account: str, where: str) -> Any:
    from moto.backends import get_backend

    backends: Mapping[str, Any] = get_backend(service)  # type: ignore[call-overload]
    return backends[account][where]
