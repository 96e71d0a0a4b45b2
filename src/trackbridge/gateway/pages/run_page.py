"""One run: what it is, what it logged, its notes and files; kept up to date while it is logging."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from starlette.responses import Response
from starlette.routing import Route

from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.job_tags import TAG_JOB, TAG_JOB_PLACE, TAG_JOB_URL
from trackbridge.domain.runs import (
    TAG_GIT_BRANCH,
    TAG_GIT_COMMIT,
    TAG_GIT_DIRTY,
    TAG_GIT_REPOSITORY,
    TAG_NAME,
    TAG_NOTE,
    TAG_PARENT,
    TAG_SOURCE_NAME,
    Run,
)
from trackbridge.domain.secrets import redact
from trackbridge.errors import BridgeError, InvalidInput, NotFound, Unsupported
from trackbridge.gateway.pages.drawing import spark_points
from trackbridge.gateway.pages.finding import all_experiments
from trackbridge.gateway.pages.layout import Pages, View
from trackbridge.gateway.pages.markdown import rendered
from trackbridge.gateway.pages.previews import Preview, preview_of

SPARKS_MAX = 60
SPARKS_S_MAX = 1.0
"""How long small curves are drawn for one page, in seconds; the others are a click away."""
SPARK_WIDTH, SPARK_HEIGHT = 140, 30
METRICS_MAX = 500
TAG_MODEL_HISTORY = "mlflow.log-model.history"
_TAGS_SHOWN_ELSEWHERE = (TAG_NAME, TAG_NOTE, TAG_MODEL_HISTORY)


@dataclass(frozen=True)
class MetricLine:
    """A metric, its last value, and its history as points of a small curve ("" where it was not drawn)."""

    key: str
    value: float
    spark: str = ""


@dataclass(frozen=True)
class Link:
    """A name and where it leads; no address where it cannot be followed."""

    label: str
    address: str = ""


def run_page_routes(pages: Pages) -> list[Route]:
    """Return the routes of a run's page."""
    return [
        pages.route("/runs/{run_id}", run_page),
        pages.route("/runs/{run_id}/live", live),
        pages.route("/runs/{run_id}/versions", versions),
    ]


def run_page(view: View) -> Response:
    """Show a run."""
    run_id, path = view.part("run_id"), view.value("path")
    run = view.client.reader.get_run(run_id)
    experiment = all_experiments(view.client).get(run.info.experiment_id)
    files, shown = _artifacts(view, run_id, path)
    note = run.data.tags.get(TAG_NOTE, "")
    return view.page(
        "run.html",
        title=run.info.run_name or run_id,
        section="experiments",
        twin=f"bridge runs show {run_id} --json",
        **_live_context(run),
        experiment_name=experiment.name if experiment else run.info.experiment_id,
        note=rendered(note) if note.strip() else None,
        source=_source(run),
        native_url=_safe_address(run.info.native_url or ""),
        job=_job(run),
        models=_models(run),
        parent=run.data.tags.get(TAG_PARENT),
        tags={key: value for key, value in sorted(run.data.tags.items()) if key not in _TAGS_SHOWN_ELSEWHERE},
        files=files,
        crumbs=_crumbs(path),
        path=path,
        preview=shown,
    )


def live(view: View) -> Response:
    """Show what changes while a run is logging, with small curves."""
    run = view.client.reader.get_run(view.part("run_id"))
    return view.fragment("run_live.html", **_live_context(run, _sparks(view, run)))


def versions(view: View) -> Response:
    """Show the registered models that were made of a run; some registries take a while to tell."""
    run_id = view.part("run_id").replace("'", "''")
    problem, found = "", []
    try:
        found = list(view.client.search_model_versions(f"run_id = '{run_id}'"))
    except Unsupported:
        pass  # a backend without a registry, of which the models' page tells
    except BridgeError as error:
        problem = redact(str(error))
    return view.fragment("run_versions.html", versions=found, problem=problem)


def _live_context(run: Run, sparks: dict[str, str] | None = None) -> dict[str, Any]:
    keys = sorted(run.data.metrics, key=lambda key: (key.startswith("system/"), key))
    lines = [
        MetricLine(key, run.data.metrics[key], (sparks or {}).get(key, "")) for key in keys[:METRICS_MAX]
    ]
    return {
        "run": run,
        "metrics": lines,
        "metrics_left_out": len(keys) - len(lines),
        "params": dict(sorted(run.data.params.items())),
        "spark_width": SPARK_WIDTH,
        "spark_height": SPARK_HEIGHT,
        "is_loaded": sparks is not None,
    }


