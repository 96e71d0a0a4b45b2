"""Names that assets can have, as Microsoft's published API says it (mfe.json 2024-04-01).

What a registry's own service takes is published as well (2021-10-01-dataplanepreview): with a version names
may have '.' in them, as those of Microsoft's own models do; what is made without a version has none.
"""

from __future__ import annotations

import re

from trackbridge.testing.emulators.azureml import shapes
from trackbridge.testing.emulators.azureml.refusal import Refused

PATTERN = r"^[a-zA-Z0-9][a-zA-Z0-9\-_]{0,254}$"


def check_name(what: str, name: str) -> str:
    """Return a name that can be given.

    Raises:
        Refused: It cannot.
    """
    return _checked(what, name, PATTERN)


def check_registry_name(what: str, name: str) -> str:
    """Return a name that a registry takes with a version.

    Raises:
        Refused: It does not.
    """
    return _checked(what, name, shapes.published()["names"]["RegistryModelVersion"]["name"])


def _checked(what: str, name: str, pattern: str) -> str:
    if not re.fullmatch(pattern, name):
        raise Refused(
            400, "ValidationError", f"The {what} name {name[:300]!r} does not match the pattern {pattern}"
        )
    return name
