"""What the web pages show of several places and versions, on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

import trackbridge
from tests.cli.conftest import Bridge
from trackbridge.api import version_comparison


@pytest.fixture
def model(project: Path) -> Path:
    """Return the folder of a model that is registered: wine with two versions, beer with one."""
    folder = project / "model"
    folder.mkdir()
    for name, weights in (("wine", "1"), ("beer", "1"), ("wine", "2")):
        (folder / "weights").write_text(weights)
        trackbridge.register_model(str(folder), name)
    return folder


def test_models_by_place(bridge: Bridge, model: Path) -> None:
    bridge("remotes", "add", "lab", "./lab")
    bridge("models", "sync", "file:.bridge", "lab", "beer", "--yes")
    found = bridge("models", "where", "--json").objects
    cells = {record["name"]: [cell["state"] for cell in record["places"]] for record in found[:-1]}
    assert cells == {"beer": ["compared with", "in step"], "wine": ["compared with", "absent"]}
    assert found[-1]["models"] == 2
    told = bridge("models", "where").out
    assert "compared with, newest 2 of 2" in told


def test_a_place_that_is_down_is_told(bridge: Bridge, model: Path, project: Path) -> None:
    (project / "down").mkdir()
    (project / "down" / "store.db").write_bytes(b"no database at all" * 100)
    bridge("remotes", "add", "down", "./down")
    result = bridge("models", "where", "--json", code=3)
    assert [record["place"] for record in result.objects if record["type"] == "unreached"] == ["down"]
    assert result.objects[-1]["unreached"] == ["down"]
    assert result.objects[-1]["models"] == 2


def test_two_versions(bridge: Bridge, model: Path) -> None:
    bridge("models", "alias", "wine/2", "champion", "--why", "better")
    found = bridge("models", "compare", "wine/1", "wine@champion", "--json").objects
    differing = {record["difference"]["name"] for record in found[:-1]}
    assert {"digest", "run", "aliases"} <= differing
    assert found[-1]["differences"] == len(found) - 1
    assert "champion" in bridge("models", "compare", "wine/1", "wine/2").out
    assert "nothing that is known differs" in bridge("models", "compare", "wine/1", "wine/1").out
    assert "two models" in bridge("models", "compare", "wine/1", "beer/1", code=1).err


def test_a_long_difference_is_cut_and_it_is_said(
    bridge: Bridge, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for lines in ("flavors: {a: {}}\n", "flavors: {b: {}}\n"):
        (model / "MLmodel").write_text(lines)
        trackbridge.register_model(str(model), "tea")
    monkeypatch.setattr(version_comparison, "DIFF_LINES_MAX", 2)
    found = bridge("models", "compare", "tea/1", "tea/2", "--json").objects
    assert len(found[-1]["mlmodel"]) == 2
    assert found[-1]["unknown"] == ["the MLmodels differ in 5 lines; the first 2 are shown"]


def test_migrations(bridge: Bridge, model: Path) -> None:
    assert "nothing was copied" in bridge("sync", "migrations").out
    bridge("models", "sync", "file:.bridge", "file:lab", "--yes")
    found = bridge("sync", "migrations", "--json").objects
    assert found[0]["migration"]["counts"] == {"run": 3, "version": 3}
    assert found[-1]["migrations"] == 1
    assert "at rest" in bridge("sync", "migrations").out
