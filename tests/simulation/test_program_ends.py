"""However a program ends, its runs end in the truth and what it logged is delivered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.simulation.programs import start, wait_until_delivered
from trackbridge import Client, RunStatus
from trackbridge.api.results import Run

BEGIN = """
import os, sys, time
import trackbridge as tb
tb.set_tracking_uri("file:" + sys.argv[1])
tb.set_experiment("ends")
"""


def finish(store: Path, code: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], Run]:
    """Run a program to its end and return it with its only run."""
    process = subprocess.run(
        [sys.executable, "-c", BEGIN + code, str(store)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return process, only_run(store)


def only_run(store: Path) -> Run:
    wait_until_delivered(store)
    client = Client(f"file:{store}")
    experiment = client.get_experiment_by_name("ends")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return run


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_a_program_that_forgets_to_end_its_run(store: Path) -> None:
    process, run = finish(store, "tb.start_run(); tb.log_metric('loss', 1.0)")
    assert process.returncode == 0
    assert process.stderr == ""
    assert run.info.status is RunStatus.FINISHED
    assert run.data.metrics == {"loss": 1.0}


def test_an_exception_in_the_block_keeps_the_traceback_without_secrets(store: Path) -> None:
    code = """
with tb.start_run():
    tb.log_metric("loss", 1.0)
    raise ValueError("cannot reach https://user:hunter2@example.org/x")
"""
    process, run = finish(store, code)
    assert process.returncode == 1
    assert run.info.status is RunStatus.FAILED
    trace = run.data.tags["bridge.traceback"]
    assert "ValueError" in trace
    assert "hunter2" not in trace


def test_an_exception_outside_of_a_block(store: Path) -> None:
    process, run = finish(store, "tb.start_run(); tb.log_metric('loss', 1.0); raise KeyError('gone')")
    assert process.returncode == 1
    assert "KeyError" in process.stderr
    assert run.info.status is RunStatus.FAILED
    assert "KeyError" in run.data.tags["bridge.traceback"]


@pytest.mark.parametrize(
    ("statement", "status"),
    [
        ("sys.exit(0)", RunStatus.FINISHED),
        ("sys.exit(3)", RunStatus.FAILED),
        ("raise KeyboardInterrupt", RunStatus.KILLED),
    ],
)
def test_other_ways_out_of_a_block(store: Path, statement: str, status: RunStatus) -> None:
    _, run = finish(store, f"with tb.start_run():\n    {statement}")
    assert run.info.status is status


def test_sigterm_kills_the_run_after_a_flush(store: Path) -> None:
    code = BEGIN + "tb.start_run()\nfor i in range(1000): tb.log_metric('loss', i, step=i)\n"
    code += "print('ready', flush=True)\ntime.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, str(store)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.5)  # a signal between print and sleep would wait for the end of the sleep
    process.terminate()
    assert process.wait(30) == -signal.SIGTERM
    run = only_run(store)
    assert run.info.status is RunStatus.KILLED
    assert run.data.metrics == {"loss": 999.0}


def test_a_handler_of_the_users_own_is_left_alone(store: Path) -> None:
    code = """
import signal
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
tb.start_run()
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""
    process, run = finish(store, code)
    assert process.returncode == 7
    assert run.info.status is RunStatus.FINISHED


def test_forked_workers_do_not_end_the_run_of_their_parent(store: Path) -> None:
    code = """
import multiprocessing, signal
def work(number):
    tb.log_metric("worker", number, step=number)
run = tb.start_run()
pool = multiprocessing.get_context("fork").Pool(3)
pool.map(work, range(30))
pool.terminate()  # SIGTERM to each worker
pool.join()
child = os.fork()
if child == 0:
    sys.exit(0)  # runs what is registered for the end of the program
os.waitpid(child, 0)
time.sleep(1.5)
tb.flush()
assert tb.Client().reader.tracking.get_run(run.info.run_id).info.status == "RUNNING"
tb.log_metric("parent", 1.0)
tb.end_run()
"""
    process, run = finish(store, code)
    assert process.returncode == 0, process.stderr
    assert run.info.status is RunStatus.FINISHED
    history = Client(f"file:{store}").get_metric_history(run.info.run_id, "worker")
    assert [point.step for point in history] == list(range(30))


@pytest.mark.parametrize("mode", ["thread", "off"])
def test_other_modes_of_delivery(store: Path, mode: str) -> None:
    code = "tb.start_run(); tb.log_metric('loss', 1.0); tb.log_text('hello', 'a.txt')"
    process, run = finish(store, code, BRIDGE_DELIVERY=mode)
    assert process.returncode == 0
    assert run.info.status is RunStatus.FINISHED
    assert run.data.metrics == {"loss": 1.0}


