"""The bucket: made when something is written, whose it is, compare-and-swap, what breaks on the way."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.sagemaker_emulators import sagemaker_emulator
from tests.support.scripted_servers import Answer, Request, scripted_server
from tests.unit.adapters.sagemaker.place_rig import BUCKET, KEYS, REGION, backend
from tests.unit.adapters.sagemaker.rig import now_ms
from trackbridge.errors import (
    AuthError,
    BridgeError,
    ConfigError,
    Conflict,
    MissingExtra,
    RateLimited,
    Unavailable,
)
from trackbridge.testing.emulators.aws_keys import Key
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge_adapters.sagemaker.bucket import SWAPS_MAX, Bucket


@pytest.fixture(scope="module")
def server() -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator(region=REGION) as emulator:
        yield emulator


@pytest.fixture
def s3(server: SageMakerEmulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """boto3's client of an empty S3, which the bucket under test lies in."""
    server.reset()
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    yield server.client("s3")
    server.raise_failures()


@pytest.fixture
def bucket(s3: Any, tmp_path: Path) -> Bucket:
    return backend(tmp_path).bucket


def buckets(s3: Any) -> list[str]:
    return [found["Name"] for found in s3.list_buckets()["Buckets"]]


# The bucket itself.


def test_reading_makes_no_bucket_and_writing_does(bucket: Bucket, s3: Any) -> None:
    assert (bucket.name, bucket.root) == (BUCKET, f"s3://{BUCKET}/trackbridge")
    assert bucket.get("a") is None
    assert list(bucket.list("")) == []
    bucket.delete("a")
    assert dict(bucket.get_many(["a", "b"])) == {"a": None, "b": None}
    assert buckets(s3) == []
    bucket.put("a", b"1")
    assert buckets(s3) == [BUCKET]
    assert s3.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] == REGION
    assert s3.get_object(Bucket=BUCKET, Key="trackbridge/a")["Body"].read() == b"1"


def test_without_the_package_for_buckets(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {"obstore", *(name for name in sys.modules if name.startswith("obstore."))}:
        monkeypatch.setitem(sys.modules, name, None)
    for work in (
        lambda: bucket.get("a"),
        lambda: bucket.put("a", b"1"),
        lambda: bucket.put_file("a", io.BytesIO(b"1")),
        lambda: bucket.delete("a"),
        lambda: list(bucket.list("")),
    ):
        with pytest.raises(MissingExtra) as caught:
            work()
        assert caught.value.hint == "pip install 'trackbridge[aws]'"


def test_the_oldest_region_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sagemaker_emulator(region="us-east-1") as virginia:
        for name, value in virginia.environment().items():
            monkeypatch.setenv(name, value)
        found = backend(tmp_path, uri="sagemaker://us-east-1/team").bucket
        found.put("a", b"1")
        assert found.root == f"s3://{BUCKET.replace(REGION, 'us-east-1')}/trackbridge/at/team"
        s3 = virginia.client("s3")
        assert s3.get_bucket_location(Bucket=found.name).get("LocationConstraint") is None


def test_two_processes_make_it_at_once(s3: Any, tmp_path: Path) -> None:
    several = [backend(tmp_path).bucket for _ in range(4)]
    barrier = threading.Barrier(4)

    def put(number: int) -> str:
        barrier.wait()
        return several[number].put(f"{number}", b"x")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(4)))
    assert list(several[0].list("")) == ["0", "1", "2", "3"]


def test_a_named_bucket_is_used_and_never_made(s3: Any, tmp_path: Path) -> None:
    found = backend(tmp_path, {"bucket": "team-models"}).bucket
    assert found.get("a") is None
    with pytest.raises(ConfigError, match="team-models") as refused:
        found.put("a", b"1")
    assert f"aws s3 mb s3://team-models --region {REGION}" in (refused.value.hint or "")
    assert buckets(s3) == []
    s3.create_bucket(Bucket="team-models", CreateBucketConfiguration={"LocationConstraint": REGION})
    found.put("a", b"1")
    assert found.get("a") is not None


