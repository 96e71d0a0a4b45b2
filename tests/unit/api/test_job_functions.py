"""Functions as jobs: which can be, what travels, and what comes back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trackbridge as tb
from trackbridge.api import job_functions
from trackbridge.api.job_functions import importable_as
from trackbridge.errors import BridgeError, InvalidInput, NotFound

MODULE = """
import trackbridge as tb

@tb.job(name="training", time_limit_s=120)
def train(alpha: float, rounds: int = 2, note: str = "it's"):
    with tb.start_run() as run:
        tb.log_metric("loss", alpha * rounds)
    return {"loss": alpha * rounds, "run": run.info.run_id, "note": note}

@tb.job
def fail(text):
    raise ValueError(text)

@tb.job
def odd():
    return object()

def plain(**options):
    return sorted(options)
"""
SCRIPT = """
import trackbridge as tb

@tb.job
def double(x):
    return 2 * x

{call}
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of a package in a folder of its own, and a fresh place for runs."""
    import importlib

    package = tmp_path / "code/jobs_of_test"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "steps.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRIDGE_TRACKING_URI", str(tmp_path / "runs"))
    monkeypatch.setattr("trackbridge.api.fluent._client", None)
    monkeypatch.setattr("trackbridge.api.fluent._experiment", None)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    yield importlib.import_module("jobs_of_test.steps")
    for name in ("jobs_of_test.steps", "jobs_of_test"):
        sys.modules.pop(name, None)


def test_a_function_runs_as_a_job(module: Any) -> None:
    job = module.train.submit(0.5, note="ü $HOME")
    assert job.result() == {"loss": 1.0, "run": job.run_id, "note": "ü $HOME"}
    run = tb.Client().get_run(job.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "training")
    assert run.data.params == {"alpha": "0.5", "rounds": "2", "note": "ü $HOME"}
    assert run.data.metrics == {"loss": 1.0}


def test_it_can_still_be_called(module: Any) -> None:
    assert module.train.__name__ == "train"
    with pytest.raises(ValueError, match="here"):
        module.fail("here")


def test_a_function_that_fails(module: Any) -> None:
    job = module.fail.submit("wrong wine")
    with pytest.raises(BridgeError, match="the job 'fail' is FAILED") as caught:
        job.result()
    assert f"bridge jobs logs {job.id}" in str(caught.value.hint)
    assert "ValueError: wrong wine" in "".join(job.logs())
    assert tb.Client().get_run(job.run_id).info.status == "FAILED"


def test_a_result_that_json_cannot_hold(module: Any) -> None:
    job = module.odd.submit()
    with pytest.raises(BridgeError):
        job.result()
    assert "returned what JSON cannot hold" in "".join(job.logs())


def test_a_function_without_options_of_its_own(module: Any) -> None:
    job = tb.job(module.plain).options(name="named").submit(b=1, a=2)
    assert job.result() == ["a", "b"]
    assert job.state().name == "named"


# Arguments.


def test_arguments_that_do_not_fit(module: Any) -> None:
    for call, told in (
        (lambda: module.train.submit(), "missing a required argument: 'alpha'"),
        (lambda: module.train.submit(1, 2, 3, 4), "too many positional arguments"),
        (lambda: module.train.submit(object()), "cannot be written as JSON"),
        (lambda: module.fail.submit("x" * 100_001), "more than 100,000 bytes"),
        (lambda: tb.job(module.plain).submit(api_token="hunter2"), "looks like a secret"),
    ):
        with pytest.raises(InvalidInput, match=told) as caught:
            call()
        assert "hunter2" not in str(caught.value)
    assert tb.Client().search_experiments() == [] or not tb.Client().search_runs(
        [experiment.experiment_id for experiment in tb.Client().search_experiments()]
    )


def test_any_number_of_arguments_has_no_names() -> None:
    def many(*values: int) -> None: ...

    with pytest.raises(InvalidInput, match="arguments without a name"):
        job_functions._bound(many, (1, 2), {})


# What can be imported.


def test_modules_and_their_folders(module: Any, tmp_path: Path) -> None:
    code = tmp_path / "code"
    assert importable_as(module.plain) == (str(code), "jobs_of_test.steps")
    assert importable_as(module.plain, code / "jobs_of_test") == (str(code / "jobs_of_test"), "steps")
    with pytest.raises(NotFound, match="is not in the folder"):
        importable_as(module.plain, tmp_path / "elsewhere")


class Owner:
    def method(self) -> None: ...


def test_what_cannot_be_imported() -> None:
    def inner() -> None: ...

    unnamed: Callable[[], None] = lambda: None  # noqa: E731
    for function in (inner, unnamed, Owner.method):
        with pytest.raises(InvalidInput, match="cannot be imported where the job runs") as caught:
            tb.job(function).submit()
        assert caught.value.hint == "write it as a function at the top level of a module"


def test_what_belongs_to_an_installed_package() -> None:
    with pytest.raises(InvalidInput, match="belongs to an installed package"):
        importable_as(pytest.importorskip)


def test_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    notebook = types.ModuleType("__main__")
    exec("def train(): ...", notebook.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    with pytest.raises(InvalidInput, match="in no file that can be imported") as caught:
        tb.job(notebook.train).submit()
    assert "%%writefile" in str(caught.value.hint)


def script(folder: Path, name: str, call: str) -> subprocess.CompletedProcess[str]:
    (folder / name).write_text(SCRIPT.format(call=call))
    import os

    kept = {key: value for key, value in os.environ.items() if not key.startswith("BRIDGE_")}
    return subprocess.run(
        [sys.executable, name],
        cwd=folder,
        env={**kept, "BRIDGE_TRACKING_URI": str(folder / "runs")},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_a_script_submits_its_own_function(tmp_path: Path) -> None:
    call = "if __name__ == '__main__':\n    print(double.submit(21).result())\n"
    done = script(tmp_path, "doubling.py", call)
    assert done.stdout == "42\n", done.stderr


def test_a_script_that_submits_when_it_is_imported(tmp_path: Path) -> None:
    """Each job would start another one."""
    done = script(tmp_path, "endless.py", "job = double.submit(1)\njob.wait()\nprint(*job.logs())\n")
    assert "importing its module submits 'double' again" in done.stdout, done.stderr
    assert len(tb.Client(str(tmp_path / "runs")).search_experiments()) == 1


def test_a_script_whose_name_is_none_of_a_module(tmp_path: Path) -> None:
    done = script(tmp_path, "a-script.py", "double.submit(1)\n")
    assert "the script 'a-script.py' cannot be imported" in done.stderr
