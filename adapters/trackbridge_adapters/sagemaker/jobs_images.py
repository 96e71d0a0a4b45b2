"""The image that a job runs in: the one that was named, else AWS's own for a framework; and what is wrong
with one that lies in ECR."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec

from trackbridge.domain.jobs import JobSpec
from trackbridge.errors import AuthError, NotFound, Rejected
from trackbridge.ports.findings import Finding
from trackbridge_adapters._jobs.findings import error
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.clients import Clients
from trackbridge_adapters.sagemaker.jobs_findings import unchecked
from trackbridge_adapters.sagemaker.jobs_settings import IMAGE_VARIABLE, JobSettings
from trackbridge_adapters.sagemaker.place import Place

FRAMEWORKS = {"torch": "pytorch", "tensorflow": "tensorflow", "xgboost": "xgboost"}
"""Requirements that say which of AWS's images has them already."""
FRAMEWORK = "pytorch"
"""The one for everything else: it is kept up to date, for processors of every kind."""
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
ONE_PLATFORM = "docker buildx build --platform linux/amd64 --provenance=false --push …"

_ECR = re.compile(
    r"(?P<account>[0-9]{12})\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.[a-z.]+/"
    r"(?P<repository>[a-z0-9._/-]+?)(?::(?P<tag>[\w.-]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def image_of(spec: JobSpec, settings: JobSettings, place: Place, instance_type: str) -> str:
    """Return the image that a job runs in.

    Raises:
        Rejected: None was named, and AWS's tables of images are not there or have none that fits.
    """
    named = spec.environment.image or settings.image
    if named:
        return named
    if find_spec("sagemaker") is None:
        raise Rejected(
            "nothing says which image the job runs in",
            adapter=ADAPTER,
            operation="jobs.check",
            hint=f"name one that has python: the spec's image, the option job_image, or {IMAGE_VARIABLE}; "
            "or let AWS's tables name one of its own: pip install 'trackbridge[sagemaker]'",
        )
    names = (_NAME.match(requirement) for requirement in spec.environment.requirements)
    wanted = {found[0].lower() for found in names if found}
    framework = next((FRAMEWORKS[name] for name in FRAMEWORKS if name in wanted), FRAMEWORK)
    return framework_image(framework, place.region, instance_type, spec.environment.python)


@lru_cache(maxsize=64)
def framework_image(framework: str, region: str, instance_type: str, python: str | None) -> str:
    """Return AWS's newest image of a framework, by the tables of its SDK.

    Args:
        framework: As AWS calls it.
        region: Of the job.
        instance_type: Decides between processors.
        python: A version such as ``3.11``, where one is asked for.

    Raises:
        Rejected: There is none.
    """
    image_uris = import_module("sagemaker.core.image_uris")  # 3 s, so only when nobody named an image

    versions = image_uris.config_for_framework(framework)["training"]["versions"]
    asked = "py" + "".join((python or "").split(".")[:2])
    for version, told in sorted(versions.items(), key=lambda item: _order(item[0]), reverse=True):
        pythons = told.get("py_versions") or [None]
        fitting = [name for name in pythons if python is None or name in (asked, None)]
        if not fitting:
            continue
        try:
            image: str = image_uris.retrieve(
                framework,
                region,
                version=version,
                py_version=fitting[-1],
                instance_type=instance_type,
                image_scope="training",
            )
        except (ValueError, KeyError):  # not in this region, or not for this processor
            continue
        return image
    raise Rejected(
        f"AWS has no image of {framework} for {instance_type} in {region}"
        + (f" with Python {python}" if python else ""),
        adapter=ADAPTER,
        operation="jobs.check",
        hint="name an image, or ask for another version of Python",
    )


def _order(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"[0-9]+", version)]


def image_findings(image: str, clients: Clients, place: Place) -> Iterator[Finding]:
    """Yield what is wrong with an image, as far as ECR tells."""
    found = _ECR.fullmatch(image)
    if found is None:
        yield error(
            "image",
            f"{image} is not in ECR, and SageMaker takes images from nowhere else",
            f"push it: ACCOUNT.dkr.ecr.{place.region}.amazonaws.com/NAME:TAG",
        )
        return
    if found["region"] != place.region:
        yield error(
            "image",
            f"the image is in {found['region']}, the job in {place.region}",
            f"push it to ECR in {place.region}",
        )
        return
    try:
        kind = _manifest_kind(found, clients)
    except NotFound as missing:
        yield error("image", f"there is no image {image}: {missing.message}", "push it, or correct its name")
        return
    except AuthError as denied:
        yield unchecked("image", "the image", denied, "ecr:BatchGetImage")
        return
    if kind == INDEX:
        yield error(
            "image",
            f"{image} is an index of images ({INDEX}), which SageMaker does not take",
            f"push one for one platform: {ONE_PLATFORM}",
        )


def _manifest_kind(found: re.Match[str], clients: Clients) -> str:
    """Return the media type of an image's manifest.

    Raises:
        NotFound: There is no such image.
    """
    wanted = {"imageDigest": found["digest"]} if found["digest"] else {"imageTag": found["tag"] or "latest"}
    told = clients.call(
        "ecr",
        "BatchGetImage",
        registryId=found["account"],
        repositoryName=found["repository"],
        imageIds=[wanted],
        acceptedMediaTypes=[*MANIFESTS, INDEX, MANIFEST_LIST],
    )
    if not told.get("images"):
        reasons = "; ".join(str(each.get("failureReason", "")) for each in told.get("failures", ()))
        raise NotFound(reasons or "ECR has no such image", adapter=ADAPTER)
    image = told["images"][0]
    kind = image.get("imageManifestMediaType") or _told_by(image.get("imageManifest", ""))
    return str(kind or "")


def _told_by(manifest: str) -> str | None:
    try:
        told = json.loads(manifest)
    except ValueError:
        return None
    kind = told.get("mediaType") if isinstance(told, dict) else None
    return str(kind) if kind else None
