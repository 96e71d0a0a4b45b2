"""A Databricks workspace on this machine, in front of a real MLflow server::

    with mlflow_server(folder) as server, Databricks(server.url) as databricks:
        with environment(databricks.environment()):
            tb.set_tracking_uri("databricks")

It speaks what the service speaks, as strictly: personal tokens and those of service principals
(``databricks_tokens``), experiments that are paths of folders which exist (``databricks_workspace``), limits
(``databricks_rules``), files of runs behind signed addresses of storage (``databricks_storage``), DBFS and
volumes (``databricks_files``), models in Unity Catalog (``databricks_catalog``), jobs, which it really runs
(``databricks_jobs``). A point that is sent twice is there twice. Any other route is 404,
``ENDPOINT_NOT_FOUND``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from trackbridge.testing.emulators.databricks_catalog import Catalog
from trackbridge.testing.emulators.databricks_files import DBFS, FILES_API, WorkspaceFiles
from trackbridge.testing.emulators.databricks_jobs import Jobs
from trackbridge.testing.emulators.databricks_rules import READING, REGISTRY, TRACKING, broken_rule
from trackbridge.testing.emulators.databricks_storage import AWS, PATH, Storage
from trackbridge.testing.emulators.databricks_tokens import TokenIssuer, refusal_of
from trackbridge.testing.emulators.databricks_workspace import Folders, refused
from trackbridge.testing.emulators.front import Front, Result, json_result
from trackbridge.testing.emulators.points import RepeatedPoints

USER = "ada@example.com"
PRINCIPAL = "11111111-2222-3333-4444-555555555555"
SECRET = "secret-of-the-double"
LIST_ITEMS_MAX = 100
_MLFLOW = "/api/2.0/mlflow/"
_MANAGED = "dbfs:/databricks/mlflow-tracking/"
_SERVERS_OWN = re.compile(rb'("artifact_(?:uri|location)":\s*")mlflow-artifacts:/')
_IN_USE = ("Staging", "Production")


class Databricks(Front):
    """The double. Leave the context to stop it.

    Args:
        mlflow_url: Where the MLflow server is that keeps runs and models.
        storage: Which cloud's storage the workspace has: one of ``databricks_storage.KINDS``.
        token_seconds: How long tokens of service principals last.
        signature_seconds: How long addresses of files last.
        permissions: ``read`` and ``write``; without one, what needs it is 403.
    """

    def __init__(
        self,
        mlflow_url: str,
        *,
        storage: str = AWS,
        token_seconds: float = 3600.0,
        signature_seconds: float = 3600.0,
        permissions: frozenset[str] = frozenset({"read", "write"}),
    ) -> None:
        super().__init__(mlflow_url)
        self.permissions = permissions
        self.issuer = TokenIssuer(self.now_s, seconds=token_seconds)
        self.issuer.principals[PRINCIPAL] = SECRET
        self.storage = Storage(self.now_s, kind=storage, seconds=signature_seconds)
        self.files = WorkspaceFiles(self.now_s)
        self.catalog = Catalog(self.now_s, self.files.below)
        self.files.takes_model_file = self.catalog.takes
        self.jobs = Jobs(self.now_s, self.files.volumes)
        self.folders = Folders((USER, PRINCIPAL))
        self.points = RepeatedPoints()
        self._roots: dict[str, str] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.jobs.clear()
        self.files.volumes.unmount()
        super().__exit__(kind, error, trace)

    def environment(self) -> dict[str, str]:
        """Return variables that lead here, with a new personal token."""
        return {"DATABRICKS_HOST": self.url, "DATABRICKS_TOKEN": self.issuer.personal(USER)}

    def principal_environment(self) -> dict[str, str]:
        """Return variables by which a service principal signs in here."""
        return {
            "DATABRICKS_HOST": self.url,
            "DATABRICKS_CLIENT_ID": PRINCIPAL,
            "DATABRICKS_CLIENT_SECRET": SECRET,
        }

    def clear(self) -> None:
        """Forget folders, files and requests; the MLflow server is emptied by who started it."""
        self.jobs.clear()
        self.storage.clear()
        self.files.clear()
        self.catalog.clear()
        self.folders.clear()
        self.points.clear()
        self._roots.clear()
        self.requests.clear()

    # Answers.

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Result:
        """Answer one request."""
        parts = urlsplit(target)
        if parts.path.startswith(PATH):
            return self.storage.answer(method, target, headers, body)
        if parts.path == "/oidc/v1/token" and method == "POST":
            return self.issuer.exchange(headers, body)
        user = self.issuer.user_of(headers.get("Authorization"))
        if user is None:
            return refusal_of(headers.get("Authorization"))
        if parts.path.startswith(FILES_API):
            return self.files.answer(method, target, body)
        request = _request_of(method, parts.query, body)
        if request is None:
            return refused(400, "MALFORMED_REQUEST", "Could not parse request object")
        if parts.path.startswith(_MLFLOW):
            return self._mlflow(method, parts.path.removeprefix(_MLFLOW), user, request, target, body)
        return self._workspace(method, parts.path, user, request)

    def _workspace(self, method: str, path: str, user: str, request: dict[str, Any]) -> Result:
        """Answer what is not MLflow's."""
        if path == "/api/2.0/preview/scim/v2/Me" and method == "GET":
            return json_result(200, {"userName": user, "active": True, "id": "1001"})
        if path == "/api/2.0/workspace/mkdirs" and method == "POST":
            return self._mkdirs(user, request)
        if path.startswith(DBFS):
            return self.files.dbfs(method, path.removeprefix(DBFS), request)
        return self.jobs.answer(method, path, user, request) or _no_route(method, path)

    def _mkdirs(self, user: str, request: dict[str, Any]) -> Result:
        if "write" not in self.permissions:
            return _forbidden(user)
        return self.folders.make(user, str(request.get("path") or ""), self._is_experiment)

    def _mlflow(
        self, method: str, route: str, user: str, request: dict[str, Any], target: str, body: bytes
    ) -> Result:
        reads = method == "GET" or route in READING or route.endswith("/search")
        if ("read" if reads else "write") not in self.permissions:
            return _forbidden(user)
        if route.startswith("artifacts/"):
            return self._artifacts(method, route.removeprefix("artifacts/"), request)
        if route.startswith("unity-catalog/"):
            return self.catalog.answer(method, route.removeprefix("unity-catalog/"), user, request)
        if route not in TRACKING | REGISTRY:
            return _no_route(method, f"/mlflow/{route}")
        run = self._run(str(request.get("run_id") or "")) if _adds_to_a_run(route, request) else None
        broken = broken_rule(route, request, len(body), run)
        if broken is not None:
            return refused(400, broken.code, broken.message)
        if route in ("experiments/create", "experiments/update"):
            return self._name_experiment(route, user, request)
        problem = self._problem(route, request)
        if problem is not None:
            return problem
        return self._finished(route, request, self._forwarded(method, target, body))

    def _problem(self, route: str, request: dict[str, Any]) -> Result | None:
        if route == "experiments/get-by-name":
            return self.folders.lookup_problem(str(request.get("experiment_name") or ""))
        if route in ("model-versions/delete", "registered-models/delete"):
            return self._in_use(route, request)
        return None

    def _finished(self, route: str, request: dict[str, Any], answer: Result) -> Result:
        if answer.status != 200:
            return answer
        if route in ("runs/log-batch", "runs/log-metric"):
            self.points.see(route, request)
        if route == "metrics/get-history":
            return self.points.repeated(request, answer)
        if route != "experiments/search":
            return answer
        page = json.loads(answer.body)  # a plain server begins with an experiment "Default"
        page["experiments"] = [item for item in page.get("experiments") or () if item["name"].startswith("/")]
        return json_result(200, page)

    def _forwarded(self, method: str, target: str, body: bytes) -> Result:
        status, content, headers = self.forward(method, target, body)
        return Result(status, _SERVERS_OWN.sub(rb"\1" + _MANAGED.encode(), content), headers)

    def _asked(self, route: str, **query: str) -> dict[str, Any] | None:
        """Ask the MLflow server; None for an answer that is an error."""
        found = self._forwarded("GET", f"{_MLFLOW}{route}?{urlencode(query)}", b"")
        answer: dict[str, Any] | None = json.loads(found.body) if found.status == 200 else None
        return answer

    # Experiments and runs.

    def _is_experiment(self, path: str) -> bool:
        return self._asked("experiments/get-by-name", experiment_name=path) is not None

    def _name_experiment(self, route: str, user: str, request: dict[str, Any]) -> Result:
        field = "name" if route == "experiments/create" else "new_name"
        name, problem = self.folders.place(user, str(request.get(field) or ""))
        if problem is not None:
            return problem
        if self._is_experiment(name):
            return refused(400, "RESOURCE_ALREADY_EXISTS", f"Node named {name!r} already exists")
        body = json.dumps({**request, field: name}).encode()
        return self._forwarded("POST", f"{_MLFLOW}{route}", body)

    def _run(self, run_id: str) -> dict[str, Any] | None:
        found = self._asked("runs/get", run_id=run_id)
        return None if found is None else found["run"]

    def _in_use(self, route: str, request: dict[str, Any]) -> Result | None:
        """Refuse to delete versions that are staged, as the workspace's registry does."""
        name = str(request.get("name") or "")
        query = {"filter": f"name='{name}'", "max_results": "1000"}
        found = self._asked("model-versions/search", **query) or {}
        versions = found.get("model_versions") or ()
        if route == "model-versions/delete":
            versions = [item for item in versions if str(item["version"]) == str(request.get("version"))]
        staged = next((item for item in versions if item.get("current_stage") in _IN_USE), None)
        if staged is None:
            return None
        message = f"Cannot delete version {staged['version']} of {name}: it is in {staged['current_stage']}"
        return refused(400, "INVALID_STATE", message)

    # Files of runs.

    def _artifacts(self, method: str, route: str, request: dict[str, Any]) -> Result:
        known: dict[tuple[str, str], Callable[[str, dict[str, Any]], Result]] = {
            ("GET", "list"): self._list,
            ("POST", "credentials-for-read"): self._credentials("r"),
            ("POST", "credentials-for-write"): self._credentials("w"),
            ("POST", "create-multipart-upload"): self._begin,
            ("GET", "get-presigned-upload-part-url"): self._part,
            ("POST", "complete-multipart-upload"): self._complete,
        }
        answer = known.get((method, route))
        if answer is None:
            return _no_route(method, f"/mlflow/artifacts/{route}")
        run_id = str(request.get("run_id") or "")
        root = self._root(run_id)
        if root is None:
            return refused(404, "RESOURCE_DOES_NOT_EXIST", f"Run {run_id!r} not found")
        if not root.startswith(_MANAGED):
            return refused(
                400, "INVALID_PARAMETER_VALUE", "The run's artifacts are not managed by Databricks"
            )
        return answer(root.removeprefix(_MANAGED), request)

    def _root(self, run_id: str) -> str | None:
        if run_id not in self._roots:
            run = self._run(run_id)
            if run is None:
                return None
            self._roots[run_id] = str(run["info"]["artifact_uri"])
        return self._roots[run_id]

    def _list(self, root: str, request: dict[str, Any]) -> Result:
        path = str(request.get("path") or "").strip("/")
        found = _listing(self.storage.objects, root, path)
        start = int(request.get("page_token") or 0)
        page: dict[str, Any] = {"root_uri": _MANAGED + root, "files": found[start : start + LIST_ITEMS_MAX]}
        if len(found) > start + LIST_ITEMS_MAX:
            page["next_page_token"] = str(start + LIST_ITEMS_MAX)
        return json_result(200, page)

    def _credentials(self, permission: str) -> Callable[[str, dict[str, Any]], Result]:
        def answer(root: str, request: dict[str, Any]) -> Result:
            paths = request.get("path") or ()
            if not isinstance(paths, list) or not paths or not all(map(_is_plain, paths)):
                return refused(400, "INVALID_PARAMETER_VALUE", "The paths are missing or wrong")
            infos = [self._info(root, request, path, permission) for path in paths]
            return json_result(200, {"credential_infos": infos})

        return answer

    def _info(
        self, root: str, request: dict[str, Any], path: str, permission: str, **bound: object
    ) -> dict[str, Any]:
        address = self.storage.address(self.url, f"{root}/{path}", permission, **bound)
        return {"run_id": request["run_id"], "path": path, **address}

    def _begin(self, root: str, request: dict[str, Any]) -> Result:
        if self.storage.kind != AWS:
            return refused(400, "INVALID_PARAMETER_VALUE", "Multipart uploads are for S3")
        upload, path = self.storage.begin(), str(request["path"])
        numbers = range(1, int(request["num_parts"]) + 1)
        answer = {
            "upload_id": upload,
            "upload_credential_infos": [
                self._info(root, request, path, "w", uploadId=upload, partNumber=number) for number in numbers
            ],
            "abort_credential_info": self._info(root, request, path, "d", uploadId=upload),
        }
        return json_result(200, answer)

    def _part(self, root: str, request: dict[str, Any]) -> Result:
        bound = {"uploadId": request["upload_id"], "partNumber": request["part_number"]}
        info = self._info(root, request, str(request["path"]), "w", **bound)
        return json_result(200, {"upload_credential_info": info})

    def _complete(self, root: str, request: dict[str, Any]) -> Result:
        path = f"{root}/{request['path']}"
        problem = self.storage.complete(path, str(request["upload_id"]), request.get("part_etags") or [])
        return json_result(200, {}) if problem is None else refused(400, "INVALID_PARAMETER_VALUE", problem)


