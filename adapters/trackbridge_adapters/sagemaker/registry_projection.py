"""What SageMaker itself is told of a model, so that its console, boto3 and policies see it: what fits.

=====================  ==========================================================================
``trackbridge:record`` where the whole record lies; also tells our packages from other people's
``trackbridge:name``   the model's name, where the group has another; ``=26`` stands for ``&`` in UTF-8
``alias:NAME``         the version that an alias points at, by its number in SageMaker
other tags             the model's own
=====================  ==========================================================================

Those are tags of the group. A package has, as customer metadata, ``trackbridge.record``, ``.key`` (the
beginning of its SHA-256), ``.digest``, ``.source``, ``.run_id``, ``.origin.*``, and the version's own tags.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from trackbridge.domain.models import Approval, Origin
from trackbridge_adapters.sagemaker.limits import fits
from trackbridge_adapters.sagemaker.registry_groups import Group
from trackbridge_adapters.sagemaker.registry_native import APPROVALS, SERVICE
from trackbridge_adapters.sagemaker.registry_records import ModelRecord, VersionRecord

RECORD_TAG, NAME_TAG, ALIAS_TAG = "trackbridge:record", "trackbridge:name", "alias:"
OWN_TAGS = "trackbridge:"
RECORD, KEY, DIGEST, SOURCE = (
    "trackbridge.record",
    "trackbridge.key",
    "trackbridge.digest",
    "trackbridge.source",
)
RUN, ORIGIN = "trackbridge.run_id", "trackbridge.origin."
OWN_METADATA = "trackbridge."
GROUP_TAGS_MAX = 40
"""Of the 50 that a group can have; the others are left to whoever tags for costs and policies."""
METADATA_MAX = 45
"""Of 50, in the same spirit."""
TOKEN_CHARS = 32
KEY_CHARS = 32
REASON_CHARS_MAX = 1024
_TAG_MARKS = frozenset(" _.:/+-@")
_QUOTED = re.compile(rb"=([0-9A-F]{2})")
CONTENT_TYPES = ("application/json", "text/csv")


def group_tags(record: ModelRecord, group: Group, address: str) -> dict[str, str]:
    """Return the tags that a group should have of a model."""
    named = {} if group.reference == record.name else {NAME_TAG: quoted(record.name)}
    living = record.living()
    aliases = {
        f"{ALIAS_TAG}{alias}": native_number(living[number].package)
        for alias, number in sorted(record.aliases.items())
        if number in living
    }
    free = {
        key: value
        for key, value in sorted(record.tags.items())
        if not key.startswith((OWN_TAGS, ALIAS_TAG, "aws:"))
    }
    return _fitting(
        ({RECORD_TAG: address} | named, aliases, free),
        "AddTags",
        "Tags.member.Key",
        "Tags.member.Value",
        GROUP_TAGS_MAX,
    )


def tellable(keys: Iterable[str]) -> list[str]:
    """Return those keys that tags of a group, or metadata of a package, may have from us."""
    reserved = (OWN_TAGS, OWN_METADATA, "aws:")
    return [
        key
        for key in keys
        if not key.startswith(reserved) and fits(SERVICE, "AddTags", "Tags.member.Key", key)
    ]


def aliases_in(tags: Mapping[str, str]) -> dict[str, int]:
    """Return the aliases that a group's tags tell, each with SageMaker's number of the version."""
    return {
        key[len(ALIAS_TAG) :]: int(value)
        for key, value in tags.items()
        if key.startswith(ALIAS_TAG) and key != ALIAS_TAG and value.isascii() and value.isdecimal()
    }


def free_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a group that are neither ours nor aliases."""
    return {
        key: value
        for key, value in tags.items()
        if not key.startswith((OWN_TAGS, ALIAS_TAG)) and key != ALIAS_TAG
    }


def metadata(item: VersionRecord, address: str) -> dict[str, str]:
    """Return the customer metadata that a package should have of a version."""
    own = {RECORD: address, DIGEST: item.digest or "", SOURCE: item.source, RUN: item.run_id or ""}
    if item.key is not None:
        own[KEY] = key_mark(item.key)
    origin = {} if item.origin is None else msgspec.structs.asdict(item.origin)
    free = {
        key: value for key, value in sorted(item.tags.items()) if not key.startswith((OWN_METADATA, "aws:"))
    }
    path = "CustomerMetadataProperties"
    return _fitting(
        (own, {ORIGIN + key: text for key, text in origin.items()}, free),
        "CreateModelPackage",
        f"{path}.key",
        f"{path}.value",
        METADATA_MAX,
    )


