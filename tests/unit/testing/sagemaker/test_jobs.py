"""Jobs of the SageMaker emulator really run, under the contract of /opt/ml, and are refused as AWS does."""

from __future__ import annotations

import io
import json
import sysconfig
import tarfile
from typing import Any

import pytest

from tests.support.sagemaker_scenes import BUCKET, IMAGE, Scenes, client_error, statuses
from trackbridge.testing.emulators.sagemaker.containers import Containers
from trackbridge.testing.emulators.sagemaker.images import COMMAND_VARIABLE, Image, Images
from trackbridge.testing.emulators.sagemaker.jobs_records import Jobs
from trackbridge.testing.emulators.sagemaker.quotas import Quotas

SLEEPS = "import time\nprint('up', flush=True)\ntime.sleep(60)\n"
SAVES = """
import signal, sys, time
def save(*_):
    open("/opt/ml/model/late.txt", "w").write("saved")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("up", flush=True)
time.sleep(60)
"""


def refused(scenes: Scenes, operation: str, **asked: Any) -> tuple[str, str]:
    """Return the code and the message of a refusal."""
    with pytest.raises(client_error()) as caught:
        getattr(scenes.sagemaker, operation)(**asked)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def started(scenes: Scenes, name: str, program: str, **changed: Any) -> None:
    """Create a training job, and wait until its program says that it is up."""
    scenes.sagemaker.create_training_job(**scenes.training(name, program, **changed))
    scenes.until(lambda: said(scenes, name), lambda lines: "up" in lines)


def said(scenes: Scenes, name: str) -> list[str]:
    """Return the lines of a training job's log."""
    try:
        return scenes.logs("/aws/sagemaker/TrainingJobs", name)
    except client_error():
        return []


def test_a_training_job_runs_its_command_and_keeps_what_it_wrote(scenes: Scenes) -> None:
    program = """
import json, os
ml = "/opt/ml"
told = {"hyperparameters": json.load(open(f"{ml}/input/config/hyperparameters.json")),
        "channels": json.load(open(f"{ml}/input/config/inputdataconfig.json")),
        "resources": json.load(open(f"{ml}/input/config/resourceconfig.json")),
        "data": open(f"{ml}/input/data/train/deep/a.csv").read(),
        "name": os.environ["TRAINING_JOB_NAME"], "mode": os.environ["MODE"],
        "address": os.environ["AWS_ENDPOINT_URL"]}
json.dump(told, open(f"{ml}/model/told.json", "w"))
open(f"{ml}/output/data/report.txt", "w").write("fine")
"""
    scenes.put("data/deep/a.csv", "1,2")
    asked = scenes.training("j", program, HyperParameters={"lr": "0.1"}, Environment={"MODE": "fast"})
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/data"}
    asked["InputDataConfig"].append({"ChannelName": "train", "DataSource": {"S3DataSource": source}})
    scenes.sagemaker.create_training_job(**asked)
    told = scenes.ended("j")
    assert (told["TrainingJobStatus"], told.get("FailureReason")) == ("Completed", None)
    assert statuses(told) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    with tarfile.open(fileobj=io.BytesIO(scenes.get(told["ModelArtifacts"]["S3ModelArtifacts"]))) as archive:
        seen = json.loads(archive.extractfile("told.json").read())  # type: ignore[union-attr]
    assert seen["hyperparameters"] == {"lr": "0.1"}
    assert seen["channels"]["train"]["TrainingInputMode"] == "File"
    assert (seen["resources"]["current_host"], seen["resources"]["hosts"]) == ("algo-1", ["algo-1"])
    assert (seen["data"], seen["name"], seen["mode"]) == ("1,2", "j", "fast")
    assert seen["address"] == scenes.emulator.url
    with tarfile.open(fileobj=io.BytesIO(scenes.get(f"s3://{BUCKET}/out/j/output/output.tar.gz"))) as archive:
        assert archive.getnames() == ["report.txt"]


