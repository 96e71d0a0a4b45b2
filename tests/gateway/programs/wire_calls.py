"""The REST routes as clients of other languages ask them: plain HTTP, each field of each answer noted.

R's client names a run twice (``run_uuid``) and sends queries, Java's writes 64-bit integers as texts, shells
leave out what has a default.
"""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from tests.gateway.programs.notes import Notes

START_MS = 1_700_000_000_000
MISSING = "0123456789abcdef0123456789abcdef"
PREFIX = "/api/2.0/mlflow/"
ATTEMPTS_MAX = 20
"""A gateway says 503 after 5 s, while a slow backend has not taken all that was logged before."""
JSON = {"Content-Type": "application/json"}


class Wire:
    """One connection to a server, and the notes of what it answers."""

    def __init__(self, url: str, note: Notes) -> None:
        place = urlsplit(url)
        self._connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
        self.note = note

    def send(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, str, bytes]:
        """Send one request, again while it is told to come later; return status, content type and body."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        for _ in range(ATTEMPTS_MAX):
            self._connection.request(method, path, body, named)
            answer = self._connection.getresponse()
            content = answer.read()
            if answer.status != 503:
                break
        return answer.status, answer.headers.get("content-type", ""), content

    def get(self, label: str, path: str, query: Any = ()) -> Any:
        """Ask with a query string."""
        pairs = list(query.items()) if isinstance(query, dict) else list(query)
        asked = f"{self._place(path)}?{urlencode(pairs)}" if pairs else self._place(path)
        return self._noted(label, self.send("GET", asked))

    def post(self, label: str, path: str, body: Any = None, method: str = "POST") -> Any:
        """Ask with JSON; bytes are sent as they are."""
        content = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        return self._noted(label, self.send(method, self._place(path), content, **JSON))

    def _place(self, path: str) -> str:
        return path if path.startswith("/") else f"{PREFIX}{path}"

    def _noted(self, label: str, told: tuple[int, str, bytes]) -> Any:
        status, kind, content = told
        answer = _parsed(content) if "json" in kind else content.decode("utf-8", "replace")
        if status < 300 and isinstance(answer, dict):
            self._name(label, answer)
        shown = {"status": status, "answer": _shown(status, answer)}
        if status < 400:
            shown["type"] = kind.partition(";")[0]
        self.note(label, lambda: shown)
        return answer if status < 300 else {}

    def _name(self, label: str, answer: dict[str, Any]) -> None:
        """Give what was just made a name, by which it is shown from here on."""
        if "experiment_id" in answer:
            self.note.named(label, answer["experiment_id"])
        for kind, field in (("run", "run_id"), ("model", "model_id")):
            made = answer.get(kind)
            if isinstance(made, dict) and field in made.get("info", {}):
                self.note.named(label, made["info"][field])

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return {"no JSON": content.decode("utf-8", "replace")}


def _shown(status: int, answer: Any) -> Any:
    """Show of an error its code, of a page whether another follows, of everything else all."""
    if status >= 400:
        return {"error_code": answer.get("error_code") if isinstance(answer, dict) else None}
    if isinstance(answer, dict) and "next_page_token" in answer:
        return {**answer, "next_page_token": bool(answer["next_page_token"])}
    return answer


def wire(url: str, note: Notes) -> None:
    """Touch the routes of tracking, registry and artifacts."""
    asking = Wire(url, note)
    experiment, elsewhere = _experiments(asking)
    run, stray = _runs(asking, experiment, elsewhere)
    _values(asking, run, stray)
    _bodies(asking, run)
    _searches(asking, experiment)
    _artifacts(asking, experiment, run)
    _registry(asking, experiment, run)
    _logged_models(asking, experiment, run)
    _elsewhere(asking)
    asking.close()


def _experiments(asking: Wire) -> tuple[str, str]:
    mark = asking.note.mark
    tags = [{"key": "a", "value": "b"}]
    made = asking.post("experiment", "experiments/create", {"name": f"{mark}-x", "tags": tags})
    experiment = str(made["experiment_id"])
    asking.post("experiment twice", "experiments/create", {"name": f"{mark}-x"})
    asking.post("experiment without name", "experiments/create", {})
    placed = {"name": f"placed {mark}", "artifact_location": "s3://bucket/place"}
    asking.post("experiment with a place", "experiments/create", placed)
    asking.post("experiment named by a number", "experiments/create", {"name": 7})
    asking.post("experiment named null", "experiments/create", {"name": None})
    asking.get("experiment read", "experiments/get", {"experiment_id": experiment})
    asking.get("experiment without id", "experiments/get")
    asking.get("experiment missing", "experiments/get", {"experiment_id": "987654321"})
    asking.get("experiment by name", "experiments/get-by-name", {"experiment_name": f"{mark}-x"})
    asking.get("experiment by missing name", "experiments/get-by-name", {"experiment_name": f"{mark}-n"})
    asking.get("experiment by no name", "experiments/get-by-name")
    asking.get("experiment Default", "experiments/get-by-name", {"experiment_name": "Default"})
    tag = {"experiment_id": experiment, "key": "k", "value": "v"}
    asking.post("experiment tag", "experiments/set-experiment-tag", tag)
    asking.post("experiment tag without value", "experiments/set-experiment-tag", {**tag, "value": None})
    asking.post("experiment tag without key", "experiments/set-experiment-tag", {"experiment_id": experiment})
    like = {"filter": f"name LIKE '{mark}-%'", "max_results": "5", "order_by": ["name"]}
    asking.post("experiments", "experiments/search", {**like, "view_type": "ALL"})
    asking.get(
        "experiments by query", "experiments/search", [("max_results", "5"), ("filter", like["filter"])]
    )
    told = {"filter": "experiment_id = '0'", "max_results": "5"}
    asking.get("experiments by the id of Default", "experiments/search", told)
    asking.get("experiments without limit", "experiments/search", {"filter": str(like["filter"])})
    asking.post("experiments of a bad view", "experiments/search", {**like, "view_type": "SOME"})
    asking.post(
        "experiment renamed", "experiments/update", {"experiment_id": experiment, "new_name": f"{mark}-y"}
    )
    asking.post("experiment renamed to nothing", "experiments/update", {"experiment_id": experiment})
    other = asking.post("experiment other", "experiments/create", {"name": f"{mark}-z"})["experiment_id"]
    asking.post("experiment deleted", "experiments/delete", {"experiment_id": other})
    asking.post("experiment deleted without id", "experiments/delete", {})
    asking.get("experiment that is deleted", "experiments/get", {"experiment_id": other})
    asking.post("experiment restored", "experiments/restore", {"experiment_id": other})
    return experiment, str(other)


def _runs(asking: Wire, experiment: str, elsewhere: str) -> tuple[str, str]:
    create = {"experiment_id": experiment, "start_time": str(START_MS), "run_name": "wired", "user_id": "ann"}
    made = asking.post("run", "runs/create", {**create, "tags": [{"key": "t", "value": "u"}]})
    run = str(made["run"]["info"]["run_id"])
    asking.post("run in none", "runs/create", {"experiment_id": "987654321"})
    asking.post("run with an early start", "runs/create", {**create, "start_time": "soon"})
    stray = asking.post("run without start", "runs/create", {"experiment_id": elsewhere})["run"]["info"]
    half = {"run_id": stray["run_id"], "key": "half", "value": 1, "timestamp": START_MS, "step": 1.5}
    asking.post("point of half a step", "runs/log-metric", half)
    asking.post("end time alone", "runs/update", {"run_id": stray["run_id"], "end_time": START_MS})
    asking.post("end without time", "runs/update", {"run_id": stray["run_id"], "status": "FAILED"})
    asking.post("run with tags of a text", "runs/create", {"experiment_id": elsewhere, "tags": "t"})
    asking.get("run read", "runs/get", {"run_id": run})
    asking.get("run read by its old name", "runs/get", {"run_uuid": run})
    asking.get("run read by both", "runs/get", {"run_id": run, "run_uuid": run})
    asking.get("run missing", "runs/get", {"run_id": MISSING})
    asking.get("run without id", "runs/get")
    asking.get("run by another prefix", f"/ajax-api/2.0/mlflow/runs/get?run_id={run}")
    asking.post("run updated", "runs/update", {"run_id": run, "status": "SCHEDULED", "run_name": "wires"})
    asking.post("run updated by number", "runs/update", {"run_uuid": run, "status": 1})
    asking.post("run updated to no status", "runs/update", {"run_id": run, "status": "SLEEPING"})
    asking.post("run updated to no number", "runs/update", {"run_id": run, "status": 77})
    asking.post("run of none updated", "runs/update", {"status": "RUNNING"})
    ended = asking.post("run to end", "runs/create", create)["run"]["info"]["run_id"]
    end = {"run_id": ended, "status": "FINISHED", "end_time": START_MS + 7}
    asking.post("run ended", "runs/update", end)
    asking.get("run that ended", "runs/get", {"run_id": ended})
    asking.post("run deleted", "runs/delete", {"run_id": ended})
    asking.post("run deleted without id", "runs/delete", {})
    asking.post("run that is deleted, logged to", "runs/set-tag", {"run_id": ended, "key": "a", "value": "b"})
    asking.get("run that is deleted", "runs/get", {"run_id": ended})
    asking.post("run restored", "runs/restore", {"run_id": ended})
    return run, str(stray["run_id"])


def _values(asking: Wire, run: str, stray: str) -> None:
    point = {"run_id": run, "key": "loss", "value": 0.5, "timestamp": START_MS, "step": 1}
    for label, change in {
        "whole": {"value": 2},
        "as Java": {"timestamp": str(START_MS), "step": "2", "value": 0.25},
        "of text": {"value": "0.125", "step": 3},
        "NaN": {"value": "NaN", "step": 4},
        "Infinity": {"value": "Infinity", "key": "inf"},
        "minus Infinity": {"value": "-Infinity", "key": "minus"},
        "by the old name": {"run_id": None, "run_uuid": run, "step": 5},
        "without step": {"step": None, "key": "stepless"},
        "without value": {"value": None},
        "without time": {"timestamp": None},
        "without key": {"key": None},
        "of no number": {"value": "much"},
        "of a whole float step": {"step": 7.0, "key": "float step"},
        "with more": {"colour": "red", "key": "more"},
        "of no run": {"run_id": MISSING},
    }.items():
        asking.post(f"point {label}", "runs/log-metric", {**point, **change})
    for key in ("loss", "inf", "minus", "stepless", "more"):
        asking.get(f"history of {key}", "metrics/get-history", {"run_id": run, "metric_key": key})
    page = {"run_id": run, "metric_key": "loss", "max_results": "2"}
    told = asking.get("history page", "metrics/get-history", page)
    token = told.get("next_page_token", "")
    asking.get("history next page", "metrics/get-history", {**page, "page_token": token})
    asking.get("history of none", "metrics/get-history", {"run_id": run, "metric_key": "none"})
    asking.get("history without key", "metrics/get-history", {"run_id": run})
    bulk = [("run_ids", run), ("metric_key", "loss"), ("max_results", "10")]
    asking.get("history thinned", "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval", bulk)
    asking.post("param", "runs/log-parameter", {"run_id": run, "key": "p", "value": "1"})
    asking.post("param of a number", "runs/log-parameter", {"run_id": run, "key": "q", "value": 1})
    asking.post("param otherwise", "runs/log-parameter", {"run_id": run, "key": "p", "value": "2"})
    asking.post("param without value", "runs/log-parameter", {"run_id": run, "key": "r"})
    asking.post("param without key", "runs/log-parameter", {"run_id": run, "value": "1"})
    asking.post("tag", "runs/set-tag", {"run_id": run, "key": "t", "value": "1"})
    asking.post("tag without value", "runs/set-tag", {"run_id": run, "key": "v"})
    asking.post("tag deleted", "runs/delete-tag", {"run_id": run, "key": "t"})
    asking.post("tag deleted twice", "runs/delete-tag", {"run_id": run, "key": "t"})
    _batches(asking, run, stray)
    asking.get("run with values", "runs/get", {"run_id": run})


def _batches(asking: Wire, run: str, stray: str) -> None:
    points = [{"key": "k", "value": n / 4, "timestamp": START_MS + n, "step": str(n)} for n in range(3)]
    many = {"metrics": points, "params": [{"key": "b", "value": "1"}], "tags": [{"key": "b", "value": "c"}]}
    asking.post("batch", "runs/log-batch", {"run_id": run, **many})
    asking.post("batch empty", "runs/log-batch", {"run_id": run})
    asking.post("batch of none", "runs/log-batch", many)
    asking.post("batch of a missing", "runs/log-batch", {"run_id": MISSING, **many})
    asking.post("batch of a text", "runs/log-batch", {"run_id": run, "metrics": "loss"})
    asking.post("batch of texts", "runs/log-batch", {"run_id": run, "metrics": ["loss"]})
    asking.post(
        "batch of points without time",
        "runs/log-batch",
        {"run_id": run, "metrics": [{"key": "a", "value": 1}]},
    )
    asking.post("batch of 1001", "runs/log-batch", {"run_id": run, "metrics": points[:1] * 1001})
    letters = [{"key": f"l{n}", "value": "1"} for n in range(101)]
    asking.post("batch of 101 params", "runs/log-batch", {"run_id": run, "params": letters})
    asking.post("batch of 101 tags", "runs/log-batch", {"run_id": run, "tags": letters})
    data = {"name": "d", "digest": "1", "source_type": "local", "source": "{}"}
    inputs = [{"tags": [{"key": "mlflow.data.context", "value": "train"}], "dataset": data}]
    asking.post("inputs", "runs/log-inputs", {"run_id": run, "datasets": inputs})
    asking.post(
        "inputs without digest",
        "runs/log-inputs",
        {"run_id": stray, "datasets": [{"dataset": {"name": "d"}}]},
    )
    long = [{"dataset": {**data, "name": "x" * 501}}]
    asking.post("inputs of a long name", "runs/log-inputs", {"run_id": run, "datasets": long})
    asking.post("inputs of none", "runs/log-inputs", {"datasets": inputs})


def _bodies(asking: Wire, run: str) -> None:
    """Send what is no JSON, or not what is asked for."""
    for label, content in {
        "empty": b"",
        "of no JSON": b"{run_id",
        "of a list": b"[]",
        "of a text": b'"run"',
        "of no text": b"\xff\xfe",
        "null": b"null",
    }.items():
        asking.post(f"body {label}", "runs/set-tag", content)
    tag = json.dumps({"run_id": run, "key": "plain", "value": "x"}).encode()
    place = f"{PREFIX}runs/set-tag"
    asking._noted("body as a text", asking.send("POST", place, tag, Content_Type="text/plain"))
    asking._noted("body of no kind", asking.send("POST", place, tag))
    kind = "application/json; charset=utf-8"
    asking._noted("body in UTF-8", asking.send("POST", place, tag, Content_Type=kind))


def _searches(asking: Wire, experiment: str) -> None:
    asked = {"experiment_ids": [experiment], "order_by": ["attributes.start_time DESC", "run_name ASC"]}
    asking.post("runs", "runs/search", asked)
    page = asking.post("runs page", "runs/search", {**asked, "max_results": "1"})
    other = {**asked, "order_by": ["run_name ASC"], "page_token": page["next_page_token"]}
    asking.post("runs page of another search", "runs/search", other)
    asking.post("runs filtered", "runs/search", {**asked, "filter": "params.p = '1'"})
    asking.post("runs found none", "runs/search", {**asked, "filter": "params.p = 'none'"})
    asking.post("runs deleted", "runs/search", {**asked, "run_view_type": "DELETED_ONLY"})
    asking.post("runs of a bad view", "runs/search", {**asked, "run_view_type": "SOME"})
    asking.post("runs of a bad filter", "runs/search", {**asked, "filter": "params.p ="})
    asking.post("runs of too many", "runs/search", {**asked, "max_results": 50_001})
    asking.post("runs of nowhere", "runs/search", {})


def _artifacts(asking: Wire, experiment: str, run: str) -> None:
    base = "/api/2.0/mlflow-artifacts/artifacts"
    place = f"{base}/{experiment}/{run}/artifacts"
    for name, content in {"a.txt": b"hello", "deep/b c.json": b'{"a": 1}', "empty.bin": b""}.items():
        asking._noted(f"put {name}", asking.send("PUT", f"{place}/{quote(name)}", content))
        asking._noted(f"got {name}", asking.send("GET", f"{place}/{quote(name)}"))
    asking._noted("got none", asking.send("GET", f"{place}/none"))
    for hostile in ("../x", "%2e%2e/x", "..%2fx", "/etc/passwd", "a/../../../x", "%00", "C:%5Cx"):
        asking._noted(f"got {hostile}", asking.send("GET", f"{place}/{hostile}"))
        if ".." in hostile:  # mlflow keeps the others, and lists them from then on
            asking._noted(f"put {hostile}", asking.send("PUT", f"{place}/{hostile}", b"x"))
    root = f"{experiment}/{run}/artifacts"
    for path in (root, f"{root}/deep", f"{root}/none", "../..", "/etc"):
        shown = path.replace(root, "ROOT")
        asking.get(f"listed by the proxy {shown}", base, {"path": path})
    asking._noted("put elsewhere", asking.send("PUT", f"{base}/elsewhere/a.txt", b"x"))
    asking.get("listed", "artifacts/list", {"run_id": run})
    asking.get("listed by an empty token", "artifacts/list", {"run_id": run, "page_token": ""})
    asking.get("listed deep", "artifacts/list", {"run_id": run, "path": "deep"})
    asking.get("listed by the old name", "artifacts/list", {"run_uuid": run})
    asking.get("listed outside", "artifacts/list", {"run_id": run, "path": "../.."})
    asking.get("listed none", "artifacts/list", {"run_id": run, "path": "none"})
    asking.get("listed of no run", "artifacts/list", {"run_id": MISSING})
    asking.get("listed without run", "artifacts/list")
    asking.get("file by the page's route", "/get-artifact", {"run_id": run, "path": "a.txt"})
    asking.get("file of none by the page's route", "/get-artifact", {"run_id": run, "path": "none"})
    asking.get("file outside by the page's route", "/get-artifact", {"run_id": run, "path": "../a"})
    asking._noted("removed", asking.send("DELETE", f"{place}/a.txt"))
    asking._noted("removed twice", asking.send("DELETE", f"{place}/a.txt"))
    asking._noted("got removed", asking.send("GET", f"{place}/a.txt"))


def _registry(asking: Wire, experiment: str, run: str) -> None:
    name = f"{asking.note.mark}-wired"
    by_name, first = {"name": name}, {"name": name, "version": "1"}
    asking.post("model", "registered-models/create", {**by_name, "tags": [{"key": "a", "value": "b"}]})
    asking.post("model twice", "registered-models/create", by_name)
    asking.post("model without name", "registered-models/create", {})
    asking.post("model named by dots", "registered-models/create", {"name": ".."})
    asking.post("model with an at", "registered-models/create", {"name": f"{name}@x"})
    asking.get("model read", "registered-models/get", by_name)
    asking.get("model missing", "registered-models/get", {"name": f"{name}-none"})
    asking.get("model without a name", "registered-models/get")
    source = f"mlflow-artifacts:/{experiment}/{run}/artifacts/deep"
    asking.post("version", "model-versions/create", {**by_name, "source": source, "run_id": run})
    linked = {"name": f"{name}-linked", "source": source, "run_id": run, "run_link": "http://x/y"}
    asking.post("model to link", "registered-models/create", {"name": f"{name}-linked"})
    asking.post("version with a link", "model-versions/create", linked)
    asking.get("versions in no order", "model-versions/search", {"filter": f"name LIKE '{name}%'"})
    asking.get("versions by source", "model-versions/search", {"filter": f"source_path = '{source}'"})
    asking.get(
        "models by a tag that is missing",
        "registered-models/search",
        {"filter": f"name = '{name}-linked' AND tags.x != 'y'"},
    )
    asking.post("version without source", "model-versions/create", by_name)
    asking.post("version without name", "model-versions/create", {"source": source})
    asking.get("version read", "model-versions/get", first)
    asking.get("version read by number", "model-versions/get", {"name": name, "version": 1})
    asking.get("version missing", "model-versions/get", {"name": name, "version": "9"})
    asking.get("version without number", "model-versions/get", by_name)
    asking.post("version described", "model-versions/update", {**first, "description": "x"}, "PATCH")
    asking.post("version staged", "model-versions/transition-stage", {**first, "stage": "Staging"})
    keep = {**first, "stage": "Staging", "archive_existing_versions": "true"}
    asking.post("version staged with a text", "model-versions/transition-stage", keep)
    asking.post("version tagged", "model-versions/set-tag", {**first, "key": "k", "value": "v"})
    asking.post("version tag gone", "model-versions/delete-tag", {**first, "key": "k"}, "DELETE")
    asking.get("version address", "model-versions/get-download-uri", first)
    asking.post("alias", "registered-models/alias", {**first, "alias": "best"})
    asking.get("version by alias", "registered-models/alias", {"name": name, "alias": "best"})
    asking.get("model with all", "registered-models/get", by_name)
    asking.post("alias gone", "registered-models/alias", {"name": name, "alias": "best"}, "DELETE")
    asking.get("version by no alias", "registered-models/alias", {"name": name, "alias": "best"})
    asking.get("models", "registered-models/search", {"filter": f"name = '{name}'", "max_results": "3"})
    asking.get(
        "models ordered",
        "registered-models/search",
        [("filter", f"name = '{name}'"), ("order_by", "name DESC"), ("order_by", "timestamp ASC")],
    )
    asking.get("versions", "model-versions/search", {"filter": f"name = '{name}'"})
    asking.get(
        "latest",
        "registered-models/get-latest-versions",
        [("name", name), ("stages", "Staging"), ("stages", "None")],
    )
    asking.post(
        "latest posted", "registered-models/get-latest-versions", {**by_name, "stages": ["Production"]}
    )
    asking.post("model tagged", "registered-models/set-tag", {**by_name, "key": "k", "value": "v"})
    asking.post("model tag gone", "registered-models/delete-tag", {**by_name, "key": "k"}, "DELETE")
    asking.post("model described", "registered-models/update", {**by_name, "description": "d"}, "PATCH")
    asking.post("version deleted", "model-versions/delete", first, "DELETE")
    asking.post("model to rename", "registered-models/create", {"name": f"{name}-old"})
    asking.post("model renamed", "registered-models/rename", {"name": f"{name}-old", "new_name": f"{name}-2"})
    asking.post("model renamed to nothing", "registered-models/rename", by_name)
    asking.post("model deleted", "registered-models/delete", by_name, "DELETE")


def _logged_models(asking: Wire, experiment: str, run: str) -> None:
    create = {"experiment_id": experiment, "name": "wood", "source_run_id": run, "model_type": "forest"}
    params = [{"key": "depth", "value": "3"}]
    made = asking.post("logged", "logged-models", {**create, "params": params, "tags": params})
    model = str(made.get("model", {}).get("info", {}).get("model_id", f"m-{MISSING}"))
    asking.post("logged without experiment", "logged-models", {"name": "wood"})
    asking.get("logged read", f"logged-models/{model}")
    asking.get("logged missing", f"logged-models/m-{MISSING}")
    ready = {"model_id": model, "status": "LOGGED_MODEL_READY"}
    asking.post("logged ready", f"logged-models/{model}", ready, "PATCH")
    asking.post("logged without status", f"logged-models/{model}", {}, "PATCH")
    asking.post("logged tags", f"logged-models/{model}/tags", {"tags": [{"key": "k", "value": "v"}]}, "PATCH")
    asking.post("logged tag gone", f"logged-models/{model}/tags/k", {}, "DELETE")
    more = {"model_id": model, "params": [{"key": "q", "value": "1"}]}
    asking.post("logged params", f"logged-models/{model}/params", more)
    asking.post("logged found", "logged-models/search", {"experiment_ids": [experiment], "max_results": "5"})
    asking.get("logged files", f"logged-models/{model}/artifacts/directories")
    asking.post("outputs", "runs/outputs", {"run_id": run, "models": [{"model_id": model, "step": "3"}]})
    asking.get("run with outputs", "runs/get", {"run_id": run})
    asking.post("logged deleted", f"logged-models/{model}", {}, "DELETE")
    asking.get("logged that is deleted", f"logged-models/{model}")


def _elsewhere(asking: Wire) -> None:
    asking.get("health", "/health")
    asking.get("webhooks", "webhooks")
    asking.post("evaluation sets", "/api/3.0/mlflow/datasets/search", {})
    asking.get("scorers", "/api/3.0/mlflow/scorers/list", {"experiment_id": "0"})
    asking.get("endpoints", "/api/3.0/mlflow/gateway/endpoints/list")
    asking.get("traces of mlflow 2", "traces", {"experiment_ids": "0"})
    asking.get("no route", "runs/none")
    asking.get("another method", "runs/create")
    asking.post("another method too", "runs/get", {})
