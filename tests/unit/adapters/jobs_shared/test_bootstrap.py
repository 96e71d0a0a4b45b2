"""The program that carries out a job's plan: what the command finds, and what its end means."""

from __future__ import annotations

import ast
import json
import os
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.wheels import write_wheel
from tests.unit.adapters.jobs_shared.machine import Machine
from trackbridge_adapters._jobs import bootstrap

SECRET = "gdzie-rosnie-pieprz-7391"
SHOW = "import os, sys, json; print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]))"


def shown(machine: Machine, *words: str, **fields: object) -> tuple[list[str], dict[str, str], str]:
    """Return the words, the environment and the folder that a command found."""
    ended = machine.run(SHOW, *words, **fields)
    assert (ended.code, ended.err) == (0, "")
    found, variables, folder = json.loads(ended.out)
    return found, variables, folder


def test_it_is_written_for_old_machines() -> None:
    source = Path(bootstrap.__file__).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 8))
    imported = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in (node.names if isinstance(node, ast.Import) else [ast.alias(str(node.module))])
    }
    assert imported <= sys.stdlib_module_names


class TestEnds:
    @pytest.mark.parametrize(
        ("code", "exit_code", "noted"),
        [("", 0, 0), ("sys.exit(3)", 3, 3), ("os.kill(os.getpid(), 9)", 137, -9), ("os.abort()", 134, -6)],
    )
    def test_it_ends_as_the_command_does(
        self, machine: Machine, code: str, exit_code: int, noted: int
    ) -> None:
        assert machine.run(f"import os, sys\n{code}").code == exit_code
        result = machine.result()
        assert (result.job_id, result.attempt, result.exit_code) == ("j1", 1, noted)
        assert bool(result.reason) == (noted != 0)
        assert result.start_time is not None
        assert result.end_time is not None
        assert result.start_time <= result.end_time

    def test_what_the_command_writes_is_the_log_and_nothing_else(self, machine: Machine) -> None:
        ended = machine.run("import os; os.write(1, b'out \\r\\n'); os.write(2, b'err')")
        assert (ended.out, ended.err) == ("out \r\n", "err")

    def test_a_program_that_is_not_there(self, machine: Machine) -> None:
        ended = machine.run("", command=("there-is-no-such-program",))
        assert ended.code == 1
        assert "there-is-no-such-program" in machine.result().reason
        assert machine.result().exit_code is None

    def test_a_result_that_cannot_be_written_is_told_and_the_job_goes_on(self, machine: Machine) -> None:
        ended = machine.run("print('ran')", paths={"result": "/proc/nowhere/result.json"})
        assert (ended.code, ended.out) == (0, "ran\n")
        assert "cannot be written" in ended.err

    def test_attempts_until_one_succeeds(self, machine: Machine) -> None:
        code = (
            "import pathlib, sys\nf = pathlib.Path('tries')\nf.touch()\nf.write_text(f.read_text() + 'x')\n"
        )
        ended = machine.run(f"{code}print('tried')\nsys.exit(len(f.read_text()) < 3)", attempts_max=5)
        assert (ended.code, ended.out, ended.err) == (0, "tried\n" * 3, "")
        assert machine.result().attempt == 3

    def test_attempts_that_all_fail(self, machine: Machine) -> None:
        assert machine.run("import sys; sys.exit(4)", attempts_max=2).code == 4
        assert (machine.result().attempt, machine.result().exit_code) == (2, 4)


