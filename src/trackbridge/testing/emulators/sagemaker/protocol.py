"""AWS's two JSON protocols, as far as SageMaker's services speak them: requests read, answers written.

Driven by botocore's service models. What is not of the right type is refused as AWS does it, before any limit
is looked at; members that the model does not know are left out.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

from trackbridge.testing.emulators.sagemaker.refusal import Refused

DEPTH_MAX = 100
"""How deep a request may be nested: it is walked recursively."""
INT32 = (-(2**31), 2**31 - 1)
INT64 = (-(2**63), 2**63 - 1)
_NOT_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_FOUND = {bool: "TRUE_VALUE", int: "NUMBER_VALUE", float: "NUMBER_VALUE", str: "STRING_VALUE"}
_TOLD = {"string": "a String", "integer": "an Integer", "long": "a Long", "boolean": "a Boolean"}


class Answer(NamedTuple):
    """An answer of HTTP. A body that is an iterator is sent as it comes."""

    status: int
    headers: dict[str, str]
    body: bytes | Iterator[bytes]


@lru_cache(maxsize=8)
def service_model(service: str) -> Any:
    """Return botocore's model of a service, such as ``sagemaker-metrics``."""
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


def read_json(shape: Any, body: bytes) -> dict[str, Any]:
    """Return the request that a body of JSON holds.

    Raises:
        Refused: It is not JSON, or not of the shape's types.
    """
    try:
        value = json.loads(body.decode() or "{}", parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refused("SerializationException", "The request body is not valid JSON") from None
    if not isinstance(value, dict):
        raise Refused("SerializationException", "Start of structure or map expected")
    read: dict[str, Any] = _read(shape, value)
    return read


def read_rest(operation: Any, path: str, headers: Any, body: bytes) -> dict[str, Any]:
    """Return the request of an operation of the REST protocol."""
    shape = operation.input_shape
    read = {} if "payload" in shape.serialization else read_json(_body_shape(shape), body)
    places = _route(operation).fullmatch(path)
    for name, member in shape.members.items():
        if name == shape.serialization.get("payload"):
            read[name] = body
        elif member.serialization.get("location") == "uri" and places is not None:
            read[name] = unquote(places[name])
        elif member.serialization.get("location") == "header":
            text = headers.get(member.serialization.get("name", name))
            if text is not None:
                read[name] = _of_header(member, text)
    return read


def find_route(service: str, method: str, path: str) -> Any:
    """Return the operation of a REST service that a request is for, or None."""
    for operation in _operations(service):
        if operation.http["method"] == method and _route(operation).fullmatch(path):
            return operation
    return None


def write_json(shape: Any, answer: Mapping[str, Any], request_id: str) -> Answer:
    """Return an answer of the JSON protocol."""
    body = b"" if shape is None else json.dumps(written(shape, answer)).encode()
    headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": request_id}
    return Answer(200, headers, body)


def write_rest(operation: Any, answer: Mapping[str, Any], request_id: str) -> Answer:
    """Return an answer of the REST protocol."""
    shape = operation.output_shape
    headers = {"Content-Type": "application/json", "x-amzn-RequestId": request_id}
    payload = shape.serialization.get("payload")
    in_body: dict[str, Any] = {}
    for name, member in shape.members.items():
        if name == payload or answer.get(name) is None:
            continue
        if member.serialization.get("location") == "header":
            headers[member.serialization.get("name", name)] = str(answer[name])
        else:
            in_body[name] = written(member, answer[name])
    if payload is None:
        return Answer(operation.http.get("responseCode", 200), headers, json.dumps(in_body).encode())
    if shape.members[payload].serialization.get("eventstream"):
        headers["Content-Type"] = "application/vnd.amazon.eventstream"
    return Answer(operation.http.get("responseCode", 200), headers, answer[payload])


def write_error(refused: Refused, request_id: str, *, is_rest: bool) -> Answer:
    """Return how a refusal is told."""
    words = {"Message" if is_rest else "message": refused.message}
    headers = {"x-amzn-RequestId": request_id}
    if is_rest:
        headers |= {"Content-Type": "application/json", "x-amzn-ErrorType": refused.code}
        words["ErrorCode"] = refused.code
    else:
        headers["Content-Type"] = "application/x-amz-json-1.1"
        words["__type"] = refused.code
    return Answer(refused.status, headers, json.dumps(words | refused.fields).encode())


def written(shape: Any, value: Any, where: str = "") -> Any:
    """Return a value of an answer as JSON holds it.

    Raises:
        TypeError: It is not of the shape: a fault of the emulator.
    """
    kind = shape.type_name
    if kind == "structure":
        unknown = set(value) - set(shape.members)
        if unknown:
            raise TypeError(f"{where or shape.name} has no member {sorted(unknown)}")
        parts = {name: item for name, item in value.items() if item is not None}
        return {name: written(shape.members[name], item, f"{where}.{name}") for name, item in parts.items()}
    if kind == "list":
        return [written(shape.member, item, where) for item in value]
    if kind == "map":
        return {str(key): written(shape.value, item, f"{where}.{key}") for key, item in value.items()}
    return _written_scalar(kind, value, where or shape.name)


def _written_scalar(kind: str, value: Any, where: str) -> Any:
    if kind == "blob":
        return base64.b64encode(value).decode()
    if kind in ("double", "float", "timestamp"):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{where} is {type(value).__name__}, not a number")
        if math.isnan(value):
            return "NaN"
        return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")
    wanted = {"string": str, "boolean": bool, "integer": int, "long": int}[kind]
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise TypeError(f"{where} is {type(value).__name__}, not {wanted.__name__}")
    return value


@lru_cache(maxsize=8)
def _operations(service: str) -> list[Any]:
    model = service_model(service)
    return [model.operation_model(name) for name in model.operation_names]


@lru_cache(maxsize=64)
def _route_of(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(template)))


