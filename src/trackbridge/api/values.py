"""What a caller may say, and how it is made into a record: checks of keys and values."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

from trackbridge.domain.runs import RESERVED_TAG_PREFIX
from trackbridge.errors import InvalidInput

KEY_BYTES_MAX = 2048
VALUE_BYTES_MAX = 8 * 1024 * 1024
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


def checked_key(key: object, *, kind: str) -> str:
    """Return the key of a metric, param or tag unchanged.

    Raises:
        InvalidInput: It is not text, empty, longer than 2,048 bytes, holds NUL, or is not valid Unicode.
    """
    what = "name" if kind in ("run", "experiment") else "key"
    if not isinstance(key, str):
        raise InvalidInput(f"the {what} of a {kind} must be text, not {type(key).__name__}")
    problem = _text_problem(key, KEY_BYTES_MAX) or (None if key else "is empty")
    if problem:
        raise InvalidInput(
            f"the {what} {key[:60]!r} of {kind} {problem}",
            hint="use a short name such as 'train/loss'",
        )
    return key


def checked_mapping(value: object, *, of: str) -> Mapping[Any, Any]:
    """Return a mapping unchanged.

    Raises:
        InvalidInput: It is none.
    """
    if isinstance(value, Mapping):
        return value
    raise InvalidInput(
        f"{of} must be a mapping of keys to values, not {type(value).__name__}",
        hint='for example {"lr": 0.1}',
    )


def checked_tag_key(key: object) -> str:
    """Return a tag's key unchanged; those under ``bridge.`` are reserved."""
    checked = checked_key(key, kind="tag")
    if checked.startswith(RESERVED_TAG_PREFIX):
        raise InvalidInput(
            f"the tag {checked!r} is reserved", operation="set_tag", hint="use another prefix than 'bridge.'"
        )
    return checked


def as_text(value: object, *, key: str, kind: str) -> str:
    """Return a param's or tag's value as text, as ``str`` makes it.

    Raises:
        InvalidInput: It holds NUL, is not valid Unicode, or has more than 8 MiB.
    """
    text = value if type(value) is str else str(value)
    problem = _text_problem(text, VALUE_BYTES_MAX)
    if problem:
        raise InvalidInput(
            f"the value of {kind} {key!r} {problem}",
            operation=f"log_{kind}",
            hint="log large or binary values as artifacts: log_text, log_dict, log_artifact",
        )
    return str(text)


def _text_problem(text: str, bytes_max: int) -> str | None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode (it holds a lone surrogate)"
    if size > bytes_max:
        return f"has {size:,} bytes; the limit is {bytes_max:,}"
    return "holds a NUL character" if "\0" in text else None


def as_float(value: Any, *, key: str) -> float:
    """Return a metric's value as a 64-bit float: numbers, and arrays or tensors of one element.

    Raises:
        InvalidInput: It is not a number.
    """
    if isinstance(value, str | bytes):
        raise _not_a_number(value, key)
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise _not_a_number(value, key) from error


def _not_a_number(value: object, key: str) -> InvalidInput:
    return InvalidInput(
        f"the value of metric {key!r} must be a number, not {type(value).__name__} {str(value)[:40]!r}",
        operation="log_metric",
        hint="log text with log_param, set_tag or log_text",
    )


def as_step(value: Any, *, key: str) -> int:
    """Return a step as a 64-bit integer.

    Raises:
        InvalidInput: It is not a whole number, or does not fit.
    """
    try:
        step = operator.index(value) if not isinstance(value, float) else _whole(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"the step of metric {key!r} must be a whole number, not {str(value)[:40]!r}",
            operation="log_metric",
        ) from error
    if not INT64_MIN <= step <= INT64_MAX:
        raise InvalidInput(f"the step {step} of metric {key!r} exceeds 64 bits", operation="log_metric")
    return step


def as_timestamp(value: Any, *, key: str) -> int:
    """Return a time in milliseconds since 1970.

    Raises:
        InvalidInput: It is not a whole number of milliseconds from 0 to 2^63 - 1.
    """
    try:
        timestamp = operator.index(value) if not isinstance(value, float) else _whole(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"the timestamp of metric {key!r} must be whole milliseconds, not {str(value)[:40]!r}",
            operation="log_metric",
            hint="int(time.time() * 1000)",
        ) from error
    if not 0 <= timestamp <= INT64_MAX:
        raise InvalidInput(
            f"the timestamp {timestamp} of metric {key!r} is negative or exceeds 64 bits",
            operation="log_metric",
            hint="timestamps are milliseconds since 1970",
        )
    return timestamp


def _whole(value: float) -> int:
    if not value.is_integer():
        raise ValueError(value)
    return int(value)
