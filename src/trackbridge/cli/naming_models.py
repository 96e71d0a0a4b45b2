"""How models and versions are named on the command line: ``wine``, ``wine/3``, ``models:/wine@champion``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trackbridge.api.client import Client
    from trackbridge.api.model_results import ModelVersion
    from trackbridge.domain.model_references import RegisteredReference

_SCHEME = "models:"


def reference_of(text: str) -> RegisteredReference:
    """Return what ``wine/3``, with or without ``models:/``, means.

    Raises:
        InvalidInput: It means nothing.
    """
    from trackbridge.domain.model_references import RegisteredReference, parse_model_reference

    reference = parse_model_reference(text if text.startswith(_SCHEME) else f"{_SCHEME}/{text}")
    assert isinstance(reference, RegisteredReference)
    return reference


def named_model(text: str) -> str | None:
    """Return the name where a text names a model and no version of it, else None."""
    rest = text.removeprefix(_SCHEME).lstrip("/")
    return None if "/" in rest or "@" in rest else reference_of(text).name


def find_version(client: Client, text: str) -> ModelVersion:
    """Return the version that a text names.

    Raises:
        UsageError: It names only a model.
        NotFound: There is none.
    """
    from trackbridge.api.model_results import ModelVersion
    from trackbridge.operations.model_payloads import registered_version

    name = named_model(text)
    if name is not None:
        raise click.UsageError(f"say which version of {name}: {name}/3, {name}@ALIAS or {name}/latest")
    return ModelVersion.of(registered_version(reference_of(text), client.models.drained()))


def name_and_version(client: Client, text: str) -> tuple[str, str | None]:
    """Return a model and the number of a version, None where the model itself is named."""
    name = named_model(text)
    if name is not None:
        return name, None
    version = find_version(client, text)
    return version.name, version.version
