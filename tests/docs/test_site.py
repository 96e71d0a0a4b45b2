"""The site: it is built strictly, has every page and public name, and fetches nothing from another host."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import trackbridge

ROOT = Path(__file__).resolve().parents[2]
JAVASCRIPTS = ROOT / "docs/javascripts"
MODULES = (
    "trackbridge.errors",
    "trackbridge.api.migrate",
    "trackbridge.serving",
    "trackbridge.testing.azureml",
    "trackbridge.testing.contracts",
    "trackbridge.testing.emulators.azureml",
    "trackbridge.testing.emulators.sagemaker",
    "trackbridge.testing.fixtures",
)
"""Modules that users import besides the package itself."""
NOT_SHOWN = frozenset({"__version__", "Cloud", "Refused", "GROUP", "REGION", "SUBSCRIPTION", "TENANT"})
"""Names that need no more than they say: a version, and what an emulator is made of."""


def build(folder: Path, *arguments: str, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site), *arguments]
    environ = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=280)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, site=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_it_fetches_nothing_from_another_host(site: Path) -> None:
    loaded = re.compile(
        r"<(?:script|img|iframe|source)[^>]*\ssrc=\"?(?:https?:)?//|<link[^>]*\shref=\"?https?://"
    )
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 70
    assert [page.name for page in pages if loaded.search(page.read_text(encoding="utf-8"))] == []
    styles = "\n".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"url\(\s*['\"]?https?:[^)]*", styles) == []


def test_diagrams_are_drawn_by_what_is_here(site: Path) -> None:
    page = (site / "models.html").read_text(encoding="utf-8")
    assert 'class="mermaid"' in page
    assert "javascripts/mermaid.tiny.js" in page
    row = re.search(
        r"\| `mermaid\.tiny\.js` \|.*`([0-9a-f]{64})` \|", (JAVASCRIPTS / "README.md").read_text()
    )
    assert row
    assert hashlib.sha256((JAVASCRIPTS / "mermaid.tiny.js").read_bytes()).hexdigest() == row[1]


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    shown = {name for page in (site / "reference").glob("*.html") for name in anchors(page)}
    wanted = {f"trackbridge.{name}" for name in trackbridge.__all__ if name not in NOT_SHOWN | {"migrate"}}
    for module in MODULES:
        names = __import__(module, fromlist=["__all__"]).__all__
        wanted |= {f"{module}.{name}" for name in names if name not in NOT_SHOWN}
    assert wanted - shown == set()


def anchors(page: Path) -> set[str]:
    return set(re.findall(r'id="?(trackbridge[\w.]*)"?', page.read_text(encoding="utf-8")))


def test_every_public_name_says_what_it_is() -> None:
    without = [name for name in trackbridge.__all__ if not getattr(trackbridge, name).__doc__]
    assert without == []


def test_sources_that_pages_lead_to_have_pages(site: Path) -> None:
    page = (site / "migration.html").read_text(encoding="utf-8")
    target = "source/examples/mlflow_server_to_both.py.html"
    assert target in page
    assert "tb.migrate" in re.sub(r"<[^>]*>", "", (site / target).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[lost](nowhere.md) and [lost](index.md#nowhere)", ("nowhere.md", "#nowhere")),
        ("::: trackbridge.nowhere", ("trackbridge.nowhere",)),
    ],
    ids=["links", "names"],
)
def test_what_leads_nowhere_ends_the_build(text: str, told: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text(f"# Page\n\n{text}\n")
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    config = re.sub(r"(?ms)^nav:.*\Z", "", config).replace("hooks: [mkdocs_hooks.py]", "")
    config = re.sub(r"(?m)^(extra_javascript|not_in_nav|exclude_docs):.*(\n  .*)*", "", config)
    config = config.replace("[src, adapters]", str([str(ROOT / "src")]))
    (tmp_path / "mkdocs.yml").write_text(config)
    done = build(tmp_path, site=tmp_path / "site")
    assert done.returncode != 0
    assert [part for part in told if part not in done.stderr] == []