def test_a_job_is_seen_in_progress_and_told_as_it_was_asked_for(scenes: Scenes) -> None:
    more: dict[str, Any] = {
        "Environment": {"A": "1"},
        "RetryStrategy": {"MaximumRetryAttempts": 3},
        "RemoteDebugConfig": {"EnableRemoteDebug": True},
        "MlflowConfig": {
            "MlflowResourceArn": "arn:aws:sagemaker:us-east-1:210987654321:mlflow-app/app-1",
            "MlflowExperimentName": "e",
        },
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90},
        "EnableNetworkIsolation": True,
    }
    asked = scenes.training("j", "print(1)\n", **more)
    definitions = [{"Name": "loss", "Regex": "loss=(.*)"}]
    asked["AlgorithmSpecification"]["MetricDefinitions"] = definitions
    scenes.cloud.clock.stop()
    scenes.sagemaker.create_training_job(**asked)
    told = scenes.sagemaker.describe_training_job(TrainingJobName="j")
    assert (told["TrainingJobStatus"], told["SecondaryStatus"]) == ("InProgress", "Starting")
    assert {name: told[name] for name in more} == more
    assert told["AlgorithmSpecification"]["MetricDefinitions"] == definitions
    assert not told.keys() & {"Tags", "TrainingStartTime", "TrainingEndTime", "FailureReason", "VpcConfig"}
    assert scenes.keys("out/") == []


def test_a_program_acts_as_its_jobs_role(scenes: Scenes) -> None:
    scenes.emulator.deny("s3:PutObject", principal="*:assumed-role/weak/*")
    program = """
import os, sys
sys.path.insert(0, os.environ["PACKAGES"])
import boto3
print(boto3.client("sts").get_caller_identity()["Arn"])
try:
    boto3.client("s3").put_object(Bucket="scenes", Key="mine", Body=b"1")
except Exception as error:
    print("AccessDenied" in str(error))
"""
    account = scenes.cloud.account
    packages = sysconfig.get_paths()["purelib"]
    role = scenes.emulator.make_role("weak", path="/team/")
    told = scenes.train("j", program, RoleArn=role, Environment={"PACKAGES": packages})
    assert told["TrainingJobStatus"] == "Completed", said(scenes, "j")
    assert said(scenes, "j") == [
        f"arn:aws:sts::{account}:assumed-role/weak/SageMaker",
        "True",
    ]


