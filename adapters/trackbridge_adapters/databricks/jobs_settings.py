"""Options for jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from trackbridge.errors import ConfigError
from trackbridge_adapters.databricks.config import ADAPTER

NOTICE_S = 30.0
NOTICE_S_MAX = 3600.0
FOLDER_HINT = (
    "set the option job_folder=/Volumes/CATALOG/SCHEMA/VOLUME/FOLDER, with a volume that you may write"
)

_FOLDER = re.compile(r"(?:dbfs:)?(/Volumes(?:/[^/\x00-\x1f]+){3,})/?")


class Cloud(str, Enum):
    """Whose machines a workspace hires; the value is the field of a cluster for what is the cloud's own."""

    AWS = "aws_attributes"
    AZURE = "azure_attributes"
    GCP = "gcp_attributes"


SPOT: Mapping[Cloud, Mapping[str, object]] = {
    Cloud.AWS: {"availability": "SPOT_WITH_FALLBACK", "first_on_demand": 0},
    Cloud.AZURE: {"availability": "SPOT_WITH_FALLBACK_AZURE", "first_on_demand": 0},
    Cloud.GCP: {"availability": "PREEMPTIBLE_WITH_FALLBACK_GCP"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """Where the files of jobs lie (None: jobs cannot be submitted), and on what they run."""

    cloud: Cloud
    folder: str | None = None
    node_type: str | None = None
    spark_version: str | None = None
    notice_s: float = NOTICE_S


def job_settings_of(options: Mapping[str, str], host: str) -> JobSettings:
    """Read the options; the cloud is known by the host.

    Raises:
        ConfigError: One is wrong.
    """
    folder = options.get("job_folder")
    match = _FOLDER.fullmatch(folder) if folder is not None else None
    if folder is not None and (match is None or any(part in (".", "..") for part in folder.split("/"))):
        raise ConfigError(
            f"job_folder is {folder!r}, no folder of a volume", adapter=ADAPTER, hint=FOLDER_HINT
        )
    return JobSettings(
        cloud=_cloud_of(host),
        folder=match[1] if match is not None else None,
        node_type=options.get("job_node_type"),
        spark_version=options.get("job_spark_version"),
        notice_s=_notice_s(options.get("job_notice_s")),
    )


def _cloud_of(host: str) -> Cloud:
    if ".azuredatabricks." in host or ".databricks.azure." in host:
        return Cloud.AZURE
    return Cloud.GCP if ".gcp.databricks." in host else Cloud.AWS


def _notice_s(text: str | None) -> float:
    if text is None:
        return NOTICE_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= NOTICE_S_MAX:
        raise ConfigError(
            f"job_notice_s is {text!r}, no number of seconds from 0 to {NOTICE_S_MAX:.0f}",
            adapter=ADAPTER,
            hint=f"leave it out for {NOTICE_S:.0f}",
        )
    return seconds
