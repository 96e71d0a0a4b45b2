"""Jobs and endpoints for the SageMaker emulator: small programs, and what their requests look like."""

from __future__ import annotations

import io
import json
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge.testing.emulators.sagemaker.jobs_records import Jobs

BUCKET = "scenes"
ROLE = "arn:aws:iam::210987654321:role/sagemaker"
IMAGE = "210987654321.dkr.ecr.us-east-1.amazonaws.com/scene:1"
WAIT_S = 60.0

SERVER = """
import http.server, json, os, sys, time

MODEL = open("/opt/ml/model/model.txt").read() if os.path.exists("/opt/ml/model/model.txt") else "none"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200 if MODEL != "sick" else 503, b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"fail":
            return self.answer(400, b"bad input")
        if body == b"crash":
            os._exit(3)
        if body == b"slow":
            time.sleep(5)
        if body in (b"stream", b"break"):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in (b"one ", b"two"):
                self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(piece), piece))
                self.wfile.flush()
                if body == b"break":
                    time.sleep(0.1)
                    os._exit(3)
            return self.wfile.write(b"0\\r\\n\\r\\n")
        told = {"model": MODEL, "got": body.decode(), "type": self.headers["Content-Type"]}
        self.answer(500 if MODEL == "broken" else 200, json.dumps(told).encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        attributes = self.headers["X-Amzn-SageMaker-Custom-Attributes"]
        if attributes:
            self.send_header("X-Amzn-SageMaker-Custom-Attributes", attributes + ";seen")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        print("served", self.path, flush=True)


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

START = (
    "import sys; text = open('train.py').read().replace('/opt' + '/ml', sys.argv[1]); "
    "exec(compile(text, 'train.py', 'exec'))"
)
"""Runs a job's program; where there are no mounts, its paths are those that the command line was given."""


def client_error() -> type[Exception]:
    """Return what boto3 raises when a request is refused."""
    from botocore.exceptions import ClientError

    return ClientError


def refused(call: Any, **asked: Any) -> tuple[str, str]:
    """Return the code and the message with which a call is refused."""
    with pytest.raises(client_error()) as caught:
        call(**asked)
    error = caught.value.response["Error"]  # type: ignore[attr-defined]
    return error["Code"], error["Message"]


def model_of(answer: Mapping[str, Any]) -> str:
    """Return the text of the model that answered."""
    told: str = json.loads(answer["Body"])["model"]
    return told


def shifting(kind: str, wait_s: int = 3600, **more: Any) -> dict[str, Any]:
    """Return a blue/green deployment configuration."""
    routing = {"Type": kind, "WaitIntervalInSeconds": wait_s, **more}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}


