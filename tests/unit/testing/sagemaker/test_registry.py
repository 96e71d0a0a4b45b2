"""Groups and packages of the emulated model registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.sagemaker_calls import Calls
from trackbridge.testing.emulators.sagemaker.core import Cloud, Refused
from trackbridge.testing.emulators.sagemaker.registry import OPERATIONS, Registry, approved_containers

IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6-cpu-py312"
BUCKET = "emulated-registry-models"
PREFIX = {"S3DataType": "S3Prefix", "CompressionType": "None"}


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    cloud = Cloud()
    cloud.clock.stop()
    yield cloud
    cloud.close()


@pytest.fixture
def call(cloud: Cloud) -> Calls:
    call = Calls(cloud, OPERATIONS)
    call("CreateModelPackageGroup", ModelPackageGroupName="Digits", ModelPackageGroupDescription="of digits")
    return call


@pytest.fixture
def stored(cloud: Cloud) -> Iterator[str]:
    """A bucket with a model's folder and archive."""
    backend = cloud.s3()
    backend.create_bucket(BUCKET, "us-east-1")
    backend.put_object(BUCKET, "model/MLmodel", b"flavors: {}")
    backend.put_object(BUCKET, "model.tar.gz", b"packed")
    yield f"s3://{BUCKET}"
    backend.reset()


def version(call: Calls, group: str = "Digits", **asked: Any) -> str:
    arn: str = call("CreateModelPackage", ModelPackageGroupName=group, **asked)["ModelPackageArn"]
    return arn


def described(call: Calls, arn: str) -> dict[str, Any]:
    return call("DescribeModelPackage", ModelPackageName=arn)


def container(**data: Any) -> dict[str, Any]:
    return {"Containers": [{"Image": IMAGE, **data}]}


def refusal(call: Calls, operation: str, **asked: Any) -> str:
    with pytest.raises(Refused) as refused:
        call(operation, **asked)
    return f"{refused.value.code}: {refused.value.message}"


def test_a_group_is_described_by_name_and_by_arn(call: Calls) -> None:
    told = call("DescribeModelPackageGroup", ModelPackageGroupName="Digits")
    arn = call.cloud.arn("model-package-group", "digits")
    assert told["ModelPackageGroupArn"] == arn
    assert told["ModelPackageGroupName"] == "Digits"
    assert (told["ModelPackageGroupStatus"], told["ModelPackageGroupDescription"]) == (
        "Completed",
        "of digits",
    )
    assert call("DescribeModelPackageGroup", ModelPackageGroupName=arn) == told
    missing = refusal(call, "DescribeModelPackageGroup", ModelPackageGroupName="letters")
    assert missing.startswith("ValidationException: ModelPackageGroup arn:")
    assert "does not exist" in missing


def test_a_group_cannot_be_made_twice_whatever_the_case(call: Calls) -> None:
    for name in ("Digits", "DIGITS"):
        told = refusal(call, "CreateModelPackageGroup", ModelPackageGroupName=name)
        assert told.startswith("ValidationException: Model Package Group already exists: arn:")


@pytest.mark.parametrize("name", ["has_underscore", "a" * 64, "-a", "a-", "sp ace", "é"])
def test_names_of_groups_are_narrow(call: Calls, name: str) -> None:
    told = refusal(call, "CreateModelPackageGroup", ModelPackageGroupName=name)
    assert (
        told.startswith("ValidationException: 1 validation error detected") or "2 validation errors" in told
    )


def test_groups_are_listed_oldest_first_in_pages(call: Calls) -> None:
    for number in range(12):
        call.cloud.clock.advance(1)
        call("CreateModelPackageGroup", ModelPackageGroupName=f"g{number:02}")
    first = call("ListModelPackageGroups")
    names = [row["ModelPackageGroupName"] for row in first["ModelPackageGroupSummaryList"]]
    assert names == ["Digits", *(f"g{number:02}" for number in range(9))]
    rest = call("ListModelPackageGroups", NextToken=first["NextToken"])
    assert [row["ModelPackageGroupName"] for row in rest["ModelPackageGroupSummaryList"]] == [
        "g09",
        "g10",
        "g11",
    ]
    assert "NextToken" not in rest
    newest = call("ListModelPackageGroups", SortOrder="Descending", MaxResults=1, NameContains="G")
    assert newest["ModelPackageGroupSummaryList"][0]["ModelPackageGroupName"] == "g11"
    assert "ValidationException" in refusal(call, "ListModelPackageGroups", NextToken="nonsense")


