"""ARM by our own client: waits that end, lists that end, tokens that stay at home, errors in words."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.scripted_servers import Answer, Request, ScriptedServer, scripted_server
from trackbridge.errors import (
    AuthError,
    BridgeError,
    ConfigError,
    Conflict,
    NotFound,
    RateLimited,
    Rejected,
    TimedOut,
    Unavailable,
)
from trackbridge.ports.adapter import AdapterContext
from trackbridge.transport.authentication import BearerToken
from trackbridge.transport.http import HttpClient
from trackbridge_adapters.azureml.arm import PAUSE_S, PAUSE_S_MAX, PAUSE_S_MIN, Arm, Json, path_of
from trackbridge_adapters.azureml.assets import Assets, Change
from trackbridge_adapters.azureml.registries import Discovery
from trackbridge_adapters.azureml.service import backend_of

TOKEN = "a-token-of-azure"
PATH = "/subscriptions/S/resourceGroups/G/providers/P/workspaces/W/models/m"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def arm(server: ScriptedServer, pauses: list[float]) -> Iterator[Arm]:
    http = HttpClient(adapter="azureml", authentication=BearerToken(TOKEN, adapter="azureml"))
    yield Arm(http, lambda: server.url, pause=pauses.append)
    http.close()


def under_way(server: ScriptedServer, status: int = 202, **headers: str) -> Answer:
    return Answer(status, b"", {"Azure-AsyncOperation": f"{server.url}/operations/7", **headers})


def told(code: str, message: str = "no", **more: object) -> dict[str, object]:
    return {"error": {"code": code, "message": message, **more}}


def test_every_request_names_a_version_and_carries_the_token(server: ScriptedServer, arm: Arm) -> None:
    arm.get(PATH, "models")
    assert server.requests[0].path == f"{PATH}?api-version=2024-04-01"
    assert server.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_names_lead_nowhere_else() -> None:
    assert path_of("models", "a/../b c?d") == "/models/a%2F..%2Fb%20c%3Fd"
    for name in ("", ".", "..", "\ud800"):
        with pytest.raises(NotFound):
            path_of("models", name)


# Operations that take time.


def test_an_operation_is_waited_for_as_azure_asks(
    server: ScriptedServer, arm: Arm, pauses: list[float]
) -> None:
    server.says(
        under_way(server, **{"Retry-After": "2"}),
        Answer(body={"status": "InProgress"}, headers={"Retry-After": "7"}),
        Answer(body={"status": "InProgress"}),
        Answer(body={"status": "Succeeded"}),
        Answer(body={"name": "m"}),
    )
    assert arm.put(PATH, "models", {}) == {"name": "m"}
    assert pauses == [2, 7, PAUSE_S]
    assert [request.method for request in server.requests] == ["PUT", "GET", "GET", "GET", "GET"]


def test_an_operation_is_waited_for_so_long_and_no_longer(
    server: ScriptedServer, arm: Arm, pauses: list[float]
) -> None:
    server.says(under_way(server), Answer(body={"status": "InProgress"}, headers={"Retry-After": "86400"}))
    with pytest.raises(TimedOut, match="not done after") as caught:
        arm.post(f"{PATH}/import", "registries")
    assert caught.value.ambiguous
    assert max(pauses) == PAUSE_S_MAX
    assert sum(pauses) <= 900


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({"x-ms-retry-after-ms": "40"}, 0.04),
        ({"retry-after-ms": "30", "x-ms-retry-after-ms": "40", "Retry-After": "7"}, 0.03),
        ({"x-ms-retry-after-ms": "soon", "Retry-After": "7"}, 7.0),
        ({"x-ms-retry-after-ms": "-1"}, PAUSE_S),
        ({}, PAUSE_S),
    ],
)
def test_the_pause_is_what_azure_asks_for(
    server: ScriptedServer, arm: Arm, pauses: list[float], headers: dict[str, str], pause_s: float
) -> None:
    server.says(under_way(server, **headers), Answer(body={"status": "Succeeded"}))
    arm.post(PATH, "models")
    assert pauses == [pause_s]


@pytest.mark.parametrize("state", ["Failed", "Canceled"])
def test_an_operation_that_failed_says_why(server: ScriptedServer, arm: Arm, state: str) -> None:
    error = {"status": state, **told("UserError", "\x1b[31mno such model\x1b[0m")}
    server.says(under_way(server), Answer(body=error))
    with pytest.raises(Rejected, match=r"^no such model \[azureml"):
        arm.post(f"{PATH}/import", "registries")


def test_an_operation_that_ends_without_a_body_is_done(server: ScriptedServer, arm: Arm) -> None:
    location = {"Location": f"{server.url}/results/7"}
    server.says(Answer(202, b"", location), Answer(202, b""), Answer(200, b""))
    assert arm.post(f"{PATH}/import", "registries") == {}


def test_a_deletion_is_waited_for(server: ScriptedServer, arm: Arm) -> None:
    server.says(under_way(server), Answer(body={"status": "Succeeded"}))
    assert arm.delete(PATH, "models")
    server.says(Answer(204, b""))
    assert not arm.delete(PATH, "models")
    server.says(Answer(404, told("ResourceNotFound")))
    assert not arm.delete(PATH, "models")


@pytest.mark.parametrize(
    "address",
    [
        "https://elsewhere.example.org/x",
        "https://management.azure.com.example.org/",
        "https://eastus.api.azureml.ms:x@elsewhere.example.org/x",
        "https://elsewhere.example.org\\.api.azureml.ms/x",
        "http://eastus.api.azureml.ms/x",
    ],
)
def test_no_other_host_gets_the_token(server: ScriptedServer, arm: Arm, address: str) -> None:
    server.says(Answer(202, b"", {"Azure-AsyncOperation": address}))
    with pytest.raises(Rejected, match="gets no token"):
        arm.post(f"{PATH}/import", "registries")
    server.says(Answer(body={"value": [], "nextLink": address}))
    with pytest.raises(Rejected, match="gets no token"):
        list(arm.pages(PATH, "models"))


def test_an_operation_at_the_resource_manager_is_followed(server: ScriptedServer) -> None:
    """A registry's own routes may answer that an operation is to be looked for there."""
    with scripted_server() as other:
        http = HttpClient(adapter="azureml", authentication=BearerToken(TOKEN, adapter="azureml"))
        operation = {"Azure-AsyncOperation": f"{other.url}/operations/7"}
        server.says(Answer(202, b"", operation), Answer(202, b"", operation))
        other.says(Answer(body={"status": "Succeeded"}))
        arm = Arm(http, lambda: server.url, pause=lambda _: None, manager=lambda: other.url)
        assert arm.post(f"{PATH}/import", "registries") == {"status": "Succeeded"}
        assert other.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"
        with pytest.raises(Rejected, match="gets no token"):
            Arm(http, lambda: server.url, pause=lambda _: None).post(f"{PATH}/import", "registries")
        assert len(other.requests) == 1
        http.close()


