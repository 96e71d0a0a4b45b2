"""The modules with their providers: valid, and their own tests pass.

Collected where terraform and TF_PLUGIN_DIR are at hand, a folder as ``terraform providers mirror`` makes it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.terraform.modules import ROOT, modules
from tests.terraform.test_terraform import terraform

PROVIDERS = os.environ["TF_PLUGIN_DIR"]
FOLDERS = [module.folder for module in modules(ROOT)]


@pytest.mark.parametrize("module", FOLDERS, ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_a_module_is_valid_and_passes_its_own_tests(module: Path, tmp_path: Path) -> None:
    place = tmp_path / "terraform"
    shutil.copytree(ROOT, place, ignore=shutil.ignore_patterns(".terraform"))
    folder = place / module.relative_to(ROOT)
    for words in (
        ("init", "-backend=false", f"-plugin-dir={PROVIDERS}"),
        ("validate",),
        ("test",),
    ):
        done = terraform(*words, folder=folder)
        assert done.returncode == 0, done.stdout + done.stderr
