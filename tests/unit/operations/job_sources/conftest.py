"""A folder as current directory, files written into it, and what a request makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trackbridge.domain.jobs import JobSpec
from trackbridge.operations.job_sources.requests import JobRequest
from trackbridge.operations.job_sources.sources import JobSource, job_spec, read_source
from trackbridge.resolve.home import Surroundings

Write = Callable[[str, str], Path]
Read = Callable[..., JobSource]
Spec = Callable[..., JobSpec]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    made.mkdir()
    return made


@pytest.fixture
def write(folder: Path) -> Write:
    def written(name: str, text: str) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return written


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "BRIDGE_HOME": str(tmp_path / "home")}


@pytest.fixture
def read(folder: Path, environ: dict[str, str]) -> Read:
    def source(*words: str, **said: Any) -> JobSource:
        return read_source(JobRequest(words=words, **said), Surroundings(folder, environ))

    return source


@pytest.fixture
def spec(read: Read) -> Spec:
    """What is run, with the parameters as a mapping."""
    return lambda *words, **said: job_spec(read(*words, **said))
