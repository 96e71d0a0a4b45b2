"""A rollout on the local target whose command is killed, for real, and gone on with by another one."""

from __future__ import annotations

import signal
import threading

import pytest

import trackbridge as tb
from tests.cli.conftest import Bridge, bridge_process, rest_of
from tests.cli.test_endpoints_local import DEPLOY, quick, traffic, wine  # noqa: F401  fixtures: an interpreter; the model

GUARDS = ("--guard", "error_rate<1%", "--guard", "requests>=3")


@pytest.mark.usefixtures("wine")
def test_a_rollout_that_is_killed_is_gone_on_with(
    bridge: Bridge,
    quick: tuple[str, ...],  # noqa: F811
) -> None:
    bridge(*DEPLOY, *quick, "models:/wine/1")
    steps = ("--canary", "50,100", "--bake", "1s", "--bake-max", "4m")
    process = bridge_process(*DEPLOY, *quick, "models:/wine/2", *steps, *GUARDS)
    assert process.stderr is not None
    for line in process.stderr:
        if "step 1 of 2" in line:
            break
    process.send_signal(signal.SIGKILL)
    assert rest_of(process)[0] == -signal.SIGKILL
    assert traffic() == {"v1": 50, "v2": 50}
    assert bridge("rollouts", "show", "wine", "--json").summary["status"] == "running"
    answers: set[float] = set()
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.03):
            answers.add(tb.endpoint("wine").predict([[1.0]])[0])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        resumed = bridge("rollouts", "resume", "wine")
    finally:
        stop.set()
        asking.join(60)
    assert "wine.1 is promoted" in resumed.out
    assert answers == {1.0, 2.0}
    assert traffic() == {"v2": 100}
    bridge("endpoints", "rollback", "wine", "--yes")
    assert traffic() == {"v1": 100}
