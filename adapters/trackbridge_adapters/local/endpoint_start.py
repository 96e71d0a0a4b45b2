"""Starting the supervisor of an endpoint when there is none."""

from __future__ import annotations

import os
import subprocess

from trackbridge.errors import Unavailable
from trackbridge_adapters.local.capabilities import ADAPTER
from trackbridge_adapters.local.endpoint_folders import EndpointFolder, open_log
from trackbridge_adapters.local.endpoint_processes import python_command
from trackbridge_adapters.local.job_processes import JOB_VARIABLE
from trackbridge_adapters.local.locks import is_held

START_TIMEOUT_S = 30.0


def ensure_supervisor(folder: EndpointFolder) -> bool:
    """See that a supervisor lives; True when this call started one, which has looked once already.

    Raises:
        Unavailable: It could not be started.
    """
    if is_held(folder.supervisor_lock):
        return False
    folder.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder.own_log("supervisor")
    log = open_log(path)
    command = python_command(
        "trackbridge_adapters.local.endpoint_supervisor", str(folder.store), folder.endpoint
    )
    try:
        started = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(folder),
            cwd="/",
            start_new_session=True,
            timeout=START_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _no_supervisor(folder, str(error)) from error
    finally:
        os.close(log)
    if started.returncode:
        raise _no_supervisor(folder, f"it ended with exit code {started.returncode}")
    return True


def _environment(folder: EndpointFolder) -> dict[str, str]:
    """Return the user's environment, without the job that this may be part of: an endpoint outlives it.

    The settings of the store's folder are found from anywhere.
    """
    home = os.environ.get("BRIDGE_HOME") or str(folder.store)
    return {**os.environ, JOB_VARIABLE: "", "BRIDGE_HOME": home}


def _no_supervisor(folder: EndpointFolder, why: str) -> Unavailable:
    return Unavailable(
        f"the supervisor of endpoint {folder.endpoint!r} could not be started: {why}",
        adapter=ADAPTER,
        hint=f"look at {folder.own_log('supervisor')}, then try again",
    )
