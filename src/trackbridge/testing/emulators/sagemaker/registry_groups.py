"""Model package groups of the emulated registry, and their policies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Cloud, Operation, Refused
from trackbridge.testing.emulators.sagemaker.listing import page
from trackbridge.testing.emulators.sagemaker.registry_access import check_policy
from trackbridge.testing.emulators.sagemaker.registry_state import GROUP, Group, Registry

_SUMMARY = (
    "ModelPackageGroupName",
    "ModelPackageGroupArn",
    "ModelPackageGroupDescription",
    "CreationTime",
    "ModelPackageGroupStatus",
    "ManagedConfiguration",
)


def create_group(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    """CreateModelPackageGroup: names are unique in the account, without regard to case."""
    registry, name = cloud.part(Registry), asked["ModelPackageGroupName"]
    arn = registry.arn(GROUP, name)
    if (registry.account(), name.lower()) in registry.groups:
        raise Refused("ValidationException", f"Model Package Group already exists: {arn}")
    cloud.tags.start(arn, asked.get("Tags"))
    fields = {
        **{key: value for key, value in asked.items() if key != "Tags"},
        "ModelPackageGroupArn": arn,
        "CreationTime": cloud.now_s(),
        "CreatedBy": cloud.user_context(),
        "ModelPackageGroupStatus": "Completed",
    }
    group = Group(arn, registry.account(), fields)
    registry.groups[group.key] = group
    return {"ModelPackageGroupArn": arn}


def describe_group(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    """DescribeModelPackageGroup, by name or ARN."""
    return dict(_named(cloud, asked, "DescribeModelPackageGroup").fields)


def list_groups(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    """ListModelPackageGroups: the oldest first; those of other accounts only when asked for."""
    registry = cloud.part(Registry)
    if asked.get("CrossAccountFilterOption") == "CrossAccount":
        groups = registry.shared("ListModelPackageGroups")
    else:
        groups = own_groups(cloud)
    rows, more = page(groups, asked, _row, is_descending=False)
    shown = [{name: row.fields[name] for name in _SUMMARY if name in row.fields} for row in rows]
    return {"ModelPackageGroupSummaryList": shown, **more}


def delete_group(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    """DeleteModelPackageGroup: refused while it has versions."""
    registry = cloud.part(Registry)
    group = _named(cloud, asked, "DeleteModelPackageGroup")
    if registry.versions(group):
        told = f"Model Package Group {group.arn} cannot be deleted because it still contains Model Packages."
        raise Refused("ConflictException", told)
    if group.fields["ModelPackageGroupStatus"] == "Deleting":
        raise Refused("ConflictException", f"Model Package Group {group.arn} is being deleted.")
    group.fields["ModelPackageGroupStatus"] = "Deleting"
    registry.after_deletion(lambda: registry.end_group(group))
    return {}


def put_policy(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    """PutModelPackageGroupPolicy: in place of the one there was."""
    group = _named(cloud, asked, "PutModelPackageGroupPolicy")
    check_policy(asked["ResourcePolicy"], group.arn)
    group.policy = asked["ResourcePolicy"]
    return {"ModelPackageGroupArn": group.arn}


def get_policy(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    """GetModelPackageGroupPolicy."""
    return {"ResourcePolicy": _policy(_named(cloud, asked, "GetModelPackageGroupPolicy"))}


def delete_policy(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    """DeleteModelPackageGroupPolicy."""
    group = _named(cloud, asked, "DeleteModelPackageGroupPolicy")
    _policy(group)
    group.policy = None
    return {}


def own_groups(cloud: Cloud) -> list[Group]:
    """Return the groups of the caller's account."""
    registry = cloud.part(Registry)
    return [group for group in registry.groups.values() if group.account == registry.account()]


def group_records(cloud: Cloud) -> Iterable[dict[str, Any]]:
    """Yield the caller's groups as Search finds them."""
    return [_record(cloud, group) for group in own_groups(cloud)]


def shared_group_records(cloud: Cloud) -> Iterable[dict[str, Any]]:
    """Yield the groups of other accounts that the caller may see, as Search finds them."""
    return [_record(cloud, group) for group in cloud.part(Registry).shared("DescribeModelPackageGroup")]


def _record(cloud: Cloud, group: Group) -> dict[str, Any]:
    tags = cloud.tags.list(group.arn)
    return {**group.fields, "Tags": tags} if tags else group.fields


def _named(cloud: Cloud, asked: Mapping[str, Any], operation: str) -> Group:
    return cloud.part(Registry).group(asked["ModelPackageGroupName"], operation)


def _policy(group: Group) -> str:
    if group.policy is None:
        raise Refused("ValidationException", f"Cannot find resource policy for: {group.arn}")
    return group.policy


def _row(group: Group) -> dict[str, Any]:
    return {
        "Name": group.fields["ModelPackageGroupName"],
        "CreationTime": group.fields["CreationTime"],
        "Status": group.fields["ModelPackageGroupStatus"],
    }


OPERATIONS: Mapping[str, Operation] = {
    "CreateModelPackageGroup": create_group,
    "DescribeModelPackageGroup": describe_group,
    "ListModelPackageGroups": list_groups,
    "DeleteModelPackageGroup": delete_group,
    "PutModelPackageGroupPolicy": put_policy,
    "GetModelPackageGroupPolicy": get_policy,
    "DeleteModelPackageGroupPolicy": delete_policy,
}
"""The operations on groups."""
