"""Models and endpoints of two emulated clouds beside each other, in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

import trackbridge as tb
from tests.pages.browsing import Watched
from tests.pages.worlds import project, register, served
from tests.support.azureml_emulators import ask, azureml_emulator
from tests.support.sagemaker_endpoints import Deployer, endpoints_emulator
from trackbridge.gateway.gateway import Gateway, GatewayOptions
from trackbridge.resolve.remotes import add_remote
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator

ENDPOINT = {"location": "westeurope", "properties": {"authMode": "Key"}}


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway over a local store with the model wine, which both clouds have, too, and an endpoint each."""
    folder = tmp_path_factory.mktemp("clouds")
    with (
        azureml_emulator(mlflow="") as azure,  # before HOME is another one: Azurite lies below it
        project(folder),
        pytest.MonkeyPatch.context() as patch,
        endpoints_emulator() as aws,
    ):
        for name, value in azure.environment().items():
            patch.setenv(name, value)
        add_remote("azure", azure.uri)
        add_remote("aws", aws.uri)
        gateway = Gateway(GatewayOptions())
        register(gateway.client, folder, versions=2)
        _fill(folder, azure)
        deployer = Deployer(aws, folder / "deployed")
        deployer.folder.mkdir()
        deployer.deploy("wine-aws", traffic_percent=100)
        with served(gateway) as url:
            yield url
        gateway.client.session.close(10.0)


def _fill(folder: Path, azure: AzureMlEmulator) -> None:
    """Make an endpoint in the one cloud; register a model in the other."""
    assert ask(azure, "PUT", "onlineEndpoints/wine-azure", ENDPOINT).status in (200, 201)
    client = tb.Client("aws")
    client.register_model(folder / "payload-1", "wine")
    client.session.close(30.0)


def test_models_and_endpoints_of_all_clouds(at: Watched) -> None:
    page = at.open("/models/matrix")
    row = page.get_by_role("row", name="wine")
    expect(page.get_by_role("columnheader", name="aws")).to_be_visible()
    expect(page.get_by_role("columnheader", name="azure")).to_be_visible()
    expect(row).to_contain_text("diverged")  # registered there by itself: another origin
    expect(row).to_contain_text("absent")
    at.check_accessible()
    at.check_narrow()
    at.shoot("matrix-of-clouds")
    page = at.open("/endpoints")
    expect(page.get_by_role("row", name="wine-aws aws")).to_contain_text("READY")
    expect(page.get_by_role("row", name="wine-azure azure")).to_be_visible()
    at.check_accessible()
    at.check_narrow()
    at.shoot("endpoints-of-clouds")
