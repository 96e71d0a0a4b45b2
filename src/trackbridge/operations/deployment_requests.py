"""What was said of a deployment, by flags, by a file or from Python, until it is a ``DeploymentSpec``.

A deployment file is YAML in the words of the flags of ``bridge deploy``::

    model: models:/wine@champion
    endpoint: wine
    target: azureml
    instances: 2
    capture: 100
    targets:                          # what is otherwise at one target
      azureml: {instance_type: Standard_DS3_v2}
      sagemaker: {instance_type: ml.m5.large, image: 123456789012.dkr.ecr.eu-west-1.amazonaws.com/wine:1}

Below ``targets`` stand names of adapters, and below each the same fields but ``model``, ``target`` and
``targets``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from trackbridge.domain.deployments import Authentication, Autoscale, Serving
from trackbridge.domain.durations import seconds_of
from trackbridge.domain.rollouts import BAKE_S, RolloutSpec, rollout_spec
from trackbridge.errors import InvalidInput
from trackbridge.operations.endpoint_goals import OnFailure
from trackbridge.operations.job_sources.documents import Document, read_document

OPERATION = "deploy"
_OF_ROLLOUT = ("bake_s", "bake_s_max", "guards")


class DeploymentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of a deployment. ``fields`` are those of ``DeploymentSpec`` that were named.

    ``canary`` are the steps of a guarded rollout in percent, ``bake_s`` how long each is watched,
    ``bake_s_max`` for how long with too few requests, ``guards`` what has to hold meanwhile.
    ``by_adapter`` holds what is otherwise at the targets of one adapter.
    """

    model: str = ""
    target: str | None = None
    fields: dict[str, Any] = msgspec.field(default_factory=dict)
    on_failure: OnFailure | None = None
    has_preflight: bool | None = None
    canary: tuple[int, ...] = ()
    bake_s: float | None = None
    bake_s_max: float | None = None
    guards: tuple[str, ...] = ()
    by_adapter: dict[str, DeploymentRequest] = msgspec.field(default_factory=dict)

    def merged(self, other: DeploymentRequest) -> DeploymentRequest:
        """Return both, where what the other says goes before."""
        changed = {
            name: value
            for name in ("model", "target", "on_failure", "has_preflight", "canary", *_OF_ROLLOUT)
            if (value := getattr(other, name)) not in (None, "", ())
        }
        fields = {**self.fields, **other.fields}
        for name in ("variables", "options"):
            if name in self.fields and name in other.fields:
                fields[name] = {**self.fields[name], **other.fields[name]}
        by_adapter = {**self.by_adapter, **other.by_adapter}
        return msgspec.structs.replace(self, **changed, fields=fields, by_adapter=by_adapter)

    @property
    def rollout(self) -> RolloutSpec | None:
        """The guarded rollout that was asked for, if one was.

        Raises:
            InvalidInput: A step, a length or a guard cannot be, or one of them needs steps.
        """
        if not self.canary:
            said = any(getattr(self, name) for name in _OF_ROLLOUT)
            if said:
                raise InvalidInput(
                    "guards and a bake are those of a rollout, and its steps are missing",
                    operation=OPERATION,
                    hint="add --canary 5,25,100 (canary: [5, 25, 100] in a file)",
                )
            return None
        if "traffic_percent" in self.fields:
            raise InvalidInput(
                "a rollout shares the traffic by its steps, and --traffic names a share",
                operation=OPERATION,
                hint="leave out --traffic, or --canary",
            )
        bake_s = BAKE_S if self.bake_s is None else self.bake_s
        return rollout_spec(self.canary, bake=bake_s, bake_max=self.bake_s_max, guards=self.guards)

    def at(self, adapter: str) -> DeploymentRequest:
        """Return what is said for the targets of one adapter."""
        own = self.by_adapter.get(adapter)
        return self if own is None else self.merged(own)


def read_deployment_file(path: Path) -> DeploymentRequest:
    """Read a deployment file.

    Raises:
        NotFound: There is no such file.
        ConfigError: It is no YAML, or a field of it is wrong; the error says where.
        MissingExtra: PyYAML is not installed.
    """
    return _request_of(read_document(path, operation=OPERATION))


def request_of_fields(fields: Mapping[str, Any]) -> DeploymentRequest:
    """Return what a program says in the words of a deployment file.

    Raises:
        ConfigError: There is no such field, or its value is wrong.
    """
    content = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
    return _request_of(Document(path="tb.deploy", content=content, lines={}, operation=OPERATION))


def _request_of(document: Document) -> DeploymentRequest:
    document.refuse_unknown(READERS)
    own = {name: value for name, value in document.content.items() if name not in WHOLE_FILE}
    request = _request(msgspec.structs.replace(document, content=own))
    by_adapter = {}
    for adapter, said in document.mapping("targets").items():
        if not isinstance(said, Mapping) or not set(said) <= set(READERS) - WHOLE_FILE:
            hint = f"write fields below {adapter}: {', '.join(sorted(set(READERS) - WHOLE_FILE))}"
            raise document.wrong("targets", f"{adapter!r} holds what is no field of a deployment", hint)
        by_adapter[adapter] = _request(
            Document(
                path=document.path,
                operation=OPERATION,
                content=dict(said),
                lines=dict.fromkeys(said, document.lines.get("targets", 0)) if document.lines else {},
            )
        )
    return msgspec.structs.replace(
        request,
        model=document.text("model") or "",
        target=document.text("target"),
        by_adapter=by_adapter,
    )


