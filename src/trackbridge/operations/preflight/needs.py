"""What a model says that it needs: read from its ``MLmodel`` and the files beside it, without a YAML parser.

mlflow writes these files itself, one entry a line. What somebody else has written otherwise is not
understood, which shows when the model is loaded.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

REQUIREMENTS, CONDA, PYTHON = "requirements.txt", "conda.yaml", "python_env.yaml"
FILE_BYTES_MAX = 1024 * 1024

_FLAVOR = re.compile(r"(?ms)^flavors:[ ]*\r?\n(?P<flavors>(?:(?:[ \t]+[^\n]*)?\r?\n)*)")
_PYFUNC = re.compile(r"(?m)^[ \t]+python_function:[ ]*\r?$")
_VERSION = re.compile(r"(?m)^mlflow_version:[ ]*['\"]?(?P<version>[0-9][0-9A-Za-z.]*)['\"]?[ ]*\r?$")
_PYTHON = re.compile(r"(?m)^python:[ ]*['\"]?(?P<version>[0-9]+\.[0-9]+)")
_PIP = re.compile(r"(?m)^(?P<indent>[ ]*)-[ ]+pip:[ ]*\r?\n(?P<items>(?:(?P=indent)[ ]+-[ ]+[^\n]*\n?)+)")
_HASH = re.compile(r"[ \t]+--hash=\S+")
"""Says which files a requirement means; it stands only in files of requirements."""
_MLFLOW = re.compile(r"mlflow(?:[-_.]skinny)?(?![A-Za-z0-9_.-])", re.IGNORECASE)


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """Requirements of a model.

    ``left_out`` are options, which only variables of uv can give. ``python`` is the version that the model
    was made with, "" where that is not said.
    """

    requirements: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    python: str = ""


def is_loadable(mlmodel: str) -> bool:
    """Tell whether an ``MLmodel`` has the flavor that is loaded everywhere, ``python_function``."""
    found = _FLAVOR.search(f"{mlmodel}\n")
    return found is not None and _PYFUNC.search(found["flavors"]) is not None


def needs_of(folder: Path) -> Needs:
    """Return what a model needs; mlflow, in the version that has made it, where it names none."""
    lines = _lines(folder)
    wanted = [line for line in lines if not line.startswith("-")]
    if not any(_MLFLOW.match(line) for line in wanted):
        found = _VERSION.search(_text(folder / "MLmodel"))
        wanted.append(f"mlflow=={found['version']}" if found else "mlflow")
    made_with = _PYTHON.search(_text(folder / PYTHON))
    return Needs(
        requirements=tuple(wanted),
        left_out=tuple(line for line in lines if line.startswith("-")),
        python=made_with["version"] if made_with else "",
    )


def _lines(folder: Path) -> list[str]:
    text = _text(folder / REQUIREMENTS)
    if not text:
        found = _PIP.search(_text(folder / CONDA))
        text = re.sub(r"(?m)^[ ]*-[ ]+", "", found["items"]) if found else ""
    text = _HASH.sub("", text.replace("\\\n", " "))
    stripped = (re.sub(r"(^|\s)#.*", "", line).strip().strip("'\"") for line in text.splitlines())
    return [line for line in stripped if line]


def _text(file: Path) -> str:
    """Return what a file says, "" where there is none."""
    if not file.is_file() or file.stat().st_size > FILE_BYTES_MAX:
        return ""
    return file.read_text(encoding="utf-8", errors="replace")
