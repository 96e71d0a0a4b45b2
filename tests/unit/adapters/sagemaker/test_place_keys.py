"""Whole ports on keys that rotate, end, lack rights or are another account's: what is kept, what is said."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.sagemaker_emulators import sagemaker_emulator
from tests.unit.adapters.sagemaker.place_rig import ACCOUNT, REGION
from tests.unit.adapters.sagemaker.rig import now_ms
from trackbridge.domain.batches import Batch, Setting
from trackbridge.domain.runs import RunSpec
from trackbridge.errors import AuthError, BridgeError
from trackbridge.ports.adapter import AdapterContext
from trackbridge.testing.contracts.samples import run_spec
from trackbridge.testing.emulators.aws_keys import Key
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge_adapters.sagemaker import open_adapter
from trackbridge_adapters.sagemaker.adapter import SageMakerAdapter

ROLE = f"arn:aws:iam::{ACCOUNT}:role/team/tracking"
STRANGER = "arn:aws:iam::999999999999:user/stranger"


@pytest.fixture(scope="module")
def server() -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator(region=REGION) as emulator:
        yield emulator


@pytest.fixture
def aws(server: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[SageMakerEmulator]:
    server.reset()
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    yield server
    server.raise_failures()


def opened(
    home: Path, options: dict[str, str] | None = None, clock_ms: Callable[[], int] = now_ms
) -> SageMakerAdapter:
    context = AdapterContext(home=home, options=options or {}, clock_ms=clock_ms)
    adapter = open_adapter("sagemaker:", context=context)
    assert isinstance(adapter, SageMakerAdapter)
    return adapter


def put(adapter: SageMakerAdapter, run_id: str, folder: Path, number: int) -> None:
    content = b"%d" % number
    (folder / "source").write_bytes(content)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    adapter.artifacts.put(run_id, f"files/{number}", folder / "source", digest=digest, size=len(content))


def spec() -> RunSpec:
    return run_spec()


def in_file(file: Path, key: Key) -> None:
    file.write_text(
        f"[default]\naws_access_key_id={key.access_key}\naws_secret_access_key={key.secret_key}\n"
        + (f"aws_session_token={key.token}\n" if key.token else "")
    )


def test_a_role_whose_keys_last_seconds(aws: SageMakerEmulator, tmp_path: Path) -> None:
    aws.access.roles.allow(ROLE, seconds=4)
    adapter = opened(tmp_path, {"role_arn": ROLE})
    run = adapter.tracking.open_run(spec())
    until, number = time.monotonic() + 5.0, 0
    while time.monotonic() < until:
        put(adapter, run.info.run_id, tmp_path, number)
        adapter.tracking.write(Batch(run_id=run.info.run_id, tags=[Setting("last", str(number), number)]))
        number += 1
    assert aws.access.roles.assumed >= 2
    assert len(adapter.artifacts.list(run.info.run_id, "files").items) == number
    assert adapter.tracking.get_run(run.info.run_id).data.tags["last"] == str(number - 1)
    refused = [call for call in aws.calls if call.status in (401, 403)]
    assert not refused, "a call was made with keys that had ended"
    adapter.close()


@pytest.fixture
def file(aws: SageMakerEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of credentials, which holds good ones."""
    for name in aws.key.environment():
        monkeypatch.delenv(name)
    in_file(tmp_path / "aws-credentials", aws.keys.issue(seconds=3600))
    return tmp_path / "aws-credentials"


def end_all_but_its_own(aws: SageMakerEmulator) -> None:
    for key in list(aws.keys._keys.values()):
        if key is not aws.key:
            aws.keys.revoke(key)


def uses(adapter: SageMakerAdapter, run_id: str, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return something of each port."""
    assert adapter.registry is not None
    registry = adapter.registry
    return {
        "open a run": lambda: adapter.tracking.open_run(spec()),
        "write": lambda: adapter.tracking.write(Batch(run_id=run_id, tags=[Setting("a", "b", 1)])),
        "read": lambda: adapter.tracking.get_run(run_id),
        "put a file": lambda: put(adapter, run_id, folder, 1),
        "list files": lambda: adapter.artifacts.list(run_id),
        "make a model": lambda: registry.ensure_model("model"),
    }


def test_keys_that_somebody_renews_while_a_program_runs(
    aws: SageMakerEmulator, file: Path, tmp_path: Path
) -> None:
    late_ms = 0
    adapter = opened(tmp_path, clock_ms=lambda: now_ms() + late_ms)
    run_id = adapter.tracking.open_run(spec()).info.run_id
    put(adapter, run_id, tmp_path, 0)
    for name, use in uses(adapter, run_id, tmp_path).items():
        end_all_but_its_own(aws)
        in_file(file, aws.keys.issue(seconds=3600))
        late_ms += 60_000
        assert use() is not None or name == "put a file", name
    adapter.close()


@pytest.mark.parametrize("name", ["open a run", "write", "read", "put a file", "list files", "make a model"])
def test_keys_that_have_ended_are_told_by_every_port(
    aws: SageMakerEmulator, file: Path, tmp_path: Path, name: str
) -> None:
    adapter = opened(tmp_path)
    run_id = adapter.tracking.open_run(spec()).info.run_id
    put(adapter, run_id, tmp_path, 0)
    end_all_but_its_own(aws)
    with pytest.raises(AuthError) as refused:
        uses(adapter, run_id, tmp_path)[name]()
    said = f"{refused.value} {refused.value.hint}"
    assert refused.value.hint
    assert all(key.secret_key not in said for key in aws.keys._keys.values())
    adapter.close()


@pytest.mark.parametrize(
    ("denied", "name"),
    [
        ("sagemaker:CreateTrialComponent", "open a run"),
        ("s3:PutObject", "open a run"),
        ("s3:GetObject", "read"),
        ("s3:PutObject", "write"),
        ("s3:PutObject", "put a file"),
        ("s3:ListBucket", "list files"),
        ("sagemaker:CreateModelPackageGroup", "make a model"),
    ],
)
def test_a_right_that_is_missing(aws: SageMakerEmulator, tmp_path: Path, denied: str, name: str) -> None:
    adapter = opened(tmp_path)
    run_id = adapter.tracking.open_run(spec()).info.run_id
    put(adapter, run_id, tmp_path, 0)
    aws.deny(denied)
    with pytest.raises(AuthError) as refused:
        uses(adapter, run_id, tmp_path)[name]()
    assert refused.value.hint
    adapter.close()


def test_a_stranger_gets_in_nowhere(
    aws: SageMakerEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody of another account names our bucket; everything there is ours."""
    ours = opened(tmp_path)
    run_id = ours.tracking.open_run(spec()).info.run_id
    put(ours, run_id, tmp_path, 0)
    bucket = ours.backend.bucket.name
    for name, value in aws.keys.issue(principal=STRANGER).environment().items():
        monkeypatch.setenv(name, value)
    theirs = opened(tmp_path, {"bucket": bucket})
    for use in (
        lambda: theirs.tracking.get_run(run_id),
        lambda: theirs.artifacts.open(run_id, "files/0"),
        lambda: theirs.tracking.open_run(spec()),
    ):
        with pytest.raises(BridgeError):
            use()
    for adapter in (ours, theirs):
        adapter.close()