def test_an_uncompressed_model_lies_file_by_file(scenes: Scenes) -> None:
    output = {"S3OutputPath": f"s3://{BUCKET}/out/", "CompressionType": "NONE"}
    program = "import os\nos.mkdir('/opt/ml/model/sub')\nopen('/opt/ml/model/sub/w.bin', 'w').write('w')\n"
    told = scenes.train("j", program, OutputDataConfig=output)
    assert told["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{BUCKET}/out/j/output/model/"
    assert scenes.get(f"s3://{BUCKET}/out/j/output/model/sub/w.bin") == b"w"


def test_the_programs_of_a_job_leave_nothing_behind(scenes: Scenes) -> None:
    containers = scenes.cloud.part(Containers)
    folder = containers.folder("probe").parent
    scenes.train("j", "open('/opt/ml/model/x', 'w').write('x')\n")
    scenes.until(lambda: [each.name for each in folder.iterdir()], lambda names: len(names) == 1)


def test_a_failure_tells_what_the_program_wrote(scenes: Scenes) -> None:
    program = "open('/opt/ml/output/failure', 'w').write('no luck')\nraise SystemExit(7)\n"
    told = scenes.train("j", program)
    assert told["TrainingJobStatus"] == told["SecondaryStatus"] == "Failed"
    assert told["FailureReason"] == "AlgorithmError: no luck, exit code: 7"
    assert not scenes.keys("out/j/output/model")


def test_a_long_failure_is_cut_to_what_the_field_holds(scenes: Scenes) -> None:
    told = scenes.train("j", "open('/opt/ml/output/failure', 'w').write('x' * 5000)\nraise SystemExit(1)\n")
    assert len(told["FailureReason"]) <= 1024
    assert told["FailureReason"].endswith("exit code: 1")


def test_a_command_that_is_not_there_fails_the_job(scenes: Scenes) -> None:
    asked = scenes.training("j", "")
    asked["AlgorithmSpecification"]["ContainerEntrypoint"] = ["/no/such/program"]
    scenes.sagemaker.create_training_job(**asked)
    told = scenes.ended("j")
    assert told["TrainingJobStatus"] == "Failed"
    assert "exit code: 127" in told["FailureReason"]


def test_an_unknown_image_without_a_command_says_what_to_do(scenes: Scenes) -> None:
    asked = scenes.training("j", "")
    del asked["AlgorithmSpecification"]["ContainerEntrypoint"]
    scenes.sagemaker.create_training_job(**asked)
    assert COMMAND_VARIABLE in scenes.ended("j")["FailureReason"]


def test_an_image_brings_its_own_program_and_aws_toolkit(scenes: Scenes) -> None:
    command = ("/bin/sh", "-c", 'echo "$SM_MODEL_DIR $SM_HP_LR $SM_CHANNEL_CODE"; echo "$0"')
    scenes.cloud.part(Images).declare(IMAGE, Image(train=command, has_toolkit=True))
    asked = scenes.training("j", "", HyperParameters={"lr": "0.1"})
    del asked["AlgorithmSpecification"]["ContainerEntrypoint"]
    asked["AlgorithmSpecification"]["ContainerArguments"] = ["train"]
    scenes.sagemaker.create_training_job(**asked)
    assert scenes.ended("j")["TrainingJobStatus"] == "Completed"
    first, last = said(scenes, "j")
    model, rate, code = first.split()
    assert (rate, last) == ("0.1", "train")
    assert model.endswith("/opt/ml/model")
    assert code.endswith("/opt/ml/input/data/code")


def test_without_mounts_the_paths_are_rewritten(scenes: Scenes) -> None:
    scenes.cloud.part(Containers).is_mounted = False
    program = """
import os
assert not os.environ["SM_MODEL_DIR"].startswith("/opt" "/ml")
open(os.path.join(os.environ["SM_MODEL_DIR"], "w"), "w").write(os.environ["WHERE"])
"""
    told = scenes.train("j", program, Environment={"WHERE": "/opt/ml/input:/opt/mlx"})
    assert told.get("FailureReason") is None
    with tarfile.open(fileobj=io.BytesIO(scenes.get(told["ModelArtifacts"]["S3ModelArtifacts"]))) as archive:
        text = archive.extractfile("w").read().decode()  # type: ignore[union-attr]
    assert text.endswith("/opt/ml/input:/opt/mlx")
    assert not text.startswith("/opt/ml/")


def test_log_streams_appear_with_the_first_line_one_for_each_host(scenes: Scenes) -> None:
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 10}
    program = """
import json
here = json.load(open("/opt/ml/input/config/resourceconfig.json"))
print("I am", here["current_host"])
open("/opt/ml/model/" + here["current_host"], "w").write("")
"""
    told = scenes.train("j", program, ResourceConfig=resources)
    found = scenes.client("logs").describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs")
    names = sorted(stream["logStreamName"] for stream in found["logStreams"])
    assert [name.rpartition("-")[0] for name in names] == ["j/algo-1", "j/algo-2"]
    assert sorted(said(scenes, "j")) == ["I am algo-1", "I am algo-2"]
    with tarfile.open(fileobj=io.BytesIO(scenes.get(told["ModelArtifacts"]["S3ModelArtifacts"]))) as archive:
        assert sorted(archive.getnames()) == ["algo-1", "algo-2"]


def test_a_sharded_channel_gives_every_host_its_part(scenes: Scenes) -> None:
    for name in "abc":
        scenes.put(f"data/{name}", name)
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": f"s3://{BUCKET}/data/",
        "S3DataDistributionType": "ShardedByS3Key",
    }
    program = "import os\nprint(sorted(os.listdir('/opt/ml/input/data/train')))\n"
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 10}
    asked = scenes.training("j", program, ResourceConfig=resources)
    asked["InputDataConfig"].append({"ChannelName": "train", "DataSource": {"S3DataSource": source}})
    scenes.sagemaker.create_training_job(**asked)
    scenes.ended("j")
    assert sorted(said(scenes, "j")) == ["['a', 'c']", "['b']"]


