"""What a run says of its job: tags, the end of the log, and nothing secret."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.memory_adapter import MemoryAdapter
from trackbridge.domain.batches import Batch, Receipt, Rejection
from trackbridge.domain.ids import mint_id
from trackbridge.domain.job_tags import LOG_TAIL_PATH
from trackbridge.domain.jobs import JobFacts, JobState, JobStatus, LogChunk
from trackbridge.domain.runs import Run, RunSpec, RunStatus
from trackbridge.errors import Rejected, Unavailable, Unsupported
from trackbridge.operations import job_log_tail
from trackbridge.operations.job_facts import end_tags, link_tags
from trackbridge.operations.job_log_tail import kept_tail, secret_values, tail_of_file, tail_of_job
from trackbridge.operations.settle import settle_job
from trackbridge.operations.waiting import Pace

URI = "memory:"
END_MS = 1_700_000_600_000
NOT_KNOWN = JobState(job_id="j", status=JobStatus.FAILED)


class Logs:
    """Jobs whose log comes in pieces."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces
        self.error: Exception | None = None

    def read_logs(self, job_id: str, *, cursor: str = "", tail_bytes: int | None = None) -> LogChunk:
        if self.error is not None:
            raise self.error
        number = int(cursor or 0)
        text = self.pieces[number] if number < len(self.pieces) else ""
        return LogChunk(text=text, cursor=str(number + 1), done=number + 1 >= len(self.pieces))


class Scene:
    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.adapter = MemoryAdapter()
        self.tracking = cast("Any", self.adapter.tracking)
        self.root = root
        self.jobs: Any = Logs("one\n", "two\n")
        self.events: list[tuple[str, str]] = []
        monkeypatch.setattr(
            "trackbridge.operations.settle.publish",
            lambda kind, *, subject, **rest: self.events.append((kind, subject)),
        )
        self.run_id = mint_id()
        self.tracking.open_run(
            RunSpec(
                run_id=self.run_id,
                experiment_id="e" * 32,
                experiment_name="wine",
                name="job",
                user="anna",
                start_time=1_700_000_000_000,
                tags={"bridge.job.secrets": '["env:MODEL_STORE"]'},
            )
        )

    def settle(self, status: JobStatus = JobStatus.SUCCEEDED, **fields: Any) -> bool | None:
        state = JobState(
            job_id="job-7",
            status=status,
            run_id=self.run_id,
            end_time=END_MS,
            native_url="https://cloud.example/job-7",
            **fields,
        )
        return settle_job(
            state,
            self.tracking,
            journal_root=self.root,
            destination=URI,
            artifacts=self.adapter.artifacts,
            jobs=self.jobs,
            place="cloud:",
        )

    @property
    def run(self) -> Run:
        found: Run = self.tracking.get_run(self.run_id)
        return found

    @property
    def log(self) -> str:
        assert self.adapter.artifacts is not None
        with self.adapter.artifacts.open(self.run_id, LOG_TAIL_PATH) as file:
            return file.read().decode()


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path / "journal", monkeypatch)


def test_everything_that_is_known(scene: Scene) -> None:
    facts = JobFacts(instance_type="m5", instance_count=2, is_spot=False, billed_s=0, interruptions=3)
    assert scene.settle(JobStatus.FAILED, facts=facts, exit_code=-9, reason="token=abcdefgh killed")
    tags = scene.run.data.tags
    assert {name: value for name, value in tags.items() if name.startswith("bridge.job")} == {
        "bridge.job": "job-7",
        "bridge.job.place": "cloud:",
        "bridge.job.url": "https://cloud.example/job-7",
        "bridge.job.secrets": '["env:MODEL_STORE"]',
        "bridge.job.status": "FAILED",
        "bridge.job.reason": "token=*** killed",
        "bridge.job.exit_code": "-9",
        "bridge.job.instance_type": "m5",
        "bridge.job.instance_count": "2",
        "bridge.job.spot": "false",
        "bridge.job.billed_s": "0",
        "bridge.job.interruptions": "3",
    }
    assert (scene.run.info.status, scene.run.info.end_time) == (RunStatus.FAILED, END_MS)
    assert scene.log == "one\ntwo\n"


def test_what_is_not_known_has_no_tag() -> None:
    assert end_tags(NOT_KNOWN) == {"bridge.job.status": "FAILED"}
    assert link_tags(NOT_KNOWN, "") == {"bridge.job": "j"}


def test_a_run_that_its_program_closed_is_told_of_its_job(scene: Scene) -> None:
    scene.tracking.close_run(scene.run_id, status=RunStatus.FINISHED, end_time=END_MS - 1)
    assert scene.settle()
    assert (scene.run.info.status, scene.run.info.end_time) == (RunStatus.FINISHED, END_MS - 1)
    assert scene.run.data.tags["bridge.job.status"] == "SUCCEEDED"
    assert scene.log == "one\ntwo\n"


def test_it_is_said_once(scene: Scene) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda number: scene.settle(), range(8))) == [True] * 8
    scene.jobs = Logs("never read again")
    assert scene.settle()
    assert scene.log == "one\ntwo\n"
    assert scene.events == [("run.closed", scene.run_id), ("job.ended", "job-7")]


def test_a_settlement_that_was_interrupted_is_completed(scene: Scene) -> None:
    scene.jobs.error = Unavailable("the network is gone")
    with pytest.raises(Unavailable):
        scene.settle()
    assert "bridge.job.status" not in scene.run.data.tags
    scene.jobs.error = None
    assert scene.settle()
    assert scene.log == "one\ntwo\n"
    assert [kind for kind, _ in scene.events] == ["run.closed", "job.ended"]


