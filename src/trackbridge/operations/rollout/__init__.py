"""Rolling a model out in steps, watched by guards.

::

    plan_rollout -> (shown) -> run_plan: ledger -> deploy without traffic
        -> each step: share -> watch until the bake is over -> promote, or go back

``definition`` plans and begins, ``engine`` goes on with one until it has ended, ``guards`` judge, ``ledger``
keeps how far each is, ``ending`` ends one from outside.
"""

from trackbridge.operations.rollout.definition import (
    begin_rollout,
    fields_of,
    plan_rollout,
    raise_unless_promoted,
    spec_of_plan,
)
from trackbridge.operations.rollout.ending import abort_rollout, ended_rollout
from trackbridge.operations.rollout.engine import OnRollout, Told, resume_rollout, run_plan
from trackbridge.operations.rollout.ledger import RolloutLedger, open_ledger

__all__ = [
    "OnRollout",
    "RolloutLedger",
    "Told",
    "abort_rollout",
    "begin_rollout",
    "ended_rollout",
    "fields_of",
    "open_ledger",
    "plan_rollout",
    "raise_unless_promoted",
    "resume_rollout",
    "run_plan",
    "spec_of_plan",
]