def test_metrics_are_found_in_what_the_program_prints(scenes: Scenes) -> None:
    asked = scenes.training("j", "print('loss=0.5')\nprint('loss=0.25 acc=nan')\nprint('loss=x')\n")
    asked["AlgorithmSpecification"] |= {
        "MetricDefinitions": [
            {"Name": "loss", "Regex": r"loss=([0-9.eE+-]+)"},
            {"Name": "acc", "Regex": r"acc=(\S+)"},
        ],
        "EnableSageMakerMetricsTimeSeries": True,
    }
    scenes.sagemaker.create_training_job(**asked)
    told = scenes.ended("j")
    assert [(row["MetricName"], row["Value"]) for row in told["FinalMetricDataList"]] == [("loss", 0.25)]
    query = {
        "MetricName": "loss",
        "ResourceArn": told["TrainingJobArn"],
        "MetricStat": "Last",
        "Period": "IterationNumber",
        "XAxisType": "IterationNumber",
    }
    history = scenes.client("sagemaker-metrics").batch_get_metrics(MetricQueries=[query])
    (result,) = history["MetricQueryResults"]
    assert (result["XAxisValues"], result["MetricValues"]) == ([0, 1], [0.5, 0.25])


def test_a_job_is_followed_by_a_component_of_its_experiment(scenes: Scenes) -> None:
    sagemaker = scenes.sagemaker
    sagemaker.create_experiment(ExperimentName="e")
    sagemaker.create_trial(TrialName="t", ExperimentName="e")
    config = {"ExperimentName": "e", "TrialName": "t"}
    told = scenes.train("j", "print(1)\n", ExperimentConfig=config, HyperParameters={"lr": "0.1", "k": "x"})
    component = sagemaker.describe_trial_component(TrialComponentName="j-aws-training-job")
    assert component["Source"]["SourceArn"] == told["TrainingJobArn"]
    assert component["Status"]["PrimaryStatus"] == "Completed"
    assert component["Parameters"]["lr"] == {"NumberValue": 0.1}
    assert component["Parameters"]["k"] == {"StringValue": "x"}
    assert component["Parameters"]["SageMaker.InstanceType"] == {"StringValue": "ml.m5.large"}
    assert component["InputArtifacts"]["code"]["Value"] == f"s3://{BUCKET}/j/code/"
    found = sagemaker.list_trial_components(TrialName="t")["TrialComponentSummaries"]
    assert [row["TrialComponentName"] for row in found] == ["j-aws-training-job"]


def test_an_experiment_that_is_not_there_refuses_the_job(scenes: Scenes) -> None:
    asked = scenes.training("j", "", ExperimentConfig={"ExperimentName": "missing"})
    assert refused(scenes, "create_training_job", **asked)[0] in ("ResourceNotFound", "ValidationException")
    assert scenes.sagemaker.list_training_jobs()["TrainingJobSummaries"] == []


def test_a_full_trial_takes_the_component_of_a_job(scenes: Scenes) -> None:
    sagemaker = scenes.sagemaker
    sagemaker.create_experiment(ExperimentName="e")
    sagemaker.create_trial(TrialName="t", ExperimentName="e")
    for number in range(50):
        sagemaker.create_trial_component(TrialComponentName=f"c{number}")
        sagemaker.associate_trial_component(TrialComponentName=f"c{number}", TrialName="t")
    scenes.train("j", "print(1)\n", ExperimentConfig={"TrialName": "t"})
    found = sagemaker.list_trial_components(TrialName="t", MaxResults=100)["TrialComponentSummaries"]
    assert len(found) == 51


def test_a_job_made_again_has_its_component_again(scenes: Scenes) -> None:
    scenes.sagemaker.create_experiment(ExperimentName="e")
    config = {"ExperimentName": "e"}
    scenes.train("j", "print(1)\n", ExperimentConfig=config, HyperParameters={"lr": "nan"})
    scenes.sagemaker.delete_training_job(TrainingJobName="j")
    scenes.train("j", "raise SystemExit(1)\n", ExperimentConfig=config)
    told = scenes.sagemaker.describe_trial_component(TrialComponentName="j-aws-training-job")
    assert told["Status"]["PrimaryStatus"] == "Failed"
    assert told["Parameters"]["lr"] == {"StringValue": "nan"}


