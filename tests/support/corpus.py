"""A corpus with everything that a migration must not lose, and the truth about it.

It is written through the ports of any backend. What was written is kept here, so that what comes out at the
other end of a chain is compared with that, and not with what our own reading made of it.
"""

from __future__ import annotations

import hashlib
import random
import re
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from trackbridge.delivery.fitting import fit
from trackbridge.delivery.spills import SPILL_FOLDER, encode_spills
from trackbridge.delivery.unspilling import StoredRuns, all_pages
from trackbridge.domain.artifacts import ArtifactInfo, artifact_uri
from trackbridge.domain.batches import Batch, InputAdded, MetricColumns, Setting
from trackbridge.domain.ids import experiment_id_of
from trackbridge.domain.migration import Loss
from trackbridge.domain.model_digest import digest_of_members
from trackbridge.domain.models import Approval, ChangeReason, ModelVersion, ModelVersionSpec, Origin
from trackbridge.domain.runs import (
    TAG_NAME,
    TAG_NOTE,
    TAG_PARENT,
    TAG_USER,
    DatasetInput,
    LifecycleStage,
    Run,
    RunSpec,
    RunStatus,
)
from trackbridge.errors import NotFound
from trackbridge.operations.migrate.history import carried_changes
from trackbridge.ports.adapter import Adapter
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.samples import (
    FINITE_VALUES,
    HOSTILE_TEXTS,
    NON_FINITE_VALUES,
    bits_of,
)

LARGE = 9_000_000
"""Bytes of a file that goes in parts where stores take parts."""
OLD_MS = 1_262_304_000_000  # 2010
STEP_MS = 60_000
BOOK_KEEPING = ("bridge.src.", "bridge.run_id")
COPIES_ONLY = ("bridge/registry/", f"{SPILL_FOLDER}/")
TEXTS = {name: text for name, text in HOSTILE_TEXTS.items() if name not in ("nul", "lone_surrogate")}
EXPERIMENT_NAMES = ("plain", "Übung 漢字 🚀", 'it\'s "quoted" `so`', "a/b: c%20", "  around  ")
PROMOTER = "Ümit"
_LINK = re.compile(r"models:/(?P<name>[^/\s]+)/(?P<version>[0-9]+)")
MODEL_NAMES = ("wine", "Ünïcode 漢字", "it's a model", "dots.and-dashes_1")
FINAL = (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED)


@dataclass(slots=True, kw_only=True)
class Size:
    """How much to write."""

    experiments: int = 5
    runs: int = 20
    points: int = 30
    long_points: int = 500
    files: int = 3
    file_bytes: int = 200
    large_bytes: int = 300_000
    models: int = 2
    versions: int = 5
    experiment_tag_chars: int = 0
    """Of a tag of each experiment: Azure ML takes 1000, and an experiment has no side-car."""


@dataclass(slots=True, kw_only=True)
class TrueExperiment:
    name: str
    tags: dict[str, str]
    deleted: bool = False

    @property
    def experiment_id(self) -> str:
        return experiment_id_of(self.name)


@dataclass(slots=True, kw_only=True)
class TrueRun:
    run_id: str
    experiment: str
    name: str
    user: str
    status: RunStatus
    start_time: int
    end_time: int | None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: dict[str, set[tuple[int, int, int]]] = field(default_factory=dict)
    inputs: dict[tuple[str, str], DatasetInput] = field(default_factory=dict)
    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    deleted: bool = False


@dataclass(slots=True, kw_only=True)
class TrueVersion:
    name: str
    version: str
    run_id: str
    path: str
    digest: str
    description: str
    stage: str
    approval: Approval
    aliases: tuple[str, ...]
    tags: dict[str, str]
    datasets: tuple[str, ...]
    origin: Origin | None = None


@dataclass(slots=True, kw_only=True)
class TrueModel:
    name: str
    description: str
    tags: dict[str, str]


