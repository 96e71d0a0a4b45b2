"""Requests to online endpoints: who may ask, who answers, and what becomes of an answer that is not 200.

Status codes are those of how-to-troubleshoot-online-endpoints.md: 401 without a good key or token; 404 when
no deployment has weight; 408 after ``requestTimeout``; 424 for any answer of the model that is no success,
with the model's status in a header; 429 when more is pending than ``2 * max_concurrent * instances``, or for
more requests a second than an endpoint takes. The texts of 401 and 404 are not published, nor is what comes
when a container is gone: here it is 424 with 502 as the model's status.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, NamedTuple

from trackbridge.testing.emulators.azureml.core import SCORING, Answer, Cloud, Request, Route
from trackbridge.testing.emulators.azureml.data_collection import DataCollection, Payload
from trackbridge.testing.emulators.azureml.deployment_fleets import Fleet, Instance, TooMany
from trackbridge.testing.emulators.azureml.endpoint_rules import KINDS, Resource
from trackbridge.testing.emulators.azureml.online_state import KIND, LiveEndpoint, OnlineEndpoints
from trackbridge.testing.emulators.azureml.scored_requests import Happenings, Scored
from trackbridge.testing.emulators.containers import Answered, NotServing

DEPLOYMENT_HEADER = "azureml-model-deployment"
CLIENT_HEADER = "x-ms-client-request-id"
NO_DEPLOYMENT = "The endpoint doesn't have any valid deployment with positive weight."
# What belongs to the connection, or to Azure alone, is not handed on.
_HELD_BACK = frozenset(
    (
        *("host", "connection", "content-length", "transfer-encoding", "authorization", "keep-alive"),
        *("expect", "proxy-connection", "accept-encoding", "date", "server", DEPLOYMENT_HEADER),
    )
)


class Target(NamedTuple):
    """Who gets a request: the endpoint, its resource, the deployment's name, and what serves it."""

    endpoint: Resource
    live: LiveEndpoint
    deployment: str
    fleet: Fleet | None


class Said(NamedTuple):
    """What is answered, and what the records say of it."""

    status: int
    reason: str
    body: bytes
    headers: Mapping[str, str]
    model_status: int = 0
    model_reason: str = ""
    model_ms: float = 0.0
    instance: str = ""


def audience_of(endpoint: Mapping[str, Any]) -> str:
    """Return the audience of an endpoint's own tokens."""
    return f"azureml-endpoint:{endpoint['id'].lower()}"


def studio_audience(cloud: Cloud) -> str:
    """Return the audience of tokens of Entra ID that endpoints take."""
    return f"https://{cloud.addresses(None).studio}"


def scoring_path(cloud: Cloud, endpoint: Mapping[str, Any]) -> str:
    """Return the path to score at: that of the deployment with most traffic, which a container may choose."""
    live = cloud.part(OnlineEndpoints).find(endpoint["id"])
    if live is None or not live.fleets:
        return "/score"
    traffic = {name.lower(): weight for name, weight in endpoint["properties"]["traffic"].items()}
    chosen = max(live.fleets, key=lambda name: traffic.get(name, 0))
    return live.fleets[chosen].program.scoring


def endpoint_named(cloud: Cloud, name: str, kinds: tuple[str, ...] = KINDS) -> Resource | None:
    """Return the endpoint of a name, which only one has in a region; None when there is none."""
    ends = tuple(f"/{kind}/{name}".lower() for kind in kinds)
    return next((held for key, held in cloud.resources.below("/subscriptions") if key.endswith(ends)), None)


