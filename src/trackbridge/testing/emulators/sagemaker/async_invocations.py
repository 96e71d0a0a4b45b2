"""Asynchronous requests: taken from S3, answered to S3."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from trackbridge.testing.emulators.sagemaker.container_logs import put_metrics
from trackbridge.testing.emulators.sagemaker.core import Cloud, Refused
from trackbridge.testing.emulators.sagemaker.model_servers import Answered
from trackbridge.testing.emulators.sagemaker.storage import Place, place_of, read, write

CLOSE_S = 5.0


class AsyncQueue:
    """The requests that wait or are answered."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self._threads: list[threading.Thread] = []
        self._waiting: dict[str, int] = {}

    def put(
        self,
        endpoint: str,
        config: Mapping[str, Any],
        asked: Mapping[str, Any],
        content: bytes,
        work: Callable[[bytes], Answered],
    ) -> dict[str, Any]:
        """Answer a request later; returns where to look for what comes."""
        number = str(uuid.uuid4())
        success, failure = _places(self.cloud, config, asked, number)

        def run() -> None:
            try:
                answer = work(content)
                write(self.cloud, success, answer.body)
            except Refused as refused:
                if failure is not None:
                    write(self.cloud, failure, refused.message.encode())
            finally:
                self._count(endpoint, -1)

        self._count(endpoint, 1)
        thread = threading.Thread(target=run, daemon=True)
        with self.cloud.lock:
            self._threads = [*(each for each in self._threads if each.is_alive()), thread]
        thread.start()
        told = {"InferenceId": asked.get("InferenceId", number), "OutputLocation": str(success)}
        return told | ({"FailureLocation": str(failure)} if failure is not None else {})

    def _count(self, endpoint: str, change: int) -> None:
        with self.cloud.lock:
            waiting = self._waiting[endpoint] = self._waiting.get(endpoint, 0) + change
            points = [("ApproximateBacklogSize", float(waiting), "None")]
            put_metrics(self.cloud, "AWS/SageMaker", {"EndpointName": endpoint}, points)

    def close(self) -> None:
        """Wait for what is being answered."""
        for thread in self._threads:
            thread.join(CLOSE_S)


def check_async(cloud: Cloud, asked: Mapping[str, Any]) -> bytes:
    """Return what the model is to be asked.

    Raises:
        Refused: There is no input, or two.
    """
    if ("InputLocation" in asked) == bool(asked.get("Body")):
        raise Refused("ValidationError", "Exactly one of InputLocation and Body must be given")
    if asked.get("Body"):
        return bytes(asked["Body"])
    content = read(cloud, place_of(asked["InputLocation"]))
    if content is None:
        raise Refused("ValidationError", f"Could not find the input at {asked['InputLocation']}")
    return content


def _places(
    cloud: Cloud, config: Mapping[str, Any], asked: Mapping[str, Any], number: str
) -> tuple[Place, Place | None]:
    output = config["OutputConfig"]
    default = f"s3://sagemaker-{cloud.region}-{cloud.account}/async-endpoint-outputs"
    root = place_of(output.get("S3OutputPath", default))
    if "S3OutputPathExtension" in asked:
        root = root.below(asked["S3OutputPathExtension"].strip("/"))
    name = asked.get("Filename", f"{number}.out")
    failure = output.get("S3FailurePath")
    return root.below(name), None if failure is None else place_of(failure).below(f"{number}-error.out")
