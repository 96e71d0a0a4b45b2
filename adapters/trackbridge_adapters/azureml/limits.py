"""What Azure ML holds, with the source of each row, told before anything is sent.

A hard limit is enforced by the service: what breaks it is refused here. A soft one is documented, and nobody
has seen it enforced: what breaks it is sent, with a warning.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from trackbridge.errors import Rejected
from trackbridge_adapters.azureml.clouds import ADAPTER

MFE = "mfe.json 2024-04-01, Azure/azure-rest-api-specs"
RESOURCES = "learn.microsoft.com, resource-limits-capacity"
REGISTRIES = "azure-ai-ml 1.29, _restclient/v2021_10_01_dataplanepreview"
NAME = r"[a-zA-Z0-9][a-zA-Z0-9\-_]{0,254}"
NAME_IN_WORDS = "use letters, digits, '-' and '_', at most 255, a letter or digit first"
SHOWN_CHARS_MAX = 60


class AzureLimitWarning(UserWarning):
    """A limit that Azure documents and that nobody has seen enforced is passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One row.

    Args:
        source: Where it is written, or was seen.
        most: Of a length in characters, or of a number of things.
        pattern: Of the whole text.
        advice: What to do.
        is_hard: Whether the service enforces it.
    """

    source: str
    most: int | None = None
    pattern: str | None = None
    advice: str = "make it shorter"
    is_hard: bool = True


LIMITS: Mapping[str, Limit] = {
    "asset.name": Limit(source=MFE, pattern=NAME, advice=NAME_IN_WORDS),
    "registry.asset.name": Limit(
        source=f"{REGISTRIES}: versions of models",
        pattern=r"(?![\-_.])[a-zA-Z0-9\-_.]{1,255}(?<!\.)",
        advice="use letters, digits, '-', '_' and '.', at most 255, a letter or digit first",
    ),
    "registry.model.name": Limit(
        source=f"{REGISTRIES}: models without a version",
        pattern=NAME,
        advice=f"{NAME_IN_WORDS}; one with '.' comes with its first version alone, of azure-ai-ml, say: "
        "further versions can then be registered",
    ),
    "asset.version": Limit(
        source=f"{MFE}; azure-ai-ml writes it into the path as it is",
        pattern=NAME.replace(r"\-_", r"\-_."),
        advice="use letters, digits, '-', '_' and '.', at most 255",
    ),
    "datastore.name": Limit(source=MFE, pattern=NAME, advice=NAME_IN_WORDS),
    "registry.name": Limit(
        source="registries.json",
        pattern=r"[a-zA-Z0-9][a-zA-Z0-9_-]{2,32}",
        advice="use 3 to 33 letters, digits, '-' and '_', a letter or digit first",
    ),
    "model.name": Limit(source=MFE, pattern=NAME, advice=NAME_IN_WORDS, is_hard=False),
    "model.files": Limit(
        source=RESOURCES, most=1500, advice="pack the files: a version of a model has at most 1,500"
    ),
    "experiment.name": Limit(source=RESOURCES, most=256),
    "experiment.tags": Limit(source=RESOURCES, most=50, advice="use fewer tags"),
    "run.tags": Limit(source=RESOURCES, most=50, advice="use fewer tags"),
    "run.tag.key": Limit(
        source="mlflow#2441: FieldName=Tags/Key, Limit=100; resource-limits-capacity says 1,000", most=100
    ),
    "run.tag.value": Limit(source=RESOURCES, most=1000),
    "run.params": Limit(source="FieldName=Parameters, Limit=200", most=200, advice="use fewer params"),
    "run.param.value": Limit(source=RESOURCES, most=1000),
    "metric.name": Limit(source=RESOURCES, most=255),
    "metric.names": Limit(
        source=RESOURCES, most=50, advice="log fewer metrics, or more of one run's in another", is_hard=False
    ),
    "batch.points": Limit(
        source="MetricV2Dto.Value/Count, Limit=250 (mlflow#11462)", most=250, advice="send fewer at once"
    ),
    "batch.points.sent": Limit(
        source="200 is what the field found safe (gordo#934)", most=200, advice="send fewer at once"
    ),
    "batch.params": Limit(source="mlflow's own", most=100, advice="send fewer at once"),
    "batch.tags": Limit(
        source="half of a run's 50, so that a set that is there fits beside it",
        most=25,
        advice="send fewer at once",
    ),
    "history.page": Limit(
        source="MaxResults must be less than 1000 (mlflow#10694)", most=999, advice="ask for fewer at once"
    ),
    "blob.name": Limit(
        source="learn.microsoft.com, naming-and-referencing-containers--blobs--and-metadata", most=1024
    ),
}
"""Every limit that the adapter sees to, by what it is a limit of.

Not here is what nobody can count before a call: the rows of a metric (1 million), the files of a run and the
runs of a workspace (10 million each), its models (5 million).
"""


def most(what: str) -> int:
    """Return the number of a limit."""
    number = LIMITS[what].most
    assert number is not None, what
    return number


def check(what: str, value: str | int, *, operation: str | None = None) -> None:
    """Return if Azure ML takes a text, or a number of things; warn where only its documents say otherwise.

    Raises:
        Rejected: It does not; the message names what, value and limit, the hint says what to do.
    """
    limit, found = LIMITS[what], problem(what, value)
    if found is None:
        return
    text = f"{what.replace('.', ' ')} {found} ({limit.source})"
    if limit.is_hard:
        raise Rejected(text, adapter=ADAPTER, operation=operation, hint=limit.advice)
    advice = limit.advice[:1].upper() + limit.advice[1:]
    warnings.warn(f"{text}. {advice}.", AzureLimitWarning, stacklevel=3)


def asset_name_problem(name: str) -> str | None:
    """Return what keeps a text from being the name of an asset anywhere; None where nothing does."""
    return problem("registry.asset.name", name)


def problem(what: str, value: str | int) -> str | None:
    """Return in words how a text, or a number of things, breaks a limit; None where it does not."""
    limit = LIMITS[what]
    if isinstance(value, int):
        if limit.most is not None and value > limit.most:
            return f"would be {value:,}, and Azure ML takes at most {limit.most:,}"
        return None
    if limit.most is not None and len(value) > limit.most:
        return f"has {len(value):,} characters, and Azure ML takes at most {limit.most:,}"
    if limit.pattern is not None and re.fullmatch(limit.pattern, value) is None:
        return f"{value[:SHOWN_CHARS_MAX]!r} is none that Azure ML takes"
    return None
