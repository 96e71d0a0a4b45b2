"""``python -m trackbridge.api.job_function MODULE:NAME ARGUMENTS``: calls the function of a job.

Its result is logged to the job's run as an artifact, as JSON. What the function raises is shown with its
traceback, and the exit code is 1; the run then ends as FAILED.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from trackbridge.api import fluent
from trackbridge.api.job_functions import RESULT_PATH, JobFunction, importing

RUN_VARIABLE = "BRIDGE_RUN_ID"


def main(arguments: Sequence[str]) -> int:
    """Call a function and log what it returns; return the exit code."""
    named, text = arguments
    module_name, _, name = named.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        with importing():
            found = getattr(importlib.import_module(module_name), name)
        function = found.function if isinstance(found, JobFunction) else found
        result = _text(function(**json.loads(text)), name)
    except Exception:
        traceback.print_exc()
        return 1
    fluent.log_text(result, RESULT_PATH, run_id=os.environ[RUN_VARIABLE])
    return 0


def _text(result: Any, name: str) -> str:
    try:
        return json.dumps(result)
    except (TypeError, ValueError) as error:
        message = f"{name} returned what JSON cannot hold ({error}); log it as an artifact, return its path"
        raise TypeError(message) from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
