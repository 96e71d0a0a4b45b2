"""The files of runs and uploads: which there are, and signed addresses for their bytes in Blob storage.

A file is known from the moment its address for writing was asked for, as in the service: also when no byte of
it ever came. It is asked for once: a path that is known is a conflict (lightly-ai/lightly-train#256), and the
address to write it again comes from a route of its own (azureml-mlflow 1.62, ``get_sas``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from trackbridge.testing.emulators.azureml.core import Answer, Cloud, Refused, Request, moment
from trackbridge.testing.emulators.azureml.places import ARTIFACTS, Place, datastore_uri
from trackbridge.testing.emulators.azureml.storage import READ, WRITE

PAGE_ITEMS = 100
PATH_CHARS_MAX = 5_000
"""resource-limits-capacity.md."""
RUN_ORIGIN = "ExperimentRun"


class RunFiles:
    """The files of a cloud's runs and uploads; ``cloud.part(RunFiles)``."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.page_items = PAGE_ITEMS
        """How many rows a page has."""
        self._known: dict[tuple[str, str], dict[str, float]] = {}

    def add(self, workspace_id: str, run: str, paths: Iterable[str]) -> None:
        """Remember files of a run that were written by other ways, such as by a job."""
        known = self._of(workspace_id, f"{RUN_ORIGIN}/dcid.{run}")
        for path in paths:
            known.setdefault(path, self._cloud.now_s())

    def announce(self, request: Request, workspace_id: str, folder: str, items: list[Any]) -> dict[str, Any]:
        """Make new files known, and answer with addresses to write them, or with why not.

        Args:
            request: That asked.
            workspace_id: Of the workspace.
            folder: Such as ``ExperimentRun/dcid.RUN``.
            items: Each with ``path``.
        """
        answer: dict[str, dict[str, Any]] = {"artifacts": {}, "artifactContentInformation": {}, "errors": {}}
        known = self._of(workspace_id, folder)
        for item in items:
            path = str(item["path"])
            problem = _problem(path, folder, known)
            if problem:
                answer["errors"][path] = {"error": {"code": "UserError", "message": problem}}
                continue
            known[path] = self._cloud.now_s()
            answer["artifacts"][path] = self._record(workspace_id, folder, path)
            answer["artifactContentInformation"][path] = self._content(
                request, workspace_id, folder, path, WRITE
            )
        return answer

    def page(self, request: Request, workspace_id: str, folder: str) -> Answer:
        """Answer with a page of what is known."""
        paths = sorted(self._of(workspace_id, folder))
        return self._page(request, paths, lambda path: self._record(workspace_id, folder, path))

    def prefix_page(self, request: Request, workspace_id: str, folder: str) -> Answer:
        """Answer with a page of addresses to read the files whose path begins so."""
        prefix = request.query.get("path", "")
        if not prefix:
            raise Refused(400, "UserError", "path is required")
        paths = sorted(path for path in self._of(workspace_id, folder) if path.startswith(prefix))
        return self._page(
            request, paths, lambda path: self._content(request, workspace_id, folder, path, READ)
        )

    def record(self, request: Request, workspace_id: str, folder: str) -> dict[str, Any]:
        """Return what is told of the file that a request names."""
        return self._record(workspace_id, folder, self._asked(request, workspace_id, folder))

    def content(
        self, request: Request, workspace_id: str, folder: str, permissions: str = READ
    ) -> dict[str, Any]:
        """Return an address to read (or to write again) the file that a request names."""
        path = self._asked(request, workspace_id, folder)
        return self._content(request, workspace_id, folder, path, permissions)

    def uri(self, request: Request, workspace_id: str, folder: str) -> dict[str, Any]:
        """Return the address in a datastore of what a request names."""
        path = request.query.get("path", "")
        return {"uri": datastore_uri(workspace_id, ARTIFACTS, f"{folder}/{path}".rstrip("/"))}

    def _of(self, workspace_id: str, folder: str) -> dict[str, float]:
        return self._known.setdefault((workspace_id.lower(), folder), {})

    def _asked(self, request: Request, workspace_id: str, folder: str) -> str:
        path = request.query.get("path", "")
        if path not in self._of(workspace_id, folder):
            raise Refused(404, "UserError", f"Artifact {folder}/{path} not found")
        return path

    def _record(self, workspace_id: str, folder: str, path: str) -> dict[str, Any]:
        origin, _, container = folder.partition("/")
        return {
            "artifactId": f"{folder}/{path}",
            "origin": origin,
            "container": container,
            "path": path,
            "etag": None,
            "createdTime": moment(self._of(workspace_id, folder)[path]),
            "dataPath": {"dataStoreName": ARTIFACTS, "relativePath": f"{folder}/{path}", "sqlDataPath": None},
            "tags": None,
        }

    def _content(
        self, request: Request, workspace_id: str, folder: str, path: str, permissions: str
    ) -> dict[str, Any]:
        cloud, place = self._cloud, artifact_place(self._cloud, workspace_id).below(f"{folder}/{path}")
        cloud.storage.ensure_container(place.container, account=place.account)
        base = cloud.addresses(request).blob(place.account)
        address = cloud.storage.signed(
            base, place.container, place.path, account=place.account, permissions=permissions
        )
        return {**self._record(workspace_id, folder, path), "contentUri": address}

    def _page(self, request: Request, paths: list[str], describe: Callable[[str], dict[str, Any]]) -> Answer:
        token = request.query.get("continuationToken") or ""
        after = [path for path in paths if path > token]
        items, rest = after[: self.page_items], after[self.page_items :]
        following = items[-1] if rest else None
        content = {"value": [describe(path) for path in items], "continuationToken": following}
        return Answer(200, {**content, "nextLink": None})


def artifact_place(cloud: Cloud, workspace_id: str) -> Place:
    """Return where a workspace keeps the files of its runs."""
    kept = cloud.resources.get(f"{workspace_id}/datastores/{ARTIFACTS}")
    if kept is None:
        raise Refused(404, "UserError", f"Datastore {ARTIFACTS} not found")
    return Place(kept["properties"]["accountName"], kept["properties"]["containerName"], "")


def _problem(path: str, folder: str, known: dict[str, float]) -> str:
    if not path or len(path) > PATH_CHARS_MAX or path.startswith("/"):
        return f"The path {path[:80]!r} is not valid"
    return f"Resource Conflict: ArtifactId {folder}/{path} already exists." if path in known else ""
