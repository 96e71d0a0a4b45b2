"""Which workspace a tracking URI means, in which cloud, and what is refused; nobody is contacted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.unit.adapters.azureml.rig import milliseconds
from trackbridge.errors import ConfigError
from trackbridge.ports.adapter import AdapterContext
from trackbridge.testing.tables import EXAMPLES
from trackbridge_adapters.azureml import open_adapter
from trackbridge_adapters.azureml.clouds import cloud_of, is_azure_host
from trackbridge_adapters.azureml.config import Workspace, plain_address, workspace_of
from trackbridge_adapters.azureml.service import studio_link

SCOPE = "/subscriptions/S/resourceGroups/G/providers/Microsoft.MachineLearningServices/workspaces/W"
HOST = "westeurope.api.azureml.ms"
LONG = f"azureml://{HOST}/mlflow/v1.0{SCOPE}"
CONFIG = {"subscription_id": "S", "resource_group": "G", "workspace_name": "W"}
EXPECTED = ("S", "G", "W")


def parts(workspace: Workspace) -> tuple[str, str, str]:
    return workspace.subscription, workspace.group, workspace.name


def written(file: Path, content: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("azureml://S/G/W", None),
        ("azureml://S/G/W/", None),
        (LONG, HOST),
        (f"{LONG}?", HOST),
        (f"{LONG}?&is-remote=True", HOST),
        (LONG.replace("v1.0", "v2.0"), HOST),
        (LONG.replace("resourceGroups", "resourcegroups"), HOST),
    ],
)
def test_every_form_names_the_workspace(uri: str, host: str | None, tmp_path: Path) -> None:
    found = workspace_of(uri, {}, {}, tmp_path)
    assert (parts(found), found.host) == (EXPECTED, host)
    assert found.address == "azureml://s/g/w"


@pytest.mark.parametrize(
    ("uri", "part"),
    [
        ("azureml://S/G", "names no workspace"),
        ("azureml://S/G/W/more", "names no workspace"),
        (f"azureml://{HOST}/mlflow/v1.0/subscriptions/S", "names no workspace"),
        (f"azureml://{HOST}/mlflow/v1.0/subscriptions/S/resourceGroups/G", "names no workspace"),
        ("azureml://eastus.api.azureml.ms/mlflow/v1.0/registries/R", "is a registry"),
    ],
)
def test_what_names_no_workspace_is_refused(uri: str, part: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=part) as told:
        workspace_of(uri, {}, {}, tmp_path)
    assert told.value.hint


@pytest.mark.parametrize("name", ["config.json", ".azureml/config.json", "aml_config/config.json"])
def test_a_file_is_found_upward(name: str, tmp_path: Path) -> None:
    written(tmp_path / name, CONFIG)
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    assert parts(workspace_of("azureml:", {}, {}, folder)) == EXPECTED


def test_the_nearest_file_wins_and_one_of_something_else_is_passed_over(tmp_path: Path) -> None:
    written(tmp_path / "config.json", CONFIG)
    written(tmp_path / "a" / "config.json", {**CONFIG, "workspace_name": "nearer"})
    written(tmp_path / "a" / "b" / "config.json", {"model_type": "bert"})
    written(tmp_path / "a" / "b" / ".azureml" / "config.json", "no JSON")
    assert workspace_of("azureml:", {}, {}, tmp_path / "a" / "b").name == "nearer"


def test_a_file_may_hold_the_scope(tmp_path: Path) -> None:
    written(tmp_path / "project.json", {"Scope": SCOPE})
    assert parts(workspace_of("azureml://", {}, {}, tmp_path)) == EXPECTED


def test_no_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config\.json") as told:
        workspace_of("azureml:", {}, {}, tmp_path)
    assert "azureml://SUBSCRIPTION/GROUP/WORKSPACE" in (told.value.hint or "")
    assert "bridge emulate azureml" in (told.value.hint or "")


def test_an_option_names_the_file(tmp_path: Path) -> None:
    written(tmp_path / "config.json", {**CONFIG, "workspace_name": "not this"})
    file = written(tmp_path / "elsewhere" / "ours.json", CONFIG)
    assert parts(workspace_of("azureml:", {"config": str(file)}, {}, tmp_path)) == EXPECTED
    with pytest.raises(ConfigError, match=r"no\.json is not a config\.json"):
        workspace_of("azureml:", {"config": str(tmp_path / "no.json")}, {}, tmp_path)


def test_a_job_is_in_its_own_workspace(tmp_path: Path) -> None:
    written(tmp_path / "config.json", {**CONFIG, "workspace_name": "not this"})
    environment = {
        "AZUREML_ARM_SUBSCRIPTION": "S",
        "AZUREML_ARM_RESOURCEGROUP": "G",
        "AZUREML_ARM_WORKSPACE_NAME": "W",
        "MLFLOW_TRACKING_URI": LONG,
    }
    found = workspace_of("azureml:", {}, environment, tmp_path)
    assert (parts(found), found.host) == (EXPECTED, HOST)


def test_variables_name_it_where_no_file_does(tmp_path: Path) -> None:
    environment = {"AZURE_SUBSCRIPTION_ID": "S", "AZURE_RESOURCE_GROUP": "G", "AZURE_WORKSPACE_NAME": "W"}
    assert parts(workspace_of("azureml:", {}, environment, tmp_path)) == EXPECTED
    with pytest.raises(ConfigError, match="no config"):
        workspace_of("azureml:", {}, {**environment, "AZURE_WORKSPACE_NAME": ""}, tmp_path)
    written(tmp_path / "config.json", {**CONFIG, "workspace_name": "nearer"})
    assert workspace_of("azureml:", {}, environment, tmp_path).name == "nearer"


def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the option 'colour' is unknown"):
        workspace_of("azureml://S/G/W", {"colour": "red"}, {}, tmp_path)


@pytest.mark.parametrize("text", ["http://proxy.example", "ftp://127.0.0.1", "somewhere"])
def test_tokens_are_not_sent_unencrypted(text: str) -> None:
    with pytest.raises(ConfigError, match="endpoint is"):
        plain_address({"endpoint": text}, "endpoint")


@pytest.mark.parametrize("text", ["https://proxy.example/", "http://127.0.0.1:8080/", "http://localhost:1"])
def test_an_address_of_ones_own(text: str) -> None:
    assert plain_address({"endpoint": text}, "endpoint") == text.rstrip("/")


@pytest.mark.parametrize(
    ("options", "environment", "host", "expected"),
    [
        ({}, {}, None, "AzureCloud"),
        ({}, {}, "chinaeast2.api.ml.azure.cn", "AzureChinaCloud"),
        ({}, {}, "usgovarizona.api.ml.azure.us", "AzureUSGovernment"),
        ({}, {"AZUREML_CURRENT_CLOUD": "AzureUSGovernment"}, None, "AzureUSGovernment"),
        ({}, {"AZUREML_CURRENT_CLOUD": "AzureUSGovernment"}, HOST, "AzureCloud"),
        ({}, {"AZURE_AUTHORITY_HOST": "https://login.chinacloudapi.cn/"}, None, "AzureChinaCloud"),
        ({"cloud": "azurechinacloud"}, {"AZUREML_CURRENT_CLOUD": "AzureCloud"}, HOST, "AzureChinaCloud"),
    ],
)
def test_the_cloud(
    options: Mapping[str, str], environment: Mapping[str, str], host: str | None, expected: str
) -> None:
    cloud = cloud_of(options, environment, host)
    assert cloud.name == expected
    assert cloud.scope == f"{cloud.resource_manager}/.default"


@pytest.mark.parametrize(
    ("options", "environment"), [({"cloud": "Moon"}, {}), ({}, {"AZUREML_CURRENT_CLOUD": "Moon"})]
)
def test_a_cloud_that_is_none(options: Mapping[str, str], environment: Mapping[str, str]) -> None:
    with pytest.raises(ConfigError, match="'Moon'") as told:
        cloud_of(options, environment, None)
    assert "AzureChinaCloud" in (told.value.hint or "")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (HOST, True),
        (f"{HOST}:443", True),
        ("x.api.ml.azure.cn", True),
        ("api.azureml.ms.evil.example", False),
        ("evilapi.azureml.ms", False),
        ("127.0.0.1", False),
    ],
)
def test_hosts_of_azure(host: str, expected: bool) -> None:
    assert is_azure_host(host) is expected


def test_a_link_to_the_studio() -> None:
    link = studio_link(cloud_of({}, {}, "usgovarizona.api.ml.azure.us"), Workspace("S", "G", "W"), "run/1")
    scope = "/subscriptions/S/resourcegroups/G/workspaces/W"
    assert link == f"https://ml.azure.us/runs/run%2F1?wsid={scope}"


def test_opening_contacts_nobody_and_needs_no_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*arguments: object) -> None:
        raise AssertionError("a connection was made")

    monkeypatch.setattr("socket.socket.connect", connect)
    adapter = open_adapter(
        EXAMPLES["azureml"], context=AdapterContext(home=tmp_path, options={}, clock_ms=milliseconds)
    )
    assert adapter.capabilities().adapter == "azureml"
    adapter.close()
