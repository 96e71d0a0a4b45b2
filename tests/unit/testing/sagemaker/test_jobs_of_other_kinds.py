"""Processing and transform jobs of the SageMaker emulator really run, and are refused as AWS does."""

from __future__ import annotations

import gzip
import json
import threading
from typing import Any

import pytest

from tests.support.sagemaker_emulators import succeeds
from tests.support.sagemaker_scenes import BUCKET, IMAGE, ROLE, Scenes, client_error
from trackbridge.testing.emulators.sagemaker.jobs_records import Jobs


def processing(scenes: Scenes, name: str, command: str, **changed: Any) -> dict[str, Any]:
    """Run a processing job to its end, and describe it."""
    asked: dict[str, Any] = {
        "ProcessingJobName": name,
        "RoleArn": ROLE,
        "AppSpecification": {
            "ImageUri": IMAGE,
            "ContainerEntrypoint": ["/bin/sh", "-c"],
            "ContainerArguments": [command],
        },
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
        },
    }
    asked.update(changed)
    scenes.sagemaker.create_processing_job(**asked)
    described: dict[str, Any] = scenes.until(
        lambda: scenes.sagemaker.describe_processing_job(ProcessingJobName=name),
        lambda told: told["ProcessingJobStatus"] in ("Completed", "Failed", "Stopped"),
    )
    return described


def test_a_processing_job_reads_and_writes_s3(scenes: Scenes) -> None:
    source = {
        "S3Uri": scenes.put("in/a.txt", "hello"),
        "LocalPath": "/opt/ml/processing/in",
        "S3DataType": "S3Prefix",
        "S3InputMode": "File",
    }
    target = {
        "S3Uri": f"s3://{BUCKET}/made",
        "LocalPath": "/opt/ml/processing/out",
        "S3UploadMode": "EndOfJob",
    }
    command = (
        "cat /opt/ml/processing/in/a.txt > /opt/ml/processing/out/b.txt; echo said > /opt/ml/output/message"
    )
    told = processing(
        scenes,
        "p",
        command,
        ProcessingInputs=[{"InputName": "in", "S3Input": source}],
        ProcessingOutputConfig={"Outputs": [{"OutputName": "out", "S3Output": target}]},
    )
    assert (told["ProcessingJobStatus"], told["ExitMessage"]) == ("Completed", "said")
    assert scenes.get(f"s3://{BUCKET}/made/b.txt") == b"hello"


def test_a_processing_job_fails_with_its_exit_code(scenes: Scenes) -> None:
    told = processing(scenes, "p", "echo why >&2; exit 3")
    assert told["ProcessingJobStatus"] == "Failed"
    assert told["FailureReason"].endswith("exit code: 3")
    assert scenes.logs("/aws/sagemaker/ProcessingJobs", "p/algo-1-") == ["why"]
    scenes.sagemaker.delete_processing_job(ProcessingJobName="p")
    assert scenes.sagemaker.list_processing_jobs()["ProcessingJobSummaries"] == []


def test_a_processing_job_is_stopped(scenes: Scenes) -> None:
    scenes.cloud.part(Jobs).grace_s = 0.2
    asked = {"ContainerEntrypoint": ["/bin/sh", "-c"], "ContainerArguments": ["echo up; exec sleep 60"]}

    def stop_when_up() -> None:
        group = "/aws/sagemaker/ProcessingJobs"
        scenes.until(lambda: group in scenes.cloud.logs().groups, bool)
        scenes.emulator.client("sagemaker").stop_processing_job(ProcessingJobName="p")

    thread = threading.Thread(target=stop_when_up)
    thread.start()
    told = processing(scenes, "p", "", AppSpecification={"ImageUri": IMAGE, **asked})
    thread.join()
    assert told["ProcessingJobStatus"] == "Stopped"


def test_a_processing_job_that_takes_too_long_fails(scenes: Scenes) -> None:
    told = processing(scenes, "p", "exec sleep 60", StoppingCondition={"MaxRuntimeInSeconds": 10})
    assert told["ProcessingJobStatus"] == "Failed"
    assert "MaxRuntimeInSeconds" in told["FailureReason"]


def test_a_path_outside_of_the_contract_is_refused(scenes: Scenes) -> None:
    source = {
        "S3Uri": scenes.put("in/a.txt", "hello"),
        "LocalPath": "/opt/ml/processing/../../../etc",
        "S3DataType": "S3Prefix",
    }
    with pytest.raises(client_error(), match="LocalPath"):
        processing(scenes, "p", "true", ProcessingInputs=[{"InputName": "in", "S3Input": source}])


