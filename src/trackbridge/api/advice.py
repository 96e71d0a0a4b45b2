"""Limits that a destination documents and may not enforce: passing one is told once, at the end of a run."""

from __future__ import annotations

import warnings

from trackbridge.api.reading import Reader
from trackbridge.api.recorder import RunRecorder
from trackbridge.errors import BridgeError

METRIC_NAMES_UNREMARKED = 50
"""No backend advises fewer names of metrics; of a run with more its adapter is asked, which takes time."""


class LimitWarning(UserWarning):
    """A run passes a limit that its destination documents; everything is sent all the same."""


def warn_of_limits(reader: Reader, recorder: RunRecorder) -> None:
    """Warn where a run has more names of metrics than the destination that is read from advises."""
    count = recorder.metric_count
    if count <= METRIC_NAMES_UNREMARKED:
        return
    try:
        capabilities = reader.capabilities
    except BridgeError:  # whoever reads is told; the end of a run fails for nobody
        return
    most = capabilities.limits.metric_names_per_run_advised
    if most is not None and count > most:
        warnings.warn(
            f"run {recorder.run_id} has {count:,} names of metrics; {capabilities.adapter} documents "
            f"{most:,} a run, and may show or keep no more. All were logged; put what belongs together under "
            "one name with steps, or into several runs.",
            LimitWarning,
            stacklevel=5,  # the line that ends the run, through its end, its client and this
        )
