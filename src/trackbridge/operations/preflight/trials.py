"""Is it a model that loads and answers, from nothing but what it says that it needs?

::

    an environment by uv of its own requirements, kept -> a job of this machine loads it there and scores its
    input example -> passed, or failed

The environments are those of local jobs, below ``<home>/preflight``; each is made once for the same
requirements. That a model has passed is remembered by its digest, which its requirements are part of, and the
version of Python, so that it is not tried again. What failed is tried again each time.

**The model's code runs on this machine**, as the user who asks for it, without the user's environment
variables.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

from trackbridge.delivery.connect import open_uri
from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import Environment, JobSpec, JobState, JobStatus
from trackbridge.domain.secrets import redact
from trackbridge.errors import TimedOut
from trackbridge.operations.following import wait_for_job
from trackbridge.operations.preflight import program
from trackbridge.operations.preflight.needs import Needs, is_loadable, needs_of
from trackbridge.ports.jobs import JobBackend
from trackbridge.resolve.uri import parse

FOLDER = "preflight"
SCORE_S_MAX = 300
"""How long a model may take to be loaded and to answer, in seconds."""
WAIT_S_MAX = 1800.0
"""How long all of it may take, the environment too, in seconds."""
LEFTOVER_S = 24 * 3600.0
TAIL_CHARS = 600


class Verdict(str, Enum):
    """What a pre-flight has found."""

    PASSED = "passed"
    FAILED = "failed"
    UNCHECKED = "unchecked"


NO_MLMODEL = (Verdict.UNCHECKED, "plain files: it has no MLmodel, which would say how they are loaded")
NO_PYFUNC = (
    Verdict.UNCHECKED,
    "it has no flavor python_function: only its own library loads it",
)


class Trials:
    """Tries models in environments of their own. Use it in a ``with`` statement, or close it.

    Args:
        home: The project's folder.
        score_s_max: How long a model may take to be loaded and to answer, in seconds.
    """

    def __init__(self, home: Path, *, score_s_max: int = SCORE_S_MAX) -> None:
        self.on_wait: Callable[[], None] = lambda: None
        """Called while a model is waited for; what it raises ends the wait and the model's process."""
        self._folder = home / FOLDER
        self._score_s_max = score_s_max
        self._open = contextlib.ExitStack()
        self._opened: JobBackend | None = None

    def try_out(
        self, mlmodel: str | None, digest: str | None, bring: Callable[[Path], Path]
    ) -> tuple[Verdict, str]:
        """Return what is found of a model, and what is to be told of it.

        Args:
            mlmodel: Its ``MLmodel``, None where it has none.
            digest: Of its content, where it is known.
            bring: Brings its files below a folder, and returns where they are; only called when needed.
        """
        if mlmodel is None:
            return NO_MLMODEL
        if not is_loadable(mlmodel):
            return NO_PYFUNC
        if digest is not None and (known := self._passed(digest)) is not None:
            return Verdict.PASSED, known
        with self._work() as work:
            folder = bring(work / "models")
            needs = needs_of(folder)
            verdict, detail = self._tried(folder, needs, work)
        if verdict is Verdict.PASSED:
            self._note_passed(digest or folder.name, detail)
        return verdict, f"{detail}{_remarks(needs)}"

    def close(self) -> None:
        """Release what was opened."""
        self._open.close()

    def __enter__(self) -> Trials:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _passed(self, digest: str) -> str | None:
        """Return what was found of the same files before; requirements are among them."""
        file = self._folder / "passed" / _key(digest)
        return f"{file.read_text(encoding='utf-8')} (before)" if file.exists() else None

    def _note_passed(self, digest: str, detail: str) -> None:
        file = self._folder / "passed" / _key(digest)
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(".draft")
        draft.write_text(detail, encoding="utf-8")
        draft.replace(file)

    def _tried(self, folder: Path, needs: Needs, work: Path) -> tuple[Verdict, str]:
        home = work / "home"
        home.mkdir()
        spec = JobSpec(
            name=f"preflight of {folder.name[:12]}",
            command=("python", "-I", str(Path(program.__file__)), str(folder), str(home)),
            environment=Environment(requirements=needs.requirements),
            time_limit_s=self._score_s_max,
        )
        state = self._ended(spec)
        found = _result(home / program.RESULT)
        if state.status is JobStatus.SUCCEEDED and found.get("passed") is True:
            return Verdict.PASSED, redact(str(found.get("detail")))
        if found.get("passed") is False:
            return Verdict.FAILED, redact(f"{_STAGES.get(found.get('stage'), '')}{found.get('detail')}")
        return Verdict.FAILED, self._told(state)

    def _ended(self, spec: JobSpec) -> JobState:
        """Run a job to its end, and end it where nobody waits for it any more."""
        jobs = self._jobs()
        state = jobs.submit(spec, key=mint_id())
        try:
            return wait_for_job(
                state.job_id, jobs, timeout_s=WAIT_S_MAX, on_state=lambda state: self.on_wait()
            )
        except TimedOut:
            jobs.cancel(state.job_id)
            return wait_for_job(state.job_id, jobs)
        except BaseException:
            jobs.cancel(state.job_id)
            raise

    def _jobs(self) -> JobBackend:
        if self._opened is None:
            adapter = open_uri(parse(str(self._folder)))
            self._open.callback(adapter.close)
            assert adapter.jobs is not None, "this machine runs jobs"
            self._opened = adapter.jobs
        return self._opened

    def _told(self, state: JobState) -> str:
        """Return why a job has ended that has left no result."""
        reason = state.reason or f"it ended {state.status.value} without a result"
        tail = _tail(self._jobs(), state.job_id)
        return f"{reason}: {tail}" if tail and tail not in reason else reason

    @contextlib.contextmanager
    def _work(self) -> Iterator[Path]:
        """Give a folder for one look: the model's files, and the home of its process."""
        work = (self._folder / "work" / mint_id()).absolute()
        work.mkdir(parents=True, mode=0o700)
        _forget_leftovers(work.parent)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


_STAGES: dict[Any, str] = {
    "mlflow": "mlflow cannot be imported: ",
    "load": "it cannot be loaded: ",
    "input example": "its input example cannot be read: ",
    "score": "it fails on its own input example: ",
}


def _forget_leftovers(folder: Path) -> None:
    """Remove what looks have left that were killed; those of other programs may be under way."""
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > LEFTOVER_S:
                shutil.rmtree(path, ignore_errors=True)


def _key(digest: str) -> str:
    parts = (digest.removeprefix("sha256:"), sys.version)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _remarks(needs: Needs) -> str:
    remarks = ""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if needs.python and needs.python != here:
        remarks += f"; it was made with Python {needs.python}, and looked at with {here}"
    if needs.left_out:
        remarks += f"; options among its requirements were left out: {redact(', '.join(needs.left_out))}"
    return remarks


def _result(file: Path) -> dict[str, Any]:
    """Return what the model's process has written; nothing where it is none of ours."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        return {}


def _tail(jobs: JobBackend, job_id: str) -> str:
    text, cursor = "", ""
    while True:
        chunk = jobs.read_logs(job_id, cursor=cursor)
        text = (text + chunk.text)[-TAIL_CHARS:]
        if chunk.done or not chunk.text:
            return re.sub(r"\s+", " ", redact(text)).strip()
        cursor = chunk.cursor
