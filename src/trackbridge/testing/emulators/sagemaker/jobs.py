"""The operations of all jobs."""

from __future__ import annotations

from collections.abc import Mapping

from trackbridge.testing.emulators.sagemaker import jobs_processing, jobs_training, jobs_transform
from trackbridge.testing.emulators.sagemaker.core import Operation

__all__ = ["OPERATIONS", "SEARCHABLE"]

OPERATIONS: Mapping[str, Operation] = {
    **jobs_training.OPERATIONS,
    **jobs_processing.OPERATIONS,
    **jobs_transform.OPERATIONS,
}
SEARCHABLE = jobs_training.SEARCHABLE
