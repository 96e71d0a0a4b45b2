"""Calls that an emulator was asked, by the names that the tables have for them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from trackbridge.testing.emulators.azureml.core import PROVIDER
from trackbridge.testing.emulators.azureml.server import Call as AzureCall
from trackbridge.testing.emulators.azureml.tokens import (
    DISCOVERY_END,
    IDENTITY_PATH,
    INSTANCE_PATH,
    SIGN_IN_END,
)
from trackbridge.testing.emulators.sagemaker.server import Call as AwsCall

_SERVICES = {"monitoring": "cloudwatch", "servicequotas": "service-quotas"}
"""What signatures call otherwise than botocore does."""
_TAGS = frozenset({"AddTags", "DeleteTags", "ListTags"})
_SCOPE_OF_KIND = {
    "experiment": "experiments",
    "experiment-trial": "experiments",
    "experiment-trial-component": "experiments",
    "model-package-group": "model_packages",
    "model-package": "model_packages",
}
_MLFLOW = re.compile(r".*/mlflow/(?P<route>.+)")
_API = re.compile(r".*/api/\d\.0/mlflow/(?P<route>.+)")
_ID = re.compile(r"(?<=^logged-models/)(?!search$)[^/]+|(?<=/tags/)[^/]+")
_HISTORY = re.compile(r"/history/v1\.0/.*?/workspaces/[^/]+/(?:experiment(?:id)?s/[^/]+/)?(?P<route>.*)")
_ARTIFACT = re.compile(r"/artifact/v2\.0/.*?/workspaces/[^/]+/artifacts/[^/]+/[^/]+/(?P<route>.*)")


def aws_call(call: AwsCall) -> str:
    """Return the name of a call of AWS."""
    service = _SERVICES.get(call.service, call.service)
    name = f"{service}:{call.name}"
    if service != "sagemaker" or call.operation not in _TAGS:
        return name
    kind = str(call.params.get("ResourceArn", "")).rpartition(":")[2].partition("/")[0]
    return f"{name}@{_SCOPE_OF_KIND.get(kind, kind)}"


def mlflow_call(method: str, path: str) -> str:
    """Return the name of a request to managed MLflow."""
    found = _MLFLOW.fullmatch(path)
    return f"mlflow:{method} {_ID.sub('ID', found['route'] if found else path)}"


def azure_calls(calls: Iterable[AzureCall]) -> frozenset[str]:
    """Return the names of requests to Azure; those for tokens and of what a cloud is left out."""
    return frozenset(f"{call.method} {kind}" for call in calls if (kind := _kind(call.method, call.path)))


def blob_call(method: str, target: str) -> str:
    """Return the name of a request to Blob storage: what it needs depends on the method alone."""
    del target
    return f"{'GET' if method == 'HEAD' else method} blobs"


def _kind(method: str, path: str) -> str:
    if path in (IDENTITY_PATH, INSTANCE_PATH, "/discovery") or path.endswith((SIGN_IN_END, DISCOVERY_END)):
        return ""
    if path.startswith("/mlflow/"):
        return "mlflow/" + (
            _ID.sub("ID", found["route"]) if (found := _API.fullmatch(path)) else path.rpartition("/")[2]
        )
    if (found := _HISTORY.fullmatch(path)) is not None:
        return "history/" + re.sub(r"^runs/[^/]+/", "runs/", found["route"]).replace(
            "runs/artifacts", "artifacts"
        )
    if (found := _ARTIFACT.fullmatch(path)) is not None:
        return f"artifact/{found['route']}"
    if path.startswith("/endpoints/"):
        return "scoring/jobs" if path.endswith("/jobs") else "scoring"
    if path.startswith("/keyvault/"):
        return "vault/secrets"
    return _type(method, path)


def _type(method: str, path: str) -> str:
    """Return the type of a resource of Resource Manager, by its path; of an action with its name."""
    _, has_provider, rest = path.rpartition("/providers/")
    if not has_provider:
        return path.strip("/").split("/")[2 if path.count("/") > 1 else 0]
    provider, *parts = rest.split("/")
    names = parts[::2]
    if method == "POST" and len(parts) % 2:  # the last part is what to do
        names = [*parts[:-1:2], parts[-1]]
    return "/".join(names) if provider.lower() == PROVIDER.lower() else names[0]
