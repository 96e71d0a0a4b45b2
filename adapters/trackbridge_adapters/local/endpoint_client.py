"""One request to an endpoint's router, and what its answer means."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from threading import Event

from trackbridge.errors import AuthError, BridgeError, NotFound, RateLimited, Rejected, TimedOut, Unavailable
from trackbridge_adapters.local.capabilities import ADAPTER
from trackbridge_adapters.local.endpoint_rows import EndpointRow

OPERATION = "deployments.invoke"
CONNECT_PATIENCE_S = 3.0
CONNECT_PAUSE_S = 0.02
SLACK_S = 10.0


def invoke(
    row: EndpointRow, token: str, payload: bytes, *, content_type: str, deployment: str | None
) -> bytes:
    """Send the request once, and return the body of the answer; see the port."""
    resource = f"{row.name}/{deployment}" if deployment else row.name
    timeouts = [found.spec.request_timeout_s for found in row.deployments]
    connection = http.client.HTTPConnection(
        "127.0.0.1", row.port or 0, timeout=max(timeouts, default=1) + SLACK_S
    )
    headers = {"Authorization": f"Bearer {token}", "Content-Type": content_type}
    if deployment is not None:
        headers["bridge-deployment"] = deployment
    _connect(connection, row, resource)
    try:
        connection.request("POST", "/invocations", payload, headers)
        answer = connection.getresponse()
        body = answer.read()
    except TimeoutError as error:
        raise _no_answer("the endpoint did not answer in time", resource) from error
    except (OSError, http.client.HTTPException) as error:
        raise _no_answer(f"the connection to the endpoint broke: {error}", resource) from error
    finally:
        connection.close()
    if answer.status == 200:
        return body
    raise _meaning(answer.status, body, answer.getheader("Retry-After"), resource)


def _connect(connection: http.client.HTTPConnection, row: EndpointRow, resource: str) -> None:
    """Connect; the router may just be started again."""
    deadline_s = time.monotonic() + CONNECT_PATIENCE_S
    while True:
        try:
            connection.connect()
            return
        except OSError as error:
            if row.port is None or time.monotonic() > deadline_s:
                raise Unavailable(
                    f"nobody serves the endpoint: {row.reason or error}",
                    adapter=ADAPTER,
                    operation=OPERATION,
                    resource=resource,
                    hint="'bridge endpoints show' says how it stands",
                ) from error
        Event().wait(CONNECT_PAUSE_S)


def _no_answer(message: str, resource: str) -> TimedOut:
    return TimedOut(
        message,
        ambiguous=True,
        adapter=ADAPTER,
        operation=OPERATION,
        resource=resource,
        hint="it may have been scored all the same",
    )


def _meaning(status: int, body: bytes, retry_after: str | None, resource: str) -> BridgeError:
    message = f"{_message(body)} (status {status})"
    if status == 429:
        seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
        return RateLimited(
            message,
            retry_after_s=seconds,
            adapter=ADAPTER,
            operation=OPERATION,
            resource=resource,
            hint="send fewer requests at once, or give the deployment more instances",
        )
    if status in (408, 502, 504):
        return _no_answer(message, resource)
    kind, hint = _KINDS.get(status, (Rejected, "look at the payload, and at the logs of the deployment"))
    return kind(message, adapter=ADAPTER, operation=OPERATION, resource=resource, hint=hint)


_KINDS: dict[int, tuple[Callable[..., BridgeError], str]] = {
    401: (AuthError, "the endpoint was made anew; observe it again"),
    404: (NotFound, "'bridge endpoints show' names its deployments"),
    503: (Unavailable, "'bridge endpoints show' says how it stands"),
}


def _message(body: bytes) -> str:
    """Return the message of an error in mlflow's form, or the beginning of the body."""
    try:
        return str(json.loads(body)["message"])[:2000]
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace")
