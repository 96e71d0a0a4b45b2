"""What Databricks runs of a job: ``task_program.py FOLDER RUN_ID``, within a Python that is Databricks' own.

Databricks executes this file in a process that it may kill at any time, keeps only the end of what was
printed, and shows volumes as folders whose files can be written from beginning to end and not appended to.
So the job itself is a child (``bootstrap.py``) that works on the local disk, and this program carries away
what has come, piece by piece:

===================  ===================================================================
``log/NUMBER.txt``   the next piece of the log, whole characters in UTF-8
``kept/``            the folder of the journals, each file anew when it has changed
``result.json``      how the last attempt stands
``cancel``           written from outside: the job is to end
===================  ===================================================================

One file, the standard library, Python 3.8 or later.
"""

from __future__ import annotations

import codecs
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

PIECE_BYTES = 512 * 1024
PAUSE_S = 1.0
SOON_S = 0.1
"""Until the first attempt has begun, for which people wait."""

SHARE = 10.0
"""Carrying takes at most one tenth of the time."""

KEEPING_S = 5.0
ROOT = os.environ.get("BRIDGE_VOLUMES_ROOT", "")
"""Where the volumes are seen; only a double of Databricks sets it."""

SET_PARENT_DEATH_SIGNAL = 1


class Carrier:
    """Takes what the job has written to the folder that outlives the machine."""

    def __init__(self, work: str, shared: str) -> None:
        self._work = work
        self._shared = shared
        self._log = open(os.path.join(work, "log"), "rb")  # noqa: SIM115  open as long as the job
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._result = os.path.join(work, "result.json")
        self._unsent = ""
        self._pieces = 0
        self._has_told = False
        self._seen: dict[str, tuple[int, int]] = {}
        self._keep_at = 0.0

    def carry(self, *, is_last: bool = False) -> float:
        """Carry what is new, and return how long to wait for the next time.

        The job goes on where the volume takes nothing; what it does not take is tried again.
        """
        started = time.monotonic()
        try:
            self._carry_log(is_last)
            self._carry_file(self._result, os.path.join(self._shared, "result.json"))
            if is_last or started >= self._keep_at:
                self._carry_home()
                self._keep_at = time.monotonic() + max(KEEPING_S, SHARE * (time.monotonic() - started))
        except OSError as error:
            if not self._has_told:
                sys.stderr.write(f"trackbridge: the volume cannot be written: {error}\n")
            self._has_told = True
        least_s = PAUSE_S if self._result in self._seen else SOON_S
        return max(least_s, SHARE * (time.monotonic() - started))

    def _carry_log(self, is_last: bool) -> None:
        while True:
            content = self._log.read(PIECE_BYTES)
            self._unsent += self._decoder.decode(content, final=is_last and not content)
            if self._unsent:
                path = os.path.join(self._shared, "log", f"{self._pieces + 1}.txt")
                _write(path, self._unsent.encode())
                sys.stdout.write(self._unsent)  # for the page of the run
                self._unsent = ""
                self._pieces += 1
            if not content:
                return

    def _carry_home(self) -> None:
        home = os.path.join(self._work, "home")
        for folder, _, names in os.walk(home):
            for name in names:
                source = os.path.join(folder, name)
                self._carry_file(source, os.path.join(self._shared, "kept", os.path.relpath(source, home)))

    def _carry_file(self, source: str, target: str) -> None:
        try:
            status = os.stat(source)
            state = (status.st_size, status.st_mtime_ns)
            if self._seen.get(source) == state or not os.path.isfile(source):
                return
            with open(source, "rb") as file:
                content = file.read()
        except FileNotFoundError:  # none yet, or not any more
            return
        _write(target, content)
        self._seen[source] = state


def _write(path: str, content: bytes) -> None:
    """Write a file that nobody ever sees in part."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".part", "wb") as file:
        file.write(content)
    os.replace(path + ".part", path)


def seen(path: str) -> str:
    """Return where a path of a volume is seen on this machine."""
    return ROOT + path if path.startswith("/Volumes/") else path


def prepare(source: str, work: str, run_id: str) -> None:
    """Bring the files of the job to the local disk, and its plan in line with that."""
    for name in os.listdir(source):
        if name != os.path.basename(__file__ if "__file__" in globals() else "task_program.py"):
            shutil.copyfile(os.path.join(source, name), os.path.join(work, name))
    path = os.path.join(work, "plan.json")
    with open(path, encoding="utf-8") as file:
        plan: dict[str, Any] = json.load(file)
    plan["job_id"] = run_id
    paths = plan["paths"]
    for kind in ("inputs", "outputs"):
        paths[kind] = {name: seen(place) for name, place in paths[kind].items()}
    if paths["checkpoints"]:
        paths["checkpoints"] = seen(paths["checkpoints"])
    with open(path, "w", encoding="utf-8") as file:
        json.dump(plan, file)


def run(work: str, shared: str) -> int:
    """See the job to its end and return the exit code of its bootstrap."""
    log = open(os.path.join(work, "log"), "wb")  # noqa: SIM115  handed to the child
    child = subprocess.Popen(
        [sys.executable, "bootstrap.py", "plan.json"],
        cwd=work,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )
    log.close()
    carrier, is_asked = Carrier(work, shared), False
    while True:
        pause_s = carrier.carry()
        if not is_asked and os.path.exists(os.path.join(shared, "cancel")):
            child.terminate()
            is_asked = True
        try:
            code = child.wait(pause_s)
        except subprocess.TimeoutExpired:
            continue
        if is_asked and not os.path.exists(os.path.join(work, "result.json")):
            _note_early_end(work)
        carrier.carry(is_last=True)
        return code


def _note_early_end(work: str) -> None:
    """Write the result of a job that was asked to end before it could listen."""
    now_ms = time.time_ns() // 1000000
    result = {
        "job_id": "",
        "attempt": 0,
        "exit_code": None,
        "reason": "it was asked to end",
        "is_asked": True,
    }
    result.update(interruptions=0, start_time=None, end_time=now_ms)
    _write(os.path.join(work, "result.json"), json.dumps(result).encode())


def _reason_in(path: str) -> str:
    """Return why the job has failed; "" where it could not say."""
    try:
        with open(path, encoding="utf-8") as file:
            return str(json.load(file)["reason"])
    except FileNotFoundError:
        return ""


def _end_with_parent() -> None:
    """Have the job end when Databricks kills this process."""
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)


def main(arguments: list[str]) -> str | None:
    """Run the job of a folder; return why it failed, None for success."""
    source, run_id = seen(arguments[0]), arguments[1]
    shared = os.path.join(os.path.dirname(source), "run")
    work = tempfile.mkdtemp(prefix="bridge-job-")
    try:
        prepare(source, work, run_id)
        code = run(work, shared)
        if code == 0:
            return None
        return _reason_in(os.path.join(work, "result.json")) or f"the job ended with exit code {code}"
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    _reason = main(sys.argv[1:])
    if _reason is not None:  # not sys.exit: a success with it is a failure to some runtimes
        raise RuntimeError(_reason)
