"""Policies of model package groups, and callers of other accounts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.sagemaker_calls import Calls
from trackbridge.testing.emulators.sagemaker.core import Cloud, Refused
from trackbridge.testing.emulators.sagemaker.registry import OPERATIONS

OTHER = "arn:aws:iam::999999999999:role/reader"
READS = [
    "sagemaker:DescribeModelPackageGroup",
    "sagemaker:ListModelPackages",
    "sagemaker:DescribeModelPackage",
]


@pytest.fixture
def call() -> Iterator[Calls]:
    cloud = Cloud()
    call = Calls(cloud, OPERATIONS)
    call("CreateModelPackageGroup", ModelPackageGroupName="Digits")
    call("CreateModelPackage", ModelPackageGroupName="Digits")
    yield call
    cloud.caller = None
    cloud.close()


def group_arn(call: Calls) -> str:
    return call.cloud.arn("model-package-group", "digits")


def version_arn(call: Calls) -> str:
    return call.cloud.arn("model-package", "digits/1")


def statement(call: Calls, **changed: Any) -> dict[str, Any]:
    return {
        "Sid": "readers",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::999999999999:root"},
        "Action": READS,
        "Resource": [group_arn(call), call.cloud.arn("model-package", "digits/*")],
        **changed,
    }


def allow(call: Calls, *statements: dict[str, Any]) -> None:
    policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    call("PutModelPackageGroupPolicy", ModelPackageGroupName="Digits", ResourcePolicy=policy)


def refused_code(call: Calls, operation: str, **asked: Any) -> str:
    with pytest.raises(Refused) as refused:
        call(operation, **asked)
    return refused.value.code


def test_a_policy_is_kept_word_for_word_and_deleted(call: Calls) -> None:
    asked = {"ModelPackageGroupName": "Digits"}
    assert refused_code(call, "GetModelPackageGroupPolicy", **asked) == "ValidationException"
    allow(call, statement(call))
    policy = call("GetModelPackageGroupPolicy", **asked)["ResourcePolicy"]
    assert json.loads(policy)["Statement"][0]["Sid"] == "readers"
    call("DeleteModelPackageGroupPolicy", **asked)
    assert refused_code(call, "DeleteModelPackageGroupPolicy", **asked) == "ValidationException"


@pytest.mark.parametrize(
    "changed",
    [
        {"Effect": "Perhaps"},
        {"Principal": None},
        {"Principal": {"Service": "s3.amazonaws.com"}},
        {"Action": "s3:GetObject"},
        {"Action": []},
        {"Resource": "*"},
        {"Resource": "arn:aws:sagemaker:us-east-1:210987654321:model-package-group/other"},
    ],
)
def test_a_statement_that_makes_no_sense_is_refused(call: Calls, changed: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="Invalid resource policy"):
        allow(call, statement(call, **changed))


@pytest.mark.parametrize(
    "policy", ["words", "[]", '{"Version": "2012-10-17"}', '{"Version": "1", "Statement": [{}]}']
)
def test_a_policy_that_is_none_is_refused(call: Calls, policy: str) -> None:
    with pytest.raises(Refused, match="Invalid resource policy"):
        call("PutModelPackageGroupPolicy", ModelPackageGroupName="Digits", ResourcePolicy=policy)


def test_another_account_needs_the_policy_and_the_arn(call: Calls) -> None:
    call.cloud.caller = OTHER
    denied = refused_code(call, "DescribeModelPackageGroup", ModelPackageGroupName=group_arn(call))
    assert denied == "AccessDeniedException"
    call.cloud.caller = None
    allow(call, statement(call))
    call.cloud.caller = OTHER
    told = call("DescribeModelPackageGroup", ModelPackageGroupName=group_arn(call))
    assert told["ModelPackageGroupName"] == "Digits"
    found = call("ListModelPackages", ModelPackageGroupName=group_arn(call))["ModelPackageSummaryList"]
    assert [row["ModelPackageArn"] for row in found] == [version_arn(call)]
    assert call("DescribeModelPackage", ModelPackageName=version_arn(call))["ModelPackageVersion"] == 1
    by_name = refused_code(call, "DescribeModelPackageGroup", ModelPackageGroupName="Digits")
    assert by_name == "ValidationException"
    update = refused_code(
        call, "UpdateModelPackage", ModelPackageArn=version_arn(call), ModelApprovalStatus="Approved"
    )
    assert update == "AccessDeniedException"


def test_another_account_may_add_versions_when_it_is_allowed_to(call: Calls) -> None:
    allow(call, statement(call, Principal={"AWS": [OTHER]}, Action="sagemaker:*"))
    call.cloud.caller = OTHER
    made = call("CreateModelPackage", ModelPackageGroupName=group_arn(call))["ModelPackageArn"]
    assert made == call.cloud.arn("model-package", "digits/2")


@pytest.mark.parametrize(
    "changed",
    [
        {"Principal": {"AWS": "arn:aws:iam::888888888888:root"}},
        {"Action": "sagemaker:ListModelPackages"},
        {"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}},
    ],
)
def test_what_the_policy_does_not_name_is_denied(call: Calls, changed: dict[str, Any]) -> None:
    allow(call, statement(call, **changed))
    call.cloud.caller = OTHER
    denied = refused_code(call, "DescribeModelPackageGroup", ModelPackageGroupName=group_arn(call))
    assert denied == "AccessDeniedException"


def test_a_denial_outweighs_a_permission(call: Calls) -> None:
    allow(call, statement(call), statement(call, Effect="Deny", Action="sagemaker:Describe*"))
    call.cloud.caller = OTHER
    denied = refused_code(call, "DescribeModelPackageGroup", ModelPackageGroupName=group_arn(call))
    assert denied == "AccessDeniedException"
    assert call("ListModelPackages", ModelPackageGroupName=group_arn(call))["ModelPackageSummaryList"]


def test_accounts_have_names_of_their_own(call: Calls) -> None:
    call.cloud.caller = OTHER
    made = call("CreateModelPackageGroup", ModelPackageGroupName="Digits")["ModelPackageGroupArn"]
    assert ":999999999999:" in made
    assert call("ListModelPackages", ModelPackageGroupName="Digits")["ModelPackageSummaryList"] == []
    assert len(call("ListModelPackageGroups")["ModelPackageGroupSummaryList"]) == 1
    call.cloud.caller = None
    assert len(call("ListModelPackages", ModelPackageGroupName="Digits")["ModelPackageSummaryList"]) == 1


def test_shared_groups_are_listed_when_asked_for(call: Calls) -> None:
    allow(call, statement(call, Action="sagemaker:ListModelPackageGroups"))
    call.cloud.caller = OTHER
    assert call("ListModelPackageGroups")["ModelPackageGroupSummaryList"] == []
    shared = call("ListModelPackageGroups", CrossAccountFilterOption="CrossAccount")
    assert [row["ModelPackageGroupArn"] for row in shared["ModelPackageGroupSummaryList"]] == [
        group_arn(call)
    ]