def test_the_job_of_a_run_goes_where_the_run_is(scenes: Scenes) -> None:
    sagemaker = scenes.sagemaker
    sagemaker.create_experiment(ExperimentName="E")
    sagemaker.create_trial(TrialName="t", ExperimentName="E")
    sagemaker.create_trial_component(TrialComponentName="e-r1")
    sagemaker.associate_trial_component(TrialComponentName="e-r1", TrialName="t")
    scenes.train("j", "print(1)\n", ExperimentConfig={"ExperimentName": "E", "RunName": "r1"})
    found = sagemaker.list_trial_components(TrialName="t")["TrialComponentSummaries"]
    assert {row["TrialComponentName"] for row in found} == {"e-r1", "j-aws-training-job"}
    asked = scenes.training("k", "", ExperimentConfig={"ExperimentName": "E", "RunName": "none"})
    assert refused(scenes, "create_training_job", **asked)[0] in ("ResourceNotFound", "ValidationException")


def test_an_expression_that_nobody_can_read_is_refused(scenes: Scenes) -> None:
    asked = scenes.training("j", "")
    asked["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "x", "Regex": "(unclosed"}]
    assert refused(scenes, "create_training_job", **asked)[0] == "ValidationException"


@pytest.mark.parametrize("content", ["not json", "{}", '["s3://x"]', '[{"prefix": 5}]'])
def test_a_manifest_that_nobody_can_read_is_refused(scenes: Scenes, content: str) -> None:
    asked = scenes.training("j", "")
    source = {"S3DataType": "ManifestFile", "S3Uri": scenes.put("manifest", content)}
    asked["InputDataConfig"].append({"ChannelName": "train", "DataSource": {"S3DataSource": source}})
    code, message = refused(scenes, "create_training_job", **asked)
    assert (code, "No S3 objects found" in message) == ("ValidationException", True)


@pytest.mark.parametrize("keys", [("data/../../escaped",), ("data/a", "data/a/b")])
def test_keys_that_cannot_be_files_fail_the_download(scenes: Scenes, keys: tuple[str, ...]) -> None:
    for key in keys:
        scenes.cloud.s3().put_object(BUCKET, key, b"x")
    asked = scenes.training("j", "")
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/data/"}
    asked["InputDataConfig"].append({"ChannelName": "train", "DataSource": {"S3DataSource": source}})
    scenes.sagemaker.create_training_job(**asked)
    assert scenes.ended("j")["FailureReason"].startswith("ClientError: Data download failed")


def test_output_that_is_no_text_and_has_no_end_is_kept(scenes: Scenes) -> None:
    program = "import os\nos.write(1, b'\\xff\\x00\\n' + b'x' * 300_000)\n"
    assert scenes.train("j", program)["TrainingJobStatus"] == "Completed"
    first, second = said(scenes, "j")
    assert first == "\ufffd\x00"
    assert 200_000 < len(second) <= 262_144


def test_stop_lets_the_program_save_and_then_it_is_stopped(scenes: Scenes) -> None:
    started(scenes, "j", SAVES)
    scenes.sagemaker.stop_training_job(TrainingJobName="j")
    assert scenes.sagemaker.describe_training_job(TrainingJobName="j")["TrainingJobStatus"] in (
        "Stopping",
        "Stopped",
    )
    told = scenes.ended("j")
    assert told["TrainingJobStatus"] == told["SecondaryStatus"] == "Stopped"
    with tarfile.open(fileobj=io.BytesIO(scenes.get(told["ModelArtifacts"]["S3ModelArtifacts"]))) as archive:
        assert archive.getnames() == ["late.txt"]
    code, message = refused(scenes, "stop_training_job", TrainingJobName="j")
    assert (code, "is in status Stopped" in message) == ("ValidationException", True)


def test_a_program_that_does_not_listen_is_killed(scenes: Scenes) -> None:
    scenes.cloud.part(Jobs).grace_s = 0.2
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEPS
    started(scenes, "j", deaf)
    scenes.sagemaker.stop_training_job(TrainingJobName="j")
    assert scenes.ended("j")["TrainingJobStatus"] == "Stopped"


def test_a_job_that_takes_too_long_is_stopped(scenes: Scenes) -> None:
    told = scenes.train("j", SLEEPS, StoppingCondition={"MaxRuntimeInSeconds": 15})
    assert (told["TrainingJobStatus"], told["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_a_spot_job_that_waits_too_long_is_stopped(scenes: Scenes) -> None:
    conditions = {"MaxRuntimeInSeconds": 15, "MaxWaitTimeInSeconds": 15}
    scenes.cloud.part(Jobs).start_s = 3600
    told = scenes.train("j", SLEEPS, EnableManagedSpotTraining=True, StoppingCondition=conditions)
    assert (told["TrainingJobStatus"], told["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")
    assert "TrainingStartTime" not in told


def test_a_spot_job_goes_on_from_its_checkpoints(scenes: Scenes) -> None:
    program = """
import os, time
path = "/opt/ml/checkpoints/step"
if os.path.exists(path):
    print("resumed at", open(path).read())
else:
    open(path, "w").write("5")
    print("up", flush=True)
    time.sleep(60)
"""
    spot = {
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 86_400, "MaxWaitTimeInSeconds": 86_400},
        "CheckpointConfig": {"S3Uri": f"s3://{BUCKET}/check"},
    }
    started(scenes, "j", program, **spot)
    scenes.cloud.part(Jobs).interrupt("j")
    told = scenes.ended("j")
    assert told["TrainingJobStatus"] == "Completed"
    assert statuses(told)[3:6] == ["Interrupted", "Starting", "Downloading"]
    assert "resumed at 5" in said(scenes, "j")
    assert scenes.get(f"s3://{BUCKET}/check/step") == b"5"


def test_lost_instances_fail_a_job_that_may_not_be_retried(scenes: Scenes) -> None:
    started(scenes, "j", SLEEPS)
    scenes.cloud.part(Jobs).lose_instances("j")
    assert scenes.ended("j")["FailureReason"].startswith("InternalServerError")


def test_lost_instances_are_replaced_when_retries_are_left(scenes: Scenes) -> None:
    started(scenes, "j", SLEEPS, RetryStrategy={"MaximumRetryAttempts": 1})
    scenes.cloud.part(Jobs).lose_instances("j")
    described = scenes.until(
        lambda: scenes.sagemaker.describe_training_job(TrainingJobName="j"),
        lambda told: statuses(told).count("Training") == 2,
    )
    assert "Restarting" in statuses(described)
    scenes.until(lambda: said(scenes, "j").count("up"), lambda count: count == 2)
    scenes.cloud.part(Jobs).lose_instances("j")
    assert scenes.ended("j")["TrainingJobStatus"] == "Failed"


def test_a_name_is_taken_until_its_job_is_deleted(scenes: Scenes) -> None:
    scenes.train("j", "print(1)\n", Tags=[{"Key": "k", "Value": "v"}])
    code, message = refused(scenes, "create_training_job", **scenes.training("j", "print(2)\n"))
    assert (code, "already exists" in message) == ("ResourceInUse", True)
    scenes.sagemaker.delete_training_job(TrainingJobName="j")
    told = refused(scenes, "describe_training_job", TrainingJobName="j")
    assert told == ("ValidationException", "Requested resource not found.")
    assert scenes.train("j", "print(2)\n")["TrainingJobStatus"] == "Completed"


def test_a_running_job_is_not_deleted(scenes: Scenes) -> None:
    started(scenes, "j", SLEEPS)
    assert refused(scenes, "delete_training_job", TrainingJobName="j")[0] == "ResourceInUse"


def test_a_warm_pool_can_be_ended_and_holds_its_job(scenes: Scenes) -> None:
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
    pool = resources | {"KeepAlivePeriodInSeconds": 3600}
    told = scenes.train("j", "print(1)\n", ResourceConfig=pool)
    assert told["WarmPoolStatus"]["Status"] == "Available"
    assert refused(scenes, "delete_training_job", TrainingJobName="j")[0] == "ResourceInUse"
    change = {"ResourceConfig": {"KeepAlivePeriodInSeconds": 0}}
    scenes.sagemaker.update_training_job(TrainingJobName="j", **change)
    told = scenes.sagemaker.describe_training_job(TrainingJobName="j")
    assert told["WarmPoolStatus"]["Status"] == "Terminated"
    assert refused(scenes, "update_training_job", TrainingJobName="j", **change)[0] == "ValidationException"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"TrainingJobName": "x" * 64}, "TrainingJobName|trainingJobName"),
        ({"HyperParameters": {"k": "x" * 2501}}, "2500"),
        ({"HyperParameters": {f"k{n}": "1" for n in range(101)}}, "100"),
        ({"ResourceConfig": None}, "ResourceConfig"),
        ({"StoppingCondition": None}, "StoppingCondition"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 28 * 86_400 + 1}}, "28 days"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60}}, "MaxWaitTime"),
        ({"EnableManagedSpotTraining": True}, "MaxWaitTimeInSeconds"),
        (
            {
                "EnableManagedSpotTraining": True,
                "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 59},
            },
            "greater than or equal",
        ),
        ({"OutputDataConfig": {"S3OutputPath": "s3://no-such-bucket/out"}}, "no-such-bucket"),
        ({"CheckpointConfig": {"S3Uri": "s3://scenes/c", "LocalPath": "/tmp/c"}}, "LocalPath"),
        ({"Tags": [{"Key": "aws:x", "Value": "1"}]}, "aws:"),
    ],
)
def test_what_aws_refuses_is_refused(scenes: Scenes, changed: dict[str, Any], words: str) -> None:
    asked = {name: value for name, value in scenes.training("j", "", **changed).items() if value is not None}
    code, message = refused(scenes, "create_training_job", **asked)
    assert code in ("ValidationException", "ResourceLimitExceeded")
    assert any(word in message for word in words.split("|"))
    assert scenes.sagemaker.list_training_jobs()["TrainingJobSummaries"] == []


