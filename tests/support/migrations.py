"""Two backends, a ledger, and a migration between them; also as a program that is killed on its way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.corpus import Corpus
from trackbridge.calls.world import World
from trackbridge.delivery.connect import open_uri
from trackbridge.domain.plans import Action, Plan
from trackbridge.operations.migrate.applying import Applying, apply_migration
from trackbridge.operations.migrate.bounds import Bounds
from trackbridge.operations.migrate.ledger import Ledger
from trackbridge.operations.migrate.pair import Asked, Pair
from trackbridge.operations.migrate.planning import plan_migration
from trackbridge.operations.migrate.report import Account
from trackbridge.operations.migrate.side import Side, side_of
from trackbridge.ports.adapter import Adapter
from trackbridge.resolve.uri import parse

REPOSITORY = Path(__file__).parents[2]
NOW_MS = 1_800_000_000_000


def local_side(folder: Path) -> Side:
    """Open a store of this machine."""
    uri = parse(str(folder))
    return side_of(open_uri(uri), uri.text)


class PassingTime:
    """A clock that only waits move."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now_s = 0.0

    def now_s(self) -> float:
        with self._lock:
            return self._now_s

    def wait(self, seconds: float) -> None:
        with self._lock:
            self._now_s += seconds


def patient_side(adapter: Adapter, uri: str) -> Side:
    """Put an adapter behind a pipeline whose waits take no time."""
    time = PassingTime()
    return side_of(adapter, uri, world=World(clock_s=time.now_s, wait=time.wait))


def pair_of(source: Side, target: Side, home: Path, *, clock_ms: Callable[[], int] = lambda: NOW_MS) -> Pair:
    """Return a pair with a ledger below a folder."""
    home.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(home, source=source.uri, target=target.uri)
    return Pair(source=source, target=target, ledger=ledger, clock_ms=clock_ms)


def migrate(pair: Pair, asked: Asked | None = None, how: Applying | None = None) -> Account:
    """Plan and apply."""
    return apply_migration(plan_migration(pair, asked or Asked()), pair, how)


def unended(corpus: Corpus) -> int:
    """Return how many runs go on at the source, and come again with every copy."""
    return sum(not run.status.is_final for run in corpus.runs.values())


def to_do(plan: Plan) -> list[str]:
    """Return what a plan would do, without what it keeps."""
    return [
        f"{change.action.value} {change.subject}: {change.why}"
        for change in plan.changes
        if change.action is not Action.KEEP
    ]


class KillAt:
    """Kills this process, as a machine that loses power, when so many points were passed."""

    def __init__(self, number: int) -> None:
        self.passed = 0
        self._number = number
        self._lock = threading.Lock()

    def __call__(self, name: str) -> None:
        with self._lock:
            self.passed += 1
            if self.passed == self._number:
                os.kill(os.getpid(), signal.SIGKILL)


def any_side(text: str) -> Side:
    """Open any URI."""
    uri = parse(text)
    return side_of(open_uri(uri), uri.text)


def kill_after(seconds: float) -> None:
    """Kill this process in a while, wherever it is then."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True
    timer.start()


def main(source: str, target: str, home: str, number: str) -> None:
    """Migrate from one URI to another, and be killed at a point: a number, or so many seconds (``0.2s``)."""
    pair = pair_of(any_side(source), any_side(target), Path(home))
    if number.endswith("s"):
        kill_after(float(number[:-1]))
    kill = KillAt(0 if number.endswith("s") else int(number))
    migrate(pair, how=Applying(on_point=kill, bounds=Bounds(transfers=2)))


def serve() -> None:
    """Do as ``main`` for each line of stdin, in a process of its own, and tell how that ended."""
    for line in sys.stdin:
        process = os.fork()  # nothing has been opened, and no thread begun: what is imported is all there is
        if process == 0:
            main(*json.loads(line))
            os._exit(0)
        _, status = os.waitpid(process, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


@contextmanager
def killer() -> Iterator[Callable[..., int]]:
    """Give a function that migrates in a process that is killed on its way, and returns how that ended."""
    command = [sys.executable, "-m", "tests.support.migrations"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=REPOSITORY, text=True, **pipes) as process:  # type: ignore[call-overload]

        def killed(source: object, target: object, home: object, at: object) -> int:
            process.stdin.write(json.dumps([str(source), str(target), str(home), str(at)]) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield killed
        process.stdin.close()


if __name__ == "__main__":
    serve()
