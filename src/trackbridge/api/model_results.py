"""What the registry and ``log_model`` return: the values of the domain, with mlflow's names for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from trackbridge.domain import models as domain

if TYPE_CHECKING:
    from typing_extensions import Self

Item = TypeVar("Item")


class ModelVersion(domain.ModelVersion, frozen=True, kw_only=True):
    """A registered version as it stood when it was read."""

    @classmethod
    def of(cls, version: domain.ModelVersion) -> Self:
        """Take over a version of the domain."""
        return cls(**{name: getattr(version, name) for name in version.__struct_fields__})

    @property
    def current_stage(self) -> str:
        """mlflow's name of ``stage``."""
        return self.stage

    @property
    def status(self) -> str:
        """READY: registering returns when the version is there."""
        return "READY"

    @property
    def user_id(self) -> str:
        """mlflow's name of ``user``."""
        return self.user

    @property
    def creation_timestamp(self) -> int | None:
        """mlflow's name of ``creation_time``."""
        return self.creation_time

    @property
    def last_updated_timestamp(self) -> int | None:
        """mlflow's name of ``last_update_time``."""
        return self.last_update_time


class RegisteredModel(domain.RegisteredModel, frozen=True, kw_only=True):
    """A registered model as it stood when it was read."""

    @classmethod
    def of(cls, model: domain.RegisteredModel) -> Self:
        """Take over a model of the domain."""
        return cls(**{name: getattr(model, name) for name in model.__struct_fields__})

    @property
    def creation_timestamp(self) -> int | None:
        """mlflow's name of ``creation_time``."""
        return self.creation_time

    @property
    def last_updated_timestamp(self) -> int | None:
        """mlflow's name of ``last_update_time``."""
        return self.last_update_time


class Found(list[Item]):
    """What a search found. ``token`` asks for the next page; None: this is the last."""

    def __init__(self, items: Iterable[Item] = (), token: str | None = None) -> None:
        super().__init__(items)
        self.token = token


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What was logged as a model: the attributes of mlflow's ``ModelInfo``, where they exist, and a digest.

    ``signature`` is mlflow's object, ``flavors`` what the MLmodel file says; both are empty for a plain
    folder or file. ``registered_model_version`` is None, because registration is delivered later;
    ``registered_model_name`` says that it will be.
    """

    model_uri: str
    run_id: str
    artifact_path: str
    digest: str
    flavors: dict[str, Any] = field(default_factory=dict)
    signature: Any = None
    requirements: tuple[str, ...] = ()
    model_uuid: str | None = None
    mlflow_version: str | None = None
    utc_time_created: str | None = None
    saved_input_example_info: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    registered_model_name: str | None = None
    registered_model_version: str | None = None

    @property
    def name(self) -> str:
        """The name that it was logged under."""
        return self.artifact_path
