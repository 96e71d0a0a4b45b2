"""What the bootstrap asks on a machine of Azure ML: which machine it is, its token, secrets of the vault."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.scripted_servers import Answer, Request, ScriptedServer, scripted_server
from trackbridge_adapters.azureml import jobs_hooks
from trackbridge_adapters.azureml.config import Workspace
from trackbridge_adapters.azureml.job import kept_variables, with_host_of_job

HOST = "westeurope.api.azureml.ms"
SCOPE = "/subscriptions/S/resourceGroups/G/providers/Microsoft.MachineLearningServices/workspaces/W"
URI = f"azureml://{HOST}/mlflow/v1.0{SCOPE}"
NAMES = ("MSI_ENDPOINT", "MSI_SECRET", "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "DEFAULT_IDENTITY_CLIENT_ID")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as made:
        yield made


@pytest.fixture(autouse=True)
def _no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, "RANK", "WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)


def vault_and_identity(request: Request) -> Answer:
    """Answer as an identity endpoint and as a vault that knows its token."""
    if urlsplit(request.path).path == "/token":
        return Answer(body={"access_token": "t0ken", "expires_on": "1"})
    if request.headers.get("Authorization") != "Bearer t0ken":
        return Answer(status=401)
    return Answer(body={"value": "s3cret", "id": "x"})


@pytest.mark.parametrize("client", ["", "an-identity"])
@pytest.mark.parametrize(
    ("variables", "header", "version", "member"),
    [
        ({"MSI_ENDPOINT": "{}/token", "MSI_SECRET": "h"}, "secret", "2017-09-01", "clientid"),
        (
            {"IDENTITY_ENDPOINT": "{}/token", "IDENTITY_HEADER": "h"},
            "X-IDENTITY-HEADER",
            "2019-08-01",
            "client_id",
        ),
    ],
    ids=["machine learning", "app service"],
)
def test_a_secret_is_read_with_the_identity_of_the_machine(
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    header: str,
    version: str,
    member: str,
    client: str,
) -> None:
    server.answer = vault_and_identity
    monkeypatch.setenv("BRIDGE_AZUREML_VAULT", server.url)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(server.url))
    if client:
        monkeypatch.setenv("DEFAULT_IDENTITY_CLIENT_ID", client)

    assert jobs_hooks.secret("keyvault:my-token") == "s3cret"

    asked, got = server.requests
    query = parse_qs(urlsplit(asked.path).query)
    sent = {name.lower(): value for name, value in asked.headers.items()}
    assert (query["api-version"], query.get(member)) == ([version], [client] if client else None)
    assert sent[header.lower()] == "h"
    assert got.path == "/secrets/my-token?api-version=7.4"


def test_a_machine_without_variables_asks_the_machines_own_address(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer = vault_and_identity
    monkeypatch.setattr(jobs_hooks, "MACHINE_IDENTITY", f"{server.url}/token")
    monkeypatch.setenv("BRIDGE_AZUREML_VAULT", server.url)

    assert jobs_hooks.secret("keyvault:a") == "s3cret"
    assert server.requests[0].headers["Metadata"] == "true"


def test_the_token_is_for_the_vaults_of_the_cloud(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def token(resource: str) -> str:
        asked.append(resource)
        return "t0ken"

    monkeypatch.setattr(jobs_hooks, "_token", token)
    monkeypatch.setattr(jobs_hooks, "_answer", lambda url, headers: {"value": url})
    monkeypatch.setenv("BRIDGE_AZUREML_VAULT", "https://mine.vault.azure.cn")

    assert jobs_hooks.secret("keyvault:a") == "https://mine.vault.azure.cn/secrets/a?api-version=7.4"
    assert asked == ["https://vault.azure.cn"]


def test_a_refusal_is_told_without_the_token(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer = lambda request: Answer(status=403, body="Bearer t0ken")
    monkeypatch.setenv("MSI_ENDPOINT", f"{server.url}/token")
    monkeypatch.setenv("MSI_SECRET", "h1dden")
    monkeypatch.setenv("BRIDGE_AZUREML_VAULT", server.url)

    with pytest.raises(OSError, match="answered 403") as caught:
        jobs_hooks.secret("keyvault:a")

    assert "t0ken" not in str(caught.value)
    assert "h1dden" not in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, {}),
        (
            {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "10.0.0.4", "MASTER_PORT": "6105"},
            {"rank": 1, "count": 2, "main_address": "10.0.0.4", "main_port": 6105},
        ),
        (
            {
                "OMPI_COMM_WORLD_RANK": "3",
                "OMPI_COMM_WORLD_SIZE": "4",
                "AZ_BATCHAI_MPI_MASTER_NODE": "10.0.0.5",
            },
            {"rank": 3, "count": 4, "main_address": "10.0.0.5", "main_port": 29500},
        ),
    ],
    ids=["one", "pytorch", "mpi"],
)
def test_the_distribution_tells_which_machine_it_is(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], told: dict[str, object]
) -> None:
    monkeypatch.delenv("MASTER_PORT", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert jobs_hooks.machines() == told


def test_what_azure_has_set_is_kept_for_our_own_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"MLFLOW_TRACKING_URI": URI, "MLFLOW_TRACKING_TOKEN": "t0ken", "MLFLOW_RUN_ID": "job"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)

    program = {"MLFLOW_TRACKING_URI": "bridge:", **jobs_hooks.variables()}

    assert kept_variables(program).items() >= given.items()
    assert kept_variables({"MLFLOW_TRACKING_URI": "bridge:"}) == {"MLFLOW_TRACKING_URI": "bridge:"}


def test_the_short_address_of_the_jobs_workspace_has_the_jobs_host() -> None:
    short = Workspace("s", "g", "w")

    assert with_host_of_job(short, {"MLFLOW_TRACKING_URI": URI}).host == HOST
    assert with_host_of_job(Workspace("s", "g", "other"), {"MLFLOW_TRACKING_URI": URI}).host is None
    assert with_host_of_job(short, {}) is short
    named = Workspace("s", "g", "w", "eastus.api.azureml.ms")
    assert with_host_of_job(named, {"MLFLOW_TRACKING_URI": URI}) is named
