"""Bodies and query strings as Structs, and answers as JSON, the way mlflow's server reads and writes them.

mlflow parses a request with protobuf's JSON mapping, and so do we:

- Fields are named as in the protocol (``run_id``) or in camel case (``runId``), not both at once; unknown
  ones are ignored; null is as good as absent.
- 64-bit integers come as numbers or as strings, floats also as ``"NaN"``, ``"Infinity"``, ``"-Infinity"``.
- A repeated field comes as repeated query parameters; one parameter is a list of one.
- An absent, and for texts an empty, required field is ``INVALID_PARAMETER_VALUE``.

An answer leaves out what is not set, and writes floats that JSON has no numbers for as those texts.

The first way of decoding takes one pass over the body, straight into the Struct. Only what it does not take
is looked at again, to accept it as protobuf would or to say what is wrong.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin

import msgspec

from trackbridge.gateway.errors import Refused, invalid, missing

_DOCS = " See the API docs for more information about request parameters."
_PLACE = re.compile(r" - at `\$(?:\.(?P<path>[^`]*))?`$")
_TOLD_CHARS_MAX = 200
ORDINAL_DIGITS_MAX = 9


Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What a signed integer of the protocol may be, and a store may hold."""


class Request(msgspec.Struct):
    """What a request holds. Every field has a default: None, or an empty list.

    ``required`` names the fields that must be there, in the order in which they are asked for.
    """

    required: ClassVar[tuple[str, ...]] = ()

    def check(self) -> None:
        """Refuse what is absent.

        Raises:
            Refused: A required field is absent or empty.
        """
        for name in self.required:
            value = getattr(self, name)
            if value is None or value in ("", []):
                if name == "run_id" and getattr(self, "run_uuid", None):
                    self.run_id = self.run_uuid  # type: ignore[attr-defined]
                    continue
                raise missing(name)


class Answer(msgspec.Struct, omit_defaults=True):
    """What an answer holds; fields that have their default are left out."""


class Empty(Answer):
    """The answer of calls that only do something."""


Kind = TypeVar("Kind", bound=Request)

EMPTY = Empty()


def decode(
    kind: type[Kind],
    *,
    method: str,
    query: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    content_type: str | None = None,
    path_parameters: Mapping[str, str] | None = None,
) -> Kind:
    """Return a request as a Struct.

    Args:
        kind: What it is to be.
        method: The HTTP method. GET, and DELETE without a body, are read from the query.
        query: The query's names and values, percent-decoded, in their order.
        body: The body.
        content_type: The header, None when there is none.
        path_parameters: Parts of the path that are fields, percent-decoded.

    Raises:
        Refused: The request is none of this kind.
    """
    pairs = list(query)
    if method in ("POST", "PUT"):
        _check_content_type(content_type)
    found = _from_query(kind, pairs) if method == "GET" and pairs else decode_body(kind, body)
    for name, value in (path_parameters or {}).items():
        setattr(found, name, value)
    found.check()
    return found


def decode_body(kind: type[Kind], body: bytes) -> Kind:
    """Return a body as a Struct, not yet checked for what must be there.

    Raises:
        Refused: It is no JSON, or a field has a value of another type.
    """
    if not body:
        return kind()
    decoder, renamed = _decoder(kind)
    if not any(name in body for name in renamed):
        try:
            return decoder.decode(body)  # type: ignore[no-any-return]
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            pass  # looked at again below
    return _converted(kind, _parsed(body))


def encode(answer: Any) -> bytes:
    """Return an answer as JSON; bytes are encoded already."""
    return answer if isinstance(answer, bytes) else msgspec.json.encode(answer)


def number(value: float) -> float | str:
    """Return a float as an answer holds it: what JSON has no number for is a text."""
    if value - value == 0:
        return value
    if value != value:
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def is_ordinal(text: str) -> bool:
    """Tell whether a text is a number of few digits: ``int`` fails at thousands of them."""
    return text.isdecimal() and len(text) <= ORDINAL_DIGITS_MAX


def view_of(given: str | int | None, names: tuple[str, ...] = ("ACTIVE_ONLY", "DELETED_ONLY", "ALL")) -> str:
    """Return the name of an enumeration's value, which may be given by its number from 1 on; None: the first.

    Raises:
        Refused: There is no such value.
    """
    if given is None:
        return names[0]
    text = str(given)
    if is_ordinal(text) and 1 <= int(text) <= len(names):
        return names[int(text) - 1]
    if text in names:
        return text
    raise invalid(f"Invalid value {json.dumps(given)}: one of {', '.join(names)} is asked for.")


