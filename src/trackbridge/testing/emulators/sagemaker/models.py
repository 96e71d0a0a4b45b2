"""Models: containers with data, that endpoints and transform jobs serve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Cloud, Operation, Refused
from trackbridge.testing.emulators.sagemaker.listing import page
from trackbridge.testing.emulators.sagemaker.model_servers import model_data
from trackbridge.testing.emulators.sagemaker.registry import approved_containers
from trackbridge.testing.emulators.sagemaker.storage import keys_below, place_of


@dataclass(frozen=True, slots=True)
class Model:
    """A model; it never changes."""

    name: str
    arn: str
    asked: Mapping[str, Any]
    containers: tuple[Mapping[str, Any], ...]
    """What runs: the containers that were given, or those of its model package."""
    created_s: float


class Models:
    """The models of the account."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.held: dict[str, Model] = {}

    def get(self, name: str) -> Model:
        """Return a model.

        Raises:
            Refused: There is none.
        """
        if name not in self.held:
            arn = self.cloud.arn("model", name)
            raise Refused("ValidationException", f'Could not find model "{arn}".')
        return self.held[name]


def _create(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    models, name = cloud.part(Models), asked["ModelName"]
    arn = cloud.arn("model", name)
    if name in models.held:
        raise Refused("ValidationException", f'Cannot create already existing model "{arn}".')
    if ("PrimaryContainer" in asked) == ("Containers" in asked):
        raise _refuse("Exactly one of PrimaryContainer and Containers must be given")
    given = [asked["PrimaryContainer"]] if "PrimaryContainer" in asked else asked["Containers"]
    if not given:
        raise _refuse("Containers must hold at least one container")
    if "ExecutionRoleArn" not in asked:
        raise _refuse("ExecutionRoleArn is required")
    containers = [
        each for container in given for each in _resolved(cloud, container, asked["ExecutionRoleArn"])
    ]
    cloud.tags.start(arn, asked.get("Tags"))
    models.held[name] = Model(name, arn, asked, tuple(containers), cloud.now_s())
    return {"ModelArn": arn}


def _resolved(cloud: Cloud, container: Mapping[str, Any], role: str) -> list[dict[str, Any]]:
    """Return what runs for a container definition."""
    if "ModelPackageName" in container:
        if "Image" in container or "ModelDataUrl" in container or "ModelDataSource" in container:
            raise _refuse("A container with ModelPackageName can have neither Image nor model data")
        own = container.get("Environment", {})
        found = approved_containers(cloud, container["ModelPackageName"])
        return [dict(each) | {"Environment": {**each.get("Environment", {}), **own}} for each in found]
    if "Image" not in container:
        raise _refuse("A container needs Image, or else ModelPackageName")
    if "ModelDataUrl" in container and "ModelDataSource" in container:
        raise _refuse("A container can have ModelDataUrl or ModelDataSource, not both")
    if container.get("Mode", "SingleModel") == "MultiModel":
        raise _refuse("The emulator has no multi-model containers")
    check_model_data(cloud, container, role)
    return [dict(container)]


def check_model_data(cloud: Cloud, container: Mapping[str, Any], role: str) -> None:
    """Refuse model data that is not there, or whose address does not fit its kind.

    Raises:
        Refused: With what is wrong.
    """
    source = container.get("ModelDataSource", {}).get("S3DataSource")
    if source is not None and source["S3DataType"] == "S3Prefix":
        if source["CompressionType"] != "None":
            raise _refuse("ModelDataSource of the type S3Prefix must have CompressionType None")
        if not source["S3Uri"].endswith("/"):
            raise _refuse(f"S3Uri of an S3Prefix must end with a slash: {source['S3Uri']}")
    uri, _ = model_data(container)
    if uri is None:
        return
    place = place_of(uri)
    keys = keys_below(cloud, place)
    if not keys or (not uri.endswith("/") and place.key not in keys):
        raise _refuse(
            f'Could not find model data at {uri}. Please ensure that the role "{role}" exists and that its '
            f'trust relationship policy allows the action "sts:AssumeRole" for the service principal '
            f'"sagemaker.amazonaws.com". Also ensure that the role has "s3:GetObject" permissions and that '
            f"the object is located in {cloud.region}."
        )


def _refuse(message: str) -> Refused:
    return Refused("ValidationException", message)


def _describe(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    return described(cloud.part(Models).get(asked["ModelName"]))


def described(model: Model) -> dict[str, Any]:
    """Return what DescribeModel tells."""
    told = {name: value for name, value in model.asked.items() if name != "Tags"}
    if "PrimaryContainer" in told:
        told["PrimaryContainer"] = _told(told["PrimaryContainer"])
    if "Containers" in told:
        told["Containers"] = [_told(container) for container in told["Containers"]]
    network = {"EnableNetworkIsolation": False}
    return network | told | {"ModelArn": model.arn, "CreationTime": model.created_s}


def _told(container: Mapping[str, Any]) -> dict[str, Any]:
    """Return a container as it is described: one address of its data as both kinds of fields, as AWS does."""
    told: dict[str, Any] = {"Mode": "SingleModel"} | dict(container)
    if "ModelDataUrl" in told:
        source = {"S3Uri": told["ModelDataUrl"], "S3DataType": "S3Object", "CompressionType": "Gzip"}
        told["ModelDataSource"] = {"S3DataSource": source}
    return told


def _list(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    models, more = page(cloud.part(Models).held.values(), asked, _fields, is_descending=True)
    rows = [{"ModelName": m.name, "ModelArn": m.arn, "CreationTime": m.created_s} for m in models]
    return {"Models": rows, **more}


def _fields(model: Model) -> dict[str, Any]:
    return {"Name": model.name, "CreationTime": model.created_s}


def _delete(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    model = cloud.part(Models).get(asked["ModelName"])
    del cloud.part(Models).held[model.name]
    cloud.tags.end(model.arn)
    return {}


def records(cloud: Cloud) -> list[dict[str, Any]]:
    """Return all models as Search finds them."""
    models = cloud.part(Models).held.values()
    return [{"Model": described(m), "Tags": cloud.tags.list(m.arn)} for m in models]


OPERATIONS: Mapping[str, Operation] = {
    "CreateModel": _create,
    "DescribeModel": _describe,
    "ListModels": _list,
    "DeleteModel": _delete,
}
SEARCHABLE: Mapping[str, Callable[[Cloud], Iterable[dict[str, Any]]]] = {"Model": records}
