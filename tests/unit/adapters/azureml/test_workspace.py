"""Where a workspace is, and what ``bridge doctor`` finds wrong: each cause by its name, with its fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.azureml_emulators import azureml_emulator
from tests.unit.adapters.azureml.rig import RUN, asked_for, milliseconds, opened, problems, tell_host
from trackbridge.errors import AuthError, BridgeError, ConfigError, Unavailable
from trackbridge.ports.findings import CREDENTIALS, Severity
from trackbridge.testing.emulators.azureml.core import GROUP, SUBSCRIPTION
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.transport.http import HttpClient
from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
from trackbridge_adapters.azureml.clouds import PUBLIC
from trackbridge_adapters.azureml.config import workspace_of
from trackbridge_adapters.azureml.identity import AzureTokens
from trackbridge_adapters.azureml.workspace import FILE_NAME, Location

TEN_MINUTES_S = 600
ARM = ("/test-workspace",)


def failure(adapter: RestAdapter) -> BridgeError:
    with pytest.raises(BridgeError) as told:
        adapter.tracking.get_run(RUN)
    return told.value


def location_of(azure: AzureMlEmulator, home: Path) -> Location:
    workspace = workspace_of(azure.uri, {}, {}, home)
    tokens = AzureTokens(azure.credential, PUBLIC.scope, milliseconds)
    http = HttpClient(adapter="azureml", authentication=tokens)
    return Location(workspace, http=http, home=home, arm=azure.url, endpoint=None)


def test_the_region_is_asked_for_once_and_remembered(azure: AzureMlEmulator, tmp_path: Path) -> None:
    tell_host(azure, "westeurope.api.azureml.ms")
    for _ in range(3):  # as many processes
        location = location_of(azure, tmp_path)
        assert {location.base() for _ in range(3)} == {"https://westeurope.api.azureml.ms"}
    assert len(asked_for(azure, *ARM)) == 1
    (tmp_path / FILE_NAME).write_text("torn{")
    assert location_of(azure, tmp_path).history_url().startswith("https://westeurope.api.azureml.ms/history/")
    assert len(asked_for(azure, *ARM)) == 2


def test_a_folder_that_cannot_be_written_costs_a_request_and_nothing_else(
    azure: AzureMlEmulator, tmp_path: Path
) -> None:
    (tmp_path / "home").write_text("a file, where the project's folder was to be")
    tell_host(azure, "westeurope.api.azureml.ms")
    assert location_of(azure, tmp_path / "home").base() == "https://westeurope.api.azureml.ms"


@pytest.mark.parametrize(
    ("uri", "hint"),
    [
        ("azureml://11111111-0000-0000-0000-000000000000/g/w", "az account list"),
        (f"azureml://{SUBSCRIPTION}/no-group/w", "az group list"),
        (f"azureml://{SUBSCRIPTION}/{GROUP}/no-workspace", "az ml workspace list"),
    ],
)
def test_a_workspace_that_is_not_there(azure: AzureMlEmulator, uri: str, hint: str, tmp_path: Path) -> None:
    told = failure(opened(azure, tmp_path, uri=uri))
    assert isinstance(told, ConfigError)
    assert hint in (told.hint or "")
    problem, *others = problems(opened(azure, tmp_path, uri=uri).check())
    assert "there is no such workspace" in problem.message
    assert hint in problem.fix
    assert [other.subject for other in others] == (["subscription"] if SUBSCRIPTION not in uri else [])


def test_all_is_well(azure: AzureMlEmulator, tmp_path: Path) -> None:
    found = opened(azure, tmp_path).check()
    assert [finding.subject for finding in found] == ["backend", CREDENTIALS, "workspace", "storage"]
    assert problems(found) == []


def test_a_wrong_region(azure: AzureMlEmulator, tmp_path: Path) -> None:
    with azureml_emulator(workspace="another", mlflow="") as elsewhere:
        elsewhere.cloud.issuer = azure.cloud.issuer
        tell_host(azure, "westeurope.api.azureml.ms")
        uri = azure.tracking_uri.replace("westeurope", "northeurope")
        adapter = opened(
            azure, tmp_path, uri=uri, options={"endpoint": elsewhere.url}, credential=azure.credential()
        )
        _, wrong = problems(adapter.check())
        assert wrong.severity is Severity.ERROR
        assert "names the host northeurope.api.azureml.ms" in wrong.message
        assert "is at westeurope.api.azureml.ms" in wrong.message
        assert azure.uri in wrong.fix


@pytest.mark.parametrize("permissions", [frozenset(), frozenset({"read", "secrets"})])
def test_a_missing_role(azure: AzureMlEmulator, permissions: frozenset[str], tmp_path: Path) -> None:
    azure.permissions.clear()
    azure.permissions.update(permissions)
    (problem,) = problems(opened(azure, tmp_path).check(write=True))
    assert (problem.subject, problem.severity) == (CREDENTIALS, Severity.ERROR)
    assert "does not have authorization to perform action" in problem.message
    assert "AzureML Data Scientist" in problem.fix


def test_an_expired_token(azure: AzureMlEmulator, tmp_path: Path) -> None:
    old = azure.cloud.issuer.issue(seconds=-60).token
    adapter = opened(azure, tmp_path, options={"token_env": "OLD"}, environment={"OLD": old})
    (problem,) = problems(adapter.check())
    assert problem.subject == CREDENTIALS
    assert "expiry" in problem.message
    assert "the token has expired" in problem.fix


def test_nobody_is_signed_in(azure: AzureMlEmulator, tmp_path: Path) -> None:
    class Nobody:
        def get_token(self, *scopes: str) -> object:
            raise RuntimeError("AzureCliCredential: Please run 'az login' to set up an account")

    (problem,) = problems(opened(azure, tmp_path, credential=Nobody()).check())  # type: ignore[arg-type]
    assert problem.subject == CREDENTIALS
    assert "Please run 'az login'" in problem.message


@pytest.mark.parametrize("ahead_s", [TEN_MINUTES_S, -TEN_MINUTES_S])
def test_a_wrong_clock(azure: AzureMlEmulator, ahead_s: int, tmp_path: Path) -> None:
    (problem,) = problems(opened(azure, tmp_path, skew_ms=ahead_s * 1000).check())
    assert (problem.subject, problem.severity) == ("clock", Severity.ERROR)
    assert ("ahead of" if ahead_s > 0 else "behind") in problem.message


def test_a_host_that_nobody_answers_at(azure: AzureMlEmulator, tmp_path: Path) -> None:
    gone = {"arm_endpoint": "http://127.0.0.1:9", "endpoint": "http://127.0.0.1:9"}
    adapter = opened(azure, tmp_path, options=gone, credential=azure.credential())
    assert isinstance(failure(adapter), Unavailable)
    (problem,) = problems(adapter.check())
    assert (problem.subject, problem.severity) == ("backend", Severity.ERROR)
    assert "cannot be reached" in problem.message
    assert "bridge emulate azureml" in problem.fix


def test_the_long_uri_needs_no_right_to_read_the_workspace_in_arm(
    azure: AzureMlEmulator, tmp_path: Path
) -> None:
    adapter = opened(azure, tmp_path, uri=azure.tracking_uri)
    adapter.tracking.get_run(RUN)
    assert asked_for(azure, *ARM) == []


def test_a_role_that_is_missing_is_told_at_every_call(azure: AzureMlEmulator, tmp_path: Path) -> None:
    azure.permissions.clear()
    for uri in (azure.uri, azure.tracking_uri):
        told = failure(opened(azure, tmp_path, uri=uri))
        assert isinstance(told, AuthError)
        assert "AzureML Data Scientist" in (told.hint or "")
