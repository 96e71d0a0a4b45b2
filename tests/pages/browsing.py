"""A browser that watches what a page does: what it asks for, what it complains of, how accessible it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, sync_playwright

SHOTS_VARIABLE = "BRIDGE_PAGE_SHOTS"
"""The folder that screenshots go to; none are made without."""
DEADLINE_MS = 30_000
NARROW = {"width": 360, "height": 740}
WIDE = {"width": 1280, "height": 800}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Debian's Chromium, or whatever the system calls so."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    assert found, f"one of {', '.join(names)} has to be installed"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page of one server. Whatever it asks of another host is refused and noted, as are its complaints."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.foreign: list[str] = []
        self.complaints: list[str] = []
        self.expected: tuple[str, ...] = ()
        """Parts of complaints that a test brings about itself."""
        page.set_default_timeout(DEADLINE_MS)
        page.route("**/*", self._pass)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _pass(self, route: Route) -> None:
        address = route.request.url
        if f"{urlsplit(address).scheme}://{urlsplit(address).netloc}" == self.url or address.startswith(
            "data:"
        ):
            route.continue_()
        else:
            self.foreign.append(address)
            route.abort()

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, path: str, status: int = 200) -> Page:
        """Open a path of the server."""
        answer = self.page.goto(self.url + path)
        assert answer is not None
        assert answer.status == status, (answer.status, self.page.inner_text("body"))
        return self.page

    def check(self) -> None:
        """See that nothing left the machine, and that there was nothing to complain of."""
        assert self.foreign == []
        unexpected = [text for text in self.complaints if not any(part in text for part in self.expected)]
        assert unexpected == []

    def check_accessible(self) -> None:
        """See that axe finds no serious or critical fault, in the light and in the dark."""
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            found: list[dict[str, Any]] = Axe().run(self.page).response["violations"]
            told = [
                (scheme, fault["id"], [node["html"][:200] for node in fault["nodes"][:3]])
                for fault in found
                if fault["impact"] in ("serious", "critical")
            ]
            assert told == []
        self.page.emulate_media(color_scheme="light")

    def check_narrow(self) -> None:
        """See that at 360 pixels nothing but what scrolls by itself is wider than the page."""
        self.page.set_viewport_size(NARROW)  # type: ignore[arg-type]
        assert self.page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
        self.page.set_viewport_size(WIDE)  # type: ignore[arg-type]

    def shoot(self, name: str) -> None:
        """Take a picture of what is seen, where somebody asked for pictures."""
        folder = os.environ.get(SHOTS_VARIABLE)
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png", animations="disabled")


@contextmanager
def watched(browser: Browser, url: str) -> Iterator[Watched]:
    """Open a page in a profile of its own, and look at the end whether it behaved."""
    context = browser.new_context(viewport=WIDE, reduced_motion="reduce")  # type: ignore[arg-type]
    try:
        page = Watched(context.new_page(), url)
        yield page
        page.check()
    finally:
        context.close()
