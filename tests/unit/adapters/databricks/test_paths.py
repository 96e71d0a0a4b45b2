"""Names of experiments and paths of the workspace, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackbridge.errors import Rejected
from trackbridge_adapters.databricks.paths import WorkspacePaths, parent_of

HOME = "/Users/me@example.org"


def paths() -> WorkspacePaths:
    return WorkspacePaths(lambda: HOME)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("churn", f"{HOME}/churn"),
        ("team/churn", f"{HOME}/team/churn"),
        (" a ", f"{HOME}/ a "),
        ("Übung", f"{HOME}/Übung"),
        ("/Shared/churn", "/Shared/churn"),
        ("/Workspace/Shared/churn", "/Shared/churn"),
        ("/Workspaces/churn", "/Workspaces/churn"),
        ("/Workspace", "/Workspace"),
        (f"{HOME}/churn", f"{HOME}/churn"),
        ("Workspace/x", f"{HOME}/Workspace/x"),
    ],
)
def test_a_name_has_one_path(name: str, path: str):
    assert paths().native(name) == path
    assert name in paths().names(path)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "//",
        "a//b",
        "a/",
        "/a/",
        "//Shared/a",
        ".",
        "..",
        "a/../b",
        "/Shared/..",
        "a\nb",
        "a\0b",
        "\x7f",
    ],
)
def test_what_is_no_path_is_refused(name: str):
    with pytest.raises(Rejected) as caught:
        paths().native(name)
    assert caught.value.hint


@given(st.text(min_size=1))
def test_every_name_that_is_taken_comes_back(name: str):
    known = paths()
    try:
        path = known.native(name)
    except Rejected:
        return
    assert path.startswith("/")
    assert name in known.names(path)
    assert known.native(known.ours(path)) == path
    assert all(known.native(other) == path for other in known.names(path) if other != f"/Workspace{path}")


def test_the_folder_is_asked_for_once_and_only_when_it_is_needed():
    asked = []

    def folder() -> str:
        asked.append(1)
        return HOME

    known = WorkspacePaths(folder)
    known.native("/Shared/churn")
    assert known.names("/Shared/churn") == ("/Shared/churn", "/Shared/churn", "/Workspace/Shared/churn")
    assert asked == []
    known.native("churn")
    known.native("other")
    known.ours(f"{HOME}/churn")
    assert asked == [1]


def test_a_path_that_is_only_the_folder_stays_a_path():
    assert paths().ours(HOME) == HOME
    assert paths().ours(f"{HOME}/") == f"{HOME}/"


@pytest.mark.parametrize(("path", "parent"), [("/Shared/a/b", "/Shared/a"), ("/a", "/")])
def test_the_parent_of_a_path(path: str, parent: str):
    assert parent_of(path) == parent
