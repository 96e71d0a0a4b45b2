"""Endpoints in a browser: what is live where, figures and rollouts, the way back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.pages.browsing import Watched
from tests.pages.worlds import World, world


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("endpoints")) as made:
        yield made


@pytest.fixture(scope="module")
def server_url(wine: World) -> str:
    return wine.url


def test_what_is_live_where(at: Watched) -> None:
    page = at.open("/endpoints")
    row = page.get_by_role("row", name="wine local")
    expect(row).to_contain_text("models:/wine/1")
    expect(row).to_contain_text("wine.1: waiting at 5 %")
    expect(row).to_contain_text("100 requests, 7.00% errors, p95 12.5 ms")
    at.check_accessible()
    at.check_narrow()
    at.shoot("endpoints")


def test_one_endpoint_and_the_way_back(at: Watched, wine: World) -> None:
    page = at.open("/endpoints")
    page.get_by_role("row", name="wine local").get_by_role("link", name="wine", exact=True).click()
    expect(page.get_by_role("region", name="Rollout wine.1")).to_contain_text("not judged yet")
    expect(page.get_by_role("img", name="Latencies of v1, up to 15 ms: 100")).to_be_visible()
    at.check_accessible()
    at.check_narrow()
    at.shoot("endpoint")
    page.get_by_label("Figures of the last").select_option("1d")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("heading", name="Deployments, last 1d")).to_be_visible()
    wine.scene.state.deployments.record("wine", "v1", requests=50)  # type: ignore[union-attr]
    expect(page.get_by_role("row", name="v1 models:/wine/1")).to_contain_text("150")  # by itself
    page.get_by_label("Why").fill("too many errors")
    page.get_by_role("button", name="Plan the rollback").click()
    expect(page.get_by_text("this ends the rollout wine.1")).to_be_visible()
    at.check_accessible()
    at.shoot("rollback")
    page.get_by_role("button", name="Roll back", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("wine is READY: v1 100 %", timeout=60_000)
    at.check_accessible()
    at.check_narrow()
    assert wine.scene is not None
    assert wine.scene.shape == {"v1": ("models:/wine/1", 100, 0)}
    page.get_by_role("link", name="Back", exact=True).click()
    expect(page.get_by_role("region", name="Rollout wine.1")).to_contain_text("ended")
    expect(page.get_by_role("row", name="rollback").first).to_contain_text("too many errors")
