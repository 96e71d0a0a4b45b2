"""Model packages of the emulated registry: versions of groups, and packages on their own."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from trackbridge.testing.emulators.sagemaker import registry_rules as rules
from trackbridge.testing.emulators.sagemaker.core import Cloud, Operation, Refused
from trackbridge.testing.emulators.sagemaker.listing import page
from trackbridge.testing.emulators.sagemaker.registry_state import PACKAGE, Group, Package, Registry

_NOT_TOLD = frozenset({"Tags", "ClientToken", "ModelPackageArn"})
_SUMMARY = (
    "ModelPackageName",
    "ModelPackageGroupName",
    "ModelPackageVersion",
    "ModelPackageArn",
    "ModelPackageDescription",
    "CreationTime",
    "ModelPackageStatus",
    "ModelApprovalStatus",
    "ModelLifeCycle",
    "ModelPackageRegistrationType",
)
_BATCH = (*_SUMMARY[1:8], "InferenceSpecification", "ModelPackageRegistrationType")
_REPLACED = (
    "ModelApprovalStatus",
    "ModelPackageRegistrationType",
    "ApprovalDescription",
    "SourceUri",
    "ModelLifeCycle",
)


def create_package(cloud: Cloud, request: dict[str, Any]) -> dict[str, Any]:
    """CreateModelPackage: the next version of a group, or a package on its own."""
    registry = cloud.part(Registry)
    told_before = _told_before(registry, "CreateModelPackage", request)
    if told_before is not None:
        return {"ModelPackageArn": told_before}
    asked = _with_source(registry, request)
    rules.check_creation(cloud, asked)
    rules.check_properties(asked.get("CustomerMetadataProperties", {}))
    package = _version(cloud, asked) if "ModelPackageGroupName" in asked else _single(cloud, asked)
    cloud.tags.start(package.arn, asked.get("Tags"))
    registry.packages[package.arn] = package
    _remember(registry, "CreateModelPackage", request, package)
    if package.fields["ModelPackageStatus"] == "Pending":
        cloud.later(registry.create_s, lambda: _validate(cloud, package))
    return {"ModelPackageArn": package.arn}


def describe_package(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    """DescribeModelPackage: by ARN, or by name for a package on its own."""
    package = cloud.part(Registry).package(asked["ModelPackageName"], "DescribeModelPackage")
    told = copy.deepcopy(package.fields)
    if asked.get("IncludedData") == "MetadataOnly":
        told.get("ModelCard", {}).pop("ModelCardContent", None)
    return told


def update_package(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    """UpdateModelPackage: versions only; metadata properties are merged, the rest is replaced."""
    registry = cloud.part(Registry)
    package = registry.package(asked["ModelPackageArn"], "UpdateModelPackage")
    if _told_before(registry, "UpdateModelPackage", asked) is not None:
        return {"ModelPackageArn": package.arn}
    if package.group is None:
        raise Refused("ValidationException", f"{package.arn} is not a versioned model package.")
    _check_status(package, "Deleting")
    if not set(asked) - {"ModelPackageArn", "ClientToken"}:
        raise Refused("ValidationException", "At least one member to update must be provided.")
    rules.check_content(cloud, asked)
    changes = {name: asked[name] for name in _REPLACED if name in asked} | _merged(package.fields, asked)
    package.fields.update(copy.deepcopy(changes))
    if not package.fields.get("CustomerMetadataProperties", True):
        del package.fields["CustomerMetadataProperties"]  # AWS leaves out what is empty
    package.fields["LastModifiedTime"] = cloud.now_s()
    package.fields["LastModifiedBy"] = cloud.user_context()
    _remember(registry, "UpdateModelPackage", asked, package)
    return {"ModelPackageArn": package.arn}


def delete_package(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    """DeleteModelPackage. The number of a version is not given again."""
    registry = cloud.part(Registry)
    package = registry.package(asked["ModelPackageName"], "DeleteModelPackage")
    _check_status(package, "Pending", "InProgress", "Deleting")
    package.fields["ModelPackageStatus"] = "Deleting"
    registry.after_deletion(lambda: registry.end_package(package))
    return {}


def list_packages(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    """ListModelPackages: the oldest first. Versions of no named group only when their type is asked for."""
    registry = cloud.part(Registry)
    group = None
    if "ModelPackageGroupName" in asked:
        group = registry.group(asked["ModelPackageGroupName"], "ListModelPackages")
    found = [p for p in _of_type(registry, asked, group) if _is_asked_for(p, asked)]
    rows, more = page(found, {**asked, "NameContains": ""}, _row, is_descending=False)
    return {"ModelPackageSummaryList": [_part_of(row, _SUMMARY) for row in rows], **more}


def describe_packages(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    """BatchDescribeModelPackage: what can not be told stands in the map of errors."""
    registry, told, errors = cloud.part(Registry), {}, {}
    for arn in asked["ModelPackageArnList"]:
        try:
            package = registry.package(arn, "BatchDescribeModelPackage")
            told[arn] = _part_of(package, _BATCH)
        except Refused as refused:
            errors[arn] = {"ErrorCode": refused.code, "ErrorResponse": refused.message}
    return {"ModelPackageSummaries": told, "BatchDescribeModelPackageErrorMap": errors}


def package_records(cloud: Cloud) -> Iterable[dict[str, Any]]:
    """Return the packages of the caller's account as Search finds them."""
    registry, records = cloud.part(Registry), []
    for package in registry.packages.values():
        if package.account == registry.account():
            tags = cloud.tags.list(package.arn)
            records.append({**package.fields, "Tags": tags} if tags else package.fields)
    return records


