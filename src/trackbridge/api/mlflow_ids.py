"""mlflow's own ids of experiments: that of ``Default`` is "0", every other is ours."""

from __future__ import annotations

from trackbridge.domain.ids import experiment_id_of
from trackbridge.domain.runs import DEFAULT_EXPERIMENT

DEFAULT_EXPERIMENT_ID = "0"
"""mlflow's id of the experiment ``Default``."""

OUR_DEFAULT_ID = experiment_id_of(DEFAULT_EXPERIMENT)


def told_experiment_id(ours: str) -> str:
    """Return what mlflow's clients are told as the id of an experiment."""
    return DEFAULT_EXPERIMENT_ID if ours == OUR_DEFAULT_ID else ours


def our_experiment_id(told: str) -> str:
    """Return our id of an experiment that a client of mlflow names."""
    return OUR_DEFAULT_ID if told == DEFAULT_EXPERIMENT_ID else told
