"""The key vault of the emulated workspace: values for those with a token for vaults, and with the right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.azureml_calls import Rig
from trackbridge.testing.emulators.azureml.vaults import AUDIENCE
from trackbridge.testing.emulators.listener import Arrived


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.cloud.close()


def ask(
    rig: Rig, method: str, path: str, body: Any = None, *, audience: str = AUDIENCE, host: str = "keyvault"
) -> tuple[int, Any]:
    token = rig.cloud.issuer.issue(audience=audience).token
    headers = {"Host": f"{host}.vault.azure.net", "Authorization": f"Bearer {token}"}
    content = b"" if body is None else json.dumps(body).encode()
    sent = rig.services.answer(Arrived(method, f"{path}?api-version=7.4", headers, content, True))
    assert isinstance(sent.body, bytes)
    return sent.status, json.loads(sent.body)


def test_a_secret_has_versions(rig: Rig) -> None:
    for value in ("first", "second"):
        assert ask(rig, "PUT", "/secrets/token", {"value": value})[0] == 200

    status, found = ask(rig, "GET", "/secrets/token")
    _, versions = ask(rig, "GET", "/secrets/token/versions")

    assert (status, found["value"]) == (200, "second")
    assert found["id"].startswith("https://keyvault.vault.azure.net/secrets/token/")
    assert [sorted(item) for item in versions["value"]] == [["attributes", "id"]] * 2, "no value is told"


def test_what_is_not_there_is_not_found(rig: Rig) -> None:
    status, told = ask(rig, "GET", "/secrets/none")

    assert (status, told["error"]["code"]) == (404, "SecretNotFound")
    assert ask(rig, "GET", "/secrets/none/versions") == (200, {"value": [], "nextLink": None})
    assert ask(rig, "GET", "/secrets/none", host="another")[0] == 404


def test_a_token_for_azure_ml_opens_no_vault(rig: Rig) -> None:
    status, told = ask(rig, "GET", "/secrets/none", audience="https://management.azure.com")

    assert (status, told["error"]["code"]) == (401, "InvalidAuthenticationTokenAudience")


def test_reading_a_value_is_a_right_of_its_own(rig: Rig) -> None:
    ask(rig, "PUT", "/secrets/token", {"value": "x"})
    rig.permissions.discard("secrets")

    assert ask(rig, "GET", "/secrets/token")[0] == 403
    assert ask(rig, "GET", "/secrets/token/versions")[0] == 200