def _sparks(view: View, run: Run) -> dict[str, str]:
    """Return small curves by metric, as many as fit into a second."""
    until = time.monotonic() + SPARKS_S_MAX
    keys = sorted(run.data.metrics, key=lambda key: (key.startswith("system/"), key))
    found: dict[str, str] = {}
    for key in keys[:SPARKS_MAX]:
        try:
            columns = view.pages.histories.of(view.client, run, key)
        except Unsupported:  # the backend has last values only
            break
        found[key] = spark_points(columns, SPARK_WIDTH, SPARK_HEIGHT)
        if time.monotonic() > until:
            break
    return found


def _source(run: Run) -> list[tuple[str, Link]]:
    tags = run.data.tags
    commit, repository = tags.get(TAG_GIT_COMMIT, ""), tags.get(TAG_GIT_REPOSITORY, "")
    web = _web_address(repository)
    found = [("File", Link(tags.get(TAG_SOURCE_NAME, "")))]
    found.append(("Repository", Link(redact(repository), web)))
    found.append(("Branch", Link(tags.get(TAG_GIT_BRANCH, ""))))
    found.append(("Commit", Link(commit, f"{web}/commit/{commit}" if web and commit else "")))
    if tags.get(TAG_GIT_DIRTY) == "true":
        diff = f"{web}/commit/{commit}" if web and commit else ""
        found.append(("Uncommitted changes", Link("yes: the commit alone is not what ran", diff)))
    return [(label, link) for label, link in found if link.label]


def _web_address(repository: str) -> str:
    """Return the page of a repository in a browser; "" where none can be told."""
    if repository.startswith("git@") and ":" in repository:
        host, _, path = repository.removeprefix("git@").partition(":")
        repository = f"https://{host}/{path}"
    parts = _parts(repository)
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc:
        return ""
    return repository.removesuffix(".git").rstrip("/")


def _job(run: Run) -> tuple[Link, str] | None:
    job = run.data.tags.get(TAG_JOB)
    if not job:
        return None
    return Link(job, _safe_address(run.data.tags.get(TAG_JOB_URL, ""))), run.data.tags.get(TAG_JOB_PLACE, "")


def _safe_address(address: str) -> str:
    return address if _parts(address).scheme in ("https", "http") else ""


def _parts(address: str) -> SplitResult:
    """Return the parts of an address; no parts where it is none, since anything may have been logged."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def _models(run: Run) -> list[Link]:
    """Return the logged models that the run made or read, then those of mlflow 2, by their folders."""
    found = [
        Link(f"{link.model_id}{'' if link.step is None else f' (step {link.step})'}") for link in run.models
    ]
    paths = _model_paths(run.data.tags.get(TAG_MODEL_HISTORY, ""))
    return found + [Link(path, f"?path={quote(path, errors='replace')}/MLmodel#artifacts") for path in paths]


def _model_paths(history: str) -> list[str]:
    try:
        listed = json.loads(history) if history else []
    except ValueError:
        return []
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    paths = (entry.get("artifact_path") for entry in entries)
    return list(dict.fromkeys(path for path in paths if isinstance(path, str) and path))


def _artifacts(view: View, run_id: str, path: str) -> tuple[Sequence[ArtifactInfo], Preview | None]:
    """Return the files beside the chosen one and a look into it; those at the root where none is chosen."""
    try:
        shown = preview_of(view.client, run_id, path) if path else None
        folder = path if shown is not None and shown.kind == "folder" else str(PurePosixPath(path).parent)
        files = view.client.list_artifacts(run_id, "" if folder == "." else folder)
    except NotFound:
        return view.client.list_artifacts(run_id, ""), Preview(path, "none", note="there is no such file")
    except Unsupported:
        return [], None
    except InvalidInput:  # the address of this page is wrong
        raise
    except BridgeError as error:  # the store of files may be another than that of runs
        return [], Preview(path, "none", note=f"the files cannot be read now: {redact(str(error))}")
    return files, shown


def _crumbs(path: str) -> list[tuple[str, str]]:
    """Return name and path of every folder above a path, and of itself."""
    parts = PurePosixPath(path).parts
    return [(part, "/".join(parts[: number + 1])) for number, part in enumerate(parts)]
