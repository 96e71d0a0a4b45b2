"""The registry's part of the client: mlflow's names of its methods, on our port.

Reading and changing go to the registry at once, after what was logged is delivered. Every change says who
(the setting ``user``, else the login) and why (``why=``); a registry that keeps a history keeps both.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from trackbridge.api.model_results import Found, ModelVersion, RegisteredModel
from trackbridge.api.recorder import LoggedModel
from trackbridge.api.registration import Payload, find_payload, local_path_of, register_payload
from trackbridge.api.values import as_text, checked_mapping
from trackbridge.domain import models as domain
from trackbridge.domain.artifacts import ARTIFACT_SCHEME, split_artifact_uri
from trackbridge.domain.model_digest import MLMODEL, digest_of_path, files_of
from trackbridge.domain.model_references import (
    RegisteredReference,
    checked_alias,
    checked_model_name,
)
from trackbridge.domain.models import STAGES, Approval, RegistryChange
from trackbridge.domain.paging import Page
from trackbridge.domain.search import (
    And,
    Comparison,
    Entity,
    Expression,
    Operator,
    Query,
    matches_model,
    ordered_models,
    parse_model_query,
    parse_version_query,
)
from trackbridge.errors import Conflict, InvalidInput, NotFound
from trackbridge.operations.model_payloads import all_versions, registered_version

if TYPE_CHECKING:
    from trackbridge.api.reading import Reader
    from trackbridge.api.recorder import RunRecorder
    from trackbridge.api.registry_binding import RegistryBinding
    from trackbridge.api.session import Session

Item = TypeVar("Item")

MODELS_FILTERED_MAX = 10_000
SEARCH_RESULTS_MAX = 1000


class RegistryMethods(ABC):
    """Registered models of a client."""

    reader: Reader
    models: RegistryBinding
    session: Session

    @abstractmethod
    def recorder(self, run_id: str) -> RunRecorder:
        """Return this process's recorder of a run."""

    @abstractmethod
    def open_run_here(self, run_name: str) -> RunRecorder:
        """Open a run in the configured experiment, and say where it comes from."""

    @abstractmethod
    def set_terminated(self, run_id: str) -> None:
        """End a run."""

    @property
    def registry_uri(self) -> str:
        """The tracking URI of the registry: the setting ``registry_uri``, else the first tracking URI."""
        return self.models.uri

    # Models.

    def create_registered_model(
        self,
        name: str,
        tags: Mapping[str, object] | None = None,
        description: str | None = None,
        *,
        why: str = "",
    ) -> RegisteredModel:
        """Create a model without versions.

        Raises:
            Conflict: There is one of this name.
            InvalidInput: No registry could hold the name.
        """
        checked_model_name(name)
        port = self.models.drained()
        try:
            port.get_model(name)
        except NotFound:
            made = port.ensure_model(
                name, description=description or "", tags=_texts(tags), reason=self.models.reason(why)
            )
            return RegisteredModel.of(made)
        raise Conflict(
            f"the model {name!r} exists already",
            operation="create_registered_model",
            hint="register_model adds versions to it",
        )

    def get_registered_model(self, name: str) -> RegisteredModel:
        """Return a model with its aliases and tags.

        Raises:
            NotFound: There is none of this name.
        """
        return RegisteredModel.of(self.models.drained().get_model(name))

    def update_registered_model(self, name: str, description: str, *, why: str = "") -> RegisteredModel:
        """Replace the description of a model and return it."""
        port = self.models.drained()
        port.set_description(name, None, description=description, reason=self.models.reason(why))
        return RegisteredModel.of(port.get_model(name))

    def delete_registered_model(self, name: str, *, why: str = "") -> None:
        """Delete a model with all its versions; the files stay. Deleting an absent one succeeds."""
        self.models.drained().delete_model(name, reason=self.models.reason(why))

    def search_registered_models(
        self,
        filter_string: str | None = None,
        max_results: int = 100,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> Found[RegisteredModel]:
        """Return the models that fulfil a filter such as ``name LIKE 'wine%'``, in order of name.

        Args:
            filter_string: Over ``name``, ``alias``, ``description``, ``tags.KEY`` and the times.
            max_results: How many at the most; ``token`` of the result asks for more.
            order_by: Columns such as ``last_update_time DESC``.
            page_token: The token of an earlier result of the same search.

        Raises:
            InvalidQuery: The filter or the order is wrong; the error says where.
        """
        query = parse_model_query(_filter(filter_string), _columns(order_by))
        found = _fulfilling(query, self._all_models())
        return _page([RegisteredModel.of(model) for model in found], max_results, page_token)

    def set_registered_model_tag(self, name: str, key: str, value: object, *, why: str = "") -> None:
        """Set a tag of a model."""
        self._tag(name, None, key, as_text(value, key=key, kind="tag"), why)

    def delete_registered_model_tag(self, name: str, key: str, *, why: str = "") -> None:
        """Delete a tag of a model; deleting an absent one succeeds."""
        self._tag(name, None, key, None, why)

    def set_registered_model_alias(self, name: str, alias: str, version: str | int, *, why: str = "") -> None:
        """Point an alias at a version, away from any other.

        Raises:
            NotFound: There is no such version.
            InvalidInput: The alias is ``latest``, looks like a version, or has other than ``A-Za-z0-9_-``.
        """
        self.models.drained().set_alias(
            name, checked_alias(alias), version=str(version), reason=self.models.reason(why)
        )

    def delete_registered_model_alias(self, name: str, alias: str, *, why: str = "") -> None:
        """Take an alias away; deleting an absent one succeeds."""
        self.models.drained().set_alias(
            name, checked_alias(alias), version=None, reason=self.models.reason(why)
        )

    # Versions.

    def register_model(
        self,
        model_uri: str | os.PathLike[str],
        name: str,
        *,
        tags: Mapping[str, object] | None = None,
        description: str = "",
        why: str = "",
        run_id: str | None = None,
    ) -> ModelVersion:
        """Register a model and return its version; the model's name is made when there is none.

        The same files registered again under the same name are one version.

        Args:
            model_uri: ``runs:/RUN_ID/PATH``, ``models:/…``, the path of a folder or file, or an address of
                the backend's own, such as ``azureml://registries/R/models/M/versions/V``.
            name: The name.
            tags: Tags of the version.
            description: Description of the version.
            why: For the history.
            run_id: The run that a folder or file is logged to; None for a new one.

        Raises:
            NotFound: There is nothing at the address.
            Rejected: The registry cannot hold the name, or so many files; no run is made.
            Unavailable: The backend cannot be reached.
            Unsupported: It has no registry.
        """
        port, address = self.models.port, os.fspath(model_uri)
        checked_model_name(name)
        path = local_path_of(address)
        texts = _texts(tags)
        description = as_text(description or "", key="description", kind="model")
        if path is not None:
            self._check_path(path, name)
            known = self._same_files(path, name) if run_id is None else None
            if known is not None:
                return known
            address = self._log_path(path, name, run_id)
        payload = find_payload(address, self.reader, self.models)
        reason = self.models.reason(why)
        port.ensure_model(name, reason=reason)
        version = register_payload(
            payload, name, self.models, description=description, tags=texts, reason=reason
        )
        self._keep_files(address, payload)
        return ModelVersion.of(version)

    def create_model_version(
        self,
        name: str,
        source: str,
        run_id: str | None = None,
        tags: Mapping[str, object] | None = None,
        run_link: str | None = None,
        description: str | None = None,
        *,
        why: str = "",
    ) -> ModelVersion:
        """Register what lies at an address as a version of a model that exists.

        The same files at the same address are one version, however often they are registered.

        Args:
            name: The model.
            source: ``runs:/RUN_ID/PATH``, ``bridge-artifacts:/…``, ``models:/…`` (a copy that remembers where
                it came from), the path of a folder or a file, or an address of the backend's own.
            run_id: The run that it came from, where the address does not say.
            tags: Tags of the version.
            run_link: Without effect; it stands here because mlflow has it here.
            description: What it is.
            why: For the history.

        Raises:
            NotFound: There is no such model, or nothing at the address.
        """
        payload = find_payload(source, self.reader, self.models)
        version = register_payload(
            payload,
            name,
            self.models,
            run_id=run_id,
            description=description or "",
            tags=_texts(tags),
            reason=self.models.reason(why),
        )
        self._keep_files(source, payload)
        return ModelVersion.of(version)

    def copy_model_version(self, src_model_uri: str, dst_name: str, *, why: str = "") -> ModelVersion:
        """Register a version under another name, which is made when there is none of it."""
        checked_model_name(dst_name)
        port = self.models.drained()
        find_payload(src_model_uri, self.reader, self.models)  # no model is made for what cannot be copied
        port.ensure_model(dst_name, reason=self.models.reason(why))
        return self.create_model_version(dst_name, src_model_uri, why=why)

    def get_model_version(self, name: str, version: str | int) -> ModelVersion:
        """Return a version.

        Raises:
            NotFound: There is no such version.
        """
        return ModelVersion.of(self.models.drained().get_version(name, str(version)))

    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        """Return the version that an alias points at; ``latest`` is the newest.

        Raises:
            NotFound: There is no such model or alias.
        """
        reference = RegisteredReference(name, alias=None if alias == "latest" else alias)
        return ModelVersion.of(registered_version(reference, self.models.drained()))

    def get_latest_versions(self, name: str, stages: Sequence[str] | None = None) -> list[ModelVersion]:
        """Return the newest version of each stage; ``stages`` names some, None means all.

        Raises:
            NotFound: There is no such model.
        """
        port = self.models.drained()
        port.get_model(name)
        wanted = STAGES if stages is None else [checked_stage(stage) for stage in stages]
        newest: dict[str, ModelVersion] = {}
        for version in all_versions(port, name):
            if version.stage in wanted:
                newest.setdefault(version.stage, ModelVersion.of(version))
        return [newest[stage] for stage in wanted if stage in newest]

    def search_model_versions(
        self,
        filter_string: str | None = None,
        max_results: int = 10_000,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
    ) -> Found[ModelVersion]:
        """Return the versions that fulfil a filter such as ``name = 'wine' and stage = 'Production'``.

        Args:
            filter_string: Over ``name``, ``version_number``, ``run_id``, ``source``, ``stage``, ``approval``,
                ``alias``, ``digest``, ``user``, ``description``, ``tags.KEY`` and the times.
            max_results: How many at the most; ``token`` of the result asks for more.
            order_by: Columns such as ``version_number DESC``; by default name, then newest first.
            page_token: The token of an earlier result of the same search.

        Raises:
            InvalidQuery: The filter or the order is wrong; the error says where.
        """
        query = parse_version_query(_filter(filter_string), _columns(order_by))
        port = self.models.drained()
        name = _only_name(query.filter)
        names = [name] if name is not None else (model.name for model in self._all_models())
        versions = (version for name in names for version in all_versions(port, name))
        found = _fulfilling(query, versions)
        return _page([ModelVersion.of(version) for version in found], max_results, page_token)

    def update_model_version(
        self, name: str, version: str | int, description: str | None = None, *, why: str = ""
    ) -> ModelVersion:
        """Replace the description of a version and return it."""
        port = self.models.drained()
        port.set_description(
            name, str(version), description=description or "", reason=self.models.reason(why)
        )
        return ModelVersion.of(port.get_version(name, str(version)))

    def transition_model_version_stage(
        self,
        name: str,
        version: str | int,
        stage: str,
        archive_existing_versions: bool = False,
        *,
        why: str = "",
    ) -> ModelVersion:
        """Set the stage of a version and return it.

        Args:
            name: The model.
            version: Its number.
            stage: None, Staging, Production or Archived, in any case.
            archive_existing_versions: Archive the other versions of that stage; only Staging and Production.
            why: For the history.

        Raises:
            NotFound: There is no such version.
            InvalidInput: There is no such stage, or its versions are not to be archived.
        """
        stage, port, reason = checked_stage(stage), self.models.drained(), self.models.reason(why)
        if archive_existing_versions and stage not in ("Staging", "Production"):
            raise InvalidInput(
                f"the versions of the stage {stage} cannot be archived",
                operation="transition_model_version_stage",
                hint="archive_existing_versions goes with Staging and Production",
            )
        port.set_stage(name, str(version), stage=stage, reason=reason)
        for other in list(all_versions(port, name)) if archive_existing_versions else ():
            if other.stage == stage and other.version != str(version):
                port.set_stage(name, other.version, stage="Archived", reason=reason)
        return ModelVersion.of(port.get_version(name, str(version)))

    def set_model_version_approval(
        self, name: str, version: str | int, approval: str | Approval, *, why: str = ""
    ) -> ModelVersion:
        """Approve or reject a version for deployment, or set it back to pending, and return it.

        Raises:
            NotFound: There is no such version.
            InvalidInput: It is none of pending, approved and rejected.
        """
        port = self.models.drained()
        port.set_approval(
            name, str(version), approval=checked_approval(approval), reason=self.models.reason(why)
        )
        return ModelVersion.of(port.get_version(name, str(version)))

    def set_model_version_tag(
        self, name: str, version: str | int, key: str, value: object, *, why: str = ""
    ) -> None:
        """Set a tag of a version."""
        self._tag(name, str(version), key, as_text(value, key=key, kind="tag"), why)

    def delete_model_version_tag(self, name: str, version: str | int, key: str, *, why: str = "") -> None:
        """Delete a tag of a version; deleting an absent one succeeds."""
        self._tag(name, str(version), key, None, why)

    def delete_model_version(self, name: str, version: str | int, *, why: str = "") -> None:
        """Delete a version and its aliases; the files stay. Deleting an absent one succeeds."""
        self.models.drained().delete_version(name, str(version), reason=self.models.reason(why))

    def get_model_history(
        self, name: str, version: str | int | None = None, max_results: int = SEARCH_RESULTS_MAX
    ) -> list[RegistryChange]:
        """Return the changes of a model with all its versions, or of one version, newest first.

        Raises:
            Unsupported: The registry keeps no history.
        """
        port, number = self.models.drained(), None if version is None else str(version)
        found: list[RegistryChange] = []
        for change in _pages(lambda token: port.list_changes(name, number, token=token)):
            if len(found) == max_results:
                break
            found.append(change)
        return found

    def _same_files(self, path: Path, name: str) -> ModelVersion | None:
        """Return the newest version with the files of a path."""
        digest = digest_of_path(path)
        versions = all_versions(self.models.drained(), name)
        return next((ModelVersion.of(version) for version in versions if version.digest == digest), None)

    def _check_path(self, path: Path, name: str) -> None:
        """Refuse a folder or a file that is known not to become a version, before a run is made for it.

        Raises:
            NotFound: There is nothing.
            Rejected: The registry cannot hold the name, or so many files.
        """
        self.models.check_files(sum(1 for _ in files_of(path)))
        self.models.check_name(name, is_mlflow=(path / MLMODEL).is_file())

    def _log_path(self, path: Path, name: str, run_id: str | None) -> str:
        """Log a folder or a file to a run, so that every version has one, and return its address."""
        from trackbridge.api.logging_models import DEFAULT_NAME, PLACE_DIGITS, ModelLogging, log

        if run_id is not None:  # which may have a model already: its files stay as they are
            digits = digest_of_path(path).rpartition(":")[2][:PLACE_DIGITS]
            how = ModelLogging(name=f"{DEFAULT_NAME}-{digits}")
            return log(path, how, self.recorder(run_id), self.models).model_uri
        recorder = self.open_run_here(f"register {name}")
        try:
            return log(path, ModelLogging(), recorder, self.models).model_uri
        finally:
            self.set_terminated(recorder.run_id)

    def _keep_files(self, address: str, payload: Payload) -> None:
        """See to it that what this process logs later does not change the files of a registered version."""
        place = split_artifact_uri(payload.source) or split_artifact_uri(address)
        if place is None and address.startswith("runs:"):  # a registry elsewhere has another address
            place = split_artifact_uri(address.replace("runs:", f"{ARTIFACT_SCHEME}:", 1))
        recorder = None if place is None else self.session.recorders.get(place[0])
        if place is None or recorder is None:
            return
        path = place[1].strip("/")
        before = recorder.models.get(path)
        members = before.members if before is not None else frozenset()
        recorder.models[path] = LoggedModel(payload.digest, members, is_registered=True)

    def _all_models(self) -> Iterator[domain.RegisteredModel]:
        port = self.models.drained()
        return _pages(lambda token: port.list_models(token=token))

    def _tag(self, name: str, version: str | None, key: str, value: str | None, why: str) -> None:
        self.models.drained().set_tags(name, version, tags={key: value}, reason=self.models.reason(why))


def checked_stage(stage: str) -> str:
    """Return the stage in its own spelling.

    Raises:
        InvalidInput: There is no such stage.
    """
    found = next((known for known in STAGES if known.lower() == str(stage).lower()), None)
    if found is None:
        raise InvalidInput(f"there is no stage {stage!r}", hint=f"use one of {', '.join(STAGES)}")
    return found


def checked_approval(approval: str | Approval) -> Approval:
    """Return the approval that a text means.

    Raises:
        InvalidInput: It means none.
    """
    try:
        return Approval(approval.lower())
    except ValueError as error:
        raise InvalidInput(
            f"a version cannot be {approval!r}", hint=f"use {', '.join(item.value for item in Approval)}"
        ) from error


def _texts(tags: Mapping[str, object] | None) -> dict[str, str]:
    given = checked_mapping(tags or {}, of="tags")
    return {str(key): as_text(value, key=str(key), kind="tag") for key, value in given.items()}


def _filter(text: str | None) -> str:
    if text is None or isinstance(text, str):
        return text or ""
    raise InvalidInput(f"a filter must be text, not {type(text).__name__}", hint="for example: name = 'wine'")


def _columns(order_by: str | Sequence[str] | None) -> tuple[str, ...]:
    return (order_by,) if isinstance(order_by, str) else tuple(order_by or ())


def _only_name(expression: Expression | None) -> str | None:
    """Return the one model that a filter asks for, where it does, so that no other needs to be read."""
    terms = expression.terms if isinstance(expression, And) else (expression,)
    for term in terms:
        if isinstance(term, Comparison) and msgspec.structs.replace(term, value=None) == _NAME_IS:
            return str(term.value)
    return None


_NAME_IS = Comparison(Entity.ATTRIBUTE, "name", Operator.EQ)

Registered = TypeVar("Registered", domain.RegisteredModel, domain.ModelVersion)


def _fulfilling(query: Query, items: Iterator[Registered]) -> list[Registered]:
    """Return what fulfils a query, in its order.

    Raises:
        InvalidInput: There are too many to look at.
    """
    found: list[Registered] = []
    for number, item in enumerate(items):
        if number == MODELS_FILTERED_MAX:
            raise InvalidInput(
                f"the search would read more than {MODELS_FILTERED_MAX:,} models or versions",
                operation="search_models",
                hint="ask for one model with get_latest_versions, or page through the registry port",
            )
        if matches_model(query.filter, item):
            found.append(item)
    return ordered_models(found, query.order_by)


def _pages(read: Callable[[str | None], Page[Item]]) -> Iterator[Item]:
    token: str | None = None
    while True:
        page = read(token)
        yield from page
        token = page.token
        if token is None:
            return


def _page(items: list[Item], max_results: int, token: str | None) -> Found[Item]:
    """Cut one page out of a list; the token is the index of its first item."""
    if type(max_results) is not int or max_results < 1:
        raise InvalidInput(f"max_results must be a positive whole number, not {max_results!r}")
    if token is not None and not (token.isascii() and token.isdecimal()):
        raise InvalidInput(f"the page token {token!r} was not given out by this search")
    start = int(token or 0)
    end = start + max_results
    return Found(items[start:end], str(end) if end < len(items) else None)
