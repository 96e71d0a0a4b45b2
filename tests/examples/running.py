"""Examples as they are run by users: each as a program of its own, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PROGRAM_S = 280
OTHERS = ("AZURE", "AWS_", "MLFLOW_", "BRIDGE_", "XDG_", "SAGEMAKER_")
RUN = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
"""For an interpreter that takes ``-c`` alone, as ``warm_python`` does."""


def started(
    folder: Path,
    script: str,
    *arguments: str,
    variables: Mapping[str, str] | None = None,
    python: Sequence[str] = (sys.executable,),
) -> subprocess.Popen[str]:
    """Start an example in a folder, which holds its journals, too.

    Args:
        folder: Where it runs.
        script: Its path below ``examples``.
        arguments: Its arguments.
        variables: Those that it has besides the usual ones; nothing of other backends reaches it.
        python: What runs it.
    """
    mine = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    return subprocess.Popen(
        [*python, str(EXAMPLES / script), *arguments],
        cwd=folder,
        env={**mine, "BRIDGE_HOME": str(folder / ".bridge"), **(variables or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ran(
    folder: Path,
    script: str,
    *arguments: str,
    variables: Mapping[str, str] | None = None,
    python: Sequence[str] = (sys.executable,),
) -> str:
    """Run an example as a user does, and return what it prints; it has to succeed."""
    process = started(folder, script, *arguments, variables=variables, python=python)
    with process:
        try:
            printed, complaints = process.communicate(timeout=PROGRAM_S)
        except BaseException:
            process.kill()
            raise
    assert process.returncode == 0, printed + complaints
    return printed
