"""``terraform/examples/both/with_other_cloud.py``: a job of one cloud that is signed in to the other."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "terraform/examples/both/with_other_cloud.py"
UNTIL_SECOND = """
import os, sys, time
while open(os.environ["TOKEN_FILE"]).read() != "second":
    time.sleep(0.01)
sys.exit(7)
"""


@pytest.fixture
def script() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


def test_the_command_reads_each_new_token_and_gives_its_status(script: dict[str, Any]) -> None:
    tokens = iter(("first", "second"))

    def token(environment: object) -> str:
        return next(tokens, "second")

    status = script["run"](
        [sys.executable, "-c", UNTIL_SECOND], {}, variable="TOKEN_FILE", token=token, renewal_s=0.1
    )

    assert status == 7


def test_aws_is_asked_as_its_service_model_wants(
    script: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3
    from botocore.stub import Stubber

    client = boto3.client("sts", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")
    wanted = {"Audience": ["api://x"], "SigningAlgorithm": "RS256", "DurationSeconds": 3600}
    monkeypatch.setattr(boto3, "client", lambda service: client)

    with Stubber(client) as stub:
        stub.add_response("get_web_identity_token", {"WebIdentityToken": "signed"}, wanted)

        assert script["token_of_aws"]({"TOKEN_AUDIENCE": "api://x"}) == "signed"


def test_entra_is_asked_for_the_application(script: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.core.credentials import AccessToken
    from azure.identity import ManagedIdentityCredential

    asked: list[str] = []

    def get_token(self: ManagedIdentityCredential, scope: str) -> AccessToken:
        asked.append(scope)
        return AccessToken("signed", 0)

    monkeypatch.setattr(ManagedIdentityCredential, "get_token", get_token)

    found = script["token_of_entra"]({"AZURE_CLIENT_ID": "me", "TOKEN_AUDIENCE": "api://x"})

    assert (found, asked) == ("signed", ["api://x/.default"])


def test_without_an_audience_it_tells_how_it_is_used(
    script: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOKEN_AUDIENCE", raising=False)

    with pytest.raises(SystemExit, match="usage"):
        script["main"]()
