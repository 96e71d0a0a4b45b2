"""Registered models as SageMaker's own registry has them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.contracts.sagemaker_packages.rig import (
    ANN,
    IMAGE,
    SOURCE,
    Opening,
    create,
    described,
    in_bucket,
    logged_model,
    numbers,
    tags_of,
)
from trackbridge.domain.artifacts import artifact_uri
from trackbridge.domain.models import Approval, ChangeReason, ModelVersion, Origin
from trackbridge.errors import NotFound, Rejected
from trackbridge.ports.registry import ModelRegistry
from trackbridge.testing.contracts.samples import batch_of
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator


class TestWhatSageMakerSees:
    def test_a_version_is_a_package_with_the_number_of_the_version(
        self, registry: ModelRegistry, aws: Any
    ) -> None:
        versions = [create(registry, key=key) for key in "abc"]
        assert [version.version for version in versions] == ["1", "2", "3"]
        assert numbers(aws, "wine") == [1, 2, 3]
        assert described(aws, versions[1])["ModelPackageVersion"] == 2

    def test_what_a_package_can_hold_it_is_told(self, registry: ModelRegistry, aws: Any) -> None:
        origin = Origin(registry="https://elsewhere.example.org", name="old wine", version="17")
        version = create(registry, description="the first", tags={"team": "a b"}, run_id="r1", origin=origin)
        found = described(aws, version)
        assert found["ModelPackageDescription"] == "the first"
        assert found["ModelApprovalStatus"] == "PendingManualApproval"
        assert found["SourceUri"] == SOURCE
        told = found["CustomerMetadataProperties"]
        assert told["team"] == "a b"
        assert (told["trackbridge.digest"], told["trackbridge.source"]) == ("sha256:1", SOURCE)
        assert (told["trackbridge.run_id"], told["trackbridge.origin.version"]) == ("r1", "17")
        assert told["trackbridge.record"].endswith("/trackbridge/registry/wine/model.json")

    def test_what_it_cannot_hold_is_kept_all_the_same(self, registry: ModelRegistry, aws: Any) -> None:
        tags = {"json": '{"a": [1, 2]}', "lines": "a\nb", "long": "v" * 300, "aws:x": "1", "k" * 129: "v"}
        version = create(registry, description="first\nsecond", tags={**tags, "plain": "1"})
        found = described(aws, version)
        own = {key for key in found["CustomerMetadataProperties"] if not key.startswith("trackbridge.")}
        assert (own, "ModelPackageDescription" in found) == ({"plain"}, False)
        assert registry.get_version("wine", "1").tags == {**tags, "plain": "1"}

    def test_more_tags_than_fit_are_kept_all_the_same(self, registry: ModelRegistry, aws: Any) -> None:
        tags = {f"tag {number:03d}": str(number) for number in range(120)}
        registry.ensure_model("wine", tags=tags)
        version = create(registry, tags=tags)
        registry.set_tags("wine", None, tags={"tag 000": "new", "tag 119": None})
        registry.set_tags("wine", "1", tags={"tag 000": "new", "tag 119": None})
        kept = {**tags, "tag 000": "new"}
        del kept["tag 119"]
        assert registry.get_model("wine").tags == registry.get_version("wine", "1").tags == kept
        told = tags_of(aws, "wine")
        assert (len(told), told["tag 000"]) == (40, "new")
        assert described(aws, version)["CustomerMetadataProperties"]["tag 000"] == "new"

    def test_tags_of_others_stay(self, registry: ModelRegistry, aws: Any) -> None:
        registry.ensure_model("wine", tags={"mine": "1"})
        arn = aws.describe_model_package_group(ModelPackageGroupName="wine")["ModelPackageGroupArn"]
        aws.add_tags(ResourceArn=arn, Tags=[{"Key": "CostCenter", "Value": "7"}])
        registry.set_tags("wine", None, tags={"mine": None, "other": "2"})
        told = tags_of(aws, "wine")
        assert (told["CostCenter"], told["other"], "mine" in told) == ("7", "2", False)
        assert registry.get_model("wine").tags == {"other": "2"}

    def test_metadata_is_changed_and_removed(self, registry: ModelRegistry, aws: Any) -> None:
        version = create(registry, tags={"a": "1", "b": "2"})
        registry.set_tags("wine", "1", tags={"a": "9", "b": None, "c": "3"})
        told = described(aws, version)["CustomerMetadataProperties"]
        assert {key: told.get(key) for key in "abc"} == {"a": "9", "b": None, "c": "3"}

    def test_an_alias_is_a_tag_of_the_group(self, registry: ModelRegistry, aws: Any) -> None:
        create(registry, key="a")
        create(registry, key="b")
        registry.set_alias("wine", "champion", version="1")
        registry.set_alias("wine", "champion", version="2")
        assert tags_of(aws, "wine")["alias:champion"] == "2"
        registry.delete_version("wine", "2")
        assert "alias:champion" not in tags_of(aws, "wine")

    def test_a_name_that_no_group_can_have_is_in_a_tag(self, registry: ModelRegistry, aws: Any) -> None:
        registry.ensure_model("Bier & Öl = 1_a")
        (group,) = aws.list_model_package_groups()["ModelPackageGroupSummaryList"]
        assert group["ModelPackageGroupName"].startswith("Bier-l-1-a-")
        told = tags_of(aws, group["ModelPackageGroupName"])
        assert told["trackbridge:name"] == "Bier =26 Öl =3D 1_a"

    def test_approval_and_stage_say_who_and_why(self, registry: ModelRegistry, aws: Any) -> None:
        version = create(registry)
        registry.set_approval("wine", "1", approval=Approval.REJECTED, reason=ANN)
        registry.set_stage("wine", "1", stage="Production", reason=ANN)
        found = described(aws, version)
        assert (found["ModelApprovalStatus"], found["ApprovalDescription"]) == (
            "Rejected",
            "ann: 0.93 > 0.91",
        )
        assert found["ModelLifeCycle"] == {
            "Stage": "production",
            "StageStatus": "active",
            "StageDescription": "ann: 0.93 > 0.91",
        }

    def test_a_reason_that_does_not_fit_is_kept_in_the_history(
        self, registry: ModelRegistry, aws: Any
    ) -> None:
        version = create(registry)
        long = ChangeReason(user="ann", why="first\nsecond " * 200)
        registry.set_approval("wine", "1", approval=Approval.APPROVED, reason=long)
        assert described(aws, version)["ApprovalDescription"] == "ann"
        assert registry.list_changes("wine").items[0].why == long.why

    def test_metrics_of_the_run_are_a_report_in_s3(
        self, opened: Opening, s3: Any, aws: Any, tmp_path: Path
    ) -> None:
        adapter = opened()
        run = logged_model(adapter, tmp_path, {"MLmodel": b"flavors: {}"})
        adapter.tracking.write(
            batch_of(run, metrics=[("loss", 0.25, 1, time.time_ns() // 10**6), ("odd", float("nan"), 0, 1)])
        )
        version = create(adapter.registry, source=artifact_uri(run, "model"), run_id=run)
        found = described(aws, version)
        report = found["ModelMetrics"]["ModelQuality"]["Statistics"]
        assert report["ContentType"] == "application/json"
        told = json.loads(in_bucket(s3, report["S3Uri"]))["metrics"]
        assert told == {"loss": {"value": 0.25}, "odd": {"value": "NaN"}}
        assert found["MetadataProperties"]["GeneratedBy"] == f"run {run}"
        assert found["SourceUri"].endswith("/model/")

    def test_a_prefix_sets_models_apart(self, opened: Opening, aws: Any) -> None:
        ours = opened("sagemaker://us-east-1/team").registry
        create(ours)
        create(ours, "Wine")
        (plain, shortened) = sorted(
            item["ModelPackageGroupName"]
            for item in aws.list_model_package_groups()["ModelPackageGroupSummaryList"]
        )[::-1]
        assert (plain, shortened[:10]) == ("team-wine", "team-Wine-")
        assert [item.name for item in ours.list_models()] == ["Wine", "wine"]
        elsewhere = opened("sagemaker://us-east-1/other").registry
        assert list(elsewhere.list_models()) == []


class TestPayloads:
    FILES: ClassVar = {"MLmodel": b"flavors: {}\n", "data/model.pkl": b"weights" * 1000}

    def containers(self, aws: Any, version: ModelVersion) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = described(aws, version)["InferenceSpecification"]["Containers"]
        return found

    def test_without_an_image_there_is_no_inference_specification(
        self, registry: ModelRegistry, aws: Any
    ) -> None:
        assert "InferenceSpecification" not in described(aws, create(registry))

    def test_a_folder_is_used_in_place(self, opened: Opening, aws: Any, tmp_path: Path) -> None:
        adapter = opened(image=IMAGE, instance_types="ml.m5.large, ml.g5.xlarge")
        run = logged_model(adapter, tmp_path, self.FILES)
        version = create(adapter.registry, source=artifact_uri(run, "model"))
        (container,) = self.containers(aws, version)
        assert container["Image"] == IMAGE
        assert container["ModelDataSource"]["S3DataSource"] == {
            "S3Uri": adapter.backend.bucket.address(f"runs/{run}/artifacts/model/"),
            "S3DataType": "S3Prefix",
            "CompressionType": "None",
        }
        found = described(aws, version)["InferenceSpecification"]
        assert found["SupportedRealtimeInferenceInstanceTypes"] == ["ml.m5.large", "ml.g5.xlarge"]

    def test_all_files_of_a_run_are_a_folder_too(self, opened: Opening, aws: Any, tmp_path: Path) -> None:
        adapter = opened(image=IMAGE)
        run = logged_model(adapter, tmp_path, self.FILES)
        (container,) = self.containers(aws, create(adapter.registry, source=artifact_uri(run)))
        address = adapter.backend.bucket.address(f"runs/{run}/artifacts/")
        assert container["ModelDataSource"]["S3DataSource"]["S3Uri"] == address

    def test_an_archive_is_named_as_one(self, opened: Opening, s3: Any, aws: Any) -> None:
        s3.create_bucket(Bucket="elsewhere")
        s3.put_object(Bucket="elsewhere", Key="m/model.tar.gz", Body=b"x")
        version = create(opened(image=IMAGE).registry, source="s3://elsewhere/m/model.tar.gz")
        source = self.containers(aws, version)[0]["ModelDataSource"]["S3DataSource"]
        assert (source["S3DataType"], source["CompressionType"]) == ("S3Object", "Gzip")

    def test_a_folder_is_packed_where_that_is_asked_for(
        self, opened: Opening, s3: Any, aws: Any, tmp_path: Path
    ) -> None:
        adapter = opened(image=IMAGE, model_archive="true")
        run = logged_model(adapter, tmp_path, self.FILES)
        version = create(adapter.registry, source=artifact_uri(run, "model"))
        source = self.containers(aws, version)[0]["ModelDataSource"]["S3DataSource"]
        assert (source["S3DataType"], source["CompressionType"]) == ("S3Object", "Gzip")
        packed = in_bucket(s3, source["S3Uri"])
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as archive:
            members = {item.name: archive.extractfile(item).read() for item in archive}  # type: ignore[union-attr]
        assert members == self.FILES
        assert version.source == artifact_uri(run, "model")
        create(adapter.registry, source=artifact_uri(run, "model"), key="again")
        assert in_bucket(s3, source["S3Uri"]) == packed

    def test_what_is_no_artifact_cannot_be_packed(self, opened: Opening, aws: Any) -> None:
        registry = opened(image=IMAGE, model_archive="true").registry
        with pytest.raises(Rejected, match="cannot be packed"):
            create(registry)
        assert numbers(aws, "wine") == []

    def test_an_address_in_our_own_bucket_is_looked_up(
        self, opened: Opening, aws: Any, tmp_path: Path
    ) -> None:
        adapter = opened(image=IMAGE)
        run = logged_model(adapter, tmp_path, self.FILES)
        folder = adapter.backend.bucket.address(f"runs/{run}/artifacts/model")
        for number, source in enumerate((folder, f"{folder}/")):
            version = create(adapter.registry, source=source, key=str(number))
            assert (
                self.containers(aws, version)[0]["ModelDataSource"]["S3DataSource"]["S3Uri"] == f"{folder}/"
            )
        create(adapter.registry, source=f"{folder}/MLmodel", key="file")
        with pytest.raises(NotFound, match="nothing lies at"):
            create(adapter.registry, source=f"{folder}-absent", key="absent")

    def test_an_instance_type_that_aws_does_not_know_is_refused_before_it_is_sent(
        self, opened: Opening, emulator: SageMakerEmulator
    ) -> None:
        registry = opened(image=IMAGE, instance_types="ml.x99.large").registry
        with pytest.raises(Rejected, match=r"SupportedRealtimeInferenceInstanceTypes"):
            create(registry)
        assert "CreateModelPackage" not in [call.operation for call in emulator.calls]
