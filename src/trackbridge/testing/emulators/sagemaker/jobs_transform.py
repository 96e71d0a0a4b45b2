"""Batch transform: a model's container is asked about every object of a prefix."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from trackbridge.testing.emulators.sagemaker.container_logs import LogStream
from trackbridge.testing.emulators.sagemaker.core import Cloud, Operation
from trackbridge.testing.emulators.sagemaker.endpoint_fleets import Servers
from trackbridge.testing.emulators.sagemaker.endpoint_records import Endpoints
from trackbridge.testing.emulators.sagemaker.jobs_components import check, follow
from trackbridge.testing.emulators.sagemaker.jobs_inputs import check_source, refuse
from trackbridge.testing.emulators.sagemaker.jobs_records import (
    TRANSFORM,
    Job,
    Jobs,
    change,
    listed,
    stop,
    summary,
)
from trackbridge.testing.emulators.sagemaker.jobs_runs import Failed, Run
from trackbridge.testing.emulators.sagemaker.model_servers import NotServing
from trackbridge.testing.emulators.sagemaker.models import Model, Models
from trackbridge.testing.emulators.sagemaker.storage import objects, place_of, read, write

MEBIBYTE = 1024 * 1024
PAYLOAD_MB = 6
INVOCATION_S = 600


def _create(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    model = cloud.part(Models).get(asked["ModelName"])
    source = asked["TransformInput"]["DataSource"]["S3DataSource"]
    role = model.asked["ExecutionRoleArn"]
    check_source(cloud, source, role)
    split = asked["TransformInput"].get("SplitType", "None")
    if split not in ("None", "Line"):
        raise refuse(f"The emulator does not split by {split}; it has None and Line")
    if asked.get("DataProcessing", {}).keys() & {"InputFilter", "OutputFilter"} or (
        asked.get("DataProcessing", {}).get("JoinSource", "None") != "None"
    ):
        raise refuse("The emulator has no DataProcessing of batch transform")
    if asked.get("MaxConcurrentTransforms", 1) * asked.get("MaxPayloadInMB", PAYLOAD_MB) > 100:
        raise refuse("MaxConcurrentTransforms * MaxPayloadInMB must be at most 100 MB")
    check(cloud, asked)
    cloud.part(Jobs).check_quota(TRANSFORM, asked)
    job = cloud.part(Jobs).add(TRANSFORM, asked)
    follow(cloud, job)
    change(cloud, job, "InProgress", "Starting")
    TransformRun(cloud, job, model).begin()
    return {"TransformJobArn": job.arn}


class TransformRun(Run):
    """The life of a transform job."""

    def __init__(self, cloud: Cloud, job: Job, model: Model) -> None:
        super().__init__(cloud, job)
        self.model = model

    def live(self) -> None:
        """Start the model, ask it about everything, end it."""
        self.enter("Starting", "", self.settings.start_s)
        if self.job.wanted_end:
            change(self.cloud, self.job, "Stopped", "Stopped")
            return
        log = LogStream(self.cloud, TRANSFORM.log_group, f"{self.job.name}/{self.job.name}-i")
        own = self.job.asked.get("Environment", {})
        given = [
            dict(each) | {"Environment": {**each.get("Environment", {}), **own}}
            for each in self.model.containers
        ]
        role = self.model.asked["ExecutionRoleArn"]
        servers = Servers(self.cloud, self.job.name, given, log, role=role)
        try:
            servers.start(self.cloud.part(Endpoints).health_s, lambda: not self.job.pauses.is_ended)
            self.job.started_s = self.cloud.now_s()
            self._transform(servers)
        except NotServing as failure:
            self.check_open()
            raise Failed(f"AlgorithmError: {failure}. See job logs for more information") from failure
        finally:
            servers.stop()
        end = "Stopped" if self.job.wanted_end else "Completed"
        change(self.cloud, self.job, end, end)

    def _transform(self, servers: Servers) -> None:
        given, target = self.job.asked["TransformInput"], self.job.asked["TransformOutput"]
        source = given["DataSource"]["S3DataSource"]
        found = objects(self.cloud, source["S3Uri"], is_manifest=source["S3DataType"] == "ManifestFile")
        headers = {"Content-Type": given.get("ContentType", "application/octet-stream")}
        if "Accept" in target:
            headers["Accept"] = target["Accept"]
        joint = b"\n" if target.get("AssembleWith", "None") == "Line" else b""
        for path, place in found.items():
            if self.job.wanted_end:
                return
            content = read(self.cloud, place) or b""
            if given.get("CompressionType") == "Gzip":
                content = _unzipped(path, content)
            answers = [self._ask(servers, path, part, headers) for part in self._parts(content)]
            whole = joint.join(answer.rstrip(b"\n") if joint else answer for answer in answers)
            write(self.cloud, place_of(target["S3OutputPath"]).below(f"{path}.out"), whole + joint)

    def _parts(self, content: bytes) -> Iterator[bytes]:
        """Split an object as was asked: whole, line by line, or as many lines as the payload may hold."""
        if self.job.asked["TransformInput"].get("SplitType", "None") == "None":
            yield content
            return
        most = self.job.asked.get("MaxPayloadInMB", PAYLOAD_MB) * MEBIBYTE
        if self.job.asked.get("BatchStrategy", "MultiRecord") == "SingleRecord":
            most = 0
        held = b""
        for line in content.splitlines(keepends=True):
            if held and len(held) + len(line) > most:
                yield held
                held = b""
            held += line
        if held:
            yield held

    def _ask(self, servers: Servers, path: str, part: bytes, headers: Mapping[str, str]) -> bytes:
        seconds = self.job.asked.get("ModelClientConfig", {}).get("InvocationsTimeoutInSeconds", INVOCATION_S)
        try:
            answer = servers.invoke(part, headers, seconds)
        except TimeoutError as error:
            raise Failed(f"AlgorithmError: {path}: the model did not answer within {seconds} s") from error
        if answer.status >= 400:
            told = answer.body[:500].decode("utf-8", "replace")
            raise Failed(
                f"ClientError: {path}: Bad HTTP status received from algorithm: {answer.status} {told}"
            )
        return answer.body


def _unzipped(path: str, content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise Failed(f"ClientError: {path}: {error}") from error


def _describe(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    return described(cloud.part(Jobs).get(TRANSFORM, asked["TransformJobName"]))


def described(job: Job) -> dict[str, Any]:
    """Return what DescribeTransformJob tells of a job."""
    told = {name: value for name, value in job.asked.items() if name != "Tags"}
    told |= {"TransformJobArn": job.arn, "TransformJobStatus": job.status, "CreationTime": job.created_s}
    if job.started_s is not None:
        told["TransformStartTime"] = job.started_s
    if job.ended_s is not None:
        told["TransformEndTime"] = job.ended_s
    if job.failure_reason is not None:
        told["FailureReason"] = job.failure_reason
    return told


def _list(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    jobs, more = listed(cloud, TRANSFORM, asked)
    return {"TransformJobSummaries": [summary(job) for job in jobs], **more}


def _stop(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    stop(cloud, TRANSFORM, asked["TransformJobName"])
    return {}


OPERATIONS: Mapping[str, Operation] = {
    "CreateTransformJob": _create,
    "DescribeTransformJob": _describe,
    "ListTransformJobs": _list,
    "StopTransformJob": _stop,
}
