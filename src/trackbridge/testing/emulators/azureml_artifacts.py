"""The run history of the Azure ML double: which files a run has, and signed addresses for their bytes.

A file is known from the moment its address for writing was asked for, as in the service: also when no byte of
it ever came. It is asked for once: a path that is known is a conflict (lightly-ai/lightly-train#256), and the
address to write it again comes from the artifact service's own route (azureml-mlflow 1.62, ``get_sas``).
"""

from __future__ import annotations

import json
import re
import threading
from typing import Any

from trackbridge.testing.emulators.azureml_blobs import BlobStore
from trackbridge.testing.emulators.azureml_rules import Broken

PAGE_ITEMS = 100
PATH_CHARS_MAX = 5000
_RUN_SOURCE = re.compile(r"azureml://.*/runs/(?P<run>[^/]+)/artifacts/(?P<path>.+?)/?")


class RunArtifacts:
    """Files by run and path. ``page_items`` is the size of a page of a listing."""

    def __init__(self, blobs: BlobStore) -> None:
        self.page_items = PAGE_ITEMS
        self._blobs = blobs
        self._lock = threading.Lock()
        self._paths: dict[str, set[str]] = {}

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._paths.clear()

    def answer(
        self, method: str, route: str, run: str, query: dict[str, str], body: bytes, base: str
    ) -> tuple[int, Any]:
        """Answer a route below ``…/runs/RUN/artifacts``: a status, and JSON or why not."""
        if (method, route) == ("POST", "batch/metadata"):
            return self._announced(run, json.loads(body), base)
        if method != "GET":
            return 405, f"{method} is not supported"
        if route == "":
            return self._page(run, sorted(self._paths.get(run, ())), query, lambda path: _record(run, path))
        path = query.get("path", "")
        if route == "prefix/contentinfo":
            if not path:
                return 400, "path is required"
            found = sorted(item for item in self._paths.get(run, ()) if item.startswith(path))
            return self._page(run, found, query, lambda item: self._content(run, item, base, "r"))
        if route not in ("contentinfo", "path"):
            return 404, f"there is no route {route}"
        if path not in self._paths.get(run, ()):
            return 404, f"Artifact {path} not found in run {run}"
        return 200, self._content(run, path, base, "r") if route == "contentinfo" else _record(run, path)

    def to_write_again(self, container: str, path: str, base: str) -> tuple[int, Any]:
        """Answer the artifact service's route for a file that is known: a status, and JSON or why not."""
        run = container.removeprefix("dcid.")
        if path not in self._paths.get(run, ()):
            return 404, f"Artifact ExperimentRun/{container}/{path} not found"
        return 200, self._content(run, path, base, "cw")

    def source_problem(self, source: str) -> Broken | None:
        """Return why a model version cannot be made of a run's files: only models in MLflow's format can."""
        match = _RUN_SOURCE.fullmatch(source)
        if match is None and source.startswith("azureml://"):
            return None
        if match is None:
            return Broken(f"The source {source[:200]!r} is not supported: it is no address of Azure ML")
        if f"{match['path']}/MLmodel" not in self._paths.get(match["run"], ()):
            return Broken(
                f"Could not find MLmodel below {source}: only models in MLflow format can be registered"
            )
        return None

    def _announced(self, run: str, request: dict[str, Any], base: str) -> tuple[int, Any]:
        answer: dict[str, dict[str, Any]] = {"artifacts": {}, "artifactContentInformation": {}, "errors": {}}
        for item in request["paths"]:
            path = item["path"]
            if not path or len(path) > PATH_CHARS_MAX or path.startswith("/"):
                message = f"The path {path[:80]!r} is not valid"
                answer["errors"][path] = {"error": {"code": "UserError", "message": message}}
                continue
            with self._lock:
                known = self._paths.setdefault(run, set())
                is_new = path not in known
                known.add(path)
            if not is_new:
                message = f"Resource Conflict: ArtifactId ExperimentRun/dcid.{run}/{path} already exists."
                answer["errors"][path] = {"error": {"code": "UserError", "message": message}}
                continue
            answer["artifacts"][path] = _record(run, path)
            answer["artifactContentInformation"][path] = self._content(run, path, base, "cw")
        return 200, answer

    def _content(self, run: str, path: str, base: str, permissions: str) -> dict[str, Any]:
        address = self._blobs.signed(base, f"ExperimentRun/dcid.{run}/{path}", permissions)
        return {**_record(run, path), "contentUri": address}

    def _page(self, run: str, paths: list[str], query: dict[str, str], describe: Any) -> tuple[int, Any]:
        token = query.get("continuationToken") or ""
        after = [path for path in paths if path > token]
        items, rest = after[: self.page_items], after[self.page_items :]
        following = items[-1] if rest else None
        return 200, {"value": [*map(describe, items)], "continuationToken": following, "nextLink": None}


def _record(run: str, path: str) -> dict[str, Any]:
    container = f"dcid.{run}"
    return {
        "artifactId": f"ExperimentRun/{container}/{path}",
        "origin": "ExperimentRun",
        "container": container,
        "path": path,
        "etag": None,
        "createdTime": None,
        "dataPath": None,
        "tags": None,
    }
