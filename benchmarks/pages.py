"""The pages in a real Chromium: until a table over 100,000 runs stands, until a million points are drawn.

From the moment that the address is entered, with a browser that has nothing of the page yet. ``first`` is the
first page of a server that has just started; the figures are medians of fresh profiles after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import workers
from benchmarks.figures import Figure, at_most

RUNS = 100_000
RUNS_QUICK = 1_000
REPETITIONS = 7
FIRST_TABLE_MS_MAX = 1000.0
CURVE_MS_MAX = 1000.0


def measure(*, quick: bool) -> list[Figure]:
    """Return the times until a page shows what it is for."""
    found = workers.run("pages", "browse", RUNS_QUICK if quick else RUNS)
    return [
        Figure(
            f"pages: the first table over {RUNS:,} runs stands in Chromium",
            "ms",
            found["table"]["ms"],
            targets=(at_most(FIRST_TABLE_MS_MAX, found["table"]["ms"], "ms"),),
            note=f"the very first page of a started server takes {found['table']['first_ms']:.0f} ms; "
            f"sorted by a metric with a filter {found['search']['ms']:.0f} ms",
        ),
        Figure(
            "pages: the curve of a history of 1,000,000 points is drawn in Chromium",
            "ms",
            found["curve"]["ms"],
            targets=(at_most(CURVE_MS_MAX, found["curve"]["first_ms"], "ms"),),
            note=f"{found['curve']['first_ms']:.0f} ms the first time, when the history is read; "
            "again out of the server's memory",
        ),
    ]


def browse(count: str) -> dict[str, dict[str, float]]:
    """Measure in a browser of its own."""
    from tests.pages import stores
    from tests.pages.browsing import chromium
    from tests.support.gateways import gateway

    place = Path.cwd()
    stores.build_many(place / "many", int(count))
    stores.build_wines(place / "wines")
    table = f"/runs?experiment={stores.MANY_ID}"
    search = f"{table}&sort=-metrics.acc&q=metrics.acc+%3E+0.9+and+params.lr+%3D+'0.1'"
    found = {}
    with chromium() as browser:
        with gateway(f"file:{place / 'many'}", home=place / "home-many", pages=True) as served:
            found["table"] = _timed(browser, served.url + table, _table_stands)
            found["search"] = _timed(browser, served.url + search, _table_stands)
        with gateway(f"file:{place / 'wines'}", home=place / "home-wines", pages=True) as served:
            # The browser's own first drawing starts processes of its; a short curve takes that.
            _timed(browser, f"{served.url}/compare?run={stores.run_id(2)}", _curve_is_drawn)
            curve = f"{served.url}/compare?run={stores.run_id(1)}"
            found["curve"] = _timed(browser, curve, _curve_is_drawn)
    return found


def _table_stands(page: Any) -> None:
    page.locator("table.runs tbody tr").last.wait_for()


def _curve_is_drawn(page: Any) -> None:
    page.locator(".chart[data-drawn]").first.wait_for()


def _timed(browser: Any, address: str, is_there: Callable[[Any], None]) -> dict[str, float]:
    times = []
    for _ in range(1 + REPETITIONS):
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        page = context.new_page()
        begin = time.perf_counter()
        page.goto(address, wait_until="commit")
        is_there(page)
        times.append((time.perf_counter() - begin) * 1000)
        context.close()
    return {"first_ms": times[0], "ms": median(times[1:])}
