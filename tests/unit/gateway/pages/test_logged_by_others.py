"""Pages of runs that hold anything that somebody may have logged, or whose files cannot be read."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.page_sites import Site
from trackbridge.errors import AuthError
from trackbridge.gateway.pages import compare, run_page


@pytest.fixture
def run_id(site: Site) -> str:
    client = site.gateway.client
    return client.create_run(client.open_experiment("wine").experiment_id).info.run_id


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mlflow.source.git.repoURL", "https://[x"),
        ("mlflow.source.git.repoURL", "git@[x:a/b.git"),
        ("mlflow.log-model.history", '[{"artifact_path": "a\\ud800"}]'),
    ],
)
def test_tags_that_are_no_addresses(site: Site, run_id: str, key: str, value: str) -> None:
    site.gateway.client.set_tag(run_id, key, value)
    assert "Artifacts" in site.get(f"/runs/{run_id}")


def test_addresses_that_are_none_are_not_followed() -> None:
    assert [run_page._safe_address(text) for text in ("http://[x", "javascript:x", "https://a.org")] == [
        "",
        "",
        "https://a.org",
    ]
    assert run_page._web_address("https://:secret@host.org/a.git") == ""


def test_halves_of_characters_in_json(site: Site, run_id: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"a": "\\ud800"}')
    site.gateway.client.log_artifact(run_id, tmp_path / "a.json")
    assert "&#34;a&#34;: &#34;?&#34;" in site.get(f"/runs/{run_id}?path=a.json")


def test_a_run_is_shown_without_its_files(site: Site, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = site.gateway.client
    client.log_param(run_id, "lr", "0.25")

    def refused(*_: object) -> None:
        raise AuthError("the storage lets nobody in")

    monkeypatch.setattr(client, "list_artifacts", refused)
    text = site.get(f"/runs/{run_id}")
    assert "the files cannot be read now: the storage lets nobody in" in text
    assert "0.25" in text
    assert "Curves of" in site.get(f"/compare?run={run_id}")


def test_a_file_that_cannot_be_read_is_told_beside_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AuthError("the storage lets nobody in")

    monkeypatch.setattr(compare, "preview_of", refused)
    run = SimpleNamespace(info=SimpleNamespace(run_id="a"))
    ((_, shown),) = compare._files(SimpleNamespace(client=None), [run], "x")  # type: ignore[arg-type, list-item]
    assert shown is not None
    assert "the storage lets nobody in" in shown.note


def test_what_is_kept_up_to_date_keeps_the_focus(site: Site, run_id: str) -> None:
    """htmx gives the focus back to what has an id."""
    client = site.gateway.client
    client.log_metric(run_id, "loss", 0.5)
    client.log_param(run_id, "lr", "0.25")
    for text in (site.get(f"/runs/{run_id}/live", fragment=True), site.get("/sync", fragment=True)):
        focused = re.findall(r"<(?:a |button|summary|[^>]*tabindex)[^>]*>", text)
        assert focused
        assert [tag for tag in focused if " id=" not in tag] == []
