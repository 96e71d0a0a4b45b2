"""What a deployment names, brought into the workspace: its model, its image, its code, its collections.

==================================================  ==========================================================
source of the model                                 what the deployment names
==================================================  ==========================================================
``azureml:NAME:VERSION``, ``azureml://…/models/…``  that version, of the workspace or of a registry
``azureml://…/paths/…`` of the workspace            a version of ``bridge-deployed`` at that address
a folder of this machine                            the version it is registered as here, if its digest is the
                                                    same; else a version of ``bridge-deployed``, uploaded
==================================================  ==========================================================

Versions of ``bridge-deployed`` are called by the digest of their content: what is there is not sent again.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from pathlib import Path
from urllib.parse import quote

import msgspec

from trackbridge.domain.deployments import DeploymentSpec, Serving
from trackbridge.domain.jobs import Environment
from trackbridge.errors import AuthError, BridgeError, ConfigError, Conflict, NotFound
from trackbridge_adapters._mlflow_rest.registry_values import DIGEST
from trackbridge_adapters.azureml.arm import Json
from trackbridge_adapters.azureml.assets import CUSTOM, MLFLOW, Assets, properties_of, tags_of
from trackbridge_adapters.azureml.config import Workspace
from trackbridge_adapters.azureml.datastores import DEFAULT
from trackbridge_adapters.azureml.deployments_checks import RAW, form_of
from trackbridge_adapters.azureml.deployments_names import native_deployment, rejected
from trackbridge_adapters.azureml.deployments_requests import COLLECTIONS, SCRIPT, Brought, counts_itself
from trackbridge_adapters.azureml.jobs_assets import JobAssets
from trackbridge_adapters.azureml.model_files import ModelFiles
from trackbridge_adapters.azureml.model_names import native_name
from trackbridge_adapters.azureml.paths import parse_path
from trackbridge_adapters.azureml.registry_organisation import MLMODEL, REGISTERED, source_of

DEPLOYED = "bridge-deployed"
"""The model whose versions are what was deployed and is registered nowhere in Azure."""
VERSION = "1"
FOLDER = "modelDataCollector"
"""Where in the datastore payloads are kept, below the names of endpoint, deployment and collection."""
SCORING_ROUTE, HEALTH_ROUTE, PORT = "/score", "/ping", 8080
"""Of our own server in an image."""
OUR_SCRIPT = "deployments_score.py"
_SHORT = re.compile(r"azureml:(?P<name>[^/:@]+):(?P<version>[^/:@]+)")
_APPLY = "deployments.apply"


class DeploymentAssets:
    """Assets that deployments of one workspace name. Any thread may use it.

    Args:
        assets: Of the workspace.
        workspace: Which.
        files: Brings files of models into the workspace's storage.
        jobs: Finds environments.
    """

    def __init__(self, assets: Assets, workspace: Workspace, files: ModelFiles, jobs: JobAssets) -> None:
        self._assets = assets
        self._workspace = workspace
        self._files = files
        self._jobs = jobs

    def bring(self, spec: DeploymentSpec, payload: Path | None) -> Brought:
        """Return the ids of all that a deployment names; what is not there is made.

        Raises:
            Rejected: The payload is needed, and was not given; or Azure cannot serve such a model.
            NotFound: Something that the spec names is not there.
        """
        compute = spec.options.get("compute", "")
        environment = self._environment_id(spec)
        return Brought(
            model=self.model_id(spec, payload),
            environment=environment,
            code=self._code(spec, environment),
            compute=f"{self._workspace.scope}/computes/{compute}" if compute else "",
            collections=self._collections(spec) if spec.capture_percent else None,
            insights=self._insights() if spec.detailed_metrics and counts_itself(spec) else "",
        )

    # The model.

    def model_id(self, spec: DeploymentSpec, payload: Path | None) -> str:
        """Return the id of the model's version, which is made where there is none."""
        found = self.find_model(spec)
        if found is not None:
            self._refuse_unservable(spec, str(properties_of(found).get("modelType") or ""))
            return str(found["id"])
        if is_path_here(spec.model_source, self._workspace):
            kind = self._files.type_of(spec.model_source) or MLFLOW
            self._refuse_unservable(spec, kind)
            return self._registered(spec, self._files.full_address(spec.model_source), kind)
        if payload is None:
            raise rejected(
                f"{spec.model} is not in the workspace, and its files were not given",
                "apply the plan where the model can be read",
                operation=_APPLY,
            )
        kind = MLFLOW if (payload / MLMODEL).is_file() else CUSTOM
        self._refuse_unservable(spec, kind)
        return self._registered(spec, self._files.upload(payload), kind)

    def find_model(self, spec: DeploymentSpec) -> Json | None:
        """Return the version that a spec's model is here, or in a registry; None where there is none.

        Raises:
            NotFound: The source names a version that is not there.
        """
        named = registered_name(spec.model_source, self._workspace)
        if named is not None:
            return self._assets.version("models", *named)
        if REGISTERED.fullmatch(spec.model_source):
            self._files.known_digest(spec.model_source)  # is it there?
            return {"id": spec.model_source.rstrip("/")}
        return self._by_reference(spec) or self._assets.find_version("models", DEPLOYED, _version_of(spec))

    def _by_reference(self, spec: DeploymentSpec) -> Json | None:
        """Return the version of the model's name in this workspace, where it has the same content."""
        name, _, version = spec.model.removeprefix("models:/").rpartition("/")
        if not spec.model.startswith("models:/") or not spec.model_digest or not name:
            return None
        try:
            found = self._assets.find_version("models", native_name(name), version)
        except BridgeError:  # a name that no asset can have
            return None
        return found if found is not None and tags_of(found).get(DIGEST) == spec.model_digest else None

    def _registered(self, spec: DeploymentSpec, address: str, kind: str) -> str:
        version = _version_of(spec)
        told = {"model": spec.model, "digest": spec.model_digest}
        properties = {
            "modelType": kind,
            "modelUri": address,
            "description": "deployed by trackbridge",
            "tags": {f"bridge.{name}": text for name, text in told.items() if text},
            "isAnonymous": False,
            "isArchived": False,
        }
        path = f"{self._assets.scope}/models/{DEPLOYED}/versions/{version}"
        try:
            self._assets.arm.put(path, "models", {"properties": properties})
        except Conflict:  # somebody who brought the same was faster, to another address
            self._assets.version("models", DEPLOYED, version)
        return self._assets.id_of("models", DEPLOYED, version)

    def _refuse_unservable(self, spec: DeploymentSpec, kind: str) -> None:
        has_own = spec.image or spec.environment or spec.options.get("code")
        if kind == CUSTOM and not has_own:
            raise rejected(
                f"{spec.model} is no model in MLflow's format, and Azure does not know how to serve it",
                "name an image that serves it, or a scoring script (options code and scoring_script) with an "
                "environment",
                operation=_APPLY,
            )

    # The rest.

    def find_environment(self, spec: DeploymentSpec) -> str:
        """Return the id of the environment that a spec names; "" where it names none.

        Raises:
            NotFound: It is not there.
        """
        if not spec.environment:
            return ""
        if spec.environment.startswith("/subscriptions/"):
            self._assets.arm.get(spec.environment, "environments")
            return spec.environment
        if not spec.environment.startswith("azureml:"):
            raise rejected(
                f"{spec.environment!r} names no environment",
                "write azureml:NAME:VERSION or azureml:NAME@latest",
            )
        return self._jobs.environment_id(Environment(image=spec.environment))

    def _environment_id(self, spec: DeploymentSpec) -> str:
        if spec.image is None:
            return self.find_environment(spec)
        wanted: Json = {"image": spec.image, "osType": "Linux"}
        if not spec.options.get("code"):
            wanted["inferenceConfig"] = _routes(spec)
        name = f"bridge-{_digest(msgspec.json.encode(wanted, order='deterministic'))}"
        if self._assets.find_version("environments", name, VERSION) is None:
            path = f"{self._assets.scope}/environments/{name}/versions/{VERSION}"
            self._assets.arm.put(path, "environments", {"properties": wanted})
        return self._assets.id_of("environments", name, VERSION)

    def _code(self, spec: DeploymentSpec, environment: str) -> str:
        """Return the id of the code of a deployment: its own, or our script; "" where it has none."""
        own = spec.options.get("code")
        if own:
            return self._code_id(Path(own))
        if not spec.environment or spec.serving is Serving.BATCH or form_of(spec) == RAW:
            return ""
        if environment.startswith("/"):
            found = properties_of(self._assets.arm.get(quote(environment), "environments"))
            if found.get("inferenceConfig"):  # a container that serves by itself
                return ""
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder) / "code"
            script.mkdir()
            shutil.copy(Path(__file__).with_name(OUR_SCRIPT), script / SCRIPT)
            return self._code_id(script)

    def _insights(self) -> str:
        """Return how the workspace's Application Insights are reached; "" where that may not be seen."""
        try:
            workspace = self._assets.arm.get(quote(self._workspace.scope), "workspaces")
            component = str(properties_of(workspace).get("applicationInsights") or "")
            told = self._assets.arm.get(quote(component), "components") if component else {}
        except (AuthError, NotFound):  # requests are counted by the platform all the same
            return ""
        return str(properties_of(told).get("ConnectionString") or "")

    def _code_id(self, folder: Path) -> str:
        path = self._files.upload(folder).partition("/paths/")[2]
        name = f"bridge-{_digest(path.encode())}"
        if self._assets.find_version("codes", name, VERSION) is None:
            uri = f"{self._files.container_address()}/{path}"
            body = {"codeUri": uri, "isAnonymous": True}
            where = f"{self._assets.scope}/codes/{name}/versions/{VERSION}"
            self._assets.arm.put(where, "codes", {"properties": body})
        return self._assets.id_of("codes", name, VERSION)

    def _collections(self, spec: DeploymentSpec) -> dict[str, str]:
        """Return the data assets of what is kept; azure-ai-ml makes them as well."""
        found = {}
        for collection in COLLECTIONS:
            name = f"{spec.endpoint}-{native_deployment(spec.deployment)}-{collection}"
            uri = f"azureml://datastores/{DEFAULT}/paths/{collected_folder(spec.endpoint, spec.deployment)}"
            if self._assets.find_version("data", name, VERSION) is None:
                path = f"{self._assets.scope}/data/{name}/versions/{VERSION}"
                body = {"dataType": "uri_folder", "dataUri": f"{uri}/{collection}", "isAnonymous": False}
                self._assets.arm.put(path, "data", {"properties": body})
            found[collection] = self._assets.id_of("data", name, VERSION)
        return found


