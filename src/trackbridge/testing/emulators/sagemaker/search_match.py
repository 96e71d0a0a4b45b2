"""The conditions of SageMaker's Search: filters, nested filters, sub-expressions, And and Or.

Two things AWS does not say are settled here: ``NotEquals`` is the opposite of ``Equals`` (so it holds where
the property is absent), and texts compare with regard to case.
"""

from __future__ import annotations

import calendar
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Refused
from trackbridge.testing.emulators.sagemaker.search_properties import Property, element_property, property_of

CONDITIONS_MAX = 50
_ORDERING: dict[str, Callable[[float, float], bool]] = {
    "GreaterThan": lambda left, right: left > right,
    "GreaterThanOrEqualTo": lambda left, right: left >= right,
    "LessThan": lambda left, right: left < right,
    "LessThanOrEqualTo": lambda left, right: left <= right,
}
_TEXT_ONLY = frozenset({"Contains", "In"})
_OFTEN_CONTAINS = {
    "Experiment": ("DisplayName", "ExperimentName", "Tags"),
    "ExperimentTrial": ("DisplayName", "TrialName", "Tags"),
    "ExperimentTrialComponent": (
        "DisplayName",
        "TrialComponentName",
        "Tags",
        "InputArtifacts",
        "OutputArtifacts",
    ),
}
"""Resource type -> properties that may be searched with ``Contains`` more than once."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|\.\d+Z?)?", re.ASCII)

Test = Callable[[Any], bool]
"""From a record to whether it satisfies a condition."""


def compiled(resource: str, expression: Mapping[str, Any]) -> Test:
    """Return the test of a ``SearchExpression``.

    Raises:
        Refused: A property is unknown, an operator does not suit its kind, a value is malformed, or there are
            more than 50 conditions in all, or more than one ``Contains`` where AWS takes one.
    """
    if _size(expression) > CONDITIONS_MAX:
        told = f"SearchExpression exceeds the maximum of {CONDITIONS_MAX} recursive conditions."
        raise Refused("ValidationException", told)
    counted = sum(_is_counted(resource, condition) for condition in _filters(expression))
    if counted > 1:
        raise Refused("ValidationException", "'CONTAINS' operator usage limit of 1 exceeded.")
    return _expression(resource, expression)


def _expression(resource: str, expression: Mapping[str, Any]) -> Test:
    tests = [_filter(property_of(resource, f["Name"]), f) for f in expression.get("Filters", ())]
    tests += [_nested(resource, nested) for nested in expression.get("NestedFilters", ())]
    tests += [_expression(resource, inner) for inner in expression.get("SubExpressions", ())]
    if not tests:
        told = "SearchExpression must have at least one of Filters, NestedFilters or SubExpressions."
        raise Refused("ValidationException", told)
    combine = any if expression.get("Operator") == "Or" else all
    return lambda record: combine(test(record) for test in tests)


def _nested(resource: str, nested: Mapping[str, Any]) -> Test:
    """A single element of the list satisfies all filters."""
    outer = nested["NestedPropertyName"]
    pairs = [element_property(resource, outer, f["Name"]) for f in nested["Filters"]]
    elements = pairs[0][0]
    tests = [_filter(inner, f) for (_, inner), f in zip(pairs, nested["Filters"], strict=True)]
    return lambda record: any(all(test(element) for test in tests) for element in elements.values(record))


def _filter(prop: Property, asked: Mapping[str, Any]) -> Test:
    operator = asked.get("Operator", "Equals")
    if operator == "Exists":
        return lambda record: any(True for _ in prop.values(record))
    if operator == "NotExists":
        return lambda record: not any(True for _ in prop.values(record))
    if "Value" not in asked:
        raise Refused("ValidationException", f"Operator {operator} needs a Value for property {prop.name}.")
    value = asked["Value"]
    if operator == "NotEquals":
        equal = _comparison(prop, "Equals", value)
        return lambda record: not any(equal(found) for found in prop.values(record))
    compare = _comparison(prop, operator, value)
    return lambda record: any(compare(found) for found in prop.values(record))


def _comparison(prop: Property, operator: str, value: str) -> Callable[[Any], bool]:
    suits = {
        "text": operator in _TEXT_ONLY or operator == "Equals",
        "number": operator not in _TEXT_ONLY,
        "time": operator not in _TEXT_ONLY,
        "flag": operator == "Equals",
        "mixed": True,
        "object": operator == "Contains",
    }
    if not suits[prop.kind]:
        told = f"Operator {operator} is not supported for property {prop.name} of type {prop.kind}."
        raise Refused("ValidationException", told)
    make = {"number": _numeric, "time": _temporal, "flag": _boolean, "mixed": _mixed, "object": _deep}
    return make.get(prop.kind, _textual)(prop, operator, value)


def _textual(prop: Property, operator: str, value: str) -> Callable[[Any], bool]:
    if operator == "Contains":
        return lambda found: value in str(found)
    if operator == "In":
        allowed = {part.strip() for part in value.split(",")}
        return lambda found: str(found) in allowed
    return lambda found: str(found) == value


def _numeric(prop: Property, operator: str, value: str) -> Callable[[Any], bool]:
    wanted = _number(value)
    if wanted is None:
        told = f"Value '{value}' of property {prop.name} is not an integer or a decimal number."
        raise Refused("ValidationException", told)
    compare = _ORDERING.get(operator, _equals)
    return lambda found: compare(float(found), wanted)


def _temporal(prop: Property, operator: str, value: str) -> Callable[[Any], bool]:
    if not _TIME.fullmatch(value):
        told = f"Value '{value}' of property {prop.name} is not a date and time as YYYY-mm-dd'T'HH:MM:SS."
        raise Refused("ValidationException", told)
    try:
        wanted = calendar.timegm(time.strptime(value[:19], "%Y-%m-%dT%H:%M:%S"))
    except ValueError as error:
        told = f"Value '{value}' of property {prop.name} is not a date and time."
        raise Refused("ValidationException", told) from error
    compare = _ORDERING.get(operator, _same_second)
    return lambda found: compare(found, wanted)


def _boolean(prop: Property, operator: str, value: str) -> Callable[[Any], bool]:
    if value.lower() not in ("true", "false"):
        raise Refused("ValidationException", f"Value '{value}' of property {prop.name} is not a Boolean.")
    wanted = value.lower() == "true"
    return lambda found: found is wanted


def _mixed(prop: Property, operator: str, value: str) -> Callable[[Any], bool]:
    """A parameter: a number where both sides are, else a text; ordering is for numbers only."""
    if operator in _TEXT_ONLY:
        return _textual(prop, operator, value)
    wanted = _number(value)
    if operator == "Equals" and wanted is None:
        return lambda found: str(found) == value
    if wanted is None:
        told = f"Operator {operator} is not supported for the text value '{value}' of property {prop.name}."
        raise Refused("ValidationException", told)
    compare = _ORDERING.get(operator, _equals)
    # "If the specified Value is an integer, the decimal hyperparameter values are treated as integers."
    as_integer = prop.name.startswith("HyperParameters.") and re.fullmatch(r"[-+]?\d+", value) is not None

    def test(found: Any) -> bool:
        number = _number(str(found))
        if number is None:
            return False
        return compare(float(int(number)) if as_integer and abs(number) < 1e300 else number, wanted)

    return test


def _deep(prop: Property, operator: str, value: str) -> Callable[[Any], bool]:
    """Whether a text stands anywhere in a list or map (``InputArtifacts`` Contains ``s3://…``)."""
    return lambda found: any(value in text for text in _texts(found))


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    else:
        yield value if isinstance(value, str) else json.dumps(value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _equals(left: float, right: float) -> bool:
    return left == right


def _same_second(left: float, right: float) -> bool:
    return int(left) == right


def _size(expression: Mapping[str, Any]) -> int:
    nested = expression.get("NestedFilters", ())
    inner = expression.get("SubExpressions", ())
    own = len(expression.get("Filters", ())) + len(nested) + len(inner)
    return own + sum(len(n["Filters"]) for n in nested) + sum(_size(sub) for sub in inner)


def _filters(expression: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    yield from expression.get("Filters", ())
    for nested in expression.get("NestedFilters", ()):
        yield from nested["Filters"]
    for inner in expression.get("SubExpressions", ()):
        yield from _filters(inner)


def _is_counted(resource: str, asked: Mapping[str, Any]) -> bool:
    if asked.get("Operator") != "Contains":
        return False
    return asked["Name"].partition(".")[0] not in _OFTEN_CONTAINS.get(resource, ())
