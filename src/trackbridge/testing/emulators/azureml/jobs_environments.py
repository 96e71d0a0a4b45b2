"""The environments of jobs, built as Azure builds images of conda files: each once, for all that name it.

There is no conda: a file of Python and packages of pip alone becomes a virtual environment made by uv, with
the variables of this process (``UV_…``, proxies). Jobs of any other environment run in this very Python.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from trackbridge.testing.emulators.azureml.containers import Containers
from trackbridge.testing.emulators.azureml.core import Cloud
from trackbridge.testing.emulators.azureml.jobs_files import Failed
from trackbridge.testing.emulators.containers import Launch

BUILD_LOG = "azureml-logs/20_image_build_log.txt"
TOLD_LINES = 20
_POLL_S = 0.05
_PYTHON = re.compile(r"python\s*={1,2}\s*(?P<version>3(?:\.\d+){0,2})")
_OF_PIP = re.compile(r"(?:pip|setuptools|wheel)\s*(?:[<>=!].*)?")


class Recipe(msgspec.Struct, frozen=True):
    """What a conda file asks for, where no conda is needed."""

    python: str
    requirements: tuple[str, ...]

    @property
    def name(self) -> str:
        """A name of its own."""
        return f"image-{hashlib.sha256(repr(self).encode()).hexdigest()[:16]}"


class Environments:
    """All environments that were built; ``cloud.part(Environments)``."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._containers = cloud.part(Containers)
        self._made: dict[Recipe, Path] = {}
        self._lock = threading.Lock()

    def programs_of(
        self, environment_id: str, *, write: Callable[[str], None], is_over: Callable[[], bool]
    ) -> Path | None:
        """Return the folder of the programs of an environment, which is built where it is not there.

        None where it is the Python of the emulator, and when ``is_over`` before it is built.

        Raises:
            Failed: It cannot be built; ``write`` got the lines of the log.
        """
        held = self._cloud.resources.get(environment_id) if environment_id else None
        recipe = recipe_of(str((held or {}).get("properties", {}).get("condaFile") or ""))
        if recipe is None:
            return None
        with self._lock:  # who waits here waits for what another builds
            if recipe not in self._made and not is_over():
                self._build(recipe, write, is_over)
            return self._made.get(recipe)

    def _build(self, recipe: Recipe, write: Callable[[str], None], is_over: Callable[[], bool]) -> None:
        folder = self._containers.folder(recipe.name)
        uv, made = _find_uv(), folder / "environment"
        listed = folder / "requirements.txt"
        listed.write_text("".join(f"{line}\n" for line in recipe.requirements), encoding="utf-8")
        steps = [[uv, "venv", "--quiet", "--no-project", "--python", recipe.python, str(made)]]
        if recipe.requirements:
            python = str(made / "bin" / "python")
            steps.append([uv, "pip", "install", "--python", python, "--requirement", str(listed)])
        if all(self._ran(step, folder, write, is_over) for step in steps):
            self._made[recipe] = made / "bin"

    def _ran(
        self, words: Sequence[str], folder: Path, write: Callable[[str], None], is_over: Callable[[], bool]
    ) -> bool:
        """Tell whether a step has ended well; False when it is over before.

        Raises:
            Failed: It has failed.
        """
        lines: list[str] = []

        def take(line: str) -> None:
            lines.append(line)
            write(line)

        container = self._containers.launch(Launch(words, folder, dict(os.environ), take))
        try:
            while container.wait(_POLL_S) is None:
                if is_over():
                    return False
        finally:
            self._containers.forget(container)
        if container.exit_code:
            told = "\n".join(lines[-TOLD_LINES:])
            raise Failed(f"ImageBuildFailure: the environment cannot be built, see {BUILD_LOG}: {told}")
        return True


def recipe_of(conda_file: str) -> Recipe | None:
    """Return what a conda file asks for; None where only conda can tell or bring it."""
    yaml: Any = import_module("yaml")
    try:
        content = yaml.safe_load(conda_file)
    except yaml.YAMLError:
        return None
    listed = content.get("dependencies") if isinstance(content, dict) else None
    python, packages = "", list[str]()
    for item in listed if isinstance(listed, list) else ():
        named = _PYTHON.fullmatch(item) if isinstance(item, str) else None
        if named is not None:
            python = named["version"]
        elif isinstance(item, dict) and isinstance(item.get("pip"), list):
            packages += map(str, item["pip"])
        elif not isinstance(item, str) or _OF_PIP.fullmatch(item) is None:
            return None
    return Recipe(python, tuple(packages)) if python else None


def _find_uv() -> str:
    """Return the path of the uv program.

    Raises:
        Failed: There is none.
    """
    if find_spec("uv") is not None:
        uv: Any = import_module("uv")
        return str(uv.find_uv_bin())
    found = shutil.which("uv")
    if found is None:
        raise Failed("ImageBuildFailure: the emulator builds with uv: pip install 'trackbridge[jobs]'")
    return found
