"""What goes wrong between SageMaker and us costs no model that serves, no request and no lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from tests.unit.adapters.sagemaker.place_rig import backend
from trackbridge.domain.deployment_changes import facts_of
from trackbridge.domain.deployments import DeploymentSpec
from trackbridge.errors import AuthError, BridgeError, Conflict, Locked, NotFound, Rejected, Unavailable
from trackbridge.errors import TimedOut as Late
from trackbridge_adapters.sagemaker import deployments_lock
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.deployments import SageMakerDeployments
from trackbridge_adapters.sagemaker.deployments_invoke import INLINE_BYTES_MAX
from trackbridge_adapters.sagemaker.deployments_lock import HELD_S, EndpointLock
from trackbridge_adapters.sagemaker.deployments_logs import last_lines
from trackbridge_adapters.sagemaker.deployments_names import variant_of
from trackbridge_adapters.sagemaker.deployments_operations import CONFIG, DELETE, begun
from trackbridge_adapters.sagemaker.deployments_records import Companion, EndpointRecord, Records, Served

DENIED = AuthError("not authorized")
DOWN = Unavailable("s3 cannot be reached")
IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/serving:1"
OPTIONS = {"role": "arn:aws:iam::123456789012:role/serving"}


class Objects:
    """A bucket in memory; ``broken`` is raised by what it names."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.broken: dict[str, BridgeError] = {}

    def _fail(self, name: str) -> None:
        if name in self.broken:
            raise self.broken[name]

    def get(self, key: str) -> tuple[bytes, str] | None:
        self._fail("get")
        return (self.held[key], "v") if key in self.held else None

    def put(self, key: str, data: bytes, *, match: str | None = None, absent: bool = False) -> str:
        self._fail("put")
        self.held[key] = data
        return "v"

    def swap(self, key: str, change: Callable[[bytes | None], bytes | None]) -> None:
        after = change(self.held.get(key))
        if after is not None:
            self.held[key] = after

    def list(self, prefix: str) -> Iterator[str]:
        return iter(sorted(key for key in self.held if key.startswith(f"{prefix}/")))

    def delete(self, *keys: str) -> None:
        for key in keys:
            self.held.pop(key, None)

    def address(self, key: str) -> str:
        return f"s3://bucket/{key}"


