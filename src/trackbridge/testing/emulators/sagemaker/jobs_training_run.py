"""How a training job runs: the contract of ``/opt/ml`` between SageMaker and a container."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from trackbridge.testing.emulators.sagemaker import opt_ml
from trackbridge.testing.emulators.sagemaker.container_logs import put_metrics
from trackbridge.testing.emulators.sagemaker.containers import Containers
from trackbridge.testing.emulators.sagemaker.core import Cloud
from trackbridge.testing.emulators.sagemaker.images import Images, unknown_image
from trackbridge.testing.emulators.sagemaker.jobs_inputs import fetch
from trackbridge.testing.emulators.sagemaker.jobs_kept import KeptFolder
from trackbridge.testing.emulators.sagemaker.jobs_records import Job, change
from trackbridge.testing.emulators.sagemaker.jobs_runs import Failed, Host, Run, text_of
from trackbridge.testing.emulators.sagemaker.metrics import Metrics
from trackbridge.testing.emulators.sagemaker.storage import (
    download,
    files_below,
    objects,
    packed,
    place_of,
    upload_folder,
    write,
)

CHECKPOINTS = "/opt/ml/checkpoints"
INTERNAL = "InternalServerError: We encountered an internal error. Please try again."
FAILURE_CHARS_MAX = 900
"""How much of what a program wrote goes into the FailureReason, which holds 1,024."""
_DAY_S = 86_400


class TrainingRun(Run):
    """The life of a training job."""

    def __init__(self, cloud: Cloud, job: Job) -> None:
        super().__init__(cloud, job)
        self.asked = job.asked
        self.definitions = [
            (each["Name"], re.compile(each["Regex"]))
            for each in job.asked["AlgorithmSpecification"].get("MetricDefinitions", ())
        ]
        self.metrics: dict[str, dict[str, Any]] = {}
        self.steps: dict[str, int] = {}
        self.series = [job.component_arn] if job.component_arn else []
        if job.asked["AlgorithmSpecification"].get("EnableSageMakerMetricsTimeSeries"):
            self.series.append(job.arn)
        self.retries_left = job.asked.get("RetryStrategy", {}).get("MaximumRetryAttempts", 0)
        config = job.asked.get("CheckpointConfig")
        self.kept = config and KeptFolder(cloud, config.get("LocalPath", CHECKPOINTS), config["S3Uri"])
        self._has_limit = False

    def live(self) -> None:
        """Live from Starting to the end; again when instances were taken back or broke."""
        conditions = self.asked["StoppingCondition"]
        self.limit(conditions.get("MaxWaitTimeInSeconds"), "MaxWaitTimeExceeded")
        while not self._attempt():
            self.leave_hosts()

    def _attempt(self) -> bool:
        """Run once; returns whether the job has ended."""
        self.enter("Starting", "Preparing the instances for training", self.settings.start_s)
        if self.job.wanted_end:
            return self._end()
        self.enter("Downloading", "Downloading input data", self.settings.step_s)
        command = self._command()
        self._prepare()
        if self.job.wanted_end:
            return self._end()
        self.job.started_s = self.job.started_s or self.cloud.now_s()
        self.enter("Training", "Training image download completed. Training in progress.", 0)
        if not self._has_limit:
            self._has_limit = True
            seconds = self.asked["StoppingCondition"].get("MaxRuntimeInSeconds", _DAY_S)
            self.limit(seconds, "MaxRuntimeExceeded")
        for host in self.hosts:
            host.start(command, self._environment(host), self._read_metrics)
        codes = self.watch(self._sync)
        if codes is None and self.job.wanted_end is None:
            return self._disturbed()
        if codes is None:
            self.end_containers()
            return self._end()
        self._finish(codes)
        return True

    def _disturbed(self) -> bool:
        how, self.job.disturbance = self.job.disturbance, None
        if how == "Interrupted":
            self.end_containers()
            self._sync(is_last=True)
            self.enter("Interrupted", "Instances were taken back by Spot", self.settings.step_s)
            return False
        # What was not in S3 by then is lost with the machines, which were told nothing.
        if not self.retries_left:
            raise Failed(INTERNAL)
        self.retries_left -= 1
        self.leave_hosts()
        self.enter("Restarting", "Restarting after an internal error", self.settings.step_s)
        return False

    def _finish(self, codes: list[int]) -> None:
        self._sync(is_last=True)
        failed = [(host, code) for host, code in zip(self.hosts, codes, strict=True) if code]
        if failed:
            host, code = failed[0]
            self._upload_output()
            told = text_of(host.ml / "output" / "failure")[:FAILURE_CHARS_MAX]
            raise Failed(f"AlgorithmError: {told}, exit code: {code}")
        self.enter("Uploading", "Uploading generated training model", self.settings.step_s)
        self._upload()
        seconds = self.asked["ResourceConfig"].get("KeepAlivePeriodInSeconds", 0)
        if seconds:
            self.job.told["WarmPoolStatus"] = {
                "Status": "Available",
                "ResourceRetainedBillableTimeInSeconds": 0,
            }
            keep_pool(self.cloud, self.job, seconds)
        change(self.cloud, self.job, "Completed", "Completed", "Training job completed")

    def _end(self) -> bool:
        """End as was wanted; what the containers wrote until then is kept."""
        why = self.job.wanted_end or "Stopped"
        if self.hosts:
            self._sync(is_last=True)
            change(self.cloud, self.job, "Stopping", "Uploading", "Uploading generated training model")
            self._upload()
        told = "Training job stopped" if why == "Stopped" else f"Training job stopped: {why}"
        change(self.cloud, self.job, "Stopped", why, told)
        return True

    def _command(self) -> list[str]:
        algorithm = self.asked["AlgorithmSpecification"]
        command = [*algorithm.get("ContainerEntrypoint", ()), *algorithm.get("ContainerArguments", ())]
        if algorithm.get("ContainerEntrypoint"):
            return command
        image = algorithm.get("TrainingImage", "")
        own = self.cloud.part(Images).command(image, "train", self.asked.get("Environment", {}))
        if not own:
            raise Failed(f"ClientError: {unknown_image(image, 'train')}")
        return [*own, *algorithm.get("ContainerArguments", ())]

    def _prepare(self) -> None:
        count = _instances(self.asked["ResourceConfig"])
        self.hosts = [Host(self.cloud, self.job, number + 1) for number in range(count)]
        names = [host.name for host in self.hosts]
        for number, host in enumerate(self.hosts):
            for name in ("input/config", "input/data", "model", "output/data", "code", "checkpoints"):
                (host.ml / name).mkdir(parents=True, exist_ok=True)
            self._configure(host, names)
            for channel in self.asked.get("InputDataConfig", ()):
                folder = host.ml / "input" / "data" / channel["ChannelName"]
                fetch(self.cloud, channel["DataSource"]["S3DataSource"], folder, number, count)
            self._fetch_checkpoints(host)

    def _configure(self, host: Host, names: list[str]) -> None:
        config = host.ml / "input" / "config"
        hyperparameters = dict(self.asked.get("HyperParameters", {}))
        _write_json(config / "hyperparameters.json", hyperparameters)
        _write_json(config / "inputdataconfig.json", _channels(self.asked))
        resources = {
            "current_host": host.name,
            "current_instance_type": self.asked["ResourceConfig"].get("InstanceType", ""),
            "current_group_name": "homogeneousCluster",
            "hosts": names,
            "network_interface_name": "lo",
        }
        _write_json(config / "resourceconfig.json", resources)
        known = "127.0.0.1 localhost " + " ".join(names)
        (host.folder / "hosts").write_text(f"{known}\n::1 localhost\n")

    def _environment(self, host: Host) -> dict[str, str]:
        given = dict(self.asked.get("Environment", {}))
        own = {
            "TRAINING_JOB_NAME": self.job.name,
            "TRAINING_JOB_ARN": self.job.arn,
            "CURRENT_HOST": host.name,
        }
        image = self.asked["AlgorithmSpecification"].get("TrainingImage", "")
        if self.cloud.part(Images).find(image).has_toolkit or not self.cloud.part(Containers).is_mounted:
            own |= _toolkit_variables(self.asked, host.name, [each.name for each in self.hosts])
        return own | given

    def _read_metrics(self, line: str) -> None:
        for name, pattern in self.definitions:
            found = pattern.search(line)
            value = _number(found.group(1)) if found and pattern.groups else None
            if value is None:
                continue
            now = self.cloud.now_s()
            with self.cloud.lock:
                self.metrics[name] = {"MetricName": name, "Value": value, "Timestamp": now}
                self.job.told["FinalMetricDataList"] = list(self.metrics.values())
                step = self.steps[name] = self.steps.get(name, -1) + 1
                for arn in self.series:
                    self.cloud.part(Metrics).add(arn, name, value, now, step)
            dimensions = {"TrainingJobName": self.job.name}
            put_metrics(self.cloud, "/aws/sagemaker/TrainingJobs", dimensions, [(name, value, "None")])

    def _fetch_checkpoints(self, host: Host) -> None:
        if self.kept is not None:
            folder = opt_ml.inside(host.folder, self.kept.path)
            assert folder is not None
            folder.mkdir(parents=True, exist_ok=True)
            download(self.cloud, objects(self.cloud, self.kept.address), folder)

    def _sync(self, *, is_last: bool = False) -> None:
        """Bring to S3 what is new among the checkpoints."""
        if self.kept is not None:
            self.kept.bring(self.hosts, is_last=is_last)

    def _upload(self) -> None:
        output = self._output()
        models = [host.ml / "model" for host in self.hosts]
        if self.asked["OutputDataConfig"].get("CompressionType", "GZIP") == "NONE":
            for folder in models:
                upload_folder(self.cloud, folder, output.below("model"))
        else:
            write(self.cloud, output.below("model.tar.gz"), packed(models))
        self._upload_output()

    def _upload_output(self) -> None:
        """Keep what the containers wrote to ``/opt/ml/output/data``."""
        folders = [host.ml / "output" / "data" for host in self.hosts]
        if not any(files_below(folder) for folder in folders):
            return
        if self.asked["OutputDataConfig"].get("CompressionType", "GZIP") == "NONE":
            for folder in folders:
                upload_folder(self.cloud, folder, self._output().below("data"))
        else:
            write(self.cloud, self._output().below("output.tar.gz"), packed(folders))

    def _output(self) -> Any:
        return place_of(self.asked["OutputDataConfig"]["S3OutputPath"]).below(f"{self.job.name}/output")


def keep_pool(cloud: Cloud, job: Job, seconds: int) -> None:
    """Keep a job's warm pool for some time from now, unless it is asked for another time meanwhile."""
    pool, resources = job.told["WarmPoolStatus"], job.asked["ResourceConfig"]
    resources["KeepAlivePeriodInSeconds"] = seconds
    until_s = job.pool_until_s = cloud.now_s() + seconds

    def end() -> None:
        if job.pool_until_s == until_s:
            pool["Status"] = "Terminated"

    if seconds:
        cloud.later(seconds, end)
    else:
        end()


