"""The job contract: several processes, and what starts them.

Stand-ins for torchrun and mpirun come with the code, so that the tests need neither: they start as many
processes as they are told, each with its rank.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from trackbridge.domain.jobs import Compute, JobSpec, JobStatus, Launcher
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import requires
from trackbridge.testing.contracts.jobs_base import JobTests

TORCHRUN = """
import os, subprocess, sys
words = [word[2:].replace("-", "_") for word in sys.argv if word.startswith("--")]
options = dict(word.partition("=")[::2] for word in words)
count = int(options["nproc_per_node"])
first = next(place for place, word in enumerate(sys.argv) if place and not word.startswith("-"))
command = sys.argv[first:] if "no_python" in options else [sys.executable, *sys.argv[first:]]
ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)} for rank in range(count)]
started = [subprocess.Popen(command, env={**os.environ, **rank}) for rank in ranks]
sys.exit(max(process.wait() for process in started))
"""
MPIRUN = """#!/bin/sh
# mpirun -np COUNT COMMAND...
while [ "$1" != -np ] && [ "$1" != -n ]; do shift; done
count=$2; shift 2; rank=0
while [ $rank -lt $count ]; do
    OMPI_COMM_WORLD_RANK=$rank OMPI_COMM_WORLD_LOCAL_RANK=$rank OMPI_COMM_WORLD_SIZE=$count "$@" &
    rank=$((rank + 1))
done
wait
"""
TELL = (
    "import json, os, sys\n"
    "names = ('RANK', 'OMPI_COMM_WORLD_RANK', 'WORLD_SIZE', 'OMPI_COMM_WORLD_SIZE', 'BRIDGE_TRACKING')\n"
    "line = json.dumps({name: os.environ[name] for name in names if name in os.environ})\n"
    "os.write(1, (line + '\\n').encode())\n"
)
"""In one write, so that the lines of several processes do not mix."""


class LauncherTests(JobTests):
    """Ranks, and who starts them."""

    def told(self, spec: JobSpec) -> list[dict[str, str]]:
        """Run a job to its good end and return what each of its processes told."""
        state = self.ended(self.submit_spec(spec).job_id)
        log = self.log(state.job_id)
        assert state.status is JobStatus.SUCCEEDED, (state, log)
        lines = [line for line in log.splitlines() if line.startswith("{")]
        return sorted(map(json.loads, lines), key=rank_of)

    def refuses_without(self, launcher: Launcher) -> None:
        """Demand that a launcher which the backend does not have is refused, and end the test."""
        if launcher in self.launchers or not self.capabilities.supports(Feature.JOBS_DISTRIBUTED):
            return
        self.is_refused(self.spec(launcher=launcher, processes_per_node=2))
        pytest.xfail(f"this backend starts nothing through {launcher.value}")

    @requires(Feature.JOBS_DISTRIBUTED, Feature.JOBS_LOGS)
    def test_each_process_knows_its_rank_and_the_first_tracks(self) -> None:
        spec = self.spec(TELL, processes_per_node=3)
        self.refuses_without(Launcher.DIRECT)
        found = self.told(spec)
        assert [(one["RANK"], one["WORLD_SIZE"]) for one in found] == [("0", "3"), ("1", "3"), ("2", "3")]
        assert [one.get("BRIDGE_TRACKING", "on") for one in found] == ["on", "off", "off"]

    @requires(Feature.JOBS_DISTRIBUTED)
    def test_a_process_that_fails_ends_the_job(self) -> None:
        self.refuses_without(Launcher.DIRECT)
        code = "import os, time\nif os.environ['RANK'] == '1': raise SystemExit(6)\nwhile True: time.sleep(1)"
        state = self.run(code, processes_per_node=2)
        assert (state.status, state.exit_code) == (JobStatus.FAILED, 6)

    @requires(Feature.JOBS_DISTRIBUTED, Feature.JOBS_LOGS)
    def test_torchrun_starts_them(self, tmp_path: Path) -> None:
        spec = self.spec(TELL, processes_per_node=2, launcher=Launcher.TORCHRUN)
        self.refuses_without(Launcher.TORCHRUN)
        package = tmp_path / "code" / "torch" / "distributed"
        package.mkdir(parents=True)
        for folder in (package.parent, package):
            (folder / "__init__.py").touch()
        (package / "run.py").write_text(TORCHRUN, encoding="utf-8")
        found = self.told(msgspec.structs.replace(spec, code_dir=str(tmp_path / "code")))
        assert [(one["RANK"], one["WORLD_SIZE"]) for one in found] == [("0", "2"), ("1", "2")]

    @requires(Feature.JOBS_DISTRIBUTED, Feature.JOBS_LOGS)
    def test_mpi_starts_them(self, tmp_path: Path) -> None:
        spec = self.spec(TELL, processes_per_node=2, launcher=Launcher.MPI)
        self.refuses_without(Launcher.MPI)
        (tmp_path / "code").mkdir()
        program = tmp_path / "code" / "mpirun"
        program.write_text(MPIRUN, encoding="utf-8")
        program.chmod(0o755)
        path = {"PATH": ".:/usr/local/bin:/usr/bin:/bin"}
        found = self.told(msgspec.structs.replace(spec, code_dir=str(tmp_path / "code"), variables=path))
        ranks = [(one["OMPI_COMM_WORLD_RANK"], one["OMPI_COMM_WORLD_SIZE"]) for one in found]
        assert ranks == [("0", "2"), ("1", "2")]

    @requires(Feature.JOBS_DISTRIBUTED, Feature.JOBS_LOGS)
    def test_the_others_track_on_request(self) -> None:
        spec = self.spec(TELL, processes_per_node=2, all_ranks_track=True)
        self.refuses_without(Launcher.DIRECT)
        found = {one["RANK"]: one.get("BRIDGE_TRACKING", "on") for one in self.told(spec)}
        assert found == {"0": "on", "1": "on"}

    @requires(Feature.JOBS_DISTRIBUTED)
    def test_several_machines(self) -> None:
        spec = self.spec(compute=Compute(instance_count=2))
        if self.capabilities.supports(Feature.JOBS_DISTRIBUTED) and self.machines_max < 2:
            self.is_refused(spec)
            return
        assert self.ended(self.submit_spec(spec).job_id).status is JobStatus.SUCCEEDED


def rank_of(one: dict[str, str]) -> int:
    """Return the rank that a process was given, -1 for none."""
    return int(one.get("RANK", one.get("OMPI_COMM_WORLD_RANK", "-1")))
