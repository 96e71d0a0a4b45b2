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

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from trackbridge.testing.emulators.sagemaker.clock import Clock
from trackbridge.testing.emulators.sagemaker.refusal import Refused
from trackbridge.testing.emulators.sagemaker.tags import Tags

__all__ = ["ACCOUNT", "Cloud", "Operation", "Refused", "identity_of"]

ACCOUNT = "210987654321"
"""Not the one that moto has by default: what it keeps for others in this process stays apart."""
Part = TypeVar("Part")


class Cloud:
    """One AWS account in one region.

    Args:
        region: Such as ``us-east-1``.
        account: Twelve digits.
        pace: Seconds that a second of a life cycle takes; less is quicker.
    """

    def __init__(self, region: str = "us-east-1", account: str = ACCOUNT, *, pace: float = 1.0) -> None:
        self.region, self.account, self.pace = region, account, pace
        self.partition = "aws-cn" if region.startswith("cn-") else "aws"
        self.lock = threading.RLock()
        """Held during an operation, and while something that was due runs."""
        self.clock = Clock(self.lock)
        self.skew_s = 0.0
        """How far AWS's clock is ahead of this machine's: for signatures and times alike."""
        self.tags = Tags()
        self.environment: dict[str, str] = {}
        """The AWS_* variables by which a program finds this cloud: for containers that are started."""
        self.role_environment: Callable[[str], Mapping[str, str]] = lambda _: self.environment
        """The same for a role, by its ARN: with keys of its own, as a job or a model has them."""
        self._parts: dict[type[Any], Any] = {}
        self._callers = threading.local()

    def now_s(self) -> float:
        """Return AWS's time, in seconds since 1970, to the millisecond."""
        return int((self.clock.now_s() + self.skew_s) * 1000) / 1000

    def signing_now_s(self) -> float:
        """Return the time that signatures are held against: a clock moved on by a test does not count."""
        return time.time() + self.skew_s

    def part(self, kind: Callable[[Cloud], Part]) -> Part:
        """Return the state of a module: an instance of its class, made with this cloud when first asked for.

        A ``close()`` that it has is called by ``reset`` and ``close``.
        """
        with self.lock:
            if kind not in self._parts:
                self._parts[kind] = kind(self)  # type: ignore[index]  # a class
            part: Part = self._parts[kind]  # type: ignore[index]
            return part

    def arn(self, kind: str, name: str) -> str:
        """Return the ARN of one of SageMaker's resources, such as ``("experiment", "digits")``."""
        return f"arn:{self.partition}:sagemaker:{self.region}:{self.account}:{kind}/{name}"

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call a function with the lock held, some seconds of a life cycle from now."""
        self.clock.later(seconds * self.pace, function)

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

    def cloudwatch(self) -> Any:
        """Return moto's backend of CloudWatch."""
        return _backend("cloudwatch", self.account, self.region)

    def reset(self) -> None:
        """Make everything new. What runs is stopped."""
        self.clock.reset()
        with self.lock:
            parts, self._parts = self._parts, {}
        # Without the lock: a process that ends may want it to say so.
        _close(parts)
        self.clock.reset()
        self.tags = Tags()
        self.skew_s = 0.0

    def close(self) -> None:
        """Stop the clock and everything that was started."""
        self.clock.close()
        with self.lock:
            parts, self._parts = self._parts, {}
        _close(parts)


Operation = Callable[[Cloud, dict[str, Any]], dict[str, Any]]
"""What answers one of SageMaker's operations."""


def identity_of(arn: str) -> dict[str, str]:
    """Return the members of ``IamIdentity`` for a principal."""
    return {"Arn": arn, "PrincipalId": f"AIDA:{arn.rpartition('/')[2]}"}


def _backend(service: str, account: str, where: str) -> Any:
    from moto.backends import get_backend

    backends: Mapping[str, Any] = get_backend(service)  # type: ignore[call-overload]
    return backends[account][where]


def _close(parts: Mapping[type[Any], Any]) -> None:
    for part in parts.values():
        close = getattr(part, "close", None)
        if close is not None:
            close()
