"""publish: it never waits, never raises, and what goes missing is counted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.receivers import Receiver
from tests.unit.events.conftest import (
    Configure,
    end_dispatchers,
    eventually,
    processes,
    run_program,
)
from trackbridge.domain.events import DEPLOY_APPLIED, RUN_CLOSED
from trackbridge.events import bus as bus_module
from trackbridge.events import publish, publishing
from trackbridge.events.store import BUS, EventStore, Tally

SOME = 20


def dispatcher_id() -> int:
    assert publishing._bus is not None
    process_id = publishing._bus.process_id
    assert process_id is not None
    return process_id


def bus_tally(store: EventStore) -> Tally:
    return store.tallies().get(BUS, Tally())


def state_of(process_id: int) -> str:
    """Return the letter of a process's state; Z, as for a zombie, when it is gone."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def is_running(process_id: int) -> bool:
    return state_of(process_id) != "Z"


def stop(process_id: int) -> None:
    """Let a process stand still; the signal alone leaves it some moments."""
    os.kill(process_id, signal.SIGSTOP)
    tasks = Path(f"/proc/{process_id}/task")
    eventually(lambda: all(state_of(int(task.name)) == "T" for task in tasks.iterdir()))


def test_nobody_listens(project: Path) -> None:
    publish(RUN_CLOSED, subject="r")
    assert publishing._bus is None
    assert processes(project) == []
    assert list((project / ".bridge").iterdir()) == []


def test_where_nobody_listens_nothing_is_imported(project: Path) -> None:
    done = run_program("""
        import sys
        before = set(sys.modules)
        from trackbridge.events import publish
        publish("run.closed", subject="r")
        heavy = {"sqlite3", "tomlkit", "urllib.request", "opentelemetry", "trackbridge.events.bus"}
        print(sorted(heavy & set(sys.modules) - before))
    """)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_only_what_somebody_subscribed_to_starts_anything(configure: Configure, project: Path) -> None:
    configure('[webhooks.a]\nurl = "http://127.0.0.1:1/"\nevents = ["deploy.*"]')
    publish(RUN_CLOSED, subject="r")
    publish("no.such_kind", subject="r")
    assert processes(project) == []


def test_wrong_settings_do_not_reach_the_program(configure: Configure, project: Path) -> None:
    configure("this is no TOML")
    publish(RUN_CLOSED, subject="r")
    assert publishing._bus is None


def test_events_arrive_in_order(configure: Configure, receiver: Receiver, store: EventStore) -> None:
    configure(audit=receiver.url)
    for number in range(SOME):
        publish(RUN_CLOSED, subject=str(number), source="file:/x", data={"n": number}, time_ms=1000)
    receiver.wait_for(lambda: len(receiver.requests) == SOME)
    assert receiver.subjects() == [str(number) for number in range(SOME)]
    assert receiver.requests[0].event["data"] == {"n": 0}
    publishing._forget()
    eventually(lambda: store.tallies().get("webhook:audit") == Tally(delivered=SOME))
    eventually(lambda: processes(store.path.parents[2]) == [])


