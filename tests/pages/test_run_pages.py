"""One run and several beside each other in a browser: curves, notes, files, what changes while a run logs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from tests.pages import stores
from tests.pages.browsing import Watched
from tests.support.gateways import gateway

LONG, SECOND, THIRD, OPEN = (stores.run_id(number) for number in range(1, 5))
PAIR = f"/compare?run={SECOND}&run={THIRD}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wines") / "store"
    stores.build_wines(folder)
    return folder


@pytest.fixture(scope="module")
def server_url(store: Path) -> Iterator[str]:
    with gateway(f"file:{store}", home=store.parent / "home", pages=True) as served:
        yield served.url


def no_script_ran(at: Watched) -> bool:
    return at.page.evaluate("window.stolen === undefined") is True


def test_the_experiments_are_listed_searched_deleted_and_restored(at: Watched) -> None:
    page = at.open("/")
    assert page.url.endswith("/experiments")
    expect(page.get_by_role("link", name="wines", exact=True)).to_be_visible()
    at.check_accessible()
    at.check_narrow()
    at.shoot("experiments")
    page.get_by_role("searchbox").fill("name LIKE 'x%'")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_text("There are no such experiments")).to_be_visible()
    at.open("/experiments?q=name+LIKE")
    expect(page.get_by_role("alert")).to_contain_text("at character 10")
    at.open("/experiments")
    page.get_by_role("link", name="Delete wines").click()
    expect(page.get_by_role("row", name="experiment wines")).to_contain_text("deleted")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("status")).to_be_visible()
    at.open("/experiments?view=deleted")
    page.get_by_role("link", name="Restore wines").click()
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_role("status")).to_contain_text("restored")


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (f"/#/experiments/{stores.WINES_ID}/runs/{SECOND}", f"/runs/{SECOND}"),
        (f"/#/experiments/{stores.WINES_ID}", f"/runs?experiment={stores.WINES_ID}"),
        ("/#/models/wine%20red/versions/1", "/models/by-name/wine%20red"),
    ],
)
def test_addresses_that_mlflow_prints_lead_to_their_page(at: Watched, printed: str, shown: str) -> None:
    at.expected = ("404",)  # there is no such model
    at.open(printed)
    at.page.wait_for_url(at.url + shown)


def test_a_run_shows_what_it_logged_and_nothing_of_it_runs(at: Watched) -> None:
    page = at.open(f"/runs/{SECOND}")
    expect(page.get_by_role("heading", level=1)).to_have_text("short-2")
    expect(page.locator("#live svg polyline")).to_have_count(2)
    expect(page.get_by_role("row", name="loss")).to_contain_text("0.0070834")
    expect(page.get_by_role("row", name="lr 0.1")).to_be_visible()
    notes = page.locator(".prose")
    expect(notes.get_by_role("heading", name="Wines")).to_be_visible()
    expect(notes.get_by_role("link")).to_have_count(2)  # the paper, and the picture as a link
    expect(notes.locator("img, script")).to_have_count(0)
    expect(notes.locator("[href^=javascript]")).to_have_count(0)
    expect(page.get_by_role("link", name="https://example.org/wine.git")).to_be_visible()
    assert page.get_by_role("link", name="job-17").count() == 0  # its address would run script
    assert no_script_ran(at)
    at.check_accessible()
    at.check_narrow()
    at.shoot("run")


def test_every_kind_of_file_is_shown_and_none_of_it_runs(at: Watched) -> None:
    page = at.open(f"/runs/{SECOND}")
    shown = page.locator("section.shown")
    seen = {
        "table.csv": "<b>syrah</b>",
        "scores.json": "malbec",
        "config.json": '"deep"',
        "notes.txt": stores.SCRIPT,
        "readme.md": "third",
        "look.ipynb": "hello from a cell",
        "change.diff": "+new line",
        "page.html": stores.SCRIPT,
        "blob.bin": "not text",
    }
    for path, text in seen.items():
        page.get_by_role("link", name=path, exact=True).click()
        expect(shown).to_contain_text(text)
        expect(page).to_have_url(f"{at.url}/runs/{SECOND}?path={path}#artifacts")
    for path in ("plot.png", "drawing.svg"):
        page.get_by_role("link", name=path, exact=True).click()
        image = shown.locator("img")
        expect(image).to_have_attribute("alt", path)
        assert image.evaluate("async (image) => { await image.decode(); return image.naturalWidth; }") > 0
    page.get_by_role("link", name="model/", exact=True).click()
    page.get_by_role("link", name="MLmodel", exact=True).click()
    expect(shown).to_contain_text("python_function")
    page.get_by_role("link", name="model", exact=True).click()
    expect(page.get_by_role("link", name="MLmodel", exact=True)).to_be_visible()
    assert no_script_ran(at)


def test_the_notebook_is_accessible_with_its_picture(at: Watched) -> None:
    page = at.open(f"/runs/{SECOND}?path=look.ipynb")
    expect(page.locator(".notebook img")).to_have_count(1)
    expect(page.locator(".notebook script")).to_have_count(0)
    at.check_accessible()
    at.check_narrow()
    at.shoot("notebook")


def test_files_are_handed_out_so_that_nothing_in_them_runs(at: Watched) -> None:
    request = at.page.request
    page = request.get(f"{at.url}/runs/{SECOND}/file?path=page.html")
    assert page.body() == stores.FILES["page.html"]
    assert page.headers["content-type"] == "application/octet-stream"
    assert page.headers["content-disposition"].startswith("attachment")
    vector = request.get(f"{at.url}/runs/{SECOND}/file?path=drawing.svg")
    assert vector.headers["content-type"] == "image/svg+xml"
    for answer in (page, vector):
        assert answer.headers["content-security-policy"].startswith("sandbox;")
        assert answer.headers["x-content-type-options"] == "nosniff"
    at.expected = ("Content Security Policy", "sandboxed", "x:")
    at.open(f"/runs/{SECOND}/file?path=drawing.svg")
    assert no_script_ran(at)


@pytest.mark.parametrize("path", ["../../store.db", "/etc/passwd", "a/../../x", "a\\b", "a\0b"])
def test_a_path_that_climbs_is_refused(at: Watched, path: str) -> None:
    for address in (f"/runs/{SECOND}/file?path={quote(path)}", f"/runs/{SECOND}?path={quote(path)}"):
        assert at.page.request.get(at.url + address).status == 400


def test_a_file_that_is_not_there_is_said_to_be_absent(at: Watched) -> None:
    page = at.open(f"/runs/{SECOND}?path=nothing.txt")
    expect(page.locator("section.shown")).to_contain_text("there is no such file")
    assert page.request.get(f"{at.url}/runs/{SECOND}/file?path=nothing.txt").status == 404


def test_a_run_that_is_not_there_is_said_to_be_absent(at: Watched) -> None:
    at.expected = ("404",)
    page = at.open("/runs/ffffffffffffffffffffffffffffffff", status=404)
    expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
    at.check_accessible()


def test_an_experiment_that_is_not_there_is_said_to_be_absent(at: Watched) -> None:
    at.expected = ("404",)
    page = at.open("/runs?experiment=ffffffffffffffffffffffffffffffff", status=404)
    expect(page.get_by_role("alert")).to_contain_text("there is no experiment")


def test_a_million_points_are_drawn_with_their_spike_and_a_part_of_them_more_closely(at: Watched) -> None:
    page = at.page
    with page.expect_response("**/curves?*") as answer:
        at.open(f"/compare?run={LONG}")
    [series] = answer.value.json()["series"]
    assert series["points"] == stores.LONG_POINTS
    assert len(series["xs"]) <= 4000
    assert max(series["values"]) == stores.SPIKE
    assert series["xs"][series["values"].index(stores.SPIKE)] == stores.SPIKE_STEP
    expect(page.locator("figcaption")).to_contain_text("1,000,000 points")
    box = page.locator(".u-over").bounding_box()
    assert box is not None
    with page.expect_response("**/curves?*low=*") as answer:
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.51, box["y"] + 60, steps=3)
        page.mouse.up()
    [series] = answer.value.json()["series"]
    assert 9_000 < series["xs"][-1] - series["xs"][0] < 11_000
    with page.expect_response("**/curves?*") as answer:
        page.get_by_role("button", name="Show all of it").click()
    assert answer.value.json()["series"][0]["xs"][-1] == stores.LONG_POINTS - 1


def test_curves_over_time_smoothed_and_logarithmic_are_bookmarked(at: Watched) -> None:
    page = at.open(f"{PAIR}&metric=loss")
    page.locator("select[name=x]").select_option("relative")
    page.get_by_label("Smoothing").fill("0.9")
    page.get_by_label("Logarithmic").check()
    with page.expect_response("**/curves?*") as answer:
        page.get_by_role("button", name="Draw").first.click()
    chart = answer.value.json()
    assert chart["axis"] == "relative"
    assert len(chart["series"]) == 2
    assert chart["series"][0]["faint"][-1] < chart["series"][0]["values"][-1]
    expect(page.locator(".chart[data-drawn]")).to_have_count(1)
    assert {"x=relative", "smooth=0.9", "log=1"} <= set(page.url.split("#")[0].split("&"))
    at.shoot("curves")


def test_times_below_a_curve_are_written_as_everywhere_else(at: Watched) -> None:
    page = at.open(f"{PAIR}&metric=loss&x=time")
    expect(page.locator(".chart[data-drawn]")).to_have_count(1)
    page.locator(".chart .u-over").hover()
    value = page.locator(".chart .u-legend .u-value").first
    expect(value).to_have_text(re.compile(r"^2023-11-14 22:1\d:\d\d$"))


def test_two_runs_are_compared(at: Watched) -> None:
    page = at.open(PAIR)
    expect(page.locator(".chart canvas")).to_have_count(2)
    table = page.get_by_role("region", name="Differences")
    expect(table.get_by_role("row", name="params lr")).to_contain_text("0.01")
    expect(table.get_by_role("row", name="depth")).to_have_count(0)
    page.get_by_role("button", name="equal lines").click()
    expect(table.get_by_role("row", name="depth")).to_be_visible()
    page.get_by_role("button", name="Only what differs").click()
    expect(page.locator("svg.plot polyline")).to_have_count(2)
    page.get_by_label("Across").select_option("metrics.loss")
    page.get_by_label("Up").select_option("metrics.acc")
    page.get_by_role("button", name="Draw").last.click()
    expect(page.get_by_role("img", name="Scatter of 2 runs: metrics.acc over metrics.loss")).to_be_visible()
    page.get_by_text("Axes", exact=True).first.click()
    page.get_by_role("group", name="Axes").get_by_label("params.depth").check()
    page.locator("form[action='/compare#parallel'] button").click()
    expect(page.locator("svg.plot").first).to_have_attribute(
        "aria-label", "Parallel coordinates of 2 runs over params.depth, params.lr, metrics.acc, metrics.loss"
    )
    page.get_by_label("Path").fill("which.txt")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator(".beside section")).to_have_count(2)
    expect(page.locator("pre .removed")).to_have_text("-run 2\n")
    expect(page.locator("pre .added")).to_have_text("+run 3\n")
    expect(page.locator(".chart canvas")).to_have_count(2)
    at.check_accessible()
    at.check_narrow()
    at.shoot("compare")


def test_a_live_page_says_that_the_server_is_gone_and_goes_on_when_it_is_back(at: Watched) -> None:
    at.expected = ("Failed to load resource", "htmx:sendError", "htmx:afterRequest")
    page = at.open(f"/runs/{OPEN}")
    expect(page.get_by_text("kept up to date")).to_be_visible()
    page.route("**/live", lambda route: route.abort())
    expect(page.get_by_text("the server gives no answer")).to_be_visible()
    page.unroute("**/live")
    expect(page.get_by_text("kept up to date")).to_be_visible()


def test_a_live_curve_outlives_a_server_that_is_away(at: Watched) -> None:
    at.expected = ("Failed to load resource",)
    page = at.open(f"/compare?run={OPEN}&metric=loss")
    expect(page.locator(".chart[data-drawn]")).to_have_count(1)
    with page.expect_event("requestfailed"):
        page.route("**/curves?*", lambda route: route.abort(), times=1)
    drawn = page.locator(".chart").get_attribute("data-drawn")
    assert drawn
    expect(page.locator(f".chart[data-drawn='{int(drawn) + 1}'] canvas")).to_be_visible()


def test_a_run_is_kept_up_to_date_while_it_logs(at: Watched, store: Path) -> None:
    page = at.open(f"/runs/{OPEN}")
    expect(page.get_by_role("heading", level=1)).to_have_text(stores.SCRIPT)
    expect(page.locator("#live")).to_contain_text("kept up to date")
    other = page.context.new_page()
    other.goto(f"{at.url}/compare?run={OPEN}&metric=loss")
    expect(other.locator("figcaption")).to_contain_text("3 points, 1 cannot be drawn")
    stores.add_point(store, OPEN, 3, 0.125)
    expect(page.get_by_role("row", name="loss")).to_contain_text("0.125", timeout=30_000)
    expect(other.locator("figcaption")).to_contain_text("4 points", timeout=30_000)
    stores.end_run(store, OPEN)
    expect(page.locator("#live .chip")).to_have_text("FINISHED", timeout=30_000)
    expect(page.locator("#live")).to_have_attribute("hx-trigger", "none")
    assert no_script_ran(at)


def test_a_run_is_deleted_and_restored_from_its_page(at: Watched) -> None:
    page = at.open(f"/runs/{THIRD}")
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("link", name="To the run").click()
    expect(page.locator("#live .chip.delete")).to_have_text("deleted")
    page.get_by_role("link", name="Restore").click()
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_role("status")).to_have_text("1 run was restored.")


def test_dark_pages_draw_their_curves_in_light_colours(at: Watched) -> None:
    at.page.emulate_media(color_scheme="dark")
    page = at.open(f"{PAIR}&metric=loss")
    expect(page.locator(".chart canvas")).to_have_count(1)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light == "rgb(13, 17, 23)"
    at.shoot("curves-dark")
