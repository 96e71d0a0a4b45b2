"""``check`` names what is wrong with a place: keys, clock, rights, region, bucket; verbs say so too."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.errors import AuthError, BridgeError, ConfigError
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.ports.findings import CREDENTIALS, Finding, Severity
from trackbridge.testing.contracts.samples import run_spec
from trackbridge.testing.emulators.aws_keys import Key
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge_adapters.sagemaker import open_adapter
from trackbridge_adapters.sagemaker.credentials import PAUSE_MS
from trackbridge_adapters.sagemaker.health_experiments import READS

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def running() -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator() as emulator:
        yield emulator


@pytest.fixture
def emulator(running: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[SageMakerEmulator]:
    running.reset()
    for name, value in running.environment().items():
        monkeypatch.setenv(name, value)
    yield running
    running.raise_failures()


@pytest.fixture
def open_place(emulator: SageMakerEmulator, tmp_path: Path) -> Iterator[Callable[..., Adapter]]:
    """Opens the place of the emulator, or another, as a program does."""
    made: list[Adapter] = []

    def open_place(
        uri: str = "",
        *,
        options: Mapping[str, str] | None = None,
        ahead_ms: Callable[[], int] = int,
        tries: bool = True,
    ) -> Adapter:
        context = AdapterContext(
            home=tmp_path / "home",
            options=dict(options or {}),
            clock_ms=lambda: time.time_ns() // 1_000_000 + ahead_ms(),
        )
        opened = open_adapter(uri or emulator.uri, context=context)
        made.append(wrap_adapter(opened) if tries else opened)
        return made[-1]

    yield open_place
    for adapter in made:
        adapter.close()


def use(monkeypatch: pytest.MonkeyPatch, emulator: SageMakerEmulator, key: Key) -> None:
    for name, value in emulator.environment(key).items():
        monkeypatch.setenv(name, value)


def wrong(found: tuple[Finding, ...]) -> list[Finding]:
    """Return what is not well; each finding of that kind tells what to do."""
    assert all(finding.fix for finding in found if finding.severity is not Severity.OK)
    return [finding for finding in found if finding.severity is not Severity.OK]


def the_verb_says(adapter: Adapter, kind: type[BridgeError], words: str) -> None:
    """The same trouble, met by a program: one clear error with the next step."""
    assert adapter.tracking is not None
    with pytest.raises(kind) as caught:
        adapter.tracking.open_run(run_spec())
    assert words.lower() in f"{caught.value} {caught.value.hint}".lower()
    assert caught.value.hint


@pytest.mark.parametrize("write", [False, True])
def test_all_is_well(open_place: Callable[..., Adapter], emulator: SageMakerEmulator, write: bool) -> None:
    found = open_place().check(write=write)
    assert wrong(found) == []
    subjects = [finding.subject for finding in found]
    assert subjects == [CREDENTIALS, "backend", "bucket", *(["writing"] if write else []), "recommendation"]
    assert "user/someone" in found[0].message
    assert "made when something is first written" in found[2].message
    assert bool(emulator.client("s3").list_buckets()["Buckets"]) is write
    assert len(emulator.client("sagemaker").list_experiments()["ExperimentSummaries"]) == write


def test_a_second_look_finds_the_bucket(open_place: Callable[..., Adapter]) -> None:
    open_place().check(write=True)
    found = {finding.subject: finding.message for finding in open_place().check()}
    assert found["bucket"] == "s3://sagemaker-us-east-1-210987654321/trackbridge lets us read"


def test_the_recommendation_is_one_line_and_says_how_to_move(open_place: Callable[..., Adapter]) -> None:
    last = open_place().check()[-1]
    assert last.severity is Severity.OK
    assert last.message.startswith("AWS recommends managed MLflow for new work")
    assert "\n" not in last.message + last.fix
    assert "bridge migrate sagemaker://us-east-1 arn:aws:sagemaker:us-east-1:ACCOUNT:" in last.fix
    assert "BRIDGE_TRACKING_URI=sagemaker://us-east-1,arn:aws:sagemaker:us-east-1:ACCOUNT:" in last.fix


def test_looking_changes_nothing(open_place: Callable[..., Adapter], emulator: SageMakerEmulator) -> None:
    open_place().check()
    verbs = {call.operation for call in emulator.calls}
    assert not [
        verb for verb in verbs if verb.startswith(("Create", "Put", "Update", "Delete", "Batch", "Add"))
    ]


def test_writing_leaves_no_object_behind(
    open_place: Callable[..., Adapter], emulator: SageMakerEmulator
) -> None:
    open_place().check(write=True)
    listed = emulator.client("s3").list_objects_v2(Bucket="sagemaker-us-east-1-210987654321")
    assert [item["Key"] for item in listed["Contents"] if "/doctor/" in item["Key"]] == []


def test_no_credentials(
    open_place: Callable[..., Adapter], emulator: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    adapter = open_place()
    (problem,) = wrong(adapter.check())
    assert (problem.subject, problem.severity) == (CREDENTIALS, Severity.ERROR)
    assert "there are no AWS credentials" in problem.message
    assert "aws sso login" in problem.fix
    the_verb_says(adapter, AuthError, "there are no AWS credentials")


def test_expired_credentials(
    open_place: Callable[..., Adapter], emulator: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, emulator, emulator.keys.issue(seconds=-1))
    adapter = open_place()
    (problem,) = wrong(adapter.check())
    assert problem.subject == CREDENTIALS
    assert "expired" in problem.message.lower()
    assert "aws sso login" in problem.fix
    the_verb_says(adapter, AuthError, "expired")


def test_a_key_that_was_deleted(
    open_place: Callable[..., Adapter], emulator: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = emulator.keys.issue()
    use(monkeypatch, emulator, key)
    emulator.keys.revoke(key)
    adapter = open_place()
    (problem,) = wrong(adapter.check())
    assert problem.subject == CREDENTIALS
    assert "aws sts get-caller-identity" in problem.fix
    the_verb_says(adapter, AuthError, "key was deleted")


def test_keys_that_rotate_meanwhile(
    open_place: Callable[..., Adapter],
    emulator: SageMakerEmulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    old, new = (emulator.keys.issue() for _ in range(2))

    def write(key: Key) -> None:
        secret = f"aws_access_key_id={key.access_key}\naws_secret_access_key={key.secret_key}\n"
        file.write_text(f"[default]\n{secret}")

    write(old)
    passed_ms = [0]
    adapter = open_place(ahead_ms=lambda: passed_ms[0])
    assert wrong(adapter.check(write=True)) == []
    emulator.keys.revoke(old)
    write(new)
    passed_ms[0] = PAUSE_MS  # between two searches for keys
    assert wrong(adapter.check(write=True)) == []


@pytest.mark.parametrize("skew_s", [600, -600])
def test_a_clock_that_is_wrong_by_ten_minutes(
    open_place: Callable[..., Adapter], emulator: SageMakerEmulator, skew_s: int
) -> None:
    emulator.cloud.skew_s = skew_s
    (problem,) = wrong(open_place().check())
    assert (problem.subject, problem.severity) == ("clock", Severity.ERROR)
    way = "behind" if skew_s > 0 else "ahead of"
    assert f" s {way} AWS's" in problem.message
    assert "timedatectl" in problem.fix
    the_verb_says(open_place(), AuthError, "timedatectl")


def test_a_clock_that_is_wrong_by_two_minutes(
    open_place: Callable[..., Adapter], emulator: SageMakerEmulator
) -> None:
    emulator.cloud.skew_s = 120
    (problem,) = wrong(open_place().check())
    assert (problem.subject, problem.severity) == ("clock", Severity.WARNING)


@pytest.mark.parametrize(("service", "operation", "named"), READS)
def test_a_role_without_a_right_to_read(
    open_place: Callable[..., Adapter],
    emulator: SageMakerEmulator,
    service: str,
    operation: str,
    named: dict[str, Any],
) -> None:
    emulator.deny(f"{service}:{operation}")
    (problem,) = wrong(open_place().check())
    assert problem.subject == CREDENTIALS
    assert problem.message == f"SageMaker refuses {service}:{operation}"
    assert "docs/sagemaker.md" in problem.fix


def test_a_role_without_any_right(open_place: Callable[..., Adapter], emulator: SageMakerEmulator) -> None:
    emulator.deny("sagemaker:*")
    (problem,) = wrong(open_place().check())
    assert problem.message.count("sagemaker:") == len(READS)
    the_verb_says(open_place(), AuthError, "allow sagemaker:")


def test_a_role_that_may_read_only(open_place: Callable[..., Adapter], emulator: SageMakerEmulator) -> None:
    emulator.deny("sagemaker:Create*")
    assert wrong(open_place().check()) == []
    (problem,) = wrong(open_place().check(write=True))
    assert problem.subject == CREDENTIALS
    assert "reading works, writing does not" in problem.message
    assert "allow sagemaker:Create" in problem.fix


@pytest.mark.parametrize("right", ["s3:ListBucket", "s3:GetObject"])
def test_a_role_that_may_not_read_the_bucket(
    open_place: Callable[..., Adapter], emulator: SageMakerEmulator, right: str
) -> None:
    open_place().check(write=True)
    emulator.deny(right)
    (problem,) = wrong(open_place().check())
    assert (problem.subject, problem.severity) == (CREDENTIALS, Severity.ERROR)


def test_a_role_that_may_not_write_to_the_bucket(
    open_place: Callable[..., Adapter], emulator: SageMakerEmulator
) -> None:
    open_place().check(write=True)
    emulator.deny("s3:PutObject")
    assert wrong(open_place().check()) == []
    (problem,) = wrong(open_place().check(write=True))
    assert problem.subject == CREDENTIALS
    assert "reading the bucket works, writing does not" in problem.message
    the_verb_says(open_place(), AuthError, "s3")


def test_a_role_that_may_not_make_the_bucket(
    open_place: Callable[..., Adapter], emulator: SageMakerEmulator
) -> None:
    emulator.deny("s3:CreateBucket")
    (problem,) = wrong(open_place().check(write=True))
    assert problem.subject == CREDENTIALS
    assert "s3:CreateBucket" in problem.message + problem.fix
    the_verb_says(open_place(), AuthError, "s3:CreateBucket")


def test_a_bucket_in_another_region(open_place: Callable[..., Adapter], emulator: SageMakerEmulator) -> None:
    emulator.cloud.s3().create_bucket("elsewhere", "eu-west-1")
    adapter = open_place(options={"bucket": "elsewhere"})
    (problem,) = wrong(adapter.check())
    assert (problem.subject, problem.severity) == ("bucket", Severity.ERROR)
    assert "eu-west-1" in problem.message
    assert "s3_region" in problem.fix
    the_verb_says(adapter, ConfigError, "s3_region")


def test_a_bucket_of_another_account(open_place: Callable[..., Adapter], emulator: SageMakerEmulator) -> None:
    from moto.backends import get_backend

    name = "sagemaker-us-east-1-210987654321"
    others: Any = get_backend("s3")["111122223333"]["aws"]
    others.create_bucket(name, "us-east-1")
    try:
        adapter = open_place()
        (problem,) = wrong(adapter.check())
        assert problem.subject == CREDENTIALS
        assert f"the bucket {name} is not yours to use" in problem.message
        assert "option bucket" in problem.fix
        the_verb_says(adapter, AuthError, "is not yours to use")
    finally:
        others.delete_bucket(name)


def test_a_bucket_that_is_not_there(open_place: Callable[..., Adapter]) -> None:
    adapter = open_place(options={"bucket": "nobody-has-made-this"})
    (problem,) = wrong(adapter.check())
    assert problem.subject == "bucket"
    assert "aws s3 mb s3://nobody-has-made-this" in problem.fix
    the_verb_says(adapter, ConfigError, "aws s3 mb")


def test_a_region_that_there_is_not(open_place: Callable[..., Adapter]) -> None:
    (problem,) = wrong(open_place("sagemaker://eu-nowhere-7").check())
    assert problem.subject == "region"
    assert "eu-west-1" in problem.fix


def test_another_region_than_the_keys_are_for(open_place: Callable[..., Adapter]) -> None:
    found = wrong(open_place("sagemaker://eu-west-1").check())
    assert len(found) == 1
    assert found[0].severity is Severity.ERROR


def test_a_profile_that_is_not_there(
    open_place: Callable[..., Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    adapter = open_place(options={"profile": "nobody"})
    (problem,) = wrong(adapter.check())
    assert "nobody" in problem.message
    assert problem.fix == "aws configure list-profiles"
    the_verb_says(adapter, ConfigError, "nobody")


def test_a_role_that_may_not_be_taken_on(open_place: Callable[..., Adapter]) -> None:
    role = "arn:aws:iam::210987654321:role/trainer"
    adapter = open_place(options={"role_arn": role})
    (problem,) = wrong(adapter.check())
    assert problem.subject == CREDENTIALS
    assert f"allow sts:AssumeRole on {role}" in problem.fix
    the_verb_says(adapter, AuthError, "sts:AssumeRole")


def test_a_role_that_is_taken_on(open_place: Callable[..., Adapter], emulator: SageMakerEmulator) -> None:
    role = "arn:aws:iam::210987654321:role/trainer"
    emulator.access.roles.allow(role)
    found = open_place(options={"role_arn": role}).check(write=True)
    assert wrong(found) == []
    assert "assumed-role/trainer" in found[0].message


def test_nobody_listens(open_place: Callable[..., Adapter], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", NOWHERE)
    adapter = open_place(tries=False)  # once is enough here
    (problem,) = wrong(adapter.check())
    assert (problem.subject, problem.severity) == ("backend", Severity.ERROR)
    the_verb_says(adapter, BridgeError, "is the emulator running")


def test_a_service_that_fails_while_it_is_looked_at(
    open_place: Callable[..., Adapter], emulator: SageMakerEmulator
) -> None:
    emulator.faults.fail("Search", times=None)
    (problem,) = wrong(open_place().check())
    assert problem.subject == "backend"
    assert "InternalFailure" in problem.message
