"""Each measurement runs in a process of its own, so that none warms or burdens another.

A worker is a function of a benchmark's module, named in the command line; it returns a JSON object::

    python -m benchmarks.workers search mlflow_search 100000
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".bench-cache"
MEMORY_FOLDER = Path("/dev/shm")
MEMORY_BYTES_MIN = 4 * 1000**3
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}


def command(benchmark: str, function: str, *arguments: object) -> list[str]:
    """Return the command line of a worker."""
    return [sys.executable, "-m", "benchmarks.workers", benchmark, function, *map(str, arguments)]


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a worker: nothing of the user's settings."""
    foreign = ("BRIDGE_", "MLFLOW_", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, **QUIET, "PYTHONPATH": str(ROOT), **variables}


def run(
    benchmark: str, function: str, *arguments: object, folder: Path | None = None, **variables: str
) -> dict[str, Any]:
    """Run a worker in a folder (by default a temporary one) and return its result."""
    with temporary_folder() if folder is None else _given(folder) as place:
        done = subprocess.run(
            command(benchmark, function, *arguments),
            cwd=place,
            env=environment(**variables),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise SystemExit(f"{benchmark}.{function} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def make_cache() -> None:
    """Make the folder of kept stores and temporary files, which git does not see."""
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n", encoding="utf-8")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a new folder on the disk of the checkout, deleted afterwards."""
    make_cache()
    with tempfile.TemporaryDirectory(dir=CACHE, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def _given(folder: Path) -> Iterator[Path]:
    yield folder


def build_folder() -> str | None:
    """Return where to build a store without waiting for the disk, None where memory holds no files."""
    is_roomy = MEMORY_FOLDER.is_dir() and shutil.disk_usage(MEMORY_FOLDER).free >= MEMORY_BYTES_MIN
    return str(MEMORY_FOLDER) if is_roomy else None


def main(arguments: list[str]) -> None:
    """Call the function and print what it returns."""
    benchmark, function, *values = arguments
    module = importlib.import_module(f"benchmarks.{benchmark}")
    print(json.dumps(getattr(module, function)(*values)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
