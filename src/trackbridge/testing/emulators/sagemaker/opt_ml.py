"""``/opt/ml``, which SageMaker's containers share with the service."""

from __future__ import annotations

from pathlib import Path

from trackbridge.testing.emulators.containers import mounts

ROOT = "/opt/ml"


def inside(folder: Path, path: str) -> Path | None:
    """Return where a container's path really is; None when it is not below ``/opt/ml``."""
    return mounts.inside(folder, path, ROOT)
