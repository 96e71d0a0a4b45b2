"""The job contract on ``sagemaker:``, against the emulator, which really runs what it is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.sagemaker_jobs import BUCKET, files_at, jobs_emulator, open_place, put_files
from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import Compute, JobFacts, JobSpec, JobStatus
from trackbridge.ports.adapter import Adapter
from trackbridge.testing.contracts import JobContract
from trackbridge.testing.contracts.jobs_base import JobTests, NewInput, ReadBack
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator


@pytest.fixture(scope="module", autouse=True)
def emulator() -> Iterator[SageMakerEmulator]:
    with jobs_emulator() as emulator:
        yield emulator


class Binding(JobTests):
    missing_secret = "secretsmanager:is-not-there"
    missing_input = f"s3://{BUCKET}/there/is/none"
    long_lines = 50_000
    pause_s = 0.1

    @pytest.fixture
    def adapter(self, emulator: SageMakerEmulator, tmp_path: Path) -> Iterator[Adapter]:
        # A place of its own for each test: what other tests left in the account is not seen from there.
        self.uri = f"{emulator.uri}/{mint_id()}"
        self.home = tmp_path
        yield self.reopened()
        emulator.raise_failures()

    def reopened(self) -> Adapter:
        return open_place(self.uri, self.home)

    @pytest.fixture
    def new_secret(self, emulator: SageMakerEmulator) -> Callable[[str], str]:
        def keep(value: str) -> str:
            name = f"contract-{mint_id()}"
            emulator.client("secretsmanager").create_secret(Name=name, SecretString=value)
            return f"secretsmanager:{name}"

        return keep

    @pytest.fixture
    def new_place(self) -> Callable[[], str]:
        return lambda: f"s3://{BUCKET}/{mint_id()}"

    @pytest.fixture
    def new_input(self, emulator: SageMakerEmulator, new_place: Callable[[], str]) -> NewInput:
        return lambda files: put_files(emulator, new_place(), files)

    @pytest.fixture
    def read_back(self, emulator: SageMakerEmulator) -> ReadBack:
        return lambda place: files_at(emulator, place)

    def logged(self, text: str) -> str:
        """Return the lines as CloudWatch keeps them: none that is empty, and each with an end."""
        return "".join(f"{line}\n" for line in text.replace("\r\n", "\n").split("\n") if line)


class TestTrainingJobs(Binding, JobContract):
    pass


class TestProcessingJobs(Binding):
    """What differs from training jobs: where things are, and that SageMaker itself brings outputs home."""

    def spec(self, code: str = "", **fields: object) -> JobSpec:
        return super().spec(code, **{"compute": Compute(cluster="processing"), **fields})

    def test_it_runs_with_data_and_keeps_its_journal(
        self, new_input: NewInput, new_place: Callable[[], str], read_back: ReadBack
    ) -> None:
        code = (
            "import os, pathlib, shutil\n"
            "source = pathlib.Path(os.environ['BRIDGE_INPUT_DATA'], 'deep')\n"
            "shutil.copytree(source, pathlib.Path(os.environ['BRIDGE_OUTPUT_MODEL'], 'deep'))\n"
            "journal = pathlib.Path(os.environ['BRIDGE_HOME'], 'journal')\n"
            "journal.mkdir()\n"
            "(journal / 'records').write_text('accepted')\n"
            "print('done')\n"
        )
        place = new_place()
        state = self.run(
            code, name="a name", inputs={"data": new_input({"deep/x": b"1"})}, outputs={"model": place}
        )
        assert (state.status, state.exit_code, state.name) == (JobStatus.SUCCEEDED, 0, "a name")
        assert read_back(place) == {"deep/x": b"1"}
        assert read_back(state.kept_uri)["journal/records"] == b"accepted"
        assert self.log(state.job_id) == "done\n"
        assert state.facts == JobFacts(instance_type="ml.m5.large", instance_count=1, is_spot=False)
        assert list(self.jobs.list_jobs()) == [state]

    def test_its_failure_is_told(self) -> None:
        state = self.run("raise SystemExit(3)")
        assert (state.status, state.exit_code) == (JobStatus.FAILED, 3)
        assert "3" in state.reason

    def test_it_is_cancelled(self) -> None:
        job_id = self.submit("import time\nwhile True: time.sleep(1)").job_id
        self.running(job_id)
        self.jobs.cancel(job_id)
        assert self.ended(job_id).status is JobStatus.CANCELLED

    def test_several_machines_know_each_other(self) -> None:
        code = "import os; print(os.environ['RANK'], os.environ['WORLD_SIZE'], os.environ['MASTER_ADDR'])"
        state = self.run(code, compute=Compute(cluster="processing", instance_count=2))
        assert state.status is JobStatus.SUCCEEDED
        lines = sorted(self.log(state.job_id).splitlines())
        assert lines == ["[algo-1] 0 2 algo-1", "[algo-2] 1 2 algo-1"]

    def test_a_key_stands_for_one_job_of_either_kind(self) -> None:
        key = mint_id()
        state = self.submit("", key=key)
        assert self.submit("", key=key).job_id == state.job_id
        self.is_refused(self.spec(checkpoints=f"s3://{BUCKET}/kept"), "checkpoints")
        self.is_refused(self.spec(compute=Compute(cluster="processing", spot=True)), "compute")

    def test_both_kinds_are_listed_by_time(self) -> None:
        made = [self.run(), self.run(compute=Compute()), self.run()]
        first = self.jobs.list_jobs(max_results=2)
        second = self.jobs.list_jobs(max_results=2, token=first.token)
        assert [*first.items, *second.items] == made[::-1]
        assert second.token is None