class TestFinds:
    def test_the_platforms_variables_are_taken_away_and_ours_set(self, machine: Machine) -> None:
        machine.variables |= {"MLFLOW_RUN_ID": "theirs", "MLFLOW_TRACKING_URI": "theirs", "KEPT": "theirs"}
        _, variables, _ = shown(machine, variables={"A": "1", "MLFLOW_RUN_ID": "ours"})
        assert (variables["A"], variables["KEPT"], variables["MLFLOW_RUN_ID"]) == ("1", "theirs", "ours")
        assert "MLFLOW_TRACKING_URI" not in variables
        assert variables["BRIDGE_JOB_ID"] == "j1"
        assert variables["BRIDGE_HOME"] == str(machine.place / "out/home")
        assert Path(variables["BRIDGE_HOME"]).is_dir()

    @pytest.mark.parametrize(
        ("uri", "delivery"), [("file:/somewhere", "later"), ("https://mlflow.example", None)]
    )
    def test_delivery_waits_where_the_tracking_is_a_folder_of_another_machine(
        self, machine: Machine, uri: str, delivery: str | None
    ) -> None:
        machine.variables.pop("BRIDGE_DELIVERY", None)
        _, variables, _ = shown(machine, variables={"BRIDGE_TRACKING_URI": uri}, notice_s=120.0)
        assert variables.get("BRIDGE_DELIVERY") == delivery
        assert variables["BRIDGE_DELIVERY_EXIT_WAIT_S"] == "115.0"

    def test_words_of_any_length_and_kind(self, machine: Machine) -> None:
        words = ("x" * 100_000, "", "$HOME *", "a\nb", "'\"\\", "Ü漢🚀", "{inputs.other}", "{checkpoints}")
        assert shown(machine, *words)[0] == list(words)

    def test_inputs_outputs_and_checkpoints(self, machine: Machine) -> None:
        (machine.folder / "mounted").mkdir()
        machine.variables["PLATFORM_IN"] = str(machine.folder / "mounted")
        paths = {
            "inputs": {"data": "$PLATFORM_IN/", "my-set": "given"},
            "outputs": {"model": "out/model"},
            "checkpoints": str(machine.folder / "kept"),
        }
        (machine.place / "given").touch()
        words = ("--data={inputs.data}/x", "{inputs.my-set}", "{outputs.model}", "{checkpoints}")
        found, variables, _ = shown(machine, *words, paths=paths)
        mounted, given = machine.folder / "mounted", machine.place / "given"
        model, kept = machine.place / "out/model", machine.folder / "kept"
        assert found == [f"--data={mounted}/x", str(given), str(model), str(kept)]
        assert variables["BRIDGE_INPUT_DATA"] == str(mounted)
        assert variables["BRIDGE_INPUT_MY-SET"] == str(given)
        assert variables["BRIDGE_OUTPUT_MODEL"] == str(model)
        assert variables["BRIDGE_CHECKPOINTS"] == str(kept)
        assert model.is_dir()
        assert kept.is_dir()

    def test_an_input_that_the_platform_has_not_brought(self, machine: Machine) -> None:
        ended = machine.run("print('ran')", paths={"inputs": {"data": "nowhere"}})
        assert (ended.code, ended.out) == (1, "")
        assert "the input data" in machine.result().reason

    def test_a_variable_that_the_platform_has_not_set(self, machine: Machine) -> None:
        assert machine.run("", paths={"outputs": {"o": "$NOT_SET_HERE/o"}}).code == 1
        assert "NOT_SET_HERE" in machine.result().reason

    def test_the_code_is_the_current_folder(self, machine: Machine) -> None:
        machine.code("helper.py", "VALUE = 42")
        assert machine.run("import helper; print(helper.VALUE)").out == "42\n"

    def test_an_archive_of_code_is_unpacked(self, machine: Machine) -> None:
        script = machine.folder / "run.sh"
        script.write_text("#!/bin/sh\necho unpacked\n", encoding="utf-8")
        script.chmod(0o755)
        with tarfile.open(machine.place / "code.tar.gz", "w:gz") as archive:
            archive.add(script, "run.sh")
        ended = machine.run("", command=("./run.sh",), paths={"code": "code.tar.gz"})
        assert (ended.code, ended.out, ended.err) == (0, "unpacked\n", "")
        assert not list(machine.folder.glob("bridge-code-*")), "nothing is left behind"

    def test_a_shell_finds_the_same_python(self, machine: Machine) -> None:
        machine.variables["PATH"] = os.defpath
        script = "python -c 'import sys; print(sys.executable)'"
        assert machine.run("", command=("sh", "-c", script)).out == f"{sys.executable}\n"


class TestSecrets:
    def test_from_a_variable_and_a_file(self, machine: Machine) -> None:
        machine.variables["MLFLOW_KEPT_HERE"] = SECRET
        (machine.folder / "secret").write_text(SECRET + "\n", encoding="utf-8")
        secrets = {"A": "env:MLFLOW_KEPT_HERE", "B": f"file:{machine.folder / 'secret'}"}
        _, variables, _ = shown(machine, secrets=secrets)
        assert (variables["A"], variables["B"]) == (SECRET, SECRET)
        assert SECRET not in machine.result_path.read_text(encoding="utf-8")

    @pytest.mark.parametrize("reference", ["env:NOT_SET_HERE", "file:/not/there", "vault:nowhere"])
    def test_a_reference_that_leads_to_nothing(self, machine: Machine, reference: str) -> None:
        assert machine.run("print('ran')", secrets={"MY_TOKEN": reference}).code == 1
        assert "MY_TOKEN" in machine.result().reason

    def test_from_the_platform(self, machine: Machine) -> None:
        machine.hooks(f"def secret(reference):\n    return {SECRET!r} if reference == 'vault:a' else 1 / 0\n")
        assert shown(machine, secrets={"A": "vault:a"})[1]["A"] == SECRET
        assert machine.run("", secrets={"A": "vault:b"}).code == 1
        assert "ZeroDivisionError" in machine.result().reason


