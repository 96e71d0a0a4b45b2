"""What the emulated model registry holds, and who may see it.

The registry knows more than one account: whoever calls belongs to the account of their ARN, and names are
those of their account. What belongs to another account is reached by its ARN, and only as its group's policy
allows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Cloud, Refused
from trackbridge.testing.emulators.sagemaker.registry_access import allows

GROUP, PACKAGE = "model-package-group", "model-package"


@dataclass(slots=True)
class Group:
    """A model package group. ``fields`` are what its description tells."""

    arn: str
    account: str
    fields: dict[str, Any]
    policy: str | None = None
    versions: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def key(self) -> tuple[str, str]:
        """Account and name, without regard to case."""
        return self.account, self.fields["ModelPackageGroupName"].lower()


@dataclass(slots=True)
class Package:
    """A model package, a version of a group or on its own. ``fields`` are what its description tells."""

    arn: str
    account: str
    fields: dict[str, Any]
    group: Group | None
    tokens: set[str] = field(default_factory=set)
    """The client tokens of its creation and updates."""

    @property
    def name(self) -> str:
        """The name of a package on its own; ``group/version``, with leading zeros, of a version."""
        if self.group is None:
            own: str = self.fields["ModelPackageName"]
            return own
        return f"{self.fields['ModelPackageGroupName']}/{self.fields['ModelPackageVersion']:09d}"


class Registry:
    """All groups and packages of all accounts."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.groups: dict[tuple[str, str], Group] = {}
        self.packages: dict[str, Package] = {}
        """By ARN."""
        self.tokens: dict[tuple[str, str, str], tuple[str, str]] = {}
        """Account, operation and client token -> digest of the request, and the ARN it was answered with."""
        self.validation_failure: str | None = None
        """The reason for which the next package that is validated fails."""
        self.create_s = 1.0
        """How long a package that is validated is Pending, and InProgress, each."""
        self.delete_s = 0.0
        """How long what is deleted is still told of, with the status Deleting."""

    def arn(self, kind: str, name: str, account: str | None = None) -> str:
        """Return an ARN of this registry: in small letters, whatever the name."""
        cloud = self._cloud
        owner = account or self.account()
        return f"arn:{cloud.partition}:sagemaker:{cloud.region}:{owner}:{kind}/{name.lower()}"

    def account(self) -> str:
        """Return the account of whoever calls."""
        return self._cloud.caller.split(":")[4] or self._cloud.account

    def group(self, name_or_arn: str, operation: str) -> Group:
        """Return a group that the caller may use.

        Raises:
            Refused: There is none, or it belongs to another account whose policy does not allow it.
        """
        arn = name_or_arn if _is_arn(name_or_arn) else self.arn(GROUP, name_or_arn)
        found = self.groups.get(_key(arn, GROUP))
        if found is not None and found.account != self.account():
            self._check(found, operation, found.arn)
        if found is None:
            raise Refused("ValidationException", f"ModelPackageGroup {arn} does not exist.")
        return found

    def package(self, name_or_arn: str, operation: str) -> Package:
        """Return a package that the caller may use.

        Raises:
            Refused: There is none, or it belongs to another account whose policy does not allow it.
        """
        arn = name_or_arn.lower() if _is_arn(name_or_arn) else self.arn(PACKAGE, name_or_arn)
        found = self.packages.get(arn)
        if found is None:
            raise Refused("ValidationException", f"ModelPackage {arn} does not exist.")
        if found.account != self.account():
            self._check(found.group, operation, found.arn)
        return found

    def versions(self, group: Group) -> Iterable[Package]:
        """Return the versions of a group."""
        return [package for package in self.packages.values() if package.group is group]

    def shared(self, operation: str) -> list[Group]:
        """Return the groups of other accounts that the caller may use."""
        caller, own = self._cloud.caller, self.account()
        return [
            group
            for group in self.groups.values()
            if group.account != own and allows(group.policy, caller, operation, group.arn)
        ]

    def end_package(self, package: Package) -> None:
        """Forget a package that is deleted, and its client tokens."""
        self._cloud.tags.end(package.arn)
        del self.packages[package.arn]
        self.tokens = {key: held for key, held in self.tokens.items() if held[1] != package.arn}

    def end_group(self, group: Group) -> None:
        """Forget a group that is deleted."""
        self._cloud.tags.end(group.arn)
        del self.groups[group.key]

    def after_deletion(self, end: Callable[[], None]) -> None:
        """Do what ends a deletion, at once or later."""
        if self.delete_s:
            self._cloud.later(self.delete_s, end)
        else:
            end()

    def _check(self, group: Group | None, operation: str, arn: str) -> None:
        policy = group.policy if group is not None else None
        if not allows(policy, self._cloud.caller, operation, arn):
            action = f"sagemaker:{operation}"
            told = (
                f"User: {self._cloud.caller} is not authorized to perform: {action} on resource: {arn} "
                f"because no resource-based policy allows the {action} action"
            )
            raise Refused("AccessDeniedException", told)


def _is_arn(name: str) -> bool:
    return name.startswith("arn:")


def _key(arn: str, kind: str) -> tuple[str, str]:
    _, _, _, _, account, resource = arn.lower().split(":", 5)
    found, _, name = resource.partition("/")
    return (account, name) if found == kind else (account, "")
