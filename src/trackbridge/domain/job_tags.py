"""Tags by which a run tells of its job. All are under ``bridge.job``; values are text."""

from __future__ import annotations

TAG_JOB = "bridge.job"
"""The job's id."""
TAG_JOB_PLACE = "bridge.job.place"
"""The URI of the backend that runs it."""
TAG_JOB_URL = "bridge.job.url"
"""Where it is seen in that backend's own pages."""
TAG_JOB_JOURNAL = "bridge.job.journal"
"""The journal of the newest attempt that logs to the run; ids of journals are ordered by time."""

TAG_JOB_SECRETS = "bridge.job.secrets"
"""A JSON list of the references of its secrets, whose values are kept out of the log on its run."""

TAG_JOB_REFUSED = "bridge.job.refused"
"""Why no job was started for the run, which is closed for that; absent where there is a job."""

TAG_JOB_STATUS = "bridge.job.status"
"""How the job ended. It is written last: where it stands, everything else of the job is on the run."""
TAG_JOB_REASON = "bridge.job.reason"
TAG_JOB_EXIT_CODE = "bridge.job.exit_code"
TAG_JOB_INSTANCE_TYPE = "bridge.job.instance_type"
TAG_JOB_INSTANCE_COUNT = "bridge.job.instance_count"
TAG_JOB_SPOT = "bridge.job.spot"
TAG_JOB_BILLED_S = "bridge.job.billed_s"
TAG_JOB_INTERRUPTIONS = "bridge.job.interruptions"
TAG_JOB_LOG = "bridge.job.log"
"""Why the end of the log is not among the run's artifacts; absent where it is."""

TAG_JOB_KEPT = "bridge.job.kept"
"""Where journals of the job lie that could not be brought home; absent where there are none."""

LOG_TAIL_PATH = "job/log-tail.txt"
"""The artifact that holds the end of the job's log."""
