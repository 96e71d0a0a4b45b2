"""What a deployment runs: Azure's scoring server for a script or an MLflow model, or a container."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trackbridge.testing.emulators.azureml.containers import Images
from trackbridge.testing.emulators.azureml.core import Cloud
from trackbridge.testing.emulators.azureml.endpoint_rules import Resource, asset_named, bad
from trackbridge.testing.emulators.azureml.places import place_of
from trackbridge.testing.emulators.containers import NotServing
from trackbridge.testing.emulators.containers.images import unknown_image

ROOT = "/var/azureml-app"
CODE = f"{ROOT}/code"
MODELS = f"{ROOT}/azureml-models"
SERVER = f"{__package__}.inference.server"
DEFAULT_PORT = 5001
PLATFORM = ("AZUREML_MODEL_DIR", "AZUREML_ENTRY_SCRIPT", "AML_APP_ROOT", "SERVER_PORT")


@dataclass(frozen=True, slots=True)
class Asset:
    """Files that are put into a container's folder: where they come from, and where it sees them."""

    uri: str
    target: str
    keeps_folder: bool
    """Whether a folder is put below the target under its own name, as models are."""


@dataclass(frozen=True, slots=True)
class Program:
    """What runs, and how it is asked.

    ``{port}`` in the command, and the number of the container's own port, stand for the port to listen on.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    ready: str
    live: str
    scoring: str
    own_port: int = DEFAULT_PORT
    roots: tuple[str, ...] = (ROOT,)
    assets: tuple[Asset, ...] = field(default=())

    def at(self, port: int) -> tuple[list[str], dict[str, str]]:
        """Return the command line and the variables for a port."""
        own = re.compile(rf"(?<!\d){self.own_port}(?!\d)")
        command = [own.sub(str(port), part.replace("{port}", str(port))) for part in self.command]
        return command, {**self.environment, "SERVER_PORT": str(port)}


def program_of(cloud: Cloud, workspace_id: str, deployment_id: str, properties: Mapping[str, Any]) -> Program:
    """Return what a deployment runs.

    Raises:
        Refused: It is not said what is to run, or an asset is not there.
    """
    model = properties.get("model")
    held = asset_named(cloud, "model", model, "models") if model else None
    environment_id = properties.get("environmentId")
    image = asset_named(cloud, "environmentId", environment_id, "environments") if environment_id else None
    code = properties.get("codeConfiguration") or {}
    assets, variables = [], _variables(cloud, workspace_id, deployment_id, properties)
    roots: tuple[str, ...] = (ROOT,)
    if held is not None:
        mount = properties.get("modelMountPath") or MODELS
        roots = tuple(dict.fromkeys((ROOT, mount.rstrip("/")))) if mount != MODELS else roots
        asset = _model_asset(held, mount.rstrip("/"))
        assets.append(asset)
        variables["AZUREML_MODEL_DIR"] = asset.target
    if code.get("codeId"):
        kept = asset_named(cloud, "codeConfiguration.codeId", code["codeId"], "codes")["properties"]
        assets.append(Asset(kept["codeUri"], CODE, keeps_folder=False))
    inference = (image or {}).get("properties", {}).get("inferenceConfig")
    own = _own_container(cloud, image, inference, properties) if not code else None
    if own is not None:
        command, routes, port = own
        return Program(tuple(command), variables, *routes, own_port=port, roots=roots, assets=tuple(assets))
    if code:
        if image is None:
            raise bad("A deployment with a scoring script needs an environment", target="environmentId")
        variables["AZUREML_ENTRY_SCRIPT"] = code["scoringScript"]
    elif held is None or held["properties"].get("modelType") != "mlflow_model":
        raise bad(
            "Without a scoring script or a container of one's own, the model must be of type mlflow_model",
            target="codeConfiguration",
        )
    command = [sys.executable, "-m", SERVER]
    return Program(tuple(command), variables, "/", "/", "/score", roots=roots, assets=tuple(assets))


def _own_container(
    cloud: Cloud,
    environment: Resource | None,
    inference: Mapping[str, Any] | None,
    properties: Mapping[str, Any],
) -> tuple[list[str], tuple[str, str, str], int] | None:
    """Return command, routes (ready, live, scoring) and port of one's own container; None for Azure's."""
    if environment is None:
        return None
    image = environment["properties"].get("image") or ""
    command = cloud.part(Images).command(image, "serve", properties.get("environmentVariables") or {})
    if inference is None and not command:
        return None
    if not command:
        raise bad(unknown_image(image, "serve"), code="ImageBuildFailure", target="environmentId")
    given = inference or {}
    scoring = given.get("scoringRoute") or {"path": "/score", "port": DEFAULT_PORT}
    routes = tuple((given.get(name) or {"path": "/"})["path"] for name in ("readinessRoute", "livenessRoute"))
    return command, (routes[0], routes[1], scoring["path"]), int(scoring["port"])


def _model_asset(model: Resource, mount: str) -> Asset:
    _, _, name, _, version = model["id"].rsplit("/", 4)
    return Asset(model["properties"]["modelUri"], f"{mount}/{name}/{version}", keeps_folder=True)


def _variables(
    cloud: Cloud, workspace_id: str, deployment_id: str, properties: Mapping[str, Any]
) -> dict[str, str]:
    given = {
        name: str(value)
        for name, value in (properties.get("environmentVariables") or {}).items()
        if name not in PLATFORM
    }
    return {
        **cloud.environment,
        "AML_APP_ROOT": CODE,
        "SERVICE_NAME": deployment_id.rpartition("/")[2],
        "WORKSPACE_NAME": workspace_id.rpartition("/")[2],
        "AZUREML_DEPLOYMENT_ID": deployment_id,
        **given,
    }


def platform_variables(program: Program) -> dict[str, str]:
    """Return the variables that the service adds to a deployment, and tells as if they had been asked for."""
    return {name: program.environment[name] for name in PLATFORM if name in program.environment}


def fetch(cloud: Cloud, workspace_id: str, asset: Asset, folder: Path) -> int:
    """Put an asset's files into a container's folder; returns how many.

    Raises:
        NotServing: There are none.
    """
    place = place_of(cloud, workspace_id, asset.uri)
    blobs = place.blobs(cloud) if place is not None else []
    target = folder / asset.target.lstrip("/")
    target.mkdir(parents=True, exist_ok=True)
    if place is None or not blobs:
        raise NotServing(f"no files at {asset.uri}")
    # What is registered as a folder lies below the target under the folder's own name, a file beside it.
    above = place.path.rpartition("/")[0] if asset.keeps_folder else place.path
    for blob in blobs:
        content = cloud.storage.get(blob.path, container=place.container, account=place.account)
        relative = blob.path[len(above) :].lstrip("/") or blob.path.rpartition("/")[2]
        path = target / relative
        if not path.resolve().is_relative_to(target.resolve()):
            raise NotServing(f"a file at {asset.uri} has a path that leads elsewhere: {relative}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return len(blobs)


def as_config(collections: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the file that azureml-ai-monitoring reads (``AZUREML_MDC_CONFIG_PATH``)."""
    told = {
        name: {"enabled": each["enabled"], "sampleRatePercentage": round(each["share"] * 100)}
        for name, each in collections.items()
    }
    return json.dumps({"collections": told, "runMode": "cloud"})
