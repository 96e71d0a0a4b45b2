"""What the project stands on: named in a bill of materials, under licences that users can live with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

import trackbridge
from tests.support.sbom import EXTRAS, PROJECT, bill_of_materials, closure, direct

ALLOWED = frozenset(
    {"0BSD", "Apache-2.0", "Apache Software License", "BSD", "BSD License", "3-Clause BSD License"}
    | {"BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CNRI-Python", "ISC", "MIT", "MIT-0", "MIT-CMU"}
    | {"MIT License", "PSF-2.0", "Python Software Foundation License", "Zlib"}
)
"""None of them asks anything of a program that uses the package, but for a notice."""
EXCEPTIONS = {
    "certifi": "MPL 2.0 asks for changes of its own files to be published; we change none",
    "tqdm": "MIT, and MPL 2.0 for some files; we change none",
    "huey": "its metadata names none; its LICENSE is MIT's",
    "skops": "its metadata names none; its LICENSE is MIT's",
}


@pytest.fixture(scope="module", params=EXTRAS)
def bill(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    extra = EXTRAS[request.param]
    return extra, bill_of_materials(extra, tmp_path_factory.mktemp("bill"), validate=False)


def test_the_bill_of_materials_is_valid(bill: tuple[str, Any]) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    extra, content = bill
    refs = [part["bom-ref"] for part in content["components"]]
    assert len(set(refs)) == len(refs)
    assert all(re.fullmatch(r"pkg:pypi/[\w.+-]+@[\w.+!-]+", part["purl"]) for part in content["components"])
    if extra:  # of its 150 packages one of each shape: the validator takes half a minute for all
        of_shapes = {shape_of(part): part for part in reversed(content["components"])}
        content = {**content, "components": list(of_shapes.values())}
        known = {content["metadata"]["component"]["bom-ref"], *refs}
        assert known.issuperset(ref for line in content["dependencies"] for ref in line.get("dependsOn", ()))
    version = SchemaVersion.from_version(content["specVersion"])
    assert JsonStrictValidator(version).validate_str(json.dumps(content)) is None


def shape_of(value: Any) -> str:
    """Return which fields a value has and of which kinds they are, whatever stands in them."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {shape_of(value[key])}' for key in sorted(value))}}}"
    if isinstance(value, list):
        return f"[{', '.join(sorted({shape_of(item) for item in value}))}]"
    return type(value).__name__


def test_the_bill_of_materials_names_everything_and_no_machine(bill: tuple[str, Any]) -> None:
    extra, content = bill
    named = {canonicalize_name(part["name"]) for part in content["components"]}
    assert named == set(closure(extra))
    assert all(part["purl"].startswith("pkg:pypi/") for part in content["components"])
    root = content["metadata"]["component"]
    assert (root["name"], root["version"]) == (PROJECT, trackbridge.__version__)
    (line,) = (line for line in content["dependencies"] if line["ref"] == root["bom-ref"])
    assert {canonicalize_name(ref.partition("==")[0]) for ref in line["dependsOn"]} == direct(extra)
    assert str(Path(sys.prefix)) not in json.dumps(content)


def test_the_core_stands_on_little() -> None:
    assert direct() == {"click", "msgspec", "plotext", "requests", "tenacity", "tomlkit"}
    assert len(closure()) < 20


def test_licences_are_allowed_or_argued() -> None:
    command = [sys.executable, "-m", "piplicenses", "--format=json", "--from=mixed", "--with-system"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    licences = {canonicalize_name(line["Name"]): line["License"] for line in listed}
    needed = set(closure("all"))
    assert needed <= set(licences)
    refused = {name: licences[name] for name in needed if not is_allowed(licences[name])}
    assert refused.keys() == EXCEPTIONS.keys(), refused


@pytest.mark.parametrize(
    ("text", "is_fine"),
    [
        ("MIT", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("MPL-2.0 AND MIT", False),
        ("Apache Software License; BSD License", True),
        ("GPL-3.0-only", False),
        ("UNKNOWN", False),
        ("", False),
    ],
)
def test_what_is_allowed(text: str, is_fine: bool) -> None:
    assert is_allowed(text) is is_fine


def is_allowed(text: str) -> bool:
    """Tell whether a licence is: all of those joined by AND or a semicolon, one of those joined by OR."""
    return all(
        any(choice.strip(" ()") in ALLOWED for choice in part.split(" OR "))
        for part in re.split(r" AND |;", text)
    )