def _route(operation: Any) -> re.Pattern[str]:
    return _route_of(operation.http["requestUri"])


class _Body(NamedTuple):
    members: dict[str, Any]
    type_name: str = "structure"


def _body_shape(shape: Any) -> _Body:
    return _Body({n: m for n, m in shape.members.items() if "location" not in m.serialization})


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _of_header(shape: Any, text: str) -> Any:
    if shape.type_name != "integer":
        return text
    try:
        return int(text)
    except ValueError:
        raise Refused("SerializationException", f"{text!r} is not a number") from None


def _read(shape: Any, value: Any, depth: int = 0) -> Any:
    kind, deeper = shape.type_name, depth + 1
    if depth > DEPTH_MAX:
        raise Refused("SerializationException", f"The request is nested more than {DEPTH_MAX} deep")
    if kind == "structure":
        _expect(value, dict, "Start of structure or map expected")
        known = ((name, value[name]) for name in shape.members if value.get(name) is not None)
        return {name: _read(shape.members[name], item, deeper) for name, item in known}
    if kind == "list":
        _expect(value, list, "Expected list or null")
        return [_read(shape.member, item, deeper) for item in _present(value)]
    if kind == "map":
        _expect(value, dict, "Start of structure or map expected")
        return {key: _read(shape.value, item, deeper) for key, item in value.items() if item is not None}
    return _read_scalar(kind, value)


def _read_scalar(kind: str, value: Any) -> Any:
    if isinstance(value, (dict, list)):
        found = "list" if isinstance(value, list) else "structure or map"
        raise Refused("SerializationException", f"Start of {found} found where not expected.")
    if kind == "timestamp":
        return _moment(value)
    if kind in ("double", "float"):
        return _number(value)
    if kind == "blob":
        return _blob(value)
    if kind == "string" and isinstance(value, str):
        return _text(value)
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind in ("integer", "long") and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _whole(value, *(INT32 if kind == "integer" else INT64))
    raise Refused("SerializationException", f"{_FOUND[type(value)]} can not be converted to {_TOLD[kind]}")


def _present(items: Iterable[Any]) -> list[Any]:
    items = list(items)
    if None in items:
        raise Refused("SerializationException", "a list holds null")
    return items


def _expect(value: Any, kind: type, message: str) -> None:
    if not isinstance(value, kind):
        raise Refused("SerializationException", message)


def _text(value: str) -> str:
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise Refused("SerializationException", "a string holds half of a surrogate pair")
    return value


def _number(value: Any) -> float:
    if isinstance(value, str) and value in _NOT_NUMBERS:
        return _NOT_NUMBERS[value]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Refused("SerializationException", f"{_FOUND[type(value)]} can not be converted to a Double")
    try:
        return float(value)
    except OverflowError:
        raise Refused("SerializationException", "a number is too large for a Double") from None


def _whole(value: float, low: int, high: int) -> int:
    if value != value // 1 or not low <= value <= high:
        raise Refused("SerializationException", f"{value} is not a whole number from {low} to {high}")
    return int(value)


def _blob(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise Refused("SerializationException", "a blob is not Base64") from None


def _moment(value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    try:
        moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        raise Refused("SerializationException", f"{value!r} is not a time") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