def origin_in(found: Mapping[str, str]) -> Origin | None:
    """Return the origin that a package's metadata tells; None unless it is whole."""
    texts = {name: found.get(ORIGIN + name) for name in Origin.__struct_fields__}
    return msgspec.convert(texts, Origin) if all(texts.values()) else None


def creation(
    group: Group,
    item: VersionRecord,
    *,
    address: str,
    made: int,
    payload: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the request that makes the package of a version.

    Args:
        group: Of the model.
        item: The version, without a package yet.
        address: Of the record.
        made: When SageMaker made the group: a group that is made again is another one.
        payload: What the request says of the model's files and metrics.
    """
    request: dict[str, Any] = {
        "ModelPackageGroupName": group.reference,
        "ModelApprovalStatus": APPROVALS[Approval.PENDING],
        **payload,
    }
    told = metadata(item, address)
    if told:
        request["CustomerMetadataProperties"] = told
    if item.description and fits(SERVICE, "CreateModelPackage", "ModelPackageDescription", item.description):
        request["ModelPackageDescription"] = item.description
    # Made from the whole request: SageMaker refuses a token that comes again with another one.
    text = msgspec.json.encode([address, made, item.key, item.source, item.digest, request], order="sorted")
    return {**request, "ClientToken": hashlib.sha256(text).hexdigest()[:TOKEN_CHARS]}


def description_of(text: str) -> str:
    """Return a model's description as a group can have it; "" when it cannot."""
    return text if fits(SERVICE, "CreateModelPackageGroup", "ModelPackageGroupDescription", text) else ""


def inference(
    settings_image: str, instance_types: Iterable[str], source: Mapping[str, str]
) -> dict[str, Any]:
    """Return an inference specification for files in S3.

    Args:
        settings_image: The image that serves them.
        instance_types: That it may run on; none says nothing about them.
        source: ``S3Uri``, ``S3DataType`` and ``CompressionType``.
    """
    types = list(instance_types)
    container = {"Image": settings_image, "ModelDataSource": {"S3DataSource": dict(source)}}
    return {
        "Containers": [container],
        "SupportedContentTypes": list(CONTENT_TYPES),
        "SupportedResponseMIMETypes": list(CONTENT_TYPES),
        **({"SupportedRealtimeInferenceInstanceTypes": types} if types else {}),
    }


def words(user: str, why: str) -> str:
    """Return who and why as SageMaker takes it (1,024 characters, one line); who alone where that is all."""
    for text in (f"{user}: {why}" if why else user, user):
        if fits(SERVICE, "UpdateModelPackage", "ApprovalDescription", text):
            return text
    return ""


def quoted(text: str) -> str:
    """Return a text as a tag can have it: ``=`` and two digits for each byte of what a tag cannot have."""
    return "".join(
        character
        if character.isalnum() or character in _TAG_MARKS
        else "".join(f"={byte:02X}" for byte in character.encode())
        for character in text
    )


def unquoted(text: str) -> str:
    """Return the text that ``quoted`` made this of."""
    data = _QUOTED.sub(lambda found: bytes([int(found[1], 16)]), text.encode())
    return data.decode(errors="replace")


def key_mark(key: str) -> str:
    """Return what stands for a key of a creation in metadata."""
    return hashlib.sha256(key.encode()).hexdigest()[:KEY_CHARS]


def native_number(arn: str) -> str:
    """Return SageMaker's number of a package."""
    return arn.rpartition("/")[2]


def _fitting(
    parts: Iterable[Mapping[str, str]], operation: str, key_path: str, value_path: str, most: int
) -> dict[str, str]:
    """Return what fits, the first parts first."""
    kept: dict[str, str] = {}
    for part in parts:
        for key, value in part.items():
            if len(kept) == most:
                return kept
            if (
                value
                and fits(SERVICE, operation, key_path, key)
                and fits(SERVICE, operation, value_path, value)
            ):
                kept[key] = value
    return kept