def test_versions_count_up_and_numbers_are_not_given_again(call: Calls) -> None:
    first, second = version(call), version(call)
    assert first == call.cloud.arn("model-package", "digits/1")
    assert second.endswith("model-package/digits/2")
    call("DeleteModelPackage", ModelPackageName=second)
    assert version(call).endswith("/3")
    assert "does not exist" in refusal(call, "DescribeModelPackage", ModelPackageName=second)
    assert described(call, "Digits/1")["ModelPackageArn"] == first


def test_a_version_is_pending_approval_and_has_no_name_of_its_own(call: Calls) -> None:
    told = described(call, version(call, ModelPackageDescription="first"))
    assert told["ModelApprovalStatus"] == "PendingManualApproval"
    assert told["ModelPackageStatus"] == "Completed"
    assert told["ModelPackageStatusDetails"] == {"ValidationStatuses": [], "ImageScanStatuses": []}
    assert (told["ModelPackageGroupName"], told["ModelPackageVersion"]) == ("Digits", 1)
    assert told["CertifyForMarketplace"] is False
    assert "ModelPackageName" not in told
    assert "LastModifiedTime" not in told
    assert told["CreatedBy"]["IamIdentity"]["Arn"].endswith("user/someone")


def test_what_a_version_was_made_with_comes_back(call: Calls, stored: str) -> None:
    asked: dict[str, Any] = {
        "SourceUri": "models:/digits/7",
        "ModelLifeCycle": {"Stage": "Production", "StageStatus": "Approved", "StageDescription": "live"},
        "ModelCard": {"ModelCardContent": json.dumps({"model_overview": {"model_creator": "me"}})},
        "SkipModelValidation": "None",
        "CustomerMetadataProperties": {"run": "1"},
        "MetadataProperties": {"CommitId": "abc"},
        "ModelMetrics": {
            "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": f"{stored}/q"}}
        },
        "ModelApprovalStatus": "Approved",
        "Task": "OTHER",
    }
    specification = container(ModelDataSource={"S3DataSource": {"S3Uri": f"{stored}/model/", **PREFIX}})
    arn = version(call, InferenceSpecification=specification, **asked)
    told = described(call, arn)
    assert {name: told[name] for name in asked} == asked
    (held,) = told["InferenceSpecification"]["Containers"]
    assert held["ImageDigest"].startswith("sha256:")
    assert held["ModelDataSource"] == specification["Containers"][0]["ModelDataSource"]
    told = call("DescribeModelPackage", ModelPackageName=arn, IncludedData="MetadataOnly")
    assert told["ModelCard"] == {}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "Missing ARN."),
        ({"ModelPackageName": "a", "ModelPackageGroupName": "Digits"}, "Cannot determine which one to use"),
        ({"ModelPackageGroupName": "letters"}, "does not exist"),
        ({"ModelPackageGroupName": "Digits", "Tags": [{"Key": "a", "Value": "b"}]}, "Tags are not supported"),
        ({"ModelPackageGroupName": "Digits", "CertifyForMarketplace": True}, "CertifyForMarketplace"),
        ({"ModelPackageName": "alone"}, "Either InferenceSpecification or SourceAlgorithmSpecification"),
        ({"ModelPackageName": "alone", "ModelApprovalStatus": "Approved"}, "does not apply"),
        (
            {"ModelPackageName": "alone", "InferenceSpecification": container()},
            "SupportedTransformInstanceTypes is required",
        ),
        (
            {"ModelPackageGroupName": "Digits", "InferenceSpecification": {"Containers": [{}]}},
            "needs an Image",
        ),
        (
            {
                "ModelPackageGroupName": "Digits",
                "InferenceSpecification": container(ModelDataUrl="s3://nowhere/model.tar.gz"),
            },
            "Could not find model data at s3://nowhere/model.tar.gz",
        ),
        (
            {
                "ModelPackageGroupName": "Digits",
                "InferenceSpecification": container(ModelDataUrl="s3://nowhere/model.zip"),
            },
            "must name a tar.gz",
        ),
        (
            {
                "ModelPackageGroupName": "Digits",
                "InferenceSpecification": container(
                    ModelDataSource={"S3DataSource": {"S3Uri": "s3://nowhere/model", **PREFIX}}
                ),
            },
            "must end with a slash",
        ),
        (
            {
                "ModelPackageGroupName": "Digits",
                "InferenceSpecification": container(
                    ModelDataUrl="s3://nowhere/m.tar.gz",
                    ModelDataSource={"S3DataSource": {"S3Uri": "s3://nowhere/model/", **PREFIX}},
                ),
            },
            "mutually exclusive",
        ),
        (
            {"ModelPackageGroupName": "Digits", "ModelCard": {"ModelCardContent": "words"}},
            "ModelCardContent is not JSON",
        ),
        (
            {"ModelPackageGroupName": "Digits", "ModelCard": {"ModelCardContent": '{"note": {}}'}},
            "'note' is not in the schema",
        ),
        (
            {
                "ModelPackageGroupName": "Digits",
                "CustomerMetadataProperties": {str(i): "v" for i in range(51)},
            },
            "length less than or equal to 50",
        ),
        (
            {"ModelPackageGroupName": "Digits", "CustomerMetadataProperties": {"a": '{"json": 1}'}},
            "regular expression pattern",
        ),
        (
            {"ModelPackageGroupName": "Digits", "MetadataProperties": {"CommitId": "a\nb"}},
            "regular expression pattern",
        ),
    ],
)
def test_a_package_that_aws_would_not_take_is_refused(call: Calls, asked: dict[str, Any], words: str) -> None:
    assert words in refusal(call, "CreateModelPackage", **asked)
    found = call("ListModelPackages", ModelPackageType="Both")
    assert found["ModelPackageSummaryList"] == []


