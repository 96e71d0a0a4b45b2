"""Endpoint configurations; they never change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Cloud, Operation, Refused
from trackbridge.testing.emulators.sagemaker.listing import page
from trackbridge.testing.emulators.sagemaker.models import Models

Variant = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """A configuration, as it was asked for."""

    name: str
    arn: str
    asked: Mapping[str, Any]
    created_s: float


class EndpointConfigs:
    """The configurations of the account."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.held: dict[str, EndpointConfig] = {}

    def get(self, name: str) -> EndpointConfig:
        """Return a configuration.

        Raises:
            Refused: There is none.
        """
        if name not in self.held:
            arn = self.cloud.arn("endpoint-config", name)
            raise Refused("ValidationException", f'Could not find endpoint configuration "{arn}".')
        return self.held[name]


def _refuse(message: str) -> Refused:
    return Refused("ValidationException", message)


def _create(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    configs, name = cloud.part(EndpointConfigs), asked["EndpointConfigName"]
    arn = cloud.arn("endpoint-config", name)
    if name in configs.held:
        raise _refuse(f'Cannot create already existing endpoint configuration "{arn}".')
    variants, shadows = asked["ProductionVariants"], asked.get("ShadowProductionVariants", [])
    names = [variant["VariantName"] for variant in (*variants, *shadows)]
    if len(names) != len(set(names)):
        raise _refuse(f"Variant names must be unique: {names}")
    for variant in (*variants, *shadows):
        _check_variant(cloud, variant, asked)
    _check_together(variants, shadows, asked)
    cloud.tags.start(arn, asked.get("Tags"))
    kept = dict(asked)
    for field in ("ProductionVariants", "ShadowProductionVariants"):
        if field in asked:
            kept[field] = [{"InitialVariantWeight": 1.0} | dict(variant) for variant in asked[field]]
    configs.held[name] = EndpointConfig(name, arn, kept, cloud.now_s())
    return {"EndpointConfigArn": arn}


def _check_variant(cloud: Cloud, variant: Variant, asked: Mapping[str, Any]) -> None:
    name = variant["VariantName"]
    if "InstancePools" in variant:
        raise _refuse("The emulator has no InstancePools; give InstanceType")
    if ("ServerlessConfig" in variant) == ("InstanceType" in variant):
        raise _refuse(f"Variant {name} needs exactly one of InstanceType and ServerlessConfig")
    if "InstanceType" in variant and "InitialInstanceCount" not in variant:
        raise _refuse(f"Variant {name} needs InitialInstanceCount with InstanceType")
    if "ModelName" in variant:
        cloud.part(Models).get(variant["ModelName"])
    elif "ExecutionRoleArn" not in asked:
        raise _refuse(f"Variant {name} needs ModelName; without one, ExecutionRoleArn must be given")
    if "ServerlessConfig" in variant:
        _check_serverless(variant)


def _check_serverless(variant: Variant) -> None:
    name, config = variant["VariantName"], variant["ServerlessConfig"]
    if "ModelName" not in variant or "InitialInstanceCount" in variant:
        raise _refuse(f"Serverless variant {name} needs ModelName, and has no InitialInstanceCount")
    if config["MemorySizeInMB"] % 1024:
        raise _refuse(
            f"MemorySizeInMB of {config['MemorySizeInMB']} is not in 1 GB increments from 1024 to 6144"
        )
    if config.get("ProvisionedConcurrency", 0) > config["MaxConcurrency"]:
        raise _refuse("ProvisionedConcurrency must be less than or equal to MaxConcurrency")


def _check_together(
    variants: Sequence[Variant], shadows: Sequence[Variant], asked: Mapping[str, Any]
) -> None:
    if shadows and (len(variants) != 1 or len(shadows) != 1):
        raise _refuse("With a shadow variant there must be exactly one production and one shadow variant")
    is_serverless = any("ServerlessConfig" in variant for variant in (*variants, *shadows))
    if is_serverless and (len(variants) > 1 or shadows):
        raise _refuse("A serverless endpoint has one production variant and no shadow")
    is_capturing = asked.get("DataCaptureConfig", {"EnableCapture": False}).get("EnableCapture", True)
    if is_serverless and is_capturing:
        raise _refuse("Data capture is not supported for serverless endpoints")
    if "AsyncInferenceConfig" in asked and (is_serverless or shadows or len(variants) > 1):
        raise _refuse("AsyncInferenceConfig needs exactly one production variant with instances")


def _describe(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    config = cloud.part(EndpointConfigs).get(asked["EndpointConfigName"])
    told = {name: value for name, value in config.asked.items() if name != "Tags"}
    own = {"EndpointConfigArn": config.arn, "CreationTime": config.created_s}
    return {"EnableNetworkIsolation": False} | told | own


def _list(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    found, more = page(cloud.part(EndpointConfigs).held.values(), asked, _fields, is_descending=True)
    rows = [
        {"EndpointConfigName": c.name, "EndpointConfigArn": c.arn, "CreationTime": c.created_s} for c in found
    ]
    return {"EndpointConfigs": rows, **more}


def _fields(config: EndpointConfig) -> dict[str, Any]:
    return {"Name": config.name, "CreationTime": config.created_s}


def _delete(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    config = cloud.part(EndpointConfigs).get(asked["EndpointConfigName"])
    del cloud.part(EndpointConfigs).held[config.name]
    cloud.tags.end(config.arn)
    return {}


OPERATIONS: Mapping[str, Operation] = {
    "CreateEndpointConfig": _create,
    "DescribeEndpointConfig": _describe,
    "ListEndpointConfigs": _list,
    "DeleteEndpointConfig": _delete,
}
