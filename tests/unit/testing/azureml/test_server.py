"""What the emulator checks of a request, how it refuses, and how it is reached under Azure's own names."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.azureml_emulators import ask
from trackbridge.testing.emulators.azureml.core import GROUP, SUBSCRIPTION
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.azureml.slow_operations import SlowOperations

MODEL = {
    "properties": {
        "modelType": "custom_model",
        "modelUri": "azureml://datastores/workspaceblobstore/paths/m/",
    }
}
CALL_S = 30


def proxied(azure: AzureMlEmulator) -> requests.Session:
    """Return a session as a program has it that was given the emulator's environment."""
    session = requests.Session()
    session.trust_env = False
    session.proxies = {"https": azure.environment()["HTTPS_PROXY"]}
    session.verify = azure.environment()["REQUESTS_CA_BUNDLE"]
    session.headers["Authorization"] = f"Bearer {azure.cloud.issuer.issue().token}"
    return session


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("", "AuthenticationFailed"),
        ("a.b.c", "InvalidAuthenticationToken"),
        ("\u20ac", "InvalidAuthenticationToken"),
    ],
)
def test_nobody_is_answered_without_a_token(azure: AzureMlEmulator, token: str, code: str) -> None:
    told = ask(azure, "GET", "", token=token.encode().decode("latin-1"))

    assert (told.status, told.code) == (401, code)
    assert "WWW-Authenticate" in told.headers


def test_a_token_must_be_for_azure_of_this_tenant_and_not_expired(azure: AzureMlEmulator) -> None:
    issue = azure.cloud.issuer.issue
    tokens = (
        issue(audience="https://graph.microsoft.com"),
        issue(tenant="other"),
        issue(seconds=-1),
    )

    codes = [ask(azure, "GET", "", token=token.token).code for token in tokens]

    assert codes == [
        "InvalidAuthenticationTokenAudience",
        "InvalidAuthenticationTokenTenant",
        "ExpiredAuthenticationToken",
    ]
    assert ask(azure, "GET", "", token=issue(audience="https://ml.azure.com").token).status == 200


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (
            "/subscriptions/other/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w",
            "SubscriptionNotFound",
        ),
        (
            f"/subscriptions/{SUBSCRIPTION}/resourceGroups/other/providers/Microsoft.MachineLearningServices/workspaces/w",
            "ResourceGroupNotFound",
        ),
        (
            f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.MachineLearningServices"
            "/workspaces/other/models",
            "ResourceNotFound",
        ),
        (f"/subscriptions/{SUBSCRIPTION}/nothing", "ResourceNotFound"),
    ],
)
def test_what_is_not_there_is_told_as_resource_manager_does(
    azure: AzureMlEmulator, path: str, code: str
) -> None:
    told = ask(azure, "GET", path)

    assert (told.status, told.code) == (404, code)


def test_an_api_version_must_be_named_and_published(azure: AzureMlEmulator) -> None:
    assert ask(azure, "GET", "", version="").code == "MissingApiVersionParameter"
    unknown = ask(azure, "GET", "", version="2019-13-13")
    assert (unknown.status, unknown.code) == (400, "InvalidApiVersionParameter")
    assert "2024-04-01" in unknown.message


def test_paths_are_compared_without_case_and_names_stay_as_written(azure: AzureMlEmulator) -> None:
    lower = ask(azure, "GET", azure.scope.lower())

    assert lower.status == 200
    assert lower.content["id"] == azure.scope


