"""What the live tests leave in an account is taken away again, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.opt_in import is_asked_for
from tests.support.sagemaker_cleaning import MARK, clean, left_over
from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.domain.models import ModelVersionSpec
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts.registry_base import DIGEST, put_payload
from trackbridge.testing.contracts.samples import run_spec
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge_adapters.sagemaker import open_adapter

BUCKET = "shared-bucket"
MINE, OTHERS = f"{MARK}0a1b2c3d", f"{MARK}ffffffff"


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator() as emulator:
        for name, value in emulator.environment().items():
            monkeypatch.setenv(name, value)
        emulator.client("s3").create_bucket(Bucket=BUCKET)
        yield emulator
        emulator.raise_failures()


@pytest.fixture
def fill(emulator: SageMakerEmulator, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Writes runs and a model to a place with a prefix."""
    opened: list[Adapter] = []

    def fill(prefix: str) -> None:
        context = AdapterContext(
            home=tmp_path, options={"bucket": BUCKET}, clock_ms=lambda: time.time_ns() // 1_000_000
        )
        adapter = open_adapter(f"{emulator.uri}/{prefix}", context=context)
        opened.append(adapter)
        assert adapter.tracking is not None
        assert adapter.registry is not None
        for name in ("one", "Größe / two"):
            adapter.tracking.open_run(run_spec("run", experiment=name))
        adapter.registry.ensure_model("wine")
        spec = ModelVersionSpec(name="wine", source=put_payload(adapter, tmp_path), digest=DIGEST)
        adapter.registry.create_version(spec, key="once")

    yield fill
    for adapter in opened:
        adapter.close()


def test_everything_of_a_prefix_goes_and_nothing_else(
    emulator: SageMakerEmulator, fill: Callable[[str], None]
) -> None:
    fill(f"{MINE}-0")
    fill(f"{MINE}-1")
    fill(f"{OTHERS}-0")
    others = left_over(OTHERS, region=emulator.region, bucket=BUCKET)
    assert len(left_over(MINE, region=emulator.region, bucket=BUCKET)) == 2 * len(others) > 10
    clean(MINE, region=emulator.region, bucket=BUCKET)
    assert left_over(MINE, region=emulator.region, bucket=BUCKET) == []
    assert left_over(OTHERS, region=emulator.region, bucket=BUCKET) == others


def test_cleaning_twice_is_cleaning_once(emulator: SageMakerEmulator) -> None:
    for _ in range(2):
        clean(MINE, region=emulator.region, bucket=BUCKET)


@pytest.mark.parametrize("prefix", ["", "team", MARK, f"{MARK}12345"])
def test_a_prefix_that_could_be_somebodys_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="no prefix of tests"):
        clean(prefix, region="us-east-1", bucket=BUCKET)


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["tests"], False),
        (["tests/other"], False),
        (["tests/live"], True),
        (["tests/live/test_aws.py::TestTracking"], True),
        (["tests/other", "tests/live/test_aws.py"], True),
    ],
)
def test_tests_that_must_be_asked_for(arguments: list[str], asked: bool, tmp_path: Path) -> None:
    class Config:
        args = arguments

        class invocation_params:  # noqa: N801
            dir = tmp_path

    assert is_asked_for(Config(), tmp_path / "tests/live") is asked  # type: ignore[arg-type]