def transform(scenes: Scenes, name: str, **changed: Any) -> dict[str, Any]:
    """Run a transform job over ``in/`` to its end, and describe it."""
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/in/"}
    asked: dict[str, Any] = {
        "TransformJobName": name,
        "ModelName": "m",
        "TransformInput": {"DataSource": {"S3DataSource": source}, "ContentType": "text/csv"},
        "TransformOutput": {"S3OutputPath": f"s3://{BUCKET}/out"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    }
    asked.update(changed)
    scenes.sagemaker.create_transform_job(**asked)
    described: dict[str, Any] = scenes.until(
        lambda: scenes.sagemaker.describe_transform_job(TransformJobName=name),
        lambda told: told["TransformJobStatus"] in ("Completed", "Failed", "Stopped"),
    )
    return described


def test_a_transform_job_asks_the_model_about_every_object(scenes: Scenes) -> None:
    scenes.model("m")
    scenes.put("in/a.csv", "1\n2\n")
    scenes.put("in/deep/b.csv", "3\n")
    told = transform(scenes, "t")
    assert told.get("FailureReason") is None
    assert json.loads(scenes.get(f"s3://{BUCKET}/out/a.csv.out"))["got"] == "1\n2\n"
    assert json.loads(scenes.get(f"s3://{BUCKET}/out/deep/b.csv.out"))["type"] == "text/csv"


def test_a_transform_job_splits_and_joins_by_lines(scenes: Scenes) -> None:
    scenes.model("m")
    source = {"S3DataType": "S3Prefix", "S3Uri": scenes.put("in/a.csv", "1\n2\n")}
    given = {"DataSource": {"S3DataSource": source}, "SplitType": "Line"}
    output = {"S3OutputPath": f"s3://{BUCKET}/out", "AssembleWith": "Line"}
    told = transform(scenes, "t", TransformInput=given, TransformOutput=output, BatchStrategy="SingleRecord")
    assert told["TransformJobStatus"] == "Completed"
    lines = scenes.get(f"s3://{BUCKET}/out/a.csv.out").splitlines()
    assert [json.loads(line)["got"] for line in lines] == ["1\n", "2\n"]


def test_a_transform_job_is_stopped_before_it_begins(scenes: Scenes) -> None:
    scenes.model("m")
    scenes.put("in/a.csv", "1")
    scenes.cloud.part(Jobs).start_s = 3600

    def stop_when_made() -> None:
        stop = scenes.emulator.client("sagemaker").stop_transform_job
        scenes.until(lambda: succeeds(stop, TransformJobName="t"), bool)

    thread = threading.Thread(target=stop_when_made)
    thread.start()
    assert transform(scenes, "t")["TransformJobStatus"] == "Stopped"
    thread.join()
    assert scenes.keys("out/") == []


def test_a_transform_job_unzips_what_is_zipped(scenes: Scenes) -> None:
    scenes.model("m")
    for name, content in (("good", gzip.compress(b"5")), ("bad", b"5")):
        source = {"S3DataType": "S3Prefix", "S3Uri": scenes.put(f"in/{name}.gz", content)}
        given = {"DataSource": {"S3DataSource": source}, "CompressionType": "Gzip"}
        told = transform(scenes, name, TransformInput=given)
        assert told["TransformJobStatus"] == ("Completed" if name == "good" else "Failed")
    assert json.loads(scenes.get(f"s3://{BUCKET}/out/good.gz.out"))["got"] == "5"


def test_a_transform_job_fails_with_what_the_model_said(scenes: Scenes) -> None:
    scenes.model("m")
    scenes.put("in/a.csv", "fail")
    told = transform(scenes, "t")
    assert told["TransformJobStatus"] == "Failed"
    assert "bad input" in told["FailureReason"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"TransformInput": {"SplitType": "RecordIO"}}, "RecordIO"),
        ({"DataProcessing": {"InputFilter": "$.x"}}, "DataProcessing"),
        ({"MaxConcurrentTransforms": 20, "MaxPayloadInMB": 6}, "100 MB"),
        ({"ModelName": "none"}, "Could not find model"),
    ],
)
def test_a_wrong_transform_job_is_refused(scenes: Scenes, changed: dict[str, Any], words: str) -> None:
    scenes.model("m")
    source = {"S3DataType": "S3Prefix", "S3Uri": scenes.put("in/a.csv", "1")}
    given = {"DataSource": {"S3DataSource": source}} | changed.pop("TransformInput", {})
    with pytest.raises(client_error(), match=words):
        transform(scenes, "t", TransformInput=given, **changed)
    assert scenes.sagemaker.list_transform_jobs()["TransformJobSummaries"] == []


def test_jobs_of_every_kind_are_followed_by_components(scenes: Scenes) -> None:
    scenes.sagemaker.create_experiment(ExperimentName="e")
    config = {"ExperimentName": "e"}
    uri = scenes.put("in/a.csv", "1")
    source = {"S3Uri": uri, "LocalPath": "/opt/ml/processing/in", "S3DataType": "S3Prefix"}
    inputs = [{"InputName": "in", "S3Input": source}]
    processing(scenes, "p", "true", ExperimentConfig=config, ProcessingInputs=inputs)
    scenes.model("m")
    transform(scenes, "t", ExperimentConfig=config)
    describe = scenes.sagemaker.describe_trial_component
    told = describe(TrialComponentName="p-aws-processing-job")
    assert told["InputArtifacts"]["in"]["Value"] == uri
    assert told["Parameters"]["SageMaker.ImageUri"] == {"StringValue": IMAGE}
    told = describe(TrialComponentName="t-aws-transform-job")
    assert told["Source"]["SourceType"] == "SageMakerTransformJob"
    assert told["OutputArtifacts"]["SageMaker.TransformOutput"]["Value"] == f"s3://{BUCKET}/out"
    found = scenes.sagemaker.list_trial_components(ExperimentName="e")["TrialComponentSummaries"]
    assert len(found) == 2


def test_a_model_that_does_not_come_up_fails_its_transform_job(scenes: Scenes) -> None:
    scenes.model("m", Image="unknown:1")
    scenes.put("in/a.csv", "1")
    told = transform(scenes, "t")
    assert told["TransformJobStatus"] == "Failed"
    listed = scenes.sagemaker.list_transform_jobs(StatusEquals="Failed")["TransformJobSummaries"]
    assert listed[0]["FailureReason"] == told["FailureReason"]
