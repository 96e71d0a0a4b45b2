"""A folder of build contexts as one object: deployments alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from trackbridge.ports.adapter import Adapter
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.findings import Finding, Severity
from trackbridge_adapters.docker.capabilities import CAPABILITIES
from trackbridge_adapters.docker.deployments import DockerDeployments


class DockerAdapter(Adapter):
    """Deployments as build contexts."""

    tracking = None
    artifacts = None
    registry = None
    jobs = None

    def __init__(self, folder: Path, clock_ms: Callable[[], int]) -> None:
        self._folder = folder
        self.deployments = DockerDeployments(folder, clock_ms)

    def capabilities(self) -> Capabilities:
        """Return what build contexts can and cannot."""
        return CAPABILITIES

    def check(self, *, write: bool = False) -> tuple[Finding, ...]:
        """Look whether the folder can be written; no engine is asked, since none is needed."""
        there = next(place for place in (self._folder, *self._folder.parents) if place.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            message = f"{there} may not be written"
            return (
                Finding(
                    severity=Severity.ERROR,
                    subject="folder",
                    message=message,
                    fix="check who owns it, or choose another: docker:PATH",
                ),
            )
        return (
            Finding(severity=Severity.OK, subject="folder", message=f"build contexts lie in {self._folder}"),
        )

    def close(self) -> None:
        """Nothing is held."""