def approved_containers(cloud: Cloud, name_or_arn: str) -> list[dict[str, Any]]:
    """Return the containers of a package that may be deployed.

    Raises:
        Refused: It is not there, not completed, or a version that is not approved.
    """
    package = cloud.part(Registry).package(name_or_arn, "DescribeModelPackage")
    status, approval = package.fields["ModelPackageStatus"], package.fields.get("ModelApprovalStatus")
    if status != "Completed":
        raise Refused("ValidationException", f"ModelPackage {package.arn} is {status}, not Completed.")
    if package.group is not None and approval != "Approved":
        told = f"ModelPackage {package.arn} is {approval}; only an approved version can be deployed."
        raise Refused("ValidationException", told)
    specification = package.fields.get("InferenceSpecification")
    if specification is None:
        raise Refused("ValidationException", f"ModelPackage {package.arn} has no InferenceSpecification.")
    return copy.deepcopy(list(specification["Containers"]))


def _with_source(registry: Registry, asked: dict[str, Any]) -> dict[str, Any]:
    """Return a request with the containers of the package that it clones, if its SourceUri names one."""
    source = asked.get("SourceUri", "")
    if not source.startswith("arn:") or f":{PACKAGE}/" not in source:
        return asked
    held = registry.package(source, "DescribeModelPackage").fields
    if "InferenceSpecification" not in held:
        return asked
    return {"InferenceSpecification": copy.deepcopy(held["InferenceSpecification"]), **asked}


def _version(cloud: Cloud, asked: Mapping[str, Any]) -> Package:
    registry = cloud.part(Registry)
    group = registry.group(asked["ModelPackageGroupName"], "CreateModelPackage")
    if group.fields["ModelPackageGroupStatus"] != "Completed":
        raise Refused("ConflictException", f"Model Package Group {group.arn} is being deleted.")
    version, name = next(group.versions), group.fields["ModelPackageGroupName"]
    arn = registry.arn(PACKAGE, f"{name}/{version}", group.account)
    fields = {"ModelApprovalStatus": "PendingManualApproval", **_fields(cloud, asked, arn)}
    fields |= {"ModelPackageGroupName": name, "ModelPackageVersion": version}
    return Package(arn, group.account, fields, group)


def _single(cloud: Cloud, asked: Mapping[str, Any]) -> Package:
    registry = cloud.part(Registry)
    arn = registry.arn(PACKAGE, asked["ModelPackageName"])
    if arn in registry.packages:
        raise Refused("ConflictException", f"Model Package already exists: {arn}")
    return Package(arn, registry.account(), _fields(cloud, asked, arn), None)


def _fields(cloud: Cloud, asked: Mapping[str, Any], arn: str) -> dict[str, Any]:
    """Return what a new package's description tells: what was asked for, and what the service adds."""
    fields = {name: copy.deepcopy(value) for name, value in asked.items() if name not in _NOT_TOLD}
    if "InferenceSpecification" in fields:
        fields["InferenceSpecification"] = rules.with_digests(fields["InferenceSpecification"])
    is_validated = "ValidationSpecification" in asked or "ModelPackageGroupName" not in asked
    return {
        **fields,
        "ModelPackageArn": arn,
        "CreationTime": cloud.now_s(),
        "CreatedBy": cloud.user_context(),
        "CertifyForMarketplace": bool(asked.get("CertifyForMarketplace", False)),
        "ModelPackageStatus": "Pending" if is_validated else "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
    }


