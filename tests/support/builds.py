"""Building the project's distributions, and looking into them."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Built:
    """The two archives."""

    sdist: Path
    wheel: Path

    def wheel_members(self) -> list[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return archive.namelist()

    def sdist_members(self) -> set[str]:
        """Every file, by its path in the tree."""
        with tarfile.open(self.sdist) as archive:
            return {member.name.partition("/")[2] for member in archive if member.isfile()}

    def metadata(self) -> dict[str, list[str]]:
        with zipfile.ZipFile(self.wheel) as archive:
            name = next(member for member in archive.namelist() if member.endswith(".dist-info/METADATA"))
            message = Parser().parsestr(archive.read(name).decode())
        return {key: message.get_all(key, []) for key in set(message.keys())}


def build(folder: Path, tree: Path = ROOT, *options: str) -> Built:
    """Build into a folder: without options an sdist of the tree, and a wheel made from that sdist."""
    # From another folder, so that a folder of the project is never taken for the module "build".
    command = [sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", str(folder), str(tree)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    (sdist,) = [*folder.glob("*.tar.gz")] or [Path("none")]
    (wheel,) = [*folder.glob("*.whl")] or [Path("none")]
    return Built(sdist, wheel)
