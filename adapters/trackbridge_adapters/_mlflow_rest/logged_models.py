"""Logged models, MLflow 3's own: the server mints their ids, and the tag ``bridge.model_id`` holds ours."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import msgspec

from trackbridge.domain.page_tokens import listing_of, page_size, place_of, token_of
from trackbridge.domain.paging import Page
from trackbridge.domain.traces import LoggedModel, ModelLink, ModelMetric
from trackbridge.errors import Conflict, NotFound
from trackbridge.ports.capabilities import Feature
from trackbridge_adapters._mlflow_rest.capabilities import PAGE_ITEMS_MAX
from trackbridge_adapters._mlflow_rest.conversions import (
    key_value_list,
    key_values,
    milliseconds,
    number_of,
    value_text,
)
from trackbridge_adapters._mlflow_rest.wire import Json

if TYPE_CHECKING:
    from trackbridge_adapters._mlflow_rest.tracking import RestTracking

MODEL = "model"
"""The kind under which ``NativeIds`` keeps ids of logged models."""
TAG_MODEL_ID = "bridge.model_id"
ROUTE = "logged-models"
EXPERIMENTS_PER_SEARCH = 100
PARAMS_PER_CALL_MAX = 100
METRICS_PER_CALL_MAX = 500

_ID = re.compile(r"[A-Za-z0-9_\-]{1,64}")
Item = TypeVar("Item")
Search = Callable[[list[str], int, "str | None"], "tuple[list[Item], str | None]"]
"""Returns one page of the server's: native experiments, its size, the server's token to what was found."""

_STATUSES = {
    "READY": "LOGGED_MODEL_READY",
    "FAILED": "LOGGED_MODEL_UPLOAD_FAILED",
    "PENDING": "LOGGED_MODEL_PENDING",
}
_OUR_STATUSES = {theirs: ours for ours, theirs in _STATUSES.items()}


class LoggedModels:
    """The logged models of one endpoint."""

    def __init__(self, tracking: RestTracking) -> None:
        self._tracking = tracking
        self._wire = tracking.wire
        self._ids = tracking.ids
        self._adapter = tracking.service.adapter

    # Reading.

    def get(self, model_id: str) -> LoggedModel:
        """Return a logged model by our id or the server's."""
        return self._model_of(self._found(model_id))

    def root(self, model_id: str) -> str:
        """Return where the files of a logged model lie."""
        return str(self._found(model_id)["info"].get("artifact_uri", ""))

    def native_id(self, model_id: str) -> str:
        """Return the server's id of a logged model."""
        known = self._ids.native(MODEL, model_id)
        return known if known is not None else str(self._found(model_id)["info"]["model_id"])

    def our_id(self, native: str) -> str:
        """Return the id under which users know a logged model; one that is not there has no other."""
        known = self._ids.ours(MODEL, native)
        if known is not None:
            return known
        try:
            return self._model_of(self._native(native)).model_id
        except NotFound:
            return native

    def page(self, experiment_ids: tuple[str, ...], max_results: int, token: str | None) -> Page[LoggedModel]:
        """List the logged models of experiments."""
        return listed_by_experiment(
            self._tracking, "tracking.list_logged_models", experiment_ids, max_results, token, self._search
        )

    def _search(
        self, natives: list[str], size: int, token: str | None
    ) -> tuple[list[LoggedModel], str | None]:
        body: Json = {"experiment_ids": natives, "max_results": size}
        if token is not None:
            body["page_token"] = token
        with self._tracking.negotiation.optional(Feature.TRACKING_LOGGED_MODELS):
            answer = self._wire.post(f"{ROUTE}/search", body)
        return [self._model_of(found) for found in answer.get("models") or ()], answer.get("next_page_token")

    def _found(self, model_id: str) -> Json:
        """Return a logged model as the server has it; a remembered id that has gone is looked for again."""
        known = self._ids.native(MODEL, model_id)
        for native in [known, model_id] if known not in (None, model_id) else [model_id]:
            try:
                return self._native(str(native))
            except NotFound:
                self._ids.forget(MODEL, model_id)
        natives = [str(found["experiment_id"]) for found in self._tracking.experiments.pages(None)]
        found = self._tagged(model_id, natives)
        if found is None:
            raise NotFound(f"there is no logged model {model_id[:80]!r}", adapter=self._adapter)
        return found

    def _native(self, native: str) -> Json:
        if not _ID.fullmatch(native):
            raise NotFound(f"there is no logged model {native[:80]!r}", adapter=self._adapter)
        with self._tracking.negotiation.optional(Feature.TRACKING_LOGGED_MODELS):
            found: Json = self._wire.get(f"{ROUTE}/{native}")["model"]
        return found

    def _tagged(self, model_id: str, experiments: list[str]) -> Json | None:
        """Return the logged model that has our id in its tag; of several, the first by id."""
        if not _ID.fullmatch(model_id):
            return None
        found: list[Json] = []
        for start in range(0, len(experiments), EXPERIMENTS_PER_SEARCH):
            body = {
                "experiment_ids": experiments[start : start + EXPERIMENTS_PER_SEARCH],
                "filter": f"tags.`{TAG_MODEL_ID}` = '{model_id}'",
                "max_results": 10,
            }
            with self._tracking.negotiation.optional(Feature.TRACKING_LOGGED_MODELS):
                found += self._wire.post(f"{ROUTE}/search", body).get("models") or ()
        return min(found, key=lambda model: str(model["info"]["model_id"]), default=None)

    def _model_of(self, found: Json) -> LoggedModel:
        """Return a logged model of the server's under our ids."""
        info, data = found["info"], found.get("data") or {}
        native = str(info["model_id"])
        tags = key_values(info.get("tags"))
        ours = tags.pop(TAG_MODEL_ID, native)
        self._ids.note(MODEL, ours, native)
        return LoggedModel(
            model_id=ours,
            name=str(info.get("name", "")),
            experiment_id=self._tracking.experiments.our_id(str(info["experiment_id"])),
            source_run_id=self._our_run(str(info.get("source_run_id") or "")),
            model_type=str(info.get("model_type") or ""),
            status=_OUR_STATUSES.get(str(info.get("status")), "PENDING"),
            creation_time=milliseconds(info.get("creation_timestamp_ms")),
            params=key_values(data.get("params")),
            tags=tags,
            metrics=tuple(sorted(self._metric_of(item) for item in data.get("metrics") or ())),
            native_id=native if native != ours else None,
        )

    def _metric_of(self, item: Json) -> ModelMetric:
        return ModelMetric(
            key=str(item["key"]),
            step=int(item.get("step") or 0),
            timestamp=int(item.get("timestamp") or 0),
            value=number_of(item.get("value")),
            run_id=self._our_run(str(item.get("run_id") or "")),
            dataset_name=str(item.get("dataset_name") or ""),
            dataset_digest=str(item.get("dataset_digest") or ""),
        )

    def _our_run(self, native: str) -> str:
        try:
            return self._tracking.our_run_id(native) if native else ""
        except NotFound:
            return native

    # Writing.

    def put(self, model: LoggedModel) -> LoggedModel:
        """Create a logged model, or bring it up to date."""
        with self._ids.creating(model.model_id):
            found = self._existing(model) or self._create(model)
        current = self._model_of(found)
        native = str(found["info"]["model_id"])
        self._refuse_other(model, current)
        self._add_params(
            native, {key: model.params[key] for key in model.params if key not in current.params}
        )
        self._set_tags(native, current.tags, model.tags)
        self._add_metrics(native, set(model.metrics) - set(current.metrics))
        if model.status != current.status:
            status = _STATUSES.get(model.status, _STATUSES["PENDING"])
            self._wire.patch(f"{ROUTE}/{native}", {"model_id": native, "status": status})
        return self._model_of(self._native(native))

    def _existing(self, model: LoggedModel) -> Json | None:
        known = self._ids.native(MODEL, model.model_id)
        for native in {model.model_id: None, **({known: None} if known else {})}:
            try:
                return self._native(native)
            except NotFound:
                continue
        return self._tagged(model.model_id, [self._tracking.native_experiment_id(model.experiment_id)])

    def _create(self, model: LoggedModel) -> Json:
        body: Json = {
            "experiment_id": self._tracking.native_experiment_id(model.experiment_id),
            "name": model.name,
            "tags": key_value_list({**model.tags, TAG_MODEL_ID: model.model_id}),
        }
        if model.model_type:
            body["model_type"] = model.model_type
        if model.source_run_id:
            body["source_run_id"] = self._native_run(model.source_run_id)
        with self._tracking.negotiation.optional(Feature.TRACKING_LOGGED_MODELS):
            found: Json = self._wire.post(ROUTE, body)["model"]
        self._ids.remember(MODEL, model.model_id, str(found["info"]["model_id"]))
        return found

    def _native_run(self, run_id: str) -> str:
        try:
            return self._tracking.native_run_id(run_id)
        except NotFound:  # a run elsewhere, or none any more: kept as it was said
            return run_id

    def _refuse_other(self, model: LoggedModel, current: LoggedModel) -> None:
        for what, wanted, there in (
            ("name", model.name, current.name),
            ("type", model.model_type, current.model_type),
            *(
                (f"param {key[:80]!r}", value, current.params.get(key, value))
                for key, value in model.params.items()
            ),
        ):
            if wanted != there:
                raise Conflict(
                    f"there is a logged model {model.model_id} with another {what}",
                    adapter=self._adapter,
                    hint="a logged model keeps name, type and params; log another one",
                )

    def _add_params(self, native: str, params: Mapping[str, str]) -> None:
        items = iter(key_value_list(params))
        while some := list(islice(items, PARAMS_PER_CALL_MAX)):
            self._wire.post(f"{ROUTE}/{native}/params", {"model_id": native, "params": some})

    def _set_tags(self, native: str, current: Mapping[str, str], wanted: Mapping[str, str]) -> None:
        changed = {key: value for key, value in wanted.items() if current.get(key) != value}
        if changed:
            self._wire.patch(f"{ROUTE}/{native}/tags", {"model_id": native, "tags": key_value_list(changed)})
        for key in current.keys() - wanted.keys():
            self._wire.delete(
                f"{ROUTE}/{native}/tags/{quote(key, safe='')}", {"model_id": native, "tag_key": key}
            )

    def _add_metrics(self, native: str, metrics: Iterable[ModelMetric]) -> None:
        """Write metrics into the runs that measured them, each with its logged model."""
        by_run: dict[str, list[ModelMetric]] = defaultdict(list)
        for metric in sorted(metrics):
            by_run[metric.run_id].append(metric)
        for run_id, found in by_run.items():
            run = self._tracking.native_run_id(run_id)
            for start in range(0, len(found), METRICS_PER_CALL_MAX):
                points = [
                    _metric_json(metric, native) for metric in found[start : start + METRICS_PER_CALL_MAX]
                ]
                body = f'{{"run_id":{_text(run)},"metrics":[{",".join(points)}]}}'
                self._wire.post_encoded("runs/log-batch", body.encode())

    # Links of runs.

    def links_of(self, run: Json) -> tuple[ModelLink, ...]:
        """Return the logged models that a run of the server's made or read."""
        inputs = (run.get("inputs") or {}).get("model_inputs") or ()
        outputs = (run.get("outputs") or {}).get("model_outputs") or ()
        found = {ModelLink(model_id=self.our_id(str(item["model_id"]))) for item in inputs}
        found |= {
            ModelLink(model_id=self.our_id(str(item["model_id"])), step=int(item.get("step") or 0))
            for item in outputs
        }
        return tuple(sorted(found, key=lambda link: (link.model_id, link.step is None, link.step or 0)))

    def link(self, run: Json, links: tuple[ModelLink, ...]) -> None:
        """Note which logged models a run made or read."""
        there = {(link.model_id, link.step is None) for link in self.links_of(run)}
        missing = [link for link in links if (link.model_id, link.step is None) not in there]
        native = str(run["info"]["run_id"])
        inputs = [{"model_id": self.native_id(link.model_id)} for link in missing if link.step is None]
        outputs = [
            {"model_id": self.native_id(link.model_id), "step": link.step}
            for link in missing
            if link.step is not None
        ]
        with self._tracking.negotiation.optional(Feature.TRACKING_LOGGED_MODELS):
            if inputs:
                self._wire.post("runs/log-inputs", {"run_id": native, "models": inputs})
            if outputs:
                self._wire.post("runs/outputs", {"run_id": native, "models": outputs})