def test_a_body_is_held_against_the_published_shape_before_anything_is_done(azure: AzureMlEmulator) -> None:
    told = ask(azure, "PUT", "models/m/versions/1", {"properties": {"tags": [1]}})
    named = ask(azure, "PUT", f"models/{'m' * 256}/versions/1", MODEL)

    assert (told.status, told.content["error"]["details"][0]["target"]) == (400, "properties.tags")
    assert (named.status, named.content["error"]["details"][0]["target"]) == (400, "name")
    assert ask(azure, "GET", "models").content["value"] == []


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_is_refused(azure: AzureMlEmulator, body: bytes) -> None:
    token = azure.cloud.issuer.issue().token
    answer = requests.put(
        f"{azure.url}{azure.scope}/models/m/versions/1?api-version=2024-04-01",
        data=body,
        headers={"Authorization": f"Bearer {token}"},
        timeout=CALL_S,
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidRequestContent")


def test_a_right_that_is_taken_away_is_missed_by_what_needs_it(azure: AzureMlEmulator) -> None:
    azure.permissions.discard("write")
    told = ask(azure, "PUT", "models/m/versions/1", MODEL)
    azure.permissions.discard("secrets")
    secrets = ask(azure, "POST", "datastores/workspaceblobstore/listSecrets", {})

    assert (told.status, told.code) == (403, "AuthorizationFailed")
    assert (secrets.status, secrets.code) == (403, "AuthorizationFailed")
    assert ask(azure, "GET", "models").status == 200


def test_throttling_says_when_to_come_again_and_ends(azure: AzureMlEmulator) -> None:
    azure.throttle("GET */models", times=2)

    answers = [ask(azure, "GET", "models") for _ in range(3)]

    assert [answer.status for answer in answers] == [429, 429, 200]
    assert answers[0].headers["Retry-After"] == "1"


def test_an_answer_that_is_lost_was_done_all_the_same(azure: AzureMlEmulator) -> None:
    azure.faults.fail("PUT */models/*", after=True)

    assert ask(azure, "PUT", "models/m/versions/1", MODEL).status == 500
    assert ask(azure, "GET", "models/m/versions/1").status == 200


def test_a_slow_operation_is_followed_from_its_headers_to_its_end(azure: AzureMlEmulator) -> None:
    azure.cloud.clock.stop()
    begun = ask(azure, "DELETE", "")
    status = begun.headers["Azure-AsyncOperation"].removeprefix(azure.url)
    path, _, version = status.partition("?api-version=")

    assert begun.status == 202
    assert ask(azure, "GET", path, version=version).content["status"] == "InProgress"
    azure.cloud.clock.advance(60)
    done = ask(azure, "GET", path, version=version).content
    assert (done["status"], "endTime" in done) == ("Succeeded", True)


def test_a_slow_operation_fails_on_demand_and_tells_why(azure: AzureMlEmulator) -> None:
    azure.cloud.clock.stop()
    azure.cloud.part(SlowOperations).fail("*/workspaces/*", code="QuotaExceeded", message="no more")
    begun = ask(azure, "DELETE", "")
    azure.cloud.clock.advance(60)

    path, _, version = (
        begun.headers["Azure-AsyncOperation"].removeprefix(azure.url).partition("?api-version=")
    )
    told = ask(azure, "GET", path, version=version).content

    assert (told["status"], told["error"]["code"]) == ("Failed", "QuotaExceeded")


def test_azures_own_names_lead_here_through_the_proxy_with_the_certificate(azure: AzureMlEmulator) -> None:
    with proxied(azure) as session:
        found = session.get(
            f"https://management.azure.com{azure.scope}?api-version=2024-04-01", timeout=CALL_S
        ).json()

    assert found["properties"]["mlFlowTrackingUri"].startswith(
        "azureml://westeurope.api.azureml.ms/mlflow/v1.0/"
    )


def test_a_client_that_comes_directly_is_told_addresses_of_this_machine(azure: AzureMlEmulator) -> None:
    found = ask(azure, "GET", "").content

    assert found["properties"]["mlFlowTrackingUri"].startswith(
        f"azureml://{azure.url.removeprefix('http://')}/"
    )


@pytest.mark.parametrize("host", ["example.com", "management.azure.com.example.com", "blob.core.windows.net"])
def test_hosts_that_are_not_azures_are_refused_by_the_proxy(azure: AzureMlEmulator, host: str) -> None:
    with proxied(azure) as session, pytest.raises(requests.exceptions.ProxyError):
        session.get(f"https://{host}/", timeout=CALL_S)


def test_a_proxy_that_leads_on_leads_to_all_but_microsofts_hosts() -> None:
    leading = AzureMlEmulator(leads_on=True)
    assert leading._tunnel("example.com", 443) == ("example.com", 443)
    for host in ("blob.core.windows.net", "graph.microsoft.com", "westeurope.azure.com"):
        assert leading._tunnel(host, 443) is None


def test_the_certificate_is_trusted_only_by_who_is_told_of_it(azure: AzureMlEmulator) -> None:
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{azure.tls_url}/", timeout=CALL_S)

    answer = requests.get(f"{azure.tls_url}/", verify=str(azure.certificates.authority), timeout=CALL_S)
    assert answer.status_code == 401


def test_only_this_machine_is_listened_to(azure: AzureMlEmulator) -> None:
    ports = [
        int(url.rpartition(":")[2]) for url in (azure.url, azure.tls_url, azure.blob_url, azure.blob_tls_url)
    ]
    assert len(set(ports)) == 4
    for port in ports:
        # Of this machine as well, and reached by whoever listens at all of its addresses.
        with pytest.raises(OSError, match=r"refused|timed out|assign"):
            socket.create_connection(("127.0.0.2", port), timeout=2)


def test_a_fault_of_the_emulator_is_told_as_500_and_kept(azure: AzureMlEmulator, monkeypatch: Any) -> None:
    def broken(*arguments: Any) -> Any:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(azure.cloud.resources, "get", broken)
    told = ask(azure, "GET", "")
    monkeypatch.undo()

    assert (told.status, told.code) == (500, "InternalServerError")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        azure.raise_failures()
    azure.reset()


def test_a_reset_leaves_the_workspace_and_nothing_else(azure: AzureMlEmulator) -> None:
    ask(azure, "PUT", "models/m/versions/1", MODEL)
    azure.cloud.storage.put("a/b", b"bytes")
    azure.cloud.issuer.seconds = azure.cloud.storage.signature_seconds = azure.cloud.pace = -1
    azure.permissions.clear()
    azure.throttle()
    azure.reset()

    assert ask(azure, "GET", "models").content["value"] == []
    assert azure.cloud.storage.signature_seconds == 3600
    assert azure.cloud.storage.blobs() == []
    assert ask(azure, "GET", "").status == 200


def test_nothing_of_it_is_left_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with AzureMlEmulator(mlflow="") as emulator:
        assert ask(emulator, "GET", "").status == 200

    assert list(tmp_path.iterdir()) == []
