"""Options that several backends have, read in one way."""

from __future__ import annotations

import os

from trackbridge.errors import ConfigError
from trackbridge.transport.http import ANSWER_S

TIMEOUT_S_MAX = 3600


def timeout_s(text: str | None, *, adapter: str) -> float:
    """Return the seconds to wait for an answer.

    Raises:
        ConfigError: The text is no number of seconds.
    """
    if not text:
        return ANSWER_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= TIMEOUT_S_MAX:
        hint = f"give seconds, from 1 to {TIMEOUT_S_MAX}"
        raise ConfigError(f"timeout_s is {text[:20]!r}", adapter=adapter, hint=hint)
    return seconds


def existing_file(path: str | None, *, adapter: str, hint: str = "check the path") -> str | None:
    """Return the path of a file with the home folder filled in; None where none is named.

    Raises:
        ConfigError: There is no such file.
    """
    if not path:
        return None
    expanded = os.path.expanduser(path)
    if not os.path.isfile(expanded):
        raise ConfigError(f"the file {path} does not exist", adapter=adapter, hint=hint)
    return expanded