@pytest.mark.parametrize(
    ("algorithm", "words"),
    [
        ({"AlgorithmName": "xgb"}, "TrainingImage"),
        ({"TrainingImage": None}, "TrainingImage"),
        ({"TrainingInputMode": "Pipe"}, "Pipe"),
        ({"ContainerArguments": ["x" * 257]}, "256"),
    ],
)
def test_an_algorithm_that_cannot_run_is_refused(
    scenes: Scenes, algorithm: dict[str, Any], words: str
) -> None:
    asked = scenes.training("j", "")
    given = asked["AlgorithmSpecification"] | algorithm
    asked["AlgorithmSpecification"] = {name: value for name, value in given.items() if value is not None}
    code, message = refused(scenes, "create_training_job", **asked)
    assert (code, words in message) == ("ValidationException", True)


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"InstanceType": "ml.m5.large"}, "InstanceCount"),
        ({"InstanceType": "ml.m5.large", "InstanceCount": 0, "VolumeSizeInGB": 1}, "at least 1"),
        ({"InstanceType": "ml.nonsense", "InstanceCount": 1, "VolumeSizeInGB": 1}, "enum"),
    ],
)
def test_instances_that_there_are_not_are_refused(
    scenes: Scenes, resources: dict[str, Any], words: str
) -> None:
    asked = scenes.training("j", "", ResourceConfig=resources)
    code, message = refused(scenes, "create_training_job", **asked)
    assert (code, words in message) == ("ValidationException", True)