def test_model_data_is_not_looked_for_when_validation_is_skipped(call: Calls) -> None:
    specification = container(ModelDataUrl="s3://nowhere/model.tar.gz")
    arn = version(call, InferenceSpecification=specification, SkipModelValidation="All")
    assert described(call, arn)["SkipModelValidation"] == "All"


def test_a_client_token_makes_creation_idempotent(call: Calls) -> None:
    first = version(call, ClientToken="token-1", SourceUri="a")
    assert version(call, ClientToken="token-1", SourceUri="a") == first
    assert version(call, ClientToken="token-2", SourceUri="a") != first
    other = refusal(
        call, "CreateModelPackage", ModelPackageGroupName="Digits", ClientToken="token-1", SourceUri="b"
    )
    assert other.startswith("ConflictException")
    call("DeleteModelPackage", ModelPackageName=first)
    assert version(call, ClientToken="token-1", SourceUri="b").endswith("/3")


def test_a_version_is_cloned_by_the_arn_of_its_source(call: Calls) -> None:
    source = version(call, InferenceSpecification=container())
    clone = version(call, SourceUri=source, ClientToken="clone")
    assert version(call, SourceUri=source, ClientToken="clone") == clone
    told = described(call, clone)
    assert told["InferenceSpecification"] == described(call, source)["InferenceSpecification"]
    missing = call.cloud.arn("model-package", "digits/9")
    told_of = refusal(call, "CreateModelPackage", ModelPackageGroupName="Digits", SourceUri=missing)
    assert "does not exist" in told_of


def test_an_update_merges_properties_and_replaces_the_rest(call: Calls) -> None:
    arn = version(call, CustomerMetadataProperties={"a": "1", "b": "2"})
    call.cloud.clock.advance(5)
    call(
        "UpdateModelPackage",
        ModelPackageArn=arn,
        ModelApprovalStatus="Rejected",
        ApprovalDescription="too slow",
        CustomerMetadataProperties={"b": "3", "c": "4"},
        CustomerMetadataPropertiesToRemove=["a", "never-there"],
        ModelLifeCycle={"Stage": "Archived", "StageStatus": "Done"},
        SourceUri="models:/digits/8",
    )
    told = described(call, arn)
    assert told["CustomerMetadataProperties"] == {"b": "3", "c": "4"}
    assert (told["ModelApprovalStatus"], told["ApprovalDescription"]) == ("Rejected", "too slow")
    assert told["ModelLifeCycle"] == {"Stage": "Archived", "StageStatus": "Done"}
    assert told["SourceUri"] == "models:/digits/8"
    assert told["LastModifiedTime"] - told["CreationTime"] == pytest.approx(5)
    call("UpdateModelPackage", ModelPackageArn=arn, CustomerMetadataPropertiesToRemove=["b", "c"])
    assert "CustomerMetadataProperties" not in described(call, arn)
    assert described(call, arn)["ModelApprovalStatus"] == "Rejected"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "At least one member"),
        (
            {"CustomerMetadataProperties": {"a": "1"}, "CustomerMetadataPropertiesToRemove": ["a"]},
            "keys in common",
        ),
        ({"CustomerMetadataProperties": {f"k{i}": "v" for i in range(50)}}, "50 entries at most"),
        ({"ModelApprovalStatus": "Perhaps"}, "enum value set"),
        (
            {"AdditionalInferenceSpecificationsToAdd": [{"Name": "a", **container()}] * 2},
            "must be unique",
        ),
    ],
)
def test_an_update_that_aws_would_not_take_changes_nothing(
    call: Calls, asked: dict[str, Any], words: str
) -> None:
    arn = version(call, CustomerMetadataProperties={"held": "yes"})
    before = described(call, arn)
    assert words in refusal(call, "UpdateModelPackage", ModelPackageArn=arn, **asked)
    assert described(call, arn) == before


