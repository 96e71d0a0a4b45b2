"""What a sweep has noted, in a folder of its own, so that it can be taken up after any end.

::

    <where the journal lies>/../sweeps/<run id of the parent>/
        lock             held by the process that goes on with the sweep
        sweep.json       the definition, and the limits as they were given last
        trials.jsonl     one line for each step of a trial; the last line of a trial tells how it stands
        study.log        the memory of Optuna's sampler, where there is one

A line that a kill has cut off is no line: the step before it stands.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import msgspec

from trackbridge.errors import Conflict, Locked, NotFound
from trackbridge.operations.sweeps.definition import SweepDefinition, SweepLimits, differences, sweep_run_id

FOLDER = "sweeps"

LOOKERS_S_MAX = 10.0
"""How long those who only look at the lock, each for an instant, may keep it from being taken."""
PAUSE_S = 0.005


class TrialState(str, Enum):
    """How far a trial has come; the last two are final."""

    PROPOSED = "PROPOSED"
    SUBMITTED = "SUBMITTED"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"

    @property
    def is_final(self) -> bool:
        """True once its value, or why it has none, is known."""
        return self in (TrialState.COMPLETE, TrialState.FAILED)


class Trial(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One trial. ``study_number`` is its number in the memory of Optuna's sampler. Times are milliseconds."""

    number: int
    params: dict[str, str]
    state: TrialState
    study_number: int | None = None
    job_id: str = ""
    run_id: str = ""
    value: float | None = None
    reason: str = ""
    end_time: int | None = None


class _File(msgspec.Struct, frozen=True, kw_only=True):
    definition: SweepDefinition
    limits: SweepLimits
    version: int = 1


class SweepFolder:
    """The folder of one sweep; see above. Writing is for who holds the lock."""

    def __init__(self, root: Path, key: str) -> None:
        self.key = key
        self.path = root / FOLDER / sweep_run_id(key)
        self.study_log = self.path / "study.log"
        self._trials = self.path / "trials.jsonl"
        self._file = self.path / "sweep.json"

    @property
    def exists(self) -> bool:
        """True where the sweep was begun."""
        return self._file.exists()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process from going on with the sweep; the death of this one ends it.

        Raises:
            Locked: Another process goes on with it.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _taken(descriptor):
                raise Locked(
                    "another process goes on with this sweep",
                    operation="sweep",
                    resource=f"sweep {self.key}",
                    hint=f"see how it stands with: bridge sweep show {self.key}",
                )
            yield
        finally:
            os.close(descriptor)

    def is_held(self) -> bool:
        """Tell whether a process goes on with the sweep; who looks is in nobody's way, and makes nothing."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            return not _try(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    def read(self) -> tuple[SweepDefinition, SweepLimits]:
        """Return what the sweep is.

        Raises:
            NotFound: It was never begun.
        """
        try:
            content = self._file.read_bytes()
        except FileNotFoundError as error:
            raise NotFound(
                f"there is no sweep {self.key!r} here",
                operation="sweep",
                hint="see those that there are with: bridge sweep list",
            ) from error
        file = msgspec.json.decode(content, type=_File)
        return file.definition, file.limits

    def settle_on(self, wanted: SweepDefinition, limits: SweepLimits) -> SweepDefinition:
        """Write down what the sweep is, or see that it is the same; return what is written.

        Raises:
            Conflict: The key was used for another sweep.
        """
        definition = wanted
        if self.exists:
            definition, _ = self.read()
            changed = differences(definition, wanted)
            if changed:
                raise Conflict(
                    f"the key {self.key!r} was used for another sweep: {', '.join(changed)} differ",
                    operation="sweep",
                    hint=f"use another key, or go on with that one: bridge sweep resume {self.key}",
                )
        draft = self._file.with_suffix(".draft")
        _write(draft, msgspec.json.encode(_File(definition=definition, limits=limits)), os.O_TRUNC)
        draft.replace(self._file)
        return definition

    def trials(self) -> dict[int, Trial]:
        """Return every trial by its number, as it was noted last."""
        try:
            content = self._trials.read_bytes()
        except FileNotFoundError:
            return {}
        whole = content[: content.rfind(b"\n") + 1]
        noted = (msgspec.json.decode(line, type=Trial) for line in whole.splitlines())
        return {trial.number: trial for trial in noted}

    def mend(self) -> None:
        """Cut off what a kill has left of a line, so that the next one begins a line of its own."""
        for path in (self._trials, self.study_log):
            with contextlib.suppress(FileNotFoundError):
                content = path.read_bytes()
                whole = content.rfind(b"\n") + 1
                if whole < len(content):
                    os.truncate(path, whole)

    def note(self, trial: Trial) -> None:
        """Write down how a trial stands; no kill of this process loses it.

        What a learning sampler has proposed is durable even if the machine goes down: all else is made anew
        from the jobs and their runs.
        """
        is_only_here = trial.state is TrialState.PROPOSED and trial.study_number is not None
        _write(self._trials, msgspec.json.encode(trial) + b"\n", os.O_APPEND, is_durable=is_only_here)


def all_sweeps(root: Path) -> list[SweepFolder]:
    """Return the sweeps whose folders lie here, the newest first."""
    files = sorted((root / FOLDER).glob("*/sweep.json"), key=lambda path: path.stat().st_ctime, reverse=True)
    keys = (msgspec.json.decode(file.read_bytes(), type=_File).definition.key for file in files)
    return [SweepFolder(root, key) for key in keys]


def _taken(descriptor: int) -> bool:
    """Take a lock, whoever looks at it meanwhile; False where another process holds it."""
    deadline_s = time.monotonic() + LOOKERS_S_MAX
    while not _try(descriptor, fcntl.LOCK_EX):
        if not _try(descriptor, fcntl.LOCK_SH) or time.monotonic() > deadline_s:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # others look, and nobody holds it
        threading.Event().wait(PAUSE_S)
    return True


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(path: Path, content: bytes, how: int, *, is_durable: bool = True) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        if is_durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
