"""Programs that are killed at random moments lose nothing that a call returned for."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.simulation.programs import (
    Account,
    Program,
    kill_quietly,
    start_logging,
    wait_until_delivered,
)
from trackbridge import Client, RunStatus

ROUNDS = range(20)


@pytest.mark.parametrize("seed", ROUNDS)
def test_nothing_is_lost_and_nothing_is_twice(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    ranks = 4 if seed % 2 else 1
    kills_children = seed % 4 >= 2
    store = tmp_path / "store"
    programs = [start_logging(store, tmp_path / f"account-{rank}", rank) for rank in range(ranks)]
    for program in programs:
        program.wait_until_logging()
    time.sleep(chance.uniform(0.0, 0.8))
    accounts = _kill(programs, kills_children=kills_children)
    killed_ms = time.time_ns() // 1_000_000
    if kills_children:
        _deliver_by_hand(store)
    wait_until_delivered(store)
    client = Client(f"file:{store}")
    for rank, account in enumerate(accounts):
        _check_run(client, account, rank, killed_ms)


def _kill(programs: list[Program], *, kills_children: bool) -> list[Account]:
    for program in programs:
        account = program.account()
        assert account is not None
        program.kill()
        if kills_children:
            kill_quietly(account.child)
    accounts = [program.account() for program in programs]
    return [account for account in accounts if account is not None]


def _deliver_by_hand(store: Path) -> None:
    command = [sys.executable, "-m", "trackbridge.cli", "sync", "run", f"file:{store}"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def _check_run(client: Client, account: Account, rank: int, killed_ms: int) -> None:
    run = client.get_run(account.run_id)
    columns = client.get_metric_columns(account.run_id, "loss")
    steps = list(columns.steps)
    assert steps == list(range(len(steps))), "no step is missing, none is twice"
    # The last call may have been written and killed before it returned.
    assert account.returned <= len(steps) <= account.returned + 1
    assert list(columns.values) == [1 / (step + 1) for step in steps]
    assert run.info.status is RunStatus.KILLED
    # The last record is the last point, or what a thread found out of the program's surroundings meanwhile.
    assert run.info.end_time is not None
    assert max(columns.timestamps) <= run.info.end_time <= killed_ms, "closed at the time of its last record"
    assert run.data.params == {"rank": str(rank)}