def test_the_child_is_started_again_when_it_dies(store: Path) -> None:
    code = """
import signal
tb.start_run()
tb.log_metric("loss", 1.0, step=1)
session = tb.Client().session
tb.flush()
first = session.child_process_id
os.kill(first, signal.SIGKILL)
time.sleep(3)
tb.log_metric("loss", 2.0, step=2)
tb.flush(30)
print(first != session.child_process_id)
"""
    process, run = finish(store, code)
    assert process.stdout.strip() == "True", process.stderr
    assert run.data.metrics == {"loss": 2.0}


def test_files_of_the_user_do_not_stand_in_for_pythons_own(tmp_path: Path, store: Path) -> None:
    """A child started in a folder with a ``logging.py`` would otherwise import that."""
    for name in ("logging.py", "types.py", "random.py", "trackbridge.py"):
        (tmp_path / name).write_text("raise SystemExit('imported by mistake')")
    code = BEGIN.replace("import os, sys, time", "import sys; sys.path.remove('')\nimport os, time")
    code += "tb.start_run(); tb.log_metric('loss', 1.0)"
    process = subprocess.run(
        [sys.executable, "-c", code, str(store)], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 0, process.stderr
    assert only_run(store).data.metrics == {"loss": 1.0}


def test_ranks_add_to_one_run(store: Path) -> None:
    """One process creates the run; others take it up by its id while it is open."""
    leader = start(
        BEGIN + "run = tb.start_run()\nprint(run.info.run_id, flush=True)\ntb.flush()\n"
        "open(sys.argv[2], 'w').write(run.info.run_id)\ntime.sleep(6)\ntb.log_metric('rank', 0, step=0)",
        str(store),
        str(store.parent / "id"),
    )
    deadline = time.monotonic() + 60
    while not (store.parent / "id").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run_id = (store.parent / "id").read_text()
    code = (
        BEGIN
        + "client = tb.Client()\nfor rank in (1, 2): client.log_metric(sys.argv[2], 'rank', rank, step=rank)"
    )
    subprocess.run([sys.executable, "-c", code, str(store), run_id], check=True, timeout=60)
    assert leader.wait(60) == 0
    run = only_run(store)
    assert run.info.run_id == run_id
    assert run.info.status is RunStatus.FINISHED
    history = Client(f"file:{store}").get_metric_history(run_id, "rank")
    assert [point.step for point in history] == [0, 1, 2]


def test_a_destination_that_is_down_does_not_hold_up_the_end_and_is_told(tmp_path: Path) -> None:
    """The store's place is taken by a file: nothing can be delivered until it is gone."""
    store = tmp_path / "store"
    (store / "journal").mkdir(parents=True)
    (store / "store.db").mkdir()
    code = BEGIN.replace('tb.set_experiment("ends")', "") + (
        "client = tb.Client()\n"
        "recorder = client.open_run('e' * 32, 'ends')\n"
        "recorder.metric('loss', 1.0)\n"
        "from trackbridge.domain.runs import RunStatus\n"
        "recorder.close(RunStatus.FINISHED)\n"
        "from trackbridge.api import active\n"
        "active._guard_process()\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, str(store)],
        env={**os.environ, "BRIDGE_DELIVERY_EXIT_WAIT_S": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 0
    assert "are not delivered" in process.stderr
    assert "bridge sync status" in process.stderr
    (store / "store.db").rmdir()
    assert only_run(store).data.metrics == {"loss": 1.0}


def test_a_program_that_only_uses_the_client_ends_in_good_order(store: Path) -> None:
    code = """
client = tb.Client()
run = client.create_run(tb.set_experiment("ends").experiment_id)
client.log_metric(run.info.run_id, "loss", 1.0)
"""

    process, run = finish(store, code)
    assert process.returncode == 0, process.stderr
    assert run.info.status is RunStatus.RUNNING, "left open on purpose, as with mlflow's client"
    assert run.data.metrics == {"loss": 1.0}


def test_a_run_that_cannot_be_ended_keeps_nothing_else_from_ending(store: Path) -> None:
    code = """
tb.start_run(run_name="first")
client = tb.Client()
from trackbridge.errors import JournalFull
run = tb.active_run()
def refuse(*arguments):
    raise JournalFull("no room")
run.recorder.close = refuse
"""
    process = subprocess.run(
        [sys.executable, "-c", BEGIN + code, str(store)], capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 0
    assert "could not be ended" in process.stderr
    assert "Traceback" not in process.stderr


def test_sigterm_takes_its_course_also_when_a_run_cannot_be_ended(store: Path) -> None:
    code = """
import signal
tb.start_run()
def refuse(*arguments):
    raise RuntimeError("a bug")
tb.active_run().recorder.close = refuse
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""
    process = subprocess.run([sys.executable, "-c", BEGIN + code, str(store)], timeout=60)
    assert process.returncode == -signal.SIGTERM
