"""The job contract on the Databricks double, which really runs the programs, through the call pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from trackbridge.calls.pipeline import wrap_adapter
from trackbridge.domain.ids import mint_id
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.testing.contracts import JobContract
from trackbridge.testing.contracts.jobs_base import NewInput, ReadBack
from trackbridge.testing.emulators.databricks import Databricks
from trackbridge_adapters.databricks import open_workspace

NOBODY = "http://127.0.0.1:9"
FOLDER = "/Volumes/main/ml/jobs/contract"
OPTIONS = {"job_folder": FOLDER, "job_node_type": "i3.xlarge", "job_notice_s": "1"}


def open_jobs(databricks: Databricks, home: Path, options: Mapping[str, str] = OPTIONS) -> Adapter:
    context = AdapterContext(home=home, options=options, clock_ms=lambda: time.time_ns() // 1_000_000)
    return open_workspace("databricks", context=context, environment=databricks.environment())


@pytest.fixture(scope="module")
def workspace() -> Iterator[Databricks]:
    with Databricks(NOBODY) as databricks:
        yield databricks


@pytest.fixture
def databricks(workspace: Databricks) -> Iterator[Databricks]:
    yield workspace
    workspace.clear()


class TestJobs(JobContract):
    patience_s = 120.0
    missing_secret = "databricks-secret:contract/missing"
    missing_input = "/Volumes/main/ml/data/missing"
    launchers = frozenset()
    machines_max = 1

    @pytest.fixture
    def adapter(self, databricks: Databricks, tmp_path: Path) -> Adapter:
        self.databricks, self.home = databricks, tmp_path
        return wrap_adapter(open_jobs(databricks, tmp_path))

    def reopened(self) -> Adapter:
        return wrap_adapter(open_jobs(self.databricks, self.home))

    @pytest.fixture
    def new_secret(self, databricks: Databricks) -> Callable[[str], str]:
        def keep(value: str) -> str:
            name = mint_id()
            databricks.jobs.secrets["contract", name] = value
            return f"databricks-secret:contract/{name}"

        return keep

    @pytest.fixture
    def new_input(self, databricks: Databricks) -> NewInput:
        def provide(files: dict[str, bytes]) -> str:
            place = f"/Volumes/main/ml/data/{mint_id()}"
            for path, content in files.items():
                databricks.files.write(f"{place}/{path}", content)
            return place

        return provide

    @pytest.fixture
    def new_place(self) -> Callable[[], str]:
        return lambda: f"dbfs:/Volumes/main/ml/data/{mint_id()}"

    @pytest.fixture
    def read_back(self, databricks: Databricks) -> ReadBack:
        def read(place: str) -> dict[str, bytes]:
            folder = place.removeprefix("dbfs:") + "/"
            databricks.files.volumes.read()
            below = databricks.files.below(folder)
            return {path.removeprefix(folder): databricks.files.files[path][0] for path in below}

        return read
