"""Files go from store to store in a stream; what was sent outlives a kill, and wrong bytes go nowhere."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trackbridge.calls.policy import CallPolicy
from trackbridge.calls.world import World
from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.ids import mint_id
from trackbridge.errors import AuthError, Conflict, Exhausted, NotFound, Rejected, Unavailable
from trackbridge.operations import copying
from trackbridge.operations.copying import Copied, CopyOptions, copy_artifact, copy_file
from trackbridge.ports.adapter import AdapterContext
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.streams import Original, Replica, StreamedArtifacts
from trackbridge_adapters.local import open_adapter as open_local

PART = 64
SIZE = 10 * PART + 7


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "PART_BYTES_MIN", PART)
    monkeypatch.setattr(copying, "WHOLE_BYTES_MAX", PART)


class Killed(BaseException):
    """The process ends here."""


class Source(Original):
    """Bytes in memory, which break off where a test wants it."""

    def __init__(self, content: bytes, *, digest: str | None = "", version: str = "1") -> None:
        self.address, self.size, self.version = "s3://bucket/file", len(content), version
        self.digest = digest_of(content) if digest == "" else digest
        self.content = content
        self.breaks: list[int] = []
        self.reads: list[int] = []
        self.blocks = 0

    def read(self, start: int) -> Iterator[bytes]:
        self.reads.append(start)
        place = start
        while place < len(self.content):
            if self.breaks and place >= self.breaks[0]:
                self.breaks.pop(0)
                raise Unavailable("the connection broke")
            self.blocks += 1
            yield self.content[place : place + 10]
            place += 10


class Target(Replica):
    """A store in memory."""

    address, parts_max = "https://account/container/file", 1000

    def __init__(self) -> None:
        self.files: list[tuple[bytes, str]] = []
        self.uploads: dict[str, dict[str, bytes]] = {}
        self.sent: list[int] = []
        self.aborted: list[str] = []
        self.troubles: dict[int, list[BaseException]] = {}
        self.forgets = False

    def held(self) -> tuple[int, str | None] | None:
        return (len(self.files[-1][0]), self.files[-1][1]) if self.files else None

    def whole(self, content: bytes, digest: str) -> str:
        self.files.append((content, digest))
        return "1"

    def begin(self, count: int, digest: str) -> str:
        upload = f"upload-{len(self.uploads)}"
        self.uploads[upload] = {}
        return upload

    def knows(self, upload: str) -> bool:
        return upload in self.uploads

    def send(self, upload: str, number: int, content: bytes) -> str:
        troubles = self.troubles.get(number)
        if troubles:
            raise troubles.pop(0)
        self.sent.append(number)
        self.uploads[upload][f"tag-{number}"] = content
        return f"tag-{number}"

    def complete(self, upload: str, tags: list[str], digest: str) -> str:
        if self.forgets:
            self.forgets = False
            self.uploads[upload].clear()
            raise Rejected("the list names a block that is not there")
        self.files.append((b"".join(self.uploads[upload][tag] for tag in tags), digest))
        return "1"

    def abort(self, upload: str) -> None:
        self.aborted.append(upload)

    def close(self) -> None:
        """Nothing is open."""


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def bytes_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def copied(source: Source, target: Target, state: Path, **named: Any) -> Copied:
    policy = CallPolicy(attempts_max=3, backoff_s=0.0, backoff_s_max=0.0)
    options = CopyOptions(policy=policy, world=World(wait=lambda seconds: None), **named)
    return copy_file(source, target, state=state, options=options)


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 2 * PART, SIZE])
def test_every_size_arrives_whole(size: int, tmp_path: Path) -> None:
    source, target, state = Source(bytes_of(size)), Target(), tmp_path / "state"
    done = copied(source, target, state)
    assert target.files == [(source.content, source.digest)]
    assert (done.size, done.sent_bytes, done.digest, done.is_hashed) == (size, size, source.digest, True)
    assert not state.exists()


def test_the_same_bytes_are_not_sent_twice(tmp_path: Path) -> None:
    source, target = Source(bytes_of(SIZE)), Target()
    copied(source, target, tmp_path / "state")
    target.sent.clear()
    done = copied(source, target, tmp_path / "state")
    assert (done.sent_bytes, target.sent, len(target.files)) == (0, [], 1)


def test_a_source_without_a_digest_gets_one_on_the_way(tmp_path: Path) -> None:
    source, target = Source(bytes_of(SIZE), digest=None), Target()
    done = copied(source, target, tmp_path / "state")
    assert target.files[0][1] == done.digest == digest_of(source.content)


@pytest.mark.parametrize("size", [PART, SIZE])
def test_bytes_that_are_not_those_of_the_digest_go_nowhere(size: int, tmp_path: Path) -> None:
    source, target = Source(bytes_of(size), digest=digest_of(b"other")), Target()
    with pytest.raises(Rejected, match="the store says sha256:"):
        copied(source, target, tmp_path / "state")
    assert target.files == []
    assert not (tmp_path / "state").exists()


def test_a_download_that_breaks_goes_on_where_it_broke(tmp_path: Path) -> None:
    source, target = Source(bytes_of(SIZE)), Target()
    source.breaks = [95, 95, 300]
    copied(source, target, tmp_path / "state")
    assert target.files[0][0] == source.content
    assert source.reads == [0, 100, 100, 300]


def test_a_download_that_ends_early_is_no_end(tmp_path: Path) -> None:
    source, target = Source(bytes_of(SIZE)), Target()
    source.size += 5
    with pytest.raises(Exhausted, match="the download ended after"):
        copied(source, target, tmp_path / "state")
    assert target.files == []


def test_a_part_is_sent_again_where_it_failed_in_passing(tmp_path: Path) -> None:
    source, target = Source(bytes_of(SIZE)), Target()
    target.troubles = {3: [Unavailable("busy"), Unavailable("busy")]}
    copied(source, target, tmp_path / "state")
    assert target.files[0][0] == source.content


@pytest.mark.parametrize("trouble", [Killed(), AuthError("expired"), *[Unavailable("busy")]])
def test_what_was_sent_is_not_sent_again(trouble: BaseException, tmp_path: Path) -> None:
    source, target, state = Source(bytes_of(SIZE)), Target(), tmp_path / "state"
    target.troubles = {6: [trouble] * 3}
    with pytest.raises((Killed, AuthError, Exhausted)):
        copied(source, target, state, parts_at_once=1)
    before = list(target.sent)
    assert 1 <= len(before) <= 6
    target.troubles = {}
    done = copied(source, target, state)
    assert target.files == [(source.content, source.digest)]
    assert sorted(target.sent) == list(range(1, 12))
    assert done.sent_bytes == SIZE - len(before) * PART
    assert not done.is_hashed


def test_killed_ten_times_it_still_arrives(tmp_path: Path) -> None:
    source, target, state = Source(bytes_of(SIZE), digest=None), Target(), tmp_path / "state"
    for number in range(1, 11):
        target.troubles = {number: [Killed()]}
        with pytest.raises(Killed):
            copied(source, target, state, parts_at_once=1)
    target.troubles = {}
    copied(source, target, state)
    assert target.files == [(source.content, digest_of(source.content))]
    assert sorted(target.sent) == list(range(1, 12))


def test_another_version_of_the_source_begins_anew(tmp_path: Path) -> None:
    source, target, state = Source(bytes_of(SIZE)), Target(), tmp_path / "state"
    target.troubles = {6: [Killed()]}
    with pytest.raises(Killed):
        copied(source, target, state, parts_at_once=1)
    other = Source(bytes_of(SIZE + 1), version="2")
    target.sent.clear()
    copied(other, target, state)
    assert target.files == [(other.content, other.digest)]
    assert sorted(target.sent) == list(range(1, 12))
    assert target.aborted == ["upload-0"]


def test_parts_that_the_store_forgot_are_sent_again(tmp_path: Path) -> None:
    source, target, state = Source(bytes_of(SIZE)), Target(), tmp_path / "state"
    target.troubles = {11: [Killed()]}
    with pytest.raises(Killed):
        copied(source, target, state, parts_at_once=1)
    target.troubles, target.forgets = {}, True
    copied(source, target, state)
    assert target.files == [(source.content, source.digest)]


def test_a_source_that_changes_meanwhile_leaves_nothing(tmp_path: Path) -> None:
    source, target, state = Source(bytes_of(SIZE)), Target(), tmp_path / "state"

    def changed(start: int) -> Iterator[bytes]:
        yield source.content[start : start + 100]
        raise Conflict("the file was changed while it was read")

    source.read = changed  # type: ignore[method-assign]
    with pytest.raises(Conflict):
        copied(source, target, state)
    assert (target.files, target.aborted, state.exists()) == ([], ["upload-0"], False)


def test_no_more_is_read_than_is_on_its_way(tmp_path: Path) -> None:
    source, target = Source(bytes_of(40 * PART)), Target()
    ahead: list[int] = []
    send = target.send

    def noting(upload: str, number: int, content: bytes) -> str:
        ahead.append(source.blocks * 10 // PART - len(target.sent))
        return send(upload, number, content)

    target.send = noting  # type: ignore[method-assign]
    copied(source, target, tmp_path / "state", parts_at_once=2)
    assert max(ahead) <= 4  # two on their way, one that is read, and what of the next came with it


def test_progress_counts_what_was_there(tmp_path: Path) -> None:
    source, target, state = Source(bytes_of(SIZE)), Target(), tmp_path / "state"
    target.troubles = {6: [Killed()]}
    with pytest.raises(Killed):
        copied(source, target, state, parts_at_once=1)
    seen: list[tuple[int, int]] = []
    copied(source, target, state, on_progress=lambda done, size: seen.append((done, size)))
    assert seen[0][0] > 5 * PART
    assert seen[-1] == (SIZE, SIZE)


# Stores, with and without streams.


def local(folder: Path) -> ArtifactStore:
    """Return a store that has files to open, and takes files of this machine."""
    context = AdapterContext(home=folder, options={}, clock_ms=lambda: 1)
    store = open_local(folder.as_uri(), context=context).artifacts
    assert store is not None
    assert not isinstance(store, StreamedArtifacts)
    return store


class Streamed:
    """A store of one file that goes in streams, and fails before each of them."""

    def __init__(self, source: Source, target: Target | None) -> None:
        self.source, self.target = source, target
        self.failures = [Unavailable("busy"), Unavailable("busy"), None] * 2
        self.closed = 0

    def original(self, run_id: str, path: str) -> Source:
        self._fail()
        return self.source

    def replica(self, run_id: str, path: str) -> Target | None:
        self._fail()
        if self.target is not None:
            self.target.close = self._close  # type: ignore[method-assign]
        return self.target

    def _fail(self) -> None:
        failure = self.failures.pop(0)
        if failure is not None:
            raise failure

    def _close(self) -> None:
        self.closed += 1

    def put(self, run_id: str, path: str, file: Path, *, digest: str, size: int) -> ArtifactInfo:
        self.put_content = file.read_bytes()
        return ArtifactInfo(path=path, file_size=size, digest=digest)


def put_into(store: ArtifactStore, folder: Path, content: bytes) -> str:
    file, run_id = folder / "given", mint_id()
    file.write_bytes(content)
    store.put(run_id, "a/b.bin", file, digest=digest_of(content), size=len(content))
    return run_id


def copied_artifact(source: Any, target: Any, run_id: str, state: Path) -> Copied:
    policy = CallPolicy(attempts_max=3, backoff_s=0.0, backoff_s_max=0.0)
    return copy_artifact(
        source,
        target,
        run_id=run_id,
        path="a/b.bin",
        to_run_id=run_id,
        to_path="c.bin",
        state=state,
        options=CopyOptions(policy=policy, world=World(wait=lambda seconds: None)),
    )


@pytest.mark.parametrize("size", [0, 1, SIZE])
def test_between_stores_that_know_no_streams(size: int, tmp_path: Path) -> None:
    source, target = local(tmp_path / "one"), local(tmp_path / "two")
    content = bytes_of(size)
    run_id = put_into(source, tmp_path, content)
    done = copied_artifact(source, target, run_id, tmp_path / "state")
    assert (done.size, done.digest, done.sent_bytes) == (size, digest_of(content), size)
    with target.open(run_id, "c.bin") as reader:
        assert reader.read() == content


def test_from_a_store_that_can_only_open_to_one_that_streams(tmp_path: Path) -> None:
    source, replica = local(tmp_path / "one"), Target()
    run_id = put_into(source, tmp_path, bytes_of(SIZE))
    target = Streamed(Source(b""), replica)
    done = copied_artifact(source, target, run_id, tmp_path / "state")
    assert replica.files == [(bytes_of(SIZE), digest_of(bytes_of(SIZE)))]
    assert done.sent_bytes == SIZE
    assert target.closed == 1


@pytest.mark.parametrize("takes_parts", [True, False])
def test_stores_that_are_busy_in_passing_are_asked_again(takes_parts: bool, tmp_path: Path) -> None:
    content = bytes_of(SIZE)
    source = Streamed(Source(content), None)
    target = Streamed(Source(b""), Target() if takes_parts else None)
    done = copied_artifact(source, target, "r", tmp_path / "state")
    assert done.digest == digest_of(content)
    came = target.target.files[0][0] if target.target is not None else target.put_content
    assert came == content


class WithoutParts(Target):
    """A store that takes no parts here, which it tells when they begin to come."""

    def begin(self, count: int, digest: str) -> str:
        raise Rejected("no parts here")


@pytest.mark.parametrize("refused", ["at the beginning", "at a part"])
def test_a_store_that_takes_no_parts_gets_the_file_as_a_whole(refused: str, tmp_path: Path) -> None:
    content = bytes_of(SIZE)
    replica = WithoutParts() if refused == "at the beginning" else Target()
    replica.troubles[3] = [Rejected("the bucket is out of reach")]
    target = Streamed(Source(b""), replica)
    done = copied_artifact(Streamed(Source(content), None), target, "r", tmp_path / "state")
    assert (target.put_content, done.digest, done.sent_bytes) == (content, digest_of(content), SIZE)
    assert (replica.files, target.closed) == ([], 1)
    assert replica.aborted == list(replica.uploads)
    assert not (tmp_path / "state").exists()


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    store = local(tmp_path / "one")
    run_id = put_into(store, tmp_path, b"content")
    with pytest.raises(NotFound):
        copy_artifact(
            store, store, run_id=run_id, path="a", to_run_id=run_id, to_path="b", state=tmp_path / "state"
        )


@pytest.mark.parametrize(("version", "digest"), [("", None), ("", ""), ("1", "")])
def test_parts_of_an_earlier_state_are_never_joined_with_those_of_a_later(
    version: str, digest: str | None, tmp_path: Path
) -> None:
    target, state = Target(), tmp_path / "state"
    target.troubles = {6: [Killed()]}
    earlier = Source(b"o" * SIZE, version=version, digest=digest)
    with pytest.raises(Killed):
        copied(earlier, target, state, parts_at_once=1)
    later = Source(b"n" * SIZE, version=version, digest=digest)
    done = copied(later, target, state)
    assert target.files == [(later.content, done.digest)]
    assert done.digest == digest_of(later.content)


def test_where_nothing_is_noted_nothing_is_left_in_the_store(tmp_path: Path) -> None:
    source, target = Source(bytes_of(SIZE), version="", digest=None), Target()
    target.troubles = {6: [AuthError("expired")]}
    with pytest.raises(AuthError):
        copied(source, target, tmp_path / "state", parts_at_once=1)
    assert target.aborted == ["upload-0"]
