"""What delivery tells, and that nobody who listens changes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import trackbridge as tb
from tests.support.receivers import Receiver
from tests.unit.events.conftest import Configure, eventually, run_program
from trackbridge.delivery.announcements import Announcements
from trackbridge.delivery.sending import Refused
from trackbridge.delivery.steps import BatchStep, ControlStep
from trackbridge.domain.batches import Batch
from trackbridge.domain.events import BATCH_DELIVERED, DEAD_LETTER, RUN_CLOSED
from trackbridge.domain.records import RunClosed
from trackbridge.domain.runs import RunStatus
from trackbridge.events import publishing

PROGRAM = """
    import trackbridge as tb
    with tb.start_run() as run:
        for step in range(200):
            tb.log_metric("loss", 1 / (step + 1), step=step)
    print(run.info.run_id)
"""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str, dict[str, object]]]]:
    found: list[tuple[str, str, dict[str, object]]] = []

    def publish(kind: str, *, subject: str, source: str, data: dict[str, object], time_ms: int = 0) -> None:
        assert source == "file:/x"
        found.append((kind, subject, data))

    monkeypatch.setattr("trackbridge.delivery.announcements.publish", publish)
    return found


def closed(run_id: str) -> RunClosed:
    return RunClosed(run_id=run_id, status=RunStatus.FINISHED, end_time=9)


def test_one_event_for_a_window(told: list[tuple[str, str, dict[str, object]]]) -> None:
    news = Announcements("file:/x", "journal")
    news.note(BatchStep(Batch(run_id="a"), 5), [])
    news.note(BatchStep(Batch(run_id="b"), 5), [])
    news.tell(70)
    news.tell(0)
    data = {"records": 70, "refused": 0, "runs": ["a", "b"], "run_count": 2}
    assert told == [(BATCH_DELIVERED, "journal", data)]


def test_a_closed_run_is_told_once(told: list[tuple[str, str, dict[str, object]]]) -> None:
    news = Announcements("file:/x", "journal")
    news.note(ControlStep(3, closed("a")), [])
    news.tell(1)
    news.tell(1)
    ends = [item for item in told if item[0] == RUN_CLOSED]
    assert ends == [(RUN_CLOSED, "a", {"status": "FINISHED", "start_time": None, "end_time": 9})]


def test_refused_records(told: list[tuple[str, str, dict[str, object]]]) -> None:
    news = Announcements("file:/x", "journal")
    record = closed("a")
    news.note(ControlStep(3, record), [Refused(3, record, "no such run")])
    news.tell(1)
    assert [item[0] for item in told] == [BATCH_DELIVERED, DEAD_LETTER]
    assert told[1] == (DEAD_LETTER, "a", {"records": 1, "reasons": ["no such run"], "runs": ["a"]})


def stored_points(run_id: str) -> int:
    return len(tb.Client().get_metric_history(run_id, "loss"))


def test_a_run_from_start_to_end(configure: Configure, receiver: Receiver, project: Path) -> None:
    configure(audit=receiver.url)
    done = run_program(PROGRAM)
    assert done.stderr == ""
    run_id = done.stdout.strip()
    receiver.wait_for(lambda: "run.closed" in receiver.kinds())
    end = next(item.event for item in receiver.requests if item.headers["X-Bridge-Event"] == "run.closed")
    assert (end["subject"], end["source"]) == (run_id, f"file:{project}/.bridge")
    assert end["data"]["status"] == "FINISHED"
    assert end["data"]["start_time"] <= end["data"]["end_time"]
    batches = [item.event for item in receiver.requests if item.event["type"].endswith("batch_delivered")]
    assert batches[0]["data"]["runs"] == [run_id]


@pytest.mark.parametrize("mode", ["child", "thread"])
def test_hooks_that_hang_change_nothing(
    mode: str,
    configure: Configure,
    receiver: Receiver,
    install: Callable[..., None],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install("import time\ndef hangs(event): time.sleep(600)\n", "hangs")
    configure(audit=receiver.url)
    receiver.default = "hang"
    monkeypatch.setenv("BRIDGE_DELIVERY", mode)
    done = run_program(PROGRAM, env={**os.environ})
    assert (done.returncode, done.stderr) == (0, "")
    eventually(lambda: stored_points(done.stdout.strip()) == 200)
    receiver.wait_for(lambda: receiver.requests != [])
    publishing._forget()


def test_a_run_that_dies_is_told_as_killed(configure: Configure, receiver: Receiver) -> None:
    configure(audit=receiver.url)
    done = run_program("""
        import os, signal
        import trackbridge as tb
        run = tb.start_run()
        tb.log_metric("loss", 1.0)
        print(run.info.run_id, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    receiver.wait_for(lambda: "run.closed" in receiver.kinds())
    end = next(item.event for item in receiver.requests if item.headers["X-Bridge-Event"] == "run.closed")
    assert (end["subject"], end["data"]["status"]) == (done.stdout.strip(), "KILLED")
