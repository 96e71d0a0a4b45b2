"""One call of MLflow's REST protocol: JSON out, JSON in, errors of ours.

Both styles of error are read: ``{"error_code": …, "message": …}`` of MLflow and Databricks, and the nested
``{"error": {"code": …, "message": …}}`` of Azure. A proxy's page of HTML counts by its status alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
import requests

from trackbridge.domain.secrets import shown
from trackbridge.errors import BridgeError, Rejected, Unavailable
from trackbridge_adapters._mlflow_rest.errors import error_of
from trackbridge_adapters._mlflow_rest.service import Service

PREFIX = "/api/2.0/mlflow"
MESSAGE_CHARS_MAX = 500

Json = dict[str, Any]


class Wire:
    """Calls of one service's routes. Any thread may use it."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def get(self, route: str, query: Mapping[str, Any] | None = None, *, prefix: str = PREFIX) -> Json:
        """Ask a route that reads, for example ``runs/get``."""
        try:
            answer = self.send("GET", f"{prefix}/{route}", query=query)
        except UnicodeEncodeError as error:
            raise _not_unicode() from error
        return self.decoded(answer, route)

    def post(self, route: str, body: Mapping[str, Any], *, prefix: str = PREFIX) -> Json:
        """Call a route that takes a body, for example ``runs/create``."""
        return self._with_body("POST", route, body, prefix)

    def patch(self, route: str, body: Mapping[str, Any], *, prefix: str = PREFIX) -> Json:
        """Call a route that changes something that exists."""
        return self._with_body("PATCH", route, body, prefix)

    def delete(self, route: str, body: Mapping[str, Any], *, prefix: str = PREFIX) -> Json:
        """Call a route that deletes."""
        return self._with_body("DELETE", route, body, prefix)

    def send(self, method: str, path: str, **named: Any) -> requests.Response:
        """Send a request below the service's address; ``named`` as for ``HttpClient.request``.

        Raises:
            BridgeError: There is no answer, or its status is 300 or more.
        """
        answer = self.service.http.request(method, f"{self.service.base_url()}{path}", **named)
        if answer.status_code >= 400:
            raise self._error(answer, path)
        if answer.status_code >= 300:  # what a body was sent to has not been done
            raise self._redirected(answer)
        return answer

    def post_encoded(self, route: str, body: bytes, *, prefix: str = PREFIX) -> Json:
        """Call a route with a body that is JSON already."""
        headers = {"Content-Type": "application/json"}
        return self.decoded(self.send("POST", f"{prefix}/{route}", body=body, headers=headers), route)

    def _with_body(self, method: str, route: str, body: Mapping[str, Any], prefix: str) -> Json:
        answer = self.send(
            method,
            f"{prefix}/{route}",
            body=encoded(body),
            headers={"Content-Type": "application/json"},
        )
        return self.decoded(answer, route)

    def decoded(self, answer: requests.Response, route: str) -> Json:
        """Return the JSON of an answer.

        Raises:
            Unavailable: It is something else: a login page's 200 does not mean that anything was done.
        """
        if not answer.content:
            return {}
        decoded = _decoded(answer.content)
        if not isinstance(decoded, dict):
            raise Unavailable(
                f"{route} was answered with something that is not JSON",
                adapter=self.service.adapter,
                hint="is this the address of an MLflow server, or of a proxy or login page before it?",
            )
        return decoded

    def _redirected(self, answer: requests.Response) -> Unavailable:
        where = shown(answer.headers.get("Location", "").split("?")[0]) or "nowhere"
        return Unavailable(
            f"the server sends us on to {where} (status {answer.status_code})",
            adapter=self.service.adapter,
            hint="use the address that it names (https:// for http://), or sign in to the proxy before it",
        )

    def _error(self, answer: requests.Response, path: str) -> BridgeError:
        body = _decoded(answer.content)
        told = body if isinstance(body, dict) else {}
        error = self.service.error_of(answer, told, path)
        if error is None:
            error = error_of(answer, told, path, adapter=self.service.adapter)
        fix = self.service.fix_of(error)
        if fix is not None:
            error.advise(fix)
        return error


def _decoded(content: bytes) -> Any:
    """Return what a text of JSON says; None of one that is none."""
    with suppress(ValueError):
        return msgspec.json.decode(content)
    with suppress(ValueError):  # several times slower, but it takes the bare NaN that mlflow has in places
        return json.loads(content)
    return None


def encoded(body: Mapping[str, Any]) -> bytes:
    """Encode a body. Values that JSON does not have are to be texts already: "NaN", "Infinity".

    Raises:
        Rejected: A text is not valid Unicode.
    """
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError as error:
        raise _not_unicode() from error


def _not_unicode() -> Rejected:
    return Rejected("a name or a text is not valid Unicode: it holds half of a surrogate pair")
