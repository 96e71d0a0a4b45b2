"""What terraform itself says of the modules. Collected where it is at hand; see ``conftest``."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.terraform.modules import ROOT

RUN_S = 600.0


def terraform(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run terraform in a folder."""
    program = shutil.which("terraform")
    assert program is not None
    environment = {**os.environ, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "TF_INPUT": "0"}
    return subprocess.run(
        [program, f"-chdir={folder}", *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=RUN_S,
        check=False,
    )


def test_files_are_formatted() -> None:
    done = terraform("fmt", "-check", "-recursive", "-diff", folder=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_that_is_not_formatted_is_seen(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text('variable "a" {\n type=string\n}\n', encoding="utf-8")
    assert terraform("fmt", "-check", "-recursive", folder=tmp_path).returncode == 3
