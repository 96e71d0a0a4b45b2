"""The methods of mlflow 3's tracking store for logged models, on ``logged_models``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import mlflow.entities as entities
from mlflow.store.entities.paged_list import PagedList

from trackbridge.api import logged_models, model_tags
from trackbridge.api.logged_models import Document, ModelDocuments, checked_name
from trackbridge.api.mlflow_ids import told_experiment_id
from trackbridge.api.model_tags import Summary
from trackbridge.mlflow_plugin.errors import translates

if TYPE_CHECKING:
    from trackbridge.api.client import Client

PAGE_MODELS = 100
"""mlflow's own default."""


@translates
class LoggedModelMethods:
    """What mlflow 3 calls of a store besides runs."""

    _documents: ModelDocuments

    @property
    @abstractmethod
    def client(self) -> Client:
        """Our client."""

    def create_logged_model(
        self,
        experiment_id: str,
        name: str | None = None,
        source_run_id: str | None = None,
        tags: Sequence[Any] | None = None,
        params: Sequence[Any] | None = None,
        model_type: str | None = None,
    ) -> Any:
        """Make a model, PENDING, below the files of its run."""
        document = self._documents.create(
            name=checked_name(name),
            experiment_id=self._ours_unasked(experiment_id),
            experiment_name=self._name_of,
            source_run_id=source_run_id,
            tags={tag.key: tag.value for tag in tags or ()},
            params={param.key: param.value for param in params or ()},
            model_type=model_type,
        )
        return as_logged_model(document)

    @abstractmethod
    def _ours_unasked(self, experiment_id: str) -> str:
        """Return our id of an experiment as far as that is known without asking."""

    @abstractmethod
    def _ours(self, experiment_id: str) -> str:
        """Return our id of an experiment."""

    @abstractmethod
    def _name_of(self, experiment_id: str) -> str:
        """Return the name of an experiment."""

    def get_logged_model(self, model_id: str, allow_deleted: bool = False) -> Any:
        """Return a model."""
        return as_logged_model(self._documents.get(model_id, allow_deleted=allow_deleted))

    def finalize_logged_model(self, model_id: str, status: Any) -> Any:
        """Set the status of a model."""
        return as_logged_model(self._documents.finish(model_id, str(status.value)))

    def set_logged_model_tags(self, model_id: str, tags: Iterable[Any]) -> None:
        """Set tags of a model."""
        with self._documents.changed(model_id) as document:
            document.tags.update({tag.key: str(tag.value) for tag in tags})

    def delete_logged_model_tag(self, model_id: str, key: str) -> None:
        """Delete a tag of a model."""
        with self._documents.changed(model_id) as document:
            document.tags.pop(key, None)

    def log_logged_model_params(self, model_id: str, params: Iterable[Any]) -> None:
        """Add params to a model."""
        with self._documents.changed(model_id) as document:
            document.params.update({param.key: str(param.value) for param in params})

    def delete_logged_model(self, model_id: str) -> None:
        """Delete a model; its files stay."""
        with self._documents.changed(model_id) as document:
            document.summary.is_deleted = True

    def log_outputs(self, run_id: str, models: Iterable[Any]) -> None:
        """Say at which step a run put out models."""
        for model in models:
            self._documents.put_out(run_id, model.model_id, model.step)

    def _log_model_inputs(self, run_id: str, models: Iterable[Any]) -> None:
        tags = {model_tags.MODEL_INPUT + model.model_id: "read" for model in models}
        self.client.recorder(run_id).tags(tags)

    def search_logged_models(
        self,
        experiment_ids: list[str],
        filter_string: str | None = None,
        datasets: list[dict[str, Any]] | None = None,
        max_results: int | None = None,
        order_by: list[dict[str, Any]] | None = None,
        page_token: str | None = None,
    ) -> Any:
        """Return the models that fulfil a filter, newest first unless ordered, as mlflow's own code says."""
        from mlflow.utils.search_utils import SearchLoggedModelsUtils

        found = self._documents.search([self._ours(item) for item in experiment_ids])
        models = [FoundModel(self._documents, *item) for item in found]
        fitting = SearchLoggedModelsUtils.filter_logged_models(models, filter_string, datasets)
        in_order = SearchLoggedModelsUtils.sort(fitting, order_by)
        page, token = SearchLoggedModelsUtils.paginate(in_order, page_token, max_results or PAGE_MODELS)
        return PagedList(page, token)


def as_logged_model(document: Document) -> Any:
    """Return a document as mlflow's entity."""
    return entities.LoggedModel(
        **_of_summary(document.experiment_id, document.run_id, document.model_id, document.summary),
        status_message=document.status_message,
        tags=dict(document.tags),
        params=dict(document.params),
        metrics=metrics_of(document),
    )


def _of_summary(experiment_id: str, run_id: str, model_id: str, summary: Summary) -> dict[str, Any]:
    return {
        "experiment_id": told_experiment_id(experiment_id),
        "model_id": model_id,
        "name": summary.name,
        "artifact_location": logged_models.location(run_id, summary.path),
        "creation_timestamp": summary.created,
        "last_updated_timestamp": summary.updated,
        "model_type": summary.type,
        "source_run_id": run_id if summary.has_run else None,
        "status": entities.LoggedModelStatus(summary.status),
    }


def metrics_of(document: Document) -> list[Any]:
    """Return the points that belong to a model, as mlflow's."""
    return [
        entities.Metric(
            point.key,
            float(point.value),
            point.timestamp,
            point.step,
            model_id=document.model_id,
            dataset_name=point.dataset_name,
            dataset_digest=point.dataset_digest,
            run_id=document.run_id,
        )
        for point in document.points
    ]


_Base: Any = getattr(entities, "LoggedModel", object)


class FoundModel(_Base):  # type: ignore[misc]
    """A model that a search found; its document is read when somebody asks for what the summary lacks."""

    def __init__(
        self, documents: ModelDocuments, experiment_id: str, run_id: str, model_id: str, summary: Summary
    ) -> None:
        super().__init__(**_of_summary(experiment_id, run_id, model_id, summary))
        self._documents = documents
        self._read: Document | None = None

    def _document(self) -> Document:
        if self._read is None:
            self._read = self._documents.get(self.model_id)
        return self._read

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the model."""
        return dict(self._document().tags)

    @property
    def params(self) -> dict[str, str]:
        """Params of the model."""
        return dict(self._document().params)

    @property
    def metrics(self) -> list[Any]:
        """Points that belong to the model."""
        return metrics_of(self._document())
