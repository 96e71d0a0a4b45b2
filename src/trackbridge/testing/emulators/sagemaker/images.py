"""The images that SageMaker's emulator knows from the start: those that serve MLflow models."""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase

from trackbridge.testing.emulators import containers as shared
from trackbridge.testing.emulators.containers import COMMAND_VARIABLE, Image
from trackbridge.testing.emulators.containers.images import unknown_image
from trackbridge.testing.emulators.sagemaker.core import Cloud

__all__ = ["COMMAND_VARIABLE", "SCORING_IMAGES", "Image", "Images", "unknown_image"]

SCORING_IMAGES = ("*mlflow-pyfunc*", "*trackbridge*")
"""Images that serve the MLflow model in ``/opt/ml/model``."""


class Images(shared.Images):
    """The images that are known, by patterns of their names; the one that was declared last wins."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__()
        self.cloud = cloud
        scoring = (sys.executable, "-m", f"{__package__}.scoring", "serve")
        for pattern in SCORING_IMAGES:
            self.declare(pattern, Image(serve=scoring))

    def knows(self, name: str) -> bool:
        """Tell whether an image was declared."""
        return any(fnmatchcase(name, pattern) for pattern, _ in self._declared)
