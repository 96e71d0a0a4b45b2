"""The built distribution: what is in it, and that it works where only the wheel is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import pytest

import trackbridge
from tests.packaging.test_repository import tracked_files
from tests.support.builds import ROOT, Built, build

HEAVY = (
    "requests",
    "msgspec",
    "click",
    "rich",
    "tenacity",
    "obstore",
    "tomlkit",
    "sqlite3",
    "numpy",
    "plotext",
)

LOAD_ENTRY_POINTS = """
import importlib.metadata, json, sys
loaded = {}
for group in ("trackbridge.adapters", "console_scripts"):
    for point in importlib.metadata.entry_points(group=group):
        if point.dist.name == "trackbridge":
            loaded[f"{group}/{point.name}"] = point.load() and sys.modules[point.module].__file__
print(json.dumps(loaded))
"""

IMPORT_TRACKBRIDGE = """
import json, sys
import trackbridge as tb
print(json.dumps({"file": tb.__file__, "version": tb.__version__, "modules": list(sys.modules)}))
"""


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own with the wheel; the dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("wheel") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)  # ours installs there, too
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    run([*pip, "install", "--quiet", "--no-index", "--no-deps", str(built.wheel)])
    site = run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(site) / "dependencies.pth").write_text("\n".join(libraries) + "\n")
    return folder


def test_wheel_holds_the_two_packages_and_nothing_else(built: Built) -> None:
    members = built.wheel_members()
    top_level = {member.split("/")[0] for member in members}
    assert top_level == {
        "trackbridge",
        "trackbridge_adapters",
        f"trackbridge-{trackbridge.__version__}.dist-info",
    }
    assert {"trackbridge/py.typed", "trackbridge_adapters/py.typed"} <= set(members)
    assert not [member for member in members if "__pycache__" in member or "/test_" in member]


def test_wheel_holds_every_module(built: Built) -> None:
    expected = {
        str(path.relative_to(root))
        for root in (ROOT / "src", ROOT / "adapters")
        for path in root.rglob("*.py")
    }
    assert expected == {member for member in built.wheel_members() if member.endswith(".py")}


def test_wheel_holds_what_modules_read(built: Built) -> None:
    """Pages, shapes, what pins Azurite: all that lies beside the modules."""
    expected = {
        str(path.relative_to(package.parent))
        for package in (ROOT / "src/trackbridge", ROOT / "adapters/trackbridge_adapters")
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".py"
    }
    assert any(name.endswith("azurite/package-lock.json") for name in expected)
    assert expected <= set(built.wheel_members())


def test_sdist_holds_every_file_of_the_project(built: Built) -> None:
    """So that all of CI runs from it, and the pages are built from it."""
    left_out = {".gitignore"}  # hatchling adds it by itself
    expected = {str(path.relative_to(ROOT)) for path in tracked_files()} - left_out
    assert {"mkdocs.yml", "tests/packaging/test_wheel.py", ".ci/run"} <= expected
    assert expected <= built.sdist_members()


def test_sdist_holds_nothing_else(built: Built) -> None:
    known = {str(path.relative_to(ROOT)) for path in tracked_files()} | {".gitignore", "PKG-INFO"}
    assert built.sdist_members() - known == set()


def test_builds_are_reproducible(built: Built, tmp_path: Path) -> None:
    """Another folder, another time, other permissions, from the tree or from the sdist: the same bytes."""
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    for path in tree.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
        if path.is_file():
            path.chmod(path.stat().st_mode & 0o700)
    folders = [tmp_path / name for name in ("sdist", "wheel")]
    for folder in folders:
        folder.mkdir()
    again = build(folders[0], tree, "--sdist")
    assert again.sdist.read_bytes() == built.sdist.read_bytes()
    of_tree = build(folders[1], ROOT, "--wheel")
    assert of_tree.wheel.read_bytes() == built.wheel.read_bytes()


def test_version_has_one_source(built: Built) -> None:
    assert built.metadata()["Version"] == [trackbridge.__version__]
    declarations = [
        path
        for path in (ROOT / "src").rglob("*.py")
        if f'"{trackbridge.__version__}"' in path.read_text() and "__version__ =" in path.read_text()
    ]
    assert declarations == [ROOT / "src/trackbridge/_version.py"]
    assert trackbridge.__version__ in (ROOT / "CHANGELOG.md").read_text()


def test_licence_goes_with_it(built: Built) -> None:
    assert built.metadata()["License-Expression"] == ["Apache-2.0"]
    assert [member for member in built.wheel_members() if member.endswith("licenses/LICENSE")]


def test_extra_all_holds_every_extra_for_users(built: Built) -> None:
    by_extra: dict[str, set[str]] = {}
    for line in built.metadata()["Requires-Dist"]:
        requirement, _, extra = line.partition("; extra == ")
        by_extra.setdefault(extra.strip("'\""), set()).add(requirement)
    for_users = set(by_extra) - {"", "all", "testing", "sagemaker"}  # a large SDK, for its tables of images
    assert for_users
    assert by_extra["all"] == set().union(*(by_extra[extra] for extra in for_users))


def test_entry_points_load_from_the_wheel(installed: Path) -> None:
    loaded = json.loads(run([str(installed / "bin/python"), "-c", LOAD_ENTRY_POINTS]))
    assert {"trackbridge.adapters/file", "console_scripts/bridge"} <= set(loaded)
    assert all(Path(file).is_relative_to(installed) for file in loaded.values()), loaded


def test_command_answers(installed: Path) -> None:
    assert "Usage: bridge" in run([str(installed / "bin/bridge"), "--help"])


def test_import_loads_nothing_heavy(installed: Path) -> None:
    seen = json.loads(run([str(installed / "bin/python"), "-c", IMPORT_TRACKBRIDGE]))
    assert Path(seen["file"]).is_relative_to(installed)
    assert seen["version"] == trackbridge.__version__
    assert [name for name in HEAVY if name in seen["modules"]] == []


def run(command: list[str], cwd: Path | None = None) -> str:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout
