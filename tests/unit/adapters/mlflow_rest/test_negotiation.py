"""Old and partial servers: what they lack is told, remembered for a day, and asked again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scripted_servers import Answer, ScriptedServer, scripted_server
from tests.unit.adapters.mlflow_rest.rig import NATIVE, OURS, by_route, opened, refusal, route_of, run_json
from trackbridge.domain.batches import Batch, InputAdded
from trackbridge.domain.runs import DatasetInput
from trackbridge.errors import Unavailable, Unsupported
from trackbridge.ports.capabilities import Feature
from trackbridge_adapters._mlflow_rest.negotiation import REMEMBERED_MS

NO_ROUTE = Answer(status=404, body="<h1>Not Found</h1>")
VERSION = Answer(body={"model_version": {"name": "wine", "version": "1", "current_stage": "None"}})
MODEL = Answer(body={"registered_model": {"name": "wine"}})


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


def old_server(**routes: Answer) -> object:
    return by_route(
        runs_get=run_json(),
        model_versions_get=VERSION,
        registered_models_get=MODEL,
        **routes,
    )


def routes(server: ScriptedServer) -> list[str]:
    return [route_of(request) for request in server.requests]


def test_a_server_without_aliases(server: ScriptedServer, tmp_path: Path) -> None:
    server.answer = old_server(registered_models_alias=NO_ROUTE)
    adapter = opened(server, tmp_path)
    assert adapter.registry is not None
    assert adapter.capabilities().supports(Feature.REGISTRY_ALIAS)
    with pytest.raises(Unsupported, match="no route") as caught:
        adapter.registry.set_alias("wine", "champion", version="1")
    assert caught.value.hint

    again = opened(server, tmp_path)
    assert again.registry is not None
    assert not again.capabilities().supports(Feature.REGISTRY_ALIAS)
    assert "older or partial" in again.capabilities().features[Feature.REGISTRY_ALIAS].reason
    server.requests.clear()
    with pytest.raises(Unsupported):
        again.registry.set_alias("wine", "champion", version="1")
    assert routes(server) == []


def test_a_server_that_was_upgraded_is_asked_again(server: ScriptedServer, tmp_path: Path) -> None:
    server.answer = old_server(model_versions_transition_stage=NO_ROUTE)
    adapter = opened(server, tmp_path)
    assert adapter.registry is not None
    with pytest.raises(Unsupported):
        adapter.registry.set_stage("wine", "1", stage="Production")
    server.answer = old_server()
    later = opened(server, tmp_path, skew_ms=REMEMBERED_MS + 60_000)
    assert later.registry is not None
    assert later.capabilities().supports(Feature.REGISTRY_STAGE)
    later.registry.set_stage("wine", "1", stage="Production")
    assert routes(server)[-1] == "model-versions/transition-stage"


def test_a_clock_that_was_set_back_does_not_keep_a_gap_for_good(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.answer = old_server(registered_models_alias=NO_ROUTE)
    ahead = opened(server, tmp_path, skew_ms=10 * REMEMBERED_MS)
    assert ahead.registry is not None
    with pytest.raises(Unsupported):
        ahead.registry.set_alias("wine", "champion", version="1")
    assert opened(server, tmp_path).capabilities().supports(Feature.REGISTRY_ALIAS)


def test_an_ingress_whose_server_is_away_says_nothing_about_the_server(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.answer = old_server(registered_models_alias=NO_ROUTE, experiments_search=NO_ROUTE)
    adapter = opened(server, tmp_path)
    assert adapter.registry is not None
    with pytest.raises(Unavailable):
        adapter.registry.set_alias("wine", "champion", version="1")
    assert opened(server, tmp_path).capabilities().supports(Feature.REGISTRY_ALIAS)


def test_a_model_that_is_not_there_is_no_gap(server: ScriptedServer, tmp_path: Path) -> None:
    server.answer = old_server(registered_models_alias=refusal(404, "RESOURCE_DOES_NOT_EXIST"))
    adapter = opened(server, tmp_path)
    assert adapter.registry is not None
    with pytest.raises(LookupError):
        adapter.registry.set_alias("wine", "champion", version="1")
    assert opened(server, tmp_path).capabilities().supports(Feature.REGISTRY_ALIAS)


@pytest.mark.parametrize("route", ["registered_models_get", "registered_models_search"])
def test_a_server_without_a_registry(server: ScriptedServer, tmp_path: Path, route: str) -> None:
    server.answer = by_route(**{route: NO_ROUTE})
    adapter = opened(server, tmp_path)
    assert adapter.registry is not None
    with pytest.raises(Unsupported, match="no model registry") as caught:
        adapter.registry.list_models() if route.endswith("search") else adapter.registry.get_model("wine")
    assert "registry_uri" in (caught.value.hint or "")


def test_dataset_inputs_are_rejected_with_the_reason_and_the_rest_is_written(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.answer = old_server(runs_log_inputs=NO_ROUTE)
    adapter = opened(server, tmp_path)
    adapter.tracking.ids.remember("run", OURS, NATIVE)
    dataset = DatasetInput(name="wine", digest="abc", source_type="local", source="{}")
    batch = Batch(run_id=OURS, inputs=[InputAdded(dataset, 7)])
    (rejection,) = adapter.tracking.write(batch).rejected
    assert rejection.sequence == 7
    assert "no route" in rejection.reason
    assert not opened(server, tmp_path).capabilities().supports(Feature.TRACKING_DATASETS)
