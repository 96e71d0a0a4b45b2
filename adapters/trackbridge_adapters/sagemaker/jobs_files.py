"""What is sent for a job: bootstrap, plan and code, each once, under names that are made of the content."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import tempfile
import threading
from pathlib import Path
from typing import IO

import trackbridge_adapters._jobs
from trackbridge_adapters._jobs.code_files import CodeFiles
from trackbridge_adapters._jobs.plan import BOOTSTRAP_FILE, HOOKS_FILE
from trackbridge_adapters.sagemaker.bucket import Bucket
from trackbridge_adapters.sagemaker.jobs_inputs import Input

CODE_FILE = "code.tar.gz"
PLATFORM_FILE = "platform.json"


def own_files() -> dict[str, bytes]:
    """Return the bootstrap and the hooks of SageMaker, by name."""
    return {
        BOOTSTRAP_FILE: Path(trackbridge_adapters._jobs.__path__[0], BOOTSTRAP_FILE).read_bytes(),
        HOOKS_FILE: Path(__file__).with_name(HOOKS_FILE).read_bytes(),
    }


def content_digest(*parts: bytes) -> str:
    """Return 32 hexadecimal digits that stand for some content."""
    total = hashlib.sha256()
    for part in parts:
        total.update(f"{len(part)}:".encode() + part)
    return total.hexdigest()[:32]


class Uploads:
    """Puts files into the bucket of a place, what is there already never again. Any thread may use it."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._lock = threading.Lock()
        self._known: set[str] = set()

    def put(self, key: str, content: bytes) -> None:
        """Put a small object whose key is made of its content."""
        if not self._is_there(key):
            self._bucket.put(key, content)
            self._note(key)

    def put_code(self, key: str, code: CodeFiles) -> None:
        """Put the archive of a folder of code."""
        if self._is_there(key):
            return
        with tempfile.TemporaryFile() as file:
            pack(code, file)
            self._bucket.put_file(key, file)
        self._note(key)

    def put_input(self, found: Input) -> None:
        """Put the files of an input that lie on this machine; a mark says that all of them are there."""
        folder = found.address.removeprefix(f"{self._bucket.root}/").rpartition("/")[0]
        mark = f"whole/{folder}/mark"
        if not found.local or self._is_there(mark):
            return
        for below, path in found.local:
            with open(path, "rb") as file:
                self._bucket.put_file(f"{folder}/{below}", file)
        self.put(mark, b"")

    def _is_there(self, key: str) -> bool:
        with self._lock:
            if key in self._known:
                return True
        if key not in self._bucket.list(key.rpartition("/")[0]):
            return False
        self._note(key)
        return True

    def _note(self, key: str) -> None:
        with self._lock:
            self._known.add(key)


def pack(code: CodeFiles, file: IO[bytes]) -> None:
    """Write an archive whose bytes depend on nothing but paths, modes and contents."""
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for each in code.files:
            member = tarfile.TarInfo(each.path)
            member.mode = each.mode
            with open(each.source, "rb") as source:
                member.size = each.size_bytes
                archive.addfile(member, source)
    file.seek(0)
