"""Makes every call that mlflow's client has for tracking, registry and artifacts, and notes each answer.

``python -m tests.gateway.programs.every_call MARK``: each line of its standard input is a server's address
and a file. The server is asked by a fork of this process, which has imported mlflow once; the answers go to
the file, as JSON. A line is then written: the fork's exit code. ``MARK`` begins all names.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

os.environ.update(
    MLFLOW_DISABLE_TELEMETRY="true",
    MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
    MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR="1",
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false",
    MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",
    MLFLOW_LOGGING_LEVEL="ERROR",
    GIT_PYTHON_REFRESH="quiet",
)

import mlflow
from mlflow import MlflowClient

from tests.gateway.programs.artifact_calls import artifacts
from tests.gateway.programs.fluent_calls import fluent
from tests.gateway.programs.notes import Notes
from tests.gateway.programs.registry_calls import registry
from tests.gateway.programs.tracking_calls import tracking


def main(mark: str) -> None:
    """Ask one server after the other, each in a fork."""
    for line in sys.stdin:
        uri, _, file = line.strip().partition(" ")
        process_id = os.fork()
        if not process_id:
            os.dup2(2, 1)  # what mlflow prints is no answer
            os._exit(_asked(mark, uri, Path(file)))
        _, status = os.waitpid(process_id, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _asked(mark: str, uri: str, file: Path) -> int:
    note = Notes(mark)
    try:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            _ask(note, uri)
            os.chdir("/")
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        file.write_text(json.dumps(note.answers, indent=1))
        sys.stderr.flush()
    return 0


def _ask(note: Notes, uri: str) -> None:
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    experiment, _ = tracking(client, note)
    artifacts(client, note, experiment)
    registry(client, note, experiment)
    fluent(client, note)
    if hasattr(client, "create_logged_model"):
        from tests.gateway.programs.logged_model_calls import prompts, traces

        prompts(client, note)
        traces(client, note)


if __name__ == "__main__":
    main(sys.argv[1])
