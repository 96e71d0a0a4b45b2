"""Signing in to the emulator under Azure's own names, by azure-identity as it is, in each of its clouds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from tests.support.azureml_emulators import azureml_emulator
from trackbridge.testing.emulators.azureml.addresses import CLOUDS
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.azureml.storage import ACCOUNT
from trackbridge.testing.emulators.azureml.tokens import CLIENT, CLIENT_PASSWORD

CALL_S = 30


@pytest.fixture(scope="module", params=[cloud.name for cloud in CLOUDS])
def cloud(request: pytest.FixtureRequest) -> Iterator[AzureMlEmulator]:
    """One of Azure's clouds, found by the environment."""
    with (
        azureml_emulator(mlflow="", azure_cloud=request.param) as emulator,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in emulator.environment().items():
            patch.setenv(name, value)
        yield emulator
        emulator.raise_failures()


def secret(cloud: AzureMlEmulator, password: str = CLIENT_PASSWORD, tenant: str = "") -> object:
    from azure.identity import ClientSecretCredential

    authority = f"https://{cloud.suffixes.login}"
    return ClientSecretCredential(tenant or cloud.cloud.tenant, CLIENT, password, authority=authority)


def asked(cloud: AzureMlEmulator, credential: object) -> str:
    """Ask Resource Manager for the workspace; returns the host of its tracking URI."""
    manager = f"https://{cloud.suffixes.resource_manager}"
    token = credential.get_token(f"{manager}/.default").token  # type: ignore[attr-defined]
    answer = requests.get(
        f"{manager}{cloud.scope}?api-version=2024-04-01",
        headers={"Authorization": f"Bearer {token}"},
        timeout=CALL_S,
    )
    return str(answer.json()["properties"]["mlFlowTrackingUri"]).split("/")[2]


def test_a_service_principal_and_a_managed_identity_are_let_in(cloud: AzureMlEmulator) -> None:
    from azure.identity import DefaultAzureCredential

    host = f"westeurope.{cloud.suffixes.service}"

    assert asked(cloud, secret(cloud)) == host
    assert asked(cloud, DefaultAzureCredential()) == host


def test_a_secret_that_is_wrong_is_told_in_entra_ids_words(cloud: AzureMlEmulator) -> None:
    with pytest.raises(Exception, match="AADSTS7000215: Invalid client secret"):
        asked(cloud, secret(cloud, "wrong"))


def test_a_tenant_that_is_not_there_is_not_found(cloud: AzureMlEmulator) -> None:
    other = "12345678-1111-2222-3333-444444444444"

    with pytest.raises(Exception, match=other):
        asked(cloud, secret(cloud, tenant=other))
    place = f"https://{cloud.suffixes.login}/{other}/v2.0/.well-known/openid-configuration"
    answer = requests.get(place, timeout=CALL_S)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_tenant")


def test_storage_takes_who_is_signed_in_under_its_own_name(cloud: AzureMlEmulator) -> None:
    from azure.identity import ManagedIdentityCredential

    cloud.cloud.storage.put("a/b", b"bytes", container="mine")
    token = ManagedIdentityCredential().get_token("https://storage.azure.com/.default").token
    place = f"https://{ACCOUNT}.blob.{cloud.suffixes.storage}/mine/a/b"
    headers = {"Authorization": f"Bearer {token}", "x-ms-version": "2021-12-02"}

    assert requests.get(place, headers=headers, timeout=CALL_S).content == b"bytes"