def autoscale_of(text: str) -> Autoscale:
    """Return the bounds of ``1..4@100``: from 1 to 4 instances, one more at 100 requests each a minute.

    Raises:
        InvalidInput: It is written otherwise.
    """
    match = re.fullmatch(r"(\d{1,4})\.\.(\d{1,4})@(\d{1,9}(?:\.\d{1,6})?)", text.strip())
    if match is None:
        raise InvalidInput(
            f"{text!r} is no autoscaling", operation=OPERATION, hint="write MIN..MAX@REQUESTS: 1..4@100"
        )
    return Autoscale(
        instances_min=int(match[1]),
        instances_max=int(match[2]),
        requests_per_instance_target=float(match[3]),
    )


# Fields of a file.

Reader = Callable[[Document, str], Any]


def _request(document: Document) -> DeploymentRequest:
    said: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    for key, value in document.content.items():
        if value is None:
            continue
        name, reader = READERS[key]
        (said if name in _OF_REQUEST else fields)[name] = reader(document, key)
    return DeploymentRequest(fields=fields, **said)


def _text(document: Document, key: str) -> str:
    return document.text(key) or ""


def _count(document: Document, key: str) -> int:
    value = document.content[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise document.wrong(key, f"{key} is {value!r}", "write a whole number")
    return value


def _switch(document: Document, key: str) -> bool:
    value = document.content[key]
    if not isinstance(value, bool):
        raise document.wrong(key, f"{key} is {value!r}", "write true or false")
    return value


def _length(document: Document, key: str) -> float:
    try:
        return seconds_of(str(document.content[key]))
    except InvalidInput as error:
        raise document.wrong(key, f"{key}: {error.message}", error.hint or "") from error


def _texts_by_name(document: Document, key: str) -> dict[str, str]:
    found = {}
    for name, value in document.mapping(key).items():
        if value is None or isinstance(value, (Mapping, list)):
            raise document.wrong(key, f"{name!r} of {key} is no text or number", f"write {name}: VALUE")
        found[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


def _one_of(kind: type[Serving] | type[Authentication] | type[OnFailure]) -> Reader:
    def read(document: Document, key: str) -> Any:
        names = [item.value for item in kind]
        value = document.text(key)
        if value not in names:
            raise document.wrong(key, f"{key} is {value!r}", f"write one of {', '.join(names)}")
        return kind(value)

    return read


def _autoscale(document: Document, key: str) -> Autoscale:
    value = document.content[key]
    if isinstance(value, str):
        return autoscale_of(value)
    names = {"min": "instances_min", "max": "instances_max", "requests": "requests_per_instance_target"}
    if not isinstance(value, Mapping) or set(value) != set(names):
        raise document.wrong(key, f"{key} is {value!r}", "write {min: 1, max: 4, requests: 100}")
    try:
        return msgspec.convert({names[name]: item for name, item in value.items()}, Autoscale)
    except msgspec.ValidationError as error:
        raise document.wrong(key, f"{key}: {error}", "write {min: 1, max: 4, requests: 100}") from error


def _percents(document: Document, key: str) -> tuple[int, ...]:
    value = document.content[key]
    if not isinstance(value, list) or not all(type(item) is int and 0 < item <= 100 for item in value):
        raise document.wrong(key, f"{key} is {value!r}", "write percents as a list: [5, 25, 100]")
    return tuple(value)


def _texts(document: Document, key: str) -> tuple[str, ...]:
    return document.texts(key)


def _list(document: Document, key: str) -> list[str]:
    return list(document.texts(key))


WHOLE_FILE = frozenset({"model", "target", "targets"})
READERS: Mapping[str, tuple[str, Reader]] = {
    "model": ("model", _text),
    "target": ("target", _text),
    "targets": ("targets", _text),
    "endpoint": ("endpoint", _text),
    "deployment": ("deployment", _text),
    "traffic": ("traffic_percent", _count),
    "mirror": ("mirror_percent", _count),
    "capture": ("capture_percent", _count),
    "instance_type": ("instance_type", _text),
    "instances": ("instance_count", _count),
    "autoscale": ("autoscale", _autoscale),
    "serving": ("serving", _one_of(Serving)),
    "memory": ("memory_mib", _count),
    "concurrency": ("concurrency_max", _count),
    "authentication": ("authentication", _one_of(Authentication)),
    "image": ("image", _text),
    "environment": ("environment", _text),
    "detailed_metrics": ("detailed_metrics", _switch),
    "alarms": ("alarms", _list),
    "env": ("variables", _texts_by_name),
    "timeout": ("request_timeout_s", _length),
    "options": ("options", _texts_by_name),
    "on_failure": ("on_failure", _one_of(OnFailure)),
    "preflight": ("has_preflight", _switch),
    "canary": ("canary", _percents),
    "bake": ("bake_s", _length),
    "bake_max": ("bake_s_max", _length),
    "guards": ("guards", _texts),
}
"""What may stand in a deployment file: the field that it is, and how it is read."""
_OF_REQUEST = frozenset(DeploymentRequest.__struct_fields__)
