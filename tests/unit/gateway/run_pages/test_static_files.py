"""What the pages load: the published files, and nothing of elsewhere."""

from __future__ import annotations

import hashlib
import re

from trackbridge.gateway.pages import static_files
from trackbridge.gateway.pages.static_files import FOLDER

OWN_SCRIPT_LINES_MAX = 600


def test_the_libraries_are_the_published_files() -> None:
    table = (FOLDER / "README.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `([\w.]+)` \|.*`([0-9a-f]{64})` \|$", table, re.MULTILINE))
    assert set(told) == {path.name for path in FOLDER.glob("*.min.*")}
    for name, digest in told.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest, name


def test_nothing_names_an_address_of_elsewhere() -> None:
    own = [path for path in FOLDER.iterdir() if path.suffix in (".js", ".css") and ".min." not in path.name]
    templates = list((FOLDER.parent / "templates").iterdir())
    assert own
    assert templates
    for path in [*own, *templates]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:)?//", text), path.name


def test_no_template_holds_script_or_style() -> None:
    for path in (FOLDER.parent / "templates").iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|hx-on|\|\s*safe\b", text), path.name
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text)), path.name


def test_our_own_scripts_stay_readable() -> None:
    scripts = [path for path in FOLDER.glob("*.js") if ".min." not in path.name]
    lines = [line for path in scripts for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) < OWN_SCRIPT_LINES_MAX
    assert max(map(len, lines)) <= 140


def test_an_address_changes_with_the_bytes() -> None:
    digest = hashlib.sha256((FOLDER / "pages.css").read_bytes()).hexdigest()
    assert static_files.address("pages.css") == f"/static/pages.css?v={digest[:12]}"
