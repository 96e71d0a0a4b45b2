"""Inference components: models that share the instances of a variant."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trackbridge.testing.emulators.pauses import Pauses
from trackbridge.testing.emulators.sagemaker.container_logs import LogStream
from trackbridge.testing.emulators.sagemaker.core import Cloud, Operation, Refused
from trackbridge.testing.emulators.sagemaker.endpoint_fleets import Servers
from trackbridge.testing.emulators.sagemaker.endpoint_records import Endpoint, Endpoints
from trackbridge.testing.emulators.sagemaker.listing import page
from trackbridge.testing.emulators.sagemaker.model_servers import NotServing
from trackbridge.testing.emulators.sagemaker.models import Models, check_model_data

CLOSE_S = 20.0


@dataclass(slots=True, eq=False)
class Component:
    """A component. What changes is changed while the cloud's lock is held."""

    name: str
    arn: str
    endpoint: Endpoint
    variant: str
    specification: dict[str, Any]
    copies: int
    created_s: float
    modified_s: float
    pauses: Pauses
    current_copies: int = 0
    status: str = "Creating"
    failure_reason: str | None = None
    servers: Servers | None = None
    thread: threading.Thread | None = None


class Components:
    """All components of the account."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.held: dict[str, Component] = {}

    def get(self, name: str) -> Component:
        """Return a component.

        Raises:
            Refused: There is none.
        """
        if name not in self.held:
            arn = self.cloud.arn("inference-component", name)
            raise Refused("ValidationException", f'Could not find inference component "{arn}".')
        return self.held[name]

    def on(self, endpoint: str) -> list[Component]:
        """Return the components of an endpoint."""
        return [each for each in self.held.values() if each.endpoint.name == endpoint]

    def close(self) -> None:
        """End what goes on, and the containers."""
        held = list(self.held.values())
        for component in held:
            component.pauses.end()
        for component in held:
            if component.thread is not None and component.thread is not threading.current_thread():
                component.thread.join(CLOSE_S)
            if component.servers is not None:
                component.servers.stop()


def _refuse(message: str) -> Refused:
    return Refused("ValidationException", message)


def _create(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    components, name = cloud.part(Components), asked["InferenceComponentName"]
    arn = cloud.arn("inference-component", name)
    if name in components.held:
        raise _refuse(f'Cannot create already existing inference component "{arn}".')
    endpoint = cloud.part(Endpoints).get(asked["EndpointName"])
    if endpoint.status != "InService":
        raise _refuse(f'Endpoint "{endpoint.arn}" is {endpoint.status}, and must be InService')
    variant = endpoint.fleet.find(asked.get("VariantName", ""))
    if variant is None or variant.servers is not None:
        raise _refuse(f"VariantName must be a variant of {endpoint.name} that has no ModelName")
    if "Specification" not in asked:
        raise _refuse("Specification is required; the emulator has no Specifications by instance type")
    specification = asked["Specification"]
    if "BaseInferenceComponentName" in specification:
        raise _refuse("The emulator has no adapter components (BaseInferenceComponentName)")
    if "RuntimeConfig" not in asked:
        raise _refuse("RuntimeConfig is required")
    containers = _containers(cloud, specification, endpoint)
    cloud.tags.start(arn, asked.get("Tags"))
    now, copies = cloud.now_s(), asked["RuntimeConfig"]["CopyCount"]
    component = Component(
        name, arn, endpoint, variant.name, specification, copies, now, now, Pauses(cloud.later)
    )
    components.held[name] = component
    _begin(cloud, component, lambda: _deploy(cloud, component, containers))
    return {"InferenceComponentArn": arn}


def _containers(
    cloud: Cloud, specification: Mapping[str, Any], endpoint: Endpoint
) -> list[Mapping[str, Any]]:
    """Return what runs for a specification.

    Raises:
        Refused: It names no model, or too much.
    """
    if ("ModelName" in specification) == ("Container" in specification):
        raise _refuse("Specification needs exactly one of ModelName and Container")
    if "ComputeResourceRequirements" not in specification:
        raise _refuse("Specification needs ComputeResourceRequirements")
    if "ModelName" in specification:
        return list(cloud.part(Models).get(specification["ModelName"]).containers)
    given = specification["Container"]
    if "Image" not in given:
        raise _refuse("Specification.Container needs Image")
    container = {"Image": given["Image"], "Environment": given.get("Environment", {})}
    if "ArtifactUrl" in given:
        container["ModelDataUrl"] = given["ArtifactUrl"]
    check_model_data(cloud, container, endpoint.fleet.config.asked["ExecutionRoleArn"])
    return [container]


def _begin(cloud: Cloud, component: Component, work: Callable[[], None]) -> None:
    def run() -> None:
        try:
            work()
        except Exception as error:  # a fault of the emulator, kept for whoever tests
            cloud.clock.errors.append(error)
            _set(cloud, component, "Failed", f"{type(error).__name__}: {error}")

    component.thread = threading.Thread(target=run, name=component.name, daemon=True)
    component.thread.start()


def _deploy(cloud: Cloud, component: Component, containers: list[Mapping[str, Any]]) -> None:
    """Start the component's containers in place of those it has."""
    settings = cloud.part(Endpoints)
    component.pauses.wait(settings.step_s)
    stream = f"{component.name}/i-{component.variant}"
    log = LogStream(cloud, f"/aws/sagemaker/InferenceComponents/{component.name}", stream)
    role = component.endpoint.fleet.config.asked["ExecutionRoleArn"]
    servers = Servers(cloud, component.name, containers, log, role=role)
    try:
        servers.start(settings.health_s, lambda: not component.pauses.is_ended)
    except NotServing as failure:
        servers.stop()
        if not component.pauses.is_ended:
            _set(cloud, component, "Failed", str(failure)[:1024])
        return
    with cloud.lock:
        old, component.servers = component.servers, servers
        component.current_copies = component.copies
        _set(cloud, component, "InService")
    if old is not None:
        old.drain(settings.invocation_s)