# Decoding.


@functools.cache
def _decoder(kind: type[Request]) -> tuple[msgspec.json.Decoder[Any], tuple[bytes, ...]]:
    """Return the decoder of a kind, and how a body looks that names fields in camel case."""
    renamed = tuple(f'"{camel}"'.encode() for camel in sorted(_camel_names(kind)))
    return msgspec.json.Decoder(kind, strict=False), renamed


@functools.cache
def _camel_names(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return the fields of a kind, and of what it holds, that have another name in camel case."""
    found: dict[str, str] = {}
    for field in msgspec.structs.fields(kind):
        first, *others = field.encode_name.split("_")
        if others:
            found[first + "".join(part.capitalize() for part in others)] = field.encode_name
        for held in _structs_in(field.type):
            found.update(_camel_names(held))
    return found


def _structs_in(annotation: Any) -> list[type[msgspec.Struct]]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return [annotation]
    return [held for part in get_args(annotation) for held in _structs_in(part)]


@functools.cache
def _lists(kind: type[Request]) -> frozenset[str]:
    """Return the fields of a kind that are lists."""
    return frozenset(field.name for field in msgspec.structs.fields(kind) if get_origin(field.type) is list)


def _from_query(kind: type[Kind], pairs: list[tuple[str, str]]) -> Kind:
    values: dict[str, Any] = {}
    lists = _lists(kind)
    for name, value in pairs:
        if name in lists:
            values.setdefault(name, []).append(value)
        else:
            values.setdefault(name, value)
    return _converted(kind, values)


def _check_content_type(content_type: str | None) -> None:
    if content_type is None:
        raise invalid("Bad Request. Content-Type header is missing.")
    if content_type.split(";")[0].strip().lower() != "application/json":
        raise invalid("Bad Request. Content-Type must be one of ['application/json'].")


def _parsed(body: bytes) -> Any:
    """Return a body as JSON; older clients encode it twice.

    Raises:
        Refused: It is none.
    """
    try:
        parsed = json.loads(body)
        if isinstance(parsed, str):
            parsed = json.loads(parsed)
        json.dumps(parsed, ensure_ascii=False).encode()  # half a character cannot be stored: a ValueError
    except (ValueError, RecursionError) as error:
        raise invalid(f"The body of the request is no JSON: {type(error).__name__}.") from error
    return {} if parsed is None else parsed


def _converted(kind: type[Kind], values: Any) -> Kind:
    if not isinstance(values, dict):
        raise invalid(f"The body of the request must be a JSON object, not a {type(values).__name__}.")
    try:
        return msgspec.convert(_renamed(values, _camel_names(kind)), kind, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong_value(error, values) from error
    except RecursionError as error:
        raise invalid("The body of the request is nested too deeply.") from error


def _renamed(value: Any, camel_names: Mapping[str, str]) -> Any:
    """Return a value with its fields named as in the protocol."""
    if isinstance(value, list):
        return [_renamed(item, camel_names) for item in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for name, item in value.items():
        known = camel_names.get(name, name)
        if known != name and known in value:
            raise invalid(f"Request specifies both '{known}' and '{name}'; provide only one of them.")
        found[known] = _renamed(item, camel_names)
    return {name: item for name, item in found.items() if item is not None}


def _wrong_value(error: msgspec.ValidationError, values: Any) -> Refused:
    """Return the error for a value of a wrong type, in mlflow's words where it is a field of the request."""
    found = _PLACE.search(str(error))
    path = (found and found["path"]) or ""
    value = values.get(path) if isinstance(values, dict) else None
    if not path or value is None:
        problem = str(error)[: found.start()] if found else str(error)
        return invalid(f"Invalid value for parameter '{path}' supplied: {problem}.{_DOCS}")
    told = json.dumps(value, sort_keys=True, separators=(",", ":"))
    if len(told) > _TOLD_CHARS_MAX:
        told = f"{told[:_TOLD_CHARS_MAX]}…"
    hint = f" Hint: Value was of type '{type(value).__name__}'."
    return invalid(f"Invalid value {told} for parameter '{path}' supplied: {hint}{_DOCS}")
