"""Which of several attempts of a job answers for its run.

A job that is started again, on this machine or another one, logs to the same run from another journal. Each
attempt says in a tag of the run which journal is its own; ids of journals are ordered by time. What an older
attempt had to say of the run's beginning and end does not count any more once a later one has taken it up, or
the job's own end is on the run: its journal may have come home long after that.
"""

from __future__ import annotations

from trackbridge.domain.job_tags import TAG_JOB_JOURNAL, TAG_JOB_STATUS
from trackbridge.domain.records import OpenMode, RunOpened
from trackbridge.domain.runs import Run


def is_overtaken(run: Run, journal_id: str) -> bool:
    """Tell whether a later attempt than that of a journal has taken the run up."""
    return run.data.tags.get(TAG_JOB_JOURNAL, "") > journal_id


def comes_too_late(record: RunOpened, run: Run, journal_id: str) -> bool:
    """Tell whether the run is not to be set back to RUNNING by a record that takes it up."""
    if record.how is not OpenMode.RESUME:
        return False
    has_ended = TAG_JOB_JOURNAL in record.tags and TAG_JOB_STATUS in run.data.tags
    return has_ended or is_overtaken(run, journal_id)