def test_groups_of_instances_are_hosts_of_one_job(scenes: Scenes) -> None:
    groups = [
        {"InstanceType": kind, "InstanceCount": 1, "InstanceGroupName": kind[3:5]}
        for kind in ("ml.m5.large", "ml.c5.xlarge")
    ]
    program = "print(open('/opt/ml/input/config/resourceconfig.json').read().count('algo-'))\n"
    told = scenes.train("j", program, ResourceConfig={"InstanceGroups": groups, "VolumeSizeInGB": 1})
    assert told["TrainingJobStatus"] == "Completed"
    assert said(scenes, "j") == ["3", "3"]


def test_output_lies_file_by_file_beside_an_uncompressed_model(scenes: Scenes) -> None:
    output = {"S3OutputPath": f"s3://{BUCKET}/out", "CompressionType": "NONE"}
    program = "open('/opt/ml/output/data/report', 'w').write('fine')\nraise SystemExit(1)\n"
    told = scenes.train("j", program, OutputDataConfig=output)
    assert told["TrainingJobStatus"] == "Failed"
    assert scenes.get(f"s3://{BUCKET}/out/j/output/data/report") == b"fine"


def test_debugging_is_switched_while_a_job_trains_and_not_afterwards(scenes: Scenes) -> None:
    started(scenes, "j", SAVES)
    change = {"RemoteDebugConfig": {"EnableRemoteDebug": True}}
    scenes.sagemaker.update_training_job(TrainingJobName="j", **change)
    told = scenes.sagemaker.describe_training_job(TrainingJobName="j")
    assert told["RemoteDebugConfig"] == change["RemoteDebugConfig"]
    scenes.sagemaker.stop_training_job(TrainingJobName="j")
    scenes.ended("j")
    assert refused(scenes, "update_training_job", TrainingJobName="j", **change)[0] == "ValidationException"


