"""Inputs, outputs and checkpoints of local jobs, several processes of one, and what a program finds."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.support.s3_servers import BUCKET, KEY, REGION, SECRET, s3_client, s3_server
from tests.unit.adapters.local.job_rig import FOREVER, Rig, until
from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.file_uris import file_uri
from trackbridge.domain.jobs import Compute, Environment, JobFacts, JobSpec, JobStatus, Launcher
from trackbridge.errors import Rejected
from trackbridge.operations.job_inputs import bring
from trackbridge.ports.findings import Finding, Severity
from trackbridge_adapters.local import jobs as jobs_module

SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"


def errors(rig: Rig, **fields: object) -> list[Finding]:
    found = rig.jobs.check(rig.spec(**fields))
    return [finding for finding in found if finding.severity is Severity.ERROR]


def shown(rig: Rig, *words: str, **fields: object) -> tuple[list[str], dict[str, str]]:
    state = rig.run(command=(sys.executable, "-c", SHOW, *words), **fields)
    assert state.status is JobStatus.SUCCEEDED, (state, rig.log(state.job_id))
    found, variables = json.loads(rig.log(state.job_id))
    return found, variables


class TestData:
    def test_it_is_used_where_it_lies(self, rig: Rig, tmp_path: Path) -> None:
        (tmp_path / "in put").mkdir()
        places = {
            "inputs": {"data": str(tmp_path / "in put"), "same": file_uri(tmp_path / "in put")},
            "outputs": {"model": str(tmp_path / "out")},
            "checkpoints": file_uri(tmp_path / "kept"),
        }
        words = ("{inputs.data}", "{inputs.same}", "--out={outputs.model}/x", "{checkpoints}", "{outputs}")
        found, variables = shown(rig, *words, **places)
        data, out, kept = str(tmp_path / "in put"), str(tmp_path / "out"), str(tmp_path / "kept")
        assert found == [data, data, f"--out={out}/x", kept, "{outputs}"]
        assert (variables["BRIDGE_INPUT_DATA"], variables["BRIDGE_INPUT_SAME"]) == (data, data)
        assert (variables["BRIDGE_OUTPUT_MODEL"], variables["BRIDGE_CHECKPOINTS"]) == (out, kept)
        assert os.path.isdir(out)
        assert os.path.isdir(kept)

    def test_a_relative_path_starts_where_the_job_was_submitted(
        self, rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("data").mkdir()
        _, variables = shown(rig, inputs={"d": "data"}, outputs={"o": "o/o"}, code_dir=str(tmp_path / "data"))
        assert variables["BRIDGE_INPUT_D"] == str(tmp_path / "data")
        assert variables["BRIDGE_OUTPUT_O"] == str(tmp_path / "o" / "o")

    @pytest.mark.parametrize(
        ("field", "place"),
        [
            ("inputs", "models:/name/1"),
            ("inputs", "https://me:Pa55word@a.example/x"),
            ("inputs", "azureml://me:Pa55word@a.example/x"),
            ("outputs", "s3://bucket/key"),
            ("checkpoints", "abfss://container@account.dfs.core.windows.net/key"),
        ],
    )
    def test_a_place_elsewhere_is_refused(self, rig: Rig, field: str, place: str) -> None:
        (error,) = errors(rig, **{field: place if field == "checkpoints" else {"data": place}})
        assert error.subject == field
        assert "local jobs" in error.message
        assert "Pa55word" not in repr(error)

    @pytest.mark.parametrize("field", ["outputs", "checkpoints"])
    def test_a_file_is_no_folder_to_write_to(self, rig: Rig, tmp_path: Path, field: str) -> None:
        (tmp_path / "file").touch()
        place = str(tmp_path / "file")
        (error,) = errors(rig, **{field: place if field == "checkpoints" else {"data": place}})
        assert "is a file" in error.message

    def test_a_folder_that_cannot_be_made_fails_the_job(self, rig: Rig, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        state = rig.run(outputs={"o": str(tmp_path / "file" / "below")})
        assert state.status is JobStatus.FAILED
        assert "below" in state.reason


class TestBroughtInputs:
    @pytest.fixture
    def bucket(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
        """Return the address of a folder of a bucket, with files in it."""
        for name, value in {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "BRIDGE_HOME": str(tmp_path / "home"),
        }.items():
            monkeypatch.setenv(name, value)
        with s3_server() as endpoint:
            monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
            for path in ("a.csv", "deep/b.bin"):
                s3_client(endpoint).put_object(Bucket=BUCKET, Key=f"data/{path}", Body=path.encode())
            yield f"s3://{BUCKET}/data"

    def test_files_of_a_bucket_are_there_and_gone_afterwards(self, rig: Rig, bucket: str) -> None:
        code = (
            "import os, pathlib\nroot = pathlib.Path(os.environ['BRIDGE_INPUT_D'])\n"
            "print(root, sorted((str(p.relative_to(root)), p.read_text()) for p in root.rglob('*.*')))\n"
            "print(open(os.environ['BRIDGE_INPUT_ONE']).read())"
        )
        state = rig.run(code, inputs={"d": bucket, "one": f"{bucket}/a.csv"})
        log = rig.log(state.job_id)
        assert state.status is JobStatus.SUCCEEDED, (state, log)
        folder = rig.store / "jobs" / state.job_id / "inputs"
        files = [("a.csv", "a.csv"), ("deep/b.bin", "deep/b.bin")]
        assert log == f"{folder / 'd'} {files}\na.csv\n"
        assert not folder.exists()

    def test_what_is_not_there_fails_the_job_with_the_reason(self, rig: Rig, bucket: str) -> None:
        state = rig.run("print('ran')", inputs={"d": f"{bucket}/nothing"})
        assert (state.status, state.exit_code) == (JobStatus.FAILED, None)
        assert "the input d cannot be brought" in state.reason
        assert "there are no files" in state.reason
        assert "ran" not in rig.log(state.job_id)

    def test_a_path_that_leads_out_is_not_followed(self, tmp_path: Path) -> None:
        class Evil:
            def reads(self, address: str) -> bool:
                return True

            def members_at(self, address: str) -> list[tuple[str, ArtifactInfo]]:
                return [("../stolen", ArtifactInfo(path="../stolen", is_dir=False, file_size=1))]

            def open_at(self, address: str, path: str) -> BinaryIO:
                return io.BytesIO(b"x")

            def known_digest_at(self, address: str, path: str) -> None:
                return None

            def address_for_registry(self, address: str) -> str:
                return address

        with pytest.raises(Rejected, match="leads out"):
            bring("s3://bucket/data", tmp_path / "inputs", Evil())
        assert not (tmp_path / "stolen").exists()


class TestSeveralProcesses:
    def test_they_are_cancelled_together(self, rig: Rig, tmp_path: Path) -> None:
        begun = f"import os; open({str(tmp_path)!r} + '/' + os.environ['RANK'], 'w').close()\n"
        job_id = rig.submit(begun + FOREVER, processes_per_node=3)
        until(lambda: all((tmp_path / str(rank)).exists() for rank in range(3)))
        rig.jobs.cancel(job_id)
        assert rig.ended(job_id).status is JobStatus.CANCELLED
        until(lambda: rig.processes() == [])

    def test_they_may_leave_by_themselves_when_asked(self, rig: Rig, tmp_path: Path) -> None:
        code = (
            "import os, signal, sys, time\n"
            "def leave(*_):\n    os.write(1, b'left\\n')\n    os._exit(0)\n"
            "signal.signal(signal.SIGTERM, leave)\n"
            f"open({str(tmp_path)!r} + '/' + os.environ['RANK'], 'w').close()\n"
            "while True: time.sleep(0.01)"
        )
        rig.jobs = rig.open(jobs_notice_s="60").jobs
        job_id = rig.submit(code, processes_per_node=2)
        until(lambda: all((tmp_path / str(rank)).exists() for rank in range(2)))
        rig.jobs.cancel(job_id)
        assert rig.ended(job_id).exit_code == 0
        assert rig.log(job_id) == "left\n" * 2

    @pytest.mark.parametrize(("how", "code"), [("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", 137)])
    def test_the_first_failure_tells_the_code(self, rig: Rig, how: str, code: int) -> None:
        program = f"import os, sys, time\nif os.environ['RANK'] == '1': {how}\nwhile True: time.sleep(1)"
        assert rig.run(program, processes_per_node=3).exit_code == code

    def test_words_of_any_length_reach_each(self, rig: Rig) -> None:
        code = "import os, sys; os.write(1, f'{len(sys.argv[1])}\\n'.encode())"
        state = rig.run(command=(sys.executable, "-c", code, "x" * 100_000), processes_per_node=2)
        assert rig.log(state.job_id) == "100000\n" * 2

    def test_two_jobs_meet_at_two_ports(self, rig: Rig) -> None:
        code = "import os; os.write(1, (os.environ['MASTER_PORT'] + '\\n').encode())"
        logs = [rig.log(rig.run(code, processes_per_node=2).job_id).split() for _ in range(2)]
        assert all(len(set(log)) == 1 for log in logs)
        assert logs[0] != logs[1]

    def test_a_launcher_that_is_not_installed_is_named(self, rig: Rig) -> None:
        state = rig.run(launcher=Launcher.MPI, variables={"PATH": "/nowhere"})
        assert state.status is JobStatus.FAILED
        assert "mpirun" in state.reason

    def test_several_machines_and_spark_are_refused(self, rig: Rig) -> None:
        assert [e.subject for e in errors(rig, compute=Compute(instance_count=2))] == ["compute"]
        assert [e.subject for e in errors(rig, launcher=Launcher.SPARK)] == ["launcher"]
        with pytest.raises(Rejected, match="one machine"):
            rig.submit(compute=Compute(instance_count=2))


class TestVariables:
    def test_the_submitters_own_run_is_not_the_jobs(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("EXPERIMENT_ID", "EXPERIMENT_NAME", "RUN_ID", "RUN_NAME"):
            monkeypatch.setenv(f"MLFLOW_{name}", "the submitter's")
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
        _, variables = shown(rig, variables={"MLFLOW_RUN_ID": "the job's"})
        assert variables["MLFLOW_RUN_ID"] == "the job's"
        assert variables["MLFLOW_TRACKING_USERNAME"] == "me"
        assert "the submitter's" not in variables.values()

    def test_a_shell_finds_the_submitters_python(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", os.defpath)
        state = rig.run(command=("sh", "-c", "python -c 'import sys; print(sys.executable)'"))
        assert rig.log(state.job_id) == f"{sys.executable}\n"

    def test_a_path_that_already_leads_there_stays(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        path = os.pathsep.join(("/nowhere", os.path.dirname(sys.executable), os.defpath))
        monkeypatch.setenv("PATH", path)
        assert shown(rig)[1]["PATH"] == path

    def test_a_path_of_the_spec_stays(self, rig: Rig) -> None:
        assert shown(rig, variables={"PATH": "/nowhere"})[1]["PATH"] == "/nowhere"


def test_a_job_of_a_job_does_not_wait_for_its_slot(rig: Rig) -> None:
    """One job at a time: the parent holds the slot and waits for its child."""
    store = file_uri(rig.store)
    child = (
        "import sys, time\n"
        "from trackbridge.domain.jobs import JobSpec\n"
        "from trackbridge.ports.adapter import AdapterContext\n"
        "from trackbridge_adapters.local import open_adapter\n"
        f"context = AdapterContext(home=None, options={{'jobs_parallel_max': '1'}}, clock_ms=lambda: 1)\n"
        f"jobs = open_adapter({store!r}, context=context).jobs\n"
        "state = jobs.submit(JobSpec(name='child', command=(sys.executable, '-c', '')), key='child')\n"
        "while not jobs.status(state.job_id).status.is_final: time.sleep(0.01)\n"
        "print(jobs.status(state.job_id).status.value)\n"
    )
    parent = rig.submit(child)
    waiting = rig.submit("")  # is before the child in the queue
    state = rig.ended(parent)
    assert rig.log(parent) == "SUCCEEDED\n", state
    assert rig.ended(waiting).status is JobStatus.SUCCEEDED


def test_what_it_used_is_nothing_that_is_paid_for(rig: Rig) -> None:
    assert rig.run().facts == JobFacts(instance_count=1, is_spot=False, billed_s=0, interruptions=0)


class TestPreview:
    def test_it_is_the_spec_without_secrets(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("S", "Pa55word")
        spec = JobSpec(
            name="a",
            command=("python", "train.py", "--token=Pa55word"),
            variables={"MY_TOKEN": "Pa55word"},
            secrets={"S": "env:S"},
        )
        preview = rig.jobs.preview(spec)
        assert preview.request["name"] == "a"
        assert preview.request["secrets"] == {"S": "env:S"}
        assert "Pa55word" not in repr(preview)
        assert (preview.billed_to, preview.hours_max, preview.files) == ("", 0.0, 0)

    def test_it_writes_nothing(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path)
        rig.jobs.preview(rig.spec())
        assert not rig.store.exists()


class TestVersionOfPython:
    def uv(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Put a uv in place that notes its words and makes an environment of links to this interpreter."""
        told = rig.folder / "told"
        code = (
            "import os, sys\n"
            f"open({str(told)!r}, 'a').write(' '.join(sys.argv[1:]) + chr(10))\n"
            "if sys.argv[1] == 'venv':\n"
            "    os.makedirs(sys.argv[-1] + '/bin')\n"
            f"    os.symlink({sys.executable!r}, sys.argv[-1] + '/bin/python')\n"
        )
        program = rig.folder / "uv"
        program.write_text(f"#!{sys.executable}\n{code}", encoding="utf-8")
        program.chmod(0o700)
        monkeypatch.setattr(jobs_module, "find_uv", lambda: str(program))
        return told

    def test_uv_makes_the_environment_with_it_once(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        told = self.uv(rig, monkeypatch)
        for _ in range(2):
            state = rig.run(environment=Environment(python="3.12"), command=("python", "-c", ""))
            assert state.status is JobStatus.SUCCEEDED, state.reason
        words = told.read_text(encoding="utf-8").splitlines()
        assert len(words) == 1
        assert "--python 3.12 " in words[0]

    def test_another_version_is_another_environment(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        told = self.uv(rig, monkeypatch)
        for version in ("3.12", "3.11", None):
            environment = Environment(python=version, requirements=("a-package",))
            assert rig.run(environment=environment).status is JobStatus.SUCCEEDED
        made = [line for line in told.read_text(encoding="utf-8").splitlines() if line.startswith("venv")]
        assert len(made) == 3

    @pytest.mark.parametrize("version", ["three", "3", "2.7", ">=3.11", "3.11 "])
    def test_what_is_no_version_is_refused(self, rig: Rig, version: str) -> None:
        assert errors(rig, environment=Environment(python=version))


def test_job_ranks_ends_with_its_processes_when_killed(rig: Rig, tmp_path: Path) -> None:
    note = f"import os; open({str(tmp_path)!r} + '/' + os.environ['RANK'], 'w').write(str(os.getppid()))\n"
    job_id = rig.submit(note + FOREVER, processes_per_node=2)
    until(
        lambda: all((tmp_path / str(rank)).exists() and (tmp_path / str(rank)).read_text() for rank in (0, 1))
    )
    os.kill(int((tmp_path / "0").read_text(encoding="utf-8")), signal.SIGKILL)
    state = rig.ended(job_id)
    assert (state.status, state.exit_code) == (JobStatus.FAILED, -9)
    until(lambda: rig.processes() == [])
