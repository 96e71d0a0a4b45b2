"""Deployment files: every field, what is otherwise at one target, and what is wrong with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from trackbridge.domain.deployments import Authentication, Autoscale, Serving
from trackbridge.errors import ConfigError, InvalidInput, NotFound
from trackbridge.operations.deployment_requests import (
    READERS,
    DeploymentRequest,
    autoscale_of,
    read_deployment_file,
    request_of_fields,
)
from trackbridge.operations.endpoint_goals import OnFailure

WHOLE = """\
model: models:/wine@champion
target: azureml
endpoint: wine
deployment: blue
traffic: 10
mirror: 0
capture: 100
instance_type: any
instances: 2
autoscale: {min: 1, max: 4, requests: 100}
serving: realtime
memory: 2048
concurrency: 4
authentication: key
image: wine:1
environment: wine-env
detailed_metrics: true
alarms: [too-slow]
env: {MODE: fast, WORKERS: 2, DEBUG: true}
timeout: 30s
options: {a: b}
on_failure: keep
preflight: false
canary: [5, 25, 100]
bake: 10m
bake_max: 1h
guards: ["error_rate<1%"]
targets:
  sagemaker: {instance_type: ml.m5.large, options: {c: d}, on_failure: delete}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "wine.yaml"
    path.write_text(text, "utf-8")
    return path


def test_every_field_is_read(tmp_path: Path) -> None:
    request = read_deployment_file(written(tmp_path, WHOLE))
    assert {line.partition(":")[0] for line in WHOLE.splitlines() if line[0].isalpha()} == set(READERS)
    assert (request.model, request.target) == ("models:/wine@champion", "azureml")
    assert request.fields == {
        "endpoint": "wine",
        "deployment": "blue",
        "traffic_percent": 10,
        "mirror_percent": 0,
        "capture_percent": 100,
        "instance_type": "any",
        "instance_count": 2,
        "autoscale": Autoscale(instances_min=1, instances_max=4, requests_per_instance_target=100.0),
        "serving": Serving.REALTIME,
        "memory_mib": 2048,
        "concurrency_max": 4,
        "authentication": Authentication.KEY,
        "image": "wine:1",
        "environment": "wine-env",
        "detailed_metrics": True,
        "alarms": ["too-slow"],
        "variables": {"MODE": "fast", "WORKERS": "2", "DEBUG": "true"},
        "request_timeout_s": 30.0,
        "options": {"a": "b"},
    }
    assert (request.on_failure, request.has_preflight) == (OnFailure.KEEP, False)
    assert (request.canary, request.guards) == ((5, 25, 100), ("error_rate<1%",))
    assert (request.bake_s, request.bake_s_max) == (600.0, 3600.0)


def test_a_target_has_what_is_said_for_it(tmp_path: Path) -> None:
    request = read_deployment_file(written(tmp_path, WHOLE))
    there = request.at("sagemaker")
    assert there.fields["instance_type"] == "ml.m5.large"
    assert there.fields["options"] == {"a": "b", "c": "d"}
    assert there.on_failure is OnFailure.DELETE
    assert there.fields["endpoint"] == "wine"
    assert request.at("azureml") == request


def test_flags_go_before_the_file(tmp_path: Path) -> None:
    flags = DeploymentRequest(
        model="models:/wine/2", fields={"instance_count": 5, "variables": {"MODE": "x"}}
    )
    both = read_deployment_file(written(tmp_path, WHOLE)).merged(flags)
    assert (both.model, both.target, both.fields["instance_count"]) == ("models:/wine/2", "azureml", 5)
    assert both.fields["variables"] == {"MODE": "x", "WORKERS": "2", "DEBUG": "true"}
    assert both.has_preflight is False


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("endpoint: wine\nendpont: wine\n", 2, "'endpont' is no field; did you mean 'endpoint'"),
        ("instances: many\n", 1, "instances is 'many'"),
        ("instances: true\n", 1, "instances is True"),
        ("\ncapture: -1\n", 2, "capture is -1"),
        ("timeout: soon\n", 1, "'soon' is no length of time"),
        ("serving: somehow\n", 1, "serving is 'somehow'"),
        ("authentication: password\n", 1, "authentication is 'password'"),
        ("autoscale: {min: 1}\n", 1, "autoscale is {'min': 1}"),
        ("autoscale: {min: a, max: 2, requests: 3}\n", 1, "autoscale: Expected `int`"),
        ("detailed_metrics: maybe\n", 1, "detailed_metrics is 'maybe'"),
        ("canary: [5, 200]\n", 1, r"canary is \[5, 200\]"),
        ("env: {A: [1]}\n", 1, "'A' of env is no text or number"),
        ("endpoint: wine\ntargets: {azureml: {model: x}}\n", 2, "'azureml' holds what is no field"),
        ("targets: {azureml: {instances: many}}\n", 1, "instances is 'many'"),
        ("endpoint: [\n", 2, "no valid YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        read_deployment_file(written(tmp_path, text))
    assert str(caught.value.resource).endswith(f"wine.yaml:{line}")
    assert caught.value.operation == "deploy"
    assert caught.value.hint


def test_a_program_says_the_same_in_the_same_words(tmp_path: Path) -> None:
    said = {
        "model": "models:/wine/2",
        "endpoint": "wine",
        "timeout": 2.5,
        "canary": (5, 100),
        "guards": ["error_rate<1%"],
        "targets": {"azureml": {"instances": 3}},
    }
    request = request_of_fields(said)
    assert request.fields == {"endpoint": "wine", "request_timeout_s": 2.5}
    assert (request.model, request.canary) == ("models:/wine/2", (5, 100))
    assert request.at("azureml").fields["instance_count"] == 3
    for wrong in ({"instance": 2}, {"instances": "two"}, {"targets": {"azureml": {"instances": "two"}}}):
        with pytest.raises(ConfigError) as caught:
            request_of_fields(wrong)
        assert str(caught.value.resource) == "tb.deploy"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no file 'gone\.yaml'"):
        read_deployment_file(tmp_path / "gone.yaml")


def test_autoscaling_as_a_word() -> None:
    assert autoscale_of("1..4@100").requests_per_instance_target == 100.0
    for text in ("", "1..4", "1-4@100", "a..b@c"):
        with pytest.raises(InvalidInput, match="no autoscaling"):
            autoscale_of(text)
