"""Options of a remote, and the variables of AWS's own client, that say how a service of SageMaker is reached.

Options win. None of them holds a credential: those come from where AWS's tools find them.

=====================  ======================================  ==========================================
option                 variable                                what it is
=====================  ======================================  ==========================================
``profile``            ``AWS_PROFILE``                         a profile of ``~/.aws/config``
``role_arn``           ``SAGEMAKER_MLFLOW_ASSUME_ROLE_ARN``    a role to take on, also of another account
``external_id``                                                what that role asks for
``role_seconds``       ``SAGEMAKER_MLFLOW_ASSUME_ROLE_``       how long the role is taken on at a time:
                       ``TTL_SECONDS``                         900 to 43200, 3300 without it
``endpoint``           ``SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT``    where requests go instead
``ui_url``                                                     what people open in a browser, for links
``s3_region``                                                  of the bucket, where it is not the ARN's
``ca_file``            ``AWS_CA_BUNDLE``                       certificates that are trusted
``timeout_s``          ``MLFLOW_HTTP_REQUEST_TIMEOUT``         seconds to wait for an answer
``image``                                                      what serves models, in ECR; with it, models
                                                               that AWS registers can be deployed
``instance_types``                                             that the image may run on, with commas
=====================  ======================================  ==========================================

``AWS_ENDPOINT_URL`` leads all requests elsewhere, those to MLflow too; ``AWS_ENDPOINT_URL_S3`` (or
``MLFLOW_S3_ENDPOINT_URL``), ``AWS_ENDPOINT_URL_STS`` and ``AWS_ENDPOINT_URL_SAGEMAKER`` those to one service.
With ``AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true`` none of those that begin with ``AWS_`` counts.

``sagemaker:`` takes the same, less what is MLflow's own (``ui_url``, and variables that begin with
``SAGEMAKER_MLFLOW_`` or ``MLFLOW_HTTP_``), and ``region``, ``bucket`` and those of jobs (see ``place``,
``bucket`` and ``jobs_settings``); its ``endpoint`` stands for that of every service.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from trackbridge.errors import ConfigError
from trackbridge_adapters._mlflow_rest.options import existing_file, timeout_s
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.jobs_settings import JOB_OPTIONS

OPTIONS = frozenset(
    {
        "profile",
        "role_arn",
        "external_id",
        "role_seconds",
        "endpoint",
        "ui_url",
        "s3_region",
        "ca_file",
        "timeout_s",
        "image",
        "instance_types",
    }
)
REGISTRY_OPTIONS = frozenset({"image", "instance_types", "model_archive", "shared_groups"})
"""Those that ``registry_settings`` reads."""
PLACE_OPTIONS = (OPTIONS - {"ui_url"}) | {"region", "bucket"} | REGISTRY_OPTIONS | JOB_OPTIONS
"""Those of ``sagemaker:``."""
ROLE_SECONDS = 3300
ROLE_SECONDS_MIN, ROLE_SECONDS_MAX = 900, 43_200
"""What STS takes (AssumeRole, DurationSeconds)."""
_ROLE = re.compile(r"arn:(?P<partition>aws[a-z-]{0,20}):iam::[0-9]{12}:role/[\w+=,.@/-]{1,512}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{1,32}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class Location(Protocol):
    """What is reached: an ARN, or a place."""

    @property
    def text(self) -> str:
        """Its name, as users write it."""

    @property
    def partition(self) -> str:
        """For example ``aws``."""

    @property
    def region(self) -> str:
        """For example ``eu-west-1``."""

    @property
    def s3_url(self) -> str:
        """Where S3 is in its region."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a server or a place is reached, without any credential.

    ``endpoint`` stands for the server's own host, ``s3_endpoint`` for that of its bucket, ``services`` for
    that of each of AWS's services (None is AWS's own, or what AWS's variables say); ``has_control_plane``
    tells whether SageMaker itself can be asked about the server; ``bucket`` is the one that the user named.
    """

    profile: str | None
    role_arn: str | None
    external_id: str | None
    role_seconds: int
    endpoint: str | None
    has_control_plane: bool
    s3_endpoint: str | None
    s3_region: str
    ui_url: str | None
    verify: bool | str
    answer_s: float
    bucket: str | None = None
    services: str | None = None


def access_of(
    arn: Location, options: Mapping[str, str], environment: Mapping[str, str] = os.environ
) -> Access:
    """Read the options and the environment, for managed MLflow.

    Raises:
        ConfigError: An option is unknown or wrong.
    """
    _refuse_unknown(options, OPTIONS)

    def value(option: str, variable: str) -> str | None:
        return options.get(option) or environment.get(variable) or None

    configured = _configured(environment)
    custom = _address("endpoint", value("endpoint", "SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT"))
    everything = _address("AWS_ENDPOINT_URL", configured.get("AWS_ENDPOINT_URL"))
    return Access(
        profile=options.get("profile"),  # botocore reads the variable
        role_arn=_role(arn, value("role_arn", "SAGEMAKER_MLFLOW_ASSUME_ROLE_ARN")),
        external_id=_matching("external_id", options, _EXTERNAL_ID),
        role_seconds=_role_seconds(options, environment),
        endpoint=custom or everything,
        has_control_plane=not custom or bool(everything or configured.get("AWS_ENDPOINT_URL_SAGEMAKER")),
        s3_endpoint=_s3_endpoint(arn, environment, configured),
        s3_region=_matching("s3_region", options, _REGION) or arn.region,
        ui_url=_address("ui_url", options.get("ui_url")),
        verify=_ca_file(value("ca_file", "AWS_CA_BUNDLE")),
        answer_s=timeout_s(value("timeout_s", "MLFLOW_HTTP_REQUEST_TIMEOUT"), adapter=ADAPTER),
    )


def place_access(
    place: Location, options: Mapping[str, str], environment: Mapping[str, str] = os.environ
) -> Access:
    """Read the options and the environment, for ``sagemaker:``.

    Raises:
        ConfigError: An option is unknown or wrong.
    """
    _refuse_unknown(options, PLACE_OPTIONS)
    endpoint = _address("endpoint", options.get("endpoint") or None)
    region = options.get("region") or place.region
    if region != place.region:
        raise _wrong(f"the option region is {region[:40]!r}, the URI says {place.region}", "leave one out")
    return Access(
        profile=options.get("profile"),  # botocore reads the variable
        role_arn=_role(place, options.get("role_arn") or None),
        external_id=_matching("external_id", options, _EXTERNAL_ID),
        role_seconds=_role_seconds(options, {}),
        endpoint=None,
        has_control_plane=True,
        s3_endpoint=endpoint or _s3_endpoint(place, environment, _configured(environment)),
        s3_region=_matching("s3_region", options, _REGION) or place.region,
        ui_url=None,
        verify=_ca_file(options.get("ca_file") or environment.get("AWS_CA_BUNDLE") or None),
        answer_s=timeout_s(options.get("timeout_s"), adapter=ADAPTER),
        bucket=_matching("bucket", options, _BUCKET),
        services=endpoint,
    )


def _refuse_unknown(options: Mapping[str, str], known: frozenset[str]) -> None:
    unknown = sorted(set(options) - known)
    if unknown:
        raise _wrong(f"the option {unknown[0]!r} is unknown", f"known are {', '.join(sorted(known))}")


def _configured(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the addresses that AWS's variables configure, none where they are to be ignored."""
    if environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return {}
    return {
        name: value for name, value in environment.items() if name.startswith("AWS_ENDPOINT_URL") and value
    }


