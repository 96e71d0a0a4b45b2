"""SageMaker's runtime: requests are really sent to the model's container, and counted as AWS counts them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from trackbridge.testing.emulators.balance import Balance
from trackbridge.testing.emulators.sagemaker import data_capture, event_stream
from trackbridge.testing.emulators.sagemaker.async_invocations import AsyncQueue, check_async
from trackbridge.testing.emulators.sagemaker.container_logs import LogStream
from trackbridge.testing.emulators.sagemaker.core import Cloud, Operation, Refused
from trackbridge.testing.emulators.sagemaker.endpoint_fleets import Fleet, LiveVariant, Servers
from trackbridge.testing.emulators.sagemaker.endpoint_metrics import Outcome, count
from trackbridge.testing.emulators.sagemaker.endpoint_records import Endpoint, Endpoints
from trackbridge.testing.emulators.sagemaker.inference_components import Components
from trackbridge.testing.emulators.sagemaker.model_servers import Answered, NotServing

ANSWER_BYTES_MAX = 6_291_456
ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
SHADOW_S = 5.0
_SERVES = frozenset({"InService", "Updating", "SystemUpdating", "RollingBack"})
_TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container primary. Review the latency "
    "metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
)


class Target(NamedTuple):
    """Who answers a request."""

    endpoint: Endpoint
    fleet: Fleet
    variant: LiveVariant
    servers: Servers
    log: LogStream


class Invocations:
    """What is remembered from one request to the next."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.samplings: dict[str, data_capture.Sampling] = {}
        self.shadows: dict[str, Balance] = {}
        self.mirrored: list[threading.Thread] = []

    def close(self) -> None:
        """Wait for the requests that shadows still answer."""
        for thread in self.mirrored:
            thread.join(SHADOW_S)


def invalid(message: str) -> Refused:
    """Return the runtime's error for a wrong request."""
    return Refused("ValidationError", message)


def model_error(status: int, message: str, log: LogStream) -> Refused:
    """Return the runtime's error for what a container answered."""
    kind = "client" if 400 <= status < 500 else "server"
    told = (
        f'Received {kind} error ({status}) from primary with message "{message}". See {log.group} in '
        "CloudWatch for more information."
    )
    fields = {"OriginalStatusCode": status, "OriginalMessage": message, "LogStreamArn": log.arn}
    return Refused("ModelError", told, 424, fields=fields)


def find_endpoint(cloud: Cloud, name: str) -> Endpoint:
    """Return an endpoint that serves.

    Raises:
        Refused: There is none.
    """
    endpoint = cloud.part(Endpoints).held.get(name)
    if endpoint is None or endpoint.status not in _SERVES:
        raise invalid(f"Endpoint {name} of account {cloud.account} not found.")
    return endpoint


def _target(cloud: Cloud, asked: Mapping[str, Any]) -> Target:
    """Choose who answers; its containers are held, and must be released when they have answered.

    Raises:
        Refused: Nobody can.
    """
    with cloud.lock:
        target = _chosen(cloud, asked)
        target.servers.hold()
        return target


def _chosen(cloud: Cloud, asked: Mapping[str, Any]) -> Target:
    endpoint = find_endpoint(cloud, asked["EndpointName"])
    if "AsyncInferenceConfig" in endpoint.fleet.config.asked:
        raise invalid(f"Endpoint {endpoint.name} is asynchronous: use InvokeEndpointAsync")
    for field in ("TargetModel", "TargetContainerHostname"):
        if field in asked:
            raise invalid(f"{field} is for endpoints with several models, which the emulator has not")
    fleet = endpoint.choose()
    if "InferenceComponentName" in asked:
        return _component_target(cloud, endpoint, asked["InferenceComponentName"])
    variant = _variant(fleet, asked.get("TargetVariant"))
    if variant.servers is None:
        raise invalid(
            "Inference Component Name header is required for endpoints to which you plan to deploy "
            "inference components."
        )
    return Target(endpoint, fleet, variant, variant.servers, variant.log)


