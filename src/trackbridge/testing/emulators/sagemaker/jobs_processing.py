"""Processing jobs: a command with inputs and outputs below ``/opt/ml/processing``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trackbridge.testing.emulators.sagemaker import opt_ml
from trackbridge.testing.emulators.sagemaker.core import Cloud, Operation
from trackbridge.testing.emulators.sagemaker.images import Images, unknown_image
from trackbridge.testing.emulators.sagemaker.jobs_components import check, follow
from trackbridge.testing.emulators.sagemaker.jobs_inputs import check_source, fetch, refuse
from trackbridge.testing.emulators.sagemaker.jobs_kept import KeptFolder
from trackbridge.testing.emulators.sagemaker.jobs_records import (
    PROCESSING,
    Job,
    Jobs,
    change,
    delete,
    listed,
    stop,
    summary,
)
from trackbridge.testing.emulators.sagemaker.jobs_rules import check_image, check_region, check_role
from trackbridge.testing.emulators.sagemaker.jobs_runs import Failed, Host, Run, text_of
from trackbridge.testing.emulators.sagemaker.jobs_training_run import FAILURE_CHARS_MAX
from trackbridge.testing.emulators.sagemaker.storage import bucket_exists, place_of, upload_folder

_DAY_S = 86_400


def _create(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    for given in asked.get("ProcessingInputs", ()):
        source = given.get("S3Input")
        if source is None:
            raise refuse(f"The emulator has inputs from S3 only; {given['InputName']} is another kind")
        if source.get("S3InputMode", "File") == "Pipe":
            raise refuse("The emulator has no Pipe mode; use File")
        _check_local(source.get("LocalPath", ""), given["InputName"])
        check_source(cloud, source, asked["RoleArn"])
    for output in _outputs(asked):
        if "S3Output" not in output:
            raise refuse(f"The emulator has outputs to S3 only; {output['OutputName']} is another kind")
        _check_local(output["S3Output"].get("LocalPath", ""), output["OutputName"])
        _check_target(cloud, output)
    _check_names(asked)
    check_role(cloud, asked["RoleArn"])
    check_image(cloud, asked["AppSpecification"]["ImageUri"])
    check(cloud, asked)
    cloud.part(Jobs).check_quota(PROCESSING, asked)
    job = cloud.part(Jobs).add(PROCESSING, asked)
    follow(cloud, job)
    change(cloud, job, "InProgress", "Starting")
    ProcessingRun(cloud, job).begin()
    return {"ProcessingJobArn": job.arn}


def _check_target(cloud: Cloud, output: Mapping[str, Any]) -> None:
    target = place_of(output["S3Output"]["S3Uri"])
    if not bucket_exists(cloud, target.bucket):
        raise refuse(f"The bucket of the output {output['OutputName']}, {target}, does not exist")
    check_region(cloud, target, f"the output {output['OutputName']}")


def _check_local(path: str, name: str) -> None:
    if opt_ml.inside(Path("/"), path) is None or not path.startswith("/opt/ml/processing"):
        raise refuse(f"LocalPath of {name} must be below /opt/ml/processing, not {path!r}")


def _check_names(asked: Mapping[str, Any]) -> None:
    for names in (
        [given["InputName"] for given in asked.get("ProcessingInputs", ())],
        [output["OutputName"] for output in _outputs(asked)],
    ):
        if len(names) != len(set(names)):
            raise refuse(f"Names of inputs and outputs must be unique: {names}")


def _outputs(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(asked.get("ProcessingOutputConfig", {}).get("Outputs", ()))


class ProcessingRun(Run):
    """The life of a processing job."""

    def live(self) -> None:
        """Download, run, upload."""
        asked = self.job.asked
        self.enter("Starting", "", self.settings.start_s)
        if self.job.wanted_end:
            return self._end()
        self.enter("Downloading", "", self.settings.step_s)
        command = self._command()
        count = asked["ProcessingResources"]["ClusterConfig"].get("InstanceCount", 1)
        self.kept = [
            KeptFolder(self.cloud, output["S3Output"]["LocalPath"], output["S3Output"]["S3Uri"])
            for output in _outputs(asked)
            if output["S3Output"]["S3UploadMode"] == "Continuous"
        ]
        self.hosts = [Host(self.cloud, self.job, number + 1) for number in range(count)]
        for number, host in enumerate(self.hosts):
            self._prepare(host, number, count)
        self.job.started_s = self.cloud.now_s()
        self.enter("Processing", "", 0)
        seconds = asked.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", _DAY_S)
        self.limit(seconds, "MaxRuntimeExceeded")
        own = {"PROCESSING_JOB_NAME": self.job.name, "PROCESSING_JOB_ARN": self.job.arn}
        for host in self.hosts:
            host.start(command, own | asked.get("Environment", {}), lambda _: None)
        codes = self.watch(self._bring)
        if codes is None:
            self.end_containers()
            return self._end()
        return self._finish(codes)

    def _bring(self) -> None:
        for folder in self.kept:
            folder.bring(self.hosts)

    def _finish(self, codes: list[int]) -> None:
        said = text_of(self.hosts[0].ml / "output" / "message")
        if said:
            self.job.told["ExitMessage"] = said
        failed = [(host, code) for host, code in zip(self.hosts, codes, strict=True) if code]
        self.enter("Uploading", "", self.settings.step_s)
        self._upload()
        if failed:
            host, code = failed[0]
            told = text_of(host.ml / "output" / "failure")[:FAILURE_CHARS_MAX]
            raise Failed(f"AlgorithmError: {told or 'See job logs for more information'}, exit code: {code}")
        change(self.cloud, self.job, "Completed", "Completed")

    def _end(self) -> None:
        self._upload()
        if self.job.wanted_end == "MaxRuntimeExceeded":
            seconds = self.job.asked.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", _DAY_S)
            raise Failed(f"ClientError: the job ran longer than MaxRuntimeInSeconds ({seconds})")
        change(self.cloud, self.job, "Stopped", "Stopped")

    def _command(self) -> list[str]:
        application = self.job.asked["AppSpecification"]
        own: list[str] = list(application.get("ContainerEntrypoint", ()))
        if not own:
            environment = self.job.asked.get("Environment", {})
            own = self.cloud.part(Images).command(application["ImageUri"], "train", environment)
        if not own:
            raise Failed(f"ClientError: {unknown_image(application['ImageUri'], 'entrypoint')}")
        return [*own, *application.get("ContainerArguments", ())]

    def _prepare(self, host: Host, number: int, count: int) -> None:
        config = host.ml / "config"
        for folder in (config, host.ml / "output"):
            folder.mkdir(parents=True, exist_ok=True)
        names = [each.name for each in self.hosts]
        resources = {"current_host": host.name, "hosts": names, "network_interface_name": "lo"}
        (config / "resourceconfig.json").write_text(json.dumps(resources))
        told = {name: value for name, value in self.job.asked.items() if name != "Tags"}
        told |= {"ProcessingJobArn": self.job.arn}
        (config / "processingjobconfig.json").write_text(json.dumps(told, default=str))
        known = "127.0.0.1 localhost " + " ".join(names)
        (host.folder / "hosts").write_text(f"{known}\n::1 localhost\n")
        for given in self.job.asked.get("ProcessingInputs", ()):
            source = given["S3Input"]
            fetch(self.cloud, source, self._real(host, source["LocalPath"]), number, count)
        for output in _outputs(self.job.asked):
            self._real(host, output["S3Output"]["LocalPath"]).mkdir(parents=True, exist_ok=True)

    def _upload(self) -> None:
        for host in self.hosts:
            for output in _outputs(self.job.asked):
                target = output["S3Output"]
                upload_folder(self.cloud, self._real(host, target["LocalPath"]), place_of(target["S3Uri"]))

    def _real(self, host: Host, path: str) -> Path:
        real = opt_ml.inside(host.folder, path)
        assert real is not None  # checked when the job was made
        return real


def _describe(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    return described(cloud.part(Jobs).get(PROCESSING, asked["ProcessingJobName"]))


def described(job: Job) -> dict[str, Any]:
    """Return what DescribeProcessingJob tells of a job."""
    told = {name: value for name, value in job.asked.items() if name != "Tags"}
    told |= {
        "ProcessingJobArn": job.arn,
        "ProcessingJobStatus": job.status,
        "CreationTime": job.created_s,
        "LastModifiedTime": job.modified_s,
        "StoppingCondition": job.asked.get("StoppingCondition", {"MaxRuntimeInSeconds": _DAY_S}),
        **job.told,
    }
    if job.started_s is not None:
        told["ProcessingStartTime"] = job.started_s
    if job.ended_s is not None:
        told["ProcessingEndTime"] = job.ended_s
    if job.failure_reason is not None:
        told["FailureReason"] = job.failure_reason
    return told


def _list(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    jobs, more = listed(cloud, PROCESSING, asked)
    return {"ProcessingJobSummaries": [summary(job) for job in jobs], **more}


def _stop(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    stop(cloud, PROCESSING, asked["ProcessingJobName"])
    return {}


def _delete(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    delete(cloud, PROCESSING, asked["ProcessingJobName"])
    return {}


OPERATIONS: Mapping[str, Operation] = {
    "CreateProcessingJob": _create,
    "DescribeProcessingJob": _describe,
    "ListProcessingJobs": _list,
    "StopProcessingJob": _stop,
    "DeleteProcessingJob": _delete,
}
