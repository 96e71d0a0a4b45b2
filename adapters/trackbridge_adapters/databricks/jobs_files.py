"""The files of one job in a volume.

::

    FOLDER/TOKEN/job.json        which spec the key stands for; written once, by the first submitter
    FOLDER/TOKEN/DIGEST/…        the programs, the plan and the code
    FOLDER/TOKEN/run/…           what comes of the job: see ``task_program``
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec

from trackbridge.domain.jobs import JobSpec
from trackbridge.errors import Conflict, NotFound, Rejected
from trackbridge_adapters._jobs import bootstrap
from trackbridge_adapters._jobs.code_files import CodeFiles, list_code
from trackbridge_adapters._jobs.plan import BOOTSTRAP_FILE, PLAN_FILE, JobPlan, JobResult, Paths, plan_of
from trackbridge_adapters._mlflow_rest.wire import Wire
from trackbridge_adapters.databricks import task_program
from trackbridge_adapters.databricks.config import ADAPTER
from trackbridge_adapters.databricks.volumes import FILES, FOLDERS, VolumeFiles

TASK_FILE = "task_program.py"
CODE_FILE = "code.tar.gz"
JOB_FILE = "job.json"
RUN_FOLDER = "run"
ANSWER_S = 300.0
_PIECE = re.compile(r"([0-9]+)\.txt")


class JobFolder:
    """One job's folder in a volume; ``path`` begins with ``/Volumes/``."""

    def __init__(self, wire: Wire, path: str) -> None:
        self.path = path
        self._wire = wire

    @property
    def kept_uri(self) -> str:
        """Where the journals of the job's program are."""
        return f"dbfs:{self.path}/{RUN_FOLDER}/kept"

    def claimed(self) -> str | None:
        """Return the digest of the spec that the key stands for, None where it is new."""
        found = self._read(JOB_FILE)
        return None if found is None else found.decode("utf-8", "replace")

    def claim(self, digest: str) -> str:
        """Let the key stand for a spec, and return the digest of the one that was first."""
        try:
            self._write(JOB_FILE, digest.encode(), overwrite=False)
        except (Conflict, Rejected):  # 409, or RESOURCE_ALREADY_EXISTS
            first = self.claimed()
            if first is None:
                raise
            return first
        return digest

    def release(self) -> None:
        """Let the key stand for nothing: the job was not taken."""
        self._wire.send("DELETE", self._route(FILES, JOB_FILE))

    def write_program(self, digest: str, plan: JobPlan, code: CodeFiles) -> str:
        """Write all that the job needs, and return the folder of it."""
        folder = digest[:16]
        self._make(folder)
        for name, module in ((TASK_FILE, task_program), (BOOTSTRAP_FILE, bootstrap)):
            self._write(f"{folder}/{name}", Path(module.__file__ or "").read_bytes())
        if code.files:
            self._write(f"{folder}/{CODE_FILE}", archive_of(code))
        self._write(f"{folder}/{PLAN_FILE}", msgspec.json.encode(plan))
        return f"{self.path}/{folder}"

    def result(self) -> JobResult | None:
        """Return how the last attempt stands; None before the first, and where the file was torn."""
        found = self._read(f"{RUN_FOLDER}/result.json")
        try:
            return None if found is None else msgspec.json.decode(found, type=JobResult)
        except msgspec.DecodeError:  # Databricks itself says how the run has ended
            return None

    def log_piece(self, number: int) -> str | None:
        """Return a piece of the log, from 1; None where there is none (yet)."""
        found = self._read(f"{RUN_FOLDER}/log/{number}.txt")
        return None if found is None else found.decode("utf-8", "replace")

    def tail_piece(self, tail_bytes: int) -> int:
        """Return the number of the piece from which on the log has so many bytes; 1 where it has fewer."""
        listed = VolumeFiles(self._wire, f"dbfs:{self.path}/{RUN_FOLDER}/log").children("")
        sizes = {int(found[1]): entry.size for entry in listed if (found := _PIECE.fullmatch(entry.name))}
        left = tail_bytes
        for number in sorted(sizes, reverse=True):
            left -= sizes[number] or 0
            if left <= 0:
                return number
        return 1

    def ask_to_end(self) -> bool:
        """Have the job's program end the job; False when it was asked before."""
        if self.is_asked_to_end():
            return False
        self._make(RUN_FOLDER)
        self._write(f"{RUN_FOLDER}/cancel", b"1")
        return True

    def is_asked_to_end(self) -> bool:
        """Tell whether somebody has asked."""
        return self._read(f"{RUN_FOLDER}/cancel") is not None

    def _read(self, path: str) -> bytes | None:
        try:
            return bytes(self._wire.send("GET", self._route(FILES, path), answer_s=ANSWER_S).content)
        except NotFound:
            return None

    def _write(self, path: str, content: bytes, *, overwrite: bool = True) -> None:
        self._wire.send(
            "PUT",
            self._route(FILES, path),
            query={"overwrite": "true" if overwrite else "false"},
            body=content,
            headers={"Content-Type": "application/octet-stream"},
            answer_s=ANSWER_S,
        )

    def _make(self, folder: str) -> None:
        self._wire.send("PUT", self._route(FOLDERS, folder))

    def _route(self, kind: str, path: str) -> str:
        return f"{kind}{quote(f'{self.path}/{path}')}"