def _variant(fleet: Fleet, wanted: str | None) -> LiveVariant:
    found = fleet.pick() if wanted is None else fleet.find(wanted)
    if found is None and wanted is None:
        raise invalid("No production variant of the endpoint has a weight above zero")
    if found is None:
        raise invalid(f"Variant {wanted} not found for request")
    return found


def _component_target(cloud: Cloud, endpoint: Endpoint, name: str) -> Target:
    component = cloud.part(Components).held.get(name)
    if component is None or component.endpoint is not endpoint:
        raise invalid(f"Inference Component {name} of account {cloud.account} not found.")
    variant = endpoint.fleet.find(component.variant)
    if component.servers is None or variant is None or not component.current_copies:
        raise invalid(f"Inference Component {name} has no capacity to process this request.")
    return Target(endpoint, endpoint.fleet, variant, component.servers, component.servers.log)


def headers_of(asked: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that the container gets."""
    headers = {"Content-Type": asked.get("ContentType", "application/octet-stream")}
    if "Accept" in asked:
        headers["Accept"] = asked["Accept"]
    if "CustomAttributes" in asked:
        headers["X-Amzn-SageMaker-Custom-Attributes"] = asked["CustomAttributes"]
    if "InferenceId" in asked:
        headers["X-Amzn-SageMaker-Inference-Id"] = asked["InferenceId"]
    return headers


def _invoke(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    target = _target(cloud, asked)
    headers = headers_of(asked)
    try:
        _mirror(cloud, target, asked["Body"], headers)
        answer = ask(cloud, target.servers, target.log, asked["Body"], headers, _counter(cloud, target))
    finally:
        target.servers.release()
    attributes = answer.headers.get(ATTRIBUTES)
    _capture(cloud, target, asked, answer)
    told = {
        "Body": answer.body,
        "ContentType": answer.headers.get("content-type", ""),
        "InvokedProductionVariant": target.variant.name,
    }
    return told | ({"CustomAttributes": attributes} if attributes is not None else {})


def _counter(cloud: Cloud, target: Target) -> Any:
    def told(outcome: Outcome) -> None:
        count(cloud, target.endpoint.name, target.variant.name, target.variant.count, outcome)

    return told


def ask(
    cloud: Cloud,
    servers: Servers,
    log: LogStream,
    body: bytes,
    headers: Mapping[str, str],
    tell: Any,
    timeout_s: float | None = None,
) -> Answered:
    """Ask a model, and tell the outcome for the metrics.

    Raises:
        Refused: ``ModelError``.
    """
    limit_s = cloud.part(Endpoints).invocation_s if timeout_s is None else timeout_s
    try:
        answer = servers.invoke(body, headers, limit_s)
    except TimeoutError as error:
        tell(Outcome(500, limit_s))
        raise model_error(0, _TIMED_OUT, log) from error
    except NotServing as error:
        tell(Outcome(500, 0.0))
        with contextlib.suppress(NotServing):  # the next request tells that it does not come up
            servers.revive()
        raise model_error(0, str(error), log) from error
    tell(Outcome(answer.status, answer.latency_s))
    if answer.status >= 400:
        raise model_error(answer.status, answer.body[:2048].decode("utf-8", "replace"), log)
    if len(answer.body) > ANSWER_BYTES_MAX:
        raise model_error(500, f"the answer of {len(answer.body)} bytes is too large", log)
    return answer


def _mirror(cloud: Cloud, target: Target, body: bytes, headers: Mapping[str, str]) -> None:
    """Send a shadow its share of the requests; what it answers is dropped."""
    shadow = next(iter(target.fleet.shadows), None)
    if shadow is None or shadow.servers is None:
        return
    state = cloud.part(Invocations)
    share = min(1.0, shadow.weight / target.variant.weight) if target.variant.weight else 1.0
    with cloud.lock:
        balance = state.shadows.setdefault(target.endpoint.name, Balance())
        is_due = balance.pick({"shadow": share, "": 1.0 - share}) == "shadow"
    if not is_due:
        return
    servers, log = shadow.servers, shadow.log
    servers.hold()
    counter = _counter(cloud, target._replace(variant=shadow))

    def send() -> None:
        try:
            ask(cloud, servers, log, body, headers, counter)
        except Refused:
            return  # a shadow's errors are nobody's but its metrics'
        finally:
            servers.release()

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    with cloud.lock:
        state.mirrored = [*(each for each in state.mirrored if each.is_alive()), thread]


def _capture(cloud: Cloud, target: Target, asked: Mapping[str, Any], answer: Answered) -> None:
    config = target.endpoint.capture
    if config is None or not config.get("EnableCapture", True):
        return
    with cloud.lock:
        samplings = cloud.part(Invocations).samplings
        sampling = samplings.setdefault(target.endpoint.name, data_capture.Sampling())
        if not sampling.is_due(config["InitialSamplingPercentage"]):
            return
    seen = data_capture.Seen(
        asked.get("ContentType", "application/octet-stream"),
        asked["Body"],
        answer.headers.get("content-type", ""),
        answer.body,
        asked.get("InferenceId"),
        asked.get("CustomAttributes"),
    )
    data_capture.keep(cloud, config, target.endpoint.name, target.variant.name, seen)


def _invoke_stream(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    target = _target(cloud, asked)
    limit_s = cloud.part(Endpoints).invocation_s
    try:
        status, headers, pieces = target.servers.last.open_stream(asked["Body"], headers_of(asked), limit_s)
        _counter(cloud, target)(Outcome(status, 0.0))
        if status >= 400:
            raise model_error(status, b"".join(pieces)[:2048].decode("utf-8", "replace"), target.log)
    except (TimeoutError, NotServing) as error:
        target.servers.release()
        raise model_error(0, str(error) or _TIMED_OUT, target.log) from error
    except Refused:
        target.servers.release()
        raise
    told = {
        "Body": _frames(pieces, target.servers),
        "ContentType": headers.get("content-type", ""),
        "InvokedProductionVariant": target.variant.name,
    }
    return told | ({"CustomAttributes": headers[ATTRIBUTES]} if ATTRIBUTES in headers else {})


def _frames(pieces: Iterator[bytes], servers: Servers) -> Iterator[bytes]:
    try:
        for piece in pieces:
            yield event_stream.part(piece)
    except (TimeoutError, NotServing) as error:
        yield event_stream.failure("ModelStreamError", str(error)[:2048], "StreamBroken")
    finally:
        servers.release()


def _invoke_async(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    with cloud.lock:
        endpoint = find_endpoint(cloud, asked["EndpointName"])
        config = endpoint.fleet.config.asked.get("AsyncInferenceConfig")
        if config is None:
            raise invalid(
                f"Endpoint {endpoint.name} is not asynchronous: its configuration has no AsyncInferenceConfig"
            )
        variant = endpoint.choose().variants[0]
    content = check_async(cloud, asked)
    servers = variant.servers
    if servers is None:
        raise invalid(f"Variant {variant.name} has no model")

    def work(body: bytes) -> Answered:
        timeout_s = asked.get("InvocationTimeoutSeconds")
        with servers.held():
            return ask(cloud, servers, variant.log, body, headers_of(asked), tell, timeout_s)

    def tell(outcome: Outcome) -> None:
        count(cloud, endpoint.name, variant.name, variant.count, outcome, is_asynchronous=True)

    return cloud.part(AsyncQueue).put(endpoint.name, config, asked, content, work)


RUNTIME_OPERATIONS: Mapping[str, Operation] = {
    "InvokeEndpoint": _invoke,
    "InvokeEndpointAsync": _invoke_async,
    "InvokeEndpointWithResponseStream": _invoke_stream,
}
