"""Programs that tests start and kill, and the account that they keep of what they were told."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

# The account holds the child's process id and the number of calls that have returned. It is written with
# os.pwrite after each call, so that it survives SIGKILL as the journal does, and owes nothing to it.
LOGGING_LOOP = """
import os, struct, sys
import trackbridge as tb

store, account_path, rank = sys.argv[1:4]
account = os.open(account_path, os.O_WRONLY | os.O_CREAT, 0o600)
tb.set_tracking_uri("file:" + store)
tb.set_experiment("killed")
run = tb.start_run(run_name=f"rank-{rank}")
tb.log_param("rank", rank)
child = tb.Client().session.child_process_id or 0
os.pwrite(account, struct.pack("<qq32s", child, 0, run.info.run_id.encode()), 0)
step = 0
while True:
    tb.log_metric("loss", 1 / (step + 1), step=step)
    step += 1
    os.pwrite(account, struct.pack("<q", step), 8)
"""


@dataclass(frozen=True, slots=True)
class Account:
    """What a program said of itself: its delivery child, how many calls returned, its run."""

    child: int
    returned: int
    run_id: str


@dataclass(slots=True)
class Program:
    """A running program and where its account lies."""

    process: subprocess.Popen[bytes]
    account_path: Path

    def account(self) -> Account | None:
        """Read the account; None while the program has not begun to log."""
        try:
            child, returned, run_id = struct.unpack("<qq32s", self.account_path.read_bytes())
        except (FileNotFoundError, struct.error):
            return None
        return Account(child, returned, run_id.decode())

    def wait_until_logging(self, timeout_s: float = 60) -> Account:
        """Wait for the first returned calls."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            account = self.account()
            if account is not None and account.returned > 0:
                return account
            assert self.process.poll() is None, "the program ended before it logged"
            time.sleep(0.005)
        raise AssertionError("the program did not begin to log")

    def kill(self) -> None:
        """Send SIGKILL and wait for the death."""
        self.process.kill()
        self.process.wait()


def start(code: str, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a Python program."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env={**os.environ, **(environment or {})}
    )


def start_logging(store: Path, account_path: Path, rank: int = 0, **environment: str) -> Program:
    """Start a program that logs in a tight loop until it is killed."""
    arguments = (str(store), str(account_path), str(rank))
    return Program(start(LOGGING_LOOP, *arguments, environment=environment), account_path)


def kill_quietly(process_id: int) -> None:
    """Kill a process that may be gone."""
    if process_id <= 0:
        return
    try:
        os.kill(process_id, signal.SIGKILL)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _is_alive(process_id):
        time.sleep(0.005)


def _is_alive(process_id: int) -> bool:
    """Tell whether a process runs; one that is dead and not yet collected does not."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_delivered(store: Path, timeout_s: float = 60) -> None:
    """Wait until no journal is left in a store's folder."""
    from trackbridge.journal.folder import journals

    deadline = time.monotonic() + timeout_s
    while any(True for _ in journals(store / "journal")):
        assert time.monotonic() < deadline, "the journals were not delivered in time"
        time.sleep(0.02)
