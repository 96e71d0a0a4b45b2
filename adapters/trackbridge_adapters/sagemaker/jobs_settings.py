"""Options of a place that are of its jobs; none of them holds a credential.

=========================  ==========================  ==================================================
option                     variable                    what it is
=========================  ==========================  ==================================================
``job_role``               ``BRIDGE_SAGEMAKER_ROLE``   the role that jobs run with; inside SageMaker, the
                                                       notebook's own without it
``job_image``              ``BRIDGE_SAGEMAKER_IMAGE``  the image of jobs that name none
``job_instance_type``                                  of jobs that name none: ``ml.m5.large``
``job_volume_gb``                                      of the disk of each machine: 30
``job_subnets``                                        where machines are, with commas
``job_security_groups``                                of machines in subnets, with commas
``job_notice_s``                                       seconds that a program has after SIGTERM: 100, of
                                                       the 120 that SageMaker gives
``job_logs_late_s``                                    seconds after a job's end in which CloudWatch may
                                                       still get lines of it: 15
=========================  ==========================  ==================================================
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from trackbridge.errors import ConfigError
from trackbridge_adapters.sagemaker.arn import ADAPTER

JOB_OPTIONS = frozenset(
    {
        "job_role",
        "job_image",
        "job_instance_type",
        "job_volume_gb",
        "job_subnets",
        "job_security_groups",
        "job_notice_s",
        "job_logs_late_s",
    }
)
INSTANCE_TYPE = "ml.m5.large"
"""The cheapest type that training jobs, spot capacity and processing jobs all can have."""
VOLUME_GB = 30
NOTICE_S, NOTICE_S_MAX = 100.0, 115.0
"""SageMaker kills 120 s after SIGTERM; the rest is for the copying of what the program left."""
LOGS_LATE_S = 15.0
ROLE_VARIABLE, IMAGE_VARIABLE = "BRIDGE_SAGEMAKER_ROLE", "BRIDGE_SAGEMAKER_IMAGE"
_ROLE = re.compile(r"arn:aws[a-z-]{0,20}:iam::[0-9]{12}:role/[\w+=,.@/-]{1,512}", re.ASCII)
_SUBNET = re.compile(r"[-0-9a-zA-Z]{1,32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """How jobs of a place run where they do not say otherwise."""

    role: str | None = None
    image: str | None = None
    instance_type: str = INSTANCE_TYPE
    volume_gb: int = VOLUME_GB
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    notice_s: float = NOTICE_S
    logs_late_s: float = LOGS_LATE_S


def job_settings(options: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> JobSettings:
    """Read the options and the environment.

    Raises:
        ConfigError: An option is wrong.
    """
    subnets, groups = _listed(options, "job_subnets"), _listed(options, "job_security_groups")
    if bool(subnets) != bool(groups):
        raise _wrong("job_subnets and job_security_groups go together", "give both, or neither")
    return JobSettings(
        role=_role(options.get("job_role") or environment.get(ROLE_VARIABLE) or None),
        image=options.get("job_image") or environment.get(IMAGE_VARIABLE) or None,
        instance_type=options.get("job_instance_type") or INSTANCE_TYPE,
        volume_gb=int(_number(options, "job_volume_gb", VOLUME_GB, 1, 16_384)),
        subnets=subnets,
        security_groups=groups,
        notice_s=_number(options, "job_notice_s", NOTICE_S, 0.0, NOTICE_S_MAX),
        logs_late_s=_number(options, "job_logs_late_s", LOGS_LATE_S, 0.0, 600.0),
    )


def _role(text: str | None) -> str | None:
    if text is not None and not _ROLE.fullmatch(text):
        raise _wrong(f"{text[:100]!r} is not the ARN of a role", "write arn:aws:iam::ACCOUNT:role/NAME")
    return text


def _listed(options: Mapping[str, str], name: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in options.get(name, "").split(",") if part.strip())
    for part in found:
        if not _SUBNET.fullmatch(part):
            raise _wrong(f"{name} has {part[:40]!r}", "write their ids, with commas between them")
    return found


def _number(options: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    text = options.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise _wrong(f"{name} is {text[:20]!r}", f"give a number from {least:g} to {most:g}")
    return value


def _wrong(problem: str, hint: str) -> ConfigError:
    return ConfigError(problem, adapter=ADAPTER, hint=hint)
