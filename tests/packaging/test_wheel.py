"""The built distribution: what is in it, and that it works where only the wheel is installed."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

import pytest

import trackbridge

ROOT = Path(__file__).resolve().parents[2]
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


@dataclass(frozen=True)
class Built:
    """The two archives."""

    sdist: Path
    wheel: Path

    def wheel_members(self) -> list[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return archive.namelist()

    def metadata(self) -> dict[str, list[str]]:
        with zipfile.ZipFile(self.wheel) as archive:
            name = next(member for member in archive.namelist() if member.endswith(".dist-info/METADATA"))
            message = Parser().parsestr(archive.read(name).decode())
        return {key: message.get_all(key, []) for key in set(message.keys())}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An sdist of this tree, and a wheel made from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    # From another folder, so that a folder of the project is never taken for the module "build".
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)], cwd=folder)
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    return Built(sdist, wheel)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own with the wheel; the dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("wheel") / "venv"
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / "bin" / "python"
    run([str(python), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", str(built.wheel)])
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


def test_sdist_can_be_worked_from(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        members = {member.partition("/")[2] for member in archive.getnames()}
    assert {
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "adapters/README.md",
        "pyproject.toml",
        "requirements/dev.txt",
        "tests/packaging/test_wheel.py",
    } <= members
    assert not [member for member in members if member.startswith((".venv", ".bridge", ".git/"))]


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
