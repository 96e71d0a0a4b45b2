"""Models and versions from one registry to another, with their labels and their history."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from trackbridge.delivery.payload_members import known_payload_digest, payload_digest
from trackbridge.domain.artifacts import artifact_uri, split_artifact_uri
from trackbridge.domain.ids import experiment_id_of
from trackbridge.domain.migration import (
    TAG_SOURCE_URI,
    Counts,
    Kind,
    Loss,
    Outcome,
    State,
    Treatment,
)
from trackbridge.domain.model_digest import digest_of_path, files_of
from trackbridge.domain.models import Approval, ChangeReason, ModelVersion, ModelVersionSpec, Origin
from trackbridge.domain.plans import Action, Change
from trackbridge.domain.runs import TAG_NAME, RunSpec, RunStatus
from trackbridge.domain.traces import is_model_id
from trackbridge.errors import AuthError, Conflict, NotFound, PlanStale, Rejected, Unsupported
from trackbridge.operations.migrate.files import file_digest
from trackbridge.operations.migrate.history import (
    CarriedChange,
    encode_history,
    history_path,
    read_history,
)
from trackbridge.operations.migrate.identity import version_key
from trackbridge.operations.migrate.ledger import Entry
from trackbridge.operations.migrate.outcomes import done
from trackbridge.operations.migrate.pair import Pair
from trackbridge.operations.migrate.preflight import Preflight, promotes
from trackbridge.operations.migrate.prints import print_of
from trackbridge.operations.migrate.registry_plans import (
    OPTIONAL_FIELDS,
    find_model,
    lacking,
    model_fields,
    renumbered,
    version_fields,
    wanted_model,
    wanted_version,
)
from trackbridge.operations.migrate.writing import RunWriter
from trackbridge.operations.model_payloads import at_registry, materialise
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import Feature
from trackbridge.ports.registry import ModelRegistry

CARRIERS = "registered models"
"""The experiment of runs that were made to hold payloads which lie in no run at the source."""


@dataclass(slots=True, kw_only=True)
class RegistryCopier:
    """Copies models and versions, one after the other.

    Args:
        pair: Source and target.
        user: Who is told to have done it.
        scratch: A folder for payloads that have to come here on their way.
        on_point: Told of every step.
        merges: Whether somebody else sets aliases, and what differs of models that are there already.
        preflight: Looks at versions before they are promoted; None promotes them without a look.
    """

    pair: Pair
    user: str
    scratch: Path
    on_point: Callable[[str], None]
    merges: bool = False
    preflight: Preflight | None = None
    renumbered: dict[tuple[str, str], str] = field(default_factory=dict)
    _histories: dict[str, tuple[list[CarriedChange], frozenset[str], str]] = field(default_factory=dict)

    @property
    def _reason(self) -> ChangeReason:
        return ChangeReason(user=self.user, why=f"migrated from {self.pair.source.uri}")

    @property
    def _registry(self) -> ModelRegistry:
        registry = self.pair.target.registry
        if registry is None:
            raise Unsupported(
                "the target has no registry", operation="migrate", resource=self.pair.target.uri
            )
        return registry

    @property
    def _artifacts(self) -> ArtifactStore:
        artifacts = self.pair.target.artifacts
        if artifacts is None:
            raise Unsupported(
                "the target stores no files", operation="migrate", resource=self.pair.target.uri
            )
        return artifacts

    # Models.

    def copy_model(self, change: Change) -> Outcome:
        """Create a model, or set what differs of it.

        Raises:
            NotFound: It is gone from the source.
            PlanStale: It has changed there since the plan was made, or, where both sides count, somebody has
                made it at the target meanwhile.
        """
        name, source = change.subject.partition(" ")[2], self.pair.source.registry
        assert source is not None, "a model was planned"
        original = source.get_model(name)
        refuse_other_print(change, model_fields(original))
        wanted = wanted_model(self.pair, original)
        if self.merges:
            self._refuse_made_meanwhile(name, wanted)
        model = self._registry.ensure_model(
            name, description=wanted["description"], tags=wanted["tags"], reason=self._reason
        )
        tags = {key: value for key, value in wanted["tags"].items() if model.tags.get(key) != value}
        if tags:
            self._registry.set_tags(name, None, tags=tags, reason=self._reason)
        holds = self.pair.target.supports(Feature.REGISTRY_DESCRIPTION)
        if model.description != wanted["description"] and holds:
            self._registry.set_description(name, None, description=wanted["description"], reason=self._reason)
        self.on_point("model")
        losses = msgspec.convert((change.after or {})["losses"], tuple[Loss, ...])
        return done(change, Counts(models=1), losses)

    def _refuse_made_meanwhile(self, name: str, wanted: Mapping[str, Any]) -> None:
        found = find_model(self.pair.target, name)
        if found is not None and model_fields(found) != wanted:
            raise PlanStale(
                "somebody has made the model at the target since the plan was made",
                operation="migrate",
                resource=f"model {name}",
                hint="make the plan anew",
            )

    # Versions.

    def copy_version(self, change: Change) -> Outcome:
        """Create a version, or set what differs of it; then read it back.

        Raises:
            Conflict: The files at the target are not those of the version, or what was set is not there.
            Unsupported: The payload cannot be read from where it is.
            Rejected: It was copied, and not promoted: its pre-flight failed.
        """
        after = change.after or {}
        version = self._original(after)
        refuse_other_print(change, version_fields(version))
        wanted = wanted_version(self.pair, version)
        if self.merges:
            wanted["aliases"] = []
        planned = msgspec.convert(after.get("losses", []), tuple[Loss, ...])
        losses = [loss for loss in planned if loss.treatment is not Treatment.RENUMBERED]
        if change.action is Action.CREATE:
            found = self._created(version, after, wanted)
        else:
            found = self._registry.get_version(version.name, after["at_target"])
            self._carry_history(version, after, found.run_id)
        self.on_point("version")
        refusal = self._withhold(found, wanted)
        self._label(found, wanted)
        found = self._registry.get_version(version.name, found.version)
        differing = lacking(wanted, version_fields(found))
        if differing:
            raise Conflict(
                f"what was set is not there: {differing[0]}", operation="migrate", resource=change.subject
            )
        if found.version != version.version:
            self.renumbered[version.name, version.version] = found.version
            self.pair.rewriter.versions[version.name, version.version] = found.version
            losses.append(renumbered(change.subject, found.version))
        self._note(version, found, tuple(losses))
        if refusal is not None:
            raise refusal
        return done(change, Counts(versions=1), tuple(losses))

    def delete_version(self, change: Change) -> Outcome:
        """Delete a copy whose original is gone."""
        before = change.before or {}
        self._registry.delete_version(before["name"], before["version"], reason=self._reason)
        return Outcome(subject=change.subject, action=change.action.value, state=State.DONE)

    def _original(self, after: Mapping[str, Any]) -> ModelVersion:
        registry = self.pair.source.registry
        assert registry is not None, "a version was planned"
        return registry.get_version(after["name"], after["version"])

    def _created(
        self, version: ModelVersion, after: Mapping[str, Any], wanted: Mapping[str, Any]
    ) -> ModelVersion:
        origin = msgspec.convert(after["origin"], Origin)
        run_id, path, digest = self._payload(version, origin)
        found = known_payload_digest(self._artifacts, run_id, path)
        if found not in (None, digest):
            raise Conflict(
                f"the files at the target have the digest {found}, and the version has {digest}",
                operation="migrate",
                resource=f"models:/{version.name}/{version.version}",
                hint="the files have changed since the version was registered; register what is there anew",
            )
        self._carry_history(version, after, self._history_home(version, run_id))
        spec = ModelVersionSpec(
            name=version.name,
            source=artifact_uri(run_id, path),
            digest=digest,
            run_id=self.pair.rewriter.run_id(version.run_id) if version.run_id else None,
            origin=origin,
            description=wanted["description"],
            tags=wanted["tags"],
            datasets=version.datasets,
        )
        self.on_point("payload")
        return self._registry.create_version(spec, key=version_key(origin, digest), reason=self._reason)

    def _payload(self, version: ModelVersion, origin: Origin) -> tuple[str, str, str]:
        """Return the run, the path and the digest of the payload at the target."""
        place = split_artifact_uri(version.source)
        source = self.pair.source.artifacts
        if place is None or source is None:
            return self._carried_payload(version, origin)
        is_logged_model = is_model_id(place[0])
        if is_logged_model and not self.pair.has_logged_models:
            return self._carried_payload(version, origin)
        run_id = place[0] if is_logged_model else self.pair.rewriter.run_id(place[0])
        digest = version.digest or payload_digest(source, place[0], place[1])
        try:
            if place[1]:
                self._artifacts.stat(run_id, place[1])
        except NotFound as error:
            raise NotFound(
                "the run that holds its files is not at the target",
                operation="migrate",
                resource=f"models:/{version.name}/{version.version}",
                hint="see why the run was not copied, and copy again",
            ) from error
        return run_id, place[1], digest

    def _history_home(self, version: ModelVersion, run_id: str) -> str | None:
        """Return the run that the history of a version goes to: what a logged model holds is payload."""
        if not is_model_id(run_id):
            return run_id
        home = self.pair.rewriter.run_id(version.run_id) if version.run_id else None
        try:
            return home and self.pair.target.tracking.get_run(home).info.run_id
        except NotFound:
            return None

    def _carried_payload(self, version: ModelVersion, origin: Origin) -> tuple[str, str, str]:
        """Bring a payload that lies in no run of the source into a run that is made for it."""
        folder = self._brought(version)
        run_id, tracking = version_key(origin, "carrier")[:32], self.pair.target.tracking
        start = version.creation_time or self.pair.clock_ms()
        spec = RunSpec(
            run_id=run_id,
            experiment_id=experiment_id_of(CARRIERS),
            experiment_name=CARRIERS,
            name=f"{version.name} {version.version}",
            user=self.user,
            start_time=start,
            tags={TAG_NAME: f"{version.name} {version.version}", TAG_SOURCE_URI: self.pair.source.uri},
        )
        tracking.open_run(spec)
        for name, file in files_of(folder):
            self._artifacts.put(
                run_id, f"model/{name}", file, digest=file_digest(file), size=file.stat().st_size
            )
        tracking.close_run(run_id, status=RunStatus.FINISHED, end_time=start)
        digest = version.digest or digest_of_path(folder)
        shutil.rmtree(folder, ignore_errors=True)  # it was only on its way
        return run_id, "model", digest

    def _withhold(self, found: ModelVersion, wanted: dict[str, Any]) -> Rejected | None:
        """Take out of what is wanted whatever would promote a version that is not fit for it; say why not."""
        there = version_fields(found)
        fields = [name for name in ("stage", "approval") if self._differs(name, wanted, there)]
        promoting = [name for name in fields if promotes(name, wanted[name])]
        if set(wanted["aliases"]) - set(there["aliases"]):
            promoting.append("aliases")
        if not promoting or self.preflight is None:
            return None
        try:
            self.preflight.refuse_unfit(self.pair.target, found)
        except Rejected as error:
            wanted.update({name: there[name] for name in promoting})
            return error
        return None

    def _brought(self, version: ModelVersion) -> Path:
        """Bring a payload here; a bucket of others that may not be read keeps nothing else from its copy."""
        source, cache = self.pair.source, self.scratch / "payloads"
        try:
            return materialise(at_registry(version, source.registry), source.artifacts, cache=cache)
        except AuthError as error:
            raise Rejected(
                f"its files may not be read: {error.message}",
                operation="migrate",
                resource=f"models:/{version.name}/{version.version}",
                hint=error.hint,
            ) from error

    def _label(self, found: ModelVersion, wanted: Mapping[str, Any]) -> None:
        registry, reason, name, number = self._registry, self._reason, found.name, found.version
        there = version_fields(found)
        tags = {key: value for key, value in wanted["tags"].items() if there["tags"].get(key) != value}
        if tags:
            registry.set_tags(name, number, tags=tags, reason=reason)
        if self._differs("description", wanted, there):
            registry.set_description(name, number, description=wanted["description"], reason=reason)
        if self._differs("stage", wanted, there):
            registry.set_stage(name, number, stage=wanted["stage"], reason=reason)
        if self._differs("approval", wanted, there):
            registry.set_approval(name, number, approval=Approval(wanted["approval"]), reason=reason)
        for alias in sorted(set(wanted["aliases"]) - set(there["aliases"])):
            registry.set_alias(name, alias, version=number, reason=reason)
            self.on_point("label")

    def _differs(self, name: str, wanted: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
        feature, _ = OPTIONAL_FIELDS[name]
        return wanted[name] != there[name] and self.pair.target.supports(feature)

    def _note(self, version: ModelVersion, found: ModelVersion, losses: tuple[Loss, ...]) -> None:
        entry = Entry(
            kind=Kind.VERSION,
            source_id=f"{version.name}/{version.version}",
            target_id=f"{found.name}/{found.version}",
            source_print=print_of(version_fields(version)),
            target_print=print_of(version_fields(found)),
            digest=found.digest or "",
            losses=losses,
            time=self.pair.clock_ms(),
        )
        self.pair.ledger.put([entry])
        self.on_point("ledger")

    # History.

    def _carry_history(self, version: ModelVersion, after: Mapping[str, Any], run_id: str | None) -> None:
        """Put what happened to a version before beside its payload, where there is anything to tell."""
        if run_id is None:
            return
        origin = msgspec.convert(after["origin"], Origin)
        changes = self._earlier(version, origin) + self._own(version)
        if changes:
            writer = RunWriter(
                target=self.pair.target, run_id=run_id, subject=version.name, now_ms=self.pair.clock_ms()
            )
            writer.put_bytes(history_path(origin), encode_history(changes))
            self.on_point("history")

    def _earlier(self, version: ModelVersion, origin: Origin) -> list[CarriedChange]:
        place = split_artifact_uri(version.source)
        home = version.run_id if place is not None and is_model_id(place[0]) else place and place[0]
        if not home or self.pair.source.artifacts is None:
            return []
        return list(read_history(self.pair.source.artifacts, home, origin))

    def _own(self, version: ModelVersion) -> list[CarriedChange]:
        """Return the source's own history of a version; with the first comes what belongs to no version."""
        name = version.name
        if name not in self._histories:
            live = {found.version for found in self.pair.source.versions(name)}
            changes = [
                CarriedChange(registry=self.pair.source.uri, change=change)
                for change in self.pair.source.changes(name)
            ]
            self._histories[name] = (changes, frozenset(live), min(live, key=_number))
        changes, others, first = self._histories[name]
        is_first = version.version == first
        return [
            item
            for item in changes
            if item.change.version == version.version or (is_first and item.change.version not in others)
        ]


def _number(version: str) -> tuple[int, str]:
    return (int(version) if version.isdecimal() else 2**63, version)


def refuse_other_print(change: Change, fields: object) -> None:
    """Refuse an item that is not as it was planned.

    Raises:
        PlanStale: It has changed at the source.
    """
    if print_of(fields) != (change.after or {})["print"]:
        raise PlanStale(
            "it has changed at the source since the plan was made",
            operation="migrate",
            resource=change.subject,
            hint="make the plan anew",
        )