# Lists.


def test_a_list_is_read_to_its_end(server: ScriptedServer, arm: Arm) -> None:
    link = f"{server.url}{PATH}?$skip=2&api-version=2024-04-01"
    server.says(
        Answer(body={"value": [{"name": "a"}, {"name": "b"}], "nextLink": link}),
        Answer(body={"value": [{"name": "c"}], "nextLink": None}),
    )
    assert [item["name"] for item in arm.pages(PATH, "models")] == ["a", "b", "c"]


def test_a_list_that_leads_back_to_itself_ends(server: ScriptedServer, arm: Arm) -> None:
    server.says(Answer(body={"value": [{"name": "a"}], "nextLink": f"{server.url}{PATH}?again"}))
    with pytest.raises(Unavailable, match="does not end"):
        list(arm.pages(PATH, "models"))


# Errors: every one is told once, after one request.


@pytest.mark.parametrize(
    ("status", "body", "kind", "part"),
    [
        (404, told("SubscriptionNotFound"), NotFound, "az account list"),
        (404, told("UserError", innererror={"code": "NotFoundError"}), NotFound, "name and version"),
        (400, told("UserError", "Asset paths cannot be updated."), Conflict, "new version"),
        (400, told("UserError", "It was deleted, it cannot be recreated."), Conflict, "new version"),
        (400, told("ValidationError", "bad name"), Rejected, "bad name"),
        (403, told("AuthorizationFailed"), AuthError, "AzureML Data Scientist"),
        (401, told("InvalidAuthenticationTokenTenant"), AuthError, "--tenant"),
        (403, told("RequestDisallowedByPolicy"), Rejected, "policy"),
        (409, told("ScopeLocked"), Rejected, "locked"),
        (409, told("MissingSubscriptionRegistration"), Rejected, "az provider register"),
        (429, told("TooManyRequests"), RateLimited, "429"),
        (500, told("UserError", innererror={"code": "NotFoundError"}), Unavailable, "500"),
        (503, "<html>", Unavailable, "503"),
        (302, "", Unavailable, "sign-in"),
    ],
)
def test_an_error_is_told_with_what_to_do(
    server: ScriptedServer, arm: Arm, status: int, body: object, kind: type[BridgeError], part: str
) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    server.says(Answer(status, content, {"Location": f"{server.url}/login"} if status == 302 else {}))
    with pytest.raises(kind) as caught:
        arm.put(PATH, "models", {})
    assert type(caught.value) is kind
    assert part in f"{caught.value} {caught.value.hint}"
    assert TOKEN not in f"{caught.value} {caught.value.hint} {caught.value.resource}"
    assert len([request for request in server.requests if request.method == "PUT"]) == 1


