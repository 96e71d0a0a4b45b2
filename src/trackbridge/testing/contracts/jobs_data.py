"""The job contract: inputs, outputs, checkpoints, and the folder that the platform keeps."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec
import pytest

from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import JobState, JobStatus
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import each, requires
from trackbridge.testing.contracts.jobs_base import JobTests, NewInput, ReadBack, errors_of

FILES = {"train.csv": b"a,b\n1,2\n", "parts/deep/Ü.bin": b"\0\xff" * 5000}

WRONG: dict[str, dict[str, object]] = {
    "input_without_name": {"inputs": {"": "/tmp"}},
    "input_with_a_slash": {"inputs": {"a/b": "/tmp"}},
    "input_without_place": {"inputs": {"a": ""}},
    "inputs_of_one_variable": {"inputs": {"data": "/tmp", "Data": "/tmp"}},
    "output_without_place": {"outputs": {"a": ""}},
    "output_with_nul": {"outputs": {"a": "/tmp/\0"}},
    "checkpoints_without_place": {"checkpoints": ""},
}
"""Data that no backend can bring or take."""

ELSEWHERE: dict[str, dict[str, object]] = {
    "inputs": {"inputs": {"data": "s3://no-such-bucket/data"}},
    "outputs": {"outputs": {"model": "s3://no-such-bucket/model"}},
    "checkpoints": {"checkpoints": "abfss://no-such-container@none.dfs.core.windows.net/x"},
}
"""Data that a backend may take or not."""

KEEPS_COUNT = """
import os, pathlib, sys
count = pathlib.Path(os.environ["BRIDGE_CHECKPOINTS"], "deep", "count")
count.parent.mkdir(exist_ok=True)
seen = int(count.read_text()) if count.exists() else 0
count.write_text(str(seen + 1))
sys.exit(0 if seen == {last} else 9)
"""
"""Succeeds once it has been started for the right time."""

KEEPS_JOURNAL = """
import os, pathlib, signal
if os.environ.get("BRIDGE_HOME", "") not in ("", {ours!r}):
    journal = pathlib.Path(os.environ["BRIDGE_HOME"], "journal", "of a program")
    journal.mkdir(parents=True)
    (journal / "records").write_bytes(b"accepted")
{then}
"""
"""Writes where journals lie, unless that is the home of the tests themselves."""


class DataTests(JobTests):
    """What is brought, what is taken, and what stays."""

    def well(self, state: JobState) -> None:
        """Demand success."""
        assert (state.status, state.exit_code) == (JobStatus.SUCCEEDED, 0), state

    @requires(Feature.JOBS_DATA)
    def test_inputs_are_there_as_files_and_do_not_mix(self, new_input: NewInput) -> None:
        code = (
            "import os, pathlib\nroot = pathlib.Path(os.environ['BRIDGE_INPUT_DATA'])\n"
            "files = [path for path in root.rglob('*') if path.is_file()]\n"
            "found = {path.relative_to(root).as_posix(): path.read_bytes() for path in files}\n"
            "others = [pathlib.Path(os.environ['BRIDGE_INPUT_' + name], 'x').read_bytes() for name in 'AB']\n"
            f"raise SystemExit(8 if found != {FILES!r} else 9 if others != [b'1', b'2'] else 0)"
        )
        inputs = {"data": FILES, "a": {"x": b"1"}, "b": {"x": b"2"}}
        self.well(self.run(code, inputs={name: new_input(files) for name, files in inputs.items()}))

    @requires(Feature.JOBS_DATA)
    def test_words_of_the_command_find_them(self, new_input: NewInput, new_place: Callable[[], str]) -> None:
        code = (
            "import os, sys\n"
            "wanted = [os.environ['BRIDGE_INPUT_DATA'] + '/x', '--to=' + os.environ['BRIDGE_OUTPUT_MODEL'],\n"
            "    os.environ['BRIDGE_CHECKPOINTS'], '{inputs' + '.other}', '{}', '{' + 'model}']\n"
            "sys.exit(0 if sys.argv[1:] == wanted and open(sys.argv[1]).read() == 'here' else 9)"
        )
        words = (
            "{inputs.data}/x",
            "--to={outputs.model}",
            "{checkpoints}",
            "{inputs.other}",
            "{}",
            "{model}",
        )
        state = self.run(
            command=(*self.command(code), *words),
            inputs={"data": new_input({"x": b"here"})},
            outputs={"model": new_place()},
            checkpoints=new_place(),
        )
        self.well(state)

    @requires(Feature.JOBS_DATA)
    def test_what_is_written_to_an_output_is_there_afterwards(
        self, new_place: Callable[[], str], read_back: ReadBack
    ) -> None:
        places = {"model": new_place(), "other": new_place()}
        code = (
            "import os, pathlib\nroot = pathlib.Path(os.environ['BRIDGE_OUTPUT_MODEL'])\n"
            f"for path, content in {FILES!r}.items():\n"
            "    (root / path).parent.mkdir(parents=True, exist_ok=True)\n"
            "    (root / path).write_bytes(content)\n"
            "pathlib.Path(os.environ['BRIDGE_OUTPUT_OTHER'], 'x').touch()\n"
        )
        self.well(self.run(code, outputs=places))
        assert read_back(places["model"]) == FILES
        assert read_back(places["other"]) == {"x": b""}

    @requires(Feature.JOBS_DATA)
    def test_checkpoints_survive_an_attempt(self, new_place: Callable[[], str]) -> None:
        state = self.run(KEEPS_COUNT.format(last=2), checkpoints=new_place(), attempts_max=3)
        self.well(state)
        assert state.attempt == 3

    @requires(Feature.JOBS_DATA)
    def test_a_missing_input_is_found_before(self) -> None:
        spec = self.spec(inputs={"data": self.missing_input})
        self.is_refused(spec, "inputs")

    @requires(Feature.JOBS_DATA)
    @each("fields", WRONG.values())
    def test_wrong_data_is_found_and_refused(self, fields: dict[str, object]) -> None:
        self.is_refused(msgspec.structs.replace(self.spec(), **fields), next(iter(fields)))

    @requires(Feature.JOBS_DATA)
    @each("fields", ELSEWHERE.values())
    def test_a_place_that_is_not_taken_is_found_before(self, fields: dict[str, object]) -> None:
        spec = msgspec.structs.replace(self.spec(), **fields)
        if errors_of(self.jobs.check(spec)):
            self.is_refused(spec, next(iter(fields)))
        else:
            assert not self.submit_spec(spec).reason


class KeptTests(JobTests):
    """The journal of a program outlives its machine; its run is known to it."""

    @pytest.mark.parametrize("then", ["", "os.kill(os.getpid(), signal.SIGKILL)"], ids=["well", "killed"])
    def test_a_journal_is_kept(self, then: str, read_back: ReadBack) -> None:
        ours = os.environ.get("BRIDGE_HOME", "")
        state = self.run(KEEPS_JOURNAL.format(then=then, ours=ours))
        assert state.status is (JobStatus.FAILED if then else JobStatus.SUCCEEDED)
        if state.kept_uri:
            assert read_back(state.kept_uri).get("journal/of a program/records") == b"accepted"

    def test_the_program_knows_its_run_and_its_job(self) -> None:
        run_id = mint_id()
        variables = {
            "BRIDGE_TRACKING_URI": "https://tracking.example",
            "BRIDGE_RUN_ID": run_id,
            "BRIDGE_EXPERIMENT_NAME": "an experiment",
            "MLFLOW_TRACKING_URI": "bridge:",
            "MLFLOW_RUN_ID": run_id,
        }
        code = (
            "import os\n"
            f"found = {{name: os.environ.get(name) for name in {sorted(variables)!r}}}\n"
            f"raise SystemExit(9 if found != {variables!r} else 0 if os.environ['BRIDGE_JOB_ID'] else 8)"
        )
        state = self.run(
            code, variables=variables, run_id=run_id, tracking_uri=variables["BRIDGE_TRACKING_URI"]
        )
        assert (state.status, state.run_id) == (JobStatus.SUCCEEDED, run_id)
        assert state.tracking_uri == variables["BRIDGE_TRACKING_URI"]
