"""The job contract on the local backend, by itself and through the call pipeline."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts import JobContract
from trackbridge_adapters.local import open_adapter

OPTIONS = {"jobs_notice_s": "0.5", "jobs_parallel_max": "4"}


def open_local(folder: Path) -> Adapter:
    context = AdapterContext(home=folder, options=OPTIONS, clock_ms=lambda: time.time_ns() // 1_000_000)
    return open_adapter(f"file:{folder / 'store'}", context=context)


class TestJobs(JobContract):
    machines_max = 1

    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Adapter:
        self.folder = tmp_path
        return open_local(tmp_path)

    def reopened(self) -> Adapter:
        return open_local(self.folder)


class TestJobsThroughThePipeline(JobContract):
    machines_max = 1

    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Adapter:
        self.folder = tmp_path
        return wrap_adapter(open_local(tmp_path))

    def reopened(self) -> Adapter:
        return wrap_adapter(open_local(self.folder))