def test_how_long_to_wait_is_passed_on(server: ScriptedServer, arm: Arm) -> None:
    server.says(Answer(429, json.dumps(told("TooManyRequests")), {"Retry-After": "17"}))
    with pytest.raises(RateLimited) as caught:
        arm.get(PATH, "models")
    assert caught.value.retry_after_s == 17
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", ["<html>sign in</html>", "[]", "null", ""])
def test_what_is_no_resource_is_none(server: ScriptedServer, arm: Arm, body: str) -> None:
    server.says(Answer(200, body))
    with pytest.raises(Unavailable, match="not JSON"):
        arm.get(PATH, "models")


def test_reasons_within_reasons_end(server: ScriptedServer, arm: Arm) -> None:
    reason: dict[str, object] = {"code": "NotFoundError"}
    for _ in range(200):
        reason = {"code": "x", "innererror": reason}
    server.answer = lambda request: _deep(request, reason)
    with pytest.raises(Rejected):
        arm.get(PATH, "models")


def _deep(request: Request, reason: dict[str, object]) -> Answer:
    return Answer(400, json.dumps({"error": reason}))


def test_a_regional_manager_is_followed_encrypted_only() -> None:
    http = HttpClient(adapter="azureml", authentication=BearerToken(TOKEN, adapter="azureml"))
    arm = Arm(http, lambda: "https://management.azure.com")
    there = "https://westeurope.management.azure.com/operations/7"
    assert arm._trusted(there, arm.base()) == there
    for address in (there.replace("https", "http"), "https://elsewhere.example\\.management.azure.com/"):
        with pytest.raises(Rejected, match="gets no token"):
            arm._trusted(address, arm.base())


@pytest.mark.parametrize("headers", [{"Retry-After": "0"}, {"x-ms-retry-after-ms": "0"}])
def test_an_operation_that_asks_for_no_pause_ends_as_well(
    server: ScriptedServer, headers: dict[str, str]
) -> None:
    http = HttpClient(adapter="azureml")
    pauses: list[float] = []
    arm = Arm(http, lambda: server.url, pause=pauses.append, wait_s=PAUSE_S_MIN * 3)
    server.says(under_way(server, **headers), *[Answer(body={"status": "InProgress"}, headers=headers)] * 4)
    with pytest.raises(TimedOut, match="not done after"):
        arm.post(PATH, "models")
    assert set(pauses) <= {PAUSE_S_MIN}
    http.close()


