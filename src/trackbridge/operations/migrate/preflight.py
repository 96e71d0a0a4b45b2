"""Before a version is promoted: is it a model that loads and answers, from nothing but what it says it needs?

::

    the copy at the target -> is there an MLmodel with python_function? -> no: said, and promoted all the same
        -> its files come here, their digest is compared -> an environment by uv of its own requirements, kept
        -> a job of this machine loads it there and scores its input example -> passed, or not promoted

The environments are those of local jobs, below ``<home>/preflight``; each is made once for the same
requirements. That a model has passed is remembered by its digest, which its requirements are part of, and the
version of Python, so that the next migration does not try again. What failed is tried again each time.

**The model's code runs on this machine**, as the user who migrates, without the user's environment variables.
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
from trackbridge.domain.artifacts import split_artifact_uri
from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import Environment, JobSpec, JobState, JobStatus
from trackbridge.domain.model_digest import MLMODEL
from trackbridge.domain.models import Approval, ModelVersion
from trackbridge.domain.secrets import redact
from trackbridge.errors import (
    AuthError,
    BridgeError,
    Exhausted,
    Locked,
    NotFound,
    Rejected,
    TimedOut,
    Transient,
)
from trackbridge.operations.following import wait_for_job
from trackbridge.operations.migrate import preflight_program
from trackbridge.operations.migrate.preflight_needs import Needs, is_loadable, needs_of
from trackbridge.operations.migrate.side import Side
from trackbridge.operations.model_payloads import at_registry, materialise, source_of
from trackbridge.ports.jobs import JobBackend
from trackbridge.resolve.uri import parse

FOLDER = "preflight"
SCORE_S_MAX = 300
"""How long a model may take to be loaded and to answer, in seconds."""
WAIT_S_MAX = 1800.0
"""How long all of it may take, the environment too, in seconds."""
LEFTOVER_S = 24 * 3600.0
MLMODEL_BYTES_MAX = 8 * 1024 * 1024
TAIL_CHARS = 600
STAGES = ("Staging", "Production")
"""Stages that promote; back to ``None`` or into ``Archived`` nothing is put to use."""

_HINT = "mend the model and register it anew, or promote it without a look: --no-preflight"


class Verdict(str, Enum):
    """What a pre-flight has found."""

    PASSED = "passed"
    FAILED = "failed"
    UNCHECKED = "unchecked"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one version; ``detail`` says it for people."""

    subject: str
    verdict: Verdict
    detail: str

    def __str__(self) -> str:
        return f"{self.subject}: pre-flight {self.verdict.value}: {self.detail}"


class Preflight:
    """Looks at models before they are promoted. Use it in a ``with`` statement, or close it.

    Args:
        home: The project's folder.
        on_report: Told of each version that was looked at.
        score_s_max: How long a model may take to be loaded and to answer.
    """

    def __init__(
        self,
        home: Path,
        *,
        on_report: Callable[[Report], None] = lambda report: None,
        score_s_max: int = SCORE_S_MAX,
    ) -> None:
        self.on_wait: Callable[[], None] = lambda: None
        """Called while a model is waited for; what it raises ends the wait and the model's process."""
        self._folder = home / FOLDER
        self._on_report = on_report
        self._score_s_max = score_s_max
        self._open = contextlib.ExitStack()
        self._opened: JobBackend | None = None
        self._reports: dict[tuple[str, str, str], Report] = {}

    def refuse_unfit(self, side: Side, version: ModelVersion) -> None:
        """Look at a version as it lies on one side, once.

        Raises:
            Rejected: It does not load, or does not answer; the message says why.
            Transient: Its files cannot be read now.
        """
        key = (side.uri, version.name, version.version)
        report = self._reports.get(key)
        if report is None:
            report = self._reports[key] = self._report(side, version)
            self._on_report(report)
        if report.verdict is Verdict.FAILED:
            raise Rejected(
                f"it was not promoted, since its pre-flight failed: {report.detail}",
                operation="preflight",
                resource=f"models:/{version.name}/{version.version} at {side.uri}",
                hint=_HINT,
            )

    def close(self) -> None:
        """Release what was opened."""
        self._open.close()

    def __enter__(self) -> Preflight:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # One version.

    def _report(self, side: Side, version: ModelVersion) -> Report:
        subject = f"version {version.name}/{version.version}"
        try:
            verdict, detail = self._looked_at(side, version)
        except (AuthError, Exhausted, Locked, Transient):
            raise  # nothing was learned of the model
        except BridgeError as error:
            hint = f"; {error.hint}" if error.hint else ""
            verdict, detail = Verdict.FAILED, f"{error}{hint}"
        return Report(subject=subject, verdict=verdict, detail=detail)

    def _looked_at(self, side: Side, version: ModelVersion) -> tuple[Verdict, str]:
        mlmodel = mlmodel_of(side, version)
        if mlmodel is None:
            return Verdict.UNCHECKED, "plain files: it has no MLmodel, which would say how they are loaded"
        if not is_loadable(mlmodel):
            return Verdict.UNCHECKED, "it has no flavor python_function: only its own library loads it"
        if version.digest is not None and (known := self._passed(version.digest)) is not None:
            return Verdict.PASSED, known
        with self._work() as work:
            located = at_registry(version, side.registry)
            folder = materialise(located, side.artifacts, cache=work / "models")
            needs = needs_of(folder)
            verdict, detail = self._tried(folder, needs, work)
        if verdict is Verdict.PASSED:
            self._note_passed(folder.name, detail)
        return verdict, f"{detail}{_remarks(needs)}"

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
            command=("python", "-I", str(Path(preflight_program.__file__)), str(folder), str(home)),
            environment=Environment(requirements=needs.requirements),
            time_limit_s=self._score_s_max,
        )
        state = self._ended(spec)
        found = _result(home / preflight_program.RESULT)
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


def mlmodel_of(side: Side, version: ModelVersion) -> str | None:
    """Return the ``MLmodel`` of a version, None where its files have none; only this file is read.

    Raises:
        NotFound: There is nothing at its source.
        Unsupported: Its source cannot be read from here.
    """
    version = at_registry(version, side.registry)
    place = split_artifact_uri(version.source)
    if place is not None and side.artifacts is not None:
        path = f"{place[1]}/{MLMODEL}".lstrip("/")
        try:
            content = side.artifacts.open(place[0], path)
        except NotFound:
            return None
    else:
        source = source_of(version.source, side.artifacts)
        info = next((info for name, info in source.members() if name == MLMODEL), None)
        if info is None:
            return None
        content = source.open(info)
    with contextlib.closing(content):
        return content.read(MLMODEL_BYTES_MAX).decode("utf-8", "replace")


def promotes(what: str, value: str | None) -> bool:
    """Tell whether setting a field puts a version to use: an alias, a stage that serves, an approval."""
    if what.partition(":")[0] == "alias":
        return value is not None
    if what == "stage":
        return value in STAGES
    return what == "approval" and value == Approval.APPROVED.value


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
