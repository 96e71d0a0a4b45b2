"""What Azure ML's MLflow endpoint refuses, and a plain MLflow server does not.

The sources are Microsoft's documentation (resource-limits-capacity, how-to-track-experiments-mlflow,
how-to-manage-models-mlflow) and the threads mlflow#11462, #2441 and #10694. ``ASSUMED_ROUTES`` are used by
mlflow's client and neither listed nor excluded there.

Not enforced: 50 metric names a run, which the documentation names; no refusal of the 51st is known.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

LISTED_ROUTES = frozenset(
    {
        *(f"experiments/{name}" for name in ("create", "get", "get-by-name", "search")),
        *(f"runs/{name}" for name in ("create", "get", "update", "search", "log-metric", "log-parameter")),
        *(f"runs/{name}" for name in ("log-batch", "set-tag", "delete", "restore", "log-inputs")),
        "metrics/get-history",
        *(f"registered-models/{name}" for name in ("create", "get", "update", "search", "set-tag", "alias")),
        "registered-models/get-latest-versions",
        *(f"model-versions/{name}" for name in ("create", "get", "update", "delete", "search", "set-tag")),
        "model-versions/transition-stage",
        "model-versions/get-download-uri",
    }
)
ASSUMED_ROUTES = frozenset(
    {
        "experiments/delete",
        "experiments/restore",
        "experiments/set-experiment-tag",
        "runs/delete-tag",
        "registered-models/delete-tag",
        "model-versions/delete-tag",
    }
)
ROUTES = LISTED_ROUTES | ASSUMED_ROUTES

ROWS_PER_METRIC_MAX = 250
PARAMS_PER_RUN_MAX = 200
TAGS_PER_RUN_MAX = 50
TAG_KEY_CHARS_MAX = 100
METRIC_NAME_CHARS_MAX = 255
VALUE_CHARS_MAX = 1000
EXPERIMENT_NAME_CHARS_MAX = 256
EXPERIMENT_TAG_KEY_CHARS_MAX = 250
HISTORY_RESULTS_MAX = 999

_ATTRIBUTE_ORDER = re.compile(
    r"\s*(?:attributes?\.|attr\.|run\.)?[a-z_]+(?:\s+(?:asc|desc))?\s*", re.IGNORECASE
)
_OTHER_ORDER = re.compile(r"\s*(?:metrics?|params?|parameters?|tags?)\.", re.IGNORECASE)
_TEXTS = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.)*\"")
_MODEL_FILTER = re.compile(r"\s*name\s*=\s*('(?:[^']|'')*'|\"[^\"]*\")\s*")


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that a request breaks: a sentence, as the service says it."""

    message: str


def over_the_limit(field: str, limit: int, size: int) -> Broken:
    """Return the service's sentence for a field that is too large."""
    return Broken(
        f"A field of the entity is over the size limit. FieldName={field}, Limit={limit}, Size={size}. See "
        "https://aka.ms/azure-machine-learning-limits for service limits documentation."
    )


def broken_rule(route: str, request: dict[str, Any], run: dict[str, Any] | None) -> Broken | None:
    """Return the first rule that a request breaks.

    Args:
        route: For example ``runs/log-batch``.
        request: The body, or the query of a GET.
        run: The run as it is, for routes that add to it.
    """
    if route == "metrics/get-history":
        most = int(request.get("max_results") or 0)
        return Broken("MaxResults must be less than 1000") if most > HISTORY_RESULTS_MAX else None
    if route == "runs/search":
        return _search_problem(request)
    if route in ("registered-models/search", "model-versions/search"):
        text = request.get("filter") or ""
        known = not text or _MODEL_FILTER.fullmatch(text)
        return None if known else Broken(f"Unsupported filter query: {text}")
    if route.startswith("experiments/"):
        return _experiment_problem(route, request)
    if route.startswith("runs/"):
        return _records_problem(route, request, run)
    return None


def _search_problem(request: dict[str, Any]) -> Broken | None:
    for order in request.get("order_by") or ():
        if _OTHER_ORDER.match(order) or not _ATTRIBUTE_ORDER.fullmatch(order):
            return Broken(f"Ordering by {order!r} is not supported; only attributes can be ordered by")
    plain = _TEXTS.sub("''", request.get("filter") or "")
    if re.search(r"\bOR\b", plain, re.IGNORECASE):
        return Broken("The OR operator is not supported in filters")
    if re.search(r"\btags?\.\S+\s*!=", plain, re.IGNORECASE):
        return Broken("The operator != is not supported for tags")
    if re.search(r"\bmetrics?\.[`\"']", plain, re.IGNORECASE):
        return Broken("Metrics with escaped names cannot be filtered")
    return None


def _experiment_problem(route: str, request: dict[str, Any]) -> Broken | None:
    name = str(request.get("name") or "") if route == "experiments/create" else ""
    if len(name) > EXPERIMENT_NAME_CHARS_MAX:
        return over_the_limit("ExperimentName", EXPERIMENT_NAME_CHARS_MAX, len(name))
    tags = list(request.get("tags") or ())
    if route == "experiments/set-experiment-tag":
        tags.append(request)
    if len(tags) > TAGS_PER_RUN_MAX:
        return over_the_limit("Tags", TAGS_PER_RUN_MAX, len(tags))
    return _lengths_problem(tags, "Tags", EXPERIMENT_TAG_KEY_CHARS_MAX, VALUE_CHARS_MAX)


def _records_problem(route: str, request: dict[str, Any], run: dict[str, Any] | None) -> Broken | None:
    metrics, params, tags = (list(request.get(kind) or ()) for kind in ("metrics", "params", "tags"))
    single = {"runs/log-metric": metrics, "runs/log-parameter": params, "runs/set-tag": tags}.get(route)
    if single is not None:
        single.append(request)
    rows = Counter(str(metric.get("key")) for metric in metrics)
    most = max(rows.values(), default=0)
    if most > ROWS_PER_METRIC_MAX:
        return over_the_limit("MetricV2Dto.Value/Count", ROWS_PER_METRIC_MAX, most)
    held = (run or {}).get("data") or {}
    return (
        _lengths_problem(metrics, "Metrics", METRIC_NAME_CHARS_MAX, None)
        or _lengths_problem(params, "Parameters", METRIC_NAME_CHARS_MAX, VALUE_CHARS_MAX)
        or _lengths_problem(tags, "Tags", TAG_KEY_CHARS_MAX, VALUE_CHARS_MAX)
        or _count_problem(held.get("params") or (), params, "Parameters", PARAMS_PER_RUN_MAX)
        or _count_problem(held.get("tags") or (), tags, "Tags", TAGS_PER_RUN_MAX)
    )


def _lengths_problem(
    items: Iterable[dict[str, Any]], field: str, key_max: int, value_max: int | None
) -> Broken | None:
    for item in items:
        key, value = str(item.get("key") or ""), str(item.get("value") or "")
        if len(key) > key_max:
            return over_the_limit(f"{field}/Key", key_max, len(key))
        if value_max is not None and len(value) > value_max:
            return over_the_limit(f"{field}/Value", value_max, len(value))
    return None


def _count_problem(
    held: Iterable[dict[str, Any]], added: list[dict[str, Any]], field: str, most: int
) -> Broken | None:
    if not added:
        return None
    keys = {str(item.get("key")) for item in (*held, *added)}
    return over_the_limit(field, most, len(keys)) if len(keys) > most else None