def test_a_bucket_in_another_region(s3: Any, tmp_path: Path) -> None:
    import boto3

    # Keys and address are in the environment. boto3's own session would keep those of an earlier test.
    there = boto3.session.Session(region_name="us-west-2").client("s3")
    there.create_bucket(Bucket="far", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    for read in (lambda found: found.put("a", b"1"), lambda found: found.get("a")):
        with pytest.raises(ConfigError, match="us-west-2") as refused:
            read(backend(tmp_path, {"bucket": "far"}).bucket)
        assert "s3_region=us-west-2" in (refused.value.hint or "")
    told = backend(tmp_path, {"bucket": "far", "s3_region": "us-west-2"}).bucket
    told.put("a", b"1")
    assert told.get("a") is not None


def test_the_default_bucket_is_another_accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may make a bucket of that name; what is ours must not go there."""
    denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    identity = f"<R><GetCallerIdentityResult><Account>{BUCKET[-12:]}</Account></GetCallerIdentityResult></R>"

    def answer(request: Request) -> Answer:
        if request.method == "POST":
            return Answer(body=identity, headers={"Content-Type": "text/xml"})
        if request.headers.get("x-amz-expected-bucket-owner") != BUCKET[-12:]:
            return Answer(body=b"")
        return Answer(status=403, body=b"" if request.method == "HEAD" else denied)

    with scripted_server() as aws:
        aws.answer = answer
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": aws.url}.items():
            monkeypatch.setenv(name, value)
        for use in (lambda found: found.put("a", b"1"), lambda found: found.get("a")):
            with pytest.raises(AuthError, match="not yours to use") as refused:
                use(backend(tmp_path).bucket)
            assert "option bucket" in (refused.value.hint or "")
        assert {request.method for request in aws.requests} == {"POST", "HEAD", "GET"}
        assert not any(request.path.startswith(f"/{BUCKET}/trackbridge") for request in aws.requests)


# Objects.


def test_conditions(bucket: Bucket) -> None:
    first = bucket.put("a/b", b"1", absent=True)
    for condition in ({"absent": True}, {"match": '"of-something-else"'}):
        with pytest.raises(Conflict):
            bucket.put("a/b", b"2", **condition)  # type: ignore[arg-type]
    with pytest.raises(Conflict):
        bucket.put("absent", b"2", match=first)
    assert bucket.get("a/b") == (b"1", first)
    second = bucket.put("a/b", b"2", match=first)
    with pytest.raises(Conflict):
        bucket.put("a/b", b"3", match=first)
    assert bucket.get("a/b") == (b"2", second)
    assert bucket.get("absent") is None


def test_lists_are_of_whole_parts_in_order(bucket: Bucket) -> None:
    for key in ("a/2", "a/1", "a-b", "ab/1", "a/1/x", "z"):
        bucket.put(key, b"")
    assert list(bucket.list("a")) == list(bucket.list("a/")) == ["a/1", "a/1/x", "a/2"]
    assert list(bucket.list("")) == ["a-b", "a/1", "a/1/x", "a/2", "ab/1", "z"]
    assert list(bucket.list("a", after="a/1")) == ["a/1/x", "a/2"]
    assert list(bucket.list("nothing")) == []


def test_a_prefix_keeps_teams_apart(s3: Any, tmp_path: Path) -> None:
    ours, theirs = (backend(tmp_path, uri=f"sagemaker://{REGION}/{team}").bucket for team in ("a", "ab"))
    ours.put("x", b"1")
    assert (theirs.get("x"), list(theirs.list(""))) == (None, [])
    assert list(ours.list("")) == ["x"]


def test_many_are_read_and_deleted_at_once(bucket: Bucket) -> None:
    keys = [f"many/{number:04}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: bucket.put(key, key.encode()), keys))
    wanted = [*reversed(keys), "absent"]
    found = list(bucket.get_many(wanted))
    assert [key for key, _ in found] == wanted
    assert [held[0].decode() for _, held in found if held is not None] == wanted[:-1]
    assert found[-1] == ("absent", None)
    bucket.delete(*keys, "absent")
    assert list(bucket.list("many")) == []


def test_changes_of_several_threads_are_all_kept(s3: Any, tmp_path: Path) -> None:
    several = [backend(tmp_path).bucket for _ in range(4)]

    def add(held: bytes | None) -> bytes:
        return str(int(held or b"0") + 1).encode()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda bucket: [bucket.swap("count", add) for _ in range(10)], several))
    found = several[0].get("count")
    assert found is not None
    assert found[0] == b"40"


def test_a_change_may_leave_it_or_raise(bucket: Bucket) -> None:
    def refuse(held: bytes | None) -> bytes | None:
        raise Conflict("closed already")

    assert bucket.swap("a", lambda held: held) is None
    assert bucket.swap("a", lambda held: b"1") == b"1"
    before = bucket.get("a")
    assert bucket.swap("a", lambda held: None) == b"1"
    assert bucket.swap("a", lambda held: held) == b"1"
    with pytest.raises(Conflict, match="closed already"):
        bucket.swap("a", refuse)
    assert bucket.get("a") == before


def test_others_change_it_all_the_time(bucket: Bucket) -> None:
    calls = 0

    def late(held: bytes | None) -> bytes:
        nonlocal calls
        calls += 1
        bucket.put("a", f"theirs {calls}".encode())
        return b"ours"

    with pytest.raises(Unavailable, match="all the time"):
        bucket.swap("a", late)
    assert calls == SWAPS_MAX


def test_a_write_whose_answer_got_lost_is_made_once(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """As obstore does it: it sends again, and S3 refuses the second because the first was taken."""
    bucket.put("count", b"1")
    write = Bucket._write

    def lost(self: Bucket, key: str, data: bytes, **named: Any) -> str:
        write(self, key, data, **named)
        monkeypatch.setattr(Bucket, "_write", write)
        raise Conflict("412")

    monkeypatch.setattr(Bucket, "_write", lost)
    assert bucket.swap("count", lambda held: str(int(held or b"0") + 1).encode()) == b"2"
    assert (bucket.get("count") or (b"",))[0] == b"2"


# What S3 refuses.


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", AuthError),
        (403, "SignatureDoesNotMatch", AuthError),
        (400, "ExpiredToken", AuthError),
        (503, "SlowDown", RateLimited),
        (500, "InternalError", Unavailable),
        (400, "BadDigest", Unavailable),
        (400, "KMS.ThrottlingException", RateLimited),
    ],
)
def test_refusals_are_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, code: str, kind: type[BridgeError]
) -> None:
    body = f"<Error><Code>{code}</Code><Message>no, said S3</Message></Error>"
    with scripted_server() as aws:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": aws.url}.items():
            monkeypatch.setenv(name, value)
        aws.answer = lambda request: (
            Answer(body=b"") if request.method == "HEAD" else Answer(status=status, body=body)
        )
        found = backend(tmp_path, {"bucket": "mine"}).bucket
        uses = (
            lambda: found.get("a"),
            lambda: found.put("a", b"1"),
            lambda: list(found.list("a")),
            lambda: found.swap("a", lambda held: b"x"),
        )
        for use in uses:
            with pytest.raises(kind) as refused:
                use()  # type: ignore[no-untyped-call]
            assert code in str(refused.value)
            assert "verysecret" not in str(refused.value)


def test_keys_that_end_on_the_way_are_searched_anew(
    s3: Any, server: SageMakerEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where another program renews the file of credentials."""
    file, late_ms = tmp_path / "aws-credentials", 0
    for name in server.key.environment():
        monkeypatch.delenv(name)

    def renew() -> Key:
        key = server.keys.issue(seconds=3600)
        file.write_text(
            f"[default]\naws_access_key_id={key.access_key}\naws_secret_access_key={key.secret_key}\n"
            f"aws_session_token={key.token}\n"
        )
        return key

    first = renew()
    found = backend(tmp_path, clock_ms=lambda: now_ms() + late_ms).bucket
    found.put("a", b"1")
    server.keys.revoke(first)
    with pytest.raises(AuthError) as refused:
        found.get("a")
    assert str(first.secret_key) not in f"{refused.value} {refused.value.hint}"
    second = renew()
    late_ms = 60_000
    assert (found.get("a") or (b"",))[0] == b"1"
    server.keys.revoke(second)
    renew()
    late_ms = 120_000
    assert list(found.list("")) == ["a"]
    assert found.swap("a", lambda held: b"2") == b"2"


def test_two_threads_are_refused_at_once(
    s3: Any, server: SageMakerEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second learns of the refusal when the first has found other keys and works with them."""
    found = backend(tmp_path).bucket
    found.put("a", b"1")
    used, refusal = found.keys_in_use, AuthError("ExpiredToken: refused")
    late_ms = now_ms() + 60_000
    second = server.keys.issue(seconds=3600)
    for name, value in second.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(found._credentials, "_clock_ms", lambda: late_ms)
    assert found.renewed(refusal, used)
    assert found.get("a") is not None
    assert found.keys_in_use != used
    assert found.renewed(refusal, used)
    assert not found.renewed(refusal, found.keys_in_use)


def test_whoever_hands_out_keys_is_not_reached(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """obstore calls that a refusal of S3's; it is one that passes."""
    opened = backend(tmp_path)
    opened.bucket.store(write=True)

    def fail() -> Any:
        raise Unavailable("STS cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(opened.credentials, "frozen", fail)
        for use in (lambda: opened.bucket.get("a"), lambda: opened.bucket.put("a", b"1")):
            with pytest.raises(Unavailable, match="STS cannot be reached"):
                use()  # type: ignore[no-untyped-call]
    opened.bucket.put("a", b"1")
    assert opened.bucket.get("a") is not None


def test_a_role_that_may_not_write(s3: Any, server: SageMakerEmulator, tmp_path: Path) -> None:
    found = backend(tmp_path).bucket
    found.put("a", b"1")
    server.deny("s3:PutObject")
    with pytest.raises(AuthError, match="AccessDenied"):
        found.put("a", b"2")
    with pytest.raises(AuthError, match="AccessDenied"):
        found.swap("a", lambda held: b"2")
    assert (found.get("a") or (b"",))[0] == b"1"
