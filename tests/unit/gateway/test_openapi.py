"""The OpenAPI document says what there is, and what it lets one send is never answered with a 500."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.support.gateways import ServedGateway, gateway
from trackbridge.gateway.openapi import STATE, openapi
from trackbridge.gateway.routes import all_routes

EXAMPLES = {GenerationMode.POSITIVE: 2, GenerationMode.NEGATIVE: 1}
"""Of each call; each also with ids that there are. Most of the time goes into making them."""
QUIET = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=settings.default.phases[:3],  # nothing is to be made smaller: the first failure says enough
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedGateway]:
    folder = tmp_path_factory.mktemp("openapi")
    with gateway(
        f"file:{folder}/store", home=folder / "home", environment={"BRIDGE_DELIVERY": "thread"}
    ) as made:
        yield made


@pytest.fixture(scope="module")
def known(served: ServedGateway) -> dict[str, str]:
    """Fields and what there is of them."""
    experiment = served.api("POST", "experiments/create", {"name": "known"})["experiment_id"]
    made = {"experiment_id": experiment, "start_time": 1}
    run = served.api("POST", "runs/create", made)["run"]["info"]["run_id"]
    served.api("POST", "registered-models/create", {"name": "wine"})
    return {"run_id": run, "run_uuid": run, "experiment_id": experiment, "name": "wine"}


def test_the_document_has_every_route_and_only_those(served: ServedGateway) -> None:
    document = served.request("GET", "/openapi.json").content
    routes = {
        (path.replace(":path}", "}"), route.method.lower())
        for route in all_routes()
        for path in route.paths
        if path.startswith("/api/")
    }
    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert described == routes | {(path, "get") for path in STATE}
    assert document["openapi"] == "3.1.0"


def test_operations_have_names_of_their_own_and_say_their_scope() -> None:
    document = openapi(all_routes())
    operations = [
        operation
        for path, methods in document["paths"].items()
        for operation in methods.values()
        if path not in STATE
    ]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert {operation["x-scope"] for operation in operations} == {"read", "write"}
    assert all(operation["summary"] for operation in operations)
    text = json.dumps(document)
    components = document["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) == set(components)


def test_what_is_asked_for_is_marked() -> None:
    document = openapi(all_routes())
    get_run = document["paths"]["/api/2.0/mlflow/runs/get"]["get"]
    required = {field["name"]: field["required"] for field in get_run["parameters"]}
    assert required["run_id"]
    assert not required["run_uuid"]
    assert document["components"]["schemas"]["LogBatch"]["required"] == ["run_id"]


def test_nothing_that_fits_the_document_or_just_does_not_is_a_500(
    served: ServedGateway, known: dict[str, str]
) -> None:
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    asked, failures = 0, []
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            for answer in answers(operation, mode, known):
                asked += 1
                if answer.status_code >= 500 and answer.status_code != 501:
                    failures.append((operation.label, answer.request.url, answer.request.body, answer.text))
    assert not failures
    assert asked > 3 * len(all_routes())
    assert "Traceback" not in served.log()


def answers(operation: Any, mode: GenerationMode, known: dict[str, str]) -> list[Any]:
    """Send requests for one call; return the answers."""
    received: list[Any] = []

    @settings(QUIET, max_examples=EXAMPLES[mode])
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        received.append(case.call(timeout=60))
        for part in (case.body, case.query):
            if isinstance(part, dict) and not known.keys().isdisjoint(part):
                part.update({name: value for name, value in known.items() if name in part})
                received.append(case.call(timeout=60))

    try:
        send()
    except Unsatisfiable:  # nothing about it can be wrong
        assert mode is GenerationMode.NEGATIVE
    return received
