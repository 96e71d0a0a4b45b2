"""Jobs on an emulated SageMaker: an account with a role and an image, and places opened in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge.testing.emulators.sagemaker.jobs_records import Jobs
from trackbridge_adapters.sagemaker import open_adapter

BUCKET = "data-of-jobs"
OPTIONS = {"job_notice_s": "1", "job_logs_late_s": "0"}
"""So that no test waits as long as a platform does."""
GRACE_S = 60.0


@contextmanager
def jobs_emulator() -> Iterator[SageMakerEmulator]:
    """Run one whose variables are this process's; jobs find a role, an image and a bucket there."""
    with sagemaker_emulator() as emulator, pytest.MonkeyPatch.context() as patch:
        for name, value in emulator.environment().items():
            patch.setenv(name, value)
        emulator.cloud.part(Jobs).grace_s = GRACE_S
        emulator.client("s3").create_bucket(Bucket=BUCKET)
        patch.setenv("BRIDGE_SAGEMAKER_ROLE", emulator.make_role("jobs"))
        patch.setenv("BRIDGE_SAGEMAKER_IMAGE", emulator.push_image("python:3.11"))
        yield emulator


def open_place(uri: str, home: Path, **options: str) -> Adapter:
    """Open a place as a user's program does."""
    context = AdapterContext(
        home=home, options={**OPTIONS, **options}, clock_ms=lambda: time.time_ns() // 1_000_000
    )
    return wrap_adapter(open_adapter(uri, context=context))


def files_at(emulator: SageMakerEmulator, address: str) -> dict[str, bytes]:
    """Return the objects below an ``s3://`` address, by their paths."""
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    client = emulator.client("s3")
    found = client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("Contents", ())
    keys = [str(row["Key"]) for row in found]
    return {
        key.removeprefix(f"{prefix}/"): client.get_object(Bucket=bucket, Key=key)["Body"].read()
        for key in keys
    }


def put_files(emulator: SageMakerEmulator, address: str, files: dict[str, bytes]) -> str:
    """Put objects below an address; returns it."""
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    for path, content in files.items():
        emulator.client("s3").put_object(Bucket=bucket, Key=f"{prefix}/{path}", Body=content)
    return address
