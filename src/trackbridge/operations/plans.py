"""Plans as files, and whether the world is still as it was when a plan was made.

A saved plan is one JSON object::

    {"format": "trackbridge plan", "version": 1, "checksum": "sha256:…", "plan": {…}}

The checksum is over the plan's canonical JSON: a file that was cut or edited is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import msgspec

from trackbridge.domain.ids import mint_id
from trackbridge.domain.plans import Action, Change, Plan
from trackbridge.domain.secrets import has_secret_shape, is_secret_name
from trackbridge.errors import ConfigError, InvalidInput, NotFound

FORMAT = "trackbridge plan"
VERSION = 1
PLAN_BYTES_MAX = 64 * 1024 * 1024


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """What a saved plan holds."""

    format: str
    version: int
    checksum: str = ""
    plan: Any = None


def basis_of(state: object) -> str:
    """Return the digest of a state: SHA-256 over its canonical JSON.

    Args:
        state: Anything that JSON can hold, or a struct.
    """
    return f"sha256:{hashlib.sha256(_canonical(state)).hexdigest()}"


def changes_only(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """Return the changes without those that keep what is there."""
    return tuple(change for change in changes if change.action is not Action.KEEP)


def find_progress(changes: tuple[Change, ...], remaining: tuple[Change, ...]) -> int | None:
    """Return how many changes of a plan are done, given those that would be planned now for the same goal.

    What remains must be the end of the plan, the same actions leading to the same states; None when it is
    not: then something else has changed, and the plan is stale.
    """
    planned = [_step(change) for change in changes_only(changes)]
    left = [_step(change) for change in changes_only(remaining)]
    done = len(planned) - len(left)
    return done if done >= 0 and planned[done:] == left else None


def refuse_secrets(what: str, values: dict[str, str]) -> None:
    """Refuse values that would put a secret into a plan, by their name or their shape.

    Raises:
        InvalidInput: One of them does.
    """
    for name, value in values.items():
        if is_secret_name(name) or has_secret_shape(value):
            raise InvalidInput(
                f"{what} {name!r} looks like a secret, and would be kept in plans and records",
                operation="plan",
                hint="hand secrets to the program by reference, or by the target's own means",
            )


def save_plan(plan: Plan, path: Path) -> None:
    """Write a plan to a file that only this user can read; a file that is there is replaced at once.

    Raises:
        ConfigError: The file cannot be written.
    """
    content = msgspec.to_builtins(plan)
    file = {"format": FORMAT, "version": VERSION, "checksum": basis_of(content), "plan": content}
    draft = path.with_name(f".{path.name}.{mint_id()[-8:]}.draft")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as opened:
            opened.write(json.dumps(file, indent=1).encode())
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise ConfigError(
            f"the plan cannot be written: {error.strerror}", resource=str(path), hint="choose another file"
        ) from error


def load_plan(path: Path) -> Plan:
    """Read a saved plan.

    Raises:
        NotFound: There is no such file.
        ConfigError: It cannot be read, is no plan, was changed, or is of a newer version.
    """
    file = _decoded(_read(path), path)
    if file.format != FORMAT:
        raise _no_plan(path, "is no plan of trackbridge")
    if file.version != VERSION:
        raise ConfigError(
            f"the plan is of version {file.version}; this trackbridge reads version {VERSION}",
            resource=str(path),
            hint="use the trackbridge that made it, or make the plan anew",
        )
    if basis_of(file.plan) != file.checksum:
        raise _no_plan(path, "was changed after it was made, or is damaged")
    try:
        return msgspec.convert(file.plan, Plan)
    except msgspec.ValidationError as error:
        raise _no_plan(path, f"holds no valid plan ({error})") from error


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as opened:
            content = opened.read(PLAN_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise NotFound(f"there is no plan {str(path)!r}", hint="make one with --plan --out FILE") from error
    except OSError as error:
        raise ConfigError(
            f"the plan cannot be read: {error.strerror}", resource=str(path), hint="see who may read the file"
        ) from error
    if len(content) > PLAN_BYTES_MAX:
        raise _no_plan(path, f"is larger than {PLAN_BYTES_MAX:,} bytes")
    return content


def _decoded(content: bytes, path: Path) -> _File:
    try:
        return msgspec.json.decode(content, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _no_plan(path, "is no plan of trackbridge, or damaged") from error


def _no_plan(path: Path, problem: str) -> ConfigError:
    return ConfigError(
        f"the file {problem}", resource=str(path), hint="make the plan anew with --plan --out FILE"
    )


def _step(change: Change) -> tuple[str, str, bytes]:
    """Return what makes a change the same: of the traffic also from where, since anybody may shift it."""
    states = (change.before, change.after) if change.subject.startswith("traffic ") else (change.after,)
    return change.action.value, change.subject, b" ".join(map(_canonical, states))


def _canonical(value: object) -> bytes:
    text = json.dumps(
        msgspec.to_builtins(value, str_keys=True), sort_keys=True, separators=(",", ":"), ensure_ascii=True
    )
    return text.encode()
