"""The job contract on Spark: spark-submit to a real local cluster, with executors of their own.

Which parts of it run when, ``conftest`` tells.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.spark_submissions import CONF
from trackbridge.domain.jobs import Launcher
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts import CapabilitiesContract, JobContract
from trackbridge_adapters.spark import open_adapter

CLUSTER = "local-cluster[2,2,1024]"
OPTIONS = {"jobs_notice_s": "1", "jobs_parallel_max": "4", **CONF}


def open_spark(master: str, folder: Path, options: Mapping[str, str] = OPTIONS) -> Adapter:
    context = AdapterContext(home=folder, options=options, clock_ms=lambda: time.time_ns() // 1_000_000)
    return open_adapter(f"spark:{master}", context=context)


class TestCapabilities(CapabilitiesContract):
    @pytest.fixture(params=["local[2]", CLUSTER, "yarn"])
    def adapter(self, request: pytest.FixtureRequest, tmp_path: Path) -> Adapter:
        return open_spark(request.param, tmp_path)


class TestJobs(JobContract):
    patience_s = 240.0
    limit_s = 25
    launchers: frozenset[Launcher] = frozenset()

    @pytest.fixture
    def adapter(self, quick: None, tmp_path: Path) -> Adapter:
        self.folder = tmp_path
        return open_spark(CLUSTER, tmp_path)

    def reopened(self) -> Adapter:
        return open_spark(CLUSTER, self.folder)
