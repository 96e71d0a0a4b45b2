"""What the core and the extra ``all`` are made of, as CycloneDX: ``python -m tests.support.sbom FOLDER``.

Each is looked up among the packages of this environment, which are the pinned ones, for this Python.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.builds import ROOT

PROJECT = "trackbridge"
EXTRAS = {"core": "", "all": "all"}


def closure(extra: str = "") -> dict[str, Distribution]:
    """Return every distribution that the project needs with an extra, by its name, without the project."""
    found: dict[tuple[str, str], Distribution] = {}
    waiting = [(PROJECT, extra)]
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in found:
            continue
        found[name, wanted] = known = distribution(name)
        for line in known.requires or ():
            asked = Requirement(line)
            if asked.marker is None or asked.marker.evaluate({"extra": wanted}):
                waiting += [(canonicalize_name(asked.name), part) for part in ("", *asked.extras)]
    return {name: known for (name, _), known in sorted(found.items()) if name != PROJECT}


def direct(extra: str = "") -> set[str]:
    """Return the names of what the project itself asks for."""
    lines = map(Requirement, distribution(PROJECT).requires or ())
    asked = [line for line in lines if line.marker is None or line.marker.evaluate({"extra": extra})]
    nested = [part for line in asked if canonicalize_name(line.name) == PROJECT for part in line.extras]
    own = {canonicalize_name(line.name) for line in asked} - {PROJECT}
    return own.union(*(direct(part) for part in nested))


def bill_of_materials(extra: str, folder: Path, *, validate: bool = True) -> dict[str, Any]:
    """Return a bill of materials, made by cyclonedx-bom in an environment that holds nothing else.

    Args:
        extra: One of ours, or nothing for the core.
        folder: An empty one to work in.
        validate: Whether cyclonedx-bom looks at the whole of it, which takes half a minute for all extras.
    """
    place, target = folder / "environment", folder / "bom.json"
    venv.create(place, with_pip=False, symlinks=True)
    (site,) = place.glob("lib/python*/site-packages")
    for known in closure(extra).values():
        info: Any = known
        source = Path(info._path)  # importlib.metadata does not say otherwise where a distribution lies
        os.symlink(source, site / source.name)
    root = ["--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "library"]
    kind = ["--output-reproducible", "--of", "JSON", "-o", str(target)]
    kind += [] if validate else ["--no-validate"]
    command = [sys.executable, "-m", "cyclonedx_py", "environment", *root, *kind, str(place / "bin/python")]
    subprocess.run(command, check=True, capture_output=True)
    made: dict[str, Any] = json.loads(target.read_text())
    (version,) = {distribution(PROJECT).version}
    made["metadata"]["component"] |= {"version": version, "purl": f"pkg:pypi/{PROJECT}@{version}"}
    _correct_root(made, direct(extra))
    return made


def _correct_root(made: dict[str, Any], names: set[str]) -> None:
    """Name what the project itself asks for; cyclonedx-bom adds what other extras ask for and is there."""
    own = {part["bom-ref"] for part in made["components"] if canonicalize_name(part["name"]) in names}
    root = made["metadata"]["component"]["bom-ref"]
    for line in made["dependencies"]:
        if line["ref"] == root:
            line["dependsOn"] = sorted(own)


def main(arguments: Sequence[str]) -> None:
    """Write both into a folder."""
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, extra in EXTRAS.items():
        with tempfile.TemporaryDirectory() as work:
            made = bill_of_materials(extra, Path(work))
        target = folder / f"{PROJECT}-{name}.cdx.json"
        target.write_text(json.dumps(made, indent=1) + "\n")
        sys.stdout.write(f"{target}: {len(made['components'])} packages\n")


if __name__ == "__main__":
    main(sys.argv[1:])