@pytest.mark.parametrize("error", [Unsupported("no logs here"), Rejected("the log is gone")])
def test_a_log_that_is_not_to_be_had_is_told(scene: Scene, error: Exception) -> None:
    scene.jobs.error = error
    assert scene.settle()
    assert scene.run.data.tags["bridge.job.log"] == str(error)


def test_tags_that_the_store_refuses_are_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    write: Callable[[Batch], Receipt] = scene.tracking.write

    def refuse_urls(batch: Batch) -> Receipt:
        kept = [tag for tag in batch.tags if tag.key != "bridge.job.url"]
        refused = tuple(Rejection(tag.sequence, "too long") for tag in batch.tags if tag not in kept)
        write(Batch(run_id=batch.run_id, tags=kept))
        return Receipt(rejected=refused)

    monkeypatch.setattr(scene.tracking, "write", refuse_urls)
    with pytest.raises(Rejected, match=r"\(bridge\.job\.url\): too long"):
        scene.settle()
    assert scene.run.data.tags["bridge.job.status"] == "SUCCEEDED"
    assert scene.settle()


def test_a_run_that_was_deleted_is_left_alone(scene: Scene) -> None:
    scene.tracking.close_run(scene.run_id, status=RunStatus.FINISHED, end_time=END_MS)
    scene.tracking.delete_run(scene.run_id)
    assert scene.settle()
    assert "bridge.job.status" not in scene.run.data.tags


def test_journals_that_cannot_be_brought_home_are_told(scene: Scene) -> None:
    with pytest.raises(Rejected, match="cannot be brought home") as raised:
        scene.settle(kept_uri="ftp://nowhere/kept")
    assert "bridge sync run ftp://nowhere/kept" in str(raised.value.hint)
    assert scene.run.data.tags["bridge.job.kept"] == "ftp://nowhere/kept"
    assert scene.run.data.tags["bridge.job.status"] == "SUCCEEDED"
    assert scene.settle(kept_uri="ftp://nowhere/kept")


# The end of the log.


def pieces(text: str, size: int) -> Callable[[str], LogChunk]:
    def read(cursor: str) -> LogChunk:
        start = int(cursor or 0)
        end = start + size
        return LogChunk(text=text[start:end], cursor=str(end), done=end >= len(text))

    return read


@pytest.mark.parametrize("size", [1000, 70_000, 10**9])
def test_the_end_of_a_long_log(size: int, tmp_path: Path) -> None:
    text = "".join(f"line {number} ä\n" for number in range(20_000))
    tail = kept_tail(tail_of_job(pieces(text, size)))
    assert 60_000 < len(tail) <= 64 * 1024
    assert text.endswith(tail.decode())
    assert tail.startswith(b"line ")
    (tmp_path / "log").write_text(text, encoding="utf-8")
    assert kept_tail(tail_of_file(tmp_path / "log")) == tail


def test_a_log_of_one_endless_line() -> None:
    tail = kept_tail(("ä" * 100_000).encode()[-72 * 1024 - 1 :])
    assert set(tail.decode()) == {"ä"}
    assert len(tail) <= 64 * 1024


def test_a_log_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_log_tail, "READ_BYTES_MAX", 1000)
    with pytest.raises(Rejected, match="end was not reached"):
        tail_of_job(lambda cursor: LogChunk(text="x" * 300, cursor="c", done=False))
    now_s, asked = [0.0], []

    def pause(seconds: float) -> None:
        now_s[0] += seconds

    def read(cursor: str) -> LogChunk:
        asked.append(cursor)
        return LogChunk(text="", cursor="c", done=False)

    with pytest.raises(Rejected, match="too slowly"):
        tail_of_job(read, pace=Pace(wait_s_min=0.1, clock=lambda: now_s[0], pause=pause))
    assert 10 < len(asked) < 200  # who is late is not asked all the time


def test_no_log(tmp_path: Path) -> None:
    assert kept_tail(tail_of_file(tmp_path / "none")) == b""


def test_secrets_stay_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("MODEL_STORE", "open sesame")
    monkeypatch.setenv("MY_PASSWORD", "of this program")
    (tmp_path / "key").write_text("first line\nsecond line\n")
    values = secret_values(["env:MODEL_STORE", f"file:{tmp_path}/key", "env:UNSET", "vault:x", "file:/no"])
    text = "open sesame, second line; of this program; AKIAABCDEFGHIJKLMNOP; loss 1.0"
    assert kept_tail(text.encode(), values) == b"***, ***; ***; ***; loss 1.0"


def test_a_reference_that_leads_to_no_plain_file_holds_up_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    places = ["/dev/zero", f"{tmp_path}/pipe", f"{tmp_path}", "a\0b"]
    assert secret_values(f"file:{place}" for place in places) == secret_values([])


def test_a_secret_on_the_edge_of_the_tail_is_not_cut_before_it_is_known() -> None:
    secret = "s3cret-" * 40
    text = "x" * 5000 + secret + "y" * (64 * 1024 - 100)
    assert b"s3cret" not in kept_tail(text.encode(), [secret])


def test_short_values_are_no_secrets() -> None:
    assert kept_tail(b"a 1 b", ["1", "", "b"]) == b"a 1 b"
