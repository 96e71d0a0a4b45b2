"""Virtual environments of jobs: made once, whole or not at all."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import trackbridge
from tests.support.wheels import write_wheel
from tests.unit.adapters.local.job_rig import FOREVER, Rig, touches, until, waits_for
from trackbridge.domain.jobs import Environment, JobState, JobStatus
from trackbridge.errors import MissingExtra, Rejected
from trackbridge_adapters.local import environments, job_findings
from trackbridge_adapters.local import jobs as jobs_module
from trackbridge_adapters.local.environments import LocalInstallation, path_of, wanted_of

USE_TINY = "import sys, tiny; print(tiny.VALUE, sys.prefix)"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of wheels, which is all that uv knows."""
    folder = tmp_path / "wheels"
    write_wheel(folder, "tiny")
    for name in [name for name in os.environ if name.startswith("UV_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv cache"))
    return folder


def needs(*requirements: str) -> Environment:
    return Environment(requirements=requirements)


def environments_of(rig: Rig) -> list[Path]:
    return [path for path in (rig.store / "environments").iterdir() if path.is_dir()]


def succeeded(rig: Rig, code: str, requirements: Sequence[str]) -> tuple[JobState, str]:
    """Run code in an environment; return its end and the last line of its log."""
    state = rig.run(code, environment=needs(*requirements))
    log = rig.log(state.job_id)
    assert state.status is JobStatus.SUCCEEDED, (state.reason, log)
    return state, log.splitlines()[-1]


def fake_uv(monkeypatch: pytest.MonkeyPatch, path: Path, code: str) -> None:
    """Put a program in the place of uv."""
    path.write_text(f"#!{sys.executable}\n{code}\n", encoding="utf-8")
    path.chmod(0o700)
    monkeypatch.setattr(jobs_module, "find_uv", lambda: str(path))


def test_a_job_runs_in_an_environment_that_the_next_one_reuses(rig: Rig, wheels: Path) -> None:
    first, said = succeeded(rig, USE_TINY, ["tiny"])
    (environment,) = environments_of(rig)
    assert said == f"42 {environment}"
    assert "tiny==1.0" in rig.log(first.job_id), "how it was made is in the log"
    second, said = succeeded(rig, USE_TINY, ["# what we need", "", "tiny  # the least"])
    assert said == f"42 {environment}"
    assert rig.log(second.job_id) == f"42 {environment}\n", "nothing was made again"
    assert environments_of(rig) == [environment]


def test_other_requirements_are_another_environment(rig: Rig, wheels: Path) -> None:
    write_wheel(wheels, "other")
    succeeded(rig, USE_TINY, ["tiny"])
    succeeded(rig, USE_TINY, ["tiny", "other"])
    succeeded(rig, USE_TINY, ["other", "tiny"])
    assert len(environments_of(rig)) == 2, "their order does not matter"


def test_the_jobs_own_variables_choose_packages(rig: Rig, wheels: Path, tmp_path: Path) -> None:
    """What uv is told with ``--env`` makes another environment, so that none is taken for what it is not."""
    write_wheel(wheels, "tiny", "2.0", value="'newer'")
    constraints = tmp_path / "constraints.txt"
    said: list[str] = []
    for version in ("1.0", "2.0"):
        constraints.write_text(f"tiny=={version}\n", encoding="utf-8")
        os.utime(constraints, (len(said), len(said)))
        state = rig.run(USE_TINY, environment=needs("tiny"), variables={"UV_CONSTRAINT": str(constraints)})
        said.append(rig.log(state.job_id).splitlines()[-1].split()[0])
    assert said == ["42", "newer"]
    assert len(environments_of(rig)) == 2


def test_who_signs_in_at_an_index_makes_no_other_environment() -> None:
    keys = {
        environments._key(["tiny"], None, "3.11", {"UV_INDEX_URL": f"https://{login}a.example/{path}"})
        for login in ("", "me:first@", "me:second@")
        for path in ("one", "two")
    }
    assert len(keys) == 2


def test_a_command_finds_the_programs_of_the_environment(rig: Rig, wheels: Path) -> None:
    succeeded(rig, USE_TINY, ["tiny"])
    (environment,) = environments_of(rig)
    command = ("sh", "-c", 'command -v python; echo "$VIRTUAL_ENV"')
    state = rig.run(command=command, environment=needs("tiny"))
    assert rig.log(state.job_id) == f"{environment}/bin/python\n{environment}\n"


