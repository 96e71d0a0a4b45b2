"""The properties that SageMaker's Search knows: from a dotted name to the values in a record.

Which names there are follows from the shapes of the service model (``TrialComponent`` ...), so an unknown
name is refused as AWS refuses it. Three prefixes are no paths: ``Tags.<key>``, ``Metrics.<name>`` (with the
statistic behind it for trial components) and the keys of maps (``Parameters.<key>``), which may hold dots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Refused
from trackbridge.testing.emulators.sagemaker.protocol import service_model

RECORDS = {
    "TrainingJob": "TrainingJob",
    "Experiment": "Experiment",
    "ExperimentTrial": "Trial",
    "ExperimentTrialComponent": "TrialComponent",
    "Endpoint": "Endpoint",
    "Model": "Model",
    "ModelPackage": "ModelPackage",
    "ModelPackageGroup": "ModelPackageGroup",
}
"""Resource type of a search -> the member of ``SearchRecord`` that holds what was found."""

_STATISTICS = {
    "min": "Min",
    "max": "Max",
    "last": "Last",
    "avg": "Avg",
    "stddev": "StdDev",
    "count": "Count",
    "sourcearn": "SourceArn",
    "timestamp": "TimeStamp",
}
_KINDS = {
    "string": "text",
    "integer": "number",
    "long": "number",
    "float": "number",
    "double": "number",
    "timestamp": "time",
    "boolean": "flag",
}
_UNION_MAPS = frozenset({"Parameters", "HyperParameters"})

Getter = Callable[[Any], Iterator[Any]]


@dataclass(frozen=True, slots=True)
class Property:
    """A property of records: its name, the kind of its values, and how to get them.

    Attributes:
        name: As it was asked for.
        kind: ``text``, ``number``, ``time``, ``flag``, ``mixed`` (a parameter: number or text), ``object``.
        values: From a record to the property's values there: none when absent, several in a list.
    """

    name: str
    kind: str
    values: Getter


def property_of(resource: str, name: str) -> Property:
    """Return the property of a resource type by its name.

    Raises:
        Refused: There is no such property.
    """
    head, _, rest = name.partition(".")
    if head.lower() == "metrics" and rest and resource in ("ExperimentTrialComponent", "TrainingJob"):
        return _summary(name, rest) if resource == "ExperimentTrialComponent" else _final(name, rest)
    if head == "Tags" and rest:
        return Property(name, "text", lambda record: _tag_values(record, rest))
    if resource == "Model":
        parts = name.removeprefix("Model.").split(".")
        return _walked(name, "Model", parts, lambda record: iter([record["Model"]]))
    return _walked(name, RECORDS[resource], name.split("."), _itself)


def element_property(resource: str, outer: str, name: str) -> tuple[Property, Property]:
    """Return a list's property, and that of a property of its elements (for nested filters).

    Raises:
        Refused: The outer property is no list of structures, or the inner one is none of its elements'.
    """
    shape = _shape_at(RECORDS[resource], outer.split("."), outer)
    if shape.type_name != "list" or shape.member.type_name != "structure":
        raise unknown(outer)
    if not name.startswith(outer + "."):
        raise unknown(name)
    kind, getter = _walk(shape.member, name[len(outer) + 1 :].split("."), name)
    list_getter = _walk_to(RECORDS[resource], outer)
    return Property(outer, "object", list_getter), Property(name, kind, getter)


def unknown(name: str) -> Refused:
    """Return the refusal of a property that does not exist."""
    return Refused("ValidationException", f"Unknown property name: {name}")


def _itself(value: Any) -> Iterator[Any]:
    yield value


def _tag_values(record: Mapping[str, Any], key: str) -> Iterator[str]:
    for tag in record.get("Tags", ()):
        if tag["Key"] == key:
            yield tag["Value"]


def _summary(name: str, rest: str) -> Property:
    metric, dot, last = rest.rpartition(".")
    statistic = _STATISTICS.get(last.lower()) if dot else None
    if statistic is None:
        metric, statistic = rest, "Last"
    kind = {"SourceArn": "text", "TimeStamp": "time"}.get(statistic, "number")

    def values(record: Mapping[str, Any]) -> Iterator[Any]:
        for summary in record.get("Metrics", ()):
            if summary["MetricName"] == metric and statistic in summary:
                yield summary[statistic]

    return Property(name, kind, values)


def _final(name: str, metric: str) -> Property:
    def values(record: Mapping[str, Any]) -> Iterator[Any]:
        for final in record.get("FinalMetricDataList", ()):
            if final["MetricName"] == metric:
                yield final["Value"]

    return Property(name, "number", values)


def _walked(name: str, shape_name: str, parts: list[str], start: Getter) -> Property:
    kind, getter = _walk(_record_shape(shape_name), parts, name)

    def values(record: Any) -> Iterator[Any]:
        for value in start(record):
            yield from getter(value)

    return Property(name, kind, values)


def _walk(shape: Any, parts: list[str], name: str) -> tuple[str, Getter]:
    """Return the kind of what a path leads to, and how to follow it."""
    if shape.type_name == "list":
        return _each(_walk(shape.member, parts, name)) if parts else ("object", _itself)
    if not parts:
        return _KINDS.get(shape.type_name, "object"), _itself
    if shape.type_name == "structure":
        return _member(shape, parts, name)
    if shape.type_name == "map":
        return _key(shape, ".".join(parts))
    raise unknown(name)


def _each(inner: tuple[str, Getter]) -> tuple[str, Getter]:
    kind, getter = inner

    def values(items: Any) -> Iterator[Any]:
        for item in items:
            yield from getter(item)

    return kind, values


def _member(shape: Any, parts: list[str], name: str) -> tuple[str, Getter]:
    head, *rest = parts
    if head not in shape.members:
        raise unknown(name)
    kind, getter = _walk(shape.members[head], rest, name)

    def values(structure: Mapping[str, Any]) -> Iterator[Any]:
        if structure.get(head) not in (None, [], {}):
            yield from getter(structure[head])

    return ("mixed" if head in _UNION_MAPS and rest else kind), values


def _key(shape: Any, key: str) -> tuple[str, Getter]:
    """A map's key may hold dots; behind the key of a map of structures a member's name may stand."""
    of_structures = shape.value.type_name == "structure"

    def values(mapping: Mapping[str, Any]) -> Iterator[Any]:
        if key in mapping:
            yield _single(mapping[key])
            return
        outer, dot, member = key.rpartition(".")
        if of_structures and dot and outer in mapping and member in mapping[outer]:
            yield mapping[outer][member]

    return "text" if of_structures else _KINDS.get(shape.value.type_name, "object"), values


def _single(value: Any) -> Any:
    """A parameter's number or text, an artifact's address."""
    if not isinstance(value, dict):
        return value
    return next((value[name] for name in ("NumberValue", "StringValue", "Value") if name in value), value)


def _shape_at(shape_name: str, parts: list[str], name: str) -> Any:
    shape = _record_shape(shape_name)
    for part in parts:
        if shape.type_name != "structure" or part not in shape.members:
            raise unknown(name)
        shape = shape.members[part]
    return shape


def _walk_to(shape_name: str, name: str) -> Getter:
    """Return how to get the elements of a list."""
    parts = name.split(".")

    def values(record: Any) -> Iterator[Any]:
        for part in parts:
            record = record.get(part) if record is not None else None
        yield from record or ()

    return values


def told_as(shape_name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a description what one of the model's shapes has too."""
    members = _record_shape(shape_name).members
    return {name: value for name, value in record.items() if name in members}


@lru_cache(maxsize=64)
def _record_shape(name: str) -> Any:
    return service_model("sagemaker").shape_for(name)
