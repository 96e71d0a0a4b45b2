"""The two kinds of managed MLflow, and what an ARN says of one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from trackbridge.errors import ConfigError

ADAPTER = "sagemaker"
_ARN = re.compile(
    r"arn:(?P<partition>aws[a-z-]{0,20}):sagemaker:(?P<region>[a-z0-9-]{1,32}):(?P<account>[0-9]{12}):"
    r"(?P<kind>mlflow-tracking-server|mlflow-app)/(?P<name>[A-Za-z0-9][A-Za-z0-9-]{0,255})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How one kind is reached (sagemaker-mlflow 0.5: where requests go, what routes and signs them)."""

    host: str
    header: str
    signing_name: str


KINDS = {
    "mlflow-tracking-server": Kind(
        host="{region}.experiments.sagemaker.{suffix}",
        header="x-mlflow-sm-tracking-server-arn",
        signing_name="sagemaker-mlflow",
    ),
    "mlflow-app": Kind(
        host="mlflow.sagemaker.{region}.app.{suffix}",
        header="x-sm-mlflow-app-arn",
        signing_name="sagemaker",
    ),
}
DOCUMENTED = frozenset({"aws", "aws-us-gov"})
"""Partitions whose hosts AWS's own client knows (sagemaker-mlflow 0.5; it refuses the others)."""

SUFFIXES = {
    "aws": ("aws", "amazonaws.com"),
    "aws-us-gov": ("aws", "amazonaws.com"),
    "aws-cn": ("amazonaws.cn", "amazonaws.com.cn"),
    "aws-iso": ("c2s.ic.gov", "c2s.ic.gov"),
    "aws-iso-b": ("sc2s.sgov.gov", "sc2s.sgov.gov"),
    "aws-iso-e": ("cloud.adc-e.uk", "cloud.adc-e.uk"),
    "aws-iso-f": ("csp.hci.ic.gov", "csp.hci.ic.gov"),
    "aws-eusc": ("amazonaws.eu", "amazonaws.eu"),
}
"""What names of MLflow's hosts end with, and what those of the other services do (botocore, endpoints.json),
by partition. Beyond ``DOCUMENTED`` the first is a guess, which the option ``endpoint`` overrides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowArn:
    """A tracking server or an app."""

    text: str
    partition: str
    region: str
    account: str
    kind: Kind
    kind_name: str
    name: str

    @property
    def url(self) -> str:
        """Where its routes begin."""
        return f"https://{self.kind.host.format(region=self.region, suffix=SUFFIXES[self.partition][0])}"

    @property
    def s3_url(self) -> str:
        """Where S3 is in the server's region."""
        return f"https://s3.{self.region}.{SUFFIXES[self.partition][1]}"

    @property
    def command(self) -> str:
        """The command that lists what there is of this kind in the region."""
        return f"aws sagemaker list-{self.kind_name}s --region {self.region}"


def parse_arn(text: str) -> MlflowArn:
    """Read an ARN.

    Raises:
        ConfigError: It is something else, or of a partition that is not known.
    """
    found = _ARN.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"{text[:100]!r} is not the ARN of a managed MLflow server or app",
            adapter=ADAPTER,
            hint="write arn:aws:sagemaker:REGION:ACCOUNT:mlflow-tracking-server/NAME, or …:mlflow-app/ID",
        )
    if found["partition"] not in SUFFIXES:
        raise ConfigError(
            f"the partition {found['partition']!r} is not known",
            adapter=ADAPTER,
            hint=f"known are {', '.join(SUFFIXES)}",
        )
    return MlflowArn(
        text=text,
        partition=found["partition"],
        region=found["region"],
        account=found["account"],
        kind=KINDS[found["kind"]],
        kind_name=found["kind"],
        name=found["name"],
    )
