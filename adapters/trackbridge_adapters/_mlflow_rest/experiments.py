"""Experiments on an MLflow endpoint: found by name, by our id in a tag, or by their native id."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from trackbridge.domain.ids import experiment_id_of, is_minted
from trackbridge.domain.runs import Experiment, LifecycleStage
from trackbridge.errors import BridgeError, NotFound, Rejected
from trackbridge_adapters._mlflow_rest.conversions import (
    STAGE_VIEWS,
    TAG_EXPERIMENT_ID,
    experiment_of,
    key_value_list,
    key_values,
    stage_of,
)
from trackbridge_adapters._mlflow_rest.run_ids import EXPERIMENT, NativeIds
from trackbridge_adapters._mlflow_rest.wire import Json, Wire

PAGE_ITEMS = 1000


class Experiments:
    """The experiments of one endpoint."""

    def __init__(self, wire: Wire, ids: NativeIds) -> None:
        self._wire = wire
        self._ids = ids
        self._service = wire.service
        self._natives: dict[str, list[str]] = {}  # our id -> every experiment that has it in its tag

    def ensure(self, name: str, experiment_id: str, tags: dict[str, str]) -> Experiment:
        """Find an experiment by name, else by our id (it was renamed), else create it; set the tags."""
        found = self._by_name(name) or self._renamed(experiment_id)
        if found is None:
            with self._ids.creating(f"experiment {name}"):
                found = self._by_name(name) or self._create(name, experiment_id, tags)
        return self._with_tags(found, tags)

    def native_id(self, experiment_id: str) -> str:
        """Return the native id of an experiment, given ours or the native one.

        Raises:
            NotFound: There is no such experiment.
        """
        known = self._ids.native(EXPERIMENT, experiment_id)
        if known is not None:
            return known
        if not is_minted(experiment_id):
            found = self.by_native_id(experiment_id)
            return str(found["experiment_id"])
        meant = self._among(self.pages(None), experiment_id)
        if meant is None:
            raise self._not_found(experiment_id)
        native = str(meant["experiment_id"])
        self._ids.remember(EXPERIMENT, experiment_id, native)
        return native

    def all_native_ids(self, experiment: Experiment, experiment_id: str) -> list[str]:
        """Return where runs that were opened in an experiment may be.

        Args:
            experiment: As it was found by its name.
            experiment_id: Our id of that name. Whoever renames an experiment, and makes another of the old
                name, leaves two: the runs are in the first. The server is asked once for each id.
        """
        if experiment_id not in self._natives:
            self._natives[experiment_id] = [
                str(found["experiment_id"]) for found in self.pages(None) if _tag_of(found) == experiment_id
            ]
        by_name = experiment.native_id or experiment.experiment_id
        return list(dict.fromkeys([by_name, *self._natives[experiment_id]]))

    def by_native_id(self, native: str) -> Json:
        """Return an experiment as the server has it.

        Raises:
            NotFound: There is none.
        """
        try:
            found: Json = self._wire.get("experiments/get", {"experiment_id": native})["experiment"]
        except (NotFound, Rejected) as error:  # an id of a form that the server does not have is "invalid"
            raise self._not_found(native) from error
        return found

    def get(self, experiment_id: str) -> Experiment:
        """Return an experiment by either id."""
        return self.converted(self.by_native_id(self.native_id(experiment_id)))

    def our_id(self, native: str) -> str:
        """Return the id under which users know an experiment."""
        known = self._ids.ours(EXPERIMENT, native)
        return known if known is not None else self.converted(self.by_native_id(native)).experiment_id

    def pages(self, stage: LifecycleStage | None) -> Iterator[Json]:
        """Yield every experiment as the server has it."""
        token: str | None = None
        while True:
            body: Json = {"max_results": PAGE_ITEMS, "view_type": STAGE_VIEWS[stage]}
            if token:
                body["page_token"] = token
            answer = self._wire.post("experiments/search", body)
            yield from answer.get("experiments") or ()
            token = answer.get("next_page_token")
            if not token:
                return

    def converted(self, found: Json) -> Experiment:
        """Return the experiment, and remember the pair of its ids."""
        experiment = experiment_of(found, name=self._name(found))
        native = str(found["experiment_id"])
        if self._ids.ours(EXPERIMENT, native) is None:
            # Of two that have our id, one renamed and deleted, the other is meant.
            is_meant = experiment.lifecycle_stage is LifecycleStage.ACTIVE
            if is_meant or self._ids.native(EXPERIMENT, experiment.experiment_id) is None:
                self._ids.remember(EXPERIMENT, experiment.experiment_id, native)
            else:
                self._ids.note_ours(EXPERIMENT, experiment.experiment_id, native)
        return experiment

    def _name(self, found: Json) -> str:
        native, tag = str(found.get("name", "")), _tag_of(found)
        names = self._service.experiment_names(native)
        if tag is None:
            return names[0]
        return next(
            (name for name in names if experiment_id_of(name) == tag),
            self._service.our_experiment_name(native),
        )

    def _ids_of(self, found: Json) -> set[str]:
        """Return every id by which an experiment may be asked for."""
        names = self._service.experiment_names(str(found.get("name", "")))
        return {str(found["experiment_id"]), _tag_of(found) or "", *map(experiment_id_of, names)}

    def _by_name(self, name: str) -> Json | None:
        query = {"experiment_name": self._service.experiment_name(name)}
        try:
            found: Json = self._wire.get("experiments/get-by-name", query)["experiment"]
        except NotFound:
            return None
        if found.get("lifecycle_stage") == "deleted":
            raise Rejected(
                f"the experiment {name!r} was deleted",
                adapter=self._service.adapter,
                resource=f"experiment {found['experiment_id']}",
                hint=f"restore it: bridge experiments restore {self.converted(found).experiment_id}",
            )
        return found

    def _renamed(self, experiment_id: str) -> Json | None:
        """Return the active experiment that has our id in its tag."""
        known = self._ids.native(EXPERIMENT, experiment_id)
        if known is not None:
            with contextlib.suppress(NotFound):
                found = self.by_native_id(known)
                if _tag_of(found) == experiment_id and _is_active(found):
                    return found
        active = self.pages(LifecycleStage.ACTIVE)
        return next((found for found in active if _tag_of(found) == experiment_id), None)

    def _among(self, experiments: Iterable[Json], experiment_id: str) -> Json | None:
        """Return the experiment that our id means: an active one before one that was deleted."""
        candidates = [found for found in experiments if experiment_id in self._ids_of(found)]
        return max(candidates, key=_is_active, default=None)

    def _create(self, name: str, experiment_id: str, tags: dict[str, str]) -> Json:
        body = {
            "name": self._service.experiment_name(name),
            "tags": key_value_list({**tags, TAG_EXPERIMENT_ID: experiment_id}),
        }
        try:
            native = self._created(body)
        except Rejected:
            found = self._by_name(name)  # somebody else was quicker
            if found is None:
                raise
            return found
        self._ids.remember(EXPERIMENT, experiment_id, native)
        return self.by_native_id(native)

    def _created(self, body: Json) -> str:
        try:
            return str(self._wire.post("experiments/create", body)["experiment_id"])
        except NotFound:
            if self._service.make_room is None:
                raise
        self._service.make_room(self._wire, str(body["name"]))
        return str(self._wire.post("experiments/create", body)["experiment_id"])

    def _with_tags(self, found: Json, tags: dict[str, str]) -> Experiment:
        current = key_values(found.get("tags"))
        changed = {key: value for key, value in tags.items() if current.get(key) != value}
        native = str(found["experiment_id"])
        for key, value in changed.items():
            body = {"experiment_id": native, "key": key, "value": value}
            self._wire.post("experiments/set-experiment-tag", body)
        return self.converted(self.by_native_id(native) if changed else found)

    def _not_found(self, experiment_id: str) -> BridgeError:
        return NotFound(
            f"there is no experiment {experiment_id!r}",
            adapter=self._service.adapter,
            hint="see: bridge experiments list",
        )


def _tag_of(found: Json) -> str | None:
    """Return our id in the tag of an experiment."""
    return key_values(found.get("tags")).get(TAG_EXPERIMENT_ID)


def _is_active(found: Json) -> bool:
    return stage_of(found.get("lifecycle_stage")) is LifecycleStage.ACTIVE
