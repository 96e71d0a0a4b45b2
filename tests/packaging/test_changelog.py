"""The change log keeps its form, so that people and programs find a version in it."""

from __future__ import annotations

import re

import pytest

import trackbridge
from tests.support.builds import ROOT

SECTIONS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
UNRELEASED = re.compile(r"\[Unreleased\]: (\d+\.\d+\.\d+)")
RELEASED = re.compile(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}")


def problems(text: str) -> list[str]:
    """Return what is wrong with the form of a change log."""
    found = [] if text.startswith("# Changelog\n") else ["it does not begin with # Changelog"]
    _, *versions = re.split(r"^## ", text, flags=re.MULTILINE)
    numbers: list[tuple[int, ...]] = []
    for number, version in enumerate(versions):
        title, _, body = version.partition("\n")
        match = RELEASED.fullmatch(title) or (UNRELEASED.fullmatch(title) if number == 0 else None)
        if match is None:
            found.append(f"a version is no '[X.Y.Z] - YYYY-MM-DD': {title}")
            continue
        numbers.append(tuple(map(int, match[1].split("."))))
        found += _problems_of(title, body)
    if not numbers or numbers != sorted(set(numbers), reverse=True):
        found.append("the newest version does not come first")
    return found


def _problems_of(title: str, body: str) -> list[str]:
    _, *sections = re.split(r"^### ", body, flags=re.MULTILINE)
    names = [section.partition("\n")[0] for section in sections]
    found = [f"{title}: {name} is no section" for name in names if name not in SECTIONS]
    if names != [name for name in SECTIONS if name in names]:
        found.append(f"{title}: the sections are not in order, or twice")
    for section in sections:
        name, _, lines = section.partition("\n")
        odd = [line for line in lines.splitlines() if line and not line.startswith(("- ", "  "))]
        found += [f"{title}, {name}: no entry: {line}" for line in odd]
        if not lines.strip():
            found.append(f"{title}, {name}: empty")
    return found


def test_the_change_log_keeps_its_form() -> None:
    assert problems((ROOT / "CHANGELOG.md").read_text()) == []


def test_the_version_of_the_package_comes_first() -> None:
    title = re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert title
    assert f"{trackbridge.__version__}" in title[1]


@pytest.mark.parametrize(
    "text",
    [
        "## [0.1.0] - 2026-01-01\n",
        "# Changelog\n## 0.1.0\n",
        "# Changelog\n## [0.1.0] - 2026-01-01\n## [0.2.0] - 2026-02-01\n",
        "# Changelog\n## [0.2.0] - 2026-02-01\n## [Unreleased]: 0.1.0\n",
        "# Changelog\n## [0.1.0] - 2026-01-01\n### New\n- a\n",
        "# Changelog\n## [0.1.0] - 2026-01-01\n### Fixed\n- a\n### Added\n- b\n",
        "# Changelog\n## [0.1.0] - 2026-01-01\n### Added\nnothing\n",
        "# Changelog\n## [0.1.0] - 2026-01-01\n### Added\n",
        "# Changelog\n",
    ],
)
def test_what_is_wrong_is_seen(text: str) -> None:
    assert problems(text)


def test_two_versions_are_fine() -> None:
    assert (
        problems(
            "# Changelog\n\nWords.\n\n## [Unreleased]: 0.2.0\n\n### Added\n- a\n  and more\n\n"
            "## [0.1.0] - 2026-01-01\n\n### Fixed\n- b\n"
        )
        == []
    )