def collected_folder(endpoint: str, deployment: str) -> str:
    """Return where the payloads of a deployment are kept, in the default datastore."""
    return f"{FOLDER}/{endpoint}/{native_deployment(deployment)}"


def registered_name(source: str, workspace: Workspace) -> tuple[str, str] | None:
    """Return name and version of a model of the workspace that a source names; None for any other source."""
    short = _SHORT.fullmatch(source)
    if short is not None:
        return short["name"], short["version"]
    named = source_of(source)
    if named is None or named[0].address.lower() != workspace.address.lower():
        return None
    return named[1]["name"], named[1]["version"]


def is_path_here(source: str, workspace: Workspace) -> bool:
    """Tell whether a source is an address of files in a datastore of the workspace, or of a job of it."""
    try:
        named = parse_path(source)
    except ConfigError:
        return False
    where = f"{workspace.subscription}/{workspace.group}/{workspace.name}".lower()
    return named.kind in ("datastore", "job") and named.workspace in ("", where)


def can_read(source: str, workspace: Workspace) -> bool:
    """Tell whether a deployment can name this source itself; contacts nobody."""
    is_named = registered_name(source, workspace) is not None or REGISTERED.fullmatch(source) is not None
    return is_named or is_path_here(source, workspace)


def _routes(spec: DeploymentSpec) -> Json:
    port = int(spec.options.get("port", PORT))
    health = {"path": spec.options.get("health_route", HEALTH_ROUTE), "port": port}
    scoring = {"path": spec.options.get("scoring_route", SCORING_ROUTE), "port": port}
    return {"livenessRoute": health, "readinessRoute": health, "scoringRoute": scoring}


def _version_of(spec: DeploymentSpec) -> str:
    return _digest((spec.model_digest or f"{spec.model} {spec.model_source}").encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
