"""A model's container that serves: on a free port, with ``GET /ping`` and ``POST /invocations``."""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trackbridge.testing.emulators.containers import Answered, Launch, NotServing, Server, free_port
from trackbridge.testing.emulators.sagemaker.container_logs import LogStream
from trackbridge.testing.emulators.sagemaker.containers import Containers
from trackbridge.testing.emulators.sagemaker.core import Cloud
from trackbridge.testing.emulators.sagemaker.images import Images, unknown_image
from trackbridge.testing.emulators.sagemaker.storage import download, objects, place_of, read, unpack

__all__ = ["Answered", "ModelServer", "NotServing", "model_data"]

_PORT = re.compile(r"(?<!\d)8080(?!\d)")


class ModelServer(Server):
    """One container of a model that serves.

    Args:
        cloud: Where its data, its log and its image are.
        name: For its folder, and its host name in logs.
        container: ``ContainerDefinition`` of the model.
        log: Where its output goes.
        role: Whose keys it gets.
    """

    def __init__(
        self, cloud: Cloud, name: str, container: Mapping[str, Any], log: LogStream, role: str
    ) -> None:
        self._part = cloud.part(Containers)
        super().__init__(self._part, ready="/ping")
        self._cloud = cloud
        self._definition = container
        self._name = name
        self.log = log
        self._role = role
        self._folder: Path | None = None

    def start(self) -> None:
        """Download the model and start the container; again, when it has ended.

        Raises:
            NotServing: There is no model data, or the image is unknown.
        """
        environment = dict(self._definition.get("Environment", {}))
        image = self._definition.get("Image", "")
        command = self._cloud.part(Images).command(image, "serve", environment)
        if not command:
            raise NotServing(unknown_image(image, "serve"))
        if self._folder is None:
            self._folder = self._part.folder(self._name)
            self._fetch(self._folder)
        self.end()
        self.port = free_port()
        command = [_PORT.sub(str(self.port), part.replace("{port}", str(self.port))) for part in command]
        own = {"SAGEMAKER_BIND_TO_PORT": str(self.port), "SAGEMAKER_MODEL_DIR": "/opt/ml/model"}
        variables = self._part.variables(self._role) | environment | own
        self.run(Launch(command, self._folder, variables, self.log.write))

    def _fetch(self, folder: Path) -> None:
        target = folder / "opt" / "ml" / "model"
        target.mkdir(parents=True, exist_ok=True)
        uri, is_packed = model_data(self._definition)
        if uri is None:
            return
        if is_packed:
            content = read(self._cloud, place_of(uri))
            if content is None:
                raise NotServing(f"Failed to download model data for container from URL: {uri}")
            try:
                unpack(content, target)
            except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
                raise NotServing(f"Failed to extract model data from URL: {uri}: {error}") from error
            return
        found = objects(self._cloud, uri)
        try:
            size = download(self._cloud, found, target)
        except OSError as error:
            raise NotServing(f"Failed to download model data from URL: {uri}: {error}") from error
        if not size and not found:
            raise NotServing(f"Failed to download model data for container from URL: {uri}")

    def invoke(self, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answered:
        """Send a request to ``/invocations``, and read the whole answer.

        Raises:
            NotServing: The container is gone, or broke off.
            TimeoutError: No answer in time.
        """
        return self.ask("/invocations", body, headers, timeout_s)

    def open_stream(
        self, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> tuple[int, Mapping[str, str], Iterator[bytes]]:
        """Send a request; returns the status, the headers and the body piece by piece as it comes.

        Raises:
            NotServing: The container is gone; a piece raises it when the container breaks off.
            TimeoutError: No answer in time.
        """
        return self.stream("/invocations", body, headers, timeout_s)

    def stop(self) -> None:
        """End the container and remove its folder."""
        if self._folder is not None:
            self._part.discard(self.container, self._folder)


def model_data(container: Mapping[str, Any]) -> tuple[str | None, bool]:
    """Return where a container's model data is in S3, and whether it is one tar.gz."""
    source = container.get("ModelDataSource", {}).get("S3DataSource")
    if source is not None:
        return source["S3Uri"], source["CompressionType"] == "Gzip"
    return container.get("ModelDataUrl"), True
