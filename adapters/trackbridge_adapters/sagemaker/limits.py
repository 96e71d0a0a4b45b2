"""What AWS would refuse, told before anything is sent: one validator, fed by botocore's models.

botocore itself checks types, what is required and least values, but no greatest length, pattern or set of
values. Here all of that is checked, so that botocore's own look can be switched off, and beside it the few
rules that the models do not hold (``besides``).

Lengths are counted in units of UTF-16, as Java does: never fewer than characters, so that what fits here fits
whichever of the two the service counts.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from trackbridge.domain.secrets import shown
from trackbridge.errors import ConfigError, Rejected
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.credentials import loader
from trackbridge_adapters.sagemaker.limits_patterns import matcher_of

if TYPE_CHECKING:
    from botocore.model import OperationModel, ServiceModel, Shape

TRIALS_PER_EXPERIMENT = 300
"""Default quota of an account (amazon-sagemaker-examples#3396), without what SageMaker's jobs create."""
COMPONENTS_PER_TRIAL = 50
"""Default quota of an account (sagemaker-python-sdk#3646)."""
METRIC_AGE_S_MAX = 1_209_600
METRIC_AHEAD_S_MAX = 7_200
"""What BatchPutMetrics takes (sagemaker 3.27, METRIC_TS_LOWER_BOUND_TO_NOW and …UPPER…): 14 days, 2 hours."""
UPGRADE = "pip install --upgrade boto3"
RESERVED_TAGS = "aws:"
ONE_OF = frozenset({"TrialComponentParameterValue"})
"""Structures of which the models say only in words that they take one field."""
SHOWN_CHARS_MAX = 60

LimitKind = Literal["min", "max", "pattern", "enum"]
Check = Callable[[Any], None]

_IN_WORDS = {
    "[a-zA-Z0-9](-*[a-zA-Z0-9])": "use letters, digits and '-', and neither begin nor end with '-'",
    "[a-z0-9](-*[a-z0-9])": "use lower-case letters, digits and '-', and neither begin nor end with '-'",
    "([\\p{L}\\p{Z}\\p{N}_.:": "use letters, digits, spaces and _ . : / = + - @ only",
    "[\\p{L}\\p{M}\\p{Z}\\p{S}\\p{N}\\p{P}]": "leave out line ends, tabs and other control characters",
    ".*": "write it on one line",
    ".+": "write it on one line",
}
"""Beginnings of patterns, and what they ask for."""


class Broken(Exception):
    """A limit that is broken: what is wrong, what to do, and the way to the value, innermost part first."""

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice
        self.way: list[str] = []


def check(service: str, operation: str, params: Mapping[str, Any], *, now_s: float | None = None) -> None:
    """Return if AWS can take the request.

    Args:
        service: As boto3 calls it, for example ``sagemaker-metrics``.
        operation: As the service calls it, for example ``BatchPutMetrics``.
        params: The request, as boto3 takes it.
        now_s: The time, in seconds since 1970, where times of metrics are to be checked too.

    Raises:
        Rejected: It cannot; the message names field, value and limit, the hint says what to do.
        ConfigError: The installed botocore is too old to know the operation.
        MissingExtra: botocore is not installed.
    """
    try:
        _check_of(service, operation)(params)
        _check_besides(operation, params, now_s)
    except Broken as broken:
        way = "".join(reversed(broken.way)).lstrip(".") or "the request"
        raise Rejected(
            f"{operation} cannot be sent: {way} {broken.problem}", adapter=ADAPTER, hint=broken.advice
        ) from None


def fits(service: str, operation: str, path: str, value: Any) -> bool:
    """Tell whether a value can stand at ``path`` (see ``limit_of``) of a request."""
    try:
        _check_at(service, operation, path)(value)
    except Broken:
        return False
    return True


def limit_of(service: str, operation: str, path: str, kind: LimitKind) -> Any:
    """Return a limit of a field; None where there is none.

    Args:
        service: As boto3 calls it.
        operation: As the service calls it.
        path: Fields from the request on, joined by dots; ``member`` stands for each item of a list, ``key``
            and ``value`` for those of a map: ``Tags.member.Key``, ``Parameters.value.StringValue``.
        kind: ``min`` or ``max`` (a number: of characters, bytes, items, or the value itself), ``pattern``
            (text), ``enum`` (a tuple).
    """
    shape = _shape_at(_operation_of(service, operation), path)
    limit = shape.metadata.get(kind)
    return tuple(limit) if isinstance(limit, list) else limit


def length_of(text: str) -> int:
    """Return how long AWS takes a text to be: units of UTF-16."""
    return len(text) if text.isascii() else len(text) + sum(1 for character in text if character > "\uffff")


_parsing = threading.Lock()


@lru_cache(maxsize=16)
def _model_of(service: str) -> ServiceModel:
    from botocore.exceptions import UnknownServiceError
    from botocore.model import ServiceModel

    try:
        with _parsing:
            return ServiceModel(loader().load_service_model(service, "service-2"), service)
    except UnknownServiceError:
        raise _too_old(service) from None


@lru_cache(maxsize=256)
def _operation_of(service: str, operation: str) -> OperationModel:
    model = _model_of(service)
    if operation not in model.operation_names:
        raise _too_old(f"{service}:{operation}")
    return model.operation_model(operation)


def _too_old(what: str) -> ConfigError:
    return ConfigError(f"the installed botocore does not know {what}", adapter=ADAPTER, hint=UPGRADE)


@lru_cache(maxsize=256)
def _check_of(service: str, operation: str) -> Check:
    shape = _operation_of(service, operation).input_shape
    return _nothing if shape is None else _Checks().of(shape)


@lru_cache(maxsize=256)
def _check_at(service: str, operation: str, path: str) -> Check:
    return _Checks().of(_shape_at(_operation_of(service, operation), path))


def _shape_at(operation: OperationModel, path: str) -> Shape:
    shape: Any = operation.input_shape
    for name in path.split("."):
        shape = shape.members[name] if shape.type_name == "structure" else getattr(shape, name)
    found: Shape = shape
    return found


def _nothing(value: Any) -> None:
    if value:
        raise Broken("has fields", "the operation takes none")


class _Checks:
    """Makes one function per shape; a shape that holds itself finds the function that is being made."""

    def __init__(self) -> None:
        self._made: dict[str, Check] = {}

    def of(self, shape: Any) -> Check:
        """Return the function that raises ``Broken`` for a value which the shape does not hold."""
        if shape.type_name != "structure":
            return self._make(shape)
        name: str = shape.name
        if name not in self._made:
            self._made[name] = lambda value: self._made[name](value)
            self._made[name] = self._make(shape)
        return self._made[name]

    def _make(self, shape: Any) -> Check:
        kind = shape.type_name
        if kind == "structure":
            return self._structure(shape)
        if kind == "list":
            return _list_check(shape, self.of(shape.member))
        if kind == "map":
            return _map_check(shape, self.of(shape.key), self.of(shape.value))
        return _SCALARS[kind](shape)

    def _structure(self, shape: Any) -> Check:
        if getattr(shape, "is_document_type", False):
            return lambda value: None
        members = {name: self.of(member) for name, member in shape.members.items()}
        required = tuple(shape.required_members)
        is_union = getattr(shape, "is_tagged_union", False) or shape.name in ONE_OF

        def structure(value: Any) -> None:
            if not isinstance(value, Mapping):
                raise _of_kind(value, "a structure")
            for name in required:
                if name not in value:
                    raise Broken(f"lacks {name}", f"give {name}: AWS requires it")
            for name, field in value.items():
                try:
                    members[name](field)
                except KeyError:
                    raise _unknown(name, members) from None
                except Broken as broken:
                    broken.way.append(f".{name}")
                    raise
            if is_union and len(value) != 1:
                raise Broken(f"has {len(value)} fields", f"give exactly one of {', '.join(members)}")

        return structure


def _list_check(shape: Any, member: Check) -> Check:
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max", math.inf)

    def items(value: Any) -> None:
        if not isinstance(value, (list, tuple)):
            raise _of_kind(value, "a list")
        if not least <= len(value) <= most:
            raise _counted(len(value), least, most, "items")
        index = 0
        try:
            for item in value:
                member(item)
                index += 1
        except Broken as broken:
            broken.way.append(f"[{index}]")
            raise

    return items


def _map_check(shape: Any, key: Check, value_check: Check) -> Check:
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max", math.inf)

    def entries(value: Any) -> None:
        if not isinstance(value, Mapping):
            raise _of_kind(value, "a map")
        if not least <= len(value) <= most:
            raise _counted(len(value), least, most, "entries")
        name = None
        try:
            for name, field in value.items():
                key(name)
                value_check(field)
        except Broken as broken:
            broken.way.append(f"[{shown(repr(name), chars_max=SHOWN_CHARS_MAX)}]")
            raise

    return entries


def _text_check(shape: Any) -> Check:
    metadata = shape.metadata
    least, most = metadata.get("min", 0), metadata.get("max", math.inf)
    pattern = metadata.get("pattern")
    matches = matcher_of(pattern) if pattern else None
    choices = frozenset(metadata.get("enum", ()))
    is_sensitive = bool(metadata.get("sensitive"))

    def text(value: Any) -> None:
        if not isinstance(value, str):
            raise _of_kind(value, "text")
        length = length_of(value)
        if not least <= length <= most:
            problem = f"{_quoted(value, is_sensitive)} has {length} characters"
            raise _bounded(problem, least, most, "characters")
        if choices and value not in choices:
            problem = f"{_quoted(value, is_sensitive)} is none of its values"
            raise Broken(problem, f"give one of {', '.join(sorted(choices))}")
        if matches is not None and not matches(value):
            problem = f"{_quoted(value, is_sensitive)} does not match {pattern}"
            raise Broken(problem, _in_words(pattern))
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise Broken(
                f"{_quoted(value, is_sensitive)} holds half a character", "leave lone surrogates out"
            )

    return text


def _integer_check(shape: Any) -> Check:
    bits = 31 if shape.type_name == "integer" else 63
    least = max(shape.metadata.get("min", -math.inf), -(2**bits))
    most = min(shape.metadata.get("max", math.inf), 2**bits - 1)

    def integer(value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise _of_kind(value, "a whole number")
        if not least <= value <= most:
            raise _bounded(f"is {str(value)[:SHOWN_CHARS_MAX]}", least, most, "")

    return integer


def _number_check(shape: Any) -> Check:
    least, most = shape.metadata.get("min", -math.inf), shape.metadata.get("max", math.inf)

    def number(value: Any) -> None:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise _of_kind(value, "a number")
        if not _is_finite(value):
            raise Broken(f"is {str(value)[:SHOWN_CHARS_MAX]}", "leave it out: AWS takes finite numbers")
        if not least <= value <= most:
            raise _bounded(f"is {value}", least, most, "")

    return number


def _flag_check(shape: Any) -> Check:
    def flag(value: Any) -> None:
        if not isinstance(value, bool):
            raise _of_kind(value, "True or False")

    return flag


def _time_check(shape: Any) -> Check:
    def time(value: Any) -> None:
        if isinstance(value, datetime):
            return
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not _is_finite(value):
            raise _of_kind(value, "a time")

    return time


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _bytes_check(shape: Any) -> Check:
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max", math.inf)

    def content(value: Any) -> None:
        if hasattr(value, "read"):
            return  # a stream: its length is the service's to judge
        if not isinstance(value, (bytes, bytearray, str)):
            raise _of_kind(value, "bytes")
        size = len(value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value)
        if not least <= size <= most:
            raise _counted(size, least, most, "bytes")

    return content


_SCALARS: Mapping[str, Callable[[Any], Check]] = {
    "string": _text_check,
    "character": _text_check,
    "integer": _integer_check,
    "long": _integer_check,
    "float": _number_check,
    "double": _number_check,
    "boolean": _flag_check,
    "timestamp": _time_check,
    "blob": _bytes_check,
}


def _check_besides(operation: str, params: Mapping[str, Any], now_s: float | None) -> None:
    """Check what the service refuses and its model does not tell."""
    tags = params.get("Tags")
    if tags:
        _check_tags(tags)
    if operation == "BatchPutMetrics" and now_s is not None:
        for problem in _wrong_times(params["MetricData"], now_s):
            raise problem


def _check_tags(tags: list[Mapping[str, str]]) -> None:
    seen: set[str] = set()
    for index, tag in enumerate(tags):
        key = tag["Key"]
        if key.lower().startswith(RESERVED_TAGS):
            raise _within(
                Broken(f"{_quoted(key)} is reserved", "name it otherwise: aws: is AWS's own"),
                f".Tags[{index}].Key",
            )
        if key in seen:
            raise _within(
                Broken(f"{_quoted(key)} is there twice", "give each key once"), f".Tags[{index}].Key"
            )
        seen.add(key)


def _wrong_times(points: list[Mapping[str, Any]], now_s: float) -> Iterator[Broken]:
    for index, point in enumerate(points):
        at = point["Timestamp"]
        at_s = at.timestamp() if isinstance(at, datetime) else at
        if not now_s - METRIC_AGE_S_MAX <= at_s <= now_s + METRIC_AHEAD_S_MAX:
            ahead_s = at_s - now_s
            problem = f"is {abs(ahead_s):.0f} s {'ahead' if ahead_s > 0 else 'ago'}"
            advice = "give a time of the last 14 days, at most 2 hours ahead; or check this machine's clock"
            yield _within(Broken(problem, advice), f".MetricData[{index}].Timestamp")


def _within(broken: Broken, way: str) -> Broken:
    broken.way.append(way)
    return broken


def _counted(count: int, least: float, most: float, unit: str) -> Broken:
    return _bounded(f"has {count} {unit}", least, most, unit)


def _bounded(problem: str, least: float, most: float, unit: str) -> Broken:
    if most == math.inf:
        allowed = f"at least {least}"
    else:
        allowed = f"{least} to {most}" if least > 0 or -math.inf < least < 0 else f"at most {most}"
    allowed = f"{allowed} {unit}".rstrip()
    return Broken(f"{problem}, AWS takes {allowed}", f"give {allowed}")


def _of_kind(value: Any, wanted: str) -> Broken:
    return Broken(f"is {type(value).__name__}, not {wanted}", f"give {wanted}, or leave the field out")


def _unknown(name: Any, known: Mapping[str, Check]) -> Broken:
    text = shown(str(name), chars_max=SHOWN_CHARS_MAX)
    advice = f"known are {', '.join(known)}; a newer botocore may know more: {UPGRADE}"
    return Broken(f"has no field {text!r}", advice)


def _quoted(value: str, is_sensitive: bool = False) -> str:
    return "(not shown)" if is_sensitive else shown(repr(value), chars_max=SHOWN_CHARS_MAX)


def _in_words(pattern: str) -> str:
    for beginning, words in _IN_WORDS.items():
        if pattern.startswith(beginning):
            return words
    return f"write it as the pattern says: {pattern}"
