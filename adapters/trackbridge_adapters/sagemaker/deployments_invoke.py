"""Requests to endpoints. None is ever sent twice: whether scoring may be repeated is not ours to know.

An asynchronous endpoint takes a request and answers into S3; we wait for that object. A request that is too
long to be handed over is put there first, and goes when the answer has come.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any
from uuid import uuid4

from trackbridge.domain.deployment_changes import is_endpoint_name
from trackbridge.errors import AuthError, BridgeError, NotFound, RateLimited, Rejected, TimedOut, Unavailable
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.deployments_names import FOLDER, native_endpoint
from trackbridge_adapters.sagemaker.errors_services import model_meaning

OPERATION = "deployments.invoke"
SERVICE = "sagemaker-runtime"
KNOWN_S = 60.0
"""How long it is remembered of what kind an endpoint is."""
INLINE_BYTES_MAX = 128_000
"""What InvokeEndpointAsync takes with the request itself."""
REFUSALS = (Rejected, NotFound, AuthError, RateLimited)
"""Errors after which it is certain that a request was not taken."""
ANSWER_POLL_S, ANSWER_POLL_S_MAX = 0.05, 2.0
MODEL_S_MAX = 3600
"""How long SageMaker lets a model take for an asynchronous request; the container knows how long it may."""
ASYNCHRONOUS_S = 900.0
"""How long an answer of an asynchronous endpoint is waited for; a later one lies where the error says."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """Whether an endpoint is asynchronous, as it was told until a time of the monotonic clock."""

    is_asynchronous: bool
    until_s: float


class Invoker:
    """Asks the endpoints of a place. Any thread may use it."""

    def __init__(self, backend: Backend, described: Callable[[str], Mapping[str, Any] | None]) -> None:
        self._backend = backend
        self._clients = backend.clients
        self._described = described
        self._kinds: dict[str, _Kind] = {}

    def invoke(self, endpoint: str, payload: bytes, *, content_type: str, deployment: str | None) -> bytes:
        """Send one request and return the answer; see the port."""
        if not is_endpoint_name(endpoint):
            raise _no_endpoint(endpoint)
        if deployment is not None and not is_endpoint_name(deployment):
            raise _no_deployment(endpoint, deployment)
        native = native_endpoint(self._backend.place, endpoint)
        if self._is_asynchronous(native, endpoint):
            return self._later(native, endpoint, payload, content_type)
        named: dict[str, Any] = {"TargetVariant": deployment} if deployment is not None else {}
        try:
            answer = self._clients.call(
                SERVICE,
                "InvokeEndpoint",
                EndpointName=native,
                Body=payload,
                ContentType=content_type,
                Accept="application/json",
                **named,
            )
        except NotFound as error:
            self._kinds.pop(native, None)
            raise (_no_deployment(endpoint, deployment) if deployment else _no_endpoint(endpoint)) from error
        return _content(
            answer["Body"],
            TimedOut(
                "the answer broke off",
                ambiguous=True,
                adapter=ADAPTER,
                operation=OPERATION,
                hint="the request was scored; send it again only if that may be done twice",
            ),
        )

    def _is_asynchronous(self, native: str, endpoint: str) -> bool:
        known = self._kinds.get(native)
        if known is not None and known.until_s > monotonic():
            return known.is_asynchronous
        try:
            told = self._described(native)
        except AuthError:  # who may ask a model need not be allowed to look at its endpoint
            told = {}
        if told is None:
            raise _no_endpoint(endpoint)
        found = _Kind("AsyncInferenceConfig" in told, monotonic() + KNOWN_S)
        self._kinds[native] = found
        return found.is_asynchronous

    def _later(self, native: str, endpoint: str, payload: bytes, content_type: str) -> bytes:
        given: dict[str, Any] = {"Body": payload}
        key = None
        if len(payload) > INLINE_BYTES_MAX:
            key = f"{FOLDER}/{endpoint}/requests/{uuid4().hex}"
            self._backend.bucket.put(key, payload)
            given = {"InputLocation": self._backend.bucket.address(key)}
        try:
            told = self._clients.call(
                SERVICE,
                "InvokeEndpointAsync",
                EndpointName=native,
                ContentType=content_type,
                Accept="application/json",
                InvocationTimeoutSeconds=MODEL_S_MAX,
                **given,
            )
        except REFUSALS:  # after anything else it may have been taken, and be read later
            self._discard(key)
            raise
        body, is_failure = self._awaited(told)
        self._discard(key)
        if is_failure:
            raise model_meaning(None, body.decode("utf-8", "replace"), OPERATION)
        return body

    def _discard(self, key: str | None) -> None:
        if key is not None:
            with suppress(BridgeError):  # the answer counts; what is left harms nobody
                self._backend.bucket.delete(key)

    def _awaited(self, told: Mapping[str, Any]) -> tuple[bytes, bool]:
        """Wait for an answer in S3, and return it with whether it is the model's refusal.

        Raises:
            TimedOut: It takes long; the message says where it will lie.
        """
        until_s, pause_s = monotonic() + ASYNCHRONOUS_S, ANSWER_POLL_S
        while monotonic() < until_s:
            body = self._read(told["OutputLocation"])
            if body is not None:
                return body, False
            failure = self._read(told["FailureLocation"]) if "FailureLocation" in told else None
            if failure is not None:
                return failure, True
            threading.Event().wait(pause_s)
            pause_s = min(pause_s * 1.5, ANSWER_POLL_S_MAX)
        raise TimedOut(
            f"no answer within {ASYNCHRONOUS_S:g} s; it will lie at {told['OutputLocation']}",
            ambiguous=True,
            adapter=ADAPTER,
            operation=OPERATION,
            hint="read it from there later",
        )

    def _read(self, address: str) -> bytes | None:
        bucket, _, key = address.removeprefix("s3://").partition("/")
        try:
            body = self._clients.call("s3", "GetObject", Bucket=bucket, Key=key)["Body"]
        except NotFound:
            return None
        return _content(
            body,
            Unavailable(
                "the answer broke off",
                adapter=ADAPTER,
                operation=OPERATION,
                hint=f"it lies at {address}: read it from there",
            ),
        )


def _content(body: Any, broken: BridgeError) -> bytes:
    """Return all that a stream of botocore holds; ``broken`` is raised where the network breaks it off."""
    from botocore.exceptions import BotoCoreError

    try:
        content: bytes = body.read()
    except (BotoCoreError, OSError) as error:
        raise broken from error
    return content


def _no_endpoint(endpoint: str) -> NotFound:
    return NotFound(
        f"there is no endpoint {endpoint[:80]!r}",
        adapter=ADAPTER,
        operation=OPERATION,
        hint="'bridge endpoints list' names those that are there",
    )


def _no_deployment(endpoint: str, deployment: str) -> NotFound:
    return NotFound(
        f"endpoint {endpoint!r} has no deployment {deployment[:80]!r} that answers",
        adapter=ADAPTER,
        operation=OPERATION,
        hint="'bridge endpoints show' names its deployments; one that mirrors answers nobody",
    )
