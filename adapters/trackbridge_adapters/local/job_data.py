"""Inputs, outputs and checkpoints of a job: files of this machine are used where they lie, others brought.

Imports little: a job's runner pays for each import with the user's time.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping

TYPE_CHECKING = False  # that of typing, without the 4 ms that its import takes
if TYPE_CHECKING:
    from typing import Any

BROUGHT = ("s3://", "abfs://", "abfss://", "az://", "gs://", "dbfs:/", "azureml:")
"""Beginnings of addresses from where an input can be brought: ``trackbridge.operations.uri_files``."""

_BRING = (
    "import sys; sys.path[:] = {path!r}; "
    "from trackbridge.operations.job_inputs import main; sys.exit(main(sys.argv[1:]))"
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:")


def path_at(place: str) -> str | None:
    """Return the path of a place on this machine, given by a path or a ``file:`` URI; None for any other."""
    if not place.startswith("file:"):
        return None if _SCHEME.match(place) else os.path.abspath(place)
    from trackbridge.domain.file_uris import file_path

    return os.fspath(file_path(place))


def bringing(address: str, folder: str) -> list[str]:
    """Return the command that brings the files at an address into a folder."""
    return [sys.executable, "-c", _BRING.format(path=sys.path), address, folder]


def brought(address: str, folder: str) -> str:
    """Return where an input is that was brought: the folder, or the one file that its address named."""
    file = os.path.join(folder, address.rstrip("/").rpartition("/")[2])
    return file if os.listdir(folder) == [os.path.basename(file)] and os.path.isfile(file) else folder


def places_of(spec: Mapping[str, Any], bring: Callable[[str, str], str]) -> Iterator[tuple[str, str, str]]:
    """Make the folders that a job writes to; yield each word, variable and path of its data.

    Args:
        spec: The spec of the job.
        bring: Brings an input, given by name and address, and returns where it is.

    Raises:
        OSError: A folder cannot be made.
    """
    for name, place in spec["inputs"].items():
        yield f"inputs.{name}", f"BRIDGE_INPUT_{name.upper()}", path_at(place) or bring(name, place)
    for name, place in spec["outputs"].items():
        yield f"outputs.{name}", f"BRIDGE_OUTPUT_{name.upper()}", _made(place)
    if spec["checkpoints"] is not None:
        yield "checkpoints", "BRIDGE_CHECKPOINTS", _made(spec["checkpoints"])


def _made(place: str) -> str:
    folder = path_at(place) or place
    os.makedirs(folder, exist_ok=True)
    return folder