def listed_by_experiment(
    tracking: RestTracking,
    operation: str,
    experiment_ids: tuple[str, ...],
    max_results: int,
    token: str | None,
    search: Search[Item],
) -> Page[Item]:
    """Return a page of what a search of the server's finds in experiments, so many of them at once.

    A page's token is the place of the first of these experiments, and the server's own token within them.
    """
    adapter = tracking.service.adapter
    size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=adapter, operation=operation)
    listing = listing_of(operation, experiment_ids)
    place = place_of(token, listing, adapter=adapter, operation=operation, types=(int, str))
    start, inner = place or (0, None)
    natives = list(_natives(tracking, experiment_ids[start : start + EXPERIMENTS_PER_SEARCH]))
    found, more = search(natives, size, inner) if natives else ([], None)
    if more:
        return Page(items=tuple(found), token=token_of(listing, [start, more]))
    start += EXPERIMENTS_PER_SEARCH
    is_last = start >= len(experiment_ids)
    return Page(items=tuple(found), token=None if is_last else token_of(listing, [start, None]))


def _natives(tracking: RestTracking, experiment_ids: tuple[str, ...]) -> Iterator[str]:
    for experiment_id in experiment_ids:
        try:
            yield tracking.native_experiment_id(experiment_id)
        except NotFound:
            continue


def _metric_json(metric: ModelMetric, native: str) -> str:
    fields = {"key": metric.key, "timestamp": metric.timestamp, "step": metric.step, "model_id": native}
    if metric.dataset_name:
        fields |= {"dataset_name": metric.dataset_name, "dataset_digest": metric.dataset_digest}
    return f'{msgspec.json.encode(fields).decode()[:-1]},"value":{value_text(metric.value)}}}'


def _text(text: str) -> str:
    return msgspec.json.encode(text).decode()
