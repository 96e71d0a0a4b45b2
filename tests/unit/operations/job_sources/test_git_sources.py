"""Projects of git repositories: versions, folders, submodules, and a cache that can be trusted."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.operations.job_sources.conftest import Read
from trackbridge.errors import AuthError, BridgeError, ConfigError, InvalidInput, NotFound, Unavailable
from trackbridge.operations.job_sources import git_sources
from trackbridge.operations.job_sources.git_sources import address_around, fetch, is_git_address

IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "protocol.file.allow=always")
MLPROJECT = "name: {name}\nentry_points: {{main: {{command: 'true'}}}}\n"

Git = Callable[..., str]


def git_in(folder: Path) -> Git:
    def git(*words: str) -> str:
        command = ["git", *IDENTITY, "-C", str(folder), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    return git


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits on main, the first tagged v1; a branch next with one more."""
    folder = tmp_path / "repository"
    (folder / "sub/deep").mkdir(parents=True)
    git = git_in(folder)
    git("init", "--quiet", "--initial-branch", "main")
    for name in ("one", "two", "next"):
        if name == "next":
            git("checkout", "--quiet", "-b", "next")
        (folder / "MLproject").write_text(MLPROJECT.format(name=name))
        (folder / "sub/deep/MLproject").write_text(MLPROJECT.format(name=f"deep {name}"))
        git("add", ".")
        git("commit", "--quiet", "-m", name)
        if name == "one":
            git("tag", "-a", "v1", "-m", "first")
    git("checkout", "--quiet", "main")
    return folder


@pytest.fixture
def commit(repository: Path) -> Callable[[str], str]:
    return lambda version: git_in(repository)("rev-parse", f"{version}^{{commit}}")


def test_each_kind_of_version(repository: Path, read: Read, commit: Callable[[str], str]) -> None:
    address = repository.as_uri()
    for version, name in ((None, "two"), ("v1", "one"), ("next", "next"), (commit("v1"), "one")):
        source = read(address, version=version)
        assert source.base.name == name
        assert source.tags["mlflow.source.git.commit"] == commit(version or "main")
        assert source.tags["mlflow.source.git.repoURL"] == address
        assert source.tags.get("mlflow.source.git.branch") == ("next" if version == "next" else None)
        assert source.tags["mlflow.source.name"] == address
    assert read(address, version=commit("v1")[:10]).base.name == "one"


def test_a_folder_of_it(repository: Path, read: Read) -> None:
    source = read(f"{repository.as_uri()}#sub/deep", version="next")
    assert source.base.name == "deep next"
    assert source.source_name == f"{repository.as_uri()}#sub/deep"


def test_a_version_of_a_local_folder_leaves_it_alone(repository: Path, read: Read) -> None:
    (repository / "MLproject").write_text(MLPROJECT.format(name="changed"))
    assert read(str(repository)).base.name == "changed"
    assert read(str(repository), version="v1").base.name == "one"
    assert read(str(repository / "sub/deep"), version="v1").base.name == "deep one"
    assert (repository / "MLproject").read_text() == MLPROJECT.format(name="changed")
    assert read(str(repository / "sub/deep")).source_name == f"{repository.as_uri()}#sub/deep"
    assert address_around(repository) == repository.as_uri()


def test_a_version_of_what_is_in_no_repository(read: Read, folder: Path) -> None:
    with pytest.raises(InvalidInput, match="in no git repository"):
        read(".", version="v1")


def test_a_commit_that_was_fetched_needs_no_repository(
    repository: Path, tmp_path: Path, commit: Callable[[str], str]
) -> None:
    address, first = repository.as_uri(), commit("v1")
    once = fetch(address, first, tmp_path / "cache")
    repository.rename(tmp_path / "gone")
    assert fetch(address, first, tmp_path / "cache") == once
    with pytest.raises(NotFound):
        fetch(address, None, tmp_path / "cache")


