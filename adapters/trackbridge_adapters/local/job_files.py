"""Where a job's files lie, and how its runner is woken.

``jobs/<job id>/lock``   held by the runner while it lives
``jobs/<job id>/wake``   a named pipe to the runner; it is there once the runner has started
``jobs/<job id>/log``    what the command wrote, and before it how its environment was made
``jobs/<job id>/inputs``  what was brought from elsewhere, until the job has ended
``jobs/<job id>/runner.log``  what the runner itself, and the closing of the run after it, had to say
``jobs/slots/<number>``  held by each job that runs; those that jobs have submitted have slots of their own,
    ``jobs/slots/level <n>/<number>``: a job that waits for another must not hold what that one needs

Imports little: a job's runner pays for each import with the user's time.
"""

from __future__ import annotations

import contextlib
import os
import stat


class JobFiles:
    """Paths of one job; making this touches nothing."""

    __slots__ = ("folder", "inputs", "lock", "log", "runner_log", "wake")

    def __init__(self, store: str, job_id: str) -> None:
        self.folder = os.path.join(store, "jobs", job_id)
        self.inputs = os.path.join(self.folder, "inputs")
        self.lock = os.path.join(self.folder, "lock")
        self.wake = os.path.join(self.folder, "wake")
        self.log = os.path.join(self.folder, "log")
        self.runner_log = os.path.join(self.folder, "runner.log")

    def was_started(self) -> bool:
        """Tell whether a runner has ever begun with this job."""
        return os.path.exists(self.wake)

    def open_wake(self) -> int:
        """Make the pipe and open it for reading and writing, so that it never ends; -1 where there are none.

        Without named pipes (some network file systems) a file stands in their place, and the runner looks
        every now and then.
        """
        with contextlib.suppress(FileExistsError):
            try:
                os.mkfifo(self.wake, 0o600)
            except PermissionError:  # what file systems without named pipes answer
                os.close(os.open(self.wake, os.O_CREAT | os.O_WRONLY, 0o600))
        if not stat.S_ISFIFO(os.stat(self.wake).st_mode):
            return -1
        return os.open(self.wake, os.O_RDWR | os.O_NONBLOCK)

    def ring(self) -> bool:
        """Wake the runner; False when none listens."""
        try:
            descriptor = os.open(self.wake, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # it has not started yet, or has ended
            return False
        try:
            os.write(descriptor, b".")
        except BlockingIOError:  # it was rung so often that it will surely look
            return True
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True


def slots_folder(store: str, level: int = 0) -> str:
    """Return the folder of the slots of jobs that were submitted from so many jobs, one in the other."""
    folder = os.path.join(store, "jobs", "slots")
    return os.path.join(folder, f"level {level}") if level else folder


def environments_folder(store: str) -> str:
    """Return the folder of the cached virtual environments."""
    return os.path.join(store, "environments")
