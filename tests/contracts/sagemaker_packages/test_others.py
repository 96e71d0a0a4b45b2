"""What others do to packages and groups is seen, and what they allow is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.contracts.sagemaker_packages.rig import (
    ANN,
    OTHER_ACCOUNT,
    Opening,
    create,
    make_package,
    numbers,
    spec,
)
from trackbridge.domain.models import Approval, Origin
from trackbridge.errors import AuthError, NotFound, Rejected
from trackbridge.ports.registry import ModelRegistry
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge_adapters.sagemaker.registry_native import Packages


class TestWhatOthersDo:
    def test_an_approval_in_the_console_is_seen_and_noted(self, registry: ModelRegistry, aws: Any) -> None:
        version = create(registry)
        aws.update_model_package(ModelPackageArn=version.native_id, ModelApprovalStatus="Approved")
        assert registry.get_version("wine", "1").approval is Approval.APPROVED
        assert registry.list_versions("wine").items[0].approval is Approval.APPROVED
        registry.set_approval("wine", "1", approval=Approval.REJECTED, reason=ANN)
        ours, theirs = registry.list_changes("wine").items[:2]
        assert (ours.user, ours.before, ours.after) == ("ann", "approved", "rejected")
        assert (theirs.before, theirs.after) == ("pending", "approved")
        assert theirs.user.startswith("arn:aws:iam::")

    def test_what_they_did_already_is_noted_as_theirs(self, registry: ModelRegistry, aws: Any) -> None:
        version = create(registry)
        aws.update_model_package(ModelPackageArn=version.native_id, ModelApprovalStatus="Approved")
        registry.set_approval("wine", "1", approval=Approval.APPROVED, reason=ANN)
        (noted,) = [change for change in registry.list_changes("wine") if change.what == "approval"]
        assert noted.user.startswith("arn:aws:iam::")

    def test_a_life_cycle_in_the_console_is_seen(self, registry: ModelRegistry, aws: Any) -> None:
        version = create(registry)
        stages = {"production": "Production", "Staging": "Staging", "Development": "None"}
        for native, stage in stages.items():
            life_cycle = {"Stage": native, "StageStatus": "pending"}
            aws.update_model_package(ModelPackageArn=version.native_id, ModelLifeCycle=life_cycle)
            found = registry.get_version("wine", "1")
            assert (found.stage, found.tags) == (stage, {"sagemaker.life_cycle": f"{native}/pending"})
            assert registry.list_versions("wine").items == (found,)

    def test_a_package_of_theirs_is_a_version(self, registry: ModelRegistry, aws: Any) -> None:
        create(registry, key="a")
        arn = make_package(
            aws,
            "wine",
            ModelPackageDescription="made by boto3",
            SourceUri="s3://theirs/model.tar.gz",
            ModelApprovalStatus="Approved",
            CustomerMetadataProperties={"framework": "xgboost"},
        )
        found = registry.get_version("wine", "2")
        assert (found.source, found.native_id) == ("s3://theirs/model.tar.gz", arn)
        assert (found.description, found.tags) == ("made by boto3", {"framework": "xgboost"})
        assert (found.approval, found.digest) == (Approval.APPROVED, None)
        assert create(registry, key="b").version == "3"
        assert [item.version for item in registry.list_versions("wine")] == ["3", "2", "1"]
        assert registry.list_versions("wine").items[1] == found

    def test_a_package_of_theirs_can_be_changed_like_ours(self, registry: ModelRegistry, aws: Any) -> None:
        create(registry, key="a")
        arn = make_package(aws, "wine", SourceUri="s3://theirs/", CustomerMetadataProperties={"a": "1"})
        registry.set_tags("wine", "2", tags={"a": None, "b": "{2}"})
        registry.set_alias("wine", "champion", version="2")
        registry.set_stage("wine", "2", stage="Staging")
        registry.set_description("wine", "2", description="first\nsecond")
        found = registry.get_version("wine", "2")
        assert (found.tags, found.aliases, found.stage) == ({"b": "{2}"}, ("champion",), "Staging")
        assert (found.description, found.source) == ("first\nsecond", "s3://theirs/")
        assert "a" not in aws.describe_model_package(ModelPackageName=arn)["CustomerMetadataProperties"]
        registry.delete_version("wine", "2")
        assert numbers(aws, "wine") == [1]

    def test_a_group_of_theirs_is_a_model(self, registry: ModelRegistry, aws: Any) -> None:
        aws.create_model_package_group(
            ModelPackageGroupName="TheirGroup",
            ModelPackageGroupDescription="theirs",
            Tags=[{"Key": "team", "Value": "b"}, {"Key": "alias:best", "Value": "1"}],
        )
        make_package(aws, "TheirGroup", SourceUri="s3://theirs/")
        found = registry.get_model("TheirGroup")
        assert (found.description, found.tags, found.aliases) == ("theirs", {"team": "b"}, {"best": "1"})
        assert list(registry.list_models()) == [found]
        assert registry.ensure_model("TheirGroup", description="another") == found
        assert list(registry.list_changes("TheirGroup")) == []
        registry.set_tags("TheirGroup", None, tags={"mine": "1"})
        assert registry.get_model("TheirGroup").tags == {"team": "b", "mine": "1"}
        assert registry.get_model("TheirGroup").aliases == {"best": "1"}
        assert registry.get_version("TheirGroup", "1").aliases == ("best",)
        with pytest.raises(NotFound):
            registry.get_model("theirgroup")

    def test_a_package_deleted_there_is_gone(self, registry: ModelRegistry, aws: Any) -> None:
        versions = [create(registry, key=key) for key in "ab"]
        aws.delete_model_package(ModelPackageName=versions[1].native_id)
        assert [item.version for item in registry.list_versions("wine")] == ["1"]
        changes: list[Callable[[], object]] = [
            lambda: registry.get_version("wine", "2"),
            lambda: registry.set_alias("wine", "champion", version="2"),
            lambda: registry.set_tags("wine", "2", tags={"a": "1"}),
            lambda: registry.set_stage("wine", "2", stage="Staging"),
        ]
        for change in changes:
            with pytest.raises(NotFound):
                change()
        registry.delete_version("wine", "2")
        assert create(registry, key="c").version == "3"

    def test_a_group_deleted_there_is_gone_and_can_be_made_again(
        self, registry: ModelRegistry, aws: Any
    ) -> None:
        version = create(registry, key="a")
        aws.delete_model_package(ModelPackageName=version.native_id)
        aws.delete_model_package_group(ModelPackageGroupName="wine")
        with pytest.raises(NotFound):
            registry.get_model("wine")
        assert (list(registry.list_models()), list(registry.list_versions("wine"))) == ([], [])
        again = create(registry, key="b")
        assert (again.version, again.native_id) == ("2", version.native_id), "SageMaker counts anew"
        assert [item.version for item in registry.list_versions("wine")] == ["2"]
        with pytest.raises(NotFound):
            create(registry, key="a")

    def test_a_group_that_somebody_made_again_is_theirs(self, registry: ModelRegistry, aws: Any) -> None:
        registry.ensure_model("wine", tags={"mine": "1"})
        registry.delete_model("wine")
        aws.create_model_package_group(ModelPackageGroupName="wine")
        assert registry.get_model("wine").tags == {}
        make_package(aws, "wine", SourceUri="s3://theirs/")
        assert [item.source for item in registry.list_versions("wine")] == ["s3://theirs/"]

    def test_a_group_that_somebody_deleted_and_made_again_is_theirs_too(
        self, registry: ModelRegistry, aws: Any
    ) -> None:
        made = create(registry, key="a", tags={"a": "1"})
        registry.set_alias("wine", "champion", version="1")
        aws.delete_model_package(ModelPackageName=made.native_id)
        aws.delete_model_package_group(ModelPackageGroupName="wine")
        aws.create_model_package_group(ModelPackageGroupName="wine")
        assert make_package(aws, "wine", SourceUri="s3://theirs/") == made.native_id
        assert (registry.get_model("wine").aliases, registry.list_models().items[0].tags) == ({}, {})
        (found,) = registry.list_versions("wine")
        assert (found.version, found.source, found.tags) == ("2", "s3://theirs/", {}), "1 was ours"
        assert registry.get_version("wine", "2") == found
        registry.set_tags("wine", "2", tags={"b": "2"}, reason=ANN)
        told = [(change.version, change.what, change.user) for change in registry.list_changes("wine")]
        assert told[:4] == [
            ("2", "tag:b", "ann"),
            (None, "deleted", "sagemaker"),
            ("1", "deleted", "sagemaker"),
            ("1", "alias:champion", "sagemaker"),
        ]
        with pytest.raises(NotFound):
            create(registry, key="a", tags={"a": "1"})
        assert create(registry, key="b").version == "3"

    def test_a_listing_that_lags_behind_hides_nothing_of_ours(
        self, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = [create(registry, key=key) for key in "ab"]
        registry.set_stage("wine", "1", stage="Production")
        monkeypatch.setattr(Packages, "list_packages", lambda packages, reference: iter(()))
        assert [item.version for item in registry.list_versions("wine")] == ["2", "1"]
        assert registry.list_versions("wine").items == (made[1], registry.get_version("wine", "1"))

    def test_a_group_that_differs_in_case_alone_is_in_the_way(
        self, registry: ModelRegistry, aws: Any
    ) -> None:
        aws.create_model_package_group(ModelPackageGroupName="WINE")
        with pytest.raises(Rejected, match="WINE"):
            registry.ensure_model("wine")
        with pytest.raises(NotFound):
            registry.get_model("wine")
        assert [item.name for item in registry.list_models()] == ["WINE"]

    def test_models_of_a_team_with_another_bucket(self, opened: Opening, s3: Any) -> None:
        s3.create_bucket(Bucket="another")
        theirs, ours = opened(bucket="another").registry, opened().registry
        origin = Origin(registry="r", name="n", version="7")
        made = create(theirs, "Bier & Öl", tags={"a": "1", "odd": "{}"}, origin=origin, run_id="run")
        theirs.set_alias("Bier & Öl", "champion", version="1")
        (found,) = ours.list_models()
        assert (found.name, found.aliases) == ("Bier & Öl", {"champion": "1"})
        version = ours.get_version("Bier & Öl", "1")
        for field in ("source", "digest", "run_id", "origin", "native_id"):
            assert getattr(version, field) == getattr(made, field), field
        assert version.tags == {"a": "1"}, "what fits into SageMaker"
        ours.set_approval("Bier & Öl", "1", approval=Approval.APPROVED)
        assert theirs.get_version("Bier & Öl", "1").approval is Approval.APPROVED
        assert create(ours, "Bier & Öl", key="k").version == "2"
        assert [item.version for item in theirs.list_versions("Bier & Öl")] == ["2", "1"]

    def test_more_packages_than_fit_on_a_page(self, registry: ModelRegistry, aws: Any) -> None:
        aws.create_model_package_group(ModelPackageGroupName="many")
        for _ in range(103):
            make_package(aws, "many", SourceUri="s3://theirs/")
        first = registry.list_versions("many", max_results=2)
        assert [item.version for item in first] == ["103", "102"]
        second = registry.list_versions("many", max_results=2, token=first.token)
        assert [item.version for item in second] == ["101", "100"]


class TestSharedGroups:
    POLICY_ACTIONS = (
        "DescribeModelPackageGroup",
        "DescribeModelPackage",
        "ListModelPackages",
        "UpdateModelPackage",
        "CreateModelPackage",
        "BatchDescribeModelPackage",
    )

    @pytest.fixture
    def group(self, emulator: SageMakerEmulator, theirs: Any) -> str:
        """A group of theirs that our account may use."""
        arn = str(theirs.create_model_package_group(ModelPackageGroupName="shared")["ModelPackageGroupArn"])
        versions = arn.replace(":model-package-group/", ":model-package/") + "/*"
        statement = {
            "Sid": "ours",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{emulator.cloud.account}:root"},
            "Action": [f"sagemaker:{action}" for action in self.POLICY_ACTIONS],
            "Resource": [arn, versions],
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        theirs.put_model_package_group_policy(ModelPackageGroupName="shared", ResourcePolicy=policy)
        theirs.create_model_package(ModelPackageGroupName="shared", SourceUri="s3://theirs/")
        return arn

    def test_a_group_is_named_by_its_arn(self, registry: ModelRegistry, group: str) -> None:
        assert registry.get_model(group).name == group
        assert registry.get_version(group, "1").source == "s3://theirs/"

    def test_a_group_is_named_by_a_word(self, opened: Opening, group: str) -> None:
        registry = opened(shared_groups=f"best={group}").registry
        assert [item.name for item in registry.list_models()] == ["best"]
        registry.set_tags("best", "1", tags={"a": "{1}"})
        registry.set_approval("best", "1", approval=Approval.APPROVED)
        registry.set_alias("best", "champion", version="1")
        found = registry.get_version("best", "1")
        assert (found.name, found.tags, found.aliases) == ("best", {"a": "{1}"}, ("champion",))
        assert found.approval is Approval.APPROVED
        assert registry.create_version(spec("best"), key="k").version == "2"
        assert {change.name for change in registry.list_changes("best")} == {"best"}
        assert registry.list_changes(group).items[0].version == "2"

    def test_a_group_that_is_not_shared_with_us_is_refused(
        self, registry: ModelRegistry, theirs: Any
    ) -> None:
        arn = theirs.create_model_package_group(ModelPackageGroupName="secret")["ModelPackageGroupArn"]
        with pytest.raises(AuthError):
            registry.get_model(arn)

    def test_a_group_of_theirs_is_not_made(self, opened: Opening) -> None:
        arn = f"arn:aws:sagemaker:us-east-1:{OTHER_ACCOUNT}:model-package-group/absent"
        with pytest.raises(NotFound, match="no registered model"):
            opened(shared_groups=f"best={arn}").registry.ensure_model("best")
