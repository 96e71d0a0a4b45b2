"""What a command job runs: its command with inputs and outputs filled in, and its processes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trackbridge.testing.emulators.azureml.core import Refused
from trackbridge.testing.emulators.containers import free_port

LOG = "user_logs/std_log.txt"
_PLACE = re.compile(r"\$\{\{\s*([\w.-]+)\s*\}\}")
_OPTIONAL = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)
_DURATION = re.compile(
    r"P(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(?P<hours>\d+(?:\.\d+)?)H)?(?:(?P<minutes>\d+(?:\.\d+)?)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_SECONDS = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a job: its own variables, and its log."""

    variables: Mapping[str, str]
    log: str = LOG


def shell(command: str) -> list[str]:
    """Return the command line that runs a job's command, as Azure does: by bash."""
    return [shutil.which("bash") or "/bin/sh", "-c", command]


def logged(command: list[str], file: str) -> list[str]:
    """Return the command line whose output goes to a file, byte by byte, as Azure keeps ``std_log.txt``."""
    return [*shell('log=$1; shift; exec "$@" >>"$log" 2>&1'), "bash", file, *command]


def filled(command: str, values: Mapping[str, str]) -> str:
    """Return a command with every ``${{inputs.x}}`` and ``${{outputs.x}}`` in its place.

    ``$[[ … ]]`` is left out when an input in it is not given.

    Raises:
        Refused: It names something that is not there.
    """

    def optional(found: re.Match[str]) -> str:
        names = _PLACE.findall(found[1])
        return found[1] if all(name in values for name in names) else ""

    def place(found: re.Match[str]) -> str:
        if found[1] not in values:
            message = f"The command refers to {found[0]}, which the job does not define"
            raise Refused(400, "UserError", message)
        return values[found[1]]

    return _PLACE.sub(place, _OPTIONAL.sub(optional, command))


def processes_of(asked: Mapping[str, Any]) -> list[Process]:
    """Return the processes that a job has, by its distribution.

    Raises:
        Refused: It is a kind that the emulator does not have.
    """
    distribution = asked.get("distribution") or {}
    if not distribution:
        return [Process({})]
    kind = str(distribution["distributionType"]).lower()
    if kind not in ("pytorch", "mpi"):
        message = f"The emulator distributes jobs by PyTorch and Mpi, not by {kind}"
        raise Refused(400, "UserError", message)
    each = int(distribution.get("processCountPerInstance") or 1)
    size = each * nodes_of(asked)
    digits = len(str(size - 1))
    port = str(free_port())
    return [
        Process(_ranks(kind, rank, each, size, port), f"user_logs/std_log_process_{rank:0{digits}d}.txt")
        for rank in range(size)
    ]


def _ranks(kind: str, rank: int, each: int, size: int, port: str) -> dict[str, str]:
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": str(rank // each)}
    if kind == "pytorch":
        return {**place, "RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank % each)}
    return {
        **place,
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_SIZE": str(size),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(rank % each),
    }


def nodes_of(asked: Mapping[str, Any]) -> int:
    """Return how many nodes a job has."""
    return int((asked.get("resources") or {}).get("instanceCount") or 1)


def timeout_s(asked: Mapping[str, Any]) -> float | None:
    """Return how long a job may take, in seconds; None without a limit.

    Raises:
        Refused: It is no duration of ISO 8601.
    """
    text = (asked.get("limits") or {}).get("timeout")
    if not text:
        return None
    found = _DURATION.fullmatch(str(text))
    if found is None or not any(found.groupdict().values()):
        raise Refused(400, "UserError", f"limits.timeout {text!r} is no duration such as PT1H")
    return sum(float(value) * _SECONDS[unit] for unit, value in found.groupdict().items() if value)
