"""Tests that run only when their folder, or one of their files, is named on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest


def is_asked_for(config: pytest.Config, folder: Path) -> bool:
    """Tell whether an argument of pytest's leads into the folder; a folder above it does not."""
    named = (Path(argument.partition("::")[0]) for argument in config.args)
    resolved = [(config.invocation_params.dir / path).resolve() for path in named]
    return any(path == folder or folder in path.parents for path in resolved)
