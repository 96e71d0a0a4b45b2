"""An emulator of SageMaker that refuses what AWS refuses. Needs the extra ``emulators``."""

from trackbridge.testing.emulators.sagemaker.core import Cloud, Refused
from trackbridge.testing.emulators.sagemaker.emulator import SageMakerEmulator

__all__ = ["Cloud", "Refused", "SageMakerEmulator"]
