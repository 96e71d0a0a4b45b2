"""Folders of a job's machines that SageMaker brings to S3 all the time, while the program runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from trackbridge.testing.emulators.sagemaker import opt_ml
from trackbridge.testing.emulators.sagemaker.core import Cloud
from trackbridge.testing.emulators.sagemaker.jobs_runs import Host
from trackbridge.testing.emulators.sagemaker.storage import files_below, place_of, write

SYNC_S = 0.5
"""How often."""


class KeptFolder:
    """One folder, on all machines of a job, and its address."""

    def __init__(self, cloud: Cloud, path: str, address: str) -> None:
        self._cloud = cloud
        self.path = path
        self.address = address
        self._known: dict[str, int] = {}
        self._due_s = 0.0

    def bring(self, hosts: Sequence[Host], *, is_last: bool = False) -> None:
        """Bring to S3 what is new, when it is time for it."""
        if not is_last and time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + SYNC_S
        target = place_of(self.address)
        for host in hosts:
            folder = opt_ml.inside(host.folder, self.path)
            assert folder is not None  # it was checked when the job was made
            for path in files_below(folder):
                with contextlib.suppress(FileNotFoundError):  # the program has moved it on
                    changed = path.stat().st_mtime_ns
                    if self._known.get(str(path)) != changed:
                        write(
                            self._cloud, target.below(path.relative_to(folder).as_posix()), path.read_bytes()
                        )
                        self._known[str(path)] = changed
