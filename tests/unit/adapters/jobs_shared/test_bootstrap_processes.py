"""The program that carries out a job's plan: its processes, the platform's wish to end, and lost machines."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.adapters.jobs_shared.machine import PATIENCE_S, Machine, ended

READY = "import os, signal, subprocess, sys, time\nopen('ready', 'w').close()\n"
FOREVER = READY + "while True: time.sleep(1)\n"
POLITE = (
    "import signal, sys\ndef leave(*_):\n    print('asked\\n', end='', flush=True)\n    sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, leave)\n"
)
"""One write for a line: lines of two processes do not mix."""
DEAF = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
BEATING = """
import os, sys, time
os.setsid()
if os.fork():
    sys.exit()
with open(sys.argv[1], "ab", buffering=0) as beats:
    while os.path.exists(sys.argv[1]):
        beats.write(b".")
        time.sleep(0.01)
"""
"""Makes itself independent, and goes on until it is killed or its file is deleted."""

STARTS_BEATING = """
import pathlib, subprocess, sys, time
subprocess.run([sys.executable, "-c", {code!r}, {beats!r}])
while not pathlib.Path({beats!r}).exists():
    time.sleep(0.01)
"""


def until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, "it does not come"
        time.sleep(0.01)


def is_ready(machine: Machine) -> bool:
    return (machine.place / "ready").exists()


def asked(machine: Machine, code: str, **fields: object) -> tuple[int, str]:
    """Start a command, ask for its end once it is under way; return the exit code and what it wrote."""
    process = machine.start(code, **fields)
    until(lambda: is_ready(machine))
    process.terminate()
    how = ended(process)
    return how.code, how.out


class TestAsked:
    def test_a_command_that_leaves_is_no_success(self, machine: Machine) -> None:
        assert asked(machine, POLITE + FOREVER, notice_s=60.0, attempts_max=3) == (143, "asked\n")
        result = machine.result()
        assert (result.exit_code, result.is_asked, result.attempt) == (0, True, 1)
        assert "asked" in result.reason

    def test_a_command_that_does_not_leave_is_killed_after_the_notice(self, machine: Machine) -> None:
        assert asked(machine, DEAF + FOREVER, notice_s=0.2) == (137, "")
        assert machine.result().exit_code == -9

    def test_the_end_is_told_to_the_platform_all_the_same(self, machine: Machine) -> None:
        told = machine.folder / "told"
        machine.hooks(f"def finish(plan, result): open({str(told)!r}, 'w').write(str(result['is_asked']))\n")
        asked(machine, FOREVER)
        assert told.read_text(encoding="utf-8") == "True"

    def test_all_processes_are_asked(self, machine: Machine) -> None:
        code = POLITE + "import os\nopen('ready' + os.environ['RANK'], 'w').close()\nwhile True: pass\n"
        process = machine.start(code, processes_per_node=2, notice_s=60.0)
        until(lambda: all((machine.place / f"ready{rank}").exists() for rank in (0, 1)))
        process.terminate()
        assert ended(process).out == "asked\nasked\n"


class TestLimit:
    def test_it_ends_an_attempt(self, machine: Machine) -> None:
        assert machine.run(FOREVER, time_limit_s=1, attempts_max=2).code == 143
        result = machine.result()
        assert (result.attempt, result.exit_code, result.is_asked) == (2, -15, False)
        assert "time limit of 1 s" in result.reason

    def test_leaving_at_the_limit_is_no_success(self, machine: Machine) -> None:
        assert machine.run(POLITE + FOREVER, time_limit_s=5, notice_s=60.0).code == 124
        assert machine.result().exit_code == 0


class TestNothingIsLeft:
    def beating(self, machine: Machine) -> tuple[str, Path]:
        beats = machine.folder / "beats"
        return STARTS_BEATING.format(code=BEATING, beats=str(beats)), beats

    def is_still(self, beats: Path) -> None:
        before = beats.stat().st_size
        time.sleep(0.2)
        after = beats.stat().st_size
        beats.unlink()
        assert after == before, "a process goes on"

    @pytest.mark.parametrize("then", ["", "sys.exit(1)", "os.kill(os.getpid(), 9)"])
    def test_after_the_command(self, machine: Machine, then: str) -> None:
        code, beats = self.beating(machine)
        machine.run(f"import os\n{code}{then}")
        self.is_still(beats)

    def test_after_the_time_limit(self, machine: Machine) -> None:
        code, beats = self.beating(machine)
        machine.run(code + FOREVER, time_limit_s=8)
        self.is_still(beats)

    def test_when_the_bootstrap_itself_is_killed_the_command_is_asked(self, machine: Machine) -> None:
        gone = machine.folder / "gone"
        leave = f"lambda *_: (open({str(gone)!r}, 'w').close(), sys.exit(0))"
        process = machine.start(f"import signal, sys\nsignal.signal(signal.SIGTERM, {leave})\n{FOREVER}")
        until(lambda: is_ready(machine))
        process.send_signal(signal.SIGKILL)
        until(gone.exists)


class TestLostMachines:
    def test_the_next_goes_on_counting(self, machine: Machine) -> None:
        process = machine.start(FOREVER)
        until(lambda: is_ready(machine))
        process.kill()
        process.communicate()
        first = machine.result()
        assert (first.attempt, first.end_time, first.exit_code) == (1, None, None)
        assert machine.run("").code == 0
        second = machine.result()
        assert (second.attempt, second.interruptions, second.exit_code) == (2, 1, 0)

    def test_an_interruption_with_notice_counts_too(self, machine: Machine) -> None:
        asked(machine, FOREVER)
        machine.run("")
        assert (machine.result().attempt, machine.result().interruptions) == (2, 1)

    def test_interruptions_use_up_no_attempts(self, machine: Machine) -> None:
        asked(machine, FOREVER, attempts_max=2)
        machine.run("import sys; sys.exit(5)", attempts_max=2)
        assert (machine.result().attempt, machine.result().interruptions) == (3, 1)

    def test_a_failure_does_and_yet_a_started_machine_tries(self, machine: Machine) -> None:
        machine.run("import sys; sys.exit(5)", attempts_max=2)
        assert machine.run("print('tried')\nraise SystemExit(5)", attempts_max=2).out == "tried\n"
        assert (machine.result().attempt, machine.result().interruptions) == (3, 0)

    @pytest.mark.parametrize("left", [b"", b"{torn", b'{"job_id": "another", "attempt": 7}'])
    def test_what_is_no_result_of_the_job_does_not_count(self, machine: Machine, left: bytes) -> None:
        machine.result_path.parent.mkdir()
        machine.result_path.write_bytes(left)
        machine.run("")
        assert machine.result().attempt == 1

    def test_checkpoints_survive(self, machine: Machine) -> None:
        code = "import os\nkept = os.environ['BRIDGE_CHECKPOINTS'] + '/step'\n"
        paths = {"checkpoints": str(machine.folder / "kept")}
        asked(
            machine, f"{code}assert not os.path.exists(kept)\nopen(kept, 'w').close()\n{FOREVER}", paths=paths
        )
        assert machine.run(f"{code}print(os.path.exists(kept))", paths=paths).out == "True\n"


RANKS = (
    "import json, os; print(json.dumps({name: os.environ.get(name) for name in ("
    "'RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'BRIDGE_TRACKING')}), flush=True)"
)


class TestSeveralProcesses:
    def test_each_knows_its_place(self, machine: Machine) -> None:
        machine.hooks(
            "def machines(): return {'rank': 1, 'count': 3, 'main_address': 'algo-1', 'main_port': 7777}\n"
        )
        out = machine.run(RANKS, processes_per_node=2).out
        found = sorted(map(json.loads, out.splitlines()), key=lambda one: str(one["RANK"]))
        common = {"WORLD_SIZE": "6", "MASTER_ADDR": "algo-1", "MASTER_PORT": "7777", "BRIDGE_TRACKING": "off"}
        assert found == [
            {"RANK": "2", "LOCAL_RANK": "0", **common},
            {"RANK": "3", "LOCAL_RANK": "1", **common},
        ]

    @pytest.mark.parametrize(("is_asked_for", "tracking"), [(False, ["off", "on"]), (True, ["on", "on"])])
    def test_the_first_tracks_and_others_on_request(
        self, machine: Machine, is_asked_for: bool, tracking: list[str]
    ) -> None:
        out = machine.run(RANKS, processes_per_node=2, all_ranks_track=is_asked_for).out
        assert sorted(json.loads(line)["BRIDGE_TRACKING"] for line in out.splitlines()) == tracking

    def test_one_process_is_left_as_it_is(self, machine: Machine) -> None:
        machine.variables["RANK"] = "5"
        found = json.loads(machine.run(RANKS).out)
        assert (found["RANK"], found["BRIDGE_TRACKING"]) == ("5", None)

    def test_when_one_fails_the_others_are_ended(self, machine: Machine) -> None:
        code = "import os, sys, time\nif os.environ['RANK'] == '1': sys.exit(6)\nwhile True: time.sleep(1)"
        assert machine.run(code, processes_per_node=3).code == 6

    def test_machines_that_see_one_folder_have_results_of_their_own(self, machine: Machine) -> None:
        machine.run("")
        machine.hooks("def machines(): return {'rank': 1, 'count': 2}\n")
        machine.run("import sys; sys.exit(3)")
        assert machine.result().exit_code == 0
        second = json.loads((machine.place / "out" / "result.1.json").read_bytes())
        assert (second["exit_code"], second["attempt"]) == (3, 1)


class TestLaunchers:
    @pytest.fixture
    def said(self, machine: Machine) -> None:
        """Put a torchrun and an mpirun in place that say what they were told."""
        say = "import json, sys; print(json.dumps(sys.argv))\n"
        package = machine.folder / "packages" / "torch" / "distributed"
        package.mkdir(parents=True)
        for path in (package.parent / "__init__.py", package / "__init__.py"):
            path.touch()
        (package / "run.py").write_text(say, encoding="utf-8")
        programs = machine.folder / "programs"
        programs.mkdir()
        (programs / "mpirun").write_text(f"#!{sys.executable}\n{say}", encoding="utf-8")
        (programs / "mpirun").chmod(0o755)
        machine.variables["PYTHONPATH"] = str(package.parents[1])
        machine.variables["PATH"] = f"{programs}{os.pathsep}{machine.variables['PATH']}"

    def told(self, machine: Machine, launcher: str, **fields: object) -> list[str]:
        ended = machine.run("code", "word", launcher=launcher, processes_per_node=2, **fields)
        assert ended.code == 0, ended.err
        words: list[str] = json.loads(ended.out)
        assert words[-4:] == [sys.executable, "-c", "code", "word"]
        return words[1:-4]

    @pytest.mark.usefixtures("said")
    def test_torchrun_on_one_machine(self, machine: Machine) -> None:
        assert self.told(machine, "torchrun") == ["--standalone", "--nproc_per_node=2", "--no_python"]

    @pytest.mark.usefixtures("said")
    def test_torchrun_on_several(self, machine: Machine) -> None:
        machine.hooks(
            "def machines(): return {'rank': 1, 'count': 2, 'main_address': 'algo-1', 'main_port': 7777}\n"
        )
        assert self.told(machine, "torchrun") == [
            *("--nnodes=2", "--node_rank=1", "--master_addr=algo-1", "--master_port=7777"),
            *("--nproc_per_node=2", "--no_python"),
        ]

    @pytest.mark.usefixtures("said")
    def test_mpi(self, machine: Machine) -> None:
        assert self.told(machine, "mpi") == ["-np", "2"]

    @pytest.mark.usefixtures("said")
    def test_mpi_on_several_machines_is_refused(self, machine: Machine) -> None:
        machine.hooks("def machines(): return {'count': 2}\n")
        assert machine.run("print('ran')", launcher="mpi").code == 1
        assert "MPI" in machine.result().reason

    def test_an_unknown_one_is_refused(self, machine: Machine) -> None:
        assert machine.run("print('ran')", launcher="spark").code == 1
        assert "spark" in machine.result().reason
