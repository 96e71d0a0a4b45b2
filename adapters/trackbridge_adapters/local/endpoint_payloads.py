"""Payloads of deployed models: one folder per content, shared by all deployments of a store."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trackbridge.errors import Rejected
from trackbridge_adapters.local.capabilities import ADAPTER
from trackbridge_adapters.local.syncing import sync_folder

_SAFE = re.compile(r"[a-zA-Z0-9]{1,128}")


def payload_folder(store: Path, digest: str) -> Path:
    """Return where the content with a digest (``sha256:…``) lies."""
    name = digest.rpartition(":")[2]
    if not _SAFE.fullmatch(name):
        name = hashlib.sha256(digest.encode()).hexdigest()
    return store / "models" / name


def digest_of_folder(payload: Path) -> str:
    """Return a digest of the content of a folder, for a model that came without one."""
    total = hashlib.sha256()
    for file in sorted(path for path in payload.rglob("*") if path.is_file()):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{content} {file.relative_to(payload).as_posix()}\n".encode())
    return f"sha256:{total.hexdigest()}"


def take_in(payload: Path, target: Path) -> None:
    """Copy a payload, durably and all or nothing, unless it is there already.

    Raises:
        Rejected: It is not a folder.
    """
    if target.is_dir():
        return
    if not payload.is_dir():
        raise Rejected(
            f"{payload} is not a folder",
            adapter=ADAPTER,
            operation="deployments.apply",
            hint="hand over the folder that holds the model",
        )
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        shutil.copytree(payload, unfinished)
        for path in (*unfinished.rglob("*"), unfinished):
            _sync(path)
        try:
            unfinished.rename(target)
        except OSError:
            if not target.is_dir():  # else another process has been faster
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    sync_folder(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def keeping(store: Path) -> Iterator[None]:
    """Keep payloads from being removed: from taking one in until a deployment needs it."""
    folder = store / "models"
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def removing(store: Path) -> Iterator[bool]:
    """Keep payloads from being taken in, and give True; False while some process takes one in."""
    folder = store / "models"
    if not folder.is_dir():
        yield False
        return
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def remove_unused(store: Path, used: set[str]) -> None:
    """Remove every payload that no deployment needs; called while ``removing``."""
    kept = {payload_folder(store, digest) for digest in used}
    for folder in (store / "models").iterdir():
        if folder.is_dir() and folder not in kept:
            shutil.rmtree(folder)
