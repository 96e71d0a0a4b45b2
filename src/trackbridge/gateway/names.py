"""What mlflow's server takes as a key of a metric, param or tag, and as a name of an experiment.

The rules are those of ``mlflow/utils/validation.py``, in its words.
"""

from __future__ import annotations

import functools
import json
import posixpath
import re

from trackbridge.domain.runs import RESERVED_TAG_PREFIX
from trackbridge.gateway.errors import invalid, missing

KEY_CHARS_MAX = 250
EXPERIMENT_NAME_CHARS_MAX = 500
EXPERIMENT_TAG_VALUE_CHARS_MAX = 20_000

_LETTERS = re.compile(r"[/\w.\- :]*")


@functools.lru_cache(maxsize=10_000)
def checked_key(key: str, path: str) -> str:
    """Return a key unchanged.

    Args:
        key: What was given.
        path: What an error calls it, for example ``metrics[0].name``.

    Raises:
        Refused: mlflow's server would refuse it, too.
    """
    if not _LETTERS.fullmatch(key):
        raise _invalid_name(
            path,
            key,
            "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), "
            "colon(:) and slashes (/).",
        )
    resolved = posixpath.normpath(key)
    if resolved != key or resolved == "." or resolved.startswith(("..", "/")):
        raise _invalid_name(
            path,
            key,
            "Names may be treated as files in certain cases, and must not resolve to other names when "
            f"treated as such. This name would resolve to {resolved!r}",
        )
    if len(key) > KEY_CHARS_MAX:
        raise too_long(path, KEY_CHARS_MAX)
    return key


def checked_tag(key: str, path: str = "key") -> str:
    """Return the key of a tag unchanged; those under ``bridge.`` are ours.

    Raises:
        Refused: It is no key, or reserved.
    """
    if key.startswith(RESERVED_TAG_PREFIX):
        raise _invalid_name(path, key, f"Tags under {RESERVED_TAG_PREFIX!r} are reserved for trackbridge.")
    return checked_key(key, path)


def checked_experiment_name(name: str) -> str:
    """Return the name of an experiment unchanged.

    Raises:
        Refused: It is longer than mlflow takes it.
    """
    if len(name) > EXPERIMENT_NAME_CHARS_MAX:
        raise too_long("name", EXPERIMENT_NAME_CHARS_MAX)
    return name


def checked_run_id(run_id: str | None) -> str:
    """Return the id of a run unchanged.

    Raises:
        Refused: There is none.
    """
    if not run_id:
        raise missing("run_id")
    return run_id


def too_long(path: str, chars_max: int) -> Exception:
    """Return the error for a text that is too long."""
    return invalid(f"'{path}' exceeds the maximum length of {chars_max} characters")


def _invalid_name(path: str, name: str, why: str) -> Exception:
    return invalid(f"Invalid value {json.dumps(name[:KEY_CHARS_MAX])} for parameter '{path}' supplied: {why}")
