"""Checkouts of git addresses, each in a folder of its own, by address and commit.

A checkout is made beside its place and moved there when it is whole, so that an interrupted one is never
taken for a finished one, and two at once do not disturb each other. git asks for nothing: credentials come
from its own helpers, from ssh's agent and files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from trackbridge.domain.secrets import redact
from trackbridge.errors import (
    AuthError,
    BridgeError,
    ConfigError,
    MissingExtra,
    NotFound,
    TimedOut,
    Unavailable,
)
from trackbridge.transport.redaction import strip_credentials

GIT_S_MAX = 900.0
"""How long one call of git may take; a large repository is slow to come."""

_ADDRESS = re.compile(
    r"(?:https?|ssh|git|git\+ssh|file)://.+|[A-Za-z0-9_][A-Za-z0-9_.\-]*@[A-Za-z0-9_.\-]+:.+"
)
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_BEGINNING = re.compile(r"[0-9a-f]{7,63}")
_AWAY = re.compile(r"could not resolve|timed out|connection|connect to|network|early eof", re.IGNORECASE)
_REFUSED = re.compile(
    r"authentication failed|could not read (username|password)|permission denied|returned error: 40[13]",
    re.IGNORECASE,
)


class Checkout(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of a repository at one commit; ``branch`` where the version named one."""

    folder: str
    address: str
    subfolder: str
    commit: str
    branch: str | None = None

    @property
    def source_name(self) -> str:
        """The address with the folder in it: ``https://host/repository#folder``."""
        return f"{self.address}#{self.subfolder}" if self.subfolder else self.address


def is_git_address(text: str) -> bool:
    """Tell whether a text is the address of a repository: https, ssh, file or ``git@host:path``."""
    return _ADDRESS.fullmatch(text.partition("#")[0]) is not None


def address_around(folder: Path) -> str | None:
    """Return the address of the repository that a folder is in, ``#`` and the folder; None for none."""
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            below = folder.relative_to(candidate).as_posix()
            return f"{candidate.as_uri()}#{below}" if below != "." else candidate.as_uri()
    return None


def fetch(source: str, version: str | None, cache: Path) -> Checkout:
    """Return the checkout of a git address, which takes the network unless the commit was there before.

    Args:
        source: The address; ``#folder`` names a folder of the repository.
        version: A branch, a tag or a commit; by default the remote's own branch.
        cache: The folder that keeps checkouts.

    Raises:
        ConfigError: The address holds a credential, or the folder leads out of the repository.
        NotFound: There is no such repository, version or folder.
        AuthError: The repository does not let us in.
        Unavailable: It cannot be reached.
    """
    address, _, subfolder = source.partition("#")
    subfolder = subfolder.strip("/")
    _refuse_unsafe(address, subfolder, version)
    commit, branch = _commit_of(address, version)
    place = cache / hashlib.sha256(address.encode()).hexdigest()[:16]
    if commit is None:  # the beginning of a commit, which only the whole history tells
        commit = _commit_of_beginning(address, str(version), place)
    whole = place / commit
    if not whole.is_dir():
        _check_out(address, commit, whole)
    folder = whole / subfolder
    if not folder.is_dir():
        raise NotFound(
            f"there is no folder {subfolder!r} in the repository",
            operation="submit",
            resource=f"{address} at {commit[:12]}",
            hint="name a folder of that commit behind #",
        )
    if not folder.resolve().is_relative_to(whole.resolve()):
        raise ConfigError(
            f"the folder {subfolder!r} is a link that leads out of the repository",
            operation="submit",
            resource=f"{address} at {commit[:12]}",
        )
    return Checkout(folder=str(folder), address=address, subfolder=subfolder, commit=commit, branch=branch)


def _refuse_unsafe(address: str, subfolder: str, version: str | None) -> None:
    if strip_credentials(address) != address:
        raise ConfigError(
            "the address of the repository holds a credential or a query",
            operation="submit",
            resource=strip_credentials(address),
            hint="take it out: git asks its credential helper, or ssh its agent",
        )
    if ".." in Path(subfolder).parts:
        raise ConfigError(
            f"the folder {subfolder!r} leads out of the repository",
            operation="submit",
            hint="name a folder in it behind #",
        )
    if version is not None and (not version.strip() or version.startswith("-")):
        raise ConfigError(
            f"{version!r} is no version", operation="submit", hint="name a branch, a tag or a commit"
        )


