"""What SageMaker refuses of a request before all else: the constraints of its own service model.

Everything that is wrong is told at once, in AWS's words. botocore's own check knows neither maxima, nor
patterns, nor enumerations, so a request that passes it may well be refused here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from trackbridge.testing.emulators.sagemaker.refusal import Refused

TOLD_CHARS_MAX = 1_024
"""How much of a value that is wrong an error quotes."""

# One character that no request has stands for all of a Unicode category, beside those of ASCII.
_CATEGORIES = {
    "L": ("a-zA-Z", "\ue000"),
    "N": ("0-9", "\ue001"),
    "Z": (" ", "\ue002"),
    "M": ("", "\ue003"),
    "S": ("$+<=>\\^`|~", "\ue004"),
    "P": ("!\"#%&'()*,\\-./:;?@\\[\\\\\\]_{}", "\ue005"),
}
_OTHER = "\ue006"
_PROPERTY = re.compile(r"\\p\{([A-Za-z]+)\}")
_JAVA_DOT = "[^\n\r\x85\u2028\u2029]"
_SAME = {
    r".*(?:[ \r\n\t].*)*": "[^\x85\u2028\u2029]*",
    r".*(?:[ \r\n\t].*)*.*": "[^\x85\u2028\u2029]*",
    # Java's names of characters of ASCII, and of the end.
    r"\p{ASCII}*": r"[\x00-\x7f]*",
    r"\A\S[\p{Print}]*\z": r"\S[\x20-\x7e]*",
    # Characters beyond the first plane, which Java's two units a character allow.
    r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\t]*": r"[\u0020-\uFFFD\U00010000-\U0010FFFF\t]*",
}
"""Patterns that take for ever on some texts, or that Python cannot read, and others that say the same."""


class Violation(NamedTuple):
    """A member that breaks a constraint: where, its value, and the constraint in AWS's words."""

    where: str
    value: Any
    constraint: str

    def __str__(self) -> str:
        told = "null" if self.value is None else f"'{_told(self.value)[:TOLD_CHARS_MAX]}'"
        return f"Value {told} at '{self.where}' failed to satisfy constraint: {self.constraint}"


def check(shape: Any, params: Mapping[str, Any], *, code: str = "ValidationException") -> None:
    """Refuse a request that breaks the constraints of its input shape (of botocore's model).

    Raises:
        Refused: With everything that is wrong.
    """
    found = list(_of_structure(shape, params, ""))
    if not found:
        return
    errors = "error" if len(found) == 1 else "errors"
    raise Refused(code, f"{len(found)} validation {errors} detected: {'; '.join(map(str, found))}")


def length_of(text: str) -> int:
    """Return how long a text is for AWS: in units of UTF-16, as Java counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def matches(pattern: str, text: str) -> bool:
    """Tell whether the whole of a text matches one of AWS's patterns, as Java would."""
    compiled, has_categories = _compiled(pattern)
    return compiled.fullmatch(_stand_ins(text) if has_categories else text) is not None


def _of(shape: Any, value: Any, where: str) -> Iterator[Violation]:
    kind = shape.type_name
    if kind == "structure":
        yield from _of_structure(shape, value, f"{where}.")
    elif kind == "list":
        yield from _of_size(shape, value, len(value), where)
        for number, item in enumerate(value, 1):
            yield from _of(shape.member, item, f"{where}.{number}.member")
    elif kind == "map":
        yield from _of_size(shape, value, len(value), where)
        yield from _of_map(shape, value, where)
    elif kind == "string":
        yield from _of_text(shape, value, where)
    elif kind == "blob":
        yield from _of_size(shape, "java.nio.HeapByteBuffer", len(value), where)
    elif kind in ("integer", "long", "float", "double"):
        yield from _of_number(shape, value, where)


def _of_structure(shape: Any, value: Mapping[str, Any], prefix: str) -> Iterator[Violation]:
    for name, member in shape.members.items():
        where = prefix + _lower(name)
        if name in value:
            yield from _of(member, value[name], where)
        elif name in shape.required_members:
            yield Violation(where, None, "Member must not be null")


def _of_map(shape: Any, value: Mapping[str, Any], where: str) -> Iterator[Violation]:
    # A constraint of one key or value is told of the map as a whole.
    for key in value:
        broken = [violation.constraint for violation in _of(shape.key, key, where)]
        if broken:
            yield Violation(where, value, f"Map keys must satisfy constraint: [{', '.join(broken)}]")
    for key, item in value.items():
        if shape.value.type_name == "string":
            broken = [violation.constraint for violation in _of(shape.value, item, where)]
            if broken:
                yield Violation(where, value, f"Map value must satisfy constraint: [{', '.join(broken)}]")
        else:
            yield from _of(shape.value, item, f"{where}.{key}.member")


def _of_text(shape: Any, value: str, where: str) -> Iterator[Violation]:
    yield from _of_size(shape, value, length_of(value), where)
    pattern = shape.metadata.get("pattern")
    if pattern is not None and not matches(pattern, value):
        yield Violation(where, value, f"Member must satisfy regular expression pattern: {pattern}")
    if shape.enum and value not in shape.enum:
        yield Violation(where, value, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")


def _of_size(shape: Any, value: Any, size: int, where: str) -> Iterator[Violation]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and size < low:
        yield Violation(where, value, f"Member must have length greater than or equal to {low}")
    if high is not None and size > high:
        yield Violation(where, value, f"Member must have length less than or equal to {high}")


def _of_number(shape: Any, value: float, where: str) -> Iterator[Violation]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if low is not None and not value >= float(low):
        yield Violation(where, value, f"Member must have value greater than or equal to {low}")
    if high is not None and not value <= float(high):
        yield Violation(where, value, f"Member must have value less than or equal to {high}")


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def _told(value: Any) -> str:
    """Return a value as Java prints it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}={_told(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_told, value)) + "]"
    return str(value)


@lru_cache(maxsize=1_024)
def _compiled(pattern: str) -> tuple[re.Pattern[str], bool]:
    # The model has patterns with a stray "$" before their length.
    text = _SAME.get(pattern) or re.sub(r"\$(?=\{\d+,\d+\}$)", "", pattern)
    translated = _PROPERTY.sub(_translated, _without_dots(text))
    return re.compile(translated, re.ASCII), "\\p{" in pattern


def _translated(found: re.Match[str]) -> str:
    if found[1] == "Alnum":
        return "a-zA-Z0-9"
    plain, stand_in = _CATEGORIES[found[1]]
    return plain + stand_in


def _without_dots(pattern: str) -> str:
    """Return a pattern in which a dot leaves out all the ends of a line that Java knows."""
    parts, in_class, at = [], False, 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            parts.append(pattern[at : at + 2])
            at += 2
            continue
        if char == "[" and not in_class:
            in_class = True
        elif char == "]" and in_class:
            in_class = False
        parts.append(_JAVA_DOT if char == "." and not in_class else char)
        at += 1
    return "".join(parts)


def _stand_ins(text: str) -> str:
    if text.isascii():
        return text
    return "".join(char if char.isascii() else _stand_in(char) for char in text)


def _stand_in(char: str) -> str:
    category = _CATEGORIES.get(unicodedata.category(char)[0])
    return _OTHER if category is None else category[1]