class TestHooks:
    def test_the_plan_can_be_prepared_and_variables_be_saved(self, machine: Machine) -> None:
        machine.variables["MLFLOW_TRACKING_TOKEN"] = "theirs"
        machine.hooks(
            "import os\n"
            "def prepare(plan): plan['variables']['A'] = plan['job_id']\n"
            "def variables(): return {'SAVED': os.environ['MLFLOW_TRACKING_TOKEN']}\n"
        )
        _, variables, _ = shown(machine)
        assert (variables["A"], variables["SAVED"]) == ("j1", "theirs")
        assert "MLFLOW_TRACKING_TOKEN" not in variables

    def test_the_end_is_told(self, machine: Machine) -> None:
        machine.hooks(
            f"import json\ndef finish(plan, result):\n"
            f"    open({str(machine.folder / 'told')!r}, 'w').write(json.dumps([plan['job_id'], result]))\n"
        )
        assert machine.run("raise SystemExit(7)").code == 7
        job_id, result = json.loads((machine.folder / "told").read_text(encoding="utf-8"))
        assert (job_id, result["exit_code"], result["attempt"]) == ("j1", 7, 1)

    @pytest.mark.parametrize("name", ["prepare(plan)", "machines()", "variables()", "finish(plan, result)"])
    def test_what_they_raise_makes_the_job_fail(self, machine: Machine, name: str) -> None:
        machine.hooks(f"def {name}: raise KeyError('why')\n")
        ended = machine.run("")
        assert ended.code == 1
        assert "KeyError: 'why'" in ended.err

    def test_what_is_raised_at_the_end_is_in_the_result(self, machine: Machine) -> None:
        machine.hooks("def finish(plan, result): raise OSError('the output cannot be sent')\n")
        assert machine.run("").code == 1
        assert "the output cannot be sent" in machine.result().reason

    def test_journals_are_kept_after_each_attempt(self, machine: Machine) -> None:
        machine.hooks(
            "import shutil\ndef keep(home, kept): shutil.copytree(home, kept, dirs_exist_ok=True)\n"
        )
        code = "import os; open(os.environ['BRIDGE_HOME'] + '/journal', 'a').write('x'); raise SystemExit(1)"
        kept = machine.folder / "kept"
        assert machine.run(code, attempts_max=2, paths={"kept": str(kept)}).code == 1
        assert (kept / "journal").read_text(encoding="utf-8") == "xx"

    def test_what_cannot_be_kept_is_told_once(self, machine: Machine) -> None:
        machine.hooks("def keep(home, kept): raise OSError('no room')\n")
        ended = machine.run("raise SystemExit(1)", attempts_max=3)
        assert ended.code == 1
        assert ended.err.count("no room") == 1


class TestPython:
    @pytest.mark.parametrize(
        ("wanted", "told"),
        [
            (None, False),
            ("{}.{}".format(*sys.version_info), False),
            ("{}.{}.{}".format(*sys.version_info), False),
            ("3.1", True),
            ("3.99", True),
        ],
    )
    def test_another_one_than_was_asked_for_is_told(
        self, machine: Machine, wanted: str | None, told: bool
    ) -> None:
        ended = machine.run("", python=wanted)
        assert ended.code == 0
        assert (f"Python {wanted} is asked for, and the image has 3." in ended.err) == told


class TestRequirements:
    @pytest.fixture(autouse=True)
    def _offline(self, machine: Machine) -> None:
        wheels = machine.folder / "wheels"
        write_wheel(wheels, "tiny")
        machine.variables |= {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "PIP_CONFIG_FILE": os.devnull,
        }

    def test_they_are_there_beside_what_the_image_has(self, machine: Machine) -> None:
        code = "import tiny, msgspec, sys; print('found', tiny.VALUE, sys.prefix)"
        ended = machine.run(code, requirements=("tiny==1.0", "msgspec"))
        assert ended.code == 0, ended.err
        *log, last = ended.out.splitlines()
        assert any("tiny" in line for line in log), "how it was made is in the log"
        assert last.startswith(f"found 42 {machine.folder}")
        assert not list(machine.folder.glob("bridge-env-*")), "nothing is left behind"

    def test_a_shell_finds_them(self, machine: Machine) -> None:
        command = ("sh", "-c", "python -c 'import tiny; print(tiny.VALUE)'")
        assert machine.run("", command=command, requirements=("tiny",)).out.endswith("42\n")

    def test_what_cannot_be_installed_fails_before_the_command(self, machine: Machine) -> None:
        ended = machine.run("print('ran')", requirements=("there-is-no-such-package",), attempts_max=3)
        assert ended.code == 1
        assert "ran\n" not in ended.out
        assert "there-is-no-such-package" in ended.out + ended.err
        result = machine.result()
        assert "requirements" in result.reason
        assert (result.attempt, result.exit_code) == (0, None)
