"""Virtual environments with our wheel, one of its extras, and nothing else; made by uv in some seconds.

Packages are links into uv's cache, in the versions that are pinned for development.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.builds import ROOT

VERSIONS = ("3.10", "3.13")
"""The oldest and the newest Python that we support."""
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
PIN = str(ROOT / "requirements/dev.txt")
FOREIGN = (
    "AWS_",
    "AZURE_",
    "AZUREML_",
    "BRIDGE_",
    "MLFLOW_",
    "PYTHON",
    "XDG_",
    "VIRTUAL_ENV",
    "UV_",
    "_BRIDGE",
)
_PLACE = "import sys; print(sys.version_info[:2] == ({}, {}) and sys.executable or '')"


def interpreters() -> dict[str, str]:
    """Return the interpreters of this machine that tests of installing use, by version.

    The running one always; the oldest and the newest supported one where they are at hand. pyenv's shims are
    on the PATH also of versions that are switched off, so the version is named to pyenv.
    """
    found = {RUNNING: getattr(sys, "_base_executable", sys.executable)}
    for version in VERSIONS:
        code = _PLACE.format(*version.split("."))
        try:
            done = subprocess.run(
                [f"python{version}", "-c", code],
                env=os.environ | {"PYENV_VERSION": version},
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError:  # not on the PATH
            continue
        if done.returncode == 0 and done.stdout.strip():
            found.setdefault(version, done.stdout.strip())
    return dict(sorted(found.items(), key=lambda item: [int(part) for part in item[0].split(".")]))


@dataclass(frozen=True)
class Environment:
    """A virtual environment and a folder to work in, with a home of its own."""

    folder: Path
    work: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin/python"

    @property
    def site(self) -> Path:
        """Where packages are installed."""
        (found,) = self.folder.glob("lib/python*/site-packages")
        return found

    def variables(self, more: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        return {
            **kept,
            "HOME": str(self.work),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "GIT_PYTHON_REFRESH": "quiet",
        } | {**more}

    def run(
        self, *command: str | Path, code: int = 0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment: ``python …`` or ``bridge …``."""
        program, *arguments = map(str, command)
        done = subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=self.work,
            env=self.variables(env or {}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, (
            f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def has(self, distribution: str) -> bool:
        """Tell whether a distribution is installed."""
        return any(self.site.glob(f"{distribution}-*.dist-info"))


def install(folder: Path, wheel: Path, extra: str = "", *, python: str) -> Environment:
    """Make an environment with the wheel and one extra, or with the core alone."""
    environment = Environment(folder / "venv", folder / "work")
    environment.work.mkdir()
    _uv("venv", "--python", python, environment.folder)
    wanted = f"trackbridge[{extra}] @ {wheel.as_uri()}" if extra else f"trackbridge @ {wheel.as_uri()}"
    pinned = ("--constraint", PIN, "--link-mode", "symlink")
    _uv("pip", "install", "--python", environment.python, *pinned, wanted)
    return environment


def _uv(*arguments: str | Path) -> None:
    from uv import find_uv_bin

    command = [find_uv_bin(), *map(str, arguments), "--quiet", "--no-progress"]
    done = subprocess.run(command, env=os.environ | _indexes(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stderr}"


@cache
def _indexes() -> dict[str, str]:
    """Return the variables that give uv the package indexes of pip, whose settings it does not read."""
    command = [sys.executable, "-m", "pip", "config", "--disable-pip-version-check", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    settings = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = value.strip("'\"")
    names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS"}
    given = {variable: settings[name] for name, variable in names.items() if settings.get(name)}
    # As pip: the version that is pinned counts, whichever index has it.
    return {"UV_INDEX_STRATEGY": "unsafe-best-match", **given}


def installed_bytes(environment: Environment) -> dict[str, int]:
    """Return how large each distribution of an environment is, with the byte code that pip makes of it."""
    sizes = {}
    for record in environment.site.glob("*.dist-info/RECORD"):
        paths = [environment.site / line.rsplit(",", 2)[0] for line in record.read_text().splitlines()]
        sources = [path for path in paths if path.suffix != ".pyc" and path.is_file()]
        name = record.parent.name.partition("-")[0]
        compiled = (found for path in sources if path.suffix == ".py" for found in _byte_code_of(path))
        sizes[name] = sum(path.stat().st_size for path in (*sources, *compiled))
    return sizes


def _byte_code_of(source: Path) -> Iterator[Path]:
    return (source.parent / "__pycache__").glob(f"{source.stem}.*.pyc")


def objects(output: str) -> list[dict[str, Any]]:
    """Return the lines of ``--json``."""
    return [json.loads(line) for line in output.splitlines()]
