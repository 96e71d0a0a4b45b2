"""SageMaker's own registry: package groups, their packages and tags, as values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from trackbridge.domain.models import Approval
from trackbridge.errors import Conflict, NotFound, Unavailable
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.clients import Clients

SERVICE = "sagemaker"
PAGE_ITEMS = 100
DELETING = "Deleting"

APPROVALS = {
    Approval.PENDING: "PendingManualApproval",
    Approval.APPROVED: "Approved",
    Approval.REJECTED: "Rejected",
}
LIFE_CYCLES = {
    "None": ("none", "inactive"),
    "Staging": ("staging", "active"),
    "Production": ("production", "active"),
    "Archived": ("archived", "inactive"),
}
"""Stage and status, in lower case as AWS's synchronization of managed MLflow writes them: conditions of
policies (``sagemaker:ModelLifeCycle/stage``) compare exactly."""
_APPROVALS_BACK = {text: approval for approval, text in APPROVALS.items()}
_STAGES_BACK = {stage: ours for ours, (stage, _) in LIFE_CYCLES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeGroup:
    """A model package group; ``created`` in milliseconds since 1970."""

    name: str
    arn: str
    description: str
    created: int
    user: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NativePackage:
    """A versioned model package, as listings tell it.

    ``life_cycle`` is stage and status as SageMaker has them, where that is none of our stages, else "".
    """

    arn: str
    number: int
    description: str
    created: int
    approval: Approval
    stage: str
    life_cycle: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageDetails:
    """What only describing a package tells; ``changed`` in milliseconds, by ``changed_by``.

    ``approval_words`` and ``stage_words`` were given with its approval and its stage.
    """

    package: NativePackage
    source: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    changed: int = 0
    changed_by: str = ""
    approval_words: str = ""
    stage_words: str = ""


class Packages:
    """Calls of the registry's operations. Any thread may use it."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    # Groups. ``reference`` is a group's name, or its ARN where it is another account's.

    def create_group(self, name: str, description: str, tags: Mapping[str, str]) -> bool:
        """Make a group; False when there is one of this name."""
        described = {"ModelPackageGroupDescription": description} if description else {}
        try:
            self._call("CreateModelPackageGroup", ModelPackageGroupName=name, Tags=_tags(tags), **described)
        except Conflict:
            return False
        return True

    def find_group(self, reference: str) -> NativeGroup | None:
        """Return a group; None when there is none, or it is being deleted."""
        try:
            found = self._call("DescribeModelPackageGroup", ModelPackageGroupName=reference)
        except NotFound:
            return None
        return None if found["ModelPackageGroupStatus"] == DELETING else _group(found)

    def list_groups(self, contains: str) -> Iterator[NativeGroup]:
        """Yield the groups of the account whose names contain a text ("": all)."""
        narrowed = {"NameContains": contains} if contains else {}
        for found in self._clients.pages(
            SERVICE,
            "ListModelPackageGroups",
            "ModelPackageGroupSummaryList",
            MaxResults=PAGE_ITEMS,
            SortBy="Name",
            SortOrder="Ascending",
            **narrowed,
        ):
            if found["ModelPackageGroupStatus"] != DELETING:
                yield _group(found)

    def delete_group(self, reference: str) -> None:
        """Delete a group without packages; an absent one is no error.

        Raises:
            Unavailable: SageMaker still counts packages that were deleted; it forgets them within seconds.
        """
        try:
            self._call("DeleteModelPackageGroup", ModelPackageGroupName=reference)
        except NotFound:
            return
        except Conflict as error:
            raise Unavailable(
                f"the group still has packages for SageMaker: {error.message}",
                adapter=ADAPTER,
                resource=reference,
                hint="delete the model again in a minute; its versions are deleted already",
            ) from error

    # Packages.

    def create_package(self, request: Mapping[str, Any]) -> str:
        """Make a package and return its ARN; the same request again returns the same.

        Raises:
            Unavailable: Others are changing the group.
        """
        return str(self._written("CreateModelPackage", **request)["ModelPackageArn"])

    def find_package(self, arn: str) -> PackageDetails | None:
        """Return a package; None when there is none, or it is being deleted."""
        try:
            found = self._call("DescribeModelPackage", ModelPackageName=arn)
        except NotFound:
            return None
        return None if found["ModelPackageStatus"] == DELETING else _details(found)

    def list_packages(self, reference: str) -> Iterator[NativePackage]:
        """Yield the packages of a group, oldest first; none of a group that does not exist."""
        with suppress(NotFound):
            for found in self._clients.pages(
                SERVICE,
                "ListModelPackages",
                "ModelPackageSummaryList",
                ModelPackageGroupName=reference,
                MaxResults=PAGE_ITEMS,
                SortBy="CreationTime",
                SortOrder="Ascending",
            ):
                if found["ModelPackageStatus"] != DELETING:
                    yield _package(found)

    def existing(self, arns: Sequence[str]) -> list[str]:
        """Return those of some packages that there are."""
        found: list[str] = []
        for start in range(0, len(arns), PAGE_ITEMS):
            asked = list(arns[start : start + PAGE_ITEMS])
            answer = self._call("BatchDescribeModelPackage", ModelPackageArnList=asked)
            found += answer.get("ModelPackageSummaries") or ()
        return found

    def approve(self, arn: str, approval: Approval, words: str) -> None:
        """Set the approval of a package, with a word of why where it fits."""
        self._update(arn, ModelApprovalStatus=APPROVALS[approval], ApprovalDescription=words)

    def move(self, arn: str, stage: str, words: str) -> None:
        """Set the stage of a package's life cycle."""
        native, status = LIFE_CYCLES[stage]
        self._update(arn, ModelLifeCycle={"Stage": native, "StageStatus": status, "StageDescription": words})

    def set_metadata(self, arn: str, metadata: Mapping[str, str], removed: Sequence[str]) -> None:
        """Set a package's metadata.

        All of it is given, not only what changed: whether SageMaker merges or replaces is not documented.
        """
        named: dict[str, Any] = {}
        if metadata:
            named["CustomerMetadataProperties"] = dict(metadata)
        if removed:
            named["CustomerMetadataPropertiesToRemove"] = list(removed)
        if named:
            self._update(arn, **named)

    def delete_package(self, arn: str) -> None:
        """Delete a package; an absent one is no error."""
        with suppress(NotFound):
            self._call("DeleteModelPackage", ModelPackageName=arn)

    def _update(self, arn: str, **named: Any) -> None:
        self._written("UpdateModelPackage", ModelPackageArn=arn, **named)

    def _written(self, operation: str, **named: Any) -> dict[str, Any]:
        """Write a package; SageMaker's conflicts are about who else writes, and pass."""
        try:
            return self._call(operation, **named)
        except Conflict as error:
            raise Unavailable(error.message, adapter=ADAPTER, resource=error.resource) from error

    # Tags, of groups alone: packages have those of their group.

    def list_tags(self, arn: str) -> dict[str, str]:
        """Return the tags of a group; none of one that was deleted meanwhile."""
        with suppress(NotFound):
            return {
                item["Key"]: item["Value"]
                for item in self._clients.pages(SERVICE, "ListTags", "Tags", ResourceArn=arn)
            }
        return {}

    def add_tags(self, arn: str, tags: Mapping[str, str]) -> None:
        """Set tags of a group."""
        if tags:
            self._call("AddTags", ResourceArn=arn, Tags=_tags(tags))

    def remove_tags(self, arn: str, keys: Sequence[str]) -> None:
        """Delete tags of a group; absent ones are no error."""
        if keys:
            self._call("DeleteTags", ResourceArn=arn, TagKeys=list(keys))

    def _call(self, operation: str, **named: Any) -> dict[str, Any]:
        return self._clients.call(SERVICE, operation, **named)


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _group(found: Mapping[str, Any]) -> NativeGroup:
    return NativeGroup(
        name=str(found["ModelPackageGroupName"]),
        arn=str(found["ModelPackageGroupArn"]),
        description=str(found.get("ModelPackageGroupDescription") or ""),
        created=_ms(found.get("CreationTime")),
        user=_user(found.get("CreatedBy")),
    )


