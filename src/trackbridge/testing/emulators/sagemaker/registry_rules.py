"""What SageMaker refuses in a model package, beyond what its service model says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from trackbridge.testing.emulators.sagemaker.core import Cloud, Refused

PROPERTIES_MAX = 50
ADDITIONAL_MAX = 15
_CARD_SCHEMA = {
    "model_overview": {"model_creator", "model_artifact"},
    "intended_uses": {
        "purpose_of_model",
        "intended_uses",
        "factors_affecting_model_efficiency",
        "risk_rating",
        "explanations_for_risk_rating",
    },
    "business_details": {"business_problem", "business_stakeholders", "line_of_business"},
    "training_details": {"objective_function", "training_observations", "training_job_details"},
    "evaluation_details": None,
    "additional_information": {"ethical_considerations", "caveats_and_recommendations", "custom_details"},
}
"""Sections of a package's model card, and what each may hold (None: a list of evaluations)."""


def check_creation(cloud: Cloud, asked: Mapping[str, Any]) -> None:
    """Refuse a ``CreateModelPackage`` whose members do not go together.

    Raises:
        Refused: As AWS does.
    """
    if "ModelPackageName" in asked and "ModelPackageGroupName" in asked:
        told = "Both ModelPackageName and ModelPackageGroupName are provided in the input. "
        raise _invalid(told + "Cannot determine which one to use.")
    if "ModelPackageName" not in asked and "ModelPackageGroupName" not in asked:
        raise _invalid("Missing ARN.")
    if "InferenceSpecification" in asked and "SourceAlgorithmSpecification" in asked:
        raise _invalid("InferenceSpecification and SourceAlgorithmSpecification are mutually exclusive.")
    if "ModelPackageGroupName" in asked:
        _check_version(asked)
    else:
        _check_single(asked)
    check_content(cloud, asked)


def check_content(cloud: Cloud, asked: Mapping[str, Any]) -> None:
    """Refuse containers and a model card that AWS would not take, on creation and on update alike.

    Raises:
        Refused: As AWS does.
    """
    additional = asked.get("AdditionalInferenceSpecifications", ())
    specifications = [asked.get("InferenceSpecification", {}), *additional]
    check_additional(additional)
    for container in _containers(specifications):
        _check_container(container)
        if asked.get("SkipModelValidation") != "All":
            _check_model_data(cloud, container)
    if "ModelCard" in asked:
        _check_card(asked["ModelCard"])


def check_additional(specifications: Iterable[Mapping[str, Any]]) -> None:
    """Refuse more than 15 additional specifications, or two of one name.

    Raises:
        Refused: As AWS does.
    """
    names = [specification["Name"] for specification in specifications]
    if len(names) != len(set(names)):
        raise _invalid("Names of AdditionalInferenceSpecifications must be unique.")
    if len(names) > ADDITIONAL_MAX:
        raise _invalid(
            f"A model package can have {ADDITIONAL_MAX} AdditionalInferenceSpecifications at most."
        )


def check_properties(properties: Mapping[str, str]) -> None:
    """Refuse more than 50 customer metadata properties.

    Raises:
        Refused: As AWS does.
    """
    if len(properties) > PROPERTIES_MAX:
        raise _invalid(f"CustomerMetadataProperties can have {PROPERTIES_MAX} entries at most.")


def with_digests(specification: dict[str, Any]) -> dict[str, Any]:
    """Return an inference specification as AWS tells it: with the digest of each image."""
    containers = [
        {"ImageDigest": _digest(container["Image"]), **container} if "Image" in container else container
        for container in specification["Containers"]
    ]
    return {**specification, "Containers": containers}


def _check_version(asked: Mapping[str, Any]) -> None:
    if asked.get("Tags"):
        raise _invalid("Tags are not supported for a versioned model package. Tag its group instead.")
    if asked.get("CertifyForMarketplace"):
        raise _invalid("CertifyForMarketplace does not apply to a versioned model package.")


def _check_single(asked: Mapping[str, Any]) -> None:
    for name in ("ModelApprovalStatus", "CustomerMetadataProperties", "ModelLifeCycle"):
        if name in asked:
            raise _invalid(f"{name} does not apply to a model package without a group.")
    specification = asked.get("InferenceSpecification")
    if specification is None and "SourceAlgorithmSpecification" not in asked:
        raise _invalid("Either InferenceSpecification or SourceAlgorithmSpecification must be provided.")
    for name in (
        "SupportedTransformInstanceTypes",
        "SupportedRealtimeInferenceInstanceTypes",
        "SupportedContentTypes",
        "SupportedResponseMIMETypes",
    ):
        if specification is not None and not specification.get(name):
            raise _invalid(f"{name} is required for a model package without a group.")


def _containers(specifications: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    for specification in specifications:
        yield from specification.get("Containers", ())


def _check_container(container: Mapping[str, Any]) -> None:
    if "Image" not in container and "BaseModel" not in container and not container.get("IsCheckpoint"):
        raise _invalid("A container needs an Image.")
    if "ModelDataUrl" in container and "ModelDataSource" in container:
        raise _invalid("ModelDataUrl and ModelDataSource are mutually exclusive.")
    if not container.get("ModelDataUrl", ".tar.gz").endswith(".tar.gz"):
        raise _invalid(f"ModelDataUrl must name a tar.gz: {container['ModelDataUrl']}")
    source = container.get("ModelDataSource", {}).get("S3DataSource")
    if source is None:
        return
    if source["S3DataType"] == "S3Prefix" and not source["S3Uri"].endswith("/"):
        raise _invalid(f"S3Uri of an S3Prefix must end with a slash: {source['S3Uri']}")
    if source["S3DataType"] == "S3Prefix" and source["CompressionType"] != "None":
        raise _invalid("CompressionType of an S3Prefix must be None.")


def _check_model_data(cloud: Cloud, container: Mapping[str, Any]) -> None:
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    uri = container.get("ModelDataUrl", source.get("S3Uri"))
    if uri is None or not uri.startswith("s3://"):
        return
    if not _is_there(cloud, uri, is_prefix=source.get("S3DataType") == "S3Prefix"):
        raise _invalid(f"Could not find model data at {uri}.")


def _is_there(cloud: Cloud, uri: str, *, is_prefix: bool) -> bool:
    parts = urlsplit(uri, allow_fragments=False)
    bucket = cloud.s3().buckets.get(parts.netloc)
    if bucket is None:
        return False
    key = parts.path.lstrip("/")
    return any(name.startswith(key) for name in bucket.keys) if is_prefix else key in bucket.keys


def _check_card(card: Mapping[str, Any]) -> None:
    if "ModelCardContent" not in card:
        return
    try:
        content = json.loads(card["ModelCardContent"])
    except ValueError as error:
        raise _invalid("ModelCardContent is not JSON.") from error
    if not isinstance(content, dict):
        raise _invalid("ModelCardContent is not a JSON object.")
    for section, value in content.items():
        if section not in _CARD_SCHEMA:
            raise _invalid(f"ModelCardContent: '{section}' is not in the schema of a model package's card.")
        allowed = _CARD_SCHEMA[section]
        kind = list if allowed is None else dict
        if not isinstance(value, kind) or (allowed is not None and set(value) - allowed):
            raise _invalid(f"ModelCardContent: '{section}' does not follow the schema.")


def _digest(image: str) -> str:
    return "sha256:" + hashlib.sha256(image.encode()).hexdigest()


def _invalid(message: str) -> Refused:
    return Refused("ValidationException", message)
