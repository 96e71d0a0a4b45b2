"""Two backends compared, item by item, down to the last point and byte; nothing is changed.

===  =======================================
``=``  the same on both sides
``*``  different
``+``  missing at the target
``-``  missing at the source
``!``  could not be compared
===  =======================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice
from typing import cast

from trackbridge.delivery.payload_members import payload_digest
from trackbridge.domain.artifacts import ArtifactInfo, split_artifact_uri
from trackbridge.domain.migration import (
    TAG_SOURCE_RUN_ID,
    TAG_SOURCE_URI,
    Compared,
    Kind,
    Selection,
    Symbol,
)
from trackbridge.domain.models import ModelVersion, RegisteredModel
from trackbridge.domain.plans import Change
from trackbridge.domain.runs import Experiment, Run
from trackbridge.errors import BridgeError, NotFound
from trackbridge.operations.migrate.bounds import TRANSFERS
from trackbridge.operations.migrate.entity_plans import EntityPlans
from trackbridge.operations.migrate.identity import origin_of, original_at
from trackbridge.operations.migrate.logged_models import differences_of_links, differences_of_models
from trackbridge.operations.migrate.pair import Pair
from trackbridge.operations.migrate.planning import kind_of_change, losses_of
from trackbridge.operations.migrate.prints import (
    differences,
    differences_of_files,
    differences_of_points,
    experiment_fields,
    is_own_file,
    own_tags,
    run_fields,
)
from trackbridge.operations.migrate.registry_plans import (
    find_model,
    model_fields,
    version_fields,
    versions_by_origin,
)
from trackbridge.operations.migrate.rewriting import MLMODEL_BYTES_MAX, is_mlmodel
from trackbridge.operations.migrate.selecting import Selector
from trackbridge.operations.migrate.side import Side
from trackbridge.operations.migrate.traces import differences_of_traces
from trackbridge.operations.model_payloads import at_registry, digest_at
from trackbridge.ports.streams import AddressedArtifacts

RUNS_AT_ONCE = 200
_CHUNK_BYTES = 1024 * 1024


def check(
    pair: Pair, selection: Selection, *, download: bool = False, transfers: int = TRANSFERS
) -> Iterator[Compared]:
    """Yield how each item compares: experiments, their runs, models, their versions.

    Args:
        pair: The two sides.
        selection: What is to be compared.
        download: Whether the bytes of files are read on both sides; else the digests that the stores keep
            are compared, and sizes where they keep none.
        transfers: Runs that are compared at the same time.

    Raises:
        NotFound: Something that was named is not at the source.
        BridgeError: A backend does not list what it has.
    """
    checker = _Checker(pair, Selector(selection), download, transfers)
    yield from checker.runs()
    yield from checker.models()


def deep_differences(pair: Pair, run: Run, target_id: str, *, download: bool = False) -> tuple[str, ...]:
    """Return how histories and files of a run and of its copy differ.

    Args:
        pair: The two sides.
        run: As the source lists it.
        target_id: The copy.
        download: Whether bytes are read.
    """
    source, target = pair.source, pair.target
    run_id = run.info.run_id
    source_spills, target_spills = source.stored.spills(run_id), target.stored.spills(target_id)
    found: list[str] = []
    for key in sorted(source.stored.unspilled(run, source_spills).data.metrics):
        wanted = source.stored.history(run_id, key, source_spills)
        found += differences_of_points(key, wanted, target.stored.history(target_id, key, target_spills))
    return (*found, *_differences_of_files(pair, run_id, target_id, download=download))


def _differences_of_files(pair: Pair, run_id: str, target_id: str, *, download: bool) -> tuple[str, ...]:
    wanted = [info for info in pair.source.files(run_id) if is_own_file(info.path)]
    there = [info for info in pair.target.files(target_id) if is_own_file(info.path)]
    rewritten = {
        info.path: len(new)
        for info in wanted
        if is_mlmodel(info.path) and (new := _rewritten(pair, run_id, info)) is not None
    }
    if download:
        wanted = [_hashed(pair.source, run_id, info) for info in wanted]
        there = [_hashed(pair.target, target_id, info) for info in there]
    return differences_of_files(wanted, there, rewritten)


def _rewritten(pair: Pair, run_id: str, info: ArtifactInfo) -> bytes | None:
    store = pair.source.artifacts
    if store is None or (info.file_size or 0) > MLMODEL_BYTES_MAX:
        return None
    with closing(store.open(run_id, info.path)) as file:
        content = file.read()
    new = pair.rewriter.mlmodel(content)
    return new if new != content else None


def _hashed(side: Side, run_id: str, info: ArtifactInfo) -> ArtifactInfo:
    """Return what a file's own bytes say of it."""
    assert side.artifacts is not None
    digest, size = hashlib.sha256(), 0
    with closing(side.artifacts.open(run_id, info.path)) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return ArtifactInfo(path=info.path, file_size=size, digest=f"sha256:{digest.hexdigest()}")


