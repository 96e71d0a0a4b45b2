"""Azure Resource Manager, and the routes that speak as it does: one attempt per request, bounded waits.

::

    request -> answer -> 200, 201 with a body      done
                      -> 201, 202 with an address  ask there until it says Succeeded, Failed or Canceled
                      -> 400 and more              an error of ours, by the table in ``errors``

The address to ask is followed on hosts of Azure, and on the host that was asked first: a token goes nowhere
else. A list is read by its ``nextLink``, with the same rule.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import requests

from trackbridge.domain.secrets import shown
from trackbridge.errors import NotFound, Rejected, TimedOut, Unavailable
from trackbridge.transport.http import HttpClient, retry_after_s
from trackbridge_adapters._mlflow_rest.wire import encoded
from trackbridge_adapters.azureml.clouds import ADAPTER, is_azure_host, is_below
from trackbridge_adapters.azureml.errors import arm_error, json_of, operation_error

Json = dict[str, Any]

API_VERSIONS: Mapping[str, str] = {
    "subscriptions": "2022-12-01",
    "workspaces": "2024-04-01",
    "models": "2024-04-01",
    "data": "2024-04-01",
    "environments": "2024-04-01",
    "codes": "2024-04-01",
    "datastores": "2024-04-01",
    "datastores/listSecrets": "2024-10-01-preview",
    "jobs": "2024-04-01",
    "computes": "2024-04-01",
    "onlineEndpoints": "2024-04-01",
    "batchEndpoints": "2024-04-01",
    "registries": "2021-10-01-dataplanepreview",
    "metrics": "2023-10-01",
    "autoscalesettings": "2022-10-01",
    "permissions": "2022-04-01",
    "components": "2020-02-02",
    "resources": "2021-04-01",
}
"""The version that each kind of resource is asked in: stable ones, but for registries, and secrets that
expire, which only previews have."""

PAGES_MAX = 10_000
WAIT_S_MAX = 900.0
"""How long an operation is waited for; azure-ai-ml gives up after 720 s."""
PAUSE_S = 5.0
PAUSE_S_MIN = 0.01
PAUSE_S_MAX = 30.0
_DONE = frozenset({"succeeded"})
_FAILED = frozenset({"failed", "canceled", "cancelled"})


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


class Arm:
    """Resources below one address. Any thread may use it.

    Args:
        http: Sends the requests, with the token.
        base: Returns scheme, host and what comes before ``/subscriptions``; may ask somebody once.
        pause: Waits so many seconds, between two looks at an operation.
        wait_s: How long an operation is waited for.
        manager: Returns the address of the Resource Manager, where this is another one: a registry's
            routes may answer that an operation is to be looked for there.
    """

    def __init__(
        self,
        http: HttpClient,
        base: Callable[[], str],
        *,
        pause: Callable[[float], None] = _pause,
        wait_s: float = WAIT_S_MAX,
        manager: Callable[[], str] | None = None,
    ) -> None:
        self._http = http
        self.base = base
        self._manager = manager or base
        self._pause = pause
        self._wait_s = wait_s

    def get(self, path: str, kind: str, *, query: Mapping[str, str] | None = None) -> Json:
        """Return a resource.

        Args:
            path: From ``/subscriptions`` on; made by ``path_of`` where it holds names.
            kind: A key of ``API_VERSIONS``.
            query: Parameters beside the version.

        Raises:
            NotFound: There is none.
        """
        return self._body(self._sent("GET", path, kind, query=query), path)

    def find(self, path: str, kind: str, *, query: Mapping[str, str] | None = None) -> Json | None:
        """Return a resource, None where there is none."""
        try:
            return self.get(path, kind, query=query)
        except NotFound:
            return None

    def pages(self, path: str, kind: str, *, query: Mapping[str, str] | None = None) -> Iterator[Json]:
        """Yield the resources of a list, page by page as they are asked for."""
        base = self.base()
        seen: set[str] = set()
        page = self.get(path, kind, query=query)
        while True:
            yield from page.get("value") or ()
            link = str(page.get("nextLink") or "")
            if not link:
                return
            if link in seen or len(seen) >= PAGES_MAX:
                raise Unavailable(
                    "the list does not end: a page leads back to one that was read",
                    adapter=ADAPTER,
                    resource=path,
                )
            seen.add(link)
            page = self._next(self._trusted(link, base), path)

    def _next(self, address: str, path: str) -> Json:
        try:
            return self._body(self._checked(self._http.request("GET", address), path), path)
        except NotFound as error:  # to who asks for a list this would say that there is nothing
            raise Unavailable(
                f"a page of the list is gone: {error.message}",
                adapter=ADAPTER,
                resource=path,
                hint="ask for the list again",
            ) from error

    def put(self, path: str, kind: str, body: Mapping[str, Any]) -> Json:
        """Create or replace a resource as a whole, and return it when that is done."""
        return self._finished("PUT", path, kind, body)

    def post(self, path: str, kind: str, body: Mapping[str, Any] | None = None) -> Json:
        """Call an action, and return what it answers when that is done."""
        return self._finished("POST", path, kind, body or {})

    def begin(
        self, method: str, path: str, kind: str, body: Mapping[str, Any] | None = None
    ) -> tuple[Json, str]:
        """Send a change and return at once.

        Returns:
            What was answered, and the address to ask how it stands, which ``has_ended`` takes; "" where there
            is none.
        """
        answer = self._sent(method, path, kind, body=body)
        return json_of(answer), _operation_of(answer)

    def has_ended(self, address: str, path: str) -> bool:
        """Ask once how an operation stands; True when it has succeeded.

        Raises:
            NotFound: Azure does not know it, or no longer.
            BridgeError: It failed, by what its status says.
        """
        answer = self._checked(self._http.request("GET", self._trusted(address, self.base())), path)
        return _ended(answer, json_of(answer), path)

    def delete(self, path: str, kind: str) -> bool:
        """Delete a resource; False where there was none."""
        try:
            answer = self._sent("DELETE", path, kind)
        except NotFound:
            return False
        if answer.status_code == 202:
            self._followed(answer, path)
        return answer.status_code != 204

    @staticmethod
    def version_of(kind: str) -> str:
        """Return the version that a kind of resource is asked in."""
        return API_VERSIONS[kind]

    # One request.

    def _sent(
        self,
        method: str,
        path: str,
        kind: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> requests.Response:
        answer = self._http.request(
            method,
            f"{self.base()}{path}",
            query={**(query or {}), "api-version": API_VERSIONS[kind]},
            body=None if body is None else encoded(body),
            headers={"Accept": "application/json", "Content-Type": "application/json"},
        )
        return self._checked(answer, path)

    def _checked(self, answer: requests.Response, path: str) -> requests.Response:
        if answer.status_code >= 400:
            raise arm_error(answer, json_of(answer), path, authentication=self._http.authentication)
        if answer.status_code >= 300:
            raise Unavailable(
                f"Azure sends us on (status {answer.status_code})",
                adapter=ADAPTER,
                resource=path,
                hint="is there a proxy before Azure that wants a sign-in?",
            )
        return answer

    def _body(self, answer: requests.Response, path: str) -> Json:
        try:
            found = json.loads(answer.content)
        except ValueError:
            found = None
        if isinstance(found, dict):
            return found
        raise Unavailable(
            "Azure answered with something that is not JSON",
            adapter=ADAPTER,
            resource=path,
            hint="is there a proxy, or a page to sign in, before Azure?",
        )

    # Operations that take time.

    def _finished(self, method: str, path: str, kind: str, body: Mapping[str, Any]) -> Json:
        answer = self._sent(method, path, kind, body=body)
        if _operation_of(answer) and (answer.status_code == 202 or _is_under_way(answer)):
            told = self._followed(answer, path)
            return self.get(path, kind) if method == "PUT" else told
        return self._body(answer, path) if answer.content else {}

    def _followed(self, answer: requests.Response, path: str) -> Json:
        """Ask how an operation stands until it ends, and return its last answer, {} without a body."""
        address = _operation_of(answer)
        if not address:
            return {}
        address = self._trusted(address, self.base())
        waited_s, began_s = 0.0, time.monotonic()
        while True:
            pause_s = min(max(_seconds(answer), PAUSE_S_MIN), PAUSE_S_MAX)
            waited_s = max(waited_s, time.monotonic() - began_s)
            if waited_s + pause_s > self._wait_s:
                raise TimedOut(
                    f"the operation is not done after {waited_s:,.0f} s",
                    ambiguous=True,
                    adapter=ADAPTER,
                    resource=path,
                    hint="it goes on in Azure; look again later",
                )
            self._pause(pause_s)
            waited_s += pause_s
            answer = self._checked(self._http.request("GET", address), path)
            told = json_of(answer)
            if _ended(answer, told, path):
                return told

    def _trusted(self, address: str, base: str) -> str:
        full = urljoin(f"{base}/", address)
        there, here = urlsplit(full), urlsplit(base)
        manager = urlsplit(self._manager())
        same = (there.scheme, there.netloc) in ((here.scheme, here.netloc), (manager.scheme, manager.netloc))
        known = is_azure_host(there.netloc) or _is_manager(there.netloc, here.netloc)
        if same or (there.scheme == "https" and known):
            return full
        raise Rejected(
            f"Azure's answer leads to {shown(there.netloc)}, which gets no token of ours",
            adapter=ADAPTER,
            hint="a proxy before ARM has to rewrite the addresses in answers",
        )


def path_of(*parts: str) -> str:
    """Return a path of names: each is encoded as a whole, so that none leads elsewhere."""
    return "".join(f"/{_segment(part)}" for part in parts)


def _segment(name: str) -> str:
    if name in ("", ".", ".."):
        raise NotFound(f"nothing is called {name!r}", adapter=ADAPTER)
    try:
        return quote(name, safe="")
    except UnicodeEncodeError:
        raise NotFound("a name holds half a character", adapter=ADAPTER) from None


def _operation_of(answer: requests.Response) -> str:
    return answer.headers.get("Azure-AsyncOperation") or answer.headers.get("Location") or ""


def _is_under_way(answer: requests.Response) -> bool:
    state = str((json_of(answer).get("properties") or {}).get("provisioningState") or "").lower()
    return bool(answer.headers.get("Azure-AsyncOperation")) or state not in ("", *_DONE)


def _seconds(answer: requests.Response) -> float:
    """Return how long an answer asks to wait: azure-core reads the same headers, in this order."""
    for header in ("retry-after-ms", "x-ms-retry-after-ms"):
        text = answer.headers.get(header, "").strip()
        if text.isascii() and text.isdecimal():
            return int(text) / 1000
    asked = retry_after_s(answer)
    return PAUSE_S if asked is None else asked


def _ended(answer: requests.Response, told: Mapping[str, Any], path: str) -> bool:
    state = str(told.get("status") or "").lower()
    if state in _FAILED:
        raise operation_error(told, path)
    if state:
        return state in _DONE
    return answer.status_code != 202


def _is_manager(there: str, here: str) -> bool:
    """Tell whether two hosts are managers of one cloud: ARM answers with addresses of its regions."""
    return is_below(there, f".{here.lower()}")
