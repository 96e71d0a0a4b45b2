"""Another environment gets the same trackbridge, from where this one came."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trackbridge.errors import ConfigError
from trackbridge.operations import own_package
from trackbridge.operations.own_package import own_requirement


class Installed:
    version = "1.2.3"

    def __init__(self, told: str | None) -> None:
        self._told = told

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self._told


def install(monkeypatch: pytest.MonkeyPatch, told: object) -> None:
    text = told if told is None or isinstance(told, str) else json.dumps(told)
    monkeypatch.setattr(own_package, "distribution", lambda name: Installed(text))


def test_from_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, None)
    assert own_requirement() == "trackbridge[mlflow]==1.2.3"
    assert own_requirement(extras=()) == "trackbridge==1.2.3"
    assert own_requirement(extras=("aws", "mlflow")) == "trackbridge[aws,mlflow]==1.2.3"


def test_from_a_folder_or_a_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "with space"
    place.mkdir()
    install(monkeypatch, {"url": place.as_uri(), "dir_info": {"editable": True}})
    assert own_requirement() == f"trackbridge[mlflow] @ {place.as_uri()}"
    place.rmdir()
    with pytest.raises(ConfigError, match="not there any more"):
        own_requirement()


def test_from_a_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    url, commit = "https://example.org/trackbridge.git", "a" * 40
    install(monkeypatch, {"url": url, "vcs_info": {"vcs": "git", "commit_id": commit}})
    assert own_requirement() == f"trackbridge[mlflow] @ git+{url}@{commit}"


@pytest.mark.parametrize("told", ["{", "[]", {"url": "https://u:secret@example.org/x.whl"}])
def test_what_cannot_be_said(monkeypatch: pytest.MonkeyPatch, told: object) -> None:
    install(monkeypatch, told)
    with pytest.raises(ConfigError) as raised:
        own_requirement()
    assert "secret" not in str(raised.value)


def test_as_it_is_installed_here() -> None:
    assert own_requirement().startswith("trackbridge[mlflow]")