class _Checker:
    def __init__(self, pair: Pair, selector: Selector, download: bool, transfers: int) -> None:
        self._pair = pair
        self._selector = selector
        self._download = download
        self._transfers = transfers

    # Runs.

    def runs(self) -> Iterator[Compared]:
        """Yield how experiments and their runs compare."""
        if not self._selector.selection.takes_runs:
            return
        self._learn_numbers()
        there = {item.name: item for item in self._pair.target.experiments()}
        experiments = self._selector.experiments(self._pair.source)
        entities = EntityPlans(self._pair, self._selector)
        entities.read(experiments, there.values())
        for experiment in experiments:
            found = there.pop(experiment.name, None)
            yield self._experiment(experiment, found)
            seen: set[str] = set()
            yield from self._runs_of(experiment, found, seen)
            for change in entities.changes(experiment, seen):
                yield self._entity(change)
        if not self._selector.selection.names_runs:
            for name, item in there.items():
                if any(not self._carries(run) for run in self._pair.target.runs(item.experiment_id)):
                    yield Compared(symbol=Symbol.MISSING_AT_SOURCE, subject=f"experiment {name}")

    def _learn_numbers(self) -> None:
        """Note which versions have other numbers at the target, so that links to them are no difference."""
        for model in self._pair.source.models():
            there = versions_by_origin(self._pair.target, model.name)
            for version in self._pair.source.versions(model.name):
                found = there.get(origin_of(version, registry_uri=self._pair.source.uri))
                if found is not None and found.version != version.version:
                    self._pair.rewriter.versions[model.name, version.version] = found.version

    def _experiment(self, experiment: Experiment, found: Experiment | None) -> Compared:
        subject = f"experiment {experiment.name}"
        if found is None:
            return Compared(symbol=Symbol.MISSING_AT_TARGET, subject=subject)
        wanted = experiment_fields(experiment)
        wanted["tags"] = self._pair.rewriter.tags(wanted["tags"])
        return _compared(subject, differences(wanted, experiment_fields(found)))

    def _entity(self, change: Change) -> Compared:
        """Compare a logged model or a trace, of which a plan says whether the target holds such a thing."""
        if losses_of(change):
            differing = (change.why,)
            return Compared(symbol=Symbol.MISSING_AT_TARGET, subject=change.subject, differences=differing)
        identifier = (change.after or {})["id"]
        of_models = kind_of_change(change) is Kind.LOGGED_MODEL
        try:
            compare = differences_of_models if of_models else differences_of_traces
            differing_or_none = compare(self._pair, identifier)
            if differing_or_none is None:
                return Compared(symbol=Symbol.MISSING_AT_TARGET, subject=change.subject)
            files = _differences_of_files(self._pair, identifier, identifier, download=self._download)
        except BridgeError as error:
            return _failed(change.subject, error)
        return _compared(change.subject, (*differing_or_none, *files))

    def _runs_of(
        self, experiment: Experiment, found: Experiment | None, source_ids: set[str]
    ) -> Iterator[Compared]:
        """Yield how the runs of an experiment compare, and note the source's in ``source_ids``."""
        runs = self._selector.runs(self._pair.source, experiment)
        seen: set[str] = set()
        with ThreadPoolExecutor(self._transfers) as pool:
            while some := list(islice(runs, RUNS_AT_ONCE)):
                for run in some:
                    original = original_at(self._pair.target.uri, run.data.tags)
                    if original is not None:
                        self._pair.rewriter.runs[run.info.run_id] = original
                    seen.add(self._pair.rewriter.run_id(run.info.run_id))
                    source_ids.add(run.info.run_id)
                yield from pool.map(self._run, some)
        if found is None or self._selector.selection.narrows_runs:
            return
        for copy in self._pair.target.runs(found.experiment_id):
            if copy.info.run_id not in seen and not self._carries(copy):
                yield Compared(symbol=Symbol.MISSING_AT_SOURCE, subject=f"run {copy.info.run_id}")

    def _carries(self, run: Run) -> bool:
        """Tell whether a run of the target was made to hold a payload which lies in no run of the source."""
        tags = run.data.tags
        return tags.get(TAG_SOURCE_URI) == self._pair.source.uri and TAG_SOURCE_RUN_ID not in tags

    def _run(self, run: Run) -> Compared:
        target_id = self._pair.rewriter.run_id(run.info.run_id)
        subject = f"run {target_id}"
        try:
            found = self._pair.target.stored.run(target_id)
        except NotFound:
            return Compared(symbol=Symbol.MISSING_AT_TARGET, subject=subject)
        except BridgeError as error:
            return _failed(subject, error)
        try:
            wanted = self._pair.rewriter.run(self._pair.source.stored.unspilled(run))
            differing = differences(run_fields(wanted), run_fields(found))
            differing += deep_differences(self._pair, run, target_id, download=self._download)
            if self._pair.has_logged_models:
                differing += differences_of_links(self._pair, run.info.run_id, found)
        except BridgeError as error:
            return _failed(subject, error)
        return _compared(subject, differing)

    # Models.

    def models(self) -> Iterator[Compared]:
        """Yield how models and their versions compare."""
        if not self._selector.selection.takes_models or self._pair.source.registry is None:
            return
        seen: set[str] = set()
        for model in self._selector.models(self._pair.source):
            seen.add(model.name)
            yield self._model(model)
            yield from self._versions(model.name)
        if not self._selector.selection.names_models:
            for model in self._pair.target.models():
                if model.name not in seen:
                    yield Compared(symbol=Symbol.MISSING_AT_SOURCE, subject=f"model {model.name}")

    def _model(self, model: RegisteredModel) -> Compared:
        subject = f"model {model.name}"
        found = find_model(self._pair.target, model.name)
        if found is None:
            return Compared(symbol=Symbol.MISSING_AT_TARGET, subject=subject)
        wanted = {
            "description": model.description,
            "tags": self._pair.rewriter.tags(own_tags(model.tags)),
        }
        return _compared(subject, differences(wanted, model_fields(found)))

    def _versions(self, name: str) -> Iterator[Compared]:
        there = versions_by_origin(self._pair.target, name)
        for version in self._selector.versions(self._pair.source.versions(name)):
            origin = origin_of(version, registry_uri=self._pair.source.uri)
            yield self._version(version, there.pop(origin, None))
        if not self._selector.selection.stages:
            yield from map(partial(_extra_version, name), there.values())

    def _version(self, version: ModelVersion, found: ModelVersion | None) -> Compared:
        subject = f"version {version.name}/{version.version}"
        if found is None:
            return Compared(symbol=Symbol.MISSING_AT_TARGET, subject=subject)
        wanted, is_there = version_fields(version), version_fields(found)
        wanted["tags"] = self._pair.rewriter.tags(wanted["tags"])
        try:
            digests = self._digests(version, found)
        except BridgeError as error:
            return _failed(subject, error)
        if None not in digests:
            wanted["digest"], is_there["digest"] = digests
        wanted["datasets"], is_there["datasets"] = list(version.datasets), list(found.datasets)
        return _compared(subject, differences(wanted, is_there))

    def _digests(self, version: ModelVersion, found: ModelVersion) -> tuple[str | None, str | None]:
        """Return the digests of both payloads; one that others registered is read, where that is wanted."""
        address, store = at_registry(version, self._pair.source.registry).source, self._pair.source.artifacts
        is_addressed = isinstance(store, AddressedArtifacts) and store.reads(address)
        if version.digest is not None or not self._download or not is_addressed:
            return version.digest, found.digest
        place, files = split_artifact_uri(found.source), self._pair.target.artifacts
        there = payload_digest(files, *place) if place is not None and files is not None else found.digest
        return digest_at(address, cast("AddressedArtifacts", store)), there


def _extra_version(name: str, version: ModelVersion) -> Compared:
    return Compared(symbol=Symbol.MISSING_AT_SOURCE, subject=f"version {name}/{version.version}")


def _compared(subject: str, differing: Iterable[str]) -> Compared:
    found = tuple(differing)
    return Compared(symbol=Symbol.DIFFERENT if found else Symbol.SAME, subject=subject, differences=found)


def _failed(subject: str, error: BridgeError) -> Compared:
    return Compared(symbol=Symbol.ERROR, subject=subject, differences=(str(error),))
