"""The file in which the bootstrap says how a job's program ended: where it lies, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

import msgspec

from trackbridge.errors import AuthError, ConfigError, NotFound
from trackbridge_adapters._jobs.plan import JobResult
from trackbridge_adapters._mlflow_rest.artifacts_files import Files
from trackbridge_adapters.azureml.jobs_request import RESULT_OF_RUN
from trackbridge_adapters.azureml.paths import Paths

RESULT_BYTES_MAX = 1_000_000


class JobResults:
    """Reads result files. Any thread may use it.

    Args:
        paths: Opens those that lie in a datastore.
        files_of: Returns the files of a run, given where its artifacts lie.
    """

    def __init__(self, paths: Paths, files_of: Callable[[str], Files]) -> None:
        self._paths = paths
        self._files_of = files_of

    def find(self, uri: str | None, *, job: str, experiment: str) -> JobResult | None:
        """Return what a job's machine has written; None where nothing has come of it.

        Args:
            uri: Where it lies; None for among the files of the run.
            job: The job's name, and its run's.
            experiment: Id of the run's experiment.
        """
        try:
            with self._opened(uri, job, experiment) as file:
                return msgspec.json.decode(file.read(RESULT_BYTES_MAX), type=JobResult)
        except (NotFound, ConfigError):  # it was lost with its machine, before it was brought away
            return None
        except AuthError:  # not ours to read: what Azure says is enough
            return None
        except msgspec.DecodeError:  # a part of it, which a machine that was lost has left
            return None

    def _opened(self, uri: str | None, job: str, experiment: str) -> BinaryIO:
        if uri is not None:
            return self._paths.open(uri)
        # The run history has the files, whether MLflow's routes know the run or not.
        root = f"azureml://history/experiments/{experiment}/runs/{job}/artifacts"
        return self._files_of(root).open(RESULT_OF_RUN)
