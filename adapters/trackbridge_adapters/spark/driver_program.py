"""The program around a driver; started twice, and in need of nothing but Python's own library.

::

    driver_program.py submit SETTINGS WORD...     what the job's runner starts
      spark-submit … driver_program.py drive      a JVM, which starts a Python for the driver
        WORD...                                   the command of the job, with Spark's gateway around it

Neither the words of the command nor what it writes go through the JVM, which would spell some words
otherwise and may be gone first. The log of the JVM goes to a file of its own; where the command was never
started, the end of that file says why. SIGTERM is for the command alone: the JVM and the shell around it
ignore it, so that the command can still reach its cluster during the notice. The exit code is the command's,
-n for signal n.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

COMMAND = "BRIDGE_SPARK_COMMAND"
RESULT = "BRIDGE_SPARK_RESULT"
OUTPUT = "BRIDGE_SPARK_OUTPUT"
PYTHONS = ("python", "python3")
NOT_FOUND = 127
TAIL_BYTES = 4000


def submit(settings: dict[str, Any], command: Sequence[str]) -> int:
    """Run a command as a driver; return its exit code, -n for a signal.

    ``settings``: ``words`` for spark-submit, ``folder`` for what is kept of drivers, ``spark_home``,
    ``is_here`` (the executors have this machine's Python) and ``has_workers`` (and write beside Spark).
    """
    # The JVM inherits it; so would the executors of a local cluster, whose workers end them by SIGTERM.
    signal.signal(signal.SIGTERM, _noted if settings["has_workers"] else signal.SIG_IGN)
    place = os.path.join(settings["folder"], os.environ["BRIDGE_JOB_ID"])
    work = os.path.join(place, "work")
    os.makedirs(place, mode=0o700, exist_ok=True)
    shutil.rmtree(work, ignore_errors=True)  # of an attempt that was killed
    os.mkdir(work)
    try:
        return _submitted(settings, command, os.path.join(place, "spark.log"), work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _submitted(settings: dict[str, Any], command: Sequence[str], log_path: str, work: str) -> int:
    home = _linked(settings["spark_home"], work) if settings["has_workers"] else settings["spark_home"]
    result = os.path.join(work, "result")
    variables = {**os.environ, "SPARK_HOME": home, COMMAND: json.dumps(command), RESULT: result}
    variables[OUTPUT] = f"/proc/{os.getpid()}/fd"
    if settings["is_here"]:
        variables.setdefault("PYSPARK_PYTHON", sys.executable)
    words = [os.path.join(home, "bin", "spark-submit"), *settings["words"]]
    words += ["--conf", f"spark.pyspark.driver.python={sys.executable}", os.path.abspath(__file__), "drive"]
    with open(log_path, "ab") as log:
        start = log.tell()
        code = subprocess.run(
            words, env=variables, stdin=subprocess.DEVNULL, stderr=log, check=False
        ).returncode
    try:
        with open(result, encoding="utf-8") as file:
            return int(file.read())
    except FileNotFoundError:  # the command was not started, or the Python around it was killed
        if code != 0:
            _tell(log_path, start)
    return code


def _tell(path: str, start: int) -> None:
    """Write the end of Spark's log to the job's."""
    with open(path, "rb") as file:
        file.seek(max(start, os.path.getsize(path) - TAIL_BYTES))
        sys.stderr.buffer.write(file.read())
    sys.stderr.flush()


def _linked(spark_home: str, work: str) -> str:
    """Return a Spark of links: the workers of a local cluster write beside it."""
    home = os.path.join(work, "spark")
    os.mkdir(home)
    for name in os.listdir(spark_home):
        os.symlink(os.path.join(spark_home, name), os.path.join(home, name))
    return home


def drive() -> int:
    """Start the command below the JVM's gateway, and write down how it ended."""
    signal.signal(signal.SIGTERM, _noted)
    command, result = json.loads(os.environ.pop(COMMAND)), os.environ.pop(RESULT)
    _write_to(os.environ.pop(OUTPUT))
    first = sys.executable if command[0] in PYTHONS else command[0]
    try:
        code = subprocess.run([first, *command[1:]], stdin=subprocess.DEVNULL, check=False).returncode
    except OSError as error:
        os.write(1, f"{command[0]!r} cannot be started: {error}\n".encode("utf-8", "backslashreplace"))
        code = NOT_FOUND
    with open(f"{result}.part", "w", encoding="utf-8") as file:
        file.write(str(code))
    os.replace(f"{result}.part", result)
    return code if code >= 0 else 128 - code


def _write_to(folder: str) -> None:
    """Let standard output and error be those of the first program; without ``/proc`` they are the JVM's."""
    for number in (1, 2):
        try:
            opened = os.open(f"{folder}/{number}", os.O_WRONLY | os.O_APPEND)
        except OSError:
            return
        os.dup2(opened, number)
        os.close(opened)


def _noted(number: int, frame: object) -> None:
    """Go on, unlike the command: a signal that is caught is not inherited as ignored."""


def leave(code: int) -> None:
    """End with an exit code, or by the signal that it stands for."""
    sys.stdout.flush()
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    leave(drive() if sys.argv[1] == "drive" else submit(json.loads(sys.argv[2]), sys.argv[3:]))