def _set(cloud: Cloud, component: Component, status: str, reason: str | None = None) -> None:
    with cloud.lock:
        component.status, component.failure_reason = status, reason
        component.modified_s = cloud.now_s()


def _settled(cloud: Cloud, name: str) -> Component:
    component = cloud.part(Components).get(name)
    if component.status not in ("InService", "Failed"):
        raise _refuse(f'Cannot change inference component "{component.arn}" in status {component.status}')
    return component


def _update(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    component = _settled(cloud, asked["InferenceComponentName"])
    specification = asked.get("Specification", component.specification)
    containers = _containers(cloud, specification, component.endpoint)
    component.specification = specification
    component.copies = asked.get("RuntimeConfig", {}).get("CopyCount", component.copies)
    _set(cloud, component, "Updating")
    _begin(cloud, component, lambda: _deploy(cloud, component, containers))
    return {"InferenceComponentArn": component.arn}


def _update_copies(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    component = _settled(cloud, asked["InferenceComponentName"])
    set_copies(cloud, component, asked["DesiredRuntimeConfig"]["CopyCount"])
    return {"InferenceComponentArn": component.arn}


def set_copies(cloud: Cloud, component: Component, copies: int) -> None:
    """Ask for a number of copies; they are there a step later."""
    component.copies = copies
    _set(cloud, component, "Updating")

    def settle() -> None:
        component.current_copies = component.copies
        _set(cloud, component, "InService")

    cloud.later(cloud.part(Endpoints).step_s, settle)


def _delete(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    component = _settled(cloud, asked["InferenceComponentName"])
    _set(cloud, component, "Deleting")

    def end() -> None:
        component.pauses.wait(cloud.part(Endpoints).step_s)
        if component.servers is not None:
            component.servers.stop()
        with cloud.lock:
            cloud.part(Components).held.pop(component.name, None)
            cloud.tags.end(component.arn)

    _begin(cloud, component, end)
    return {}


def _describe(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    component = cloud.part(Components).get(asked["InferenceComponentName"])
    told = {
        "InferenceComponentName": component.name,
        "InferenceComponentArn": component.arn,
        "EndpointName": component.endpoint.name,
        "EndpointArn": component.endpoint.arn,
        "VariantName": component.variant,
        "Specification": _described(component),
        "RuntimeConfig": {
            "DesiredCopyCount": component.copies,
            "CurrentCopyCount": component.current_copies,
        },
        "CreationTime": component.created_s,
        "LastModifiedTime": component.modified_s,
        "InferenceComponentStatus": component.status,
    }
    return told | ({"FailureReason": component.failure_reason} if component.failure_reason else {})


def _described(component: Component) -> dict[str, Any]:
    told = dict(component.specification)
    if "Container" in told:
        given = told["Container"]
        summary: dict[str, Any] = {"DeployedImage": {"SpecifiedImage": given["Image"]}}
        told["Container"] = summary | {n: given[n] for n in ("ArtifactUrl", "Environment") if n in given}
    return told


def _list(cloud: Cloud, asked: dict[str, Any]) -> dict[str, Any]:
    wanted = [
        each
        for each in cloud.part(Components).held.values()
        if each.endpoint.name == asked.get("EndpointNameEquals", each.endpoint.name)
        and each.variant == asked.get("VariantNameEquals", each.variant)
    ]
    found, more = page(wanted, asked, _fields, is_descending=True)
    rows = [
        {
            "InferenceComponentName": each.name,
            "InferenceComponentArn": each.arn,
            "EndpointName": each.endpoint.name,
            "EndpointArn": each.endpoint.arn,
            "VariantName": each.variant,
            "CreationTime": each.created_s,
            "LastModifiedTime": each.modified_s,
            "InferenceComponentStatus": each.status,
        }
        for each in found
    ]
    return {"InferenceComponents": rows, **more}


def _fields(component: Component) -> dict[str, Any]:
    times = {"CreationTime": component.created_s, "LastModifiedTime": component.modified_s}
    return {"Name": component.name, "Status": component.status, **times}


OPERATIONS: Mapping[str, Operation] = {
    "CreateInferenceComponent": _create,
    "DescribeInferenceComponent": _describe,
    "ListInferenceComponents": _list,
    "UpdateInferenceComponent": _update,
    "UpdateInferenceComponentRuntimeConfig": _update_copies,
    "DeleteInferenceComponent": _delete,
}