def _check_status(package: Package, *wrong: str) -> None:
    status = package.fields["ModelPackageStatus"]
    if status in wrong:
        raise Refused("ConflictException", f"Model Package {package.arn} is {status}.")


def _validate(cloud: Cloud, package: Package) -> None:
    """Go on with a package that is validated: in progress, then completed or failed."""
    registry, fields = cloud.part(Registry), package.fields
    details = fields["ModelPackageStatusDetails"]
    profiles = fields.get("ValidationSpecification", {}).get("ValidationProfiles", ())
    if fields["ModelPackageStatus"] == "Pending":
        fields["ModelPackageStatus"] = "InProgress"
        details["ValidationStatuses"] = [{"Name": p["ProfileName"], "Status": "InProgress"} for p in profiles]
        cloud.later(registry.create_s, lambda: _validate(cloud, package))
        return
    reason, registry.validation_failure = registry.validation_failure, None
    fields["ModelPackageStatus"] = status = "Completed" if reason is None else "Failed"
    failed = {} if reason is None else {"FailureReason": reason}
    details["ValidationStatuses"] = [{"Name": p["ProfileName"], "Status": status, **failed} for p in profiles]


def _merged(held: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a version that an update merges or completes."""
    changes: dict[str, Any] = {}
    added = asked.get("CustomerMetadataProperties", {})
    removed = asked.get("CustomerMetadataPropertiesToRemove", ())
    if both := sorted(set(added) & set(removed)):
        told = f"CustomerMetadataProperties to add and to remove have keys in common: {both}"
        raise Refused("ValidationException", told)
    if added or removed:
        properties = {**held.get("CustomerMetadataProperties", {}), **added}
        changes["CustomerMetadataProperties"] = {k: v for k, v in properties.items() if k not in removed}
        rules.check_properties(changes["CustomerMetadataProperties"])
    if "AdditionalInferenceSpecificationsToAdd" in asked:
        before = held.get("AdditionalInferenceSpecifications", [])
        both_lists = [*before, *asked["AdditionalInferenceSpecificationsToAdd"]]
        rules.check_additional(both_lists)
        changes["AdditionalInferenceSpecifications"] = both_lists
    if "InferenceSpecification" in asked:
        changes["InferenceSpecification"] = rules.with_digests(asked["InferenceSpecification"])
    if "ModelCard" in asked:
        changes["ModelCard"] = {**held.get("ModelCard", {}), **asked["ModelCard"]}
    return changes


def _of_type(registry: Registry, asked: Mapping[str, Any], group: Group | None) -> Iterable[Package]:
    if group is not None:
        return registry.versions(group)
    kind = asked.get("ModelPackageType", "Unversioned")
    own = [package for package in registry.packages.values() if package.account == registry.account()]
    return [p for p in own if kind == "Both" or (p.group is not None) == (kind == "Versioned")]


def _is_asked_for(package: Package, asked: Mapping[str, Any]) -> bool:
    approval = asked.get("ModelApprovalStatus")
    if approval is not None and package.fields.get("ModelApprovalStatus") != approval:
        return False
    name = package.fields.get("ModelPackageGroupName") or package.name
    return asked.get("NameContains", "").lower() in name.lower()


def _row(package: Package) -> dict[str, Any]:
    fields = package.fields
    return {
        "Name": package.name,
        "CreationTime": fields["CreationTime"],
        "Status": fields["ModelPackageStatus"],
    }


def _part_of(package: Package, names: Iterable[str]) -> dict[str, Any]:
    return {name: copy.deepcopy(package.fields[name]) for name in names if name in package.fields}


def _told_before(registry: Registry, operation: str, asked: Mapping[str, Any]) -> str | None:
    """Return the ARN that a request of this client token was answered with, None when it is new."""
    held = registry.tokens.get((registry.account(), operation, asked.get("ClientToken", "")))
    if held is None:
        return None
    if held[0] != _digest(asked):
        told = "The ClientToken was used before for a request with other parameters."
        raise Refused("ConflictException", told)
    return held[1]


def _remember(registry: Registry, operation: str, asked: Mapping[str, Any], package: Package) -> None:
    if "ClientToken" in asked:
        registry.tokens[registry.account(), operation, asked["ClientToken"]] = (_digest(asked), package.arn)


def _digest(asked: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=repr).encode()).hexdigest()


OPERATIONS: Mapping[str, Operation] = {
    "CreateModelPackage": create_package,
    "DescribeModelPackage": describe_package,
    "UpdateModelPackage": update_package,
    "DeleteModelPackage": delete_package,
    "ListModelPackages": list_packages,
    "BatchDescribeModelPackage": describe_packages,
}
"""The operations on packages."""
