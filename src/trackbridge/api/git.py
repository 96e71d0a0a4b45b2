"""What git knows of a source folder, without making anybody wait.

Commit, branch and address are read from git's own files: no process is started. Only whether there are
uncommitted changes takes ``git status``, bounded in time, which cannot prompt, take locks or start the
repository's file system monitor. Whatever is missing, corrupt or hostile is left out: it never raises.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from trackbridge.transport.redaction import strip_credentials

_SMALL_FILE_BYTES_MAX = 4096
_CONFIG_BYTES_MAX = 1_000_000
_PACKED_REFS_BYTES_MAX = 32_000_000
_SYMBOLIC_REFS_MAX = 5  # git's own limit
_BRANCH_CHARS_MAX = 1000
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SECTION = re.compile(r'\s*\[\s*([\w.-]+)(?:\s+"((?:[^"\\]|\\.)*)")?\s*\]')
_URL = re.compile(r"\s*url\s*=\s*(.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class GitState:
    """What could be found; None stands for not known, or no branch (detached)."""

    commit: str | None = None
    branch: str | None = None
    repository: str | None = None


@dataclass(frozen=True, slots=True)
class GitStatus:
    """What ``git status`` said."""

    is_dirty: bool
    commit: str | None
    branch: str | None


def read_git(folder: Path) -> GitState:
    """Read commit, branch and remote address (without credentials) of the work tree around a folder."""
    git_dir = _find_git_dir(folder)
    if git_dir is None:
        return GitState()
    common = _common_dir(git_dir)
    branch, commit = _head(git_dir, common)
    return GitState(commit, branch, _remote_address(common))


def git_status(folder: Path, *, timeout_s: float = 1.0) -> GitStatus | None:
    """Ask git whether tracked files differ from the commit; None when it cannot tell in time.

    Untracked files do not count, and neither do changes inside submodules.
    """
    import subprocess  # 5 ms that only this slow path pays

    options = ("-c", "core.fsmonitor=false", "--no-optional-locks", "-C", str(folder))
    status = ("status", "--porcelain=v2", "--branch", "--untracked-files=no", "--ignore-submodules=dirty")
    try:
        done = subprocess.run(
            ["git", *options, *status],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_quiet_environment(),
            timeout=timeout_s,
            check=False,
            start_new_session=True,  # no terminal to prompt on, no Ctrl-C meant for the training
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return _parse_status(done.stdout) if done.returncode == 0 else None


def _quiet_environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**environment, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


def _parse_status(output: bytes) -> GitStatus:
    headers, is_dirty = {}, False
    for line in output.splitlines():
        if not line.startswith(b"# "):
            is_dirty = True
            break
        name, _, value = line[2:].decode(errors="replace").partition(" ")
        headers[name] = value
    commit, branch = headers.get("branch.oid", ""), headers.get("branch.head", "")
    return GitStatus(
        is_dirty,
        commit if _COMMIT.fullmatch(commit) else None,
        None if branch == "(detached)" else _usable_branch(branch),
    )


def _find_git_dir(folder: Path) -> Path | None:
    folder = Path(os.path.abspath(folder))
    for candidate in (folder, *folder.parents):
        dot_git = candidate / ".git"
        if os.path.exists(dot_git):
            return _git_dir_of(dot_git)
    return None


def _git_dir_of(dot_git: Path) -> Path | None:
    if os.path.isdir(dot_git):
        return dot_git
    text = _read_text(dot_git)  # of a linked work tree or a submodule
    if text is None or not text.startswith("gitdir:"):
        return None
    return dot_git.parent / text.removeprefix("gitdir:").strip()


def _common_dir(git_dir: Path) -> Path:
    """Return where a linked work tree shares its refs and config with the others."""
    text = _read_text(git_dir / "commondir")
    return git_dir / text.strip() if text else git_dir


def _head(git_dir: Path, common: Path) -> tuple[str | None, str | None]:
    """Return the branch and the commit."""
    text = (_read_text(git_dir / "HEAD") or "").strip()
    if not text.startswith("ref:"):
        return None, _usable_commit(text)
    ref = text.removeprefix("ref:").strip()
    branch = _usable_branch(ref.removeprefix("refs/heads/")) if ref.startswith("refs/heads/") else None
    return branch, _resolve_ref(ref, git_dir, common)


def _resolve_ref(ref: str, git_dir: Path, common: Path) -> str | None:
    for _ in range(_SYMBOLIC_REFS_MAX):
        if not _is_safe_ref(ref):
            return None
        text = _read_text(git_dir / ref) or _read_text(common / ref)
        if text is None:
            return _packed_commit(ref, common)
        if not text.startswith("ref:"):
            return _usable_commit(text.strip())
        ref = text.removeprefix("ref:").strip()
    return None


def _packed_commit(ref: str, common: Path) -> str | None:
    packed = _read_bytes(common / "packed-refs", _PACKED_REFS_BYTES_MAX)
    if packed is None:
        return None
    found = re.search(rb"^([0-9a-f]{40,64}) " + re.escape(ref.encode()) + rb"\r?$", packed, re.MULTILINE)
    return _usable_commit(found[1].decode()) if found else None


def _is_safe_ref(ref: str) -> bool:
    """Tell whether a ref's file lies inside the git folder."""
    return ref.startswith("refs/") and ".." not in ref.split("/") and "\0" not in ref


def _usable_commit(text: str) -> str | None:
    return text if _COMMIT.fullmatch(text) else None


def _usable_branch(name: str) -> str | None:
    # ".invalid" is what git writes into HEAD for tools that do not know its newer ref store.
    is_usable = name.isprintable() and 0 < len(name) <= _BRANCH_CHARS_MAX and name != ".invalid"
    return name if is_usable else None


def _remote_address(common: Path) -> str | None:
    """Return the address of the remote ``origin``, else of the first one."""
    data = _read_bytes(common / "config", _CONFIG_BYTES_MAX)
    addresses: dict[str, str] = {}
    remote = None
    for line in (data or b"").decode(errors="replace").splitlines():
        section = _SECTION.match(line)
        if section:
            remote = section[2] if section[1].lower() == "remote" else None
        elif remote is not None and (url := _URL.match(line)):
            addresses.setdefault(remote, _unquoted(url[1]))
    address = addresses.get("origin") or next(iter(addresses.values()), "")
    return strip_credentials(address) or None


def _unquoted(value: str) -> str:
    if value.startswith('"'):
        return value[1:].partition('"')[0]
    return re.split(r"\s[#;]", value, maxsplit=1)[0].strip()


def _read_text(path: Path) -> str | None:
    data = _read_bytes(path, _SMALL_FILE_BYTES_MAX)
    return None if data is None else data.decode(errors="replace")


def _read_bytes(path: Path, bytes_max: int) -> bytes | None:
    """Return the content of a regular file of at most this size, else None."""
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > bytes_max:
            return None
        with open(path, "rb") as file:
            return file.read(bytes_max)
    except (OSError, ValueError):
        return None
