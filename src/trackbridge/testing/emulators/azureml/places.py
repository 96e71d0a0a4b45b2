"""Where files lie: from the addresses that assets have to a blob's account, container and path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from trackbridge.testing.emulators.azureml.core import Cloud
from trackbridge.testing.emulators.azureml.resources import resource_key
from trackbridge.testing.emulators.azureml.storage import Blob

ARTIFACTS = "workspaceartifactstore"
_LONG = re.compile(
    r"azureml://subscriptions/(?P<subscription>[^/]+)/resource[gG]roups/(?P<group>[^/]+)(?:/providers/[^/]+)?"
    r"/workspaces/(?P<workspace>[^/]+)/datastores/(?P<datastore>[^/]+)/paths/(?P<path>.*)"
)
_SHORT = re.compile(r"azureml://datastores/(?P<datastore>[^/]+)/(?:paths/)?(?P<path>.*)")
_JOB = re.compile(r"azureml://jobs/(?P<job>[^/]+)/outputs/(?P<output>[^/]+)(?:/paths)?(?:/(?P<path>.*))?")
_RUN = re.compile(r"runs:/(?P<run>[^/]+)(?:/(?P<path>.*))?")
_RUN_FILES = re.compile(r"azureml://.*/runs/(?P<run>[^/]+)/artifacts(?:/(?P<path>.*))?")
_UPLOAD = re.compile(r"azureml://artifacts/(?P<origin>[^/]+)/(?P<container>[^/]+)(?:/(?P<path>.*))?")
_REGISTRY = re.compile(
    r"azureml://registries/(?P<registry>[^/]+)/(?:models|data|codes)/[^/]+/versions/[^/]+(?P<path>/.*)?"
)
_HOST = re.compile(r"https?://(?P<account>[a-z0-9]+)\.blob\.[^/]+/(?P<container>[^/?]+)/?(?P<path>[^?]*)")
_DIRECT = re.compile(r"https?://[^/]+/(?P<account>[a-z0-9]{3,24})/(?P<container>[^/?]+)/?(?P<path>[^?]*)")
_PROVIDER = "Microsoft.MachineLearningServices"


@dataclass(frozen=True, slots=True)
class Place:
    """A path in a container; a folder's is without a slash at its end."""

    account: str
    container: str
    path: str

    def blobs(self, cloud: Cloud) -> list[Blob]:
        """Return the file that lies here, or all below it."""
        found = cloud.storage.blobs(self.path, container=self.container, account=self.account)
        start = f"{self.path}/" if self.path else ""
        return [blob for blob in found if blob.path == self.path or blob.path.startswith(start)]

    def below(self, path: str) -> Place:
        """Return a place below this one."""
        joined = "/".join(part for part in (self.path, path.strip("/")) if part)
        return Place(self.account, self.container, joined)

    def read(self, cloud: Cloud, path: str = "") -> bytes | None:
        """Return a file at or below this place, None when it is not there."""
        place = self.below(path)
        if not cloud.storage.exists(place.path, container=self.container, account=self.account):
            return None
        return cloud.storage.get(place.path, container=self.container, account=self.account)

    def address(self, cloud: Cloud) -> str:
        """Return the address of Azure's own host, as assets of registries have it."""
        suffix = cloud.addresses(None).storage_suffix
        return f"https://{self.account}.blob.{suffix}/{self.container}/{self.path}"


def datastore_uri(workspace_id: str, datastore: str, path: str) -> str:
    """Return the long address of a path in a datastore, as the service tells it."""
    names = workspace_id.strip("/").split("/")
    return (
        f"azureml://subscriptions/{names[1]}/resourcegroups/{names[3]}/workspaces/{names[7]}"
        f"/datastores/{datastore}/paths/{path}"
    )


def settled(cloud: Cloud, workspace_id: str, uri: str) -> str:
    """Return the address under which an asset keeps its files: of a datastore, whatever way was given.

    Files of runs and of jobs' outputs are told by where they lie; any other address stays as it is.
    """
    run = _RUN.fullmatch(uri) or _RUN_FILES.fullmatch(uri)
    if run is not None:
        return datastore_uri(workspace_id, ARTIFACTS, _of_run(run["run"], run["path"]))
    upload = _UPLOAD.fullmatch(uri)
    if upload is not None:
        path = "/".join(filter(None, (upload["origin"], upload["container"], upload["path"])))
        return datastore_uri(workspace_id, ARTIFACTS, path)
    job = _JOB.fullmatch(uri)
    if job is not None:
        return _of_output(cloud, workspace_id, job["job"], job["output"], job["path"] or "")
    short = _SHORT.fullmatch(uri)
    if short is not None:
        return datastore_uri(workspace_id, short["datastore"], short["path"])
    return uri


def place_of(cloud: Cloud, workspace_id: str, uri: str) -> Place | None:
    """Return where an address leads, None when it leads to no storage of this cloud.

    Args:
        cloud: That has the storage.
        workspace_id: In which short addresses count.
        uri: ``azureml://…``, ``runs:/…`` or the address of a blob or of a folder of them.
    """
    web = _HOST.fullmatch(uri.partition("?")[0]) or _DIRECT.fullmatch(uri.partition("?")[0])
    if web is not None:
        return Place(web["account"], web["container"], unquote(web["path"]).rstrip("/"))
    shared = _REGISTRY.fullmatch(uri)
    if shared is not None:
        return _of_registry(cloud, workspace_id, uri.removesuffix(shared["path"] or ""), shared["path"] or "")
    long = _LONG.fullmatch(settled(cloud, workspace_id, uri))
    if long is None:
        return None
    scope = (
        f"/subscriptions/{long['subscription']}/resourceGroups/{long['group']}/providers/{_PROVIDER}"
        f"/workspaces/{long['workspace']}"
    )
    datastore = cloud.resources.get(f"{scope}/datastores/{long['datastore']}")
    if datastore is None or "containerName" not in datastore["properties"]:
        return None
    kept = datastore["properties"]
    return Place(kept["accountName"], kept["containerName"], long["path"].strip("/"))


def _of_registry(cloud: Cloud, workspace_id: str, asset: str, path: str) -> Place | None:
    wanted = resource_key(asset)
    for _, held in cloud.resources.below("/subscriptions"):
        if resource_key(held["id"]) == wanted:
            kept = held["properties"]
            uri = kept.get("modelUri") or kept.get("dataUri") or kept.get("codeUri") or ""
            place = place_of(cloud, workspace_id, uri)
            return place.below(path) if place else None
    return None


def _of_run(run: str, path: str | None) -> str:
    return "/".join(filter(None, (f"ExperimentRun/dcid.{run}", (path or "").strip("/"))))


def _of_output(cloud: Cloud, workspace_id: str, job: str, output: str, path: str) -> str:
    if output in ("artifacts", "default"):
        return datastore_uri(workspace_id, ARTIFACTS, _of_run(job, path))
    kept = cloud.resources.get(f"{workspace_id}/jobs/{job}")
    named = ((kept or {}).get("properties", {}).get("outputs") or {}).get(output) or {}
    root = named.get("uri") or f"azureml://datastores/workspaceblobstore/paths/azureml/{job}/{output}/"
    return settled(cloud, workspace_id, f"{root.rstrip('/')}/{path}" if path else root)
