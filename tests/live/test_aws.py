"""The contract suites against AWS itself, unchanged: ``make live-aws``.

Needs credentials as AWS's tools find them, AWS_REGION, and BRIDGE_LIVE_AWS_BUCKET, a bucket in that region
that the tests may write to. Everything that they make has a name of its own, and is deleted at the end.
"""

from __future__ import annotations

import itertools
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sagemaker_cleaning import MARK, clean, left_over
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.ports.findings import Severity
from trackbridge.testing.contracts import (
    ArtifactContract,
    CapabilitiesContract,
    RegistryContract,
    TrackingContract,
)
from trackbridge_adapters.sagemaker import open_adapter

REGION, BUCKET = os.environ.get("AWS_REGION", ""), os.environ.get("BRIDGE_LIVE_AWS_BUCKET", "")


@pytest.fixture(scope="session")
def prefix() -> Iterator[str]:
    """What every name of this session begins with."""
    if not (REGION and BUCKET):
        raise pytest.UsageError("set AWS_REGION and BRIDGE_LIVE_AWS_BUCKET, and sign in to AWS")
    prefix = MARK + secrets.token_hex(4)
    yield prefix
    clean(prefix, region=REGION, bucket=BUCKET)
    assert left_over(prefix, region=REGION, bucket=BUCKET) == []


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    return itertools.count()


@pytest.fixture
def empty(prefix: str, numbers: Iterator[int], tmp_path: Path) -> Iterator[Adapter]:
    """A place that nobody has used."""
    context = AdapterContext(
        home=tmp_path / "home",
        options={"bucket": BUCKET},
        clock_ms=lambda: time.time_ns() // 1_000_000,
    )
    uri = f"sagemaker://{REGION}/{prefix}-{next(numbers)}"
    adapter = wrap_adapter(open_adapter(uri, context=context))
    yield adapter
    adapter.close()


class TestCapabilities(CapabilitiesContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


class TestTracking(TrackingContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


class TestRegistry(RegistryContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


class TestArtifacts(ArtifactContract):
    @pytest.fixture
    def adapter(self, empty: Adapter) -> Adapter:
        return empty


def test_doctor_finds_nothing_wrong(empty: Adapter) -> None:
    found = empty.check(write=True)
    assert [finding for finding in found if finding.severity is Severity.ERROR] == []
