"""The rig of the tests of delivery."""

from tests.support.deliveries import impatient, running, world

__all__ = ["impatient", "running", "world"]