def test_additional_specifications_are_added_up_to_fifteen(call: Calls) -> None:
    arn = version(call, AdditionalInferenceSpecifications=[{"Name": "first", **container()}])
    more = [{"Name": f"n{number}", **container()} for number in range(14)]
    call("UpdateModelPackage", ModelPackageArn=arn, AdditionalInferenceSpecificationsToAdd=more)
    assert len(described(call, arn)["AdditionalInferenceSpecifications"]) == 15
    one = [{"Name": "last", **container()}]
    told = refusal(
        call, "UpdateModelPackage", ModelPackageArn=arn, AdditionalInferenceSpecificationsToAdd=one
    )
    assert "15" in told


def test_a_package_on_its_own_is_validated_and_cannot_be_updated(call: Calls, stored: str) -> None:
    specification = {
        **container(ModelDataUrl=f"{stored}/model.tar.gz"),
        "SupportedTransformInstanceTypes": ["ml.m5.large"],
        "SupportedRealtimeInferenceInstanceTypes": ["ml.m5.large"],
        "SupportedContentTypes": ["text/csv"],
        "SupportedResponseMIMETypes": ["text/csv"],
    }
    asked = {"ModelPackageName": "Alone", "InferenceSpecification": specification}
    arn = call("CreateModelPackage", **asked)["ModelPackageArn"]
    statuses = [described(call, "alone")["ModelPackageStatus"]]
    assert refusal(call, "DeleteModelPackage", ModelPackageName=arn).startswith("ConflictException")
    for _ in range(2):
        call.cloud.clock.advance(1)
        statuses.append(described(call, arn)["ModelPackageStatus"])
    assert statuses == ["Pending", "InProgress", "Completed"]
    assert refusal(call, "CreateModelPackage", **asked).startswith("ConflictException")
    told = refusal(call, "UpdateModelPackage", ModelPackageArn=arn, SourceUri="s3://a")
    assert "not a versioned model package" in told
    assert [row["ModelPackageName"] for row in call("ListModelPackages")["ModelPackageSummaryList"]] == [
        "Alone"
    ]


def test_a_validation_fails_on_demand(call: Calls) -> None:
    profile = {
        "ProfileName": "profile",
        "TransformJobDefinition": {
            "TransformInput": {
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://nowhere/in"}}
            },
            "TransformOutput": {"S3OutputPath": "s3://nowhere/out"},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        },
    }
    role = f"arn:aws:iam::{call.cloud.account}:role/validation"
    call.cloud.part(Registry).validation_failure = "the container did not answer"
    arn = version(call, ValidationSpecification={"ValidationRole": role, "ValidationProfiles": [profile]})
    call.cloud.clock.advance(2)
    told = described(call, arn)
    assert told["ModelPackageStatus"] == "Failed"
    failed = {"Name": "profile", "Status": "Failed", "FailureReason": "the container did not answer"}
    assert told["ModelPackageStatusDetails"]["ValidationStatuses"] == [failed]
    with pytest.raises(Refused, match="not Completed"):
        approved_containers(call.cloud, arn)


def test_versions_are_listed_by_number_filter_and_order(call: Calls) -> None:
    for _ in range(11):
        version(call)
    approved = call.cloud.arn("model-package", "digits/4")
    call("UpdateModelPackage", ModelPackageArn=approved, ModelApprovalStatus="Approved")

    def numbers(**asked: Any) -> list[int]:
        found = call("ListModelPackages", ModelPackageGroupName="Digits", MaxResults=100, **asked)
        return [row["ModelPackageVersion"] for row in found["ModelPackageSummaryList"]]

    assert numbers() == list(range(1, 12))
    assert numbers(SortOrder="Descending", SortBy="CreationTime") == list(range(11, 0, -1))
    assert numbers(ModelApprovalStatus="Approved") == [4]
    assert numbers(NameContains="digit") == list(range(1, 12))
    assert numbers(NameContains="letter") == []
    assert numbers(CreationTimeAfter=call.cloud.now_s()) == []
    first = call("ListModelPackages", ModelPackageGroupName="Digits")
    assert [row["ModelPackageVersion"] for row in first["ModelPackageSummaryList"]] == list(range(1, 11))
    rest = call("ListModelPackages", ModelPackageGroupName="Digits", NextToken=first["NextToken"])
    assert [row["ModelPackageVersion"] for row in rest["ModelPackageSummaryList"]] == [11]
    assert not any("ModelPackageName" in row for row in first["ModelPackageSummaryList"])