def _package(found: Mapping[str, Any]) -> NativePackage:
    life_cycle = found.get("ModelLifeCycle") or {}
    native = str(life_cycle.get("Stage") or "")
    stage = _STAGES_BACK.get(native.lower(), "None")
    status = str(life_cycle.get("StageStatus") or "")
    is_ours = not native or (native, status) == LIFE_CYCLES[stage]
    arn = str(found["ModelPackageArn"])
    return NativePackage(
        arn=arn,
        number=int(found.get("ModelPackageVersion") or arn.rpartition("/")[2]),
        description=str(found.get("ModelPackageDescription") or ""),
        created=_ms(found.get("CreationTime")),
        approval=_APPROVALS_BACK.get(str(found.get("ModelApprovalStatus")), Approval.PENDING),
        stage=stage,
        life_cycle="" if is_ours else f"{native}/{status}",
    )


def _details(found: Mapping[str, Any]) -> PackageDetails:
    return PackageDetails(
        package=_package(found),
        source=_source(found),
        metadata=dict(found.get("CustomerMetadataProperties") or {}),
        user=_user(found.get("CreatedBy")),
        changed=_ms(found.get("LastModifiedTime") or found.get("CreationTime")),
        changed_by=_user(found.get("LastModifiedBy")),
        approval_words=str(found.get("ApprovalDescription") or ""),
        stage_words=str((found.get("ModelLifeCycle") or {}).get("StageDescription") or ""),
    )


def _source(found: Mapping[str, Any]) -> str:
    """Return where the model lies: what the first container loads, else what was said to be the source."""
    containers = (found.get("InferenceSpecification") or {}).get("Containers") or [{}]
    placed = (containers[0].get("ModelDataSource") or {}).get("S3DataSource") or {}
    return str(placed.get("S3Uri") or containers[0].get("ModelDataUrl") or found.get("SourceUri") or "")


def _user(context: Mapping[str, Any] | None) -> str:
    """Return who it was: a user of Studio, else the ARN of a role or user."""
    told = context or {}
    identity = told.get("IamIdentity") or {}
    return str(told.get("UserProfileName") or identity.get("Arn") or "")


def _ms(time: datetime | None) -> int:
    return 0 if time is None else round(time.timestamp() * 1000)
