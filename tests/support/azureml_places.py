"""Places in a workspace that nobody has used, and the end of what tests have left in it.

Azure ML archives an experiment and keeps its name for good, so a place renames experiments on the way to the
workspace, and sees no others. Models are deleted for good: the workspace is the tests' own, as its tag says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from trackbridge.transport.http import HttpClient
from trackbridge_adapters._mlflow_rest.wire import Wire
from trackbridge_adapters.azureml.arm import path_of
from trackbridge_adapters.azureml.service import Backend

MARK = "bridge-live-"
"""How names begin that may be deleted; nobody else's do."""
OWN_TAG = "bridge-live"
"""The tag of a workspace whose models may be deleted."""
NAME_CHARS_MAX = 256
AT_ONCE = 8
PAGE_RUNS = 500
ARTIFACTS = "workspaceartifactstore"
_EXPERIMENTS = "/api/2.0/mlflow/experiments/"

Json = dict[str, Any]


class Place:
    """The experiments of one test: names begin with a prefix in the workspace, and without it here.

    Args:
        prefix: Begins with ``MARK``.
        http: Of the adapter; its requests are renamed from now on.
    """

    def __init__(self, prefix: str, http: HttpClient) -> None:
        self._start = f"{prefix}-"
        self._long: dict[str, str] = {}
        self._send = http.request
        http.request = self._request  # type: ignore[method-assign]

    def there(self, name: str) -> str:
        """Return the workspace's name of an experiment; one that the service must refuse stays as it is."""
        if not name.strip() or len(name) > NAME_CHARS_MAX:
            return name
        if len(self._start) + len(name) <= NAME_CHARS_MAX:
            return self._start + name
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        self._long[self._start + digest] = name
        return self._start + digest

    def here(self, name: str) -> str | None:
        """Return the name of an experiment of the workspace in this place; None when it is in another."""
        if name in self._long:
            return self._long[name]
        return name[len(self._start) :] if name.startswith(self._start) else None

    def _request(self, method: str, url: str, **named: Any) -> Any:
        if _EXPERIMENTS not in url:
            return self._send(method, url, **named)
        if url.endswith("/create"):
            asked = json.loads(named["body"])
            named["body"] = json.dumps({**asked, "name": self.there(asked["name"])}).encode()
        if url.endswith("/get-by-name"):
            query = dict(named["query"])
            named["query"] = {**query, "experiment_name": self.there(query["experiment_name"])}
        answer = self._send(method, url, **named)
        if answer.status_code == 200 and answer.content:
            answer._content = json.dumps(self._renamed(json.loads(answer.content))).encode()
        return answer

    def _renamed(self, content: Json) -> Json:
        if "experiment" in content:
            found = content["experiment"]
            content["experiment"] = {**found, "name": self.here(found["name"]) or found["name"]}
        if "experiments" in content:
            named = [(self.here(item["name"]), item) for item in content["experiments"]]
            content["experiments"] = [{**item, "name": name} for name, item in named if name is not None]
        return content


def is_own(backend: Backend) -> bool:
    """Tell whether the workspace is the tests' own."""
    scope = backend.location.workspace.scope.split("/")
    workspace = backend.assets.arm.get(path_of(*scope[1:]), "workspaces")
    return OWN_TAG in (workspace.get("tags") or {})


def delete_models(backend: Backend) -> None:
    """Delete every model of a workspace that is the tests' own.

    Raises:
        ValueError: It is not.
    """
    names = [str(item["name"]) for item in backend.assets.containers("models")]
    if not names:
        return
    if not is_own(backend):
        raise ValueError(f"the workspace has no tag {OWN_TAG}: its models are somebody's")
    for name in names:
        backend.assets.delete("models", name)


def clean(prefix: str, backend: Backend) -> None:
    """Delete runs, their files, and experiments whose names begin with a prefix.

    Raises:
        ValueError: The prefix could be somebody else's.
    """
    if not prefix.startswith(MARK) or len(prefix) < len(MARK) + 6:
        raise ValueError(f"{prefix!r} is no prefix of tests")
    wire = Wire(backend.service)
    experiments = [item for item in _experiments(wire, "ALL") if item["name"].startswith(prefix)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda item: _delete(wire, backend, item), experiments))


def left_over(prefix: str, backend: Backend) -> list[str]:
    """Return the names of what is there of a prefix, and the models of the workspace."""
    active = [item["name"] for item in _experiments(Wire(backend.service), "ACTIVE_ONLY")]
    models = [str(item["name"]) for item in backend.assets.containers("models")]
    return [name for name in active if name.startswith(prefix)] + models


def _delete(wire: Wire, backend: Backend, experiment: Json) -> None:
    for run in list(_runs(wire, experiment["experiment_id"])):
        _delete_files(backend, run["info"]["run_id"])
        if run["info"]["lifecycle_stage"] == "active":
            wire.post("runs/delete", {"run_id": run["info"]["run_id"]})
    if experiment["lifecycle_stage"] == "active":
        wire.post("experiments/delete", {"experiment_id": experiment["experiment_id"]})


def _delete_files(backend: Backend, run: str) -> None:
    import obstore

    def delete(store: Any) -> None:
        for items in obstore.list(store, prefix=f"ExperimentRun/dcid.{run}/"):
            obstore.delete(store, [item["path"] for item in items])

    backend.datastores.container(ARTIFACTS).again(delete)


def _experiments(wire: Wire, view: str) -> Iterator[Json]:
    yield from _pages(wire, "experiments", {"max_results": 1000, "view_type": view})


def _runs(wire: Wire, experiment: str) -> Iterator[Json]:
    asked = {"experiment_ids": [experiment], "max_results": PAGE_RUNS, "run_view_type": "ALL"}
    yield from _pages(wire, "runs", asked)


def _pages(wire: Wire, kind: str, asked: Json) -> Iterator[Json]:
    token = ""
    while True:
        page = wire.post(f"{kind}/search", {**asked, **({"page_token": token} if token else {})})
        yield from page.get(kind) or ()
        token = page.get("next_page_token") or ""
        if not token:
            return
