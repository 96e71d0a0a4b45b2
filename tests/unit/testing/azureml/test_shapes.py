"""Microsoft's published shapes, as the emulator holds bodies against them."""

from __future__ import annotations

from typing import Any

import pytest

from trackbridge.testing.emulators.azureml import shapes
from trackbridge.testing.emulators.azureml.refusal import Refused

MODEL = {
    "properties": {
        "modelType": "custom_model",
        "modelUri": "azureml://datastores/d/paths/p",
        "tags": {"a": "1"},
    }
}


@pytest.mark.parametrize(
    ("shape", "content"),
    [
        ("ModelVersion", MODEL),
        ("ModelVersion", {"properties": {**MODEL["properties"], "properties": {"hash_version": 202208}}}),
        ("ModelVersion", {"properties": {**MODEL["properties"], "unknown": {"x": [1]}, "description": None}}),
        ("DataVersionBase", {"properties": {"dataType": "URI_Folder", "dataUri": "azureml://x"}}),
        ("BatchEndpoint", {"location": "x", "properties": {"authMode": "aadToken"}}),
        (
            "OnlineEndpoint",
            {"location": "x", "properties": {"authMode": "Key", "traffic": {}, "mirrorTraffic": {}}},
        ),
    ],
)
def test_what_the_service_takes_is_taken(shape: str, content: Any) -> None:
    assert shapes.violations(shape, content) == []


@pytest.mark.parametrize(
    ("shape", "content", "where"),
    [
        ("ModelVersion", {}, "properties"),
        ("ModelVersion", [], "body"),
        ("ModelVersion", {"properties": "x"}, "properties."),
        ("ModelVersion", {"properties": {"tags": {"a": {"b": 1}}}}, "properties.tags.a"),
        ("ModelVersion", {"properties": {"isArchived": "perhaps"}}, "properties.isArchived"),
        ("DataVersionBase", {"properties": {"dataType": "uri_folder"}}, "properties.dataUri"),
        ("DataVersionBase", {"properties": {"dataType": "folder", "dataUri": "x"}}, "properties.dataType"),
        ("OnlineEndpoint", {"properties": {"authMode": "Key"}}, "location"),
        ("OnlineEndpoint", {"location": "x", "properties": {"authMode": "Passport"}}, "properties.authMode"),
        (
            "OnlineEndpoint",
            {"location": "x", "properties": {"authMode": "Key", "traffic": {"b": "x"}}},
            "properties.traffic.b",
        ),
    ],
)
def test_what_breaks_a_shape_is_told_with_its_place(shape: str, content: Any, where: str) -> None:
    assert [item.where for item in shapes.violations(shape, content)] == [where]


def test_a_refusal_names_every_violation_and_the_name_in_the_path() -> None:
    with pytest.raises(Refused) as refused:
        shapes.check("ModelVersion", {"properties": {"tags": 1}}, names={"name": "a/b", "version": "1"})

    assert refused.value.status == 400
    assert [detail["target"] for detail in refused.value.details] == ["name", "properties.tags"]


def test_a_body_that_is_nested_without_end_is_not_followed_without_end() -> None:
    content: dict[str, Any] = {}
    for _ in range(5_000):
        content = {"properties": content}

    assert isinstance(shapes.violations("JobBase", {"properties": content}), list)


def test_every_enumeration_and_model_that_a_member_names_is_there() -> None:
    published = shapes.published()
    scalars = {"str", "bool", "int", "long", "float", "object", "iso-8601", "duration"}
    named = {
        rule["type"].strip("[]{}")
        for model in published["models"].values()
        for rule in model["members"].values()
    }

    assert named - scalars <= set(published["models"]) | set(published["enums"])
    assert published["names"]["ModelVersion"]["name"] == r"^[a-zA-Z0-9][a-zA-Z0-9\-_]{0,254}$"
