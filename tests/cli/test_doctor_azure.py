"""``bridge doctor`` names the cause of what is wrong with a workspace of Azure ML, and the fix.

Under Azure's own host names, by the emulator as proxy: nothing but the URI is said of the workspace.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Bridge
from tests.support.azureml_emulators import ask, azureml_emulator
from tests.support.scripted_servers import Answer, scripted_server
from trackbridge.testing.emulators.azureml.core import SUBSCRIPTION, TENANT, WORKSPACE_NAME
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.azureml.tokens import CLIENT, CLIENT_PASSWORD, AccessToken, TokenIssuer

TEN_MINUTES_S = 600.0
NOWHERE = "http://127.0.0.1:9"
OTHER_SUBSCRIPTION = "00000000-0000-0000-0000-0000000000ff"
OTHER_TENANT = "00000000-0000-0000-0000-0000000000aa"


@pytest.fixture(scope="module")
def emulator() -> Iterator[AzureMlEmulator]:
    """A workspace whose MLflow server says that there is nothing."""
    with scripted_server() as mlflow, azureml_emulator(mlflow=mlflow.url) as emulator:
        mlflow.answer = lambda request: Answer(
            body=b"{}", headers={"Date": formatdate(time.time(), usegmt=True)}
        )
        yield emulator


@pytest.fixture
def azure(
    emulator: AzureMlEmulator, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AzureMlEmulator]:
    emulator.reset()
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    yield emulator
    emulator.raise_failures()


def looked_at(bridge: Bridge, uri: str, *, code: int) -> dict[str, dict[str, Any]]:
    """Return what is wrong, by subject; the first of each."""
    wrong: dict[str, dict[str, Any]] = {}
    for item in bridge("doctor", uri, "--json", code=code).objects[:-1]:
        if item["severity"] != "ok":
            assert item["fix"], item
            wrong.setdefault(item["subject"], item)
    return wrong


def remote(bridge: Bridge, azure: AzureMlEmulator, uri: str | None = None, **options: str) -> str:
    """Make a remote with options, and return its name."""
    given = [part for name, value in options.items() for part in ("--option", f"{name}={value}")]
    bridge("remotes", "add", "azure", uri or azure.uri, *given)
    return "azure"


def test_all_is_well(bridge: Bridge, azure: AzureMlEmulator) -> None:
    assert looked_at(bridge, azure.uri, code=0) == {}
    found = {item["subject"]: item for item in bridge("doctor", azure.uri, "--json").objects[:-1]}
    assert found["credentials"]["message"] == f"signed in to the tenant {TENANT}"
    assert found["workspace"]["message"] == f"{WORKSPACE_NAME} is at westeurope.api.azureml.ms"
    assert found["storage"]["message"] == "the datastore workspaceblobstore lets us read"


def test_a_token_of_another_tenant(
    bridge: Bridge, azure: AzureMlEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER", azure.cloud.issuer.issue(tenant=OTHER_TENANT).token)
    wrong = looked_at(bridge, remote(bridge, azure, token_env="OTHER"), code=6)
    assert "wrong issuer" in wrong["credentials"]["message"]
    assert f"put one of the tenant {TENANT} into OTHER" in wrong["credentials"]["fix"]


@pytest.mark.parametrize("is_long", [False, True])
def test_a_subscription_that_is_not_seen(is_long: bool, bridge: Bridge, azure: AzureMlEmulator) -> None:
    uri = f"azureml://westeurope.api.azureml.ms/mlflow/v1.0{azure.scope}" if is_long else azure.uri
    wrong = looked_at(bridge, uri.replace(SUBSCRIPTION, OTHER_SUBSCRIPTION), code=1)
    message = wrong["subscription"]["message"]
    assert f"does not see the subscription {OTHER_SUBSCRIPTION}" in message
    assert f"there is Emulated subscription ({SUBSCRIPTION})" in message
    assert "az login --tenant" in wrong["subscription"]["fix"]


def test_a_group_and_a_workspace_that_are_not_there(bridge: Bridge, azure: AzureMlEmulator) -> None:
    wrong = looked_at(bridge, azure.uri.replace("test-group", "other-group"), code=1)
    assert "az group list" in wrong["backend"]["fix"]
    wrong = looked_at(bridge, f"{azure.uri}-other", code=1)
    assert "az ml workspace list" in wrong["backend"]["fix"]


def test_a_missing_role(bridge: Bridge, azure: AzureMlEmulator) -> None:
    azure.permissions.clear()
    wrong = looked_at(bridge, azure.uri, code=6)
    assert "does not have authorization to perform action" in wrong["credentials"]["message"]
    assert "AzureML Data Scientist" in wrong["credentials"]["fix"]


def test_a_role_that_may_not_list_secrets(bridge: Bridge, azure: AzureMlEmulator) -> None:
    azure.permissions.discard("secrets")
    wrong = looked_at(bridge, azure.uri, code=0)
    assert list(wrong) == ["storage"]
    assert wrong["storage"]["severity"] == "warning"
    assert "listSecrets" in wrong["storage"]["message"]
    assert "AzureML Data Scientist" in wrong["storage"]["fix"]


def test_an_account_that_lets_nobody_in(
    bridge: Bridge, azure: AzureMlEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure.cloud, "signature_seconds", -60.0)  # what is handed out has expired
    wrong = looked_at(bridge, azure.uri, code=0)
    assert "does not let us in" in wrong["storage"]["message"]
    assert "firewall" in wrong["storage"]["fix"]
    assert "sig=" not in str(wrong)


def test_a_datastore_that_keeps_no_secret(
    bridge: Bridge, azure: AzureMlEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    datastore = azure.cloud.resources.get(f"{azure.scope}/datastores/workspaceblobstore")
    assert datastore is not None
    datastore["properties"]["credentials"] = {"credentialsType": "None"}
    assert ask(azure, "POST", "datastores/workspaceblobstore/listSecrets").status == 400
    assert looked_at(bridge, azure.uri, code=0) == {}  # who signs in may read the account

    issue = azure.cloud.issuer.issue

    def issue_for_others(*, audience: str, **named: Any) -> AccessToken:
        others = TokenIssuer(tenant=OTHER_TENANT, seconds=3600.0, now_s=azure.cloud.now_s)
        return (others.issue if "storage" in audience else issue)(audience=audience, **named)

    monkeypatch.setattr(azure.cloud.issuer, "issue", issue_for_others)
    wrong = looked_at(bridge, azure.uri, code=0)
    assert "does not let us in" in wrong["storage"]["message"]
    assert "Storage Blob Data Contributor" in wrong["storage"]["fix"]


def test_an_expired_token(bridge: Bridge, azure: AzureMlEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLD", azure.cloud.issuer.issue(seconds=-60).token)
    wrong = looked_at(bridge, remote(bridge, azure, token_env="OLD"), code=6)
    assert "expiry" in wrong["credentials"]["message"]
    assert "put a new one into OLD" in wrong["credentials"]["fix"]


def test_an_expired_token_in_a_file(bridge: Bridge, azure: AzureMlEmulator, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(azure.cloud.issuer.issue(seconds=-60).token)
    wrong = looked_at(bridge, remote(bridge, azure, token_file=str(file)), code=6)
    assert f"put a new one into the file {file}" in wrong["credentials"]["fix"]
    assert "az login" not in str(wrong)


def test_a_token_of_a_variable_that_sees_other_subscriptions(
    bridge: Bridge, azure: AzureMlEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", azure.cloud.issuer.issue().token)
    uri = azure.uri.replace(SUBSCRIPTION, OTHER_SUBSCRIPTION)
    wrong = looked_at(bridge, remote(bridge, azure, uri, token_env="MINE"), code=1)
    assert "put one of the tenant TENANT into MINE" in wrong["subscription"]["fix"]
    assert "az login" not in str(wrong)


def test_storage_that_a_given_token_does_not_open(
    bridge: Bridge, azure: AzureMlEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    datastore = azure.cloud.resources.get(f"{azure.scope}/datastores/workspaceblobstore")
    assert datastore is not None
    datastore["properties"]["credentials"] = {"credentialsType": "None"}
    monkeypatch.setenv("MINE", azure.cloud.issuer.issue().token)
    wrong = looked_at(bridge, remote(bridge, azure, token_env="MINE"), code=0)
    assert "az login" not in str(wrong)
    assert "option sign_in" in wrong["storage"]["fix"]


def test_nobody_is_signed_in(bridge: Bridge, azure: AzureMlEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    wrong = looked_at(bridge, azure.uri, code=6)
    assert "not signed in to Azure" in wrong["credentials"]["message"]


@pytest.mark.parametrize(
    ("name", "value", "problem", "fix"),
    [
        ("AZURE_CLIENT_SECRET", "wrong", "AADSTS7000215", "the client secret is wrong or has expired"),
        ("AZURE_CLIENT_ID", OTHER_TENANT, "AADSTS700016", "check the tenant: az login --tenant"),
        ("AZURE_TENANT_ID", OTHER_TENANT, OTHER_TENANT, "check the tenant: az login --tenant"),
        ("AZURE_TENANT_ID", TENANT, "", ""),
    ],
)
def test_a_service_principal(
    name: str,
    value: str,
    problem: str,
    fix: str,
    bridge: Bridge,
    azure: AzureMlEmulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    principal = {
        "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_CLIENT_SECRET": CLIENT_PASSWORD,
        "AZURE_TENANT_ID": TENANT,
    }
    for variable, given in {**principal, name: value}.items():
        monkeypatch.setenv(variable, given)
    wrong = looked_at(bridge, azure.uri, code=6 if problem else 0)
    if problem:
        assert problem in wrong["credentials"]["message"]
        assert fix in wrong["credentials"]["fix"]
        assert CLIENT_PASSWORD not in str(wrong)


def test_a_wrong_clock(bridge: Bridge, azure: AzureMlEmulator) -> None:
    azure.cloud.clock.advance(TEN_MINUTES_S)
    wrong = looked_at(bridge, azure.uri, code=1)
    assert "behind" in wrong["clock"]["message"]
    assert "set the clock" in wrong["clock"]["fix"]


def test_a_uri_of_another_region(bridge: Bridge, azure: AzureMlEmulator) -> None:
    uri = f"azureml://northeurope.api.azureml.ms/mlflow/v1.0{azure.scope}"
    wrong = looked_at(bridge, uri, code=1)
    assert "is at westeurope.api.azureml.ms" in wrong["workspace"]["message"]
    assert azure.uri in wrong["workspace"]["fix"]


def test_a_host_that_nobody_answers_at(bridge: Bridge, azure: AzureMlEmulator) -> None:
    name = remote(bridge, azure, arm_endpoint=NOWHERE, endpoint=NOWHERE)
    wrong = looked_at(bridge, name, code=1)
    assert list(wrong) == ["backend"]
    assert "cannot be reached" in wrong["backend"]["message"]