def _s3_endpoint(arn: Location, environment: Mapping[str, str], configured: Mapping[str, str]) -> str | None:
    for name in ("AWS_ENDPOINT_URL_S3", "MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL"):
        text = configured.get(name) if name.startswith("AWS_") else environment.get(name)
        if text:
            return _address(name, text)
    # Named where obstore, which knows one partition and reads the variables itself, would go elsewhere.
    ignored = not configured and any(name.startswith("AWS_ENDPOINT_URL") for name in environment)
    return arn.s3_url if ignored or arn.partition not in ("aws", "aws-us-gov") else None


def _role(arn: Location, text: str | None) -> str | None:
    if text is None:
        return None
    found = _ROLE.fullmatch(text)
    if found is None:
        raise _wrong(f"{text[:100]!r} is not the ARN of a role", "write arn:aws:iam::ACCOUNT:role/NAME")
    if found["partition"] != arn.partition:
        problem = f"the role is of the partition {found['partition']}, {arn.text} of {arn.partition}"
        raise _wrong(problem, "take a role of the same partition: no role crosses them")
    return text


def _matching(option: str, options: Mapping[str, str], pattern: re.Pattern[str]) -> str | None:
    text = options.get(option)
    if text and not pattern.fullmatch(text):
        raise _wrong(f"{option} is {text[:40]!r}", "check it: AWS would refuse this one")
    return text or None


def _role_seconds(options: Mapping[str, str], environment: Mapping[str, str]) -> int:
    text = options.get("role_seconds")
    if text is None:  # AWS's client moves the variable into its own bounds instead of refusing it
        told = environment.get("SAGEMAKER_MLFLOW_ASSUME_ROLE_TTL_SECONDS", "")
        seconds = int(told) if told.isdecimal() else ROLE_SECONDS
        return min(max(seconds, ROLE_SECONDS_MIN), ROLE_SECONDS_MAX)
    if not text.isdecimal() or not ROLE_SECONDS_MIN <= int(text) <= ROLE_SECONDS_MAX:
        raise _wrong(f"role_seconds is {text[:20]!r}", f"give {ROLE_SECONDS_MIN} to {ROLE_SECONDS_MAX}")
    return int(text)


def _address(name: str, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
        is_good = is_good and not parts.query and not parts.fragment and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        raise _wrong(f"{name} is not an address without credentials", f"write {name}=https://HOST[:PORT]")
    return text.rstrip("/")


def _ca_file(path: str | None) -> bool | str:
    return existing_file(path, adapter=ADAPTER, hint="check ca_file and AWS_CA_BUNDLE") or True


def _wrong(message: str, hint: str) -> ConfigError:
    return ConfigError(message, adapter=ADAPTER, hint=hint)