def score(cloud: Cloud, request: Request) -> Answer:
    """Answer a request to an endpoint's own host."""
    name, path = request.names["endpoint"], f"/{request.names.get('rest', '')}"
    with cloud.lock:
        endpoint = endpoint_named(cloud, name, (KIND,))
    if endpoint is None:
        # Its host has no address in Azure.
        return _text(404, f"There is no online endpoint {name}")
    happenings = cloud.part(Happenings)
    happenings.enter(endpoint["id"])
    began_s = time.perf_counter()
    try:
        deployment, said, auth = _said(cloud, request, endpoint, path)
    finally:
        happenings.leave(endpoint["id"])
    request_id = str(uuid.uuid4())
    entry = replace(
        _scored(cloud, request, endpoint, path, said, began_s),
        deployment=deployment,
        reason=said.reason,
        model_reason=said.model_reason,
        auth=auth,
        identity=cloud.caller if auth == "AADToken" else "",
        request_id=request_id,
        client_request_id=request.headers.get(CLIENT_HEADER) or "",
        user_agent=request.headers.get("User-Agent") or "",
    )
    happenings.add(entry)
    headers = {**said.headers, "x-ms-request-id": request_id}
    return Answer(said.status, said.body, headers)


def _scored(
    cloud: Cloud, request: Request, endpoint: Resource, path: str, said: Said, began_s: float
) -> Scored:
    return Scored(
        time_s=cloud.now_s(),
        endpoint_id=endpoint["id"].lower(),
        deployment="",
        instance=said.instance,
        method=request.method,
        path=path,
        status=said.status,
        model_status=said.model_status,
        request_size=len(request.body),
        response_size=len(said.body),
        total_ms=(time.perf_counter() - began_s) * 1e3,
        model_ms=said.model_ms,
    )


def _said(cloud: Cloud, request: Request, endpoint: Resource, path: str) -> tuple[str, Said, str]:
    auth = endpoint["properties"]["authMode"]
    with cloud.lock:
        live = cloud.part(OnlineEndpoints).find(endpoint["id"])
        refusal = _not_allowed(cloud, request, endpoint, live)
        if refusal is not None or live is None:
            return "", refusal or _plain(404, "not_found", NO_DEPLOYMENT), auth
        if _is_too_fast(cloud, live):
            return "", _plain(429, "too_many_requests", "The rate limit of the endpoint is reached."), auth
        target = _target(endpoint, live, request.headers.get(DEPLOYMENT_HEADER) or "")
    if isinstance(target, Said):
        return "", target, auth
    said = ask(cloud, request, target, path)
    if not request.headers.get(DEPLOYMENT_HEADER):
        _mirror(cloud, request, target, path)
    return target.deployment.lower(), said, auth


def _not_allowed(
    cloud: Cloud, request: Request, endpoint: Resource, live: LiveEndpoint | None
) -> Said | None:
    header = request.headers.get("Authorization") or ""
    mode = endpoint["properties"]["authMode"]
    prefix = {"Key": "key_auth", "AMLToken": "aml_token_auth", "AADToken": "aad_token_auth"}[mode]
    if not header:
        return _plain(401, f"{prefix}_bad_header_not_found")
    kind, _, given = header.partition(" ")
    if kind.lower() != "bearer" or not given:
        return _plain(401, f"{prefix}_bad_header_invalid_format")
    if mode == "Key":
        is_good = live is not None and given in live.keys.values()
    else:
        audience = audience_of(endpoint) if mode == "AMLToken" else studio_audience(cloud)
        is_good = cloud.issuer.refusal(header, (audience,)) is None
    return None if is_good else _plain(401, f"{prefix}_access_denied")


def _is_too_fast(cloud: Cloud, live: LiveEndpoint) -> bool:
    now_s, most = cloud.now_s(), cloud.part(OnlineEndpoints).requests_per_second_max
    while live.arrivals_s and live.arrivals_s[0] <= now_s - 1.0:
        live.arrivals_s.popleft()
    if len(live.arrivals_s) >= most:
        return True
    live.arrivals_s.append(now_s)
    return False


def _target(endpoint: Resource, live: LiveEndpoint, named: str) -> Target | Said:
    """Return who gets a request: whom it names, else whose turn it is."""
    if named:
        if named.lower() not in live.fleets:
            return _plain(404, "not_found", f"Deployment {named} is not there.")
        return Target(endpoint, live, named, live.fleets[named.lower()])
    chosen = live.turns.pick(endpoint["properties"]["traffic"])
    if chosen is None:
        return _plain(404, "not_found", NO_DEPLOYMENT)
    return Target(endpoint, live, chosen, live.fleets.get(chosen.lower()))


