"""Models that lie in S3, registered with SageMaker by their address, as users see them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Bridge
from tests.support.model_archives import add, archived, repacked
from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.domain.model_digest import digest_of_path, files_of
from trackbridge.testing.contracts.deployment_models import answering
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator

BUCKET = "models-of-others"


@pytest.fixture
def emulator(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator() as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        running.client("s3").create_bucket(Bucket=BUCKET)
        yield running
        running.raise_failures()


def test_an_archive_is_registered_and_fetched_as_what_it_holds(
    bridge: Bridge, emulator: SageMakerEmulator, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = answering(tmp_path_factory.mktemp("models"), "model", 1.0)
    emulator.client("s3").put_object(Bucket=BUCKET, Key="job/model.tar.gz", Body=repacked(model))
    address = f"s3://{BUCKET}/job/model.tar.gz"
    bridge("models", "register", address, "wine", "--uri", emulator.uri)
    (shown,) = [
        item["version"]
        for item in bridge("models", "show", "wine", "--uri", emulator.uri, "--json").objects
        if item["type"] == "version"
    ]
    assert (shown["source"], shown["digest"]) == (address, digest_of_path(model))
    bridge("models", "download", "wine/1", "here", "--uri", emulator.uri)
    found = {name: file.read_bytes() for name, file in files_of(project / "here")}
    assert found == {name: file.read_bytes() for name, file in files_of(model)}


def test_a_hostile_archive_is_not_registered(
    bridge: Bridge, emulator: SageMakerEmulator, project: Path
) -> None:
    evil = archived(lambda tar: add(tar, "../../evil"))
    emulator.client("s3").put_object(Bucket=BUCKET, Key="evil.tar.gz", Body=evil)
    result = bridge("models", "register", f"s3://{BUCKET}/evil.tar.gz", "wine", "--uri", emulator.uri, code=1)
    assert "'../../evil' cannot be kept" in result.err
