"""Having the run of a job closed that has ended, should its program not have done so.

Imports little: a job's runner pays for each import with the user's time.
"""

from __future__ import annotations

import os
import subprocess
import sys

from trackbridge_adapters.local.job_files import JobFiles

# Not ``-m``: that puts the current folder first on the path, where a user's ``logging.py`` or ``types.py``
# would be taken for Python's own.
_BOOTSTRAP = (
    "import sys; sys.path[:] = {path!r}; "
    "from trackbridge.operations.settle import main; sys.exit(main(sys.argv[1:]))"
)

_RUN_STATUS = {"SUCCEEDED": "FINISHED", "FAILED": "FAILED", "CANCELLED": "KILLED"}


def start_settling(
    files: JobFiles,
    *,
    run_id: str | None,
    tracking_uri: str,
    status: str,
    end_time: int,
    job_id: str = "",
    exit_code: int | None = None,
    reason: str = "",
) -> None:
    """Start the program that closes the run, in a session of its own; its failure changes nothing.

    What it prints is kept in the runner's log. It is started where the job was submitted, so that it finds
    the settings of the same project.
    """
    if not run_id or not tracking_uri or not os.path.isdir(files.folder):
        return
    command = [sys.executable, "-c", _BOOTSTRAP.format(path=sys.path), "--tracking-uri", tracking_uri]
    command += ["--run-id", run_id, "--status", _RUN_STATUS[status], "--end-time", str(end_time)]
    command += ["--job-id", job_id, f"--reason={reason}", "--log", files.log]
    command += [] if exit_code is None else [f"--exit-code={exit_code}"]
    log = os.open(files.runner_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)
    process.returncode = 0  # it goes on by itself; keeps Popen from warning of that
