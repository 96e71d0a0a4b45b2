"""What the program of a job finds in its environment: its run, whether it tracks, where its records stay.

``BRIDGE_TRACKING=off`` switches tracking off for a process: every call is accepted and goes nowhere. Without
it, of the processes that torchrun or MPI start in a job only the first of all (rank 0) tracks, because it
speaks for the others, too; ``BRIDGE_TRACKING=on`` lets each of them add to the run, which ends as rank 0
says.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from trackbridge.errors import ConfigError

VARIABLE_JOB = "BRIDGE_JOB_ID"
VARIABLE_RUN = "BRIDGE_RUN_ID"
VARIABLE_TRACKING = "BRIDGE_TRACKING"
RANK_VARIABLES = ("RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK")
"""By torchrun, Open MPI, PMIx, MPICH and Intel MPI."""


def rank(environ: Mapping[str, str] = os.environ) -> int:
    """Return the number of this process among those of its job; 0 outside of jobs, and where nobody says."""
    if VARIABLE_JOB not in environ:
        return 0
    found = (environ.get(name, "") for name in RANK_VARIABLES)
    return next((int(text) for text in found if text.isdecimal()), 0)


def is_tracking(environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether this process tracks.

    Raises:
        ConfigError: ``BRIDGE_TRACKING`` is neither ``on`` nor ``off``.
    """
    said = environ.get(VARIABLE_TRACKING, "").strip().lower()
    if said not in ("", "on", "off"):
        raise ConfigError(
            f"{VARIABLE_TRACKING} is neither on nor off", hint=f"unset it, or set {VARIABLE_TRACKING}=off"
        )
    tracks = said == "on" or (said != "off" and rank(environ) == 0)
    if not tracks:
        _tell_once(environ)
    return tracks


def only_adds(run_id: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether this process adds to a run that rank 0 of its job has open, and ends."""
    return rank(environ) > 0 and environ.get(VARIABLE_RUN) == run_id


def is_attempt(run_id: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether this process is an attempt of the job for which a run was opened."""
    return VARIABLE_JOB in environ and environ.get(VARIABLE_RUN) == run_id


_told = False


def _tell_once(environ: Mapping[str, str]) -> None:
    global _told
    if not _told:
        _told = True
        logging.getLogger("trackbridge").debug(
            "this process (rank %d) does not track: its calls are accepted and go nowhere", rank(environ)
        )
