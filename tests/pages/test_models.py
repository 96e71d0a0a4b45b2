"""Models in a browser: read, compared, changed once a plan is confirmed, brought in step with a remote."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.pages.browsing import Watched
from tests.pages.worlds import World, world
from trackbridge.errors import NotFound


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("models")) as made:
        yield made


@pytest.fixture(scope="module")
def server_url(wine: World) -> str:
    return wine.url


def form(page: Page, button: str) -> None:
    page.get_by_role("button", name=button, exact=True).click()


def test_models_and_one_of_them(at: Watched) -> None:
    page = at.open("/models")
    row = page.get_by_role("row", name="wine")
    expect(row).to_contain_text("champion: 2")
    at.check_accessible()
    at.check_narrow()
    at.shoot("models")
    row.get_by_role("link", name="wine").click()
    expect(page.get_by_role("heading", name="wine", exact=True)).to_be_visible()
    expect(page.get_by_role("region", name="History")).to_contain_text("the best so far")
    expect(page.get_by_role("region", name="Versions")).to_contain_text("the 3. try")
    at.check_accessible()
    at.check_narrow()
    at.shoot("model")
    page.locator("select[name=left]").select_option("1")
    page.locator("select[name=right]").select_option("2")
    form(page, "Compare versions")
    expect(page.get_by_role("row", name="quality differs")).to_be_visible()
    at.check_accessible()
    at.check_narrow()


def test_the_keyboard_alone_reaches_the_filter(at: Watched) -> None:
    page = at.open("/models")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.get_by_role("searchbox").focus()
    page.keyboard.type("name = 'beer'")
    page.keyboard.press("Enter")
    expect(page.get_by_text("There are no such models")).to_be_visible()


def test_changes_are_made_once_their_plan_is_confirmed(at: Watched, wine: World) -> None:
    page = at.open("/models/by-name/wine")
    card = page.locator("form[action='/models/alias']")
    card.locator("select[name=version]").select_option("3")
    card.get_by_label("Alias").fill("challenger")
    card.get_by_label("Why").fill("looks good")
    form(page, "Plan the alias")
    expect(page.get_by_role("row", name="alias challenger of wine")).to_contain_text("create")
    at.check_accessible()
    at.check_narrow()
    at.shoot("plan")
    assert "challenger" not in wine.client.get_registered_model("wine").aliases
    form(page, "Set the alias")
    expect(page.get_by_role("status")).to_contain_text("It is done")
    page.get_by_role("link", name="Back to wine").click()
    expect(page.get_by_role("region", name="History")).to_contain_text("looks good")
    page.get_by_role("link", name="remove challenger").click()
    form(page, "Set the alias")
    assert wine.client.get_registered_model("wine").aliases == {"champion": "2"}
    at.open("/models/by-name/wine")
    card = page.locator("form[action='/models/stage']")
    card.locator("select[name=version]").select_option("2")
    card.locator("select[name=stage]").select_option("Production")
    card.get_by_label("Archive the others").check()
    form(page, "Plan the stage")
    form(page, "Set the stage")
    at.open("/models/by-name/wine")
    card = page.locator("form[action='/models/approval']")
    card.locator("select[name=version]").select_option("1")
    card.locator("select[name=approval]").select_option("rejected")
    form(page, "Plan the approval")
    form(page, "Set the approval")
    expect(page.get_by_role("status")).to_contain_text("It is done")
    found = {item.version: item for item in wine.client.search_model_versions("name = 'wine'")}
    assert (found["2"].stage, found["1"].approval.value) == ("Production", "rejected")


def test_a_plan_that_is_stale_changes_nothing(at: Watched, wine: World) -> None:
    page = at.open("/models/delete?name=wine&version=3")
    wine.client.set_model_version_approval("wine", "3", "approved")
    at.expected = ("409",)
    form(page, "Delete")
    expect(page.get_by_role("alert")).to_contain_text("has changed since it was shown")
    assert wine.client.get_model_version("wine", "3").version == "3"
    at.open("/models/delete?name=wine&version=3")
    form(page, "Delete")
    expect(page.get_by_role("status")).to_contain_text("It is done")
    with pytest.raises(NotFound):
        wine.client.get_model_version("wine", "3")


def test_registries_are_compared_read_and_brought_in_step(at: Watched) -> None:
    page = at.open("/models/matrix")
    expect(page.get_by_role("row", name="wine")).to_contain_text("absent")
    page.get_by_role("link", name="Bring two registries in step").click()
    at.check_accessible()
    at.check_narrow()
    page.locator("select[name=target]").select_option("lab")
    form(page, "Compare")
    expect(page.get_by_role("status")).to_contain_text("done", timeout=60_000)
    at.check_accessible()
    at.check_narrow()
    page.get_by_role("link", name="Read the plan").click()
    expect(page.get_by_role("row", name="version wine/1")).to_be_visible()
    form(page, "Apply")
    page.reload()  # its progress is the server's
    expect(page.get_by_role("status")).to_contain_text("versions copied: 2", timeout=60_000)
    at.shoot("work")
    at.open("/models/matrix")
    expect(page.get_by_role("row", name="wine")).to_contain_text("in step")
    at.check_accessible()
    at.check_narrow()
    at.shoot("matrix")
    at.open("/works")
    expect(page.get_by_role("row", name="Compare file:")).to_be_visible()
    at.check_accessible()
