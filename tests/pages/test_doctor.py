"""Doctor in a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.pages.browsing import Watched
from tests.pages.worlds import world


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with world(tmp_path_factory.mktemp("doctor")) as made:
        yield made.url


def test_findings_with_their_fixes(at: Watched) -> None:
    page = at.open("/doctor")
    expect(page.get_by_role("status")).to_contain_text("to be looked at")
    expect(page.get_by_role("row", name="warning dead letters")).to_contain_text("bridge sync replay --all")
    at.check_accessible()
    at.check_narrow()
    at.shoot("doctor")
    page.get_by_label("Place").select_option("lab")
    page.get_by_role("button", name="Examine").click()
    expect(page.get_by_label("Place")).to_have_value("lab")
    expect(page.get_by_role("region", name="Findings")).to_contain_text("lab")