def test_threads(configure: Configure, receiver: Receiver) -> None:
    configure(audit=receiver.url)

    def run(name: str) -> None:
        for number in range(SOME):
            publish(RUN_CLOSED, subject=f"{name}{number}")

    threads = [threading.Thread(target=run, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    receiver.wait_for(lambda: len(receiver.requests) == 4 * SOME)
    assert len(set(receiver.subjects())) == 4 * SOME


def test_a_program_that_is_killed(configure: Configure, receiver: Receiver) -> None:
    configure(audit=receiver.url)
    done = run_program("""
        import os, signal
        from trackbridge.events import publish
        for number in range(20):
            publish("run.closed", subject=str(number))
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    assert done.returncode == -signal.SIGKILL
    receiver.wait_for(lambda: len(receiver.requests) == SOME)


def test_a_program_that_ends_at_once(configure: Configure, receiver: Receiver) -> None:
    configure(audit=receiver.url)
    done = run_program("""
        import atexit
        from trackbridge.events import publish
        atexit.register(lambda: publish("run.closed", subject="at exit"))
        publish("run.closed", subject="in time")
    """)
    assert (done.returncode, done.stderr) == (0, "")
    receiver.wait_for(lambda: len(receiver.requests) == 2)


def test_a_fork_has_its_own_dispatcher(configure: Configure, receiver: Receiver) -> None:
    configure(audit=receiver.url)
    done = run_program("""
        import os
        from trackbridge.events import publish, publishing
        publish("run.closed", subject="parent")
        parent = publishing._bus.process_id
        child = os.fork()
        if child == 0:
            publish("run.closed", subject="child")
            os._exit(publishing._bus.process_id == parent)
        assert os.waitpid(child, 0)[1] == 0
        publish("run.closed", subject="parent again")
        assert publishing._bus.process_id == parent
    """)
    assert (done.returncode, done.stderr) == (0, "")
    receiver.wait_for(lambda: len(receiver.requests) == 3)
    assert sorted(receiver.subjects()) == ["child", "parent", "parent again"]


def test_a_dispatcher_does_not_outlive_a_fork_that_sleeps(configure: Configure, receiver: Receiver) -> None:
    """What a forked child inherits must not keep the dispatcher from seeing the program's end."""
    configure(audit=receiver.url)
    done = run_program("""
        import os, time
        from trackbridge.events import publish, publishing
        publish("run.closed", subject="parent")
        print(publishing._bus.process_id, flush=True)
        child = os.fork()
        if child == 0:
            os.close(1), os.close(2)
            time.sleep(600)
        print(child)
    """)
    dispatcher, child = map(int, done.stdout.split())
    try:
        eventually(lambda: not is_running(dispatcher))
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_dispatcher_that_is_killed_is_replaced(
    configure: Configure, receiver: Receiver, store: EventStore
) -> None:
    configure(audit=receiver.url)
    publish(RUN_CLOSED, subject="before")
    receiver.wait_for(lambda: len(receiver.requests) == 1)
    link = publishing._bus._link  # type: ignore[union-attr]
    eventually(lambda: link.listen() and link.settled == 1)  # type: ignore[union-attr]
    first = dispatcher_id()
    stop(first)
    for subject in ("lost", "lost too"):
        publish(RUN_CLOSED, subject=subject)
    os.kill(first, signal.SIGKILL)
    # Not only its first thread, which is all that its state tells: until then its socket takes more.
    eventually(lambda: link.process.poll() is not None)  # type: ignore[union-attr]
    publish(RUN_CLOSED, subject="after")
    receiver.wait_for(lambda: "after" in receiver.subjects())
    assert dispatcher_id() != first
    assert receiver.subjects() == ["before", "after"]
    eventually(lambda: bus_tally(store) == Tally(lost=2))


def test_a_loss_is_told_at_the_end_of_the_program(configure: Configure, store: EventStore) -> None:
    configure(audit="http://127.0.0.1:1/")
    publish(RUN_CLOSED, subject="first")
    stop(dispatcher_id())
    publish(RUN_CLOSED, subject="lost")
    os.kill(dispatcher_id(), signal.SIGKILL)
    link = publishing._bus._link  # type: ignore[union-attr]
    eventually(lambda: link.process.poll() is not None)  # type: ignore[union-attr]
    publishing._forget()
    eventually(lambda: bus_tally(store).lost > 0)


def test_a_dispatcher_that_stands_still(
    configure: Configure, receiver: Receiver, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program goes on; what there is no room for is counted, the rest arrives once it moves again."""
    monkeypatch.setattr(bus_module, "WAITING_BYTES_MAX", 200_000)
    configure('[webhooks.a]\nurl = "http://127.0.0.1:1/"\nevents = ["deploy.*"]', audit=receiver.url)
    publish(RUN_CLOSED, subject="first")
    receiver.wait_for(lambda: len(receiver.requests) == 1)
    stop(dispatcher_id())
    count = 400
    for number in range(count):
        publish(RUN_CLOSED, subject=str(number), data={"text": "x" * 10_000})
    os.kill(dispatcher_id(), signal.SIGCONT)
    publish(RUN_CLOSED, subject="last")
    eventually(lambda: len(receiver.requests) + bus_tally(store).dropped == count + 2)
    assert 0 < bus_tally(store).dropped < count
    assert receiver.subjects()[1:3] == ["0", "1"]


def test_a_program_with_a_deadly_sigpipe(configure: Configure) -> None:
    configure(audit="http://127.0.0.1:1/")
    done = run_program("""
        import os, signal, time
        from trackbridge.events import publish, publishing
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        publish("run.closed", subject="a")
        os.kill(publishing._bus.process_id, signal.SIGKILL)
        for _ in range(50):
            publish("run.closed", subject="b", data={"text": "x" * 1000})
            time.sleep(0.01)
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_publishing_in_a_signal_handler(configure: Configure, receiver: Receiver, store: EventStore) -> None:
    configure(audit=receiver.url)
    done = run_program("""
        import signal
        from trackbridge.events import publish
        handled = 0
        def handle(*_):
            global handled
            handled += 1
            publish("deploy.applied", subject="handler")
        publish("run.closed", subject="program")
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        count = 1
        while handled < 20:
            publish("run.closed", subject="program")
            count += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(handled + count)
    """)
    assert (done.returncode, done.stderr) == (0, "")
    eventually(lambda: store.tallies().get("webhook:audit", Tally()).delivered >= min(int(done.stdout), 100))


def test_values_that_cannot_be_sent_are_counted(
    configure: Configure, receiver: Receiver, store: EventStore
) -> None:
    configure(audit=receiver.url)
    publish(RUN_CLOSED, subject="bad", data={"text": "\ud800"})
    publish(RUN_CLOSED, subject="good")
    receiver.wait_for(lambda: len(receiver.requests) == 1)
    assert receiver.subjects() == ["good"]
    eventually(lambda: bus_tally(store) == Tally(dropped=1))


def test_no_process_to_be_had(
    configure: Configure, receiver: Receiver, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(audit=receiver.url)
    monkeypatch.setattr(bus_module, "RESTART_S_MIN", 0.01)

    def fail(*_: object, **__: object) -> None:
        raise OSError("no more processes")

    with monkeypatch.context() as context:
        context.setattr(subprocess, "Popen", fail)
        publish(RUN_CLOSED, subject="waits")
        assert publishing._bus is not None
        assert publishing._bus.process_id is None
    receiver.wait_for(lambda: len(receiver.requests) == 1)


def test_the_dispatcher_does_not_hold_sockets_of_the_program(
    configure: Configure, receiver: Receiver, project: Path
) -> None:
    configure(audit=receiver.url)
    ours, theirs = socket.socketpair()
    publish(RUN_CLOSED, subject="r")
    receiver.wait_for(lambda: len(receiver.requests) == 1)
    ours.close()
    theirs.settimeout(60)
    assert theirs.recv(1) == b""
    theirs.close()


def test_files_are_private_and_without_secrets(
    configure: Configure, receiver: Receiver, store: EventStore
) -> None:
    configure(audit=receiver.url)
    receiver.default = 503
    publish(RUN_CLOSED, subject="r", data={"password": "hunter2", "text": "token=hunter2"})
    eventually(store.undelivered)
    for file in store.path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0
        content = file.read_bytes()
        assert b"hunter2" not in content
        assert os.environ["HOOK_SECRET"].encode() not in content


@pytest.mark.parametrize("name", ["raises", "quits", "crashes", "hangs", "burns"])
def test_a_bad_subscriber_touches_nobody(
    name: str, configure: Configure, receiver: Receiver, install: Callable[..., None], store: EventStore
) -> None:
    install(
        """
        import ctypes, sys, time
        def raises(event): raise ValueError("no")
        def quits(event): sys.exit(1)
        def crashes(event): ctypes.string_at(0)
        def hangs(event): time.sleep(600)
        def burns(event):
            while True: pass
        """,
        name,
    )
    configure(audit=receiver.url)
    for number in range(SOME):
        publish(DEPLOY_APPLIED, subject=str(number))
    receiver.wait_for(lambda: len(receiver.requests) == SOME)
    assert receiver.subjects() == [str(number) for number in range(SOME)]
    if name not in ("hangs", "burns"):
        eventually(lambda: store.tallies().get(f"entry_point:{name}", Tally()).failed > 0)


def test_the_dispatcher_hurries_when_it_is_asked_to(
    configure: Configure, receiver: Receiver, store: EventStore, project: Path
) -> None:
    configure(audit=receiver.url)
    receiver.default = "hang"
    publish(RUN_CLOSED, subject="a")
    receiver.wait_for(lambda: len(receiver.requests) == 1)
    publish(RUN_CLOSED, subject="b")
    os.kill(dispatcher_id(), signal.SIGTERM)
    eventually(lambda: processes(project) == [])
    assert store.undelivered() == {"webhook:audit": 2}
    publishing._forget()
    assert processes(project) == []  # nothing is lost, so that there is nothing to tell


def test_the_next_dispatcher_sends_what_was_kept(
    configure: Configure, receiver: Receiver, store: EventStore, project: Path
) -> None:
    configure(audit=receiver.url)
    receiver.answers = [500]
    publish(RUN_CLOSED, subject="a")
    eventually(store.undelivered)
    end_dispatchers(project)
    program = "from trackbridge.events import publish; publish('run.closed', subject='b')"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    receiver.wait_for(lambda: len(receiver.requests) >= 2)
    eventually(lambda: store.undelivered() == {})
    ids = [item.headers["X-Bridge-Delivery"] for item in receiver.requests]
    assert ids.count(ids[0]) == 2
    assert set(receiver.subjects()) == {"a", "b"}
