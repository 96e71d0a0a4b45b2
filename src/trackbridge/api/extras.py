"""Packages that only some features need, imported when such a feature is used."""

from __future__ import annotations

import importlib
from typing import Any

from trackbridge.errors import MissingExtra


def require(module: str, *, extra: str, purpose: str) -> Any:
    """Import a module of one of trackbridge's extras.

    Raises:
        MissingExtra: It is not installed or cannot be imported; the hint is the command that installs it.
    """
    return require_package(module, install=f"'trackbridge[{extra}]'", purpose=purpose)


def require_package(module: str, *, install: str, purpose: str) -> Any:
    """Import a module that none of the extras holds; ``install`` is what to give to ``pip install``.

    Raises:
        MissingExtra: It is not installed or cannot be imported; the hint is the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"{purpose} needs {module}, which cannot be imported ({error})", hint=f"pip install {install}"
        ) from error
