"""A workspace of a sovereign cloud from end to end, under that cloud's own host names.

What is tracked, stored and registered goes to that cloud's hosts alone, with tokens of that cloud's sign-in:
the emulator takes no token that is for another cloud, and its proxy leads to no host of another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.azureml_emulators import azureml_emulator
from tests.support.azureml_programs import ran
from tests.support.mlflow_servers import MlflowServer
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.azureml.tokens import CLIENT, CLIENT_PASSWORD

PROGRAM = """
import json, os, sys, time
from pathlib import Path

import trackbridge as tb
from trackbridge.ports.adapter import AdapterContext
from trackbridge_adapters.azureml import open_paths

Path("model").mkdir()
Path("model/MLmodel").write_text("flavors: {}\\n")
Path("model/.gitignore").write_text("*.bin\\n")
Path("model/weights.bin").write_bytes(b"w" * 17_000_000)  # goes in blocks
with tb.start_run() as run:
    tb.log_metric("loss", 0.5)
    tb.log_artifacts("model", "model")
tb.flush(120)
version = tb.register_model(f"runs:/{run.info.run_id}/model", "wine")

context = AdapterContext(home=Path("paths"), options={}, clock_ms=lambda: time.time_ns() // 1_000_000)
paths = open_paths(os.environ["BRIDGE_TRACKING_URI"], context=context)
native = tb.get_run(run.info.run_id).info.native_id
place = f"azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{native}/model"
copy = paths.download(place, Path("down"))
print(json.dumps({
    "files": [[item.path, item.file_size] for item in tb.Client().list_artifacts(run.info.run_id, "model")],
    "downloaded": (copy / "weights.bin").read_bytes() == Path("model/weights.bin").read_bytes(),
    "account": paths._datastores.container("workspaceartifactstore").address,
    "version": version.version,
    "native_url": tb.get_run(run.info.run_id).info.native_url,
}))
"""

PRINCIPAL = {
    "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
    "AZURE_CLIENT_ID": CLIENT,
    "AZURE_CLIENT_SECRET": CLIENT_PASSWORD,
    "AZUREML_CURRENT_CLOUD": None,
}
"""Signs in at the login host of the cloud that the tracking URI's host belongs to."""


@pytest.mark.parametrize(
    ("cloud", "region", "is_long", "variables"),
    [
        ("AzureChinaCloud", "chinaeast2", True, PRINCIPAL),
        ("AzureUSGovernment", "usgovvirginia", False, {}),
    ],
)
def test_all_of_it_stays_in_the_cloud(
    cloud: str,
    region: str,
    is_long: bool,
    variables: Mapping[str, str | None],
    newest: MlflowServer,
    tmp_path: Path,
) -> None:
    newest.reset()
    with azureml_emulator(mlflow=newest.url, azure_cloud=cloud, region=region) as azure:
        suffixes = azure.suffixes
        service = f"{region}.{suffixes.service}"
        uri = f"azureml://{service}/mlflow/v1.0{azure.scope}" if is_long else azure.uri
        if not is_long:  # storage's tokens are for the same audience in every cloud
            datastore = azure.cloud.resources.get(f"{azure.scope}/datastores/workspaceartifactstore")
            assert datastore is not None
            datastore["properties"]["credentials"] = {"credentialsType": "None"}
        given = {**variables, "AZURE_TENANT_ID": azure.cloud.tenant} if variables else {}
        told = json.loads(ran(tmp_path, azure, uri, PROGRAM, variables=given))
        azure.raise_failures()
        assert told["files"] == [
            ["model/.gitignore", 6],
            ["model/MLmodel", 12],
            ["model/weights.bin", 17_000_000],
        ]
        assert told["downloaded"]
        assert told["account"] == f"https://tbteststore.blob.{suffixes.storage}/azureml"
        assert told["version"] == "1"
        assert told["native_url"].startswith(f"https://{suffixes.studio}/runs/")
        signs_in = suffixes.login if variables else "127.0.0.1"
        assert hosts_of(azure) == {suffixes.resource_manager, service, signs_in}


def hosts_of(azure: AzureMlEmulator) -> set[str]:
    return {call.host.partition(":")[0] for call in azure.calls}
