"""Where a run comes from: git's files read without git, hostile repositories, no arguments recorded."""

import getpass
import os
import subprocess
import sys
import types
from importlib import metadata
from pathlib import Path

import pytest

from trackbridge.api import context
from trackbridge.api.git import GitState, git_status, read_git
from trackbridge.domain import runs

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *identity, "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    (folder / "train.py").write_text("print(1)\n")
    git(folder, "add", "train.py")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def fake_repository(folder: Path, head: str) -> Path:
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text(head)
    return folder


def test_reads_branch_commit_and_remote_without_credentials(repository: Path) -> None:
    git(repository, "remote", "add", "backup", "https://elsewhere.example/x.git")
    git(repository, "remote", "add", "origin", "https://user:hunter2@example.org/x.git")
    inner = repository / "a" / "b"
    inner.mkdir(parents=True)
    assert read_git(inner) == GitState(
        git(repository, "rev-parse", "HEAD"), "main", "https://example.org/x.git"
    )


def test_reads_packed_refs_and_a_detached_head(repository: Path) -> None:
    git(repository, "branch", "feature/ünïcode")
    git(repository, "checkout", "--quiet", "feature/ünïcode")
    git(repository, "pack-refs", "--all")
    commit = git(repository, "rev-parse", "HEAD")
    assert not (repository / ".git/refs/heads/feature").exists()
    assert read_git(repository) == GitState(commit, "feature/ünïcode", None)
    git(repository, "checkout", "--quiet", "--detach")
    assert read_git(repository) == GitState(commit, None, None)


def test_reads_a_linked_work_tree(repository: Path, tmp_path: Path) -> None:
    git(repository, "remote", "add", "origin", "git@example.org:x.git")
    linked = tmp_path / "linked"
    git(repository, "worktree", "add", "--quiet", "-b", "side", str(linked))
    (linked / "new.py").write_text("")
    git(linked, "add", "new.py")
    git(linked, "commit", "--quiet", "--message", "second")
    state = read_git(linked)
    assert state == GitState(git(linked, "rev-parse", "HEAD"), "side", "git@example.org:x.git")
    assert state.commit != read_git(repository).commit


def test_a_branch_without_commit_has_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    assert read_git(tmp_path) == GitState(None, "main", None)


def test_no_repository_and_a_bare_one_give_nothing(tmp_path: Path) -> None:
    assert read_git(tmp_path / "missing") == GitState()
    git(tmp_path, "init", "--quiet", "--bare", "bare.git")
    assert read_git(tmp_path / "bare.git") == GitState()
    assert git_status(tmp_path / "bare.git") is None


@pytest.mark.parametrize(
    ("head", "branch"),
    [
        ("", None),
        ("ref: ", None),
        ("ref: refs/heads/\x1b[31mred", None),
        ("ref: refs/heads/" + "x" * 3000, None),
        ("ref: refs/heads/.invalid", None),
        ("ref: ../../secret", None),
        ("ref: refs/heads/../../../../secret", "../../../../secret"),
        ("ref: refs/heads/a\0b", None),
        ("ref: refs/heads/$(touch x);`y`", "$(touch x);`y`"),
        ("not a commit", None),
        ("x" * 10_000, None),
    ],
)
def test_a_corrupt_or_hostile_head_gives_no_commit(tmp_path: Path, head: str, branch: str | None) -> None:
    (tmp_path / "secret").write_text(COMMIT)
    folder = fake_repository(tmp_path / "a" / "b", head)
    assert read_git(folder) == GitState(None, branch, None)


def test_symbolic_refs_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    folder = fake_repository(tmp_path / "a", "ref: refs/heads/one\n")
    heads = folder / ".git/refs/heads"
    heads.mkdir(parents=True)
    (heads / "one").write_text("ref: refs/heads/two\n")
    (heads / "two").write_text(f"{COMMIT}\n")
    assert read_git(folder).commit == COMMIT
    (heads / "two").write_text("ref: refs/heads/one\n")
    assert read_git(folder).commit is None


def test_a_pipe_or_folder_in_place_of_a_file_does_not_block(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    (folder / ".git").mkdir(parents=True)
    os.mkfifo(folder / ".git" / "HEAD")
    (folder / ".git" / "config").mkdir()
    assert read_git(folder) == GitState()


def test_a_hostile_config_gives_an_address_or_none(tmp_path: Path) -> None:
    folder = fake_repository(tmp_path / "a", COMMIT)
    config = folder / ".git" / "config"
    config.write_bytes(b'\xff\xfe[remote "or\\"igin"]\n\turl\n[remote\n url = x\n[core]\n url = y\n')
    assert read_git(folder).repository is None
    config.write_text('[Remote "fork"] ; c\n  URL = "ssh://git:pw@example.org/a b.git" # why\n')
    assert read_git(folder).repository == "ssh://git@example.org/a b.git"


def test_status_tells_clean_from_dirty_and_ignores_untracked(repository: Path) -> None:
    (repository / "untracked").write_text("x")
    clean = git_status(repository, timeout_s=30)
    assert clean is not None
    assert (clean.is_dirty, clean.branch) == (False, "main")
    assert clean.commit == read_git(repository).commit
    (repository / "train.py").write_text("print(2)\n")
    dirty = git_status(repository, timeout_s=30)
    assert dirty is not None
    assert dirty.is_dirty


def test_status_runs_no_program_that_the_repository_names(repository: Path) -> None:
    monitor = repository / "monitor.sh"
    monitor.write_text(f"#!/bin/sh\ntouch {repository}/ran\n")
    monitor.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(monitor))
    assert git_status(repository, timeout_s=30) is not None
    assert not (repository / "ran").exists()


