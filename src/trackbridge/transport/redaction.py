"""Keep credentials out of what is logged, shown or stored."""

from __future__ import annotations

import re

from trackbridge.domain.secrets import redact, userinfo_length

__all__ = ["redact", "strip_credentials"]

ADDRESS_CHARS_MAX = 4096

_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]{0,31})://(?P<rest>.*)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LOGIN_SCHEMES = ("ssh", "git+ssh", "ssh+git", "sftp", "rsync", "svn+ssh")


def strip_credentials(address: str) -> str:
    """Return the address of a git remote without user, password, query and fragment.

    ``https://user:token@host/x.git`` becomes ``https://host/x.git``. The login name of ssh addresses is
    part of the address and stays (``git@host:x.git``, ``ssh://git@host/x.git``), a password behind it
    does not. Paths stay as they are. What cannot be understood is masked rather than kept: any text is
    accepted, at most 4,096 characters are returned.
    """
    address = _CONTROL.sub("", address[: ADDRESS_CHARS_MAX * 2])
    match = _ADDRESS.match(address)
    if match is None:
        return _cut(redact(_without_inline_password(address)))
    scheme, rest = match["scheme"], re.split(r"[?#]", match["rest"], maxsplit=1)[0]
    length = userinfo_length(match["rest"])
    if length > len(rest):  # a password with "?" or "#" in it
        rest = match["rest"]
    user = re.split("[:@]", rest[:length], maxsplit=1)[0]
    login = f"{user}@" if user and scheme.lower() in _LOGIN_SCHEMES else ""
    return _cut(f"{scheme}://{login}{redact(rest[length:])}")


def _without_inline_password(address: str) -> str:
    """Drop the password of ``user:password@host:path``; keep ``user@host:path`` and plain paths."""
    before, at, after = address.rpartition("@")
    if not at or ":" not in before or before.startswith(("/", ".", "~")):
        return address
    return f"{before.partition(':')[0]}@{after}"


def _cut(address: str) -> str:
    return address[:ADDRESS_CHARS_MAX]
