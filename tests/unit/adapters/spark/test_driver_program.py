"""The program around a driver, with stand-ins for spark-submit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trackbridge_adapters.spark import driver_program

PROGRAM = Path(driver_program.__file__)
FORWARDS = '#!/bin/sh\nwhile [ "${1%.py}" = "$1" ]; do shift; done\nexec "$PYTHON" "$@"\n'
"""Starts the program that it is given, as spark-submit does after its Java."""

REFUSES = "#!/bin/sh\necho 'Exception: no such master' >&2\nexit 7\n"


def submit(folder: Path, script: str, *command: str) -> subprocess.CompletedProcess[bytes]:
    home = folder / "home" / "bin"
    home.mkdir(parents=True)
    (home / "spark-submit").write_text(script, encoding="utf-8")
    (home / "spark-submit").chmod(0o755)
    settings = {
        "words": ["--master", "yarn"],
        "folder": str(folder / "drivers"),
        "spark_home": str(home.parent),
        "is_here": True,
        "has_workers": True,
    }
    return subprocess.run(
        [sys.executable, PROGRAM, "submit", json.dumps(settings), *command],
        env={**os.environ, "BRIDGE_JOB_ID": "a-job", "PYTHON": sys.executable},
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("code", [0, 3, 255])
def test_the_exit_code_is_the_commands(tmp_path: Path, code: int) -> None:
    assert submit(tmp_path, FORWARDS, "python", "-c", f"raise SystemExit({code})").returncode == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_a_signal_stays_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    code = f"import os; os.kill(os.getpid(), {int(number)})"
    assert submit(tmp_path, FORWARDS, "python", "-c", code).returncode == -number


def test_words_and_variables_arrive_as_they_are(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "print(sys.argv[1:], [name for name in os.environ if name.startswith('BRIDGE_SPARK')])"
    )
    ended = submit(tmp_path, FORWARDS, "python", "-c", code, "", "a b", "$HOME", "漢\n")
    assert ended.stdout.decode() == f"{['', 'a b', '$HOME', '漢' + chr(10)]} []\n"


def test_the_log_of_spark_is_kept_apart_and_its_end_told_where_nothing_began(tmp_path: Path) -> None:
    ended = submit(tmp_path, REFUSES, "python", "-c", "")
    assert (ended.returncode, ended.stderr) == (7, b"Exception: no such master\n")
    assert (tmp_path / "drivers/a-job/spark.log").read_bytes() == ended.stderr


def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    ended = submit(tmp_path, FORWARDS, "there-is-no-such-program")
    assert ended.returncode == 127
    assert b"there-is-no-such-program" in ended.stdout + ended.stderr


def test_nothing_is_left_but_the_log(tmp_path: Path) -> None:
    submit(tmp_path, FORWARDS, "python", "-c", "")
    assert [path.name for path in (tmp_path / "drivers/a-job").iterdir()] == ["spark.log"]