def _instances(resources: Mapping[str, Any]) -> int:
    groups = resources.get("InstanceGroups", ())
    return sum(group["InstanceCount"] for group in groups) or resources.get("InstanceCount", 1)


def _channels(asked: Mapping[str, Any]) -> dict[str, Any]:
    mode = asked["AlgorithmSpecification"]["TrainingInputMode"]
    return {
        channel["ChannelName"]: {
            "ContentType": channel.get("ContentType", ""),
            "TrainingInputMode": channel.get("InputMode", mode),
            "S3DistributionType": channel["DataSource"]["S3DataSource"].get(
                "S3DataDistributionType", "FullyReplicated"
            ),
            "RecordWrapperType": channel.get("RecordWrapperType", "None"),
        }
        for channel in asked.get("InputDataConfig", ())
    }


def _toolkit_variables(asked: Mapping[str, Any], host: str, hosts: list[str]) -> dict[str, str]:
    """Return what AWS's training toolkit sets; the service itself does not."""
    hyperparameters = dict(asked.get("HyperParameters", {}))
    channels = {
        f"SM_CHANNEL_{channel['ChannelName'].upper()}": f"/opt/ml/input/data/{channel['ChannelName']}"
        for channel in asked.get("InputDataConfig", ())
    }
    each = {f"SM_HP_{name.upper()}": value for name, value in hyperparameters.items()}
    return {
        "SM_MODEL_DIR": "/opt/ml/model",
        "SM_OUTPUT_DIR": "/opt/ml/output",
        "SM_OUTPUT_DATA_DIR": "/opt/ml/output/data",
        "SM_INPUT_DIR": "/opt/ml/input",
        "SM_INPUT_CONFIG_DIR": "/opt/ml/input/config",
        "SM_HPS": json.dumps(hyperparameters),
        "SM_HOSTS": json.dumps(hosts),
        "SM_CURRENT_HOST": host,
        "SM_NUM_GPUS": "0",
        "SM_NETWORK_INTERFACE_NAME": "lo",
        **channels,
        **each,
    }


def _write_json(path: Any, value: Any) -> None:
    path.write_text(json.dumps(value))


def _number(text: str) -> float | None:
    """Return a finite number; None for anything else, which SageMaker leaves out."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
