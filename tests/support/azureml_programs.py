"""Programs under Azure's own host names, led to the emulator of Azure ML by its proxy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator

PROGRAM_S = 240.0


def ran(
    folder: Path,
    emulator: AzureMlEmulator,
    uri: str,
    program: str,
    *arguments: str,
    variables: Mapping[str, str | None] | None = None,
) -> str:
    """Run a program that is told nothing but a tracking URI; return what it prints.

    Args:
        folder: Its current directory, and its home.
        emulator: Where Azure's host names lead.
        uri: Of the workspace.
        program: Python.
        arguments: Of the program.
        variables: More of them; None takes one away.
    """
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE", "MLFLOW"))}
    given = {
        **mine,
        **emulator.environment(),
        "BRIDGE_HOME": str(folder),
        "BRIDGE_TRACKING_URI": uri,
        **(variables or {}),
    }
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={name: value for name, value in given.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
