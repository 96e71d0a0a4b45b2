"""The input channels of jobs: checked when a job is made, downloaded when it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Cloud, Refused
from trackbridge.testing.emulators.sagemaker.jobs_rules import check_region
from trackbridge.testing.emulators.sagemaker.jobs_runs import Failed
from trackbridge.testing.emulators.sagemaker.storage import Place, download, objects, place_of


def refuse(message: str) -> Refused:
    """Return a ValidationException."""
    return Refused("ValidationException", message)


def check_source(cloud: Cloud, source: Mapping[str, Any], role: str) -> None:
    """Refuse a source in S3 that holds nothing.

    Raises:
        Refused: There is nothing, or it is a kind of source that the emulator does not have.
    """
    kind = source["S3DataType"]
    if kind not in ("S3Prefix", "ManifestFile"):
        raise refuse(f"The emulator has no inputs of the type {kind}; it has S3Prefix and ManifestFile")
    check_region(cloud, place_of(source["S3Uri"]), "the input data source")
    if objects(cloud, source["S3Uri"], is_manifest=kind == "ManifestFile"):
        return
    bucket = source["S3Uri"].partition("://")[2].partition("/")[0]
    raise refuse(
        f'No S3 objects found under S3 URL "{source["S3Uri"]}" given in input data source. Please ensure '
        f"that the bucket exists in the selected region ({cloud.region}), that objects exist under that S3 "
        f'prefix, and that the role "{role}" has "s3:ListBucket" permissions on bucket "{bucket}".'
    )


def check_channels(cloud: Cloud, channels: Sequence[Mapping[str, Any]], mode: str, role: str) -> None:
    """Refuse input channels that a training job cannot have.

    Args:
        cloud: Where the data is.
        channels: ``InputDataConfig``.
        mode: ``TrainingInputMode``.
        role: The job's role, for what is told.

    Raises:
        Refused: A name twice, a source that holds nothing, or something the emulator does not have.
    """
    names = [channel["ChannelName"] for channel in channels]
    if len(names) != len(set(names)):
        raise refuse(f"Channel names must be unique: {names}")
    for channel in channels:
        if channel.get("InputMode", mode) == "Pipe":
            raise refuse("The emulator has no Pipe mode; use File or FastFile")
        source = channel["DataSource"].get("S3DataSource")
        if source is None:
            raise refuse(f"The emulator reads channels from S3 only, not {sorted(channel['DataSource'])}")
        check_source(cloud, source, role)


def fetch(cloud: Cloud, source: Mapping[str, Any], folder: Path, host: int, hosts: int) -> int:
    """Download a source for one of several hosts; returns how many bytes it is.

    With ``ShardedByS3Key`` every host gets its share of the objects.

    Raises:
        Failed: The objects cannot lie in one folder.
    """
    found = objects(cloud, source["S3Uri"], is_manifest=source["S3DataType"] == "ManifestFile")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return download(cloud, _share(found, source, host, hosts), folder)
    except OSError as error:
        raise Failed(f"ClientError: Data download failed: {error}") from error


def _share(found: dict[str, Place], source: Mapping[str, Any], host: int, hosts: int) -> dict[str, Place]:
    if source.get("S3DataDistributionType", "FullyReplicated") == "FullyReplicated":
        return found
    return {path: place for number, (path, place) in enumerate(found.items()) if number % hosts == host}
