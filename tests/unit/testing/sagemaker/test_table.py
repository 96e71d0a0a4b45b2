"""The table of what is emulated says what is true."""

from __future__ import annotations

from trackbridge.testing.emulators.sagemaker import protocol, table
from trackbridge.testing.emulators.sagemaker.operations import MODULES, TABLES, all_operations


def test_every_operation_is_in_one_area() -> None:
    told = [name for area in table.AREAS for name in area.operations()]
    had = {name for operations in all_operations().values() for name in operations}
    assert sorted(told) == sorted(had)


def test_every_module_has_its_area() -> None:
    assert [area.module for area in table.AREAS if area.module] == list(MODULES)


def test_every_operation_is_one_of_aws() -> None:
    for service, operations in all_operations().items():
        model = protocol.service_model(service.removesuffix(" checks"))
        assert set(operations) <= set(model.operation_names)
    assert set(all_operations()) == set(TABLES)


def test_what_is_said_to_be_there_and_not() -> None:
    rows = {row[0]: row for row in table.rows()}
    assert rows["Experiments"][1:3] == ("own", "17")
    assert rows["S3"][1:3] == ("moto", "")
    assert rows["Managed MLflow servers and apps"][1] == "no"


def test_what_the_probe_found_missing_is_there() -> None:
    needed = {
        "UpdateExperiment",
        "UpdateTrial",
        "StopTrainingJob",
        "UpdateTrainingJob",
        "DeleteTrainingJob",
        "StopTransformJob",
        "UpdateEndpoint",
        "CreateInferenceComponent",
        "ListInferenceComponents",
        "DeleteModelPackage",
        "DeleteModelPackageGroup",
        "PutModelPackageGroupPolicy",
        "GetModelPackageGroupPolicy",
        "BatchDescribeModelPackage",
    }
    assert needed <= set(all_operations()["sagemaker"])
    assert "BatchGetMetrics" in all_operations()["sagemaker-metrics"]
    assert "InvokeEndpointWithResponseStream" in all_operations()["sagemaker-runtime"]