def token_of(key: str) -> str:
    """Return the idempotency token of a key, 64 letters and digits as the service wants it."""
    return hashlib.sha256(b"trackbridge job\0" + key.encode("utf-8", "surrogatepass")).hexdigest()


def digest_of(spec: JobSpec) -> str:
    """Return what tells a spec from others; it holds references of secrets, and no secret."""
    return hashlib.sha256(msgspec.json.encode(spec, order="sorted")).hexdigest()


def plan_for(spec: JobSpec, *, code: CodeFiles, notice_s: float, secrets: tuple[str, ...]) -> JobPlan:
    """Return the plan: its folders are of the driver's local disk, its data in volumes.

    ``secrets`` are the names of those that the cluster sets as variables.
    """
    paths = Paths(
        code=CODE_FILE if code.files else ".",
        home="home",
        result="result.json",
        inputs={name: volume_path(uri) or uri for name, uri in spec.inputs.items()},
        outputs={name: volume_path(uri) or uri for name, uri in spec.outputs.items()},
        checkpoints=None if spec.checkpoints is None else volume_path(spec.checkpoints),
    )
    plan = plan_of(spec, "", paths, notice_s=notice_s)
    return msgspec.structs.replace(plan, secrets={name: f"env:{name}" for name in secrets})


def volume_path(uri: str) -> str | None:
    """Return the path of a file or folder in a volume; None for what lies elsewhere."""
    path = uri.removeprefix("dbfs:").rstrip("/")
    parts = path.split("/")
    is_volume = path.startswith("/Volumes/") and len(parts) > 4 and not {"", ".", ".."} & set(parts[1:])
    return path if is_volume and "\0" not in path else None


def code_of(spec: JobSpec) -> CodeFiles:
    """Return the code that is sent.

    Raises:
        InvalidInput: The folder or its ignore file cannot be read.
        MissingExtra: There is an ignore file, and nothing that reads it.
    """
    return list_code(spec.code_dir, spec.ignore_file)


def archive_of(code: CodeFiles) -> bytes:
    """Return an archive of the code, equal for equal code.

    Raises:
        Rejected: A file is gone, or cannot be read any more.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member, source in _members(code):
            try:
                with open(source, "rb") as file:
                    content = file.read()
            except OSError as error:
                raise Rejected(
                    f"the code cannot be read: {error}", adapter=ADAPTER, operation="jobs.submit"
                ) from error
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _members(code: CodeFiles) -> Iterator[tuple[tarfile.TarInfo, str]]:
    for file in code.files:
        member = tarfile.TarInfo(file.path)
        member.mode = file.mode
        yield member, os.fspath(file.source)
