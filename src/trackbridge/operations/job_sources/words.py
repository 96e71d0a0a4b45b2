"""Compute and lengths of time as users write them."""

from __future__ import annotations

import re

from trackbridge.domain.jobs import Compute
from trackbridge.errors import InvalidInput

SERVERLESS = "serverless"

_COUNTED = re.compile(r"(?P<count>\d{1,5})x(?P<word>.+)")
_INSTANCE_TYPES = (
    r"ml\.[a-z0-9\-]+\.[a-z0-9\-]+",  # SageMaker
    r"(Standard|Basic)_[A-Za-z0-9_\-]+",  # Azure
    r"[a-z][a-z0-9\-]*\.([a-z]+|\d+xlarge|metal[a-z0-9\-]*)",  # EC2, as Databricks has them
)
_IS_INSTANCE_TYPE = re.compile("|".join(f"(?:{kind})" for kind in _INSTANCE_TYPES))
_LENGTH = re.compile(r"(?P<number>\d{1,9}(?:\.\d{1,6})?)\s*(?P<unit>[smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def compute_of(text: str | None, *, instance_count: int | None = None, is_spot: bool = False) -> Compute:
    """Return what a word for compute means: a cluster's name, an instance type, or ``serverless``.

    Args:
        text: ``cpu-cluster``, ``ml.m5.large``, ``2xStandard_DS3_v2``, ``serverless``; None for the default.
        instance_count: How many machines, where the word does not say.
        is_spot: Whether to take spot capacity.

    Raises:
        InvalidInput: The word is empty, or the count is said twice.
    """
    count, word = instance_count, (text or "").strip()
    if text is not None and not word:
        raise InvalidInput(
            "no compute is named",
            operation="submit",
            hint="for example: cpu-cluster, ml.m5.large, serverless",
        )
    counted = _COUNTED.fullmatch(word)
    if counted is not None:
        if count is not None and count != int(counted["count"]):
            raise InvalidInput(
                f"the compute {word!r} says {counted['count']} machines, and {count} are asked for",
                operation="submit",
                hint="say how many only once",
            )
        count, word = int(counted["count"]), counted["word"]
    is_type = _IS_INSTANCE_TYPE.fullmatch(word) is not None
    return Compute(
        cluster=None if is_type or word in ("", SERVERLESS) else word,
        instance_type=word if is_type else None,
        instance_count=1 if count is None else count,
        spot=is_spot,
    )


def seconds_of(value: object, what: str) -> int:
    """Return the whole seconds, at least 1, of ``90``, ``90s``, ``10m``, ``2h`` or ``1d``.

    Raises:
        InvalidInput: It is none of these.
    """
    match = None if isinstance(value, bool) else _LENGTH.fullmatch(str(value).strip())
    seconds = float(match["number"]) * _SECONDS[match["unit"]] if match else 0.0
    if seconds <= 0:
        raise InvalidInput(
            f"{what} is no length of time: {value!r}",
            operation="submit",
            hint="write for example 30s, 10m or 2h",
        )
    return max(1, round(seconds))