class Services:
    """AWS's answers, by operation: what is raised, or answered; and what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"DescribeEndpoint": NotFound("no such endpoint")}
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def call(self, service: str, operation: str, /, **named: Any) -> dict[str, Any]:
        self.asked.append((operation, named))
        answer = self.answers.get(operation, {})
        if isinstance(answer, Exception):
            raise answer
        return cast("dict[str, Any]", answer)

    def pages(self, service: str, operation: str, key: str, /, **named: Any) -> Any:
        return self.call(service, operation, **named).get(key, ())

    def names(self, operation: str) -> list[str]:
        """Return what an operation was asked about, by its first parameter."""
        return [str(next(iter(named.values()))) for asked, named in self.asked if asked == operation]


class Rig:
    """A place over both."""

    def __init__(self, home: Path) -> None:
        real = backend(home)
        self.bucket, self.services = Objects(), Services()
        fake = SimpleNamespace(
            place=real.place,
            context=real.context,
            capabilities=real.capabilities,
            bucket=self.bucket,
            clients=self.services,
        )
        self.target = SageMakerDeployments(cast(Backend, fake))
        self.records = Records(cast(Any, self.bucket))

    def stands(self, config: str, *specs: DeploymentSpec, status: str = "InService") -> None:
        """Let an endpoint have a config with a variant for each spec; its model is ``m-DEPLOYMENT``."""
        parts: dict[str, list[dict[str, Any]]] = {"ProductionVariants": [], "ShadowProductionVariants": []}
        for spec in specs:
            mirrors = bool(spec.mirror_percent)
            parts["ShadowProductionVariants" if mirrors else "ProductionVariants"].append(
                {
                    "VariantName": variant_of(spec.deployment, mirrors=mirrors),
                    "ModelName": f"m-{spec.deployment}",
                    "InstanceType": "ml.m5.large",
                    "InitialInstanceCount": 1,
                    "InitialVariantWeight": float(spec.mirror_percent or spec.traffic_percent),
                }
            )
        told = {"EndpointName": "wine", "EndpointStatus": status, "EndpointConfigName": config}
        self.services.answers |= {"DescribeEndpoint": told, "DescribeEndpointConfig": parts}

    def keep(self, config: str, *specs: DeploymentSpec) -> None:
        """Note what a config was made from."""
        served = {
            each.deployment: Served(
                facts=facts_of(msgspec.structs.replace(each, mirror_percent=0)), model=f"m-{each.deployment}"
            )
            for each in specs
        }
        models = tuple(each.model for each in served.values())
        self.records.keep_companion("wine", config, Companion(deployments=served, models=models))


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    return Rig(tmp_path)


def spec(deployment: str = "v1", **fields: Any) -> DeploymentSpec:
    given: dict[str, Any] = {
        "image": IMAGE,
        "model_digest": "sha256:00",
        "model_source": "s3://bucket/models/wine",
        "instance_type": "ml.m5.large",
        "options": OPTIONS,
        **fields,
    }
    return DeploymentSpec(endpoint="wine", deployment=deployment, model="models:/wine/1", **given)


# Cleaning up.


def test_a_model_that_serves_in_somebodys_copy_of_a_config_stays(rig: Rig) -> None:
    rig.keep("ours", spec("v1"))
    rig.keep("next", spec("v2"))
    rig.stands("next", spec("v1"), spec("v2", traffic_percent=0))
    ended = rig.target.poll(begun(CONFIG, "wine", "next", "v2"))
    assert (ended.done, ended.error) == (True, None)
    assert rig.services.names("DeleteEndpointConfig") == ["ours"]
    assert rig.services.names("DeleteModel") == []
    rig.services.answers["DescribeEndpoint"] = NotFound("no such endpoint")
    assert rig.target.poll(begun(DELETE, "wine")).error is None
    assert set(rig.services.names("DeleteModel")) == {"m-v1", "m-v2"}, "it goes with the endpoint"
    assert list(rig.bucket.list("endpoints/wine")) == []


def test_an_update_that_could_not_be_taken_back_loses_nothing(rig: Rig) -> None:
    """Both configs may serve then."""
    rig.keep("ours", spec("v1"))
    rig.keep("next", spec("v1"), spec("v2"))
    rig.stands("ours", spec("v1"), status="UpdateRollbackFailed")
    ended = rig.target.poll(begun(CONFIG, "wine", "next", "v2"))
    assert ended.error is not None
    assert "UpdateRollbackFailed, nothing was cleaned up" in ended.error
    assert rig.services.names("DeleteEndpointConfig") == rig.services.names("DeleteModel") == []


def test_the_last_words_of_a_container_are_without_secrets(rig: Rig) -> None:
    rig.services.answers["DescribeLogStreams"] = {"logStreams": [{"logStreamName": "v1/i-0"}]}
    rig.services.answers["GetLogEvents"] = {"events": [{"message": "cannot reach postgres://me:hunter2@db"}]}
    words = last_lines(cast(Any, rig.services), "wine", ["v1"])
    assert "cannot reach" in words
    assert "hunter2" not in words


# Changes.


def applied(rig: Rig, wanted: DeploymentSpec) -> None:
    """Apply the change of a deployment."""
    changes = rig.target.plan(wanted, rig.target.observe("wine"))
    (change,) = [each for each in changes if each.subject.startswith("deployment ")]
    assert not rig.target.apply(change).done


def test_the_instances_of_a_mirror_are_changed_at_sagemaker(rig: Rig) -> None:
    mirror = spec("v2", traffic_percent=0, mirror_percent=10)
    rig.keep("ours", spec("v1"), mirror)
    rig.records.change("wine", lambda record: EndpointRecord(settled="ours"))
    rig.stands("ours", spec("v1"), mirror)
    applied(rig, msgspec.structs.replace(mirror, instance_count=2))
    assert rig.services.names("UpdateEndpoint") == ["wine"]


def test_who_may_not_touch_scaling_changes_the_machines_all_the_same(rig: Rig) -> None:
    rig.services.answers |= {"DescribeScalableTargets": DENIED, "DeregisterScalableTarget": DENIED}
    rig.keep("ours", spec("v1"))
    rig.records.change("wine", lambda record: EndpointRecord(settled="ours"))
    rig.stands("ours", spec("v1"))
    applied(rig, spec("v1", instance_type="ml.m5.xlarge"))
    assert rig.services.names("UpdateEndpoint") == ["wine"]


# Requests.


class Broken:
    """A body that breaks off."""

    def read(self) -> bytes:
        from botocore.exceptions import ReadTimeoutError

        raise ReadTimeoutError(endpoint_url="https://runtime")


def ask(rig: Rig, size: int = 2) -> bytes:
    return rig.target.invoke("wine", b"x" * size, content_type="application/json")


def test_an_answer_that_breaks_off_may_have_been_scored(rig: Rig) -> None:
    rig.stands("ours", spec())
    rig.services.answers["InvokeEndpoint"] = {"Body": Broken()}
    with pytest.raises(Late, match="broke off") as raised:
        ask(rig)
    assert raised.value.ambiguous


@pytest.mark.parametrize(
    ("answers", "error", "is_kept"),
    [
        ({"InvokeEndpointAsync": Rejected("wrong")}, Rejected, False),
        ({"InvokeEndpointAsync": DOWN}, Unavailable, True),
        ({"GetObject": DOWN}, Unavailable, True),
        ({"GetObject": DENIED}, AuthError, True),
        ({"GetObject": {"Body": Broken()}}, Unavailable, True),
    ],
    ids=["refused", "lost", "waiting", "denied", "broken"],
)
def test_a_long_request_stays_until_it_was_read(
    rig: Rig, answers: dict[str, Any], error: type[BridgeError], *, is_kept: bool
) -> None:
    rig.stands("ours", spec())
    rig.services.answers["DescribeEndpoint"]["AsyncInferenceConfig"] = {}
    rig.services.answers["InvokeEndpointAsync"] = {"OutputLocation": "s3://bucket/answers/1"}
    rig.services.answers |= answers
    with pytest.raises(error):
        ask(rig, INLINE_BYTES_MAX + 1)
    assert bool(list(rig.bucket.list("endpoints/wine/requests"))) is is_kept


# The lock.


@pytest.mark.parametrize("broken", [{"put": DOWN}, {"put": Conflict("changed"), "get": DOWN}])
def test_a_lock_that_the_network_has_taken_is_lost(
    monkeypatch: pytest.MonkeyPatch, broken: dict[str, BridgeError]
) -> None:
    monkeypatch.setattr(deployments_lock, "RENEWED_S", 0.01)
    bucket, now_ms = Objects(), [1000]
    lock = EndpointLock(cast(Any, bucket), "wine", lambda: now_ms[0])
    with lock:  # its end cannot be written either, and is no error
        bucket.broken |= broken
        now_ms[0] += round(HELD_S * 1000) + 1
        lock._thread.join(20)
        with pytest.raises(Locked, match="cannot be reached"):
            lock.check()


def test_a_lock_that_cannot_be_given_back_is_no_error() -> None:
    bucket = Objects()
    with EndpointLock(cast(Any, bucket), "wine", lambda: 1000):
        bucket.broken["put"] = DOWN
