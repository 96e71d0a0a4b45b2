"""What would keep Azure from making a deployment, looked at before anything is billed.

Everything is asked for, nothing is changed; what may not be looked at is a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from urllib.parse import quote

from trackbridge.domain.deployments import DeploymentSpec, EndpointState, Serving
from trackbridge.errors import AuthError, BridgeError, NotFound, Rejected
from trackbridge.ports.findings import Finding, Severity
from trackbridge_adapters.azureml.arm import Arm, Json
from trackbridge_adapters.azureml.assets import CUSTOM, properties_of
from trackbridge_adapters.azureml.config import Workspace
from trackbridge_adapters.azureml.deployments_assets import DeploymentAssets, is_path_here
from trackbridge_adapters.azureml.deployments_requests import MODES, instances_at_first
from trackbridge_adapters.azureml.deployments_resources import BATCH, ONLINE
from trackbridge_adapters.azureml.errors import ROLE_HINT
from trackbridge_adapters.azureml.jobs_places import JobPlaces, Size, sizes_instead
from trackbridge_adapters.azureml.model_files import ModelFiles

PROVIDER = "Microsoft.MachineLearningServices"
ENDPOINTS_MAX, DEPLOYMENTS_MAX, DEPLOYMENTS_IN_ALL_MAX = 100, 20, 500
"""Of a subscription and region, of an endpoint, of a subscription and region (how-to-manage-quotas.md)."""
RESERVED_SHARE = 0.2
"""Azure keeps so much more for upgrades (the same page): quota must hold 120 % of the instances."""
RIGHTS = (
    "onlineEndpoints/write",
    "onlineEndpoints/deployments/write",
    "onlineEndpoints/listKeys/action",
    "models/versions/write",
)
BATCH_RIGHTS = ("batchEndpoints/write", "batchEndpoints/deployments/write", "models/versions/write")
SCALE_RIGHT = "Microsoft.Insights/autoscaleSettings/write"


class DeploymentFindings:
    """Looks at what a deployment needs of one workspace.

    Args:
        arm: Asks ARM.
        workspace: Which.
        places: Sizes of machines, quota and computes.
        assets: Finds models and environments.
        files: Opens addresses of files.
    """

    def __init__(
        self, arm: Arm, workspace: Workspace, places: JobPlaces, assets: DeploymentAssets, files: ModelFiles
    ) -> None:
        self._arm = arm
        self._workspace = workspace
        self._places = places
        self._assets = assets
        self._files = files

    def of(self, spec: DeploymentSpec, observed: EndpointState | None) -> tuple[Finding, ...]:
        """Return what was found; no more is looked at where the workspace cannot be reached."""
        try:
            workspace = self._arm.get(quote(self._workspace.scope), "workspaces")
        except BridgeError as problem:
            hint = problem.hint or "check the workspace's name, and who signs in"
            return (_error("workspace", problem.message, hint),)
        location = str(workspace.get("location") or "")
        looks: Sequence[tuple[str, Callable[[], Iterator[Finding]]]] = (
            ("permissions", lambda: self._rights(spec)),
            ("model", lambda: self._model(spec)),
            ("environment", lambda: self._environment(spec)),
            ("quota", lambda: self._machines(spec, observed)),
            ("endpoint", lambda: self._names(spec, observed, location)),
        )
        return tuple(finding for subject, look in looks for finding in _looked(subject, look))

    def _rights(self, spec: DeploymentSpec) -> Iterator[Finding]:
        path = f"{quote(self._workspace.scope)}/providers/Microsoft.Authorization/permissions"
        permissions = list(self._arm.pages(path, "permissions"))
        kinds = BATCH_RIGHTS if spec.serving is Serving.BATCH else RIGHTS
        wanted = [f"{PROVIDER}/workspaces/{right}" for right in kinds]
        wanted += [SCALE_RIGHT] if spec.autoscale is not None else []
        missing = [right for right in wanted if not is_allowed(permissions, right)]
        if missing:
            fix = ROLE_HINT if missing != [SCALE_RIGHT] else "ask for the role 'Monitoring Contributor'"
            yield _error("permissions", f"who signs in may not {', '.join(missing)}", fix)

    def _model(self, spec: DeploymentSpec) -> Iterator[Finding]:
        has_own = spec.image or spec.environment or spec.options.get("code")
        try:
            found = self._assets.find_model(spec)
            kind = str(properties_of(found or {}).get("modelType") or "")
            if found is None and is_path_here(spec.model_source, self._workspace):
                kind = self._files.type_of(spec.model_source) or ""
        except NotFound as problem:
            yield _error("model", problem.message, problem.hint or "name a version that is there")
            return
        except Rejected as problem:
            yield _error("model", problem.message, problem.hint or "name another version")
            return
        if kind == CUSTOM and not has_own:
            yield _error(
                "model",
                f"{spec.model} is no model in MLflow's format, and Azure does not know how to serve it",
                "name an image that serves it, or a scoring script with an environment",
            )

    def _environment(self, spec: DeploymentSpec) -> Iterator[Finding]:
        try:
            self._assets.find_environment(spec)
        except (NotFound, Rejected) as problem:
            yield _error("environment", problem.message, problem.hint or "list them: az ml environment list")
        compute = spec.options.get("compute")
        if compute and self._places.find_cluster(compute) is None:
            known = ", ".join(self._places.cluster_names()) or "none"
            yield _error(
                "compute",
                f"the workspace has no compute {compute[:60]!r}; there is {known}",
                "az ml compute create",
            )

    def _machines(self, spec: DeploymentSpec, observed: EndpointState | None) -> Iterator[Finding]:
        name = spec.instance_type
        if not name or spec.serving is Serving.BATCH:
            return
        known = {size.name.lower(): size for size in self._places.sizes()}
        size = known.get(name.lower())
        if size is None:
            yield _error(
                "instance_type",
                f"the workspace's region has no instance type {name[:60]!r}",
                sizes_instead(name, known.values()),
            )
            return
        yield from self._quota(spec, size, observed)

    def _quota(self, spec: DeploymentSpec, size: Size, observed: EndpointState | None) -> Iterator[Finding]:
        current = observed.find(spec.deployment) if observed is not None else None
        held = current.instance_count or 0 if current is not None else 0
        count = max(instances_at_first(spec) - held, 0)
        most = spec.autoscale.instances_max if spec.autoscale is not None else 0
        wanted = _cores(size, count)
        for quota in self._places.quotas(size, spot=False):
            left = quota.limit - quota.used
            told = f"{quota.name}: {quota.limit} cores are allowed, {quota.used} in use"
            if wanted > left:
                yield _error(
                    "quota",
                    f"the deployment wants {wanted} cores more, a sixth of them for upgrades; {told}",
                    "ask for more in the portal, or choose fewer or smaller machines",
                )
            elif _cores(size, max(most - held, 0)) > left:
                yield _warning("quota", f"{most} instances do not fit; {told}", "ask for more in the portal")

    def _names(
        self, spec: DeploymentSpec, observed: EndpointState | None, location: str
    ) -> Iterator[Finding]:
        if observed is not None:
            yield from self._authentication(spec, observed)
            is_new = observed.find(spec.deployment) is None
            if is_new and len(observed.deployments) >= DEPLOYMENTS_MAX:
                yield _error(
                    "endpoint",
                    f"the endpoint has {DEPLOYMENTS_MAX} deployments, Azure's limit",
                    "remove one first",
                )
            return
        query = {"$filter": f"resourceType eq '{PROVIDER}/workspaces/onlineEndpoints'"}
        path = f"/subscriptions/{quote(self._workspace.subscription)}/resources"
        there = [
            str(item.get("name") or "").rpartition("/")[2].lower()
            for item in self._arm.pages(path, "resources", query=query)
            if str(item.get("location") or "").lower() == location.lower()
        ]
        if spec.endpoint.lower() in there:
            yield _error(
                "endpoint",
                f"the region has an endpoint {spec.endpoint!r} in another workspace, and names are its own",
                "choose another name",
            )
        if len(there) >= ENDPOINTS_MAX:
            yield _error(
                "endpoint",
                f"the region has {len(there)} endpoints; {ENDPOINTS_MAX} is its limit",
                "delete one first",
            )

    def _authentication(self, spec: DeploymentSpec, observed: EndpointState) -> Iterator[Finding]:
        if spec.authentication is None or not observed.native_id:
            return
        kind = BATCH if spec.serving is Serving.BATCH else ONLINE
        found = str(properties_of(self._arm.get(quote(observed.native_id), kind)).get("authMode") or "")
        if found.lower() != MODES[spec.authentication].lower():
            yield _error(
                "authentication",
                f"the endpoint has the authentication {found}, for all of its deployments",
                "leave authentication out, or choose another name for a new endpoint",
            )


def is_allowed(permissions: Sequence[Json], right: str) -> bool:
    """Tell whether one of some permissions grants a right: actions, without what each of them takes back."""
    return any(
        _matches(permission.get("actions"), right) and not _matches(permission.get("notActions"), right)
        for permission in permissions
    )


def _matches(patterns: Sequence[str] | None, right: str) -> bool:
    from fnmatch import fnmatchcase

    return any(fnmatchcase(right.lower(), str(pattern).lower()) for pattern in patterns or ())


def _cores(size: Size, instances: int) -> int:
    return -(-size.cores * instances * round(100 * (1 + RESERVED_SHARE)) // 100)


def _looked(subject: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except AuthError as problem:
        yield _warning(
            subject,
            f"nobody here may look: {problem.message}",
            "make sure yourself, or ask for the role 'Reader'",
        )
    except BridgeError as problem:
        yield _warning(subject, f"it could not be looked at: {problem.message}", problem.hint or "try again")


def _error(subject: str, message: str, fix: str) -> Finding:
    return Finding(severity=Severity.ERROR, subject=subject, message=message, fix=fix)


def _warning(subject: str, message: str, fix: str) -> Finding:
    return Finding(severity=Severity.WARNING, subject=subject, message=message, fix=fix)
