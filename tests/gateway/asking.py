"""A real mlflow server and a gateway over each backend, asked by both of mlflow's clients and plain HTTP."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.gateway.programs.notes import Notes
from tests.gateway.programs.wire_calls import wire
from tests.support.azureml_emulators import azureml_emulator
from tests.support.gateways import gateway
from tests.support.mlflow_servers import FLOOR, NEWEST, PYTHONS, REPOSITORY, mlflow_server
from tests.support.sagemaker_emulators import sagemaker_emulator

MARKS = {NEWEST: "q7n", FLOOR: "q7f"}
"""How the names of each client's program begin; they are as long, so that they sort the same."""
WIRE = "wire"
ASKING = (NEWEST, FLOOR, WIRE)
REAL = "real"


@dataclass(frozen=True)
class Place:
    """A backend: its URI, and the variables that a process needs to reach it."""

    uri: str
    environment: dict[str, str] = field(default_factory=dict)


PATIENT = {"BRIDGE_READ_WAIT_S": "60"}
"""A gateway on a slow machine waits for what was logged before, where it would say 503."""


@contextmanager
def local(folder: Path) -> Iterator[Place]:
    yield Place(f"file:{folder}/store", PATIENT)


@contextmanager
def server(folder: Path) -> Iterator[Place]:
    with mlflow_server(folder / "server") as running:
        yield Place(running.url, PATIENT)


@contextmanager
def sagemaker(folder: Path) -> Iterator[Place]:
    with sagemaker_emulator() as aws:
        yield Place("sagemaker:", {**aws.environment(), **PATIENT})
        aws.raise_failures()


@contextmanager
def azureml(folder: Path) -> Iterator[Place]:
    with azureml_emulator() as azure:
        yield Place(azure.uri, {**azure.environment(), **PATIENT})


BACKENDS: dict[str, Callable[[Path], AbstractContextManager[Place]]] = {
    "local": local,
    "mlflow": server,
    "sagemaker": sagemaker,
    "azureml": azureml,
}


class Program:
    """A process that has one version of mlflow, and asks the servers that it is given."""

    def __init__(self, version: str, folder: Path) -> None:
        self._folder = folder
        self._errors = folder / f"{version}.log"
        kept = {
            name: text for name, text in os.environ.items() if not name.startswith(("MLFLOW_", "BRIDGE_"))
        }
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [str(PYTHONS[version]), "-m", "tests.gateway.programs.every_call", MARKS[version]],
                cwd=REPOSITORY,
                env=kept,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def ask(self, url: str) -> dict[str, Any]:
        """Return what a server answers, by the label of each call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        file = self._folder / "answers.json"
        print(url, file, file=self._process.stdin, flush=True)
        code = self._process.stdout.readline().strip()
        assert code == "0", self._errors.read_text(errors="replace")[-4000:]
        told: dict[str, Any] = json.loads(file.read_text())
        return told

    def close(self) -> None:
        """End it."""
        self._process.communicate()


class Answers:
    """What servers answer, by who asks: both of mlflow's clients, and plain HTTP. Each is asked once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs: dict[str, Program] = {}
        self._told: dict[str, dict[str, Any]] = {}
        for version in MARKS:
            place = folder / version
            place.mkdir()
            self._programs[version] = Program(version, place)

    @property
    def real(self) -> dict[str, Any]:
        """The answers of mlflow's own server, the newest."""
        if REAL not in self._told:
            with mlflow_server(self._folder / REAL) as running:
                self._told[REAL] = self._asked(running.url)
        return self._told[REAL]

    def of_backend(self, backend: str) -> dict[str, Any]:
        """The answers of a gateway over a backend."""
        if backend not in self._told:
            folder = self._folder / backend
            folder.mkdir()
            with (
                BACKENDS[backend](folder) as place,
                gateway(place.uri, home=folder / "home", environment=place.environment) as served,
            ):
                self._told[backend] = self._asked(served.url)
        return self._told[backend]

    def _asked(self, url: str) -> dict[str, Any]:
        told = {version: program.ask(url) for version, program in self._programs.items()}
        notes = Notes("q7w")
        wire(url, notes)
        return {**told, WIRE: notes.answers}

    def close(self) -> None:
        """End the programs."""
        for program in self._programs.values():
            program.close()
