"""A model's container that serves: on a free port, with ``GET /ping`` and ``POST /invocations``."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trackbridge.testing.emulators.sagemaker.container_logs import LogStream
from trackbridge.testing.emulators.sagemaker.containers import Container, Containers
from trackbridge.testing.emulators.sagemaker.core import Cloud
from trackbridge.testing.emulators.sagemaker.images import Images, unknown_image
from trackbridge.testing.emulators.sagemaker.storage import download, objects, place_of, read, unpack

PING_S = 2.0
"""A container must answer a ping within this time."""
PING_EVERY_S = 0.03
CHUNK_BYTES = 64 * 1024
_PORT = re.compile(r"(?<!\d)8080(?!\d)")


class NotServing(Exception):
    """A container does not come up, or is gone; the text is the reason."""


class Answered(NamedTuple):
    """What a container answered. ``latency_s`` is how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    latency_s: float


class ModelServer:
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
        self._cloud = cloud
        self._containers = cloud.part(Containers)
        self._definition = container
        self._name = name
        self.log = log
        self._role = role
        self.port = 0
        self._folder: Path | None = None
        self._container: Container | None = None

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
            self._folder = self._containers.folder(self._name)
            self._fetch(self._folder)
        if self._container is not None:
            self._containers.forget(self._container)
        self.port = _free_port()
        command = [_PORT.sub(str(self.port), part.replace("{port}", str(self.port))) for part in command]
        own = {"SAGEMAKER_BIND_TO_PORT": str(self.port), "SAGEMAKER_MODEL_DIR": "/opt/ml/model"}
        try:
            self._container = self._containers.start(
                command,
                folder=self._folder,
                role=self._role,
                environment=environment | own,
                on_line=self.log.write,
            )
        except OSError as error:
            raise NotServing(f"unable to start container process: {error.strerror or error}") from error

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

    def is_running(self) -> bool:
        """Say whether the container's process is there."""
        return self._container is not None and self._container.exit_code is None

    def wait_until_ready(self, seconds: float, is_wanted: Callable[[], bool]) -> None:
        """Wait until a ping is answered with 200.

        Raises:
            NotServing: It was not in time, or the container has ended, or it is not wanted any more.
        """
        until = time.monotonic() + seconds
        while is_wanted():
            if not self.is_running():
                code = self._container.wait(1.0) if self._container else None
                raise NotServing(f"the container ended with exit code {code}")
            if self.ping():
                return
            if time.monotonic() > until:
                raise NotServing(f"no ping was answered with 200 within {seconds:g} s")
            time.sleep(PING_EVERY_S)
        raise NotServing("it is not wanted any more")

    def ping(self) -> bool:
        """Say whether the container says that it is healthy."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PING_S)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def invoke(self, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answered:
        """Send a request to ``/invocations``, and read the whole answer.

        Raises:
            NotServing: The container is gone, or broke off.
            TimeoutError: No answer in time.
        """
        began_s = time.monotonic()
        with self._asked(body, headers, timeout_s) as answer:
            content = answer.read()
            told = {name.lower(): value for name, value in answer.headers.items()}
            return Answered(answer.status, told, content, time.monotonic() - began_s)

    @contextlib.contextmanager
    def _asked(
        self, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("POST", "/invocations", body, dict(headers))
            yield connection.getresponse()
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException) as error:
            raise NotServing(f"the container broke off: {type(error).__name__}") from error
        finally:
            connection.close()

    def open_stream(
        self, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> tuple[int, Mapping[str, str], Iterator[bytes]]:
        """Send a request; returns the status, the headers and the body piece by piece as it comes.

        Raises:
            NotServing: The container is gone; a piece raises it when the container breaks off.
            TimeoutError: No answer in time.
        """
        stack = contextlib.ExitStack()
        answer = stack.enter_context(self._asked(body, headers, timeout_s))

        def pieces() -> Iterator[bytes]:
            with stack:
                while piece := answer.read1(CHUNK_BYTES):
                    yield piece

        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, pieces()

    def stop(self) -> None:
        """End the container and remove its folder."""
        if self._folder is not None:
            self._containers.discard(self._container, self._folder)


def model_data(container: Mapping[str, Any]) -> tuple[str | None, bool]:
    """Return where a container's model data is in S3, and whether it is one tar.gz."""
    source = container.get("ModelDataSource", {}).get("S3DataSource")
    if source is not None:
        return source["S3Uri"], source["CompressionType"] == "Gzip"
    return container.get("ModelDataUrl"), True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
