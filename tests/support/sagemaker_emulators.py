"""An emulator of SageMaker for tests, and boto3's clients of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from trackbridge.testing.emulators.sagemaker import SageMakerEmulator

PACE = 0.02
"""Seconds that a second of a life cycle takes in tests."""


@contextmanager
def sagemaker_emulator(**settings: Any) -> Iterator[SageMakerEmulator]:
    """Run one, quick; ``raise_failures`` tells what failed inside of it."""
    with SageMakerEmulator(**{"pace": PACE, **settings}) as emulator:
        yield emulator


def code_of(call: Any, **asked: Any) -> str:
    """Return AWS's name of the error that a call of boto3 ends with; fail when it succeeds."""
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as failed:
        call(**asked)
    return str(failed.value.response["Error"]["Code"])


def message_of(call: Any, **asked: Any) -> str:
    """Return AWS's words of that error."""
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as failed:
        call(**asked)
    return str(failed.value.response["Error"]["Message"])


def succeeds(call: Any, **asked: Any) -> bool:
    """Tell whether a call of boto3 succeeds."""
    from botocore.exceptions import ClientError

    try:
        call(**asked)
    except ClientError:
        return False
    return True
