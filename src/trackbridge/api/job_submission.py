"""From what was said of a job to its submission: shared by ``tb.submit`` and the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trackbridge.domain.runs import (
    TAG_GIT_BRANCH,
    TAG_GIT_COMMIT,
    TAG_GIT_REPOSITORY,
    TAG_PARENT,
    TAG_SOURCE_TYPE,
)
from trackbridge.operations.job_notes import notes_folder
from trackbridge.operations.job_plans import PlannedJob, plan_job
from trackbridge.operations.job_sources.sources import (
    PROJECT,
    TAG_BACKEND,
    JobSource,
    job_spec,
    read_source,
    refuse_elsewhere,
)
from trackbridge.operations.opening import LOCAL, Opened, find_place, open_place, user_name
from trackbridge.operations.submit import RunWanted, Submitted, submit

if TYPE_CHECKING:
    from trackbridge.domain.jobs import JobSpec
    from trackbridge.operations.job_sources.requests import JobRequest
    from trackbridge.operations.opening import UriArgument
    from trackbridge.resolve.config import Settings


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """A job whose source was read, with the place to run it and the run to open for it."""

    spec: JobSpec
    run: RunWanted
    tracking: Opened
    place: Opened
    notes: Path | None = None

    def submit(self, *, key: str | None = None) -> Submitted:
        """Open the run and start the job; see ``operations.submit``."""
        return submit(self.spec, self.place.jobs, self.run, key=key, place=self.place.uri, notes=self.notes)

    def plan(self) -> PlannedJob:
        """Check it, and say what would be sent."""
        return plan_job(self.spec, self.place.jobs, self.run)


def prepare_job(
    request: JobRequest,
    *,
    settings: Settings,
    tracking_uri: UriArgument = None,
    on: UriArgument = None,
    experiment: str | None = None,
    parent_run_id: str | None = None,
) -> PreparedJob:
    """Read the source of a job and open the places that it needs, after what is wrong with it was told.

    Args:
        request: What was said.
        settings: The settings in use.
        tracking_uri: Where its run is to be.
        on: Where it is to run; by default what a job file says, else here.
        experiment: The run's experiment where nothing was said.
        parent_run_id: The run that it is nested in.

    Raises:
        BridgeError: The source or a place is wrong; which one says what, where and how to put it right.
    """
    source = read_source(request, settings.around)
    return prepare_spec(
        job_spec(source),
        source,
        settings=settings,
        tracking_uri=tracking_uri,
        on=on or source.place or LOCAL,
        experiment=source.experiment or experiment or str(settings.value("experiment_name")),
        parent_run_id=parent_run_id,
    )


def prepare_spec(
    spec: JobSpec,
    source: JobSource,
    *,
    settings: Settings,
    tracking_uri: UriArgument,
    on: UriArgument,
    experiment: str,
    parent_run_id: str | None = None,
) -> PreparedJob:
    """Open the places that a job needs, and describe its run."""
    tracking = open_place(tracking_uri, settings=settings)
    is_same = find_place(on, settings=settings).uri.text == tracking.uri
    place = tracking if is_same else open_place(on, settings=settings)
    refuse_elsewhere(spec, is_local=place.capabilities.is_local)
    run = RunWanted(
        tracking=tracking.tracking,
        tracking_uri=tracking.uri,
        experiment=experiment,
        name=spec.name,
        user=user_name(settings),
        params=spec.parameters,
        tags={
            **git_tags(spec.code_dir),
            **source.tags,
            **_backend_tag(source, place),
            **({TAG_PARENT: parent_run_id} if parent_run_id else {}),
        },
    )
    return PreparedJob(spec, run, tracking, place, notes_folder(place.uri, settings))


def _backend_tag(source: JobSource, place: Opened) -> dict[str, str]:
    if source.tags.get(TAG_SOURCE_TYPE) != PROJECT:
        return {}
    return {TAG_BACKEND: place.capabilities.adapter}


def git_tags(folder: str | None) -> dict[str, str]:
    """Return the tags of a run that say which commit of which repository a folder is at."""
    from trackbridge.api.git import read_git

    git = read_git(Path(folder) if folder else Path.cwd())
    tags = {TAG_GIT_COMMIT: git.commit, TAG_GIT_BRANCH: git.branch, TAG_GIT_REPOSITORY: git.repository}
    return {name: value for name, value in tags.items() if value}
