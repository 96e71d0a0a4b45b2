"""What serves behind an endpoint: the variants of one configuration, each with its containers."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from trackbridge.testing.emulators.balance import Balance
from trackbridge.testing.emulators.sagemaker.container_logs import LogStream
from trackbridge.testing.emulators.sagemaker.core import Cloud
from trackbridge.testing.emulators.sagemaker.endpoint_configs import EndpointConfig
from trackbridge.testing.emulators.sagemaker.model_servers import Answered, ModelServer, NotServing
from trackbridge.testing.emulators.sagemaker.models import Models


class Servers:
    """The containers of one model in a row: the answer of each is the request to the next."""

    def __init__(
        self, cloud: Cloud, name: str, containers: Iterable[Mapping[str, Any]], log: LogStream, *, role: str
    ) -> None:
        self.log = log
        self.definitions = list(containers)
        self._lock = threading.Lock()
        self._free = threading.Condition()
        self._held = 0
        self._servers = [
            ModelServer(cloud, f"{name}-{number}", each, log, role)
            for number, each in enumerate(self.definitions)
        ]

    def start(self, seconds: float, is_wanted: Callable[[], bool]) -> None:
        """Start every container, and wait until each is healthy.

        Raises:
            NotServing: One is not in time.
        """
        for server in self._servers:
            server.start()
        for server in self._servers:
            server.wait_until_ready(seconds, is_wanted)

    def invoke(self, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answered:
        """Ask the first, hand its answer on to the next; what one refuses is the answer.

        Raises:
            NotServing, TimeoutError: See ``ModelServer.invoke``.
        """
        took_s, answer = 0.0, Answered(500, {}, b"", 0.0)
        for server in self._servers:
            answer = server.invoke(body, headers, timeout_s)
            took_s += answer.latency_s
            if answer.status >= 400:
                break
            body, headers = answer.body, {**headers, "Content-Type": answer.headers.get("content-type", "")}
        return answer._replace(latency_s=took_s)

    @property
    def last(self) -> ModelServer:
        """The container whose answer is the model's."""
        return self._servers[-1]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the containers from being drained while a request is with them."""
        self.hold()
        try:
            yield
        finally:
            self.release()

    def hold(self) -> None:
        """Say that a request comes."""
        with self._free:
            self._held += 1

    def release(self) -> None:
        """Say that a request is answered."""
        with self._free:
            self._held -= 1
            self._free.notify_all()

    def drain(self, seconds: float) -> None:
        """Wait for the requests that are here, then end all containers."""
        with self._free:
            self._free.wait_for(lambda: not self._held, seconds)
        self.stop()

    def revive(self) -> None:
        """Start what has ended again, as SageMaker does."""
        with self._lock:
            for server in self._servers:
                if not server.is_running():
                    server.start()

    def stop(self) -> None:
        """End all containers."""
        for server in self._servers:
            server.stop()


class LiveVariant:
    """A variant: what was asked for, how much it gets, and what serves it (None for inference components)."""

    def __init__(self, cloud: Cloud, endpoint: str, asked: Mapping[str, Any]) -> None:
        self.asked = asked
        self.name = asked["VariantName"]
        self.weight = self.desired_weight = float(asked.get("InitialVariantWeight", 1.0))
        self.count = self.desired_count = int(asked.get("InitialInstanceCount", 0))
        self.serverless = dict(asked["ServerlessConfig"]) if "ServerlessConfig" in asked else None
        self.status: str | None = "Creating"
        stream = f"{self.name}/i-{secrets.token_hex(8)}"
        self.log = LogStream(cloud, f"/aws/sagemaker/Endpoints/{endpoint}", stream)
        self.servers: Servers | None = None
        self.resolved_s = cloud.now_s()
        if "ModelName" in asked:
            model = cloud.part(Models).get(asked["ModelName"])
            role = model.asked["ExecutionRoleArn"]
            self.servers = Servers(cloud, f"{endpoint}-{self.name}", model.containers, self.log, role=role)

    def described(self, *, is_pending: bool = False) -> dict[str, Any]:
        """Return ``ProductionVariantSummary``, or ``PendingProductionVariantSummary``."""
        told: dict[str, Any] = {
            "VariantName": self.name,
            "CurrentWeight": self.weight,
            "DesiredWeight": self.desired_weight,
        }
        if self.serverless is None:
            told |= {"CurrentInstanceCount": self.count, "DesiredInstanceCount": self.desired_count}
        else:
            told |= {"CurrentServerlessConfig": self.serverless}
        if self.servers is not None:
            told["DeployedImages"] = [self._image(each["Image"]) for each in self.servers.definitions]
        if self.status is not None:
            told["VariantStatus"] = [{"Status": self.status}]
        kept = ("ManagedInstanceScaling", "RoutingConfig", *(("InstanceType",) if is_pending else ()))
        return told | {name: self.asked[name] for name in kept if name in self.asked}

    def _image(self, name: str) -> dict[str, Any]:
        digest = f"{name.partition('@')[0].rpartition(':')[0] or name}@sha256:{'0' * 64}"
        return {"SpecifiedImage": name, "ResolvedImage": digest, "ResolutionTime": self.resolved_s}


class Fleet:
    """All variants of one configuration for one endpoint."""

    def __init__(self, cloud: Cloud, endpoint: str, config: EndpointConfig) -> None:
        self.config = config
        self.started_s = cloud.now_s()
        self.retains_capture = False
        """Whether the endpoint goes on capturing as before this fleet."""
        self.variants = [LiveVariant(cloud, endpoint, each) for each in config.asked["ProductionVariants"]]
        self.shadows = [
            LiveVariant(cloud, endpoint, each) for each in config.asked.get("ShadowProductionVariants", ())
        ]
        self.balance = Balance()

    @property
    def all(self) -> list[LiveVariant]:
        """Production and shadow variants."""
        return [*self.variants, *self.shadows]

    def find(self, name: str) -> LiveVariant | None:
        """Return the production variant of a name."""
        return next((variant for variant in self.variants if variant.name == name), None)

    def pick(self) -> LiveVariant | None:
        """Return the production variant whose turn it is; None when all weights are zero."""
        name = self.balance.pick({variant.name: variant.weight for variant in self.variants})
        return None if name is None else self.find(name)

    def start(self, health_s: float, is_wanted: Callable[[], bool]) -> None:
        """Start every variant.

        Raises:
            NotServing: One does not come up; the text is the FailureReason.
        """
        for variant in self.all:
            if variant.servers is None:
                continue
            asked_s = variant.asked.get("ContainerStartupHealthCheckTimeoutInSeconds", health_s)
            try:
                variant.servers.start(min(asked_s, health_s), is_wanted)
            except NotServing as failure:
                raise NotServing(
                    f"The primary container for production variant {variant.name} did not pass the ping "
                    f"health check. Please check CloudWatch logs for this endpoint. ({failure})"
                ) from failure

    def set_status(self, status: str | None) -> None:
        """Say of every variant what is done with it."""
        for variant in self.all:
            variant.status = status

    def drain(self, seconds: float) -> None:
        """Wait for the requests that are here, then end all containers."""
        for variant in self.all:
            if variant.servers is not None:
                variant.servers.drain(seconds)

    def stop(self) -> None:
        """End all containers."""
        for variant in self.all:
            if variant.servers is not None:
                variant.servers.stop()
