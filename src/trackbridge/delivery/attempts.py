"""Which of several attempts of a job answers for its run.

A job that is started again, on this machine or another one, logs to the same run from another journal. Each
attempt says in a tag of the run which journal is its own; ids of journals are ordered by time. What an older
attempt had to say of the run's beginning and end does not count any more once a later one has taken it up, or
the job's own end is on the run: its journal may have come home long after that.

What comes home can be an old copy of a journal that was delivered whole: platforms keep what is deleted on
the machine. Its first record must not open again a run that the rest of it, which the copy lacks, has ended.
A run that is KILLED may have been closed for want of the rest, so there the records have their say.
"""

from __future__ import annotations

from trackbridge.domain.job_tags import TAG_JOB_JOURNAL, TAG_JOB_STATUS
from trackbridge.domain.records import OpenMode, RunOpened
from trackbridge.domain.runs import Run, RunStatus


def is_overtaken(run: Run, journal_id: str) -> bool:
    """Tell whether a later attempt than that of a journal has taken the run up."""
    return run.data.tags.get(TAG_JOB_JOURNAL, "") > journal_id


def comes_too_late(record: RunOpened, run: Run, journal_id: str) -> bool:
    """Tell whether the run is not to be set back to RUNNING by a record that takes it up."""
    if record.how is not OpenMode.RESUME:
        return False
    tags = run.data.tags
    is_first, was_here = TAG_JOB_JOURNAL in record.tags, tags.get(TAG_JOB_JOURNAL) == journal_id
    has_ended = (is_first or was_here) and TAG_JOB_STATUS in tags
    is_old_copy = is_first and was_here and run.info.status in (RunStatus.FINISHED, RunStatus.FAILED)
    return has_ended or is_old_copy or is_overtaken(run, journal_id)
