"""What is emulated and what not, as data: printed by ``--calls``, and held true by a test."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from trackbridge.testing.emulators.sagemaker.operations import PACKAGE, TABLES

OWN, MOTO, ABSENT = "own", "moto", "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A part of AWS, how it is there, and where it differs from AWS.

    ``how`` is ``own`` (the emulator answers itself, with AWS's limits), ``moto`` (moto answers; its looseness
    is told) or ``no`` (``UnknownOperationException``). ``module`` has the operations of one's own.
    """

    name: str
    how: str
    note: str
    module: str = ""

    def operations(self) -> tuple[str, ...]:
        """Return AWS's names of the operations that the emulator has itself."""
        if not self.module:
            return ()
        module = import_module(f"{PACKAGE}.{self.module}")
        tables = (getattr(module, table, {}) for table in TABLES.values())
        return tuple(sorted({name for table in tables for name in table}))


AREAS = (
    Area(
        name="Experiments",
        how=OWN,
        module="experiments",
        note="names without regard to case; 300 trials an experiment, 50 components a trial",
    ),
    Area(name="Tags", how=OWN, module="tagging", note="50 a resource; of what the emulator has itself"),
    Area(
        name="Metrics",
        how=OWN,
        module="metrics",
        note="errors inside a 200; times from 14 days ago to 2 hours ahead; history by BatchGetMetrics",
    ),
    Area(
        name="Search",
        how=OWN,
        module="search",
        note="filters, nested filters, sub-expressions, order, pages; finds at once what AWS finds later",
    ),
    Area(
        name="Model registry",
        how=OWN,
        module="registry",
        note="groups, versions, approval, life cycle, cards, policies; model data is looked for in S3",
    ),
    Area(
        name="Jobs",
        how=OWN,
        module="jobs",
        note="the container's command runs as a process of this machine, with the user's rights; "
        "an image is never pulled; the role must be in IAM, an image of the account in ECR or declared",
    ),
    Area(name="Models", how=OWN, module="models", note="containers and model packages; no image is pulled"),
    Area(name="Endpoint configs", how=OWN, module="endpoint_configs", note="instances are only counted"),
    Area(
        name="Endpoints",
        how=OWN,
        module="endpoints",
        note="the serve command runs as a process; life cycles take seconds, not minutes; "
        "blue/green with rollback on alarms",
    ),
    Area(name="Inference components", how=OWN, module="inference_components", note="copies are only counted"),
    Area(
        name="Invocations",
        how=OWN,
        module="invocations",
        note="at once, asynchronous and streamed; capture, metrics and logs are written",
    ),
    Area(
        name="Application Auto Scaling",
        how=MOTO,
        module="autoscaling",
        note="targets must exist; policies are kept, and nothing scales by itself",
    ),
    Area(
        name="Service Quotas",
        how=OWN,
        module="service_quotas",
        note="how many instances of each type SageMaker's jobs and endpoints may have",
    ),
    Area(
        name="STS",
        how=OWN,
        note="roles, also by web identity, session tokens and who one is; a role must be allowed first",
    ),
    Area(
        name="S3",
        how=MOTO,
        note="signatures, regions, owners and conditional writes as AWS; of a policy only whom it names",
    ),
    Area(name="Secrets Manager and SSM", how=MOTO, note="secrets and parameters, for programs of jobs too"),
    Area(
        name="CloudWatch and Logs",
        how=MOTO,
        note="percentiles and trimmed counts by GetMetricData; "
        "alarms do not look at data, but for those that guard a deployment: use SetAlarmState",
    ),
    Area(name="IAM and ECR", how=MOTO, note="policies are kept, not enforced; rights are taken by deny()"),
    Area(
        name="Tuning jobs, pipelines, model cards, notebooks, clusters",
        how=MOTO,
        note="limits of requests are enforced; life cycles are moto's",
    ),
    Area(
        name="Other accounts",
        how=OWN,
        note="have buckets, and groups of models by ARN, as policies let them; all else they share",
    ),
    Area(name="Managed MLflow servers and apps", how=ABSENT, note="the emulator of signed MLflow does that"),
    Area(
        name="Lineage, Feature Store, Clarify, Model Monitor, Studio, Edge, labelling",
        how=ABSENT,
        note="UnknownOperationException, unless moto has the operation",
    ),
)


def rows() -> list[tuple[str, str, str, str]]:
    """Return what is to be printed: area, how, number of operations of one's own, note."""
    return [(area.name, area.how, str(len(area.operations()) or ""), area.note) for area in AREAS]
