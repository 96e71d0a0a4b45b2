"""Options of a deployment that only SageMaker has, and defaults of a place.

===========================  ================================================================================
``role``                     ARN of the role that the model runs with; else the option ``job_role`` of the
                             place, ``BRIDGE_SAGEMAKER_ROLE``, or that of the notebook
``subnets``                  ids with commas between, together with ``security_groups``: the network of a VPC
``network_isolation``        ``true``: the container reaches nobody
``volume_gb``                size of the instances' disk, 1 to 512
``model_timeout_s``          how long the model may take to be downloaded, 60 to 3600
``startup_timeout_s``        how long the container may take to answer its first ping, 60 to 3600
``routing``                  ``least_outstanding`` or ``random``: which instance gets a request
``provisioned_concurrency``  of a serverless deployment: how many requests it is kept warm for, 1 to 200
``output_path``              of an asynchronous deployment: where its answers lie, ``s3://…``
``success_topic``            and ``error_topic``: ARNs of SNS topics that are told of its answers
``update``                   how a new config takes over: ``all_at_once``, ``canary``, ``linear``, ``rolling``
``update_percent``           the first step of ``canary`` (1 to 50), each of ``linear`` (10 to 50) and
                             ``rolling`` (5 to 50), in percent of the capacity
``update_wait_s``            how long it bakes after each step, 0 to 3600
``termination_wait_s``       how long the old instances are kept besides, 0 to 3600
``update_timeout_s``         after how long SageMaker takes the update back, 600 to 28800
===========================  ================================================================================

The place's option ``image``, else ``BRIDGE_SAGEMAKER_SERVING_IMAGE``, is the image of deployments that name
none; ``job_instance_type`` their instance type.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from trackbridge.errors import Rejected
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.jobs_settings import JobSettings, job_settings
from trackbridge_adapters.sagemaker.registry_settings import registry_settings

IMAGE_VARIABLE = "BRIDGE_SAGEMAKER_SERVING_IMAGE"
UPDATES = ("all_at_once", "canary", "linear", "rolling")
STEPS = {"canary": (1, 50), "linear": (10, 50), "rolling": (5, 50)}
"""Bounds of a step in percent of the capacity, where there are steps."""
ROUTES = {"least_outstanding": "LEAST_OUTSTANDING_REQUESTS", "random": "RANDOM"}
_NUMBERS = {
    "volume_gb": (1, 512),
    "model_timeout_s": (60, 3600),
    "startup_timeout_s": (60, 3600),
    "provisioned_concurrency": (1, 200),
    "update_percent": (1, 50),
    "update_wait_s": (0, 3600),
    "termination_wait_s": (0, 3600),
    "update_timeout_s": (600, 28_800),
}
_FLAGS = {"true": True, "false": False}
_PATTERNS = {
    "role": re.compile(r"arn:aws[a-z-]{0,20}:iam::[0-9]{12}:role/[\w+=,.@/-]{1,512}", re.ASCII),
    "subnets": re.compile(r"subnet-[0-9a-f]+(?:,subnet-[0-9a-f]+)*"),
    "security_groups": re.compile(r"sg-[0-9a-f]+(?:,sg-[0-9a-f]+)*"),
    "output_path": re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/.{0,400})?"),
    "success_topic": re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]*:[0-9]{12}:[a-zA-Z0-9_.-]+"),
    "error_topic": re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]*:[0-9]{12}:[a-zA-Z0-9_.-]+"),
}
KNOWN = (*_PATTERNS, *_NUMBERS, "network_isolation", "routing", "update")


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What deployments of a place have where they do not say otherwise."""

    image: str
    jobs: JobSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one deployment, read."""

    role: str | None
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    network_isolation: bool
    numbers: Mapping[str, int]
    routing: str | None
    output_path: str | None
    topics: Mapping[str, str]
    update: str


def defaults_of(options: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> Defaults:
    """Read the options of a place.

    Raises:
        ConfigError: One is wrong.
    """
    image = registry_settings(options).image or environment.get(IMAGE_VARIABLE, "")
    return Defaults(image=image, jobs=job_settings(options, environment))


def options_of(options: Mapping[str, str]) -> Options:
    """Read the options of a deployment.

    Raises:
        Rejected: One is unknown or wrong.
    """
    for name, value in options.items():
        if name not in KNOWN:
            raise _wrong(f"there is no option {name[:80]!r}", f"use one of {', '.join(sorted(KNOWN))}")
        pattern = _PATTERNS.get(name)
        if pattern is not None and not pattern.fullmatch(value):
            raise _wrong(f"{name} is {value[:80]!r}", "check it: SageMaker would refuse this one")
    subnets, groups = _listed(options, "subnets"), _listed(options, "security_groups")
    if bool(subnets) != bool(groups):
        raise _wrong("subnets and security_groups go together", "give both, or neither")
    update = options.get("update", "all_at_once")
    _check_one("update", update, UPDATES)
    routing = options.get("routing")
    if routing is not None:
        _check_one("routing", routing, tuple(ROUTES))
    numbers = {name: _number(name, options[name]) for name in _NUMBERS if name in options}
    _check_update(update, numbers)
    isolated = options.get("network_isolation", "false")
    _check_one("network_isolation", isolated, tuple(_FLAGS))
    return Options(
        role=options.get("role"),
        subnets=subnets,
        security_groups=groups,
        network_isolation=_FLAGS[isolated],
        numbers=numbers,
        routing=ROUTES[routing] if routing is not None else None,
        output_path=options.get("output_path"),
        topics={name: options[name] for name in ("success_topic", "error_topic") if name in options},
        update=update,
    )


def _check_update(update: str, numbers: Mapping[str, int]) -> None:
    if update == "rolling" and "termination_wait_s" in numbers:
        raise _wrong("a rolling update keeps no old instances", "leave termination_wait_s out")
    if update not in STEPS:
        if "update_percent" in numbers:
            raise _wrong(
                "update_percent is for canary, linear and rolling", "leave it out, or say update=canary"
            )
        return
    least, most = STEPS[update]
    if not least <= numbers.get("update_percent", least) <= most:
        raise _wrong(f"update_percent is {numbers['update_percent']}", f"{update} takes {least} to {most}")


def _check_one(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise _wrong(f"{name} is {value[:40]!r}", f"use one of {', '.join(known)}")


def _number(name: str, text: str) -> int:
    least, most = _NUMBERS[name]
    if not re.fullmatch(r"[0-9]{1,6}", text) or not least <= int(text) <= most:
        raise _wrong(f"{name} is {text[:20]!r}", f"give a whole number from {least} to {most}")
    return int(text)


def _listed(options: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(filter(None, options.get(name, "").split(",")))


def _wrong(problem: str, hint: str) -> Rejected:
    return Rejected(problem, adapter=ADAPTER, operation="deployments.plan", hint=hint)
