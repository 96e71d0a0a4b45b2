"""Requests to online endpoints, each sent once.

azure-ai-ml reads the endpoint and its keys from ARM for each request, and sends the request four times where
the answer is 500. Here address, key and kinds of deployments are kept for a while, and a request is sent
again only after a 401, when nobody has scored it, with a fresh key.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

from trackbridge.domain.secrets import shown
from trackbridge.errors import AuthError, BridgeError, NotFound, RateLimited, Rejected, TimedOut, Unavailable
from trackbridge.transport.http import HttpClient, retry_after_s
from trackbridge_adapters.azureml import deployments_state as state
from trackbridge_adapters.azureml.arm import Json
from trackbridge_adapters.azureml.assets import properties_of
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.deployments_checks import AZURE, RAW, form_of
from trackbridge_adapters.azureml.deployments_names import native_deployment, own_deployment, spec_in
from trackbridge_adapters.azureml.deployments_payloads import JSON_TYPE, from_azure, to_azure
from trackbridge_adapters.azureml.deployments_resources import BATCH, ONLINE, EndpointResources, HeldEndpoint
from trackbridge_adapters.azureml.identity import AzureTokens

OPERATION = "deployments.invoke"
DEPLOYMENT_HEADER = "azureml-model-deployment"
MODEL_STATUS = "ms-azureml-model-error-statuscode"
KNOWN_S = 30.0
"""How long address and key are kept, and what forms of payloads the deployments take."""
SLACK_S = 10.0
RATE_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Address:
    """How an endpoint is asked; its repr shows no key."""

    url: str
    key: str = field(repr=False)
    until_ms: int
    timeout_s: float
    traffic: Mapping[str, int]
    forms: Mapping[str, str]
    """The form of payloads that each deployment takes."""


class Scoring:
    """Asks endpoints. Any thread may use it.

    Args:
        resources: Of the workspace.
        http: Sends requests.
        studio: The audience of tokens that endpoints take.
        clock_ms: Milliseconds since 1970.
    """

    def __init__(
        self, resources: EndpointResources, http: HttpClient, *, studio: str, clock_ms: Callable[[], int]
    ) -> None:
        self._resources = resources
        self._http = http
        self._studio = studio
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._known: dict[str, Address] = {}

    def forget(self, endpoint: str) -> None:
        """Ask Azure anew about an endpoint, at the next request."""
        with self._lock:
            self._known.pop(endpoint.lower(), None)

    def invoke(self, endpoint: str, payload: bytes, content_type: str, deployment: str | None) -> bytes:
        """Send a request; see the port."""
        address = self._address(endpoint)
        if deployment is not None and deployment not in address.forms:
            self.forget(endpoint)
            address = self._address(endpoint)
            if deployment not in address.forms:
                raise _absent(f"endpoint {endpoint!r} has no deployment {deployment[:80]!r}")
        is_azures = _form(address, endpoint, deployment) == AZURE
        body = to_azure(payload, content_type) if is_azures else payload
        headers = {"Content-Type": JSON_TYPE if is_azures else content_type}
        if deployment is not None:
            headers[DEPLOYMENT_HEADER] = native_deployment(deployment)
        answer = self._sent(address, body, headers)
        if answer.status_code == 401:
            self.forget(endpoint)
            address = self._address(endpoint)
            answer = self._sent(address, body, headers)
        if answer.status_code >= 300:
            raise self._refused(answer, endpoint, deployment)
        answered = own_deployment(answer.headers.get(DEPLOYMENT_HEADER, ""))
        is_azures = address.forms.get(answered, AZURE if is_azures else RAW) == AZURE
        return from_azure(answer.content) if is_azures else answer.content

    def _sent(self, address: Address, body: bytes, headers: Mapping[str, str]) -> requests.Response:
        return self._http.request(
            "POST",
            address.url,
            body=body,
            headers={**headers, "Authorization": f"Bearer {address.key}"},
            authenticate=False,
            answer_s=address.timeout_s + SLACK_S,
        )

    # Where, and with what.

    def _address(self, endpoint: str) -> Address:
        with self._lock:
            known = self._known.get(endpoint.lower())
        if known is not None and self._clock_ms() < known.until_ms:
            return known
        held = self._resources.find(endpoint)
        if held is None:
            raise _absent(f"there is no endpoint {endpoint[:80]!r}")
        if held.kind == BATCH:
            raise Rejected(
                f"the endpoint {endpoint!r} scores files",
                adapter=ADAPTER,
                operation=OPERATION,
                hint="start a batch: the endpoint's answers are files",
            )
        made = self._made(held)
        with self._lock:
            self._known[endpoint.lower()] = made
        return made

    def _made(self, held: HeldEndpoint) -> Address:
        told = properties_of(held.endpoint)
        key, ends_ms = self.key_of(held)
        timeouts = [
            state.seconds_of((properties_of(found).get("requestSettings") or {}).get("requestTimeout"), 5.0)
            for found in held.deployments
        ]
        return Address(
            url=str(told.get("scoringUri") or ""),
            key=key,
            until_ms=min(self._clock_ms() + int(KNOWN_S * 1000), ends_ms),
            timeout_s=max(timeouts, default=60.0),
            traffic=state.shares_in(held)[0],
            forms={own_deployment(str(found["name"])): form_in(found) for found in held.deployments},
        )

    def key_of(self, held: HeldEndpoint) -> tuple[str, int]:
        """Return what a caller of an endpoint shows, and when it is to be asked for anew, in milliseconds."""
        mode = str(properties_of(held.endpoint).get("authMode") or "").lower()
        path = self._resources.path(ONLINE, str(held.endpoint.get("name")))
        far = self._clock_ms() + int(KNOWN_S * 1000)
        if mode == "key":
            return str(self._resources.arm.post(f"{path}/listKeys", ONLINE).get("primaryKey") or ""), far
        if mode == "amltoken":
            told = self._resources.arm.post(f"{path}/token", ONLINE)
            refresh_s = int(told.get("refreshAfterTimeUtc") or 0)
            return str(told.get("accessToken") or ""), refresh_s * 1000 or far
        return self.identity(), far

    def identity(self) -> str:
        """Return a token that says who the caller is.

        Raises:
            AuthError: Nobody is signed in but for Azure ML alone.
        """
        authentication = self._http.authentication
        if not isinstance(authentication, AzureTokens):
            raise AuthError(
                "the endpoint asks who its caller is, and the token in use is for Azure ML alone",
                adapter=ADAPTER,
                operation=OPERATION,
                hint="use the option sign_in",
            )
        return authentication.beside(f"{self._studio}/.default").current()

    # What an answer means.

    def _refused(self, answer: requests.Response, endpoint: str, deployment: str | None) -> BridgeError:
        resource = f"{endpoint}/{deployment}" if deployment else endpoint
        status = answer.status_code
        if status == 404:
            return self._nobody(endpoint, deployment, resource)
        text = f"{_message(answer)} (status {status})"
        if status == 424:
            return _of_model(answer, text, resource)
        kind, hint = _KINDS.get(status, (Rejected if status < 500 else Unavailable, "look at the logs"))
        if kind is TimedOut:
            return TimedOut(
                text, ambiguous=True, adapter=ADAPTER, operation=OPERATION, resource=resource, hint=hint
            )
        if kind is RateLimited:
            wait_s = retry_after_s(answer) or RATE_WAIT_S
            return RateLimited(
                text, retry_after_s=wait_s, adapter=ADAPTER, operation=OPERATION, resource=resource, hint=hint
            )
        error: BridgeError = kind(text, adapter=ADAPTER, operation=OPERATION, resource=resource, hint=hint)
        return error

    def _nobody(self, endpoint: str, deployment: str | None, resource: str) -> BridgeError:
        """Say why nobody was asked: the endpoint, or the deployment, has gone, or nobody has traffic."""
        self.forget(endpoint)
        held = self._resources.find(endpoint)
        if held is None:
            return _absent(f"there is no endpoint {endpoint!r}")
        if deployment is not None and held.find(deployment) is None:
            return _absent(f"endpoint {endpoint!r} has no deployment {deployment!r}")
        what = "no deployment gets requests" if deployment is None else "the deployment does not serve"
        return Unavailable(
            what,
            adapter=ADAPTER,
            operation=OPERATION,
            resource=resource,
            hint="'bridge endpoints show' says how it stands",
        )


_KINDS: dict[int, tuple[Any, str]] = {
    401: (
        AuthError,
        "the endpoint takes no key of ours: does somebody change its keys, or its authentication?",
    ),
    403: (AuthError, "ask for the role 'AzureML Data Scientist' on the endpoint"),
    408: (TimedOut, "it may have been scored all the same; give the deployment more time for a request"),
    413: (Rejected, "send fewer rows at once"),
    429: (RateLimited, "send fewer requests at once, or give the deployment more instances"),
}


def form_in(found: Json) -> str:
    """Return the form of payloads that a deployment takes, as its tags say; else as far as is seen."""
    spec = spec_in(found.get("tags") or {})
    if spec is not None:
        return form_of(spec)
    told = properties_of(found)
    return RAW if told.get("codeConfiguration") or told.get("environmentId") else AZURE


def _form(address: Address, endpoint: str, deployment: str | None) -> str:
    """Return the form in which a payload goes: Azure's where any takes only that.

    Raises:
        Rejected: It may come to one that takes it, and to one that does not.
    """
    if deployment is not None:
        return address.forms[deployment]
    forms = {form for name, form in address.forms.items() if address.traffic.get(name)}
    if RAW in forms and len(forms) > 1:
        raise Rejected(
            f"the deployments of {endpoint!r} take payloads in different forms",
            adapter=ADAPTER,
            operation=OPERATION,
            hint="name the deployment that is to answer",
        )
    return min(forms, default=AZURE)  # "azure" comes before the others


def _of_model(answer: requests.Response, text: str, resource: str) -> BridgeError:
    status = answer.headers.get(MODEL_STATUS, "")
    hint = "look at the payload, and at the logs of the deployment: bridge endpoints logs"
    if status in ("502", "503"):
        return Unavailable(text, adapter=ADAPTER, operation=OPERATION, resource=resource, hint=hint)
    return Rejected(
        f"the model answered {status}: {text}",
        adapter=ADAPTER,
        operation=OPERATION,
        resource=resource,
        hint=hint,
    )


def _message(answer: requests.Response) -> str:
    try:
        told = json.loads(answer.content)
        return shown(str(told["message"]), chars_max=2000)
    except (ValueError, KeyError, TypeError):
        return shown(answer.content[:500].decode("utf-8", "replace"), chars_max=500)


def _absent(message: str) -> NotFound:
    return NotFound(
        message, adapter=ADAPTER, operation=OPERATION, hint="'bridge endpoints list' names what is there"
    )