@dataclass(slots=True, kw_only=True)
class Corpus:
    """What was written."""

    experiments: dict[str, TrueExperiment] = field(default_factory=dict)
    runs: dict[str, TrueRun] = field(default_factory=dict)
    models: dict[str, TrueModel] = field(default_factory=dict)
    versions: list[TrueVersion] = field(default_factory=list)

    def stage_of(self, run: TrueRun) -> LifecycleStage:
        """Return whether a run is to be seen as deleted."""
        gone = run.deleted or self.experiments[run.experiment].deleted
        return LifecycleStage.DELETED if gone else LifecycleStage.ACTIVE

    def give_up(self, loss: Loss) -> str | None:
        """Take out of the truth what a report says is lost; return what it is, None where it is not there."""
        kind, _, name = loss.item.partition(" ")
        group, _, key = loss.field.partition(".")
        experiment = self.experiments.get(name) if (kind, group) == ("experiment", "tags") else None
        if experiment is None or experiment.tags.pop(key, None) is None:
            return None
        return f"{loss.item} {loss.field}"


def write_corpus(adapter: Adapter, size: Size | None = None, *, seed: int = 7) -> Corpus:
    """Write a corpus through the ports of a backend and return the truth about it."""
    return _Writer(adapter, size or Size(), random.Random(seed)).write()


