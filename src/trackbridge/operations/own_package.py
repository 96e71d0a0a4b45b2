"""The requirement by which another environment gets this very trackbridge."""

from __future__ import annotations

import json
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from trackbridge.domain.file_uris import file_path
from trackbridge.domain.secrets import redact
from trackbridge.errors import ConfigError

PACKAGE = "trackbridge"


def own_requirement(*, extras: tuple[str, ...] = ("mlflow",)) -> str:
    """Return the requirement that brings this version into an environment, as pip and uv take it.

    ``trackbridge[mlflow]==1.2`` where it came from an index; ``trackbridge[mlflow] @ file:///…`` where it was
    installed from a folder or a wheel that is still there; with ``git+`` and the commit where it came from a
    repository.

    Args:
        extras: What is to be installed with it.

    Raises:
        ConfigError: It is not installed, or from what is not there any more.
    """
    try:
        found = distribution(PACKAGE)
    except PackageNotFoundError as error:
        raise ConfigError(
            f"{PACKAGE} is not installed, so that no job can install the same", hint=f"pip install {PACKAGE}"
        ) from error
    name = f"{PACKAGE}[{','.join(extras)}]" if extras else PACKAGE
    place = _place_of(found)
    return f"{name}=={found.version}" if place is None else f"{name} @ {place}"


def _place_of(found: Distribution) -> str | None:
    """Return the URL that it was installed from, None for an index (PEP 610).

    Raises:
        ConfigError: There is nothing any more.
    """
    told = found.read_text("direct_url.json")
    if told is None:
        return None
    try:
        content: dict[str, Any] = json.loads(told)
        url = str(content["url"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"what {PACKAGE} was installed from cannot be read: {error}", hint=f"install {PACKAGE} again"
        ) from error
    if redact(url) != url:
        raise ConfigError(
            f"{PACKAGE} was installed from a URL with credentials, which is given to no job",
            hint=f"name a requirement of {PACKAGE} yourself, with ${{NAME}} in place of the credential",
        )
    if url.startswith("file:") and not Path(file_path(url)).exists():
        raise ConfigError(
            f"{PACKAGE} was installed from {url}, which is not there any more",
            hint=f"install {PACKAGE} again, or name a requirement of it yourself",
        )
    repository: dict[str, Any] = content.get("vcs_info") or {}
    if not repository:
        return url
    return f"{repository.get('vcs', 'git')}+{url}@{repository.get('commit_id', '')}".rstrip("@")
