"""The sweep of ``bridge demo``: trainings as separate processes, one of which is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from trackbridge.cli.demo_proof import Account, read_account
from trackbridge.errors import BridgeError

POLL_S = 0.02
TERMINATE_S = 5.0
OUTPUT_CHARS_MAX = 2_000
SINGLE_THREADED = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
"""Small matrices are slower on many threads than on one."""


@dataclass(frozen=True)
class Configuration:
    """What one training of the sweep tries."""

    solver: str
    learning_rate: float
    hidden_units: int

    @property
    def name(self) -> str:
        """A name that tells the configuration."""
        return f"{self.solver}-{self.learning_rate:g}-{self.hidden_units}"


CONFIGURATIONS = (
    Configuration("adam", 0.01, 64),
    Configuration("sgd", 0.1, 64),
    Configuration("adam", 0.001, 64),
    Configuration("sgd", 0.01, 64),
    Configuration("adam", 0.01, 16),
    Configuration("adam", 0.1, 16),
)
VICTIM = CONFIGURATIONS[1]
"""The one that is killed half-way through its epochs."""


@dataclass
class Training:
    """One training process of the sweep. ``killed_ms`` is when its death by SIGKILL was seen."""

    configuration: Configuration
    process: subprocess.Popen[bytes]
    account_path: Path
    output_path: Path
    killed_ms: int | None = None
    account: Account | None = field(default=None, repr=False)

    @property
    def run_id(self) -> str:
        """The run that it logged to."""
        assert self.account is not None, "the training is still running"
        return self.account.run_id


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What to train, and where.

    Args:
        project: The folder in which the trainings run.
        tracking_uri: Where they track.
        parent_run_id: The run in which theirs are nested.
        configurations: One training each.
        epochs: Passes over the training data, in each.
        parallel: How many run at the same time.
        report: Called with what happened (``started``, ``killed``, ``finished``) and the training.
    """

    project: Path
    tracking_uri: str
    parent_run_id: str
    configurations: Sequence[Configuration]
    epochs: int
    parallel: int
    report: Callable[[str, Training], None]

    def run(self) -> list[Training]:
        """Train everything and return the trainings, all of them ended, in the order of their start.

        Raises:
            BridgeError: A training failed; the others were stopped.
        """
        with tempfile.TemporaryDirectory(prefix="bridge-demo-") as folder, _stopping() as running:
            ended: list[Training] = []
            waiting = list(self.configurations)
            while waiting or running:
                while waiting and len(running) < self.parallel:
                    running.append(self._start(waiting.pop(0), Path(folder)))
                    self.report("started", running[-1])
                for training in list(running):
                    if self._has_ended(training):
                        running.remove(training)
                        ended.append(training)
                time.sleep(POLL_S)
        return sorted(ended, key=lambda training: self.configurations.index(training.configuration))

    def _start(self, configuration: Configuration, folder: Path) -> Training:
        account, output = folder / f"{configuration.name}.txt", folder / f"{configuration.name}.log"
        arguments = {
            "--run-name": configuration.name,
            "--parent-run-id": self.parent_run_id,
            "--solver": configuration.solver,
            "--learning-rate": configuration.learning_rate,
            "--hidden-units": configuration.hidden_units,
            "--epochs": self.epochs,
            "--account": account,
        }
        command = [sys.executable, "-m", "trackbridge.cli.demo_training"]
        command += [str(word) for pair in arguments.items() for word in pair]
        environment = training_environment(os.environ, self.tracking_uri)
        with output.open("wb") as file:
            process = subprocess.Popen(
                command, cwd=self.project, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        return Training(configuration, process, account, output)

    def _has_ended(self, training: Training) -> bool:
        code = training.process.poll()
        if code is None:
            if training.configuration == VICTIM and self._is_half_way(training):
                self._kill(training)
                return True
            return False
        if code != 0:
            raise BridgeError(
                f"training {training.configuration.name} ended with exit code {code}: {_output(training)}",
                hint="the other trainings were stopped; what they logged is kept",
            )
        training.account = read_account(training.account_path)
        self.report("finished", training)
        return True

    def _is_half_way(self, training: Training) -> bool:
        account = read_account(training.account_path)
        if account is None:
            return False
        epochs = sum(point.key == "epoch" for point in account.returned)
        return epochs >= self.epochs / 2

    def _kill(self, training: Training) -> None:
        training.process.send_signal(signal.SIGKILL)
        code = training.process.wait()
        training.killed_ms = time.time_ns() // 1_000_000
        if code != -signal.SIGKILL:
            raise BridgeError(
                f"the training {VICTIM.name} was to be killed, and ended by itself with exit code {code}",
                hint="give it more to do: bridge demo --epochs 40",
            )
        training.account = read_account(training.account_path)
        self.report("killed", training)


def training_environment(environ: Mapping[str, str], tracking_uri: str) -> dict[str, str]:
    """Return the environment of a training: the user's, without what leads its runs elsewhere."""
    elsewhere = ("BRIDGE_HOME", "BRIDGE_RUN_ID", "BRIDGE_EXPERIMENT_NAME")
    kept = {name: value for name, value in environ.items() if name not in elsewhere}
    return {**kept, **SINGLE_THREADED, "MPLBACKEND": "agg", "BRIDGE_TRACKING_URI": tracking_uri}


@contextmanager
def _stopping() -> Iterator[list[Training]]:
    """Give a list of trainings; those that are in it at the end, also after Ctrl-C, are stopped."""
    running: list[Training] = []
    try:
        yield running
    finally:
        for training in running:
            training.process.terminate()  # the run ends as KILLED, and is flushed
        deadline = time.monotonic() + TERMINATE_S
        while time.monotonic() < deadline and any(training.process.poll() is None for training in running):
            time.sleep(POLL_S)
        for training in running:
            training.process.kill()
            training.process.wait()


def _output(training: Training) -> str:
    text = training.output_path.read_text(encoding="utf-8", errors="replace").strip()
    return text[-OUTPUT_CHARS_MAX:] or "it wrote nothing"
