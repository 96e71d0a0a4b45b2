"""docs/sagemaker.md says what the code does: the policy, the options, the limits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from trackbridge_adapters.sagemaker import deployments_options
from trackbridge_adapters.sagemaker.config import PLACE_OPTIONS
from trackbridge_adapters.sagemaker.jobs_kinds import KINDS
from trackbridge_adapters.sagemaker.limits import (
    COMPONENTS_PER_TRIAL,
    TRIALS_PER_EXPERIMENT,
    limit_of,
    loader,
)

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/sagemaker.md").read_text(encoding="utf-8")
SOURCES = sorted((ROOT / "adapters/trackbridge_adapters/sagemaker").glob("*.py"))
NOT_THE_PLACES = frozenset({"health.py", "limits.py"})
"""Files whose operations are managed MLflow's, or none."""
IN_S3 = {
    "s3:AbortMultipartUpload",
    "s3:CreateBucket",
    "s3:DeleteObject",
    "s3:GetObject",
    "s3:ListBucket",
    "s3:ListMultipartUploadParts",
    "s3:PutObject",
}
"""What obstore's calls and HeadBucket need."""

COMPONENT = ("sagemaker", "CreateTrialComponent")


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section {title!r}"
    return found[1]


def policy(number: int = 0) -> set[str]:
    texts = re.findall(r"```json\n(.*?)```", section("What your role needs"), re.DOTALL)
    return {action for statement in json.loads(texts[number])["Statement"] for action in statement["Action"]}


def called() -> set[str]:
    """Return what the adapter calls, as actions of IAM: names of operations that stand in its code."""
    operations = {
        name: service
        for service in ("sagemaker", "sagemaker-metrics", "sts")
        for name in loader().load_service_model(service, "service-2")["operations"]
    }
    code = "\n".join(
        path.read_text()
        for path in SOURCES
        if path.name not in NOT_THE_PLACES and not path.name.startswith(("jobs", "deployments"))
    )
    named = {name for name in re.findall(r'"([A-Z][A-Za-z]+)"', code) if name in operations}
    return {f"{operations[name].removesuffix('-metrics')}:{name}" for name in named}


def test_the_policy_allows_what_is_called_and_no_more() -> None:
    assert policy() - IN_S3 == called()
    assert policy() >= IN_S3


def test_the_policy_of_jobs_allows_what_is_called_and_no_more() -> None:
    code = "\n".join(path.read_text() for path in SOURCES if path.name.startswith("jobs"))
    named = re.findall(
        r'call\(\s*"(logs|ecr|iam|sts|secretsmanager|ssm|service-quotas)",\s*"([A-Za-z]+)"', code
    )
    verbs = {*re.findall(r'f"(Describe|Stop|List)\{kind.word\}Jobs?"', code), "Create"}
    assert verbs == {"Create", "Describe", "Stop", "List"}
    of_jobs = {
        f"sagemaker:{verb}{kind.word}Job{'s' if verb == 'List' else ''}"
        for verb in verbs
        for kind in KINDS.values()
    }
    besides = {"sagemaker:Search", "sagemaker:AddTags"}  # for the tags of a job that is made
    told = {f"{service.replace('-', '')}:{operation}" for service, operation in named}
    assert policy(1) == told | of_jobs | besides


def test_the_policy_of_deployments_allows_what_is_called_and_no_more() -> None:
    code = "\n".join(path.read_text() for path in SOURCES if path.name.startswith("deployments"))
    named = set(re.findall(r'"([A-Z][A-Za-z]+)"', code))
    services = ("sagemaker", "sagemaker-runtime", "application-autoscaling", "cloudwatch", "logs")
    told = {
        f"{service.removesuffix('-runtime')}:{name}"
        for service in services
        for name in loader().load_service_model(service, "service-2")["operations"]
        if name in named
    }
    shared = {"ecr:BatchGetImage", "iam:GetRole", "servicequotas:ListServiceQuotas", "sts:GetCallerIdentity"}
    besides = {"sagemaker:AddTags"}  # for the tags of what is made
    assert policy(2) == told | shared | besides


def test_every_option_of_a_deployment_is_told() -> None:
    text = section("Deployments")
    assert [name for name in deployments_options.KNOWN if f"`{name}`" not in text] == []


def test_every_option_is_told() -> None:
    rows = re.findall(r"^\| (`[a-z0-9_`, ]+) \|", section("Options") + section("Models"), re.MULTILINE)
    told = {option for row in rows for option in re.findall(r"`(\w+)`", row)}
    assert told >= PLACE_OPTIONS
    assert told - PLACE_OPTIONS == set()


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("names of experiments, trials, components", ("sagemaker", "CreateExperiment", "ExperimentName")),
        ("a description of an experiment", ("sagemaker", "CreateExperiment", "Description")),
        ("parameters of a component", (*COMPONENT, "Parameters")),
        ("a parameter's key", (*COMPONENT, "Parameters.key")),
        ("a parameter's text", (*COMPONENT, "Parameters.value.StringValue")),
        ("inputs, and outputs, of a component", (*COMPONENT, "OutputArtifacts")),
        ("tags", (*COMPONENT, "Tags")),
        ("points in a call", ("sagemaker-metrics", "BatchPutMetrics", "MetricData")),
        ("names of package groups", ("sagemaker", "CreateModelPackageGroup", "ModelPackageGroupName")),
        (
            "customer metadata of a package",
            ("sagemaker", "CreateModelPackage", "CustomerMetadataProperties"),
        ),
        (
            "description of a group or a package",
            ("sagemaker", "CreateModelPackage", "ModelPackageDescription"),
        ),
        ("text of a model card", ("sagemaker", "CreateModelPackage", "ModelCard.ModelCardContent")),
    ],
)
def test_limits_are_those_of_the_model(words: str, field: tuple[str, str, str]) -> None:
    row = re.search(rf"^\| {re.escape(words)} \| (\d+)", section("Limits"), re.MULTILINE)
    assert row, words
    assert int(row[1]) == limit_of(*field, "max")


def test_quotas_are_those_of_the_code() -> None:
    runs = TRIALS_PER_EXPERIMENT * COMPONENTS_PER_TRIAL
    assert f"{TRIALS_PER_EXPERIMENT} and {COMPONENTS_PER_TRIAL}: {runs:,} runs" in section("Limits")


def test_every_place_of_records_is_told() -> None:
    from trackbridge_adapters.sagemaker import run_records

    places: list[Any] = [run_records.RUNS, run_records.LISTINGS, run_records.EXPERIMENTS, run_records.NAMES]
    told = section("What is kept where")
    assert [place for place in places if f"`{place}/" not in told] == []


def test_commands_and_targets_that_are_named_exist() -> None:
    from trackbridge.cli.main import COMMANDS

    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", TEXT)) <= targets
    assert set(re.findall(r"bridge ([a-z]+) ", TEXT)) <= set(COMMANDS)