def _commit_of(address: str, version: str | None) -> tuple[str | None, str | None]:
    """Return commit and branch of a version; no commit for what may be the beginning of one."""
    if version is not None and _COMMIT.fullmatch(version):
        return version, None
    refs = _refs(address)
    if version is None:
        if "HEAD" not in refs:
            raise NotFound("the repository is empty", operation="submit", resource=address)
        return refs["HEAD"], None
    branch = refs.get(f"refs/heads/{version}")
    if branch is not None:
        return branch, version
    tag = refs.get(f"refs/tags/{version}^{{}}") or refs.get(f"refs/tags/{version}") or refs.get(version)
    if tag is None and not _BEGINNING.fullmatch(version):
        raise _no_version(address, version)
    return tag, None


def _no_version(address: str, version: str) -> NotFound:
    return NotFound(
        f"there is no version {version!r}",
        operation="submit",
        resource=address,
        hint="name a branch, a tag or a commit that was pushed",
    )


def _refs(address: str) -> dict[str, str]:
    lines = _git("ls-remote", "--", address, address=address).splitlines()
    return {name: commit for commit, _, name in (line.partition("\t") for line in lines)}


def _commit_of_beginning(address: str, beginning: str, place: Path) -> str:
    with _draft(place) as draft:
        _git("clone", "--quiet", "--bare", "--filter=blob:none", "--", address, str(draft), address=address)
        try:
            return _git(
                "rev-parse", "--verify", "--quiet", f"{beginning}^{{commit}}", folder=draft, address=address
            ).strip()
        except BridgeError as error:
            raise _no_version(address, beginning) from error


def _check_out(address: str, commit: str, whole: Path) -> None:
    """Make a checkout with its submodules; a server that gives out no single commit gives all."""
    with _draft(whole.parent) as draft:

        def git(*words: str) -> None:
            _git(*words, folder=draft, address=address)

        git("init", "--quiet")
        git("remote", "add", "--", "origin", address)
        try:
            git("fetch", "--quiet", "--depth", "1", "origin", commit)
        except NotFound:
            git("fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*")
        try:
            git("checkout", "--quiet", "--detach", commit)
        except NotFound as error:
            raise _no_version(address, commit) from error
        git("submodule", "--quiet", "update", "--init", "--recursive")
        with contextlib.suppress(OSError):  # somebody else was faster
            draft.rename(whole)
    if not whole.is_dir():
        raise ConfigError(f"the checkout cannot be kept at {whole}", operation="submit", hint="free the disk")


@contextlib.contextmanager
def _draft(place: Path) -> Iterator[Path]:
    """Yield a folder beside the checkouts of a repository, which is gone afterwards unless it was moved."""
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = Path(tempfile.mkdtemp(dir=place, prefix=".draft-"))
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _git(*words: str, address: str, folder: Path | None = None) -> str:
    """Run git, which asks nobody, and return what it wrote.

    Raises:
        BridgeError: It failed; which one says why.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_REPOSITORY}
    quiet = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}
    place = () if folder is None else ("-C", str(folder))
    try:
        done = subprocess.run(
            ["git", *place, *words],
            env={**quiet, **kept, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_S_MAX,
            check=False,
        )
    except FileNotFoundError as error:
        raise MissingExtra(
            "git, which fetches the source, is not installed", operation="submit", hint="install git"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise TimedOut(
            f"git {words[0]} took more than {GIT_S_MAX:g} s",
            ambiguous=False,
            operation="submit",
            resource=address,
        ) from error
    if done.returncode != 0:
        raise _failure(words[0], redact(done.stderr.strip())[-500:], address)
    return done.stdout


_OF_ANOTHER_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY")
"""Set while a hook of git runs, and not meant for the repository that is fetched."""


def _failure(verb: str, told: str, address: str) -> BridgeError:
    if _REFUSED.search(told):
        return AuthError(
            f"the repository does not let us in: {told}",
            operation="submit",
            resource=address,
            hint="see to it that git can read it without being asked: git ls-remote ADDRESS",
        )
    if _AWAY.search(told):
        return Unavailable(f"the repository cannot be reached: {told}", operation="submit", resource=address)
    return NotFound(
        f"git {verb} failed: {told}",
        operation="submit",
        resource=address,
        hint="is the address right? try: git ls-remote ADDRESS",
    )
