"""Who signs in to storage: one credential, a token for each service, and never the token of a job."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from trackbridge.errors import ConfigError
from trackbridge.ports.adapter import AdapterContext
from trackbridge_adapters.azureml.errors import refusal_hint
from trackbridge_adapters.azureml.identity import STORAGE_SCOPE, AzureTokens
from trackbridge_adapters.azureml.job import JobToken
from trackbridge_adapters.azureml.service import backend_of
from trackbridge_adapters.azureml.sign_in import WAYS

URI = "azureml://sub/group/space"
HOST = "eastus.api.azureml.ms"
NOW_MS = 1_700_000_000_000
TENANT = "00000000-0000-0000-0000-00000000000a"


class Credential:
    """Gives a token that names its scope."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get_token(self, *scopes: str) -> JobToken:
        self.asked.append(scopes[0])
        return JobToken(f"token for {scopes[0]}", NOW_MS // 1000 + 3600)


def context(tmp_path: Path, **options: str) -> AdapterContext:
    return AdapterContext(home=tmp_path, clock_ms=lambda: NOW_MS, options=options)


def test_each_service_has_a_token_of_its_own_from_one_credential() -> None:
    made: list[Credential] = []

    def make() -> Credential:
        made.append(Credential())
        return made[-1]

    tokens = AzureTokens(make, "https://management.azure.com/.default", lambda: NOW_MS)
    storage = tokens.beside(STORAGE_SCOPE)
    assert tokens.beside(STORAGE_SCOPE) is storage
    assert storage.dated() == (f"token for {STORAGE_SCOPE}", NOW_MS / 1000 + 3600)
    assert tokens.current() == "token for https://management.azure.com/.default"
    storage.current()
    assert len(made) == 1
    assert made[0].asked == [STORAGE_SCOPE, "https://management.azure.com/.default"]


def test_a_datastore_without_a_secret_is_opened_by_the_credential(tmp_path: Path) -> None:
    credential = Credential()
    backend = backend_of(URI, context(tmp_path), credential=credential, environment={})
    assert backend.datastores._token is not None
    assert backend.datastores._token()[0] == f"token for {STORAGE_SCOPE}"


def test_a_jobs_token_is_not_for_storage(tmp_path: Path) -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": NOW_MS // 1000 + 600}).encode()).decode()
    long = f"azureml://{HOST}/mlflow/v1.0/subscriptions/sub/resourceGroups/group"
    uri = f"{long}/providers/Microsoft.MachineLearningServices/workspaces/space"
    environment = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_RUN_ID": "r", "MLFLOW_TRACKING_TOKEN": f"x.{claims}.x"}
    backend = backend_of(uri, context(tmp_path), environment=environment)
    assert backend.service.platform_run == "r"
    assert backend.datastores._token is None


def test_a_given_token_is_not_for_storage(tmp_path: Path) -> None:
    given: dict[str, Any] = {"environment": {"TOKEN": "secret"}}
    backend = backend_of(URI, context(tmp_path, token_env="TOKEN"), **given)
    assert backend.datastores._token is None


@pytest.mark.parametrize("option", ["artifacts", "blob_endpoint"])
def test_a_wrong_option_is_told(option: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=option):
        backend_of(URI, context(tmp_path, **{option: "http://example.com"}), environment={})


@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        (
            "InvalidAuthenticationTokenTenant",
            "The access token is from the wrong issuer 'https://sts.windows.net/b/'. It must match the "
            f"tenant 'https://sts.windows.net/{TENANT}/' associated with this subscription.",
            f"az login --tenant {TENANT}",
        ),
        ("InvalidAuthenticationTokenTenant", "no tenant is named", "az login --tenant TENANT"),
        ("AuthorizationFailed", "does not have authorization", "AzureML Data Scientist"),
    ],
)
def test_what_to_do_names_the_tenant(code: str, message: str, hint: str) -> None:
    assert hint in refusal_hint(code, message, 403, WAYS["default"])
