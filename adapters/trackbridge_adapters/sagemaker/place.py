"""Where ``sagemaker:`` is: a region of AWS, and a prefix that sets a team's experiments apart.

::

    sagemaker:                    the region of option region, AWS_REGION, AWS_DEFAULT_REGION, or the profile
    sagemaker://eu-west-1         that region
    sagemaker://eu-west-1/team    and names of experiments begin with team-, records lie below that prefix
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trackbridge.errors import ConfigError
from trackbridge_adapters.sagemaker.arn import ADAPTER, SUFFIXES

FROM_SURROUNDINGS = "sagemaker:"
_PLACE = re.compile(
    r"sagemaker://(?P<region>[a-z0-9-]{1,32})(?:/(?P<prefix>[A-Za-z0-9][A-Za-z0-9-]{0,119}))?"
)
_REGION = re.compile(r"[a-z]{2,8}(?:-[a-z]{2,16}){1,3}-[0-9]{1,2}")
_PARTITIONS = (
    (re.compile(r"cn-"), "aws-cn"),
    (re.compile(r"us-gov-"), "aws-us-gov"),
    (re.compile(r"us-isob-"), "aws-iso-b"),
    (re.compile(r"us-iso-"), "aws-iso"),
    (re.compile(r"eu-isoe-"), "aws-iso-e"),
    (re.compile(r"(?:us|eu)-isof-"), "aws-iso-f"),
    (re.compile(r"eusc-"), "aws-eusc"),
)
"""How names of regions begin outside of the partition ``aws`` (botocore, partitions.json)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A region with a prefix; "" is none."""

    region: str
    partition: str
    prefix: str = ""

    @property
    def text(self) -> str:
        """The URI, which means the same everywhere."""
        return f"sagemaker://{self.region}" + (f"/{self.prefix}" if self.prefix else "")

    @property
    def s3_url(self) -> str:
        """Where S3 is in the region."""
        return f"https://s3.{self.region}.{SUFFIXES[self.partition][1]}"

    @property
    def folder(self) -> str:
        """The prefix of all keys of ours in a bucket, without a slash at its end.

        Those of a place with a prefix lie apart from what a place without one has: ``runs`` may be a prefix.
        """
        return f"trackbridge/at/{self.prefix}" if self.prefix else "trackbridge"


def parse_place(uri: str, options: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> Place:
    """Read a tracking URI; reads the file of profiles where nothing else names a region, contacts nobody.

    Raises:
        ConfigError: The URI is something else, or nothing names a region.
    """
    found = _PLACE.fullmatch(uri)
    if found is not None:
        return place_in(found["region"], found["prefix"] or "")
    if uri not in ("sagemaker", FROM_SURROUNDINGS):
        raise ConfigError(
            f"{uri[:100]!r} is not a place of SageMaker",
            adapter=ADAPTER,
            hint="write sagemaker: or sagemaker://REGION[/PREFIX], for example sagemaker://eu-west-1",
        )
    region = (
        options.get("region")
        or environment.get("AWS_REGION")
        or environment.get("AWS_DEFAULT_REGION")
        or _region_of_profile(options, environment)
    )
    if not region:
        raise ConfigError(
            "nothing says which region of AWS is meant",
            adapter=ADAPTER,
            hint=(
                "write sagemaker://REGION, or set AWS_REGION: export AWS_REGION=eu-west-1; "
                "for the emulator, type this in the shell of: bridge emulate sagemaker"
            ),
        )
    return place_in(region)


def place_in(region: str, prefix: str = "") -> Place:
    """Return a place of a region.

    Raises:
        ConfigError: That is no region's name.
    """
    if not _REGION.fullmatch(region):
        raise ConfigError(
            f"{region[:40]!r} is not a region of AWS", adapter=ADAPTER, hint="write one such as eu-west-1"
        )
    partition = next((name for pattern, name in _PARTITIONS if pattern.match(region)), "aws")
    return Place(region=region, partition=partition, prefix=prefix)


def canonical_uri(
    uri: str, *, options: Mapping[str, str], environment: Mapping[str, str], folder: Path
) -> str:
    """Return ``sagemaker:`` with the region that it means here; any other URI stays.

    Raises:
        ConfigError: Nothing names a region.
    """
    return parse_place(uri, options, environment).text if uri == FROM_SURROUNDINGS else uri


def _region_of_profile(options: Mapping[str, str], environment: Mapping[str, str]) -> str | None:
    """Return the region of the profile in use; None where the file does not tell."""
    profile = options.get("profile") or environment.get("AWS_PROFILE") or "default"
    file = Path(environment.get("AWS_CONFIG_FILE") or "~/.aws/config").expanduser()
    parsed = configparser.RawConfigParser(strict=False)
    try:
        parsed.read(file, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError):
        return None  # botocore says what is wrong with it when the credentials are asked for
    section = profile if profile == "default" and parsed.has_section("default") else f"profile {profile}"
    return parsed.get(section, "region", fallback="").strip() or None
