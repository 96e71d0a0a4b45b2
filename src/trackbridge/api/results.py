"""What reading returns: the values of the domain, with a face for notebooks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from trackbridge.domain import runs as domain

if TYPE_CHECKING:
    from typing_extensions import Self


class Run(domain.Run, frozen=True, kw_only=True):
    """A run as it stood when it was read: ``info``, ``data`` and ``inputs``."""

    @classmethod
    def of(cls, run: domain.Run) -> Self:
        """Take over a run of the domain."""
        return cls(info=run.info, data=run.data, inputs=run.inputs)

    def __repr__(self) -> str:
        from trackbridge.api.display import run_text

        return run_text(self)

    def _repr_html_(self) -> str:
        from trackbridge.api.display import run_html

        return run_html(self)


class Experiment(domain.Experiment, frozen=True, kw_only=True):
    """An experiment as it stood when it was read."""

    @classmethod
    def of(cls, experiment: domain.Experiment) -> Self:
        """Take over an experiment of the domain."""
        return cls(**{name: getattr(experiment, name) for name in experiment.__struct_fields__})

    def __repr__(self) -> str:
        from trackbridge.api.display import experiment_text

        return experiment_text(self)

    def _repr_html_(self) -> str:
        from trackbridge.api.display import experiment_html

        return experiment_html(self)


class Runs(list[Run]):
    """Runs that a search found. ``token`` asks for the next page; None: this is the last."""

    def __init__(self, runs: Iterable[domain.Run] = (), token: str | None = None) -> None:
        super().__init__(Run.of(run) for run in runs)
        self.token = token

    def to_frame(self, library: str = "pandas") -> Any:
        """Return a pandas (or ``"polars"``) frame with mlflow's columns: ``run_id``, ``metrics.x`` and so on.

        Raises:
            MissingExtra: The library is not installed.
        """
        from trackbridge.api.frames import runs_frame

        return runs_frame(self, library)

    def to_json(self) -> str:
        """Return the runs as a JSON list."""
        return msgspec.json.encode(list(self)).decode()

    def _repr_html_(self) -> str:
        from trackbridge.api.display import runs_html

        return runs_html(self)


class Experiments(list[Experiment]):
    """Experiments that a search found. ``token`` asks for the next page; None: this is the last."""

    def __init__(self, experiments: Iterable[domain.Experiment] = (), token: str | None = None) -> None:
        super().__init__(Experiment.of(experiment) for experiment in experiments)
        self.token = token

    def _repr_html_(self) -> str:
        from trackbridge.api.display import experiments_html

        return experiments_html(self)
