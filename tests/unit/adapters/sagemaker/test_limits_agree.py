"""The adapter's limits and the emulator's, written apart from each other, judge every field alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.sagemaker_requests import NOT_OF_MODEL, NOW_S, VALID, Step, every_step
from trackbridge.errors import Rejected
from trackbridge.testing.emulators.sagemaker import limits as emulated
from trackbridge.testing.emulators.sagemaker.protocol import read_json, service_model
from trackbridge.testing.emulators.sagemaker.refusal import Refused
from trackbridge_adapters.sagemaker.limits import check, fits
from trackbridge_adapters.sagemaker.limits_patterns import matcher_of

CHARS_MAX = 110_000
DEPTH_MAX = 7
ODD = (
    *"aA09-_ .:/=+@{\"',;\n\r\t\x00\x85",
    *("\u00a0", "\u2028", "é", "\u0301", "Ⅷ", "€", "漢", "😀", "\u200b", "\ue000"),
    *("a-", "-a", "a--b", "a\n", "aé", "ab1", "text/plain", "s3://b/k", "arn:aws:iam::123456789012:role/x"),
    *("{}", "1.2.3", "123456789012", "ml.m5.large"),
)


def emulator_takes(shape: Any, value: Any) -> bool:
    try:
        emulated.check(SimpleNamespace(members={"Field": shape}, required_members=[]), {"Field": value})
    except Refused:
        return False
    return True


def leaves(shape: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield the path and shape of every field below a shape that holds itself no deeper than some levels."""
    if len(path) > DEPTH_MAX:
        return
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            yield from leaves(member, (*path, name))
    elif shape.type_name == "list":
        yield from leaves(shape.member, (*path, "member"))
    elif shape.type_name == "map":
        yield from leaves(shape.key, (*path, "key"))
        yield from leaves(shape.value, (*path, "value"))
    else:
        yield ".".join(path), shape


def values(shape: Any) -> Iterator[Any]:
    """Yield values at the edges of a field, and odd ones."""
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if shape.type_name == "string":
        yield from ("", *ODD, *shape.enum)
        edges = {edge + by for edge in (least, most) if edge is not None for by in (-1, 0, 1)}
        for length in sorted(edge for edge in edges if 0 <= edge <= CHARS_MAX):
            yield from ("a" * length, "é" * length, "😀" * (length // 2) + "a" * (length % 2))
    elif shape.type_name in ("integer", "long"):
        yield from (
            0,
            1,
            *(int(edge) + by for edge in (least, most) if edge is not None for by in (-1, 0, 1)),
        )
    elif shape.type_name in ("double", "float"):
        yield from (
            0.0,
            -1.0,
            *(float(edge) + by for edge in (least, most) if edge is not None for by in (-0.5, 0, 0.5)),
        )
    elif shape.type_name == "blob":
        yield from (b"x" * edge for edge in (most, None if most is None else most + 1) if edge is not None)
    elif shape.type_name == "boolean":
        yield True


@pytest.mark.parametrize(("service", "operation"), sorted(VALID))
def test_every_field_of_every_request(service: str, operation: str) -> None:
    judged = 0
    seen: dict[str, Any] = {}
    for path, shape in leaves(service_model(service).operation_model(operation).input_shape):
        if seen.setdefault(f"{shape.name} {path.rpartition('.')[2]}", path) != path:
            continue
        for value in values(shape):
            taken = fits(service, operation, path, value)
            assert taken is emulator_takes(shape, value), (path, str(value)[:80], taken)
            judged += 1
    assert judged


@every_step
def test_both_sides_of_every_limit(step: Step) -> None:
    shape = service_model(step.service).operation_model(step.operation).input_shape

    def emulator_judges(params: dict[str, Any]) -> None:
        if step.service != "sagemaker-runtime":  # whose requests are not of JSON
            params = read_json(shape, json.dumps(params).encode())
        emulated.check(shape, params)

    emulator_judges(step.request(step.within))
    if step.path + repr(step.beyond) in NOT_OF_MODEL:
        return
    with pytest.raises(Refused):
        emulator_judges(step.request(step.beyond))


@pytest.mark.parametrize("service", ["sagemaker", "sagemaker-metrics", "sagemaker-runtime"])
def test_every_pattern_is_read_alike(service: str) -> None:
    model = service_model(service)
    shapes = (model.shape_for(name) for name in model.shape_names)
    patterns = {shape.metadata["pattern"] for shape in shapes if "pattern" in shape.metadata}
    assert patterns
    for pattern in sorted(patterns):
        matches = matcher_of(pattern)
        assert matches is not None, pattern
        apart = [text for text in ("", *ODD) if matches(text) is not emulated.matches(pattern, text)]
        assert apart == [], pattern


TAGS = "([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)"
DESCRIPTION = "[\\p{L}\\p{M}\\p{Z}\\p{S}\\p{N}\\p{P}]*"


@pytest.mark.parametrize("pattern", [TAGS, DESCRIPTION, ".*", ".+", "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,119}"])
@given(text=st.text(max_size=4))
@settings(max_examples=300, deadline=None)
def test_any_text_is_judged_alike(pattern: str, text: str) -> None:
    matches = matcher_of(pattern)
    assert matches is not None
    assert matches(text) is emulated.matches(pattern, text)


@given(text=st.text(max_size=50))
def test_lengths_are_counted_alike(text: str) -> None:
    from trackbridge_adapters.sagemaker.limits import length_of

    assert length_of(text) == emulated.length_of(text)


def test_what_only_the_adapter_tells_is_little() -> None:
    """Times and numbers that JSON does not hold, which the emulator refuses elsewhere."""
    assert len(NOT_OF_MODEL) < 10
    point = {"MetricName": "loss", "Timestamp": 0.0, "Value": 1.0}
    with pytest.raises(Rejected, match="Timestamp"):
        check(
            "sagemaker-metrics",
            "BatchPutMetrics",
            {"TrialComponentName": "c", "MetricData": [point]},
            now_s=NOW_S,
        )
