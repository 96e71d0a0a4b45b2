"""Operations of ARM that take their time: answered at once with where to ask, and done later."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from trackbridge.testing.emulators.azureml.core import PROVIDER, Answer, Cloud, Request, Route
from trackbridge.testing.emulators.azureml.refusal import Refused
from trackbridge.testing.emulators.azureml.times import moment

LOCATION = f"/subscriptions/{{subscription}}/providers/{PROVIDER}/locations/{{location}}"
IN_PROGRESS, SUCCEEDED, FAILED, CANCELED = "InProgress", "Succeeded", "Failed", "Canceled"


@dataclass(slots=True)
class SlowOperation:
    """An operation that was begun. ``result`` is what ``mfeOperationResults`` answers with in the end."""

    id: str
    resource_id: str
    started_s: float
    status: str = IN_PROGRESS
    ended_s: float | None = None
    error: dict[str, Any] | None = None
    result: Any = None


class SlowOperations:
    """All of a cloud; ``cloud.part(SlowOperations)``.

    Args:
        cloud: Whose clock and pace count.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._begun: dict[str, SlowOperation] = {}
        self._to_fail: list[tuple[str, str, str]] = []

    def begin(
        self,
        request: Request,
        *,
        seconds: float,
        finish: Callable[[], Any] | None = None,
        failed: Callable[[Refused], None] | None = None,
        resource: dict[str, Any] | None = None,
        is_new: bool = True,
    ) -> Answer:
        """Begin an operation, and return its first answer.

        Args:
            request: That asked for it; its path is the operation's resource.
            seconds: Of a life cycle that it takes.
            finish: Does the work when the time has come, and returns the result; ``Refused`` is a failure.
            failed: Called instead when the operation fails, also on demand.
            resource: What a PUT answers with: 201 when it is new, else 200. Without it it is 202.
            is_new: Whether the resource was made by this request.
        """
        begun = SlowOperation(str(uuid.uuid4()), request.resource_id, self._cloud.now_s())
        self._begun[begun.id] = begun
        self._cloud.later(seconds, lambda: self._end(begun, finish, failed))
        return Answer(
            (201 if is_new else 200) if resource is not None else 202,
            resource,
            self._headers(request, begun, seconds, is_put=resource is not None),
        )

    def begin_watched(
        self, request: Request, *, resource: dict[str, Any] | None = None, is_new: bool = True
    ) -> tuple[SlowOperation, Answer]:
        """Begin an operation that ends when ``end`` is called, such as a deployment that starts a program."""
        begun = SlowOperation(str(uuid.uuid4()), request.resource_id, self._cloud.now_s())
        self._begun[begun.id] = begun
        status = (201 if is_new else 200) if resource is not None else 202
        headers = self._headers(request, begun, 1.0, is_put=resource is not None)
        return begun, Answer(status, resource, headers)

    def end(self, begun: SlowOperation, *, error: Refused | None = None, result: Any = None) -> None:
        """End an operation that was begun by ``begin_watched``; the lock must be held."""
        begun.ended_s = self._cloud.now_s()
        begun.status, begun.result = SUCCEEDED, result
        if error is not None:
            begun.status = FAILED
            begun.error = {"code": error.code, "message": error.message, "details": error.details}

    def fail(self, pattern: str, *, code: str = "InternalServerError", message: str = "It failed.") -> None:
        """Let the next operation fail whose resource's id matches a pattern, such as ``*/deployments/*``."""
        self._to_fail.append((pattern.lower(), code, message))

    def demanded_failure(self, resource_id: str) -> Refused | None:
        """Return (once) how an operation on a resource is to fail on demand."""
        for entry in self._to_fail:
            if fnmatchcase(resource_id.lower(), entry[0]):
                self._to_fail.remove(entry)
                return Refused(500, entry[1], entry[2])
        return None

    def get(self, operation_id: str) -> SlowOperation:
        """Return an operation.

        Raises:
            Refused: There is none of that id.
        """
        if operation_id not in self._begun:
            raise Refused(404, "UserError", f"Operation {operation_id} not found")
        return self._begun[operation_id]

    def _end(
        self,
        begun: SlowOperation,
        finish: Callable[[], Any] | None,
        failed: Callable[[Refused], None] | None,
    ) -> None:
        error, result = self.demanded_failure(begun.resource_id), None
        if error is None:
            try:
                result = finish() if finish else None
            except Refused as refused:
                error = refused
        if error is not None and failed is not None:
            failed(error)
        self.end(begun, error=error, result=result)

    def _headers(
        self, request: Request, begun: SlowOperation, seconds: float, *, is_put: bool
    ) -> dict[str, str]:
        place = LOCATION.format(
            subscription=request.names.get("subscription", self._cloud.subscription),
            location=self._cloud.region,
        )
        base = self._cloud.addresses(request).arm + place
        version = f"?api-version={request.api_version}"
        headers = {
            "Azure-AsyncOperation": f"{base}/mfeOperationsStatus/{begun.id}{version}",
            **_again(self._cloud, seconds),
            "x-ms-async-operation-timeout": "PT1H30M",
        }
        if not is_put:
            headers["Location"] = f"{base}/mfeOperationResults/{begun.id}{version}"
        return headers


def _status(cloud: Cloud, request: Request) -> Answer:
    begun = cloud.part(SlowOperations).get(request.names["operation"])
    told: dict[str, Any] = {
        "id": request.resource_id,
        "name": begun.id,
        "status": begun.status,
        "startTime": moment(begun.started_s),
    }
    if begun.ended_s is not None:
        told["endTime"] = moment(begun.ended_s)
    if begun.error is not None:
        told["error"] = begun.error
    return Answer(200, told, _again(cloud) if begun.ended_s is None else {})


def _result(cloud: Cloud, request: Request) -> Answer:
    begun = cloud.part(SlowOperations).get(request.names["operation"])
    if begun.ended_s is None:
        return Answer(
            202, None, {**_again(cloud), "Location": f"{cloud.addresses(request).arm}{request.target}"}
        )
    if begun.error is not None:
        raise Refused(400, begun.error["code"], begun.error["message"])
    return Answer(204 if begun.result is None else 200, begun.result)


def _again(cloud: Cloud, seconds: float = 1.0) -> dict[str, str]:
    """Return the headers that say when to ask again, after seconds of a life cycle."""
    wait_s = min(seconds * cloud.pace, 10.0)
    if wait_s >= 0.5:
        return {"Retry-After": str(max(1, math.ceil(wait_s - 0.5)))}
    # A Retry-After of 0 is none to azure-core, which waits 30 s then; this one it knows as well.
    return {"x-ms-retry-after-ms": str(max(10, round(wait_s * 1000)))}


ROUTES = (
    Route("GET", f"{LOCATION}/mfeOperationsStatus/{{operation}}", _status),
    Route("GET", f"{LOCATION}/mfeOperationResults/{{operation}}", _result),
)