@pytest.mark.parametrize("script", ["sleep 60", "exit 3", "kill -9 $$"])
def test_a_git_that_hangs_or_fails_gives_no_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    program = tmp_path / "git"
    program.write_text(
        f"#!/bin/sh\nexec {script}\n" if script.startswith("sleep") else f"#!/bin/sh\n{script}\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert git_status(tmp_path, timeout_s=0.2) is None


def test_without_git_there_is_no_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_status(tmp_path) is None


def test_the_context_starts_no_process_and_records_no_arguments(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(subprocess, "Popen", None)
    monkeypatch.setattr(sys, "argv", [str(repository / "train.py"), "--password", "hunter2"])
    tags = context.run_context(cwd=tmp_path)
    assert tags[runs.TAG_SOURCE_NAME] == str(repository / "train.py")
    assert tags[runs.TAG_SOURCE_TYPE] == "LOCAL"
    assert tags[runs.TAG_GIT_BRANCH] == "main"
    assert tags[runs.TAG_PYTHON] == sys.version.split()[0]
    assert "hunter2" not in str(tags)
    assert all(isinstance(value, str) and value for value in tags.values())


@pytest.mark.parametrize(("script", "name"), [("-c", "<string>"), ("", "<stdin>")])
def test_code_without_a_file_belongs_to_the_current_folder(
    repository: Path, monkeypatch: pytest.MonkeyPatch, script: str, name: str
) -> None:
    monkeypatch.setattr(sys, "argv", [script, "--token=abc"])
    tags = context.run_context(cwd=repository)
    assert tags[runs.TAG_SOURCE_NAME] == name
    assert tags[runs.TAG_GIT_COMMIT] == read_git(repository).commit


def test_an_installed_launcher_belongs_to_the_current_folder(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = tmp_path / "site-packages" / "launch.py"
    launcher.parent.mkdir()
    launcher.write_text("")
    monkeypatch.setattr(sys, "argv", [str(launcher)])
    assert context.run_context(cwd=repository)[runs.TAG_GIT_BRANCH] == "main"


def test_a_notebook_is_named_by_its_front_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter = types.ModuleType("IPython")
    interpreter.get_ipython = lambda: types.SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", interpreter)
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert context.run_context(cwd=tmp_path)[runs.TAG_SOURCE_NAME] == "notebook"
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/a/explore.ipynb")
    tags = context.run_context(cwd=tmp_path)
    assert (tags[runs.TAG_SOURCE_NAME], tags[runs.TAG_SOURCE_TYPE]) == ("/home/a/explore.ipynb", "NOTEBOOK")


def test_a_user_id_without_name_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert context.run_context(cwd=tmp_path)[runs.TAG_USER] == "unknown"


def test_the_slow_part_tells_dirtiness_and_packages(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["-c"])
    (repository / "train.py").write_text("print(2)\n")
    slow = context.slow_context(cwd=repository, timeout_s=30)
    assert slow.tags == {runs.TAG_GIT_DIRTY: "true"}
    lines = slow.requirements.splitlines()
    assert f"msgspec=={metadata.version('msgspec')}" in lines
    assert lines[0].startswith("# Python 3.")
    assert lines[1:] == sorted(lines[1:], key=lambda line: line.split("==")[0].lower().replace("_", "-"))


def test_the_slow_part_knows_the_commit_where_the_files_do_not_tell(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["-c"])
    commit = read_git(repository).commit
    monkeypatch.setattr(context, "read_git", lambda folder: GitState())
    tags = context.slow_context(cwd=repository, timeout_s=30).tags
    assert (tags[runs.TAG_GIT_COMMIT], tags[runs.TAG_GIT_BRANCH]) == (commit, "main")


def test_damaged_packages_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in {
        "broken": b"\xff\xfe\x00",
        "nameless": b"Version: 1\n\n",
        "fine": b"Metadata-Version: 2.1\nName: fine-package\nVersion: 2.0\n\n",
    }.items():
        (tmp_path / f"{name}-1.dist-info").mkdir()
        (tmp_path / f"{name}-1.dist-info" / "METADATA").write_bytes(content)
    (tmp_path / "empty-1.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert context.installed_packages.__wrapped__().splitlines()[1:] == ["fine-package==2.0"]
