"""What the site shows of the repository outside of docs/: pages of other folders, sources that are linked to.

README.md is the first page. Other Markdown files keep their paths: ``adapters/README.md`` is there under the
same name. A link to a source, such as ``../examples/quickstart.py`` or a folder, leads to a page that is
made of it. So every link works in a clone, on a code host and on the site, and needs no network.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent
FIRST = "README.md"
OTHER_PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "adapters", "examples", "terraform")
"""Markdown files, and folders whose Markdown files are shown."""
MADE_BY_TOOLS = frozenset({"__pycache__", ".terraform", "node_modules", ".bridge"})
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
LANGUAGES = {
    ".json": "json",
    ".py": "python",
    ".sh": "bash",
    ".tf": "hcl",
    ".toml": "toml",
    ".yaml": "yaml",
    ".yml": "yaml",
}
FILE_BYTES_MAX = 200_000


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages of other folders, and a page for every source that a page leads to."""
    texts = {f"docs/{file.src_uri}": file.content_string for file in files.documentation_pages()}
    for path in _other_pages():
        texts[path] = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, _site_path(path), content=texts[path]))
    for source in sorted({place for path, text in texts.items() for place in _sources(path, text)}):
        page = File.generated(
            config, _site_path(source), content=_shown(source), inclusion=InclusionLevel.NOT_IN_NAV
        )
        files.append(page)
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links that leave docs/ lead to the pages that stand for what is there."""
    here = page.file.src_uri
    if here.startswith("source/"):
        return markdown
    path = FIRST if here == "index.md" else here if here in _other_pages() else f"docs/{here}"

    def rewritten(link: re.Match[str]) -> str:
        target = _target(path, link[1])
        if not (ROOT / target).exists():
            return link[0]  # the build tells of it
        return posixpath.relpath(_site_path(target), posixpath.dirname(here) or ".") + (link[2] or "")

    return LINK.sub(rewritten, markdown)


def _other_pages() -> list[str]:
    found = [FIRST]
    for name in OTHER_PAGES:
        found += (
            [name] if (ROOT / name).is_file() else [path for path in _files_in(name) if path.endswith(".md")]
        )
    return found


def _files_in(folder: str) -> list[str]:
    paths = [
        path for path in (ROOT / folder).rglob("*") if path.is_file() and not MADE_BY_TOOLS & set(path.parts)
    ]
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


def _target(path: str, link: str) -> str:
    """Return the path in the repository that a link of a page means."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link))


def _site_path(path: str) -> str:
    """Return where the site has what is at a path of the repository."""
    if path == FIRST:
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return path if path.endswith(".md") else f"source/{path}.md"


def _sources(path: str, text: str) -> list[str]:
    """Return the sources that a page leads to."""
    targets = [_target(path, link[1]) for link in LINK.finditer(text)]
    return [place for place in targets if _site_path(place).startswith("source/") and (ROOT / place).exists()]


def _shown(source: str) -> str:
    """Return the page of a source: the file, or the files of a folder."""
    if (ROOT / source).is_file():
        return f"# {source}\n\n{_fence(source)}"
    parts = [f"## {path.removeprefix(source)[1:]}\n\n{_fence(path)}" for path in _files_in(source)]
    return "\n".join([f"# {source}\n", *parts])


def _fence(path: str) -> str:
    data = (ROOT / path).read_bytes()
    if len(data) > FILE_BYTES_MAX or b"\0" in data:
        return f"{len(data):,} bytes\n"
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f"``````{language}\n{data.decode('utf-8', 'replace')}\n``````\n"
