"""Experiments are paths of the workspace: names, folders, and what is in the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scripted_servers import ScriptedServer, scripted_server
from tests.unit.adapters.databricks.rig import HOME, Workspace, opened
from trackbridge.domain.ids import experiment_id_of
from trackbridge.domain.runs import Experiment
from trackbridge.errors import AuthError, NotFound, Rejected
from trackbridge.ports.tracking import TrackingStore


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def workspace(server: ScriptedServer) -> Workspace:
    server.answer = workspace = Workspace()
    return workspace


@pytest.fixture
def store(server: ScriptedServer, workspace: Workspace, tmp_path: Path) -> TrackingStore:
    store = opened(server, tmp_path).tracking
    assert store is not None
    return store


def ensure(store: TrackingStore, name: str) -> Experiment:
    return store.ensure_experiment(name, experiment_id=experiment_id_of(name))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("churn", f"{HOME}/churn"),
        ("/Shared/churn", "/Shared/churn"),
        ("/Workspace/Shared/churn", "/Shared/churn"),
        (f"{HOME}/churn", f"{HOME}/churn"),
        (f"/Workspace{HOME}/churn", f"{HOME}/churn"),
    ],
)
def test_an_experiment_is_shown_by_the_name_that_it_was_opened_with(
    store: TrackingStore, workspace: Workspace, server: ScriptedServer, tmp_path: Path, name: str, path: str
):
    created = ensure(store, name)
    assert list(workspace.experiments) == [path]
    assert (created.name, created.experiment_id) == (name, experiment_id_of(name))
    assert [item.name for item in store.list_experiments()] == [name]
    another = opened(server, tmp_path / "another machine").tracking
    assert another is not None
    assert ensure(another, name) == created


def test_every_name_of_a_path_leads_to_the_same_experiment(store: TrackingStore, workspace: Workspace):
    created = ensure(store, "churn")
    for name in (f"{HOME}/churn", f"/Workspace{HOME}/churn"):
        assert ensure(store, name) == created
    assert len(workspace.experiments) == 1


def test_an_experiment_of_somebody_else_is_shown_by_its_path(store: TrackingStore, workspace: Workspace):
    native = workspace.add(f"{HOME}/theirs")
    [found] = store.list_experiments().items
    assert (found.name, found.experiment_id) == (f"{HOME}/theirs", native)
    assert ensure(store, "theirs").experiment_id == native


@pytest.mark.parametrize("name", ["theirs", f"{HOME}/theirs", f"/Workspace{HOME}/theirs"])
def test_an_experiment_of_somebody_else_is_found_by_the_id_of_any_of_its_names(
    store: TrackingStore, workspace: Workspace, name: str
):
    native = workspace.add(f"{HOME}/theirs")
    assert store.native_experiment_id(experiment_id_of(name)) == native  # type: ignore[attr-defined]


def test_an_experiment_that_was_renamed_is_shown_by_its_new_name(store: TrackingStore, workspace: Workspace):
    workspace.add(f"{HOME}/renamed", {"bridge.experiment_id": experiment_id_of("before")})
    [found] = store.list_experiments().items
    assert (found.name, found.experiment_id) == ("renamed", experiment_id_of("before"))


def test_a_missing_folder_is_made(store: TrackingStore, workspace: Workspace):
    assert ensure(store, "team/a/churn").name == "team/a/churn"
    assert f"{HOME}/team/a" in workspace.folders


def test_a_folder_is_made_only_where_it_is_missing(store: TrackingStore, server: ScriptedServer):
    ensure(store, "/Shared/churn")
    assert not [request for request in server.requests if "mkdirs" in request.path]


def test_names_that_are_no_paths_go_to_the_folder_of_the_options(
    server: ScriptedServer, workspace: Workspace, tmp_path: Path
):
    store = opened(server, tmp_path, options={"experiment_folder": "/Shared/team"}).tracking
    assert store is not None
    ensure(store, "churn")
    assert list(workspace.experiments) == ["/Shared/team/churn"]
    assert not [request for request in server.requests if "scim" in request.path]


def test_a_folder_that_may_not_be_made_is_told_by_name(store: TrackingStore, workspace: Workspace):
    workspace.locked.add("/Users/someone")
    with pytest.raises(AuthError) as caught:
        ensure(store, "/Users/someone/churn")
    assert "/Users/someone" in (caught.value.hint or "")
    assert "experiment_folder" in (caught.value.hint or "")


def test_an_experiment_in_the_way_of_a_folder_is_told(store: TrackingStore, workspace: Workspace):
    ensure(store, "team")
    with pytest.raises(Rejected, match="already exists"):
        ensure(store, "team/churn")
    assert list(workspace.experiments) == [f"{HOME}/team"]


def test_a_folder_in_the_way_of_an_experiment_is_told(store: TrackingStore, workspace: Workspace):
    workspace.folders.add("/Shared/team")
    with pytest.raises(Rejected) as caught:
        ensure(store, "/Shared/team")
    assert "choose another" in (caught.value.hint or "")


def test_what_no_experiment_has_is_not_found(store: TrackingStore, workspace: Workspace):
    workspace.add("/Shared/other")
    with pytest.raises(NotFound):
        store.native_experiment_id(experiment_id_of("churn"))  # type: ignore[attr-defined]
