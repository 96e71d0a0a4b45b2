"""Each call of the registry: models, versions, aliases, stages, tags, searches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlflow import MlflowClient

from tests.gateway.programs.notes import Notes
from tests.gateway.programs.tracking_calls import LONG, MISSING


def versions(found: Any) -> dict[str, Any]:
    """Show a page of versions by name and number, and whether another follows."""
    shown = [[item.name, item.version] for item in found]
    return {"versions": shown, "has more": bool(getattr(found, "token", None))}


def names(found: Any) -> dict[str, Any]:
    """Show a page of models by name."""
    return {"names": [item.name for item in found], "has more": bool(getattr(found, "token", None))}


def registry(client: MlflowClient, note: Notes, experiment: str) -> None:
    """Touch all of the registry."""
    wine = f"{note.mark}-wine"
    _models(client, note, wine)
    _versions(client, note, wine, experiment)
    _aliases(client, note, wine)
    _stages(client, note, wine)
    _searches(client, note, wine)
    _endings(client, note, wine)


def _models(client: MlflowClient, note: Notes, wine: str) -> None:
    make = client.create_registered_model
    note("model create", lambda: make(wine, {"a": "1"}, "good wine"))
    note("model create twice", lambda: make(wine))
    note("model without name", lambda: make(""))
    note("model with slash", lambda: make(f"{note.mark}/x"))
    note("model with colon", lambda: make(f"{note.mark}:x"))
    note("model with long name", lambda: make(note.mark + LONG))
    note("model plain", lambda: make(f"{note.mark}-plain"))
    note("model", lambda: client.get_registered_model(wine))
    note("model missing", lambda: client.get_registered_model(f"{note.mark}-none"))
    note("model update", lambda: client.update_registered_model(wine, "better wine"))
    note("model update missing", lambda: client.update_registered_model(f"{note.mark}-none", "x"))
    note("model tag", lambda: client.set_registered_model_tag(wine, "b", "2"))
    note("model tag again", lambda: client.set_registered_model_tag(wine, "b", "3"))
    note("model tag gone", lambda: client.delete_registered_model_tag(wine, "a"))
    note("model tag missing gone", lambda: client.delete_registered_model_tag(wine, "none"))
    note("model tag of none", lambda: client.set_registered_model_tag(f"{note.mark}-none", "a", "b"))
    note("model tag too long", lambda: client.set_registered_model_tag(wine, "long", "x" * 100_001))
    note("model tag long key", lambda: client.set_registered_model_tag(wine, "k" * 251, "x"))
    note("model changed", lambda: client.get_registered_model(wine))


def _versions(client: MlflowClient, note: Notes, wine: str, experiment: str) -> None:
    run = client.create_run(experiment, run_name="maker").info.run_id
    note.named("run maker", run)
    client.log_text(run, "flavors: {}\n", "model/MLmodel")
    source = f"{client.get_run(run).info.artifact_uri}/model"
    make = client.create_model_version
    note("version create", lambda: make(wine, source, run, {"t": "u"}, None, "first"))
    note("version create again", lambda: make(wine, source, run))
    note("version of a runs URI", lambda: make(wine, f"runs:/{run}/model", run))
    note("version without run", lambda: make(wine, source))
    note("version of no model", lambda: make(f"{note.mark}-none", source))
    note("version of no run", lambda: make(wine, source, MISSING))
    note("version of a local file", lambda: make(wine, "/etc/passwd"))
    note("version of a parent's file", lambda: make(wine, f"{source}/../../../../x", run))
    note("version", lambda: client.get_model_version(wine, "1"))
    note("version missing", lambda: client.get_model_version(wine, "99"))
    note("version of no number", lambda: client.get_model_version(wine, "one"))
    note("version of none", lambda: client.get_model_version(f"{note.mark}-none", "1"))
    note("version update", lambda: client.update_model_version(wine, "1", "the first"))
    note("version update missing", lambda: client.update_model_version(wine, "99", "x"))
    note("version tag", lambda: client.set_model_version_tag(wine, "1", "quality", "high"))
    note(
        "version tag by stage",
        lambda: client.set_model_version_tag(wine, stage="Production", key="a", value="b"),
    )
    note("version tag gone", lambda: client.delete_model_version_tag(wine, "1", "t"))
    note("version tag missing gone", lambda: client.delete_model_version_tag(wine, "1", "none"))
    note("version tag of none", lambda: client.set_model_version_tag(wine, "99", "a", "b"))
    note("version changed", lambda: client.get_model_version(wine, "1"))
    note("version address", lambda: client.get_model_version_download_uri(wine, "1"))
    note("version address of none", lambda: client.get_model_version_download_uri(wine, "99"))
    note("version copied", lambda: client.copy_model_version(f"models:/{wine}/1", f"{note.mark}-copy"))
    note("copy", lambda: client.get_model_version(f"{note.mark}-copy", "1"))
    note("model with versions", lambda: client.get_registered_model(wine).latest_versions, versions)


def _aliases(client: MlflowClient, note: Notes, wine: str) -> None:
    alias = client.set_registered_model_alias
    note("alias", lambda: alias(wine, "champion", "1"))
    note("alias moved", lambda: alias(wine, "champion", "2"))
    note("alias second", lambda: alias(wine, "second", "2"))
    note("alias of no version", lambda: alias(wine, "champion", "99"))
    note("alias of no model", lambda: alias(f"{note.mark}-none", "champion", "1"))
    note("alias of a reserved name", lambda: alias(wine, "latest", "1"))
    note("alias like a version", lambda: alias(wine, "v1", "1"))
    note("alias with bad letters", lambda: alias(wine, "a b!", "1"))
    note("alias too long", lambda: alias(wine, "a" * 256, "1"))
    note("version by alias", lambda: client.get_model_version_by_alias(wine, "champion").version)
    note("version by no alias", lambda: client.get_model_version_by_alias(wine, "none"))
    note("version by alias of none", lambda: client.get_model_version_by_alias(f"{note.mark}-none", "x"))
    note("version with aliases", lambda: sorted(client.get_model_version(wine, "2").aliases))
    note("model with aliases", lambda: client.get_registered_model(wine).aliases)
    note("alias gone", lambda: client.delete_registered_model_alias(wine, "second"))
    note("alias missing gone", lambda: client.delete_registered_model_alias(wine, "none"))
    note("model with one alias", lambda: client.get_registered_model(wine).aliases)


def _stages(client: MlflowClient, note: Notes, wine: str) -> None:
    move = client.transition_model_version_stage
    note("stages", lambda: client.get_model_version_stages(wine, "1"))
    note("stage", lambda: move(wine, "1", "Production"))
    note("stage of another", lambda: move(wine, "2", "production", archive_existing_versions=True))
    note("stage archived", lambda: client.get_model_version(wine, "1").current_stage)
    note("stage staging", lambda: move(wine, "3", "Staging").current_stage)
    note("stage unknown", lambda: move(wine, "1", "Trash"))
    note("stage of no version", lambda: move(wine, "99", "Staging"))
    note("archiving into None", lambda: move(wine, "1", "None", archive_existing_versions=True))
    ordered = lambda found: sorted([one.version, one.current_stage] for one in found)  # noqa: E731
    note("latest", lambda: client.get_latest_versions(wine), ordered)
    note("latest of a stage", lambda: client.get_latest_versions(wine, ["Production"]), ordered)
    note("latest of stages", lambda: client.get_latest_versions(wine, ["Staging", "None"]), ordered)
    note("latest of no stage", lambda: client.get_latest_versions(wine, ["Trash"]), ordered)
    note("latest of no model", lambda: client.get_latest_versions(f"{note.mark}-none"), ordered)


def _searches(client: MlflowClient, note: Notes, wine: str) -> None:
    for letter in "abcd":
        client.create_registered_model(f"{note.mark}-s-{letter}", {"letter": letter})
    like = f"name LIKE '{note.mark}-s-%'"
    models: dict[str, dict[str, Any]] = {
        "like": {"filter_string": like},
        "ilike": {"filter_string": f"name ILIKE '{note.mark.upper()}-S-%'"},
        "equal": {"filter_string": f"name = '{wine}'"},
        "tag": {"filter_string": f"{like} AND tags.letter = 'c'"},
        "tag unequal": {"filter_string": f"{like} AND tags.letter != 'c'"},
        "falling": {"filter_string": like, "order_by": ["name DESC"]},
        "by time": {"filter_string": like, "order_by": ["timestamp ASC", "name"]},
        "page": {"filter_string": like, "max_results": 3},
        "bad filter": {"filter_string": "name LIKE"},
        "bad field": {"filter_string": "colour = 'red'"},
        "bad order": {"order_by": ["colour"]},
        "none": {"max_results": 0},
        "too many": {"max_results": 1001},
    }
    for label, asked in models.items():
        note(f"models {label}", lambda: client.search_registered_models(**asked), names)  # noqa: B023
    first = client.search_registered_models(like, 3)
    note("models next page", lambda: client.search_registered_models(like, 3, None, first.token), names)
    mine = f"name = '{wine}'"
    found: dict[str, dict[str, Any]] = {
        "of a model": {"filter_string": mine},
        "rising": {"filter_string": mine, "order_by": ["version_number ASC"]},
        "of a run": {"filter_string": f"{mine} AND run_id = '{_maker(client, wine)}'"},
        "of a tag": {"filter_string": f"{mine} AND tags.quality = 'high'"},
        "of a number": {"filter_string": f"{mine} AND version_number > 2"},
        "page": {"filter_string": mine, "max_results": 2},
        "bad filter": {"filter_string": "run_id >"},
        "bad field": {"filter_string": "colour = 'red'"},
        "none": {"filter_string": mine, "max_results": 0},
        "too many": {"filter_string": mine, "max_results": 200_001},
    }
    for label, asked in found.items():
        note(f"versions {label}", lambda: client.search_model_versions(**asked), versions)  # noqa: B023


def _maker(client: MlflowClient, wine: str) -> str:
    return str(client.get_model_version(wine, "1").run_id)


def _endings(client: MlflowClient, note: Notes, wine: str) -> None:
    old, new = f"{note.mark}-old", f"{note.mark}-new"
    client.create_registered_model(old)
    endings: dict[str, Callable[[], Any]] = {
        "version delete": lambda: client.delete_model_version(wine, "2"),
        "version deleted": lambda: client.get_model_version(wine, "2"),
        "version delete twice": lambda: client.delete_model_version(wine, "2"),
        "alias of a deleted version": lambda: client.get_model_version_by_alias(wine, "champion"),
        "model rename to another's": lambda: client.rename_registered_model(old, f"{note.mark}-plain"),
        "model rename missing": lambda: client.rename_registered_model(f"{note.mark}-none", "x"),
        "model rename": lambda: client.rename_registered_model(old, new),
        "model by old name": lambda: client.get_registered_model(old).name,
        "model by new name": lambda: client.get_registered_model(new).name,
        "model delete": lambda: client.delete_registered_model(wine),
        "model deleted": lambda: client.get_registered_model(wine),
        "model delete twice": lambda: client.delete_registered_model(wine),
        "versions of a deleted": lambda: len(client.search_model_versions(f"name = '{wine}'")),
    }
    for label, ending in endings.items():
        note(label, ending)