def test_a_warm_pool_ends_by_itself(scenes: Scenes) -> None:
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
    scenes.train("j", "print(1)\n", ResourceConfig=resources | {"KeepAlivePeriodInSeconds": 600})
    scenes.cloud.clock.stop()
    longer = {"ResourceConfig": {"KeepAlivePeriodInSeconds": 1200}}
    scenes.sagemaker.update_training_job(TrainingJobName="j", **longer)

    def status() -> str:
        told: dict[str, Any] = scenes.sagemaker.describe_training_job(TrainingJobName="j")
        pool: str = told["WarmPoolStatus"]["Status"]
        return pool

    scenes.cloud.clock.advance(23.9)  # of 24 s that 1200 s take at this pace
    assert status() == "Available"
    scenes.cloud.clock.advance(1)
    assert status() == "Terminated"


def test_a_channel_with_nothing_in_it_is_refused(scenes: Scenes) -> None:
    asked = scenes.training("j", "")
    asked["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] = "s3://nowhere/data"
    code, message = refused(scenes, "create_training_job", **asked)
    assert (code, "No S3 objects found" in message) == ("ValidationException", True)


def test_more_instances_than_the_quota_are_refused_in_awss_words(scenes: Scenes) -> None:
    scenes.cloud.part(Quotas).limits["ml.m5.large", "training job"] = 1
    started(scenes, "j", SLEEPS)
    code, message = refused(scenes, "create_training_job", **scenes.training("k", ""))
    assert code == "ResourceLimitExceeded"
    assert "'ml.m5.large for training job usage' is 1 Instances, with current utilization of 1" in message
    spot = {
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 86_400, "MaxWaitTimeInSeconds": 86_400},
    }
    assert scenes.train("s", "print(1)\n", **spot)["TrainingJobStatus"] == "Completed"
    scenes.sagemaker.stop_training_job(TrainingJobName="j")
    scenes.ended("j")
    assert scenes.train("k", "print(1)\n")["TrainingJobStatus"] == "Completed"
    many = {"InstanceType": "ml.p3.2xlarge", "InstanceCount": 21, "VolumeSizeInGB": 1}
    asked = scenes.training("m", "", ResourceConfig=many)
    assert refused(scenes, "create_training_job", **asked)[0] == "ResourceLimitExceeded"


def test_jobs_are_listed_by_pages_filters_and_order(scenes: Scenes) -> None:
    for name in ("a1", "b1", "a2"):
        scenes.train(name, "print(1)\n")
    listed = scenes.sagemaker.list_training_jobs

    def names(**asked: Any) -> list[str]:
        return [row["TrainingJobName"] for row in listed(**asked)["TrainingJobSummaries"]]

    assert names() == ["a1", "b1", "a2"]
    assert names(SortOrder="Descending") == ["a2", "b1", "a1"]
    assert names(SortBy="Name") == ["a1", "a2", "b1"]
    assert names(NameContains="a", StatusEquals="Completed") == ["a1", "a2"]
    assert names(StatusEquals="Failed") == []
    first = listed(MaxResults=2, SortBy="Name")
    assert names(MaxResults=2, SortBy="Name", NextToken=first["NextToken"]) == ["b1"]
    assert refused(scenes, "list_training_jobs", NextToken="rubbish")[0] == "ValidationException"


def test_training_jobs_are_found_by_search(scenes: Scenes) -> None:
    scenes.train("a", "print(1)\n", Tags=[{"Key": "run-id", "Value": "r1"}])
    scenes.train("b", "print(1)\n")
    filters = [{"Name": "Tags.run-id", "Operator": "Equals", "Value": "r1"}]
    found = scenes.sagemaker.search(Resource="TrainingJob", SearchExpression={"Filters": filters})["Results"]
    assert [row["TrainingJob"]["TrainingJobName"] for row in found] == ["a"]


def test_a_reset_ends_what_runs(scenes: Scenes) -> None:
    started(scenes, "j", SLEEPS)
    job = scenes.cloud.part(Jobs).find_all()[0]
    scenes.emulator.reset()
    assert job.thread is not None
    assert not job.thread.is_alive()