def test_without_a_group_only_packages_on_their_own_are_listed(call: Calls) -> None:
    version(call)
    assert call("ListModelPackages")["ModelPackageSummaryList"] == []
    assert len(call("ListModelPackages", ModelPackageType="Versioned")["ModelPackageSummaryList"]) == 1


def test_a_batch_is_described_with_its_errors(call: Calls) -> None:
    arn, missing = (
        version(call, InferenceSpecification=container()),
        call.cloud.arn("model-package", "digits/9"),
    )
    told = call("BatchDescribeModelPackage", ModelPackageArnList=[arn, missing])
    assert told["ModelPackageSummaries"][arn]["ModelPackageVersion"] == 1
    assert "does not exist" in told["BatchDescribeModelPackageErrorMap"][missing]["ErrorResponse"]
    with pytest.raises(Refused, match="less than or equal to 100"):
        call("BatchDescribeModelPackage", ModelPackageArnList=[arn] * 101)


def test_a_group_goes_only_when_it_is_empty_and_counts_anew(call: Calls) -> None:
    arn = version(call)
    assert refusal(call, "DeleteModelPackageGroup", ModelPackageGroupName="Digits").startswith(
        "ConflictException"
    )
    call("DeleteModelPackage", ModelPackageName=arn)
    call("DeleteModelPackageGroup", ModelPackageGroupName="digits")
    assert "does not exist" in refusal(call, "DeleteModelPackageGroup", ModelPackageGroupName="Digits")
    assert "does not exist" in refusal(call, "CreateModelPackage", ModelPackageGroupName="Digits")
    call("CreateModelPackageGroup", ModelPackageGroupName="Digits")
    assert version(call).endswith("/1")


def test_a_deletion_may_take_its_time(call: Calls) -> None:
    call.cloud.part(Registry).delete_s = 3.0
    arn, group = version(call), {"ModelPackageGroupName": "Digits"}
    call("DeleteModelPackage", ModelPackageName=arn)
    assert described(call, arn)["ModelPackageStatus"] == "Deleting"
    for operation, asked in (
        ("DeleteModelPackage", {"ModelPackageName": arn}),
        ("UpdateModelPackage", {"ModelPackageArn": arn, "SourceUri": "a"}),
        ("DeleteModelPackageGroup", group),
    ):
        assert refusal(call, operation, **asked).startswith("ConflictException")
    call.cloud.clock.advance(3)
    assert "does not exist" in refusal(call, "DescribeModelPackage", ModelPackageName=arn)
    call("DeleteModelPackageGroup", **group)
    assert call("DescribeModelPackageGroup", **group)["ModelPackageGroupStatus"] == "Deleting"
    assert refusal(call, "CreateModelPackage", **group).startswith("ConflictException")
    call.cloud.clock.advance(3)
    assert "does not exist" in refusal(call, "DescribeModelPackageGroup", **group)


def test_tags_of_a_group_are_kept_and_end_with_it(call: Calls) -> None:
    tags = [{"Key": "alias:champion", "Value": "1"}]
    arn = call("CreateModelPackageGroup", ModelPackageGroupName="tagged", Tags=tags)["ModelPackageGroupArn"]
    assert call.cloud.tags.list(arn) == tags
    call("DeleteModelPackageGroup", ModelPackageGroupName="tagged")
    assert not call.cloud.tags.has(arn)


def test_only_an_approved_version_can_be_deployed(call: Calls) -> None:
    arn = version(call, InferenceSpecification=container())
    with pytest.raises(Refused, match="PendingManualApproval"):
        approved_containers(call.cloud, arn)
    call("UpdateModelPackage", ModelPackageArn=arn, ModelApprovalStatus="Approved")
    assert approved_containers(call.cloud, arn)[0]["Image"] == IMAGE
    bare = version(call, ModelApprovalStatus="Approved")
    with pytest.raises(Refused, match="no InferenceSpecification"):
        approved_containers(call.cloud, bare)