def _request_of(method: str, query: str, body: bytes) -> dict[str, Any] | None:
    """Return the fields of a request; None where the body is no JSON object."""
    if method == "GET":
        return {key: values[-1] for key, values in parse_qs(query, keep_blank_values=True).items()}
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _adds_to_a_run(route: str, request: dict[str, Any]) -> bool:
    if route in ("runs/log-parameter", "runs/set-tag"):
        return True
    return route == "runs/log-batch" and bool(request.get("params") or request.get("tags"))


def _is_plain(path: Any) -> bool:
    return isinstance(path, str) and all(part not in ("", ".", "..") for part in path.split("/"))


def _listing(objects: dict[str, bytes], root: str, path: str) -> list[dict[str, Any]]:
    """Return what lies directly below a path; a file is its own and only child."""
    own = f"{root}/{path}"
    if path and own in objects:
        return [{"path": path, "is_dir": False, "file_size": len(objects[own])}]
    start = f"{own}/" if path else f"{root}/"
    found: dict[str, dict[str, Any]] = {}
    for key, content in list(objects.items()):
        if not key.startswith(start):
            continue
        name, is_below, _ = key[len(start) :].partition("/")
        child = f"{path}/{name}" if path else name
        file = {"path": child, "is_dir": False, "file_size": len(content)}
        found[name] = {"path": child, "is_dir": True} if is_below else file
    return [found[name] for name in sorted(found)]


def _forbidden(user: str) -> Result:
    return refused(403, "PERMISSION_DENIED", f"User {user} does not have the permission for this")


def _no_route(method: str, path: str) -> Result:
    return refused(404, "ENDPOINT_NOT_FOUND", f"No API found for '{method} {path}'")
