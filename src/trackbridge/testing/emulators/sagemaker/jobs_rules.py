"""What SageMaker looks at in other services before it takes a job: its role, its image, its buckets."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

from trackbridge.testing.emulators.sagemaker.core import Cloud, Refused
from trackbridge.testing.emulators.sagemaker.images import Images
from trackbridge.testing.emulators.sagemaker.storage import Place, region_of

SERVICE = "sagemaker.amazonaws.com"
INDEX = "application/vnd.oci.image.index.v1+json"
_IMAGE = re.compile(
    r"(?P<account>[0-9]{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.[a-z.]+/"
    r"(?P<name>[a-z0-9._/-]+?)(?::(?P<tag>[\w.-]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def check_role(cloud: Cloud, role: str) -> None:
    """Refuse a role that SageMaker may not take on, or that the caller may not hand over.

    Raises:
        Refused: It is another account's, is not there, does not trust SageMaker, or may not be passed.
    """
    if cloud.denies("iam:PassRole"):
        raise Refused(
            "AccessDeniedException",
            f"User: {cloud.caller} is not authorized to perform: iam:PassRole on resource: {role}",
        )
    if role.split(":")[4] != cloud.account:
        raise Refused("ValidationException", "Cross-account pass role is not allowed.")
    if not _trusts(cloud, role):
        raise Refused(
            "ValidationException",
            f"Could not assume role {role}. Please ensure that the role exists and allows principal "
            f"'{SERVICE}' to assume the role.",
        )


def _trusts(cloud: Cloud, role: str) -> bool:
    found = next((each for each in cloud.iam().roles.values() if each.arn == role), None)
    if found is None:
        return False
    policy = json.loads(unquote(found.assume_role_policy_document))
    return any(
        statement.get("Effect") == "Allow" and SERVICE in str(statement.get("Principal", ""))
        for statement in policy.get("Statement", ())
    )


def check_image(cloud: Cloud, image: str) -> None:
    """Refuse an image of this account's registry that is not there, or is an index of images.

    Images that were declared to the emulator, and those of other accounts, are taken to be there.

    Raises:
        Refused: It cannot be had.
    """
    found = _IMAGE.fullmatch(image)
    if found is None:
        raise Refused(
            "ValidationException",
            f"Invalid image URI {image}. Please provide a valid Amazon Elastic Container Registry path",
        )
    if found["region"] != cloud.region:
        raise Refused(
            "ValidationException",
            f"The image {image} is in {found['region']}, and must be in the job's region, {cloud.region}",
        )
    if found["account"] != cloud.account or cloud.part(Images).knows(image):
        return
    held = _held(cloud, found)
    if held is None:
        raise Refused(
            "ValidationException",
            f"Cannot find repository or image: {image}. Please check if your ECR repository and image exist "
            "and role has proper pull permissions for SageMaker.",
        )
    if held == INDEX:
        raise Refused(
            "ValidationException",
            f"Unsupported manifest media type {INDEX} for image {image}. Ensure that valid manifest media "
            "type is used for specified SageMaker-compatible image",
        )


def _held(cloud: Cloud, found: re.Match[str]) -> str | None:
    """Return the media type of an image's manifest; None when it is not in the registry."""
    repository = cloud.ecr().repositories.get(found["name"])
    images: list[Any] = [] if repository is None else repository.images
    for image in images:
        tags = image.image_tags
        if (image.get_image_digest() == found["digest"]) if found["digest"] else (found["tag"] in tags):
            told = json.loads(image.image_manifest)
            return str(image.image_manifest_media_type or told.get("mediaType", ""))
    return None


def check_region(cloud: Cloud, place: Place, what: str) -> None:
    """Refuse a bucket of another region.

    Raises:
        Refused: It is in one.
    """
    region = region_of(cloud, place.bucket)
    if region not in (None, cloud.region):
        raise Refused(
            "ValidationException",
            f"The bucket {place.bucket} of {what} is in {region}. Please ensure that the bucket exists in "
            f"the selected region ({cloud.region})",
        )