def ask(cloud: Cloud, request: Request, target: Target, path: str) -> Said:
    """Hand a request to a deployment, and make of its answer what Azure makes of it."""
    query = request.target.partition("?")[2]
    headers = {name: value for name, value in request.headers.items() if str(name).lower() not in _HELD_BACK}
    try:
        if target.fleet is None:
            raise NotServing("the deployment did not come up")
        answer, instance = target.fleet.ask(
            request.method, path + (f"?{query}" if query else ""), request.body, headers
        )
    except TooMany:
        return _plain(429, "too_many_pending_requests", "Too many pending requests.")
    except TimeoutError:
        return _plain(408, "upstream_request_timeout", "upstream request timeout")
    except NotServing as error:
        return _of_model(Answered(502, {}, f"{error}".encode(), 0.0), target.deployment, "")
    _collect(cloud, target, request, answer, instance)
    return _of_model(answer, target.deployment, instance.name)


def _of_model(answer: Answered, deployment: str, instance: str) -> Said:
    is_good = 200 <= answer.status < 300
    kept = {name: value for name, value in answer.headers.items() if name not in _HELD_BACK}
    if "content-type" in kept:
        kept["Content-Type"] = kept.pop("content-type")  # as the server writes its own
    headers = {**kept, DEPLOYMENT_HEADER: deployment}
    reason = _phrase(answer.status)
    if not is_good:
        headers["ms-azureml-model-error-statuscode"] = str(answer.status)
        headers["ms-azureml-model-error-reason"] = "model_error"
    return Said(
        answer.status if is_good else 424,
        "" if is_good else "model_error",
        answer.body,
        headers,
        answer.status,
        reason,
        answer.latency_s * 1e3,
        instance,
    )


def _collect(cloud: Cloud, target: Target, request: Request, answer: Answered, instance: Instance) -> None:
    fleet = target.fleet
    if fleet is None:
        return
    named = request.headers.get(CLIENT_HEADER) or answer.headers.get("x-request-id", "")
    correlation = named or str(uuid.uuid4())  # Azure numbers what no container does
    asked = Payload(request.body, "request", instance.name, correlation)
    given = Payload(answer.body, "response", instance.name, correlation)
    cloud.part(DataCollection).see(fleet.deployment_id, asked, given)


def _mirror(cloud: Cloud, request: Request, target: Target, path: str) -> None:
    """Send the request to the mirror as well, if it is its turn; what it answers only the metrics see."""
    endpoint, live = target.endpoint, target.live
    with cloud.lock:
        weights = endpoint["properties"]["mirrorTraffic"]
        name = next((name for name, weight in weights.items() if weight), None)
        if name is None or live.mirror_turns.pick({name: weights[name], "": 100 - weights[name]}) != name:
            return
        shadow = target._replace(deployment=name, fleet=live.fleets.get(name.lower()))

    def work() -> None:
        began_s = time.perf_counter()
        said = ask(cloud, request, shadow, path)
        entry = _scored(cloud, request, endpoint, path, said, began_s)
        cloud.part(Happenings).add(replace(entry, deployment=name.lower(), is_mirrored=True))

    cloud.part(OnlineEndpoints).work(threading.Thread(target=work, daemon=True))


def _plain(status: int, reason: str, text: str = "") -> Said:
    return Said(status, reason, (text or reason).encode(), {"Content-Type": "text/plain"})


def _text(status: int, text: str) -> Answer:
    return Answer(status, text.encode(), {"Content-Type": "text/plain"})


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


ROUTES = tuple(
    Route(method, template, score, plane=SCORING, waits=True)
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH")
    for template in ("/endpoints/{endpoint}/{rest...}", "/endpoints/{endpoint}")
)
