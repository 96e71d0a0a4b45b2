"""Models in Unity Catalog: names and tag keys both ways, what is listed, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.scripted_servers import Answer, Request, ScriptedServer, scripted_server
from tests.unit.adapters.databricks.rig import MLFLOW, opened, refusal
from trackbridge.domain.models import ModelVersionSpec
from trackbridge.errors import ConfigError, NotFound, Rejected, Unsupported
from trackbridge.ports.registry import ModelRegistry
from trackbridge_adapters.databricks.unity_catalog import CatalogWire, escaped, is_full_name, unescaped

NAME = "main.default.wine"
DIGEST = "sha256:" + "0" * 64
FLAG = "registered-models:is-databricks-sdk-models-artifact-repository-enabled"
MISSING = refusal(404, "RESOURCE_DOES_NOT_EXIST", "no")


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        server.says(MISSING)
        yield server


def registry(server: ScriptedServer, home: Path, **named: Any) -> ModelRegistry:
    found = opened(server, home, **named).registry
    assert found is not None
    return found


def by_route(routes: dict[str, Answer], otherwise: Answer = MISSING) -> Callable[[Request], Answer]:
    return lambda request: routes.get(urlsplit(request.path).path.removeprefix(MLFLOW), otherwise)


def model(name: str, **more: Any) -> Answer:
    return Answer(body={"registered_model": {"name": name, **more}})


def spec(source: str) -> ModelVersionSpec:
    return ModelVersionSpec(name=NAME, source=source, digest=DIGEST)


@given(st.text())
def test_a_tag_key_comes_back(key: str):
    assert unescaped(escaped(key)) == key
    assert not set(escaped(key)) & set(".,-=/:")


@pytest.mark.parametrize("key", ["a~b", "a~zz", "~", "plain", "two words"])
def test_a_tag_key_of_somebody_else_is_shown_as_it_is(key: str):
    assert unescaped(key) == key


def wire(schema: str | None) -> CatalogWire:
    nobody: Any = None  # names need no service
    return CatalogWire(nobody, schema)


@given(st.text(min_size=1))
def test_a_name_of_the_schema_comes_back(name: str):
    try:
        full = wire("main.default").full_name(name)
    except Rejected:
        return
    assert is_full_name(full)
    assert wire("main.default").our_name(full) == name or is_full_name(name)
    assert is_full_name(name) or full == full.lower()


@pytest.mark.parametrize(
    ("full", "name"),
    [
        ("main.default.wine", "wine"),
        ("main.default.~57ine", "Wine"),
        ("main.default.~77ine", "main.default.~77ine"),
        ("main.default.a~b", "main.default.a~b"),
        ("main.default.a%41", "main.default.a%41"),
        ("main.default.~ff", "main.default.~ff"),
        ("main.other.wine", "main.other.wine"),
    ],
)
def test_a_model_of_somebody_else_is_shown_by_a_name_that_leads_to_it(full: str, name: str):
    assert wire("main.default").our_name(full) == name
    assert wire("main.default").full_name(name) == full
    assert wire(None).our_name(full) == full


def test_three_levels_lead_to_the_catalog_and_others_to_the_workspace(server: ScriptedServer, tmp_path: Path):
    models = registry(server, tmp_path)
    for name in (NAME, "wine", "a.b", "a.b.c.d"):
        with pytest.raises(NotFound):
            models.get_model(name)
    asked = [
        urlsplit(request.path).path for request in server.requests if "registered-models/get" in request.path
    ]
    assert [("unity-catalog" in path) for path in asked] == [True, False, False, False]


def test_the_schema_of_the_options_takes_every_model(server: ScriptedServer, tmp_path: Path):
    with pytest.raises(NotFound):
        registry(server, tmp_path, options={"model_schema": "main.default"}).get_model("Wine")
    [request] = [request for request in server.requests if "registered-models/get" in request.path]
    parts = urlsplit(request.path)
    assert parts.path == f"{MLFLOW}unity-catalog/registered-models/get"
    assert parse_qs(parts.query) == {"name": ["main.default.~57ine"]}


@pytest.mark.parametrize("schema", ["main", "main.", "a.b.c", "Main.default", "a b.c", ""])
def test_a_schema_that_is_none_is_refused(server: ScriptedServer, tmp_path: Path, schema: str):
    with pytest.raises(ConfigError, match="model_schema"):
        registry(server, tmp_path, options={"model_schema": schema})


def test_the_uri_of_the_catalog_wants_three_levels(server: ScriptedServer, tmp_path: Path):
    models = registry(server, tmp_path, uri="databricks-uc:")
    with pytest.raises(Rejected) as caught:
        models.ensure_model("wine")
    assert "catalog.schema.model" in (caught.value.hint or "")
    assert server.requests == []
    with pytest.raises(NotFound):
        models.get_model("wine")
    assert list(models.list_versions("wine")) == []
    assert all(
        "unity-catalog" in request.path for request in server.requests if "/registered" in request.path
    )


def test_capitals_are_refused_since_the_catalog_drops_them(server: ScriptedServer, tmp_path: Path):
    with pytest.raises(Rejected, match="lower case"):
        registry(server, tmp_path).ensure_model("main.default.Wine")
    assert server.requests == []


def test_a_schema_that_does_not_exist_is_told_with_what_to_do(server: ScriptedServer, tmp_path: Path):
    missing = refusal(404, "SCHEMA_DOES_NOT_EXIST", "Schema 'main.default' does not exist.")
    server.answer = by_route({"unity-catalog/registered-models/create": missing})
    with pytest.raises(NotFound, match="does not exist") as caught:
        registry(server, tmp_path).ensure_model(NAME)
    assert "schema" in (caught.value.hint or "")


def test_a_workspace_without_a_catalog_lists_its_own_models(server: ScriptedServer, tmp_path: Path):
    listed = Answer(body={"registered_models": [{"name": "wine"}]})
    none = refusal(404, "METASTORE_DOES_NOT_EXIST", "No metastore assigned for the current workspace.")
    server.answer = by_route(
        {"registered-models/search": listed, "unity-catalog/registered-models/search": none}
    )
    assert [found.name for found in registry(server, tmp_path).list_models()] == ["wine"]
    with pytest.raises(NotFound):
        registry(server, tmp_path, uri="databricks-uc:").list_models()


def test_both_registries_are_listed_in_one_order(server: ScriptedServer, tmp_path: Path):
    server.answer = by_route(
        {
            "registered-models/search": Answer(body={"registered_models": [{"name": "a"}, {"name": "z"}]}),
            "unity-catalog/registered-models/search": Answer(body={"registered_models": [{"name": NAME}]}),
            "unity-catalog/registered-models/get": model(NAME, aliases=[{"alias": "best", "version": "2"}]),
        }
    )
    models = registry(server, tmp_path)
    assert [found.name for found in models.list_models()] == ["a", NAME, "z"]
    first = models.list_models(max_results=2)
    assert first.items[1].aliases == {"best": "2"}
    assert [found.name for found in models.list_models(max_results=2, token=first.token)] == ["z"]


@pytest.mark.parametrize("answer", [MISSING, refusal(403, "PERMISSION_DENIED", "no")])
def test_a_model_of_which_only_the_name_may_be_seen_is_listed(
    server: ScriptedServer, tmp_path: Path, answer: Answer
):
    listed = Answer(body={"registered_models": [{"name": NAME, "description": "red"}]})
    server.answer = by_route(
        {"unity-catalog/registered-models/search": listed, "unity-catalog/registered-models/get": answer}
    )
    [found] = registry(server, tmp_path, uri="databricks-uc:").list_models().items
    assert (found.name, found.description, found.aliases) == (NAME, "red", {})


@pytest.mark.parametrize("flag", [MISSING, Answer(body={}), refusal(404, "ENDPOINT_NOT_FOUND", "no")])
def test_a_workspace_that_wants_other_credentials_gets_no_version(
    server: ScriptedServer, tmp_path: Path, flag: Answer
):
    server.answer = by_route(
        {
            "unity-catalog/registered-models/get": model(NAME),
            "unity-catalog/model-versions/search": Answer(body={}),
            f"unity-catalog/{FLAG}": flag,
            "experiments/search": Answer(body={}),
        }
    )
    with pytest.raises(Unsupported, match="temporary credentials"):
        registry(server, tmp_path).create_version(spec("bridge-artifacts:/" + "0" * 32 + "/model"), key="k")
    assert not [request for request in server.requests if "model-versions/create" in request.path]


def test_a_version_is_made_from_artifacts_of_runs_only(server: ScriptedServer, tmp_path: Path):
    server.answer = by_route(
        {
            "unity-catalog/registered-models/get": model(NAME),
            "unity-catalog/model-versions/search": Answer(body={}),
            f"unity-catalog/{FLAG}": Answer(
                body={"is_databricks_sdk_models_artifact_repository_enabled": True}
            ),
        }
    )
    with pytest.raises(Unsupported, match="artifacts of runs"):
        registry(server, tmp_path).create_version(spec("s3://bucket/model"), key="k")
    assert not [request for request in server.requests if "model-versions/create" in request.path]
