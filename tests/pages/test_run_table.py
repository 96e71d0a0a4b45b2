"""The table of runs in a browser, over 100,000 of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.pages import stores
from tests.pages.browsing import NARROW, Watched
from tests.support.gateways import gateway

COUNT = 100_000
TABLE = f"/runs?experiment={stores.MANY_ID}"


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("many")
    stores.build_many(folder / "store", COUNT)
    with gateway(f"file:{folder / 'store'}", home=folder / "home", pages=True) as served:
        yield served.url


def names(at: Watched) -> list[str]:
    return [text.strip() for text in at.page.locator("table.runs tbody th").all_inner_texts()]


def test_shows_the_newest_runs_first_and_pages_in_both_directions(at: Watched) -> None:
    page = at.open(TABLE)
    assert names(at)[:2] == [f"run-{COUNT - 1}", f"run-{COUNT - 2}"]
    assert len(names(at)) == 50
    expect(page).to_have_title("many runs · trackbridge")
    for number in (2, 3):
        page.get_by_role("button", name="Next page").click()
        expect(page.get_by_text(f"Page {number}", exact=True)).to_be_visible()
        assert names(at)[0] == f"run-{COUNT - 1 - 50 * (number - 1)}"
    page.get_by_role("button", name="Previous page").click()
    expect(page.get_by_text("Page 2", exact=True)).to_be_visible()
    assert names(at)[0] == f"run-{COUNT - 51}"
    page.get_by_role("button", name="First page").click()
    assert names(at)[0] == f"run-{COUNT - 1}"
    at.shoot("runs")


def test_a_page_far_behind_can_be_bookmarked(at: Watched) -> None:
    page = at.open(f"{TABLE}&size=200&sort=metrics.loss")
    for _ in range(12):  # more than one can go back one by one
        page.get_by_role("button", name="Next page").click()
    expect(page.get_by_text("Page 13", exact=True)).to_be_visible()
    before = names(at)
    assert len(before) == 200
    at.open(page.url.removeprefix(at.url))
    assert names(at) == before
    # Ascending loss is n/count; the run without a number in its name has 0.5.
    assert before[0] == "run-2401"


def test_sorts_by_a_click_and_tells_it_to_readers_of_the_screen(at: Watched) -> None:
    page = at.open(TABLE)
    page.get_by_role("button", name="loss").click()
    heading = page.locator("th[aria-sort]")
    expect(heading).to_have_attribute("aria-sort", "descending")
    assert names(at)[0] == f"run-{COUNT - 1}"
    page.get_by_role("button", name="loss").click()
    expect(heading).to_have_attribute("aria-sort", "ascending")
    assert names(at)[0] == "run-1"
    assert page.url.count("sort=") == 1, page.url


def test_searches_and_shows_where_a_search_is_wrong(at: Watched) -> None:
    page = at.open(TABLE)
    search = page.get_by_role("combobox", name="Search")
    search.fill("params.lr = '0.1' and metrics.acc > 0.999")
    page.get_by_role("button", name="Search", exact=True).click()
    shown = page.locator("table.runs tbody tr")
    assert 0 < shown.count() < 50
    assert "params.lr" in page.url
    search.fill("metrics.acc >> 1")
    search.press("Enter")
    problem = page.get_by_role("alert")
    expect(problem.locator("mark")).to_have_text(">")
    expect(problem).to_contain_text("at character 14")
    expect(search).to_have_attribute("aria-invalid", "true")
    expect(search).to_be_focused()
    at.check_accessible()
    at.shoot("search-error")


def test_completes_a_search_by_the_keyboard_alone(at: Watched) -> None:
    page = at.open(TABLE)
    search = page.get_by_role("combobox", name="Search")
    search.focus()
    page.keyboard.type("par")
    expect(page.get_by_role("option").first).to_have_text("params.depth")
    at.shoot("completion")
    page.keyboard.press("ArrowDown")
    expect(search).to_have_attribute("aria-activedescendant", "offer-0")
    page.keyboard.press("Tab")
    expect(search).to_have_value("params.depth ")
    expect(page.get_by_role("option").first).to_have_text("=")
    page.keyboard.type("= ")
    expect(page.get_by_role("option").first).to_have_text("'0'")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(search).to_have_value("params.depth = '0' ")
    expect(page.get_by_role("option").first).to_have_text("AND")
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert names(at)[0] == f"run-{COUNT - 20}"


def test_chosen_columns_are_part_of_the_address(at: Watched) -> None:
    page = at.open(TABLE)
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("depth").uncheck()
    page.get_by_label("User").check()
    page.get_by_role("button", name="Show these columns").click()
    headings = " ".join(page.locator("thead th").all_inner_texts())
    assert "User" in headings
    assert "depth" not in headings
    page.reload()
    assert " ".join(page.locator("thead th").all_inner_texts()).split() == headings.split()


def test_a_selection_goes_over_pages_and_is_compared(at: Watched) -> None:
    page = at.open(TABLE)
    page.get_by_label(f"Select run-{COUNT - 1}").check()
    page.get_by_role("button", name="Next page").click()
    expect(page.locator("#selected")).to_have_text("1 selected")
    page.get_by_label(f"Select run-{COUNT - 52}").check()
    expect(page.locator("#selected")).to_have_text("2 selected")
    page.reload()
    expect(page.locator("#selected")).to_have_text("2 selected")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 2 runs")
    expect(page.get_by_role("list").filter(has_text=f"run-{COUNT - 52}")).to_be_visible()


def test_all_runs_of_a_page_are_selected_at_once(at: Watched) -> None:
    page = at.open(f"{TABLE}&size=25")
    page.get_by_label("Select all on this page").check()
    expect(page.locator("#selected")).to_have_text("25 selected")


def test_the_first_runs_of_a_search_are_plotted_without_choosing_them(at: Watched) -> None:
    page = at.open(f"{TABLE}&q=metrics.acc+%3E+0.99")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 200 runs")
    assert page.locator("section, svg.plot circle").count() == 200
    at.check_accessible()
    at.check_narrow()


def test_deletes_runs_after_a_plan_and_restores_them(at: Watched) -> None:
    page = at.open(f"{TABLE}&q=run_name+IN+('run-7','run-8')")
    page.get_by_label("Select all on this page").check()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Nothing has been changed yet")).to_be_visible()
    expect(page.get_by_role("cell", name="delete", exact=True)).to_have_count(2)
    at.check_accessible()
    at.shoot("delete-plan")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("status")).to_have_text("2 runs were deleted.")
    page = at.open(f"{TABLE}&view=deleted")
    assert names(at) == ["run-8 deleted", "run-7 deleted"]
    page.get_by_label("Select all on this page").check()
    page.get_by_role("button", name="Restore").click()
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_role("status")).to_have_text("2 runs were restored.")


def test_delete_without_a_selection_says_what_to_do(at: Watched) -> None:
    at.expected = ("400",)
    page = at.open(TABLE)
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alert")).to_contain_text("tick the runs")
    at.check_accessible()


def test_what_was_confirmed_is_refused_when_it_has_changed_meanwhile(at: Watched) -> None:
    at.expected = ("409",)
    plan = f"/runs/delete?run={stores.run_id(9)}"
    page = at.open(plan)
    with page.context.new_page() as other:
        other.goto(at.url + plan)
        other.get_by_role("button", name="Delete").click()
        expect(other.get_by_role("status")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alert")).to_contain_text("changed since it was shown")


def test_a_form_without_the_token_changes_nothing(at: Watched) -> None:
    at.expected = ("403",)
    page = at.open(f"/runs/delete?run={stores.run_id(11)}")
    page.context.clear_cookies()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alert")).to_contain_text("token is missing or out of date")
    at.open(f"/runs/{stores.run_id(11)}")
    expect(page.locator("#live .chip.delete")).to_have_count(0)


def test_a_wrong_page_token_is_an_error_that_leads_on(at: Watched) -> None:
    at.expected = ("400",)
    page = at.open(f"{TABLE}&page=2:nonsense", status=400)
    expect(page.get_by_role("alert")).to_contain_text("not given out by this listing")
    expect(page.get_by_role("link", name="To the experiments")).to_be_visible()


def test_the_table_is_accessible_and_fits_a_narrow_screen(at: Watched) -> None:
    at.open(TABLE)
    at.check_accessible()
    at.check_narrow()


def test_values_are_not_broken_apart_where_the_table_scrolls(at: Watched) -> None:
    at.page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    page = at.open(f"{TABLE}&col=start_time&col=metrics.acc&col=metrics.loss&col=params.lr")
    lines = "cells => cells.map(cell => Math.round(cell.scrollHeight / 24))"
    heights = page.locator("table.runs tbody tr").first.locator("td, th").evaluate_all(lines)
    assert heights == [1] * 6


def test_the_keyboard_alone_reaches_a_run(at: Watched) -> None:
    page = at.open(TABLE)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('href') || ''").startswith("/runs/"):
            break
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(rf"run-{COUNT - 1}"))
