"""What Databricks' MLflow routes refuse, and a plain MLflow server does not.

The sources are Databricks' documentation (the API's Log Batch, and Resource limits) and, for what it says,
the threads mlflow#8269 (names of experiments), mlflow#11077 (``/Workspace``) and dbdemos#155 (folders).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

TRACKING = frozenset(
    {
        *(f"experiments/{name}" for name in ("create", "get", "get-by-name", "search", "update", "delete")),
        *(f"experiments/{name}" for name in ("restore", "set-experiment-tag")),
        *(f"runs/{name}" for name in ("create", "get", "update", "search", "delete", "restore")),
        *(f"runs/{name}" for name in ("log-metric", "log-parameter", "log-batch", "log-inputs")),
        *(f"runs/{name}" for name in ("set-tag", "delete-tag")),
        "metrics/get-history",
    }
)
REGISTRY = frozenset(
    {
        *(f"registered-models/{name}" for name in ("create", "get", "update", "rename", "delete", "search")),
        *(f"registered-models/{name}" for name in ("set-tag", "delete-tag", "get-latest-versions")),
        *(f"model-versions/{name}" for name in ("create", "get", "update", "delete", "search")),
        *(f"model-versions/{name}" for name in ("set-tag", "delete-tag", "transition-stage")),
        "model-versions/get-download-uri",
    }
)
"""The workspace's registry has no aliases."""
READING = frozenset({"experiments/search", "runs/search", "artifacts/credentials-for-read"})
"""Routes that read, though they take a body."""

ITEMS_PER_CALL_MAX = {"metrics": 1000, "params": 100, "tags": 100}
ITEMS_TOGETHER_MAX = 1000
BODY_BYTES_MAX = 1024 * 1024
PARAMS_PER_RUN_MAX = TAGS_PER_RUN_MAX = 1600
TAGS_PER_EXPERIMENT_MAX = 1000
KEY_BYTES_MAX = 250
PARAM_BYTES_MAX = 6000
TAG_BYTES_MAX = 64 * 1024
HISTORY_RESULTS_MAX = 25_000


class Broken(NamedTuple):
    """A rule that a request breaks: the service's code and sentence."""

    code: str
    message: str


def broken_rule(route: str, request: dict[str, Any], size: int, run: dict[str, Any] | None) -> Broken | None:
    """Return the first rule that a request breaks.

    Args:
        route: For example ``runs/log-batch``.
        request: The body, or the query of a GET.
        size: Of the body in bytes.
        run: The run as it is, for routes that add to it.
    """
    if size > BODY_BYTES_MAX:
        return Broken("MALFORMED_REQUEST", f"The request is larger than {BODY_BYTES_MAX} bytes")
    if route == "metrics/get-history" and int(request.get("max_results") or 0) > HISTORY_RESULTS_MAX:
        return _invalid(f"max_results must be at most {HISTORY_RESULTS_MAX}")
    if route.startswith("runs/"):
        return _run_problem(route, request, run)
    if route == "experiments/create" and len(request.get("tags") or ()) > TAGS_PER_EXPERIMENT_MAX:
        return _over("tags", TAGS_PER_EXPERIMENT_MAX, "experiment")
    return None


def _run_problem(route: str, request: dict[str, Any], run: dict[str, Any] | None) -> Broken | None:
    items = {kind: list(request.get(kind) or ()) for kind in ITEMS_PER_CALL_MAX}
    single = {"runs/log-metric": "metrics", "runs/log-parameter": "params", "runs/set-tag": "tags"}.get(route)
    if single is not None:
        items[single].append(request)
    for kind, most in ITEMS_PER_CALL_MAX.items():
        if len(items[kind]) > most and route == "runs/log-batch":
            return _invalid(
                f"A batch logging request can contain at most {most} {kind}. Got {len(items[kind])}"
            )
    if sum(map(len, items.values())) > ITEMS_TOGETHER_MAX:
        return _invalid(f"A batch logging request can contain at most {ITEMS_TOGETHER_MAX} items together")
    held = (run or {}).get("data") or {}
    return (
        _length_problem(items["metrics"], None)
        or _length_problem(items["params"], PARAM_BYTES_MAX)
        or _length_problem(items["tags"], TAG_BYTES_MAX)
        or _count_problem(held.get("params") or (), items["params"], "params", PARAMS_PER_RUN_MAX)
        or _count_problem(held.get("tags") or (), items["tags"], "tags", TAGS_PER_RUN_MAX)
    )


def _length_problem(items: Iterable[dict[str, Any]], value_bytes_max: int | None) -> Broken | None:
    for item in items:
        key, value = str(item.get("key") or ""), str(item.get("value") or "")
        if len(key.encode()) > KEY_BYTES_MAX:
            return _invalid(f"The key {key[:40]!r} is longer than {KEY_BYTES_MAX} bytes")
        if value_bytes_max is not None and len(value.encode()) > value_bytes_max:
            return _invalid(f"The value of {key[:40]!r} is longer than {value_bytes_max} bytes")
    return None


def _count_problem(
    held: Iterable[dict[str, Any]], added: list[dict[str, Any]], kind: str, most: int
) -> Broken | None:
    if not added:
        return None
    keys = {str(item.get("key")) for item in (*held, *added)}
    return _over(kind, most, "run") if len(keys) > most else None


def _over(kind: str, most: int, owner: str) -> Broken:
    return Broken(
        "RESOURCE_LIMIT_EXCEEDED", f"The total number of {kind} of the {owner} exceeds the limit of {most}"
    )


def _invalid(message: str) -> Broken:
    return Broken("INVALID_PARAMETER_VALUE", message)
