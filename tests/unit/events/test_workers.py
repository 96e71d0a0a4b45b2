"""A subscriber in its own process may do what it likes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.receivers import Receiver
from tests.unit.events.conftest import Configure, eventually, processes
from trackbridge.domain.events import RUN_CLOSED
from trackbridge.events.messages import Message, Reply, new_event
from trackbridge.events.subscribers import find_subscriber
from trackbridge.events.workers import Worker
from trackbridge.resolve.config import Settings

MODULE = """
    import ctypes, os, subprocess, sys, time
    from trackbridge.errors import RateLimited, Unavailable

    def fine(event):
        with open("seen.txt", "a") as file:
            file.write(event.subject + "\\n")

    def raises(event):
        raise ValueError("token=hunter2 " + event.subject)

    def quits(event):
        sys.exit(3)

    def leaves(event):
        os._exit(4)

    def crashes(event):
        ctypes.string_at(0)

    def hangs(event):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)  # trackbridge.events"])
        time.sleep(600)

    def burns(event):
        while True:
            pass

    def unavailable(event):
        raise Unavailable("not now")

    def limited(event):
        raise RateLimited("not now", retry_after_s=7.0)

    def prints(event):
        print("to stdout")
        print("to stderr", file=sys.stderr)
        os.write(1, b"by descriptor")

    def reads(event):
        assert sys.stdin.read() == ""

    def nice(event):
        return str(os.nice(0))
"""
NAMES = tuple(line.split()[1].partition("(")[0] for line in MODULE.splitlines() if "    def " in line)

MakeWorker = Callable[..., Worker]


@pytest.fixture
def make_worker(install: Callable[..., None], project: Path) -> Iterator[MakeWorker]:
    install(MODULE, *NAMES)
    made: list[Worker] = []

    def make(name: str, **options: object) -> Worker:
        made.append(Worker(find_subscriber(name, Settings()), **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for worker in made:
        worker.close()
    assert processes(project) == []


def message(subject: str = "r") -> Message:
    return Message(event=new_event(RUN_CLOSED, subject=subject, source="", data=None, time_ms=5))


def test_one_process_takes_one_event_after_another(make_worker: MakeWorker, project: Path) -> None:
    worker = make_worker("fine")
    assert not worker.is_running
    for number in range(3):
        assert worker.handle(message(str(number))) == Reply(delivered=True)
    assert len(processes(project)) == 1
    assert (project / "seen.txt").read_text() == "0\n1\n2\n"
    worker.close()
    assert processes(project) == []
    assert worker.handle(message("3")).delivered


def test_it_lets_others_go_first(make_worker: MakeWorker) -> None:
    assert int(make_worker("nice").handle(message()).answer) >= min(19, os.nice(0) + 10)


def test_it_raises(make_worker: MakeWorker) -> None:
    worker = make_worker("raises")
    for subject in ("a", "b"):
        reply = worker.handle(message(subject))
        assert reply == Reply(delivered=False, problem=f"ValueError: token=*** {subject}")
    assert worker.is_running


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("quits", "SystemExit: 3"),
        ("leaves", "it has ended with exit code 4"),
        ("crashes", "it has ended by signal 11 (SIGSEGV)"),
    ],
)
def test_it_ends(name: str, problem: str, make_worker: MakeWorker) -> None:
    worker = make_worker(name)
    for _ in range(2):
        assert worker.handle(message()) == Reply(delivered=False, problem=problem)


@pytest.mark.parametrize("name", ["hangs", "burns"])
def test_it_does_not_return(name: str, make_worker: MakeWorker, project: Path) -> None:
    reply = make_worker(name, handle_s=0.3).handle(message())
    assert "it did not return within 0.3 s" in reply.problem
    assert not reply.is_transient
    eventually(lambda: processes(project) == [])  # what it had started is gone as well


def test_it_is_ended_from_another_thread(make_worker: MakeWorker) -> None:
    worker = make_worker("hangs")
    replies: list[Reply] = []
    thread = threading.Thread(target=lambda: replies.append(worker.handle(message())))
    thread.start()
    while not replies:
        worker.kill()
        thread.join(0.05)
    assert not replies[0].delivered


def test_what_may_be_taken_later(make_worker: MakeWorker) -> None:
    assert make_worker("unavailable").handle(message()).is_transient
    reply = make_worker("limited").handle(message())
    assert (reply.is_transient, reply.retry_after_s) == (True, 7.0)


def test_what_it_prints_goes_nowhere(make_worker: MakeWorker, capfd: pytest.CaptureFixture[str]) -> None:
    assert make_worker("prints").handle(message()).delivered
    assert make_worker("reads").handle(message()).delivered
    assert capfd.readouterr() == ("", "")
    worker = make_worker("prints", is_quiet=False)
    assert worker.handle(message()).delivered
    worker.close()
    out, err = capfd.readouterr()
    assert out == ""
    assert all(text in err for text in ("to stdout", "to stderr", "by descriptor"))


def test_it_cannot_be_imported(install: Callable[..., None], project: Path) -> None:
    install("import sys\nsys.exit(7)", "watch", package="broken-package")
    worker = Worker(find_subscriber("watch", Settings()))
    for _ in range(2):
        reply = worker.handle(message())
        assert (reply.delivered, reply.is_loaded) == (False, False)
    assert not worker.is_running


def test_it_ends_with_the_dispatcher(make_worker: MakeWorker, project: Path) -> None:
    """A worker that nobody can kill any more is ended by the kernel, whatever it is doing."""
    worker = make_worker("burns", handle_s=0.1)
    assert worker._start().delivered
    worker._handle_s = 60.0  # this side would wait; the worker's alarm is at its own time
    reply = worker.handle(message())
    assert reply.problem == "it has ended by signal 14 (SIGALRM)"


def test_a_webhook(configure: Configure, receiver: Receiver, project: Path) -> None:
    configure(audit=receiver.url)
    worker = Worker(find_subscriber("audit", Settings()))
    receiver.answers = [204, 503, 404]
    replies = [worker.handle(message()) for _ in range(3)]
    worker.close()
    assert [item.delivered for item in replies] == [True, False, False]
    assert replies[0].answer == "HTTP 204"
    assert [item.is_transient for item in replies] == [False, True, False]
    eventually(lambda: processes(project) == [])


def test_a_webhook_that_hangs_may_be_tried_again(
    configure: Configure, receiver: Receiver, project: Path
) -> None:
    configure(audit=receiver.url)
    receiver.answers = ["hang"]
    worker = Worker(find_subscriber("audit", Settings()), handle_s=0.5)
    reply = worker.handle(message())
    worker.close()
    assert (reply.delivered, reply.is_transient) == (False, True)
