"""A machine of a job: a folder with the bootstrap and a plan, and the process that carries it out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from trackbridge_adapters._jobs import bootstrap
from trackbridge_adapters._jobs.plan import BOOTSTRAP_FILE, HOOKS_FILE, PLAN_FILE, JobPlan, JobResult, Paths

PATIENCE_S = 120.0


class Machine:
    """Starts plans; each may follow another, as on a machine that comes in the place of one that was lost."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = folder / "the plan's"
        self.place.mkdir()
        self.variables = {**os.environ, "TMPDIR": str(folder)}
        self.started: list[subprocess.Popen[bytes]] = []
        shutil.copy(bootstrap.__file__, self.place / BOOTSTRAP_FILE)

    @property
    def result_path(self) -> Path:
        return self.place / "out" / "result.json"

    def result(self) -> JobResult:
        return msgspec.json.decode(self.result_path.read_bytes(), type=JobResult)

    def hooks(self, code: str) -> None:
        (self.place / HOOKS_FILE).write_text(code, encoding="utf-8")

    def code(self, path: str, text: str) -> None:
        file = self.place / "code" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def plan(
        self, code: str, *words: str, paths: Mapping[str, object] | None = None, **fields: object
    ) -> JobPlan:
        """Write the plan that runs some code of Python."""
        where = msgspec.structs.replace(Paths(home="out/home", result="out/result.json"), **(paths or {}))
        plan = JobPlan(job_id="j1", command=("python", "-c", code, *words), paths=where, notice_s=0.5)
        plan = msgspec.structs.replace(plan, **fields)
        (self.place / PLAN_FILE).write_bytes(msgspec.json.encode(plan))
        return plan

    def start(self, code: str, *words: str, **fields: object) -> subprocess.Popen[bytes]:
        self.plan(code, *words, **fields)
        process = subprocess.Popen(
            [sys.executable, str(self.place / BOOTSTRAP_FILE), str(self.place / PLAN_FILE)],
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.started.append(process)
        return process

    def run(self, code: str, *words: str, **fields: object) -> Ended:
        return ended(self.start(code, *words, **fields))

    def close(self) -> None:
        for process in self.started:
            process.kill()
            process.communicate(timeout=PATIENCE_S)


class Ended(msgspec.Struct):
    """How it ended, and what it wrote."""

    code: int
    out: str
    err: str


def ended(process: subprocess.Popen[bytes]) -> Ended:
    out, err = process.communicate(timeout=PATIENCE_S)
    return Ended(process.returncode, out.decode(), err.decode())
