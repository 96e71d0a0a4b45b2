"""From a deployment back to the model version that it serves."""

from __future__ import annotations

import msgspec

from trackbridge.domain.deployments import DeploymentSpec, DeploymentState, EndpointState
from trackbridge.domain.models import ModelVersion
from trackbridge.errors import InvalidInput, NotFound
from trackbridge.operations.model_payloads import at_registry, resolve_version
from trackbridge.ports.registry import ModelRegistry


def chosen_deployment(state: EndpointState, name: str | None) -> DeploymentState:
    """Return a deployment by its name, by default the one with the most traffic.

    Raises:
        NotFound: There is none of this name, or none at all.
    """
    if name is None and state.deployments:
        return max(state.deployments, key=lambda found: found.traffic_percent)
    found = state.find(name or "")
    if found is None:
        known = ", ".join(item.deployment for item in state.deployments) or "none"
        raise NotFound(
            f"endpoint {state.endpoint!r} has no deployment {(name or '')[:80]!r}",
            hint=f"its deployments: {known}",
        )
    return found


def version_behind(found: DeploymentState, registry: ModelRegistry) -> ModelVersion:
    """Return the registered version that a deployment serves.

    Raises:
        NotFound: It is not registered there, or the target does not know which it is.
    """
    try:
        return resolve_version(found.model, registry)
    except InvalidInput as error:
        raise NotFound(
            f"which registered version the deployment {found.deployment!r} serves is not known "
            f"({found.model[:120] or 'nothing is said'})",
            hint="name the run yourself: --log-to runs:/RUN_ID",
        ) from error


def spec_behind(endpoint: str, found: DeploymentState, registry: ModelRegistry | None) -> DeploymentSpec:
    """Return a deployment's spec with where its model lies, asked of the registry where it is not known.

    Raises:
        NotFound: The version is not registered there.
    """
    spec = found.spec or DeploymentSpec(endpoint=endpoint, deployment=found.deployment, model=found.model)
    if spec.model_source or registry is None:
        return spec
    version = at_registry(version_behind(found, registry), registry)
    return msgspec.structs.replace(spec, model_source=version.source)
