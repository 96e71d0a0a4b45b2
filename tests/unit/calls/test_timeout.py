"""A hanging attempt costs its time limit, not the program."""

import contextvars
import gc
import os
import signal
import threading

import pytest

from trackbridge.calls.call import Operation
from trackbridge.calls.timeout import Timeouts
from trackbridge.errors import NotFound, TimedOut, Unavailable

READ = Operation("fake", "tracking.get_run", None)
WRITE = Operation("fake", "tracking.write", None)
UNKNOWN = Operation("fake", "other.method", None)


@pytest.fixture
def hang():
    """A function that hangs until the test ends."""
    release = threading.Event()
    yield lambda: release.wait(60)
    release.set()


@pytest.fixture
def timeouts():
    made = Timeouts(abandoned_max=2)
    yield made
    made.close()


def test_without_a_limit_it_runs_inline(timeouts):
    assert timeouts.run(threading.current_thread, READ, None) is threading.current_thread()


def test_results_and_errors_come_back(timeouts):
    assert timeouts.run(lambda: 42, READ, 30) == 42
    error = NotFound("x")

    def fail():
        raise error

    with pytest.raises(NotFound) as caught:
        timeouts.run(fail, READ, 30)
    assert caught.value is error


def test_a_thread_is_used_again(timeouts):
    threads = {timeouts.run(threading.get_ident, READ, 30) for _ in range(10)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


@pytest.mark.parametrize(("operation", "ambiguous"), [(READ, False), (WRITE, True), (UNKNOWN, True)])
def test_a_hanging_attempt_times_out(operation, ambiguous, timeouts, hang):
    with pytest.raises(TimedOut, match=r"no answer within 0\.01 s") as caught:
        timeouts.run(hang, operation, 0.01)
    assert caught.value.ambiguous is ambiguous
    assert timeouts.abandoned == 1
    assert timeouts.run(lambda: "next", READ, 30) == "next"


def test_hanging_attempts_are_bounded_and_forgotten_once_they_end(timeouts):
    release, ended = threading.Event(), []
    for _ in range(2):
        with pytest.raises(TimedOut):
            timeouts.run(lambda: release.wait(60) and ended.append(threading.current_thread()), READ, 0.01)
    with pytest.raises(Unavailable, match="2 calls hang"):
        timeouts.run(lambda: None, READ, 30)
    hanging = [thread for thread in threading.enumerate() if thread.name == "trackbridge-call"]
    release.set()
    for thread in hanging:
        thread.join(30)
    assert len(ended) == 2
    assert timeouts.abandoned == 0
    assert timeouts.run(lambda: "again", READ, 30) == "again"


def test_the_context_of_the_caller_is_there(timeouts):
    variable = contextvars.ContextVar("variable")
    variable.set("mine")
    assert timeouts.run(variable.get, READ, 30) == "mine"


def test_the_keyboard_interrupts_a_waiting_call(timeouts, hang):
    def interrupt_and_hang():
        os.kill(os.getpid(), signal.SIGINT)
        hang()

    gc.disable()  # an interrupt that meets a collection is lost in the callbacks that Hypothesis has there
    try:
        with pytest.raises(KeyboardInterrupt):
            timeouts.run(interrupt_and_hang, WRITE, 60)
    finally:
        gc.enable()
    assert timeouts.abandoned == 1


def test_many_callers_at_once(timeouts):
    barrier, results = threading.Barrier(8), []

    def call(number):
        results.append(timeouts.run(lambda: (barrier.wait(30), number)[1], READ, 60))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == list(range(8))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(timeouts):
    timeouts.run(lambda: None, READ, 30)
    child = os.fork()
    if child == 0:
        os._exit(timeouts.run(lambda: 7, READ, 20))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_closing_ends_idle_threads():
    timeouts = Timeouts()
    thread = timeouts.run(threading.current_thread, READ, 30)
    timeouts.close()
    thread.join(30)
    assert not thread.is_alive()
    timeouts.close()
