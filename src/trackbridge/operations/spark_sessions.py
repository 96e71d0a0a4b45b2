"""What everything that works on a Spark session of somebody's needs: its context, its Python, its errors."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from trackbridge.domain.secrets import redact
from trackbridge.errors import ConfigError

TEXT_CHARS_MAX = 500

_FAULT = re.compile(
    r"^(?:Caused by: )?(?P<fault>[A-Za-z_][\w.]*(?:Error|Exception|Interrupt): .+)$", re.MULTILINE
)


def context_of(session: Any, *, operation: str) -> Any:
    """Return the context of a session.

    Raises:
        ConfigError: It has none: it is one of Spark Connect, which cannot run our tasks.
    """
    try:
        context = session.sparkContext
    except Exception as error:  # each version of pyspark raises another one
        raise ConfigError(
            f"the Spark session gives no access to its workers: {said(error)}",
            operation=operation,
            hint="take a cluster of your own; on Databricks a compute with dedicated access",
        ) from error
    return context


def use_this_python(context: Any) -> None:
    """Have workers on this machine run the Python that runs this, not whichever comes first in PATH."""
    if str(context.master).startswith("local") and not os.environ.get("PYSPARK_PYTHON"):
        context.pythonExec = sys.executable


def said(error: Exception) -> str:
    """Return what an error of Spark's says, without the stacks of three languages."""
    text = str(error)
    faults = [match["fault"] for match in _FAULT.finditer(text)]
    lines = [line for line in text.splitlines() if line.strip()]
    chosen = faults[-1] if faults else next(iter(lines), type(error).__name__)
    return redact(chosen.strip())[:TEXT_CHARS_MAX]
