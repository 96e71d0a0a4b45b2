"""A corpus that goes from place to place and comes home, compared at every stop with what was written.

As a program it takes the corpus at full size, and prints a line for each stop::

    python -m tests.support.chain            300 runs, one with 100,000 points, and 100 versions of models
    python -m tests.support.chain --small    what the tests take
    python -m tests.support.chain --home     compares with what was written at home alone, which is quicker
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.azureml_emulators import azureml_emulator
from tests.support.corpus import (
    LARGE,
    Corpus,
    Size,
    history_problems,
    numbers_of,
    problems,
    write_corpus,
)
from tests.support.migrations import local_side, pair_of
from tests.support.mlflow_servers import MlflowServer, mlflow_server
from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.delivery.connect import open_uri
from trackbridge.domain.migration import Loss, Selection, Symbol, Treatment
from trackbridge.operations.migrate.applying import apply_migration
from trackbridge.operations.migrate.checking import check
from trackbridge.operations.migrate.pair import Asked, Pair
from trackbridge.operations.migrate.planning import losses_of, plan_migration
from trackbridge.operations.migrate.side import Side, side_of
from trackbridge.ports.adapter import AdapterContext
from trackbridge.resolve.uri import parse
from trackbridge.testing.emulators.aws_keys import ACCOUNT
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator
from trackbridge.testing.emulators.signed_mlflow import SignedMlflow
from trackbridge_adapters.azureml import open_workspace

CHARTER_CHARS = 3000
"""Of a tag of each experiment, which Azure ML does not take: the one thing that is lost."""
SMALL = Size(
    runs=12,
    points=8,
    long_points=1_200,
    files=1,
    large_bytes=LARGE,
    models=2,
    versions=4,
    experiment_tag_chars=CHARTER_CHARS,
)
FULL = Size(
    experiments=20,
    runs=300,
    points=20,
    long_points=100_000,
    files=2,
    large_bytes=30_000_000,
    models=10,
    versions=11,
    experiment_tag_chars=CHARTER_CHARS,
)
HOME, CHECK = "home", "bridge check"
BUCKET = "managed-mlflow"
REGION = "us-east-1"


@dataclass(slots=True, kw_only=True)
class Stop:
    """What was found at one place.

    ``seconds`` are those of planning and applying. ``lost`` is what the report says is lost, and what the
    truth is without from there on; ``trouble`` is every difference beyond.
    """

    name: str
    seconds: float
    losses: tuple[Loss, ...]
    trouble: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = Counter(
            f"{loss.item.partition(' ')[0]} {loss.field.partition('.')[0]} {loss.treatment.value}"
            for loss in self.losses
        )
        told = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
        found = f"{len(self.lost)} lost, {len(self.trouble)} problems"
        return f"{self.name}: {self.seconds:.1f} s; {found}; {told or 'nothing listed'}"


@contextmanager
def places(folder: Path) -> Iterator[list[tuple[str, Side]]]:
    """Run every place of the chain between home and home, each with nothing in it."""
    with ExitStack() as stack:
        names = {"mlflow": "proxied", "azure": "proxied", "managed": f"s3://{BUCKET}/runs"}

        def started(name: str) -> MlflowServer:
            return stack.enter_context(mlflow_server(folder / name, artifacts=names[name]))

        pool = stack.enter_context(ThreadPoolExecutor(len(names)))  # a server ends with its thread
        servers = dict(zip(names, pool.map(started, names), strict=True))
        azure = stack.enter_context(azureml_emulator(mlflow=servers["azure"].url))
        cloud = stack.enter_context(sagemaker_emulator(account=ACCOUNT))
        managed = stack.enter_context(SignedMlflow(servers["managed"].url, region=REGION))
        managed.keys = cloud.keys
        cloud.client("s3").create_bucket(Bucket=BUCKET)
        environment = _environment(cloud, managed, folder)
        stack.enter_context(_variables(environment))
        yield [
            ("MLflow server", _opened(servers["mlflow"].url)),
            ("Azure ML", _azure_side(azure, folder / "azure home")),
            ("SageMaker Experiments", _opened(cloud.uri)),
            ("managed MLflow", _opened(managed.arn)),
        ]


def _environment(cloud: SageMakerEmulator, managed: SignedMlflow, folder: Path) -> dict[str, str]:
    return {
        **cloud.environment(),
        "SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT": managed.url,
        "BRIDGE_HOME": str(folder / "bridge"),
    }


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("AWS_", "SAGEMAKER_"))]:
        del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _opened(text: str) -> Side:
    uri = parse(text)
    return side_of(open_uri(uri), uri.text)


def _azure_side(azure: AzureMlEmulator, home: Path) -> Side:
    context = AdapterContext(home=home, options=azure.options, clock_ms=lambda: time.time_ns() // 1_000_000)
    return side_of(open_workspace(azure.uri, context=context, credential=azure.credential()), azure.uri)


def moved(corpus: Corpus, pair: Pair, name: str, registry_uri: str, *, compares: bool) -> Stop:
    """Move everything from one place to the next, and compare all that is there with what was written.

    Args:
        corpus: What was written.
        pair: The two places.
        name: Of the target.
        registry_uri: Where the versions were first registered.
        compares: Whether to compare; else only the account and the numbers of versions are looked at.
    """
    begun = time.monotonic()
    plan = plan_migration(pair, Asked())
    account = apply_migration(plan, pair)
    stop = Stop(name=name, seconds=time.monotonic() - begun, losses=tuple(account.losses))
    stop.trouble += [f"{item.subject} is left: {item.error}" for item in account.remaining]
    stop.trouble += [f"{count} {what} are unexplained" for what, count in account.unexplained().items()]
    planned = Counter(loss for change in plan.changes for loss in losses_of(change))
    listed = Counter(account.losses)
    stop.trouble += [f"listed and not planned: {loss}" for loss in listed - planned]
    stop.trouble += [f"planned and not listed: {loss}" for loss in planned - listed]
    for loss in account.losses:
        if not loss.treatment.is_lossless:
            told = corpus.give_up(loss)
            (stop.lost if told else stop.trouble).append(told or f"lost, and was not written: {loss}")
    adapter = pair.target.adapter
    if compares:
        stop.trouble += problems(corpus, adapter, registry_uri=registry_uri, renumbered=True)
        stop.trouble += history_problems(corpus, adapter, registry_uri=registry_uri)
    stop.trouble += _numbers_trouble(corpus, pair, stop, registry_uri)
    return stop


def _numbers_trouble(corpus: Corpus, pair: Pair, stop: Stop, registry_uri: str) -> list[str]:
    """Return versions that got another number on this way and are not listed, or are listed and did not."""
    here, there = (
        numbers_of(corpus, side.adapter, registry_uri=registry_uri) for side in (pair.source, pair.target)
    )
    changed = {
        f"version {name}/{number}"
        for (name, version), number in here.items()
        if there.get((name, version)) != number
    }
    listed = {loss.item for loss in stop.losses if loss.treatment is Treatment.RENUMBERED}
    return [f"{item} has another number, or is listed and has not" for item in sorted(changed ^ listed)]


def chain(folder: Path, size: Size, *, everywhere: bool = True) -> Iterator[Stop]:
    """Write a corpus, and take it through every place and home; yield what was found at each.

    Args:
        folder: For everything.
        size: Of the corpus.
        everywhere: Whether it is compared with what was written at every stop, or at home alone.
    """
    source = local_side(folder / "a")
    corpus = write_corpus(source.adapter, size)
    trouble = problems(corpus, source.adapter, registry_uri=source.uri)
    assert trouble == [], trouble[:10]
    with places(folder) as stops:
        here = source
        for name, side in [*stops, (HOME, local_side(folder / "b"))]:
            pair = pair_of(here, side, folder / "home")
            yield moved(corpus, pair, name, source.uri, compares=everywhere or name == HOME)
            here = side
        pair = pair_of(source, here, folder / "home")
        yield _compared(pair)


def _compared(pair: Pair) -> Stop:
    """Compare what left with what came back as ``bridge check --download`` does."""
    stop, begun = Stop(name=CHECK, seconds=0.0, losses=()), time.monotonic()
    for item in check(pair, Selection(), download=True):
        fields = [found.partition(": ")[0] for found in item.differences]
        if item.symbol is Symbol.DIFFERENT and item.subject.startswith("experiment "):
            stop.lost += [f"{item.subject} {name}" for name in fields]
        elif item.symbol is not Symbol.SAME:
            stop.trouble.append(f"{item.symbol} {item.subject}: {item.differences[:3]}")
    stop.seconds = time.monotonic() - begun
    return stop


def main(*arguments: str) -> int:
    """Run the chain, write what was found, and return how many problems there are."""
    size, found = (SMALL if "--small" in arguments else FULL), 0
    with tempfile.TemporaryDirectory(prefix="trackbridge-chain-") as folder:
        begun = time.monotonic()
        for stop in chain(Path(folder), size, everywhere="--home" not in arguments):
            lines = [f"[{time.monotonic() - begun:6.0f} s] {stop}", *stop.trouble[:20]]
            sys.stdout.write("\n    ".join(lines) + "\n")
            sys.stdout.flush()
            found += len(stop.trouble)
    return found


if __name__ == "__main__":
    sys.exit(min(main(*sys.argv[1:]), 1))
