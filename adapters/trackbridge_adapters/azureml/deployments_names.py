"""Names of endpoints and deployments in Azure, and the tags that say what a deployment is.

Azure takes 3 to 32 characters (how-to-manage-quotas.md). A deployment of one or two, such as ``v3``, is
called ``dep-v3`` there, and a name of that form is nobody's own. An endpoint's name is an address, and stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from trackbridge.domain.deployment_changes import checked_endpoint_name, is_endpoint_name
from trackbridge.domain.deployments import DeploymentSpec
from trackbridge.errors import Rejected
from trackbridge_adapters.azureml.clouds import ADAPTER

CHARS_MIN = 3
SHORT = "dep-"
"""How Azure's name of a deployment begins whose own is too short."""
MODEL, DIGEST, ASSET, USER, TIME, SPEC = (
    f"bridge.{name}" for name in ("model", "digest", "asset", "user", "time", "spec")
)
"""Tags of a deployment: the model's reference and digest, its asset in Azure, who brought it and when (in
milliseconds since 1970), and all of the spec, in pieces: ``bridge.spec.0``, ``bridge.spec.1``, …"""
MIRRORED = "bridge.mirrored"
"""Tag of an endpoint: ``DEPLOYMENT BEGIN END``, the last time that copies were sent to a deployment."""
TAG_CHARS_MAX = 256
"""Of a value (learn.microsoft.com, tag-resources); a resource has at most 50."""
PIECES_MAX = 40
_SHORT = re.compile(rf"{SHORT}[a-zA-Z][a-zA-Z0-9]?")
OPERATION = "deployments.plan"


def checked_names(endpoint: str, deployment: str) -> None:
    """Return if Azure can have an endpoint and a deployment of these names.

    Raises:
        Rejected: It cannot.
    """
    checked_endpoint_name(endpoint)
    checked_endpoint_name(deployment, "deployment")
    if len(endpoint) < CHARS_MIN:
        raise rejected(
            f"{endpoint!r} cannot be the name of an endpoint in Azure",
            f"use {CHARS_MIN} to 32 letters, digits and single dashes; begin with a letter",
        )
    if _SHORT.fullmatch(deployment):
        raise rejected(
            f"{deployment!r} stands for a deployment {deployment[len(SHORT) :]!r} in Azure",
            "choose another name",
        )


def is_name(endpoint: str) -> bool:
    """Tell whether an endpoint can have this name."""
    return len(endpoint) >= CHARS_MIN and is_endpoint_name(endpoint)


def native_deployment(name: str) -> str:
    """Return what a deployment is called in Azure."""
    return name if len(name) >= CHARS_MIN else f"{SHORT}{name}"


def own_deployment(native: str) -> str:
    """Return what a deployment of Azure is called here."""
    return native[len(SHORT) :] if _SHORT.fullmatch(native) else native


def named_natively(shares: Mapping[str, int]) -> dict[str, int]:
    """Return shares of the traffic by Azure's names."""
    return {native_deployment(name): percent for name, percent in shares.items()}


def spec_tags(spec: DeploymentSpec, asset: str, *, user: str, time_ms: int) -> dict[str, str]:
    """Return the tags of a deployment.

    Raises:
        Rejected: The spec is too long for them.
    """
    told = {MODEL: spec.model, DIGEST: spec.model_digest, USER: user, TIME: str(time_ms)}
    tags = {name: text[:TAG_CHARS_MAX] for name, text in told.items() if text}
    pieces = {ASSET: asset, SPEC: _spec_text(spec)}
    for name, text in pieces.items():
        tags |= {f"{name}.{number}": piece for number, piece in enumerate(_pieces(text))}
    return tags


def checked_size(spec: DeploymentSpec) -> None:
    """Return if the tags of a deployment can hold a spec.

    Raises:
        Rejected: They cannot.
    """
    if len(_spec_text(spec)) > PIECES_MAX * TAG_CHARS_MAX:
        raise rejected(
            f"the spec is longer than {PIECES_MAX * TAG_CHARS_MAX:,} characters, which Azure's tags hold",
            "put long values into a file that the model reads, and give its name as a variable",
        )


def spec_in(tags: Mapping[str, Any]) -> DeploymentSpec | None:
    """Return the spec that tags hold; None where they hold none."""
    try:
        return msgspec.json.decode(_joined(tags, SPEC), type=DeploymentSpec)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def asset_in(tags: Mapping[str, Any]) -> str:
    """Return the id of the model's asset that a deployment was made with."""
    return _joined(tags, ASSET)


def without_ours(tags: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the tags that are not ours."""
    return {str(name): str(value) for name, value in (tags or {}).items() if not name.startswith("bridge.")}


def _spec_text(spec: DeploymentSpec) -> str:
    facts = msgspec.to_builtins(spec)
    plain = msgspec.to_builtins(DeploymentSpec(endpoint="", deployment="", model=""))
    kept = {name: value for name, value in facts.items() if value != plain[name]}
    for share in ("traffic_percent", "mirror_percent"):  # they are the endpoint's
        kept.pop(share, None)
    return msgspec.json.encode(kept, order="deterministic").decode()


def _pieces(text: str) -> Sequence[str]:
    return [text[start : start + TAG_CHARS_MAX] for start in range(0, len(text), TAG_CHARS_MAX)]


def _joined(tags: Mapping[str, Any], name: str) -> str:
    found: list[str] = []
    while (piece := tags.get(f"{name}.{len(found)}")) is not None:
        found.append(str(piece))
    return "".join(found)


def rejected(message: str, hint: str, *, operation: str = OPERATION) -> Rejected:
    """Return the error for what Azure cannot hold."""
    return Rejected(message, adapter=ADAPTER, operation=operation, hint=hint)