class _Writer:
    def __init__(self, adapter: Adapter, size: Size, rng: random.Random) -> None:
        assert adapter.tracking is not None
        assert adapter.artifacts is not None
        self.adapter = adapter
        self.tracking = adapter.tracking
        self.artifacts = adapter.artifacts
        self.size = size
        self.rng = rng
        self.corpus = Corpus()

    def write(self) -> Corpus:
        for number in range(self.size.experiments):
            self._experiment(number)
        for number in range(self.size.runs):
            self._run(number)
        if self.adapter.registry is not None:
            for number in range(self.size.models):
                self._model(number)
        self._delete()
        return self.corpus

    def _experiment(self, number: int) -> None:
        name = EXPERIMENT_NAMES[number] if number < len(EXPERIMENT_NAMES) else f"experiment {number:04d}"
        tags = {TAG_NOTE: f"# Note {number}\n*of* {name}", "team": TEXTS["unicode"]}
        if self.size.experiment_tag_chars:
            tags["charter"] = "ä" * self.size.experiment_tag_chars
        true = TrueExperiment(name=name, tags=tags, deleted=number % 5 == 4)
        self.tracking.ensure_experiment(name, experiment_id=true.experiment_id, tags=tags)
        self.corpus.experiments[name] = true

    def _run(self, number: int) -> None:
        run = self._opened(number)
        self.corpus.runs[run.run_id] = run
        self._params_and_tags(run, number)
        self._points(run, number)
        self._datasets(run, number)
        self._send(run)
        for path, content in self._files(number):
            self.put(run, path, content)
        if run.status.is_final:
            assert run.end_time is not None
            self.tracking.close_run(run.run_id, status=run.status, end_time=run.end_time)

    def _opened(self, number: int) -> TrueRun:
        names = list(self.corpus.experiments)
        start = OLD_MS + number * STEP_MS if number % 3 else 1_700_000_000_000
        run = TrueRun(
            run_id=f"{self.rng.getrandbits(128):032x}",
            experiment=names[number % len(names)],
            name=f"run {number} {TEXTS['emoji']}" if number % 4 == 1 else f"run {number}",
            user="tester" if number % 2 else "Jürgen Ünal",
            status=RunStatus.RUNNING if number % 11 == 10 else FINAL[number % 3],
            start_time=start,
            end_time=None if number % 11 == 10 else start + 1 + number,
            deleted=number % 7 == 6,
        )
        run.tags = {TAG_NAME: run.name, TAG_USER: run.user}
        earlier = list(self.corpus.runs)
        if number % 3 == 2:  # often in another experiment, and now and then one that is deleted
            run.tags[TAG_PARENT] = earlier[self.rng.randrange(len(earlier))]
        self.tracking.open_run(
            RunSpec(
                run_id=run.run_id,
                experiment_id=experiment_id_of(run.experiment),
                experiment_name=run.experiment,
                name=run.name,
                user=run.user,
                start_time=run.start_time,
                tags=run.tags,
            )
        )
        return run

    def _params_and_tags(self, run: TrueRun, number: int) -> None:
        run.params = {"lr": repr(0.1 * number), "empty": ""}
        run.tags["kind"] = f"kind {number % 4}"
        if number % 5 == 0:
            run.tags[TAG_NOTE] = TEXTS["markup"] + TEXTS["newlines"]
        run.tags["files"] = f"see runs:/{run.run_id}/files, {artifact_uri(run.run_id, 'files')}"
        if number % 4 == 2 and self.size.models and self.size.versions > 2:
            run.tags["champion"] = f"models:/{MODEL_NAMES[0]}/3 since models:/{MODEL_NAMES[0]}/1"
        hostile = list(TEXTS.items()) if number % 6 == 0 else [self.rng.choice(list(TEXTS.items()))]
        for name, text in hostile:
            run.params[f"param {name}"] = text
            run.tags[f"tag {name}"] = text
            run.params[text[:300]] = name
            run.tags[f"t {text[:300]}"] = name
        if number == 3:
            run.params.update({f"many {index:04d}": str(index) for index in range(260)})

    def _points(self, run: TrueRun, number: int) -> None:
        count = self.size.long_points if number == 1 else self.size.points
        for key in ("loss", f"acc[{number}]@5"):
            run.points[key] = {
                (
                    step,
                    run.start_time + step,
                    bits_of(self.rng.gauss(0.0, 1.0) * 10.0 ** self.rng.randrange(-9, 9)),
                )
                for step in range(-3, count - 3)
            }
        if number % 4 == 0:
            for name, value in {**FINITE_VALUES, **NON_FINITE_VALUES}.items():
                run.points[f"value {name}"] = {(0, OLD_MS, bits_of(value)), (-1, OLD_MS, bits_of(value))}
            run.points["same step"] = {(5, OLD_MS, bits_of(1.0)), (5, OLD_MS, bits_of(float("nan")))}

    def _datasets(self, run: TrueRun, number: int) -> None:
        for index in range(number % 3):
            dataset = DatasetInput(
                name=f"data {index}",
                digest=f"{number:08x}",
                source_type="local",
                source=f'{{"uri": "/data/{index} ü"}}',
                schema='{"columns": []}',
                profile='{"rows": 3}',
                tags={"mlflow.data.context": "training"},
            )
            run.inputs[dataset.name, dataset.digest] = dataset

    def _send(self, run: TrueRun) -> None:
        batch = Batch(run_id=run.run_id)
        sequence = 0
        for key, value in run.params.items():
            sequence += 1
            batch.params.append(Setting(key, value, sequence))
        for key, value in run.tags.items():
            sequence += 1
            batch.tags.append(Setting(key, value, sequence))
        for dataset in run.inputs.values():
            sequence += 1
            batch.inputs.append(InputAdded(dataset, sequence))
        for key, points in run.points.items():
            columns = batch.metrics[key] = MetricColumns()
            for step, timestamp, bits in sorted(points):
                sequence += 1
                columns.append(step=step, timestamp=timestamp, value=float_of(bits), sequence=sequence)
        capabilities = self.adapter.capabilities()
        datasets = capabilities.supports(Feature.TRACKING_DATASETS)
        for part in fit(batch, capabilities.limits, now_ms=OLD_MS, datasets=datasets):
            assert not part.rejected, part.rejected
            if part.spills:
                path, content = encode_spills(part.spills)
                self._store(run.run_id, path, content)
            receipt = self.tracking.write(part.batch)
            assert not receipt.rejected, receipt.rejected

    def _files(self, number: int) -> Iterator[tuple[str, bytes]]:
        for index in range(self.size.files):
            yield f"files/{index} ü.bin", self.rng.randbytes(self.size.file_bytes)
        if number % 4 == 0:
            yield "empty.txt", b""
            yield "deep/er/and/deeper/data [1] + 2%.json", b'{"a": 1}\n'
        if number == 2:
            yield "large.bin", self.rng.randbytes(self.size.large_bytes)

    def put(self, run: TrueRun, path: str, content: bytes) -> None:
        """Store a file of a run."""
        run.files[path] = (len(content), hashlib.sha256(content).hexdigest())
        self._store(run.run_id, path, content)

    def _store(self, run_id: str, path: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "content"
            file.write_bytes(content)
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            self.artifacts.put(run_id, path, file, digest=digest, size=len(content))

    # Models.

    def _model(self, number: int) -> None:
        registry = self.adapter.registry
        assert registry is not None
        name = MODEL_NAMES[number] if number < len(MODEL_NAMES) else f"model-{number}"
        model = TrueModel(name=name, description=f"model *{number}*", tags={"owner": TEXTS["unicode"]})
        registry.ensure_model(name, description=model.description, tags=model.tags)
        self.corpus.models[name] = model
        active = [run for run in self.corpus.runs.values() if not run.deleted]
        for index in range(self.size.versions):
            self._version(name, index, active[(number + index) % len(active)])
        if self.size.versions > 2:  # a hole in the numbers
            registry.delete_version(name, "2", reason=ChangeReason(user="tester", why="it was bad"))
            self.corpus.versions = [
                true for true in self.corpus.versions if (true.name, true.version) != (name, "2")
            ]

    def _version(self, name: str, index: int, run: TrueRun) -> None:
        registry = self.adapter.registry
        assert registry is not None
        path = f"models/{name} {index}"
        mlmodel = f"artifact_path: {path}\nflavors: {{}}\nrun_id: {run.run_id}\n".encode()
        members = {"MLmodel": mlmodel, "model.bin": self.rng.randbytes(300), "conda.yaml": b"name: x\n"}
        for member, content in members.items():
            self.put(run, f"{path}/{member}", content)
        digest = _digest(members)
        true = TrueVersion(
            name=name,
            version=str(index + 1),
            run_id=run.run_id,
            path=path,
            digest=digest,
            description=f"version {index}\n{TEXTS['quotes']}",
            stage=("None", "Staging", "Production", "Archived")[index % 4],
            approval=tuple(Approval)[index % 3],
            aliases=("champion",) if index == self.size.versions - 1 else (f"candidate-{index}",),
            tags={"accuracy": "0.9", "note": TEXTS["emoji"]},
            datasets=("data@1",) if index % 2 else (),
            origin=Origin(registry="https://elsewhere", name=name, version="77") if index == 3 else None,
        )
        created = registry.create_version(
            ModelVersionSpec(
                name=name,
                source=artifact_uri(run.run_id, path),
                digest=digest,
                run_id=run.run_id,
                origin=true.origin,
                description=true.description,
                tags=true.tags,
                datasets=true.datasets,
            ),
            key=hashlib.sha256(f"{name} {index}".encode()).hexdigest(),
        )
        assert created.version == true.version
        self._label(true)
        self.corpus.versions.append(true)

    def _label(self, true: TrueVersion) -> None:
        registry = self.adapter.registry
        assert registry is not None
        reason = ChangeReason(user=PROMOTER, why="as agreed")
        registry.set_stage(true.name, true.version, stage=true.stage, reason=reason)
        registry.set_approval(true.name, true.version, approval=true.approval, reason=reason)
        for alias in true.aliases:
            registry.set_alias(true.name, alias, version=true.version, reason=reason)

    def _delete(self) -> None:
        for run in self.corpus.runs.values():
            if run.deleted:
                self.tracking.delete_run(run.run_id)
        for experiment in self.corpus.experiments.values():
            if experiment.deleted:
                self.tracking.delete_experiment(experiment.experiment_id)


# Comparing.


def problems(
    corpus: Corpus, adapter: Adapter, *, registry_uri: str = "", renumbered: bool = False, user: bool = True
) -> list[str]:
    """Return how a backend differs from what was written, item by item; nothing where it does not.

    Args:
        corpus: The truth.
        adapter: The backend, opened.
        registry_uri: Where the versions were first registered, as their origin says.
        renumbered: Whether versions may have other numbers; else they are to have their own.
        user: Whether the users are to be kept.
    """
    return list(_Comparer(corpus, adapter, registry_uri, renumbered, user).problems())


class _Comparer:
    def __init__(
        self, corpus: Corpus, adapter: Adapter, registry_uri: str, renumbered: bool, user: bool
    ) -> None:
        assert adapter.tracking is not None
        self.corpus = corpus
        self.adapter = adapter
        self.tracking = adapter.tracking
        self.stored = StoredRuns(adapter)
        self.registry_uri = registry_uri
        self.renumbered = renumbered
        self.user = user
        self.numbers: dict[tuple[str, str], str] = {}

    def problems(self) -> Iterator[str]:
        if self.renumbered:
            self.numbers = numbers_of(self.corpus, self.adapter, registry_uri=self.registry_uri)
        yield from self._experiments()
        for run in self.corpus.runs.values():
            try:
                found = self.stored.run(run.run_id)
            except NotFound:
                yield f"run {run.run_id} is missing"
                continue
            yield from self._run(run, found)
            yield from self._points(run)
            yield from self._files(run)
        if self.adapter.registry is not None:
            yield from self._models()

    def _experiments(self) -> Iterator[str]:
        def page(token: str | None):  # type: ignore[no-untyped-def]
            return self.tracking.list_experiments(stage=None, token=token)

        found = {experiment.name: experiment for experiment in all_pages(page)}
        for true in self.corpus.experiments.values():
            experiment = found.get(true.name)
            if experiment is None:
                yield f"experiment {true.name!r} is missing"
                continue
            yield from _differs(f"experiment {true.name!r} tags", true.tags, _own(experiment.tags))
            deleted = experiment.lifecycle_stage is LifecycleStage.DELETED
            yield from _differs(f"experiment {true.name!r} deleted", true.deleted, deleted)
            runs = self._listed(experiment.experiment_id)
            wanted = sorted(run.run_id for run in self.corpus.runs.values() if run.experiment == true.name)
            yield from _differs(f"experiment {true.name!r} runs", wanted, runs)
        extra = set(found) - set(self.corpus.experiments) - {"Default"}
        yield from (f"experiment {name!r} is extra" for name in sorted(extra))

    def _listed(self, experiment_id: str) -> list[str]:
        def page(token: str | None):  # type: ignore[no-untyped-def]
            return self.tracking.list_runs(experiment_id, stage=None, token=token)

        return sorted(run.info.run_id for run in all_pages(page))

    def _run(self, true: TrueRun, found: Run) -> Iterator[str]:
        what = f"run {true.run_id}"
        info = found.info
        wanted = (true.name, true.status, true.start_time, true.end_time, self.corpus.stage_of(true))
        seen = (info.run_name, info.status, info.start_time, info.end_time, info.lifecycle_stage)
        yield from _differs(f"{what} info", wanted, seen)
        if self.user:
            yield from _differs(f"{what} user", true.user, info.user_id)
        yield from _differs(f"{what} params", true.params, found.data.params)
        yield from _differs(f"{what} tags", self._linked(true.tags), _own(found.data.tags))
        yield from _differs(f"{what} metrics", sorted(true.points), sorted(found.data.metrics))
        inputs = {(item.name, item.digest): item for item in found.inputs.dataset_inputs}
        yield from _differs(f"{what} inputs", true.inputs, inputs)

    def _linked(self, tags: dict[str, str]) -> dict[str, str]:
        """Return tags with links to versions as they are where versions have other numbers."""

        def link(match: re.Match[str]) -> str:
            name, version = match["name"], match["version"]
            return f"models:/{name}/{self.numbers.get((name, version), version)}"

        return {key: _LINK.sub(link, value) for key, value in tags.items()}

    def _points(self, true: TrueRun) -> Iterator[str]:
        for key, points in true.points.items():
            columns = self.stored.history(true.run_id, key)
            rows = list(zip(columns.steps, columns.timestamps, map(bits_of, columns.values), strict=True))
            yield from _differs(f"run {true.run_id} points of {key!r}", sorted(points), sorted(rows))

    def _files(self, true: TrueRun) -> Iterator[str]:
        store = self.adapter.artifacts
        assert store is not None
        found: dict[str, tuple[int, str]] = {}
        for path in _paths(self.adapter, true.run_id, ""):
            if path.startswith(COPIES_ONLY):
                continue
            with closing(store.open(true.run_id, path)) as content:
                read = content.read()
            found[path] = (len(read), hashlib.sha256(read).hexdigest())
        yield from _differs(f"run {true.run_id} files", true.files, found)

    def _models(self) -> Iterator[str]:
        registry = self.adapter.registry
        assert registry is not None

        def page(token: str | None):  # type: ignore[no-untyped-def]
            return registry.list_models(token=token)

        names = [model.name for model in all_pages(page)]
        yield from _differs("names of models", sorted(self.corpus.models), sorted(names))
        for true in self.corpus.models.values():
            if true.name not in names:
                continue
            found = registry.get_model(true.name)
            yield from _differs(f"model {true.name} description", true.description, found.description)
            yield from _differs(f"model {true.name} tags", true.tags, _own(found.tags))
            yield from self._versions(true.name)

    def _versions(self, name: str) -> Iterator[str]:
        registry = self.adapter.registry
        assert registry is not None
        found = registry.list_versions(name, max_results=1000).items
        wanted = [true for true in self.corpus.versions if true.name == name]
        yield from _differs(f"number of versions of {name}", len(wanted), len(found))
        for true in wanted:
            version = next((item for item in found if self._is(true, item)), None)
            if version is None:
                yield f"version {name}/{true.version} is missing"
                continue
            yield from self._version(true, version)

    def _is(self, true: TrueVersion, found: ModelVersion) -> bool:
        return _is_version(true, found, self.registry_uri)

    def _version(self, true: TrueVersion, found: ModelVersion) -> Iterator[str]:
        what = f"version {true.name}/{true.version}"
        if not self.renumbered:
            yield from _differs(f"{what} number", true.version, found.version)
        for name in ("digest", "description", "stage", "approval", "datasets", "run_id"):
            yield from _differs(f"{what} {name}", getattr(true, name), getattr(found, name))
        yield from _differs(f"{what} aliases", sorted(true.aliases), sorted(found.aliases))
        yield from _differs(f"{what} tags", true.tags, _own(found.tags))
        yield from _differs(f"{what} source", artifact_uri(true.run_id, true.path), found.source)


def numbers_of(corpus: Corpus, adapter: Adapter, *, registry_uri: str) -> dict[tuple[str, str], str]:
    """Return the numbers at a backend of the versions that were written, by name and their own number."""
    registry = adapter.registry
    numbers: dict[tuple[str, str], str] = {}
    for name in corpus.models if registry is not None else ():
        assert registry is not None
        try:
            found = registry.list_versions(name, max_results=1000).items
        except NotFound:
            continue
        for true in corpus.versions:
            there = [item.version for item in found if _is_version(true, item, registry_uri)]
            if true.name == name and there:
                numbers[name, true.version] = there[0]
    return numbers


def _is_version(true: TrueVersion, found: ModelVersion, registry_uri: str) -> bool:
    origin = true.origin or Origin(registry=registry_uri, name=true.name, version=true.version)
    if found.origin is None:
        return found.version == true.version and true.origin is None
    return found.origin == origin


def history_problems(corpus: Corpus, adapter: Adapter, *, registry_uri: str) -> list[str]:
    """Return who promoted what, as it was written, and is not told of a copy any more.

    Args:
        corpus: The truth.
        adapter: The backend that has copies, opened.
        registry_uri: Where the versions were promoted.
    """
    registry = adapter.registry
    assert registry is not None
    numbers = numbers_of(corpus, adapter, registry_uri=registry_uri)
    problems: list[str] = []
    for true in corpus.versions:
        number = numbers.get((true.name, true.version))
        carried = carried_changes(registry, adapter.artifacts, true.name, number)
        told = {
            (item.change.what, item.change.after)
            for item in carried
            if (item.registry, item.change.version, item.change.user, item.change.why)
            == (registry_uri, true.version, PROMOTER, "as agreed")
        }
        wanted = {(f"alias:{alias}", true.version) for alias in true.aliases}
        wanted |= {("stage", true.stage)} - {("stage", "None")}
        wanted |= {("approval", true.approval.value)} - {("approval", Approval.PENDING.value)}
        problems += [f"version {true.name}/{true.version}: {item} is not told" for item in wanted - told]
    return problems


def float_of(bits: int) -> float:
    """Return the float64 with these bits."""
    from trackbridge.testing.contracts.samples import float_of as from_bits

    return from_bits(bits)


def _paths(adapter: Adapter, run_id: str, folder: str) -> Iterator[str]:
    store = adapter.artifacts
    assert store is not None

    def page(token: str | None):  # type: ignore[no-untyped-def]
        return store.list(run_id, folder, token=token)

    infos: Iterator[ArtifactInfo] = all_pages(page)
    for info in infos:
        if info.is_dir:
            yield from _paths(adapter, run_id, info.path)
        else:
            yield info.path


def _own(tags: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if not key.startswith(BOOK_KEEPING)}


def _digest(members: dict[str, bytes]) -> str:
    import io

    return digest_of_members((path, io.BytesIO(content)) for path, content in members.items())


def _differs(what: str, wanted: object, found: object) -> Iterator[str]:
    if wanted == found:
        return
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in sorted({*wanted, *found}, key=repr):
            if wanted.get(key) != found.get(key):
                yield f"{what} [{key!r:.80}]: {wanted.get(key)!r:.200} became {found.get(key)!r:.200}"
        return
    yield f"{what}: {wanted!r:.300} became {found!r:.300}"
