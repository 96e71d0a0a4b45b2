"""A job of Azure ML is one run; its token goes to its own workspace on a host of Azure, and nowhere else."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from trackbridge.errors import AuthError
from trackbridge.testing.emulators.azureml.tokens import AccessToken, TokenIssuer
from trackbridge_adapters.azureml.config import Workspace
from trackbridge_adapters.azureml.job import job_credential, platform_run_of

HOST = "westeurope.api.azureml.ms"
SCOPE = "/subscriptions/S/resourceGroups/G/providers/Microsoft.MachineLearningServices/workspaces/W"
HERE = Workspace("S", "G", "W", HOST)
URI = f"azureml://{HOST}/mlflow/v1.0{SCOPE}"
JOB = {
    "AZUREML_RUN_ID": "dreamy_board",
    "AZUREML_ARM_SUBSCRIPTION": "S",
    "AZUREML_ARM_RESOURCEGROUP": "G",
    "AZUREML_ARM_WORKSPACE_NAME": "W",
    "MLFLOW_TRACKING_URI": URI,
    "MLFLOW_RUN_ID": "dreamy_board",
    "MLFLOW_EXPERIMENT_ID": "e1",
    "MLFLOW_TRACKING_TOKEN": "the job's",
}
MINIMAL = {"MLFLOW_TRACKING_URI": URI, "MLFLOW_RUN_ID": "dreamy_board"}


class History:
    """The run history, which renews tokens; notes who asked."""

    def __init__(self, *tokens: str) -> None:
        self.asked: list[tuple[str, str]] = []
        self.tokens = list(tokens)

    def __call__(self, token: str) -> Any:
        self.token = token
        return self

    def request(self, method: str, url: str) -> requests.Response:
        self.asked.append((self.token, url))
        answer = requests.Response()
        answer.status_code = 200 if self.tokens else 403
        answer._content = json.dumps({"token": self.tokens.pop(0)} if self.tokens else {}).encode()
        return answer

    def close(self) -> None:
        """Close nothing."""


def issued(seconds: float = 3600.0) -> AccessToken:
    return TokenIssuer(tenant="t", seconds=seconds).issue()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (JOB, "dreamy_board"),
        (MINIMAL, "dreamy_board"),
        ({**JOB, "MLFLOW_RUN_ID": "another"}, "dreamy_board"),
        ({}, None),
        ({"MLFLOW_RUN_ID": "dreamy_board"}, None),
        ({**MINIMAL, "MLFLOW_TRACKING_URI": "http://mlflow.example"}, None),
        ({**JOB, "AZUREML_ARM_WORKSPACE_NAME": "other"}, None),
        ({**MINIMAL, "MLFLOW_TRACKING_URI": URI.replace("/W", "/other")}, None),
    ],
)
def test_the_run_of_the_job(environment: dict[str, str], expected: str | None) -> None:
    assert platform_run_of(HERE, environment) == expected


@pytest.mark.parametrize(
    ("workspace", "environment"),
    [
        (HERE, {**JOB, "MLFLOW_TRACKING_TOKEN": ""}),
        (HERE, {}),
        (Workspace("S", "G", "other", HOST), JOB),
        (Workspace("S", "G", "W"), JOB),
        (
            Workspace("S", "G", "W", "evil.example"),
            {**JOB, "MLFLOW_TRACKING_URI": URI.replace(HOST, "evil.example")},
        ),
        (Workspace("S", "G", "W", "eastus.api.azureml.ms"), JOB),
    ],
)
def test_the_jobs_token_is_for_its_own_workspace(workspace: Workspace, environment: dict[str, str]) -> None:
    assert job_credential(workspace, environment, History(), lambda: f"https://{HOST}/history") is None


def test_the_token_is_renewed_with_the_one_before() -> None:
    first, second, third = issued(30), issued(60), issued(90)
    history = History(second.token, third.token)
    environment = {**JOB, "MLFLOW_TRACKING_TOKEN": first.token}
    credential = job_credential(HERE, environment, history, lambda: f"https://{HOST}/history/v1.0{SCOPE}")
    assert credential is not None
    given = [credential.get_token("scope") for _ in range(3)]
    assert [token.token for token in given] == [first.token, second.token, third.token]
    assert [token.expires_on for token in given] == [token.expires_on for token in (first, second, third)]
    url = f"https://{HOST}/history/v1.0{SCOPE}/experimentids/e1/runs/dreamy_board/token"
    assert history.asked == [(first.token, url), (second.token, url)]
    assert first.token not in repr(given[0])


def test_a_renewal_that_is_refused_is_told() -> None:
    environment = {**JOB, "MLFLOW_TRACKING_TOKEN": issued().token}
    credential = job_credential(HERE, environment, History(), lambda: f"https://{HOST}/history")
    assert credential is not None
    credential.get_token("scope")
    with pytest.raises(AuthError, match="was not renewed") as told:
        credential.get_token("scope")
    assert "identity: managed" in (told.value.hint or "")


def test_the_token_is_never_sent_to_another_host() -> None:
    history = History(issued().token)
    environment = {**JOB, "MLFLOW_TRACKING_TOKEN": "opaque"}
    credential = job_credential(HERE, environment, history, lambda: "https://evil.example/history")
    assert credential is not None
    with pytest.raises(AuthError, match="not Azure's"):
        credential.get_token("scope")
    assert history.asked == []
