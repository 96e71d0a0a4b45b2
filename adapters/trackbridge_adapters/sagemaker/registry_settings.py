"""Options of a remote that concern registered models.

===================  ===================================================================================
``image``            the image in ECR that serves models; packages have an inference specification then
``instance_types``   instance types that it may run on, with commas between: ``ml.m5.large,ml.g5.xlarge``
``model_archive``    ``true``: models are packed as ``model.tar.gz`` too, for images that take nothing else
``shared_groups``    package groups of other accounts: ``NAME=ARN,NAME=ARN``
===================  ===================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from trackbridge.errors import ConfigError
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.registry_groups import shared_groups

OPTIONS = frozenset({"image", "instance_types", "model_archive", "shared_groups"})
_IMAGE = re.compile(r"\S{1,255}")
_INSTANCE_TYPE = re.compile(r"ml\.[a-z0-9-]{1,30}\.[a-z0-9-]{1,30}")
_FLAGS = {"": False, "false": False, "0": False, "no": False, "true": True, "1": True, "yes": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """What packages say beyond their model."""

    image: str = ""
    instance_types: tuple[str, ...] = ()
    archive: bool = False
    shared: Mapping[str, str] = field(default_factory=dict)


def registry_settings(options: Mapping[str, str]) -> RegistrySettings:
    """Read the options.

    Raises:
        ConfigError: One of them is wrong.
    """
    image = options.get("image", "")
    if image and not _IMAGE.fullmatch(image):
        raise _wrong(f"image is {image[:60]!r}", "write ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY:TAG")
    types = tuple(filter(None, (part.strip() for part in options.get("instance_types", "").split(","))))
    unknown = next((part for part in types if not _INSTANCE_TYPE.fullmatch(part)), None)
    if unknown is not None:
        raise _wrong(f"{unknown[:40]!r} is no instance type", "write instance_types=ml.m5.large,ml.g5.xlarge")
    flag = options.get("model_archive", "").lower()
    if flag not in _FLAGS:
        raise _wrong(f"model_archive is {flag[:20]!r}", "write model_archive=true or model_archive=false")
    return RegistrySettings(
        image=image,
        instance_types=types,
        archive=_FLAGS[flag],
        shared=shared_groups(options.get("shared_groups", "")),
    )


def _wrong(message: str, hint: str) -> ConfigError:
    return ConfigError(message, adapter=ADAPTER, hint=hint)