def test_a_list_of_which_a_page_is_gone_is_not_taken_for_whole(server: ScriptedServer, arm: Arm) -> None:
    first = Answer(body={"value": [{"name": "1"}], "nextLink": f"{server.url}/page"})
    server.says(first, Answer(404, told("NotFound")))
    with pytest.raises(Unavailable, match="a page of the list is gone"):
        list(Assets(arm, "/subscriptions/S").versions("models", "m"))


def test_an_operation_that_another_was_quicker_than_is_a_conflict(server: ScriptedServer, arm: Arm) -> None:
    error = {"status": "Failed", **told("UserError", "Asset paths cannot be updated.")}
    server.says(under_way(server), Answer(body=error))
    with pytest.raises(Conflict):
        arm.post(f"{PATH}/import", "registries")


def test_a_registry_of_another_host_gets_no_token(server: ScriptedServer) -> None:
    http = HttpClient(adapter="azureml", authentication=BearerToken(TOKEN, adapter="azureml"))
    for address in ("https://a.api.azureml.ms:x@elsewhere.example", "http://a.api.azureml.ms"):
        server.says(Answer(body={"primaryRegionResourceProviderUri": address}))
        with pytest.raises(ConfigError, match="no host of Azure ML"):
            Discovery(http, server.url, "shared").found()
    http.close()


def test_processes_of_a_machine_do_not_undo_each_others_changes(
    server: ScriptedServer, arm: Arm, tmp_path: Path
) -> None:
    """Another object of the same home is what another process has."""
    held: dict[str, object] = {"tags": {}}

    def answer(request: Request) -> Answer:
        if request.method == "PUT":
            held.update(json.loads(request.body)["properties"])
        return Answer(body={"name": "1", "properties": held})

    server.answer = answer
    one, two = (Assets(arm, "/subscriptions/S", home=tmp_path) for _ in range(2))

    def adding(tag: str, meanwhile: Callable[[], None]) -> Change:
        def changed(properties: Json) -> Json | None:
            if tag in properties["tags"]:
                return None
            meanwhile()
            return {**properties, "tags": {**properties["tags"], tag: "1"}}

        return changed

    other = threading.Thread(
        target=lambda: two.change("models", "m", "1", adding("theirs", lambda: None)), daemon=True
    )

    def let_the_other_try() -> None:
        other.start()
        other.join(0.3)

    one.change("models", "m", "1", adding("ours", let_the_other_try))
    other.join(30)
    assert held["tags"] == {"ours": "1", "theirs": "1"}


@pytest.mark.parametrize(
    ("cloud", "host"),
    [
        ("AzureCloud", "blob.core.windows.net"),
        ("AzureChinaCloud", "blob.core.chinacloudapi.cn"),
        ("AzureUSGovernment", "blob.core.usgovcloudapi.net"),
    ],
)
def test_storage_of_which_arm_names_no_end_is_the_clouds_own(
    server: ScriptedServer, tmp_path: Path, cloud: str, host: str
) -> None:
    """The field is optional in ARM; the wrong cloud's host may be somebody else's account."""
    options = {"cloud": cloud, "arm_endpoint": server.url, "endpoint": server.url, "token_env": "TOKEN"}
    context = AdapterContext(home=tmp_path, options=options, clock_ms=lambda: 0)
    told = {"datastoreType": "AzureBlob", "accountName": "account", "containerName": "container"}
    server.answer = lambda request: Answer(body={"name": "d", "properties": told})
    backend = backend_of("azureml://s/g/w", context, environment={"TOKEN": TOKEN})
    assert backend.datastores.container("d").address == f"https://account.{host}/container"