def test_a_requirement_that_is_nowhere_fails_with_what_uv_said(rig: Rig, wheels: Path) -> None:
    state = rig.run(touches(rig.folder / "ran"), environment=needs("there-is-no-such-package"))
    assert (state.status, state.exit_code) == (JobStatus.FAILED, None)
    assert "there-is-no-such-package" in state.reason
    assert "there-is-no-such-package" in rig.log(state.job_id)
    assert not (rig.folder / "ran").exists()
    write_wheel(wheels, "there-is-no-such-package")
    succeeded(rig, "import there_is_no_such_package; print()", ["there-is-no-such-package"])


def test_a_wheel_that_changed_is_installed_anew(rig: Rig, wheels: Path, tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "mine", "tiny", value="1")
    requirement = f"tiny @ {wheel.as_uri()}"
    assert succeeded(rig, USE_TINY, [requirement])[1].startswith("1 ")
    write_wheel(tmp_path / "mine", "tiny", value="'changed'")
    assert succeeded(rig, USE_TINY, [requirement])[1].startswith("changed ")


def test_a_build_that_was_killed_is_made_anew(
    rig: Rig, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first uv makes half an environment, and is killed with the runner."""
    half = (
        "import sys, os\nos.makedirs(sys.argv[-1] + '/bin')\n"
        "open(sys.argv[-1] + '/bin/python', 'w').close()\n"
    )
    with monkeypatch.context() as patch:
        fake_uv(patch, tmp_path / "uv", half + touches(tmp_path / "half") + FOREVER)
        killed = rig.submit(environment=needs("tiny"))
        until((tmp_path / "half").exists)
        assert rig.jobs.status(killed).status is JobStatus.STARTING
        rig.kill_runner(killed)
    assert len(environments_of(rig)) == 1
    assert succeeded(rig, USE_TINY, ["tiny"])[1] == f"42 {environments_of(rig)[0]}"
    assert rig.jobs.status(killed).status is JobStatus.FAILED


def test_cancel_while_the_environment_is_made(
    rig: Rig, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fake_uv(patch, tmp_path / "uv", touches(tmp_path / "building") + FOREVER)
        job_id = rig.submit(touches(tmp_path / "ran"), environment=needs("tiny"))
        until((tmp_path / "building").exists)
        rig.jobs.cancel(job_id)
        state = rig.ended(job_id)
    assert (state.status, state.attempt, state.exit_code) == (JobStatus.CANCELLED, 0, None)
    assert not (tmp_path / "ran").exists()
    succeeded(rig, USE_TINY, ["tiny"])


def test_of_two_builds_at_once_one_waits_for_the_other(
    rig: Rig, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = jobs_module.find_uv()
    calls = tmp_path / "calls"
    code = (
        f"import os, sys\nwith open({str(calls)!r}, 'a') as file: file.write(sys.argv[1] + ' ')\n"
        f"{waits_for(tmp_path / 'go')}os.execv({uv!r}, [{uv!r}, *sys.argv[1:]])"
    )
    fake_uv(monkeypatch, tmp_path / "uv", code)
    jobs = rig.open(jobs_parallel_max="2").jobs
    ids = [
        jobs.submit(rig.spec(USE_TINY, environment=needs("tiny")), key=str(number)).job_id
        for number in range(2)
    ]
    rig.submitted += ids
    for job_id in ids:
        rig.becomes(job_id, JobStatus.STARTING)
    until(calls.exists)
    (tmp_path / "go").touch()
    assert [rig.ended(job_id).status for job_id in ids] == [JobStatus.SUCCEEDED] * 2
    assert calls.read_text().split() == ["venv", "pip"]


def test_waiting_for_the_build_of_another_can_be_cancelled(
    rig: Rig, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_uv(monkeypatch, tmp_path / "uv", FOREVER)
    jobs = rig.open(jobs_parallel_max="2").jobs
    ids = [jobs.submit(rig.spec(environment=needs("tiny")), key=str(number)).job_id for number in range(2)]
    rig.submitted += ids
    for job_id in ids:
        rig.becomes(job_id, JobStatus.STARTING)
    for job_id in reversed(ids):
        rig.jobs.cancel(job_id)
        assert rig.ended(job_id).status is JobStatus.CANCELLED


def test_an_orphaned_build_is_waited_for(
    rig: Rig, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A uv that outlives its runner holds the lock, so that nobody builds at the same place."""
    with monkeypatch.context() as patch:
        code = f"import os\nos.environ.clear()\n{touches(tmp_path / 'building')}{waits_for(tmp_path / 'go')}"
        fake_uv(patch, tmp_path / "uv", code)
        orphaned = rig.submit(environment=needs("tiny"))
        until((tmp_path / "building").exists)
    rig.kill_runner(orphaned)
    second = rig.submit(USE_TINY, environment=needs("tiny"))
    rig.becomes(second, JobStatus.STARTING)
    (tmp_path / "go").touch()
    assert rig.ended(second).status is JobStatus.SUCCEEDED


def test_this_trackbridge_is_taken_along(rig: Rig, wheels: Path) -> None:
    """As an installation from a folder has it: with its dependencies, its version and its entry points."""
    for requirement in importlib.metadata.requires("trackbridge") or ():
        if "extra ==" not in requirement or "'system'" in requirement:
            name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
            write_wheel(wheels, name, "999")
    code = (
        "import importlib.metadata as m, trackbridge, psutil; print(trackbridge.__file__, psutil.VALUE, "
        "m.version('trackbridge'), *[point.name for point in m.entry_points(group='trackbridge.adapters')])"
    )
    version = importlib.metadata.version("trackbridge")
    for spelling in ("trackbridge[system]", "TrackBridge [system] >= 99 ; python_version > '3'"):
        said = succeeded(rig, code, [spelling])[1].split()
        assert said[:3] == [trackbridge.__file__, "42", version]
        assert "file" in said[3:]


@pytest.mark.parametrize(
    ("requirement", "replaced"),
    [
        ("trackbridge", "trackbridge @ file:///w.whl"),
        ("Trackbridge[a, b]==1.0", "trackbridge[a, b] @ file:///w.whl"),
        ("trackbridge>=1,<2;python_version>'3'", "trackbridge @ file:///w.whl ;python_version>'3'"),
        ("trackbridge-tools", "trackbridge-tools"),
        ("trackbridge_x>=1", "trackbridge_x>=1"),
        ("mytrackbridge", "mytrackbridge"),
        ("trackbridge @ https://a.example/x.whl", "trackbridge @ https://a.example/x.whl"),
    ],
)
def test_spellings_of_trackbridge(requirement: str, replaced: str) -> None:
    ours = LocalInstallation.find()
    assert ours is not None
    assert ours.replaced(requirement, "/w.whl") == replaced


def test_an_installation_from_an_index_is_left_to_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "trackbridge-1.0.dist-info"
    info.mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert LocalInstallation.find() is None
    (info / "direct_url.json").write_text('{"url": "https://a.example/trackbridge.whl"}')
    assert LocalInstallation.find() is None


@pytest.mark.parametrize(
    ("requirement", "path"),
    [
        ("numpy", None),
        ("numpy>=1 ; python_version > '3'", None),
        ("a @ https://a.example/b.whl", None),
        ("git+file:///repo", None),
        ("./mine", "./mine"),
        ("/abs/mine", "/abs/mine"),
        ("a @ file:///abs/with%20blank", "/abs/with blank"),
        ("file://localhost/abs", "/abs"),
        ("a @ ../mine", "../mine"),
        ("~/mine", "~/mine"),
    ],
)
def test_paths_among_requirements(requirement: str, path: str | None) -> None:
    assert path_of(requirement) == path


def test_comments_and_blank_lines_are_no_requirements() -> None:
    lines = ["# all", "", "  a==1  ", "b # why", "c @ https://a.example/c.whl#sha256=00"]
    assert list(wanted_of(lines)) == ["a==1", "b", "c @ https://a.example/c.whl#sha256=00"]


@pytest.mark.parametrize(
    "requirement",
    [
        "-r more.txt",
        "--index-url=https://a.example",
        "a\n--index-url=https://a.example",
        "a @ https://me:pa55word@a.example/a.whl",
        "./relative",
        "/there/is/no/such/folder",
    ],
)
def test_requirements_that_are_none_are_refused(rig: Rig, requirement: str) -> None:
    assert rig.jobs.check(rig.spec(environment=needs(requirement)))
    with pytest.raises(Rejected) as caught:
        rig.submit(environment=needs(requirement))
    assert "pa55word" not in str(caught.value)


def test_without_uv_the_command_that_installs_it_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_findings, "find_uv", lambda: None)
    (finding,) = rig.jobs.check(rig.spec(environment=needs("tiny")))
    with pytest.raises(MissingExtra) as caught:
        rig.submit(environment=needs("tiny"))
    assert caught.value.hint == finding.fix == "pip install 'trackbridge[jobs]'"
    assert rig.run().status is JobStatus.SUCCEEDED, "a job without requirements needs no uv"


def test_uv_is_also_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert job_findings.find_uv() is None
    (tmp_path / "uv").touch(mode=0o700)
    assert job_findings.find_uv() == str(tmp_path / "uv")