class Scenes:
    """An emulator with a bucket and an image, and requests that are right unless a test changes them."""

    def __init__(self, emulator: SageMakerEmulator) -> None:
        self.emulator = emulator
        self.cloud = emulator.cloud
        self.prepare()

    def client(self, service: str) -> Any:
        """Return boto3's client of a service."""
        return self.emulator.client(service)

    @property
    def sagemaker(self) -> Any:
        """SageMaker's control plane."""
        return self.client("sagemaker")

    @property
    def runtime(self) -> Any:
        """SageMaker's data plane."""
        return self.client("sagemaker-runtime")

    def prepare(self) -> None:
        """Make the bucket and the image."""
        self.client("s3").create_bucket(Bucket=BUCKET)
        self.emulator.make_role("sagemaker")
        # -S -E: a bare Python starts in 15 ms
        serve = (sys.executable, "-SEc", SERVER, "{port}")
        self.emulator.declare_image(IMAGE, serve=serve)
        self.cloud.part(Jobs).grace_s = 30.0

    def put(self, key: str, content: bytes | str) -> str:
        """Put an object into the bucket; returns its address."""
        body = content.encode() if isinstance(content, str) else content
        self.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)
        return f"s3://{BUCKET}/{key}"

    def get(self, uri: str) -> bytes:
        """Return an object's content."""
        bucket, _, key = uri.partition("://")[2].partition("/")
        content: bytes = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def keys(self, prefix: str = "") -> list[str]:
        """Return the bucket's keys that begin so."""
        found = self.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [row["Key"] for row in found.get("Contents", ())]

    def archive(self, files: Mapping[str, str]) -> bytes:
        """Return files as a tar.gz."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, text in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
        return buffer.getvalue()

    # -- jobs --------------------------------------------------------------------------------------------

    def training(self, name: str, program: str, **changed: Any) -> dict[str, Any]:
        """Return a request for a training job that runs a Python program from a channel ``code``."""
        self.put(f"{name}/code/train.py", program)
        command = f'cd /opt/ml/input/data/code && exec python3 -SEc "{START}" /opt/ml'
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{name}/code/"}
        asked: dict[str, Any] = {
            "TrainingJobName": name,
            "RoleArn": ROLE,
            "AlgorithmSpecification": {
                "TrainingImage": IMAGE,
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["/bin/sh", "-c"],
                "ContainerArguments": [command],
            },
            "InputDataConfig": [{"ChannelName": "code", "DataSource": {"S3DataSource": source}}],
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
            "StoppingCondition": {"MaxRuntimeInSeconds": 86_400},
        }
        asked.update(changed)
        return asked

    def train(self, name: str, program: str, **changed: Any) -> dict[str, Any]:
        """Run a training job to its end, and describe it."""
        self.sagemaker.create_training_job(**self.training(name, program, **changed))
        return self.ended(name)

    def ended(self, name: str) -> dict[str, Any]:
        """Wait for a training job's end, and describe it."""
        return self.until(
            lambda: self.sagemaker.describe_training_job(TrainingJobName=name),
            lambda told: told["TrainingJobStatus"] in ("Completed", "Failed", "Stopped"),
        )

    def logs(self, group: str, prefix: str = "") -> list[str]:
        """Return the lines of a log group's streams."""
        logs = self.client("logs")
        found = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=prefix)
        lines = []
        for stream in found["logStreams"]:
            events = logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
            )
            lines += [event["message"] for event in events["events"]]
        return lines

    # -- endpoints ---------------------------------------------------------------------------------------

    def model(self, name: str, text: str = "one", **changed: Any) -> str:
        """Make a model whose data is one text; returns its name."""
        uri = self.put(f"models/{name}/model.tar.gz", self.archive({"model.txt": text}))
        container = {"Image": IMAGE, "ModelDataUrl": uri} | changed
        self.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
        return name

    def variant(self, name: str, model: str | None, **changed: Any) -> dict[str, Any]:
        """Return a production variant."""
        own = {"ModelName": model} if model is not None else {}
        size = {"InstanceType": "ml.m5.large", "InitialInstanceCount": 2}
        return {"VariantName": name, **own, **size, **changed}

    def config(self, name: str, *variants: Mapping[str, Any], **more: Any) -> str:
        """Make an endpoint configuration; returns its name."""
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=list(variants), **more
        )
        return name

    def endpoint(self, name: str, config: str, *, status: str = "InService", **more: Any) -> dict[str, Any]:
        """Make an endpoint, and wait until it has a status."""
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config, **more)
        return self.reached(name, status)

    def reached(self, name: str, status: str = "InService") -> dict[str, Any]:
        """Wait until an endpoint has a status."""
        return self.until(lambda: self.described(name), lambda told: told["EndpointStatus"] == status)

    def described(self, name: str) -> dict[str, Any]:
        """Describe an endpoint."""
        told: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=name)
        return told

    def served(self, text: str = "one") -> str:
        """Make an endpoint ``e`` with one model; returns its name."""
        self.endpoint("e", self.config("c", self.variant("all", self.model("m", text))))
        return "e"

    def invoke(self, name: str, body: bytes = b"1", **more: Any) -> dict[str, Any]:
        """Send a request; the body of what is returned is bytes."""
        answer: dict[str, Any] = self.runtime.invoke_endpoint(EndpointName=name, Body=body, **more)
        return {**answer, "Body": answer["Body"].read()}

    def points(self, name: str, **dimensions: str) -> list[float]:
        """Return the values of a metric of ``AWS/SageMaker``."""
        wanted = sorted(dimensions.items())
        return [
            float(point.value)
            for point in self.cloud.cloudwatch().metric_data
            if point.namespace == "AWS/SageMaker"
            and point.name == name
            and sorted((each.name, each.value) for each in point.dimensions) == wanted
        ]

    def until(self, look: Callable[[], Any], is_right: Callable[[Any], bool], seconds: float = WAIT_S) -> Any:
        """Look again and again until what is seen is right; returns it."""
        end_s = time.monotonic() + seconds
        while True:
            seen = look()
            if is_right(seen):
                return seen
            self.emulator.raise_failures()
            assert time.monotonic() < end_s, f"still {seen}"
            time.sleep(0.01)


def statuses(told: Mapping[str, Any]) -> list[str]:
    """Return the secondary statuses that a training job went through."""
    rows: Iterable[Mapping[str, Any]] = told["SecondaryStatusTransitions"]
    return [row["Status"] for row in rows]
