"""What deployments are called at SageMaker, and in the bucket.

=========================  ===========================================  ==============================
ours                       SageMaker's                                  for example
=========================  ===========================================  ==============================
endpoint                   endpoint, behind the place's prefix          ``wine``, ``team-wine``
deployment                 production variant                           ``v2``
deployment that mirrors    shadow variant                               ``v2--mirror``
what a deployment serves   model, named by its content                  ``wine-v2-0f3a…``
how an endpoint stands     endpoint config, named by its content        ``wine-77b1…``
=========================  ===========================================  ==============================

Names of ours have no two dashes in a row, so that no deployment can be mistaken for a mirror.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from trackbridge_adapters.sagemaker.place import Place

MIRROR = "--mirror"
NATIVE_CHARS_MAX = 63
DIGEST_CHARS = 16
RECORDS = "endpoint-records"
"""Folder of the records, one for each endpoint."""
FOLDER = "endpoints"
"""Folder of all else that an endpoint has in the bucket."""


def native_endpoint(place: Place, endpoint: str) -> str:
    """Return SageMaker's name of an endpoint."""
    return f"{place.prefix}-{endpoint}" if place.prefix else endpoint


def endpoint_of(place: Place, native: str) -> str | None:
    """Return our name of an endpoint of SageMaker's; None for one of another place."""
    if not place.prefix:
        return native
    start = f"{place.prefix}-"
    return native.removeprefix(start) if native.startswith(start) and native != start else None


def variant_of(deployment: str, *, mirrors: bool) -> str:
    """Return the variant of a deployment."""
    return f"{deployment}{MIRROR}" if mirrors else deployment


def deployment_of(variant: str) -> str:
    """Return the deployment of a variant."""
    return variant.removesuffix(MIRROR)


def content_name(parts: tuple[str, ...], content: Any) -> str:
    """Return a name of at most 63 characters that says what it is about and is of one content alone."""
    text = json.dumps([*parts, content], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARS]
    room = (NATIVE_CHARS_MAX - DIGEST_CHARS - len(parts)) // len(parts)
    return "-".join([*(part[:room].strip("-") for part in parts), digest])


def record_key(endpoint: str) -> str:
    """Return where the record of an endpoint lies, below the place's folder."""
    return f"{RECORDS}/{endpoint}.json"


def config_key(endpoint: str, config: str) -> str:
    """Return where it lies what an endpoint config was made from."""
    return f"{FOLDER}/{endpoint}/configs/{config}.json"