def test_an_interrupted_fetch_leaves_nothing(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, run = tmp_path / "cache", subprocess.run

    def interrupted(command: list[str], **options: object) -> object:
        if "checkout" in command:
            raise KeyboardInterrupt
        return run(command, **options)  # type: ignore[call-overload]

    with monkeypatch.context() as patched:
        patched.setattr(git_sources.subprocess, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch(repository.as_uri(), None, cache)
    assert [path for path in cache.rglob("*") if path.is_file()] == []
    assert (Path(fetch(repository.as_uri(), None, cache).folder) / "MLproject").is_file()


def test_somebody_else_was_faster(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commit: Callable[[str], str]
) -> None:
    cache, check_out = tmp_path / "cache", git_sources._check_out

    def twice(address: str, commit: str, whole: Path) -> None:
        check_out(address, commit, whole)
        check_out(address, commit, whole)

    monkeypatch.setattr(git_sources, "_check_out", twice)
    folder = Path(fetch(repository.as_uri(), None, cache).folder)
    assert [path.name for path in folder.parent.iterdir()] == [commit("main")]


def test_submodules_come_along(
    repository: Path, tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git = git_in(outer)
    git("init", "--quiet", "--initial-branch", "main")
    git("submodule", "--quiet", "add", repository.as_uri(), "inner")
    git("commit", "--quiet", "-m", "with a submodule")
    for name, value in (("COUNT", "1"), ("KEY_0", "protocol.file.allow"), ("VALUE_0", "always")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    assert read(f"{outer.as_uri()}#inner").base.name == "two"


@pytest.mark.parametrize("text", ["v9", "no/such", "0123456789", "f" * 40])
def test_a_version_that_there_is_not(repository: Path, tmp_path: Path, text: str) -> None:
    with pytest.raises(NotFound, match=f"there is no version '{text}'") as caught:
        fetch(repository.as_uri(), text, tmp_path / "cache")
    assert caught.value.hint == "name a branch, a tag or a commit that was pushed"


@pytest.mark.parametrize(
    ("source", "version", "told"),
    [
        ("https://me:hunter2@host/x.git", None, "holds a credential"),
        ("https://host/x.git?token=hunter2", None, "holds a credential"),
        ("https://host/x.git#../../etc", None, "leads out of the repository"),
        ("https://host/x.git", "--upload-pack=touch", "is no version"),
        ("https://host/x.git", " ", "is no version"),
    ],
)
def test_what_is_refused_before_git_is_asked(
    tmp_path: Path, source: str, version: str | None, told: str
) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        fetch(source, version, tmp_path / "cache")
    assert "hunter2" not in f"{caught.value}{caught.value.hint}"
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_there_is_not(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no folder 'none'"):
        fetch(f"{repository.as_uri()}#none", None, tmp_path / "cache")


def test_a_folder_that_is_a_link_out_of_the_repository(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (repository / "link").symlink_to(tmp_path / "private")
    git = git_in(repository)
    git("add", ".")
    git("commit", "--quiet", "-m", "link")
    with pytest.raises(ConfigError, match="a link that leads out of the repository"):
        fetch(f"{repository.as_uri()}#link", None, tmp_path / "cache")


def test_what_is_no_repository(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="git ls-remote failed"):
        fetch((tmp_path / "none").as_uri(), None, tmp_path / "cache")


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        fetch("http://127.0.0.1:9/x.git", None, tmp_path / "cache")


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ("fatal: Authentication failed for 'https://host/x'", AuthError),
        ("fatal: could not read Username for 'https://host': terminal prompts disabled", AuthError),
        ("git@host: Permission denied (publickey).", AuthError),
        ("fatal: unable to access: The requested URL returned error: 403", AuthError),
        ("ssh: Could not resolve hostname host", Unavailable),
        ("fatal: unable to access: Failed to connect: Connection timed out", Unavailable),
        ("fatal: repository 'https://host/x' not found", NotFound),
    ],
)
def test_what_git_says(told: str, kind: type[BridgeError]) -> None:
    assert type(git_sources._failure("fetch", told, "https://host/x")) is kind


@pytest.mark.parametrize(
    "text",
    [
        "https://h/x",
        "http://h/x.git",
        "ssh://git@h/x",
        "git@github.com:a/b.git",
        "file:///a/b",
        "https://h/x#sub",
    ],
)
def test_addresses(text: str) -> None:
    assert is_git_address(text)


@pytest.mark.parametrize(
    "text", ["train.py", "./x", "/a/b", "make", "a:b", "s3://b/x", "user@host", "ext::sh", "-tx@h:x"]
)
def test_no_addresses(text: str) -> None:
    assert not is_git_address(text)
