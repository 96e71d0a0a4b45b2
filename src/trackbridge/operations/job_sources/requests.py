"""What a user may say of a job: by flags, in a job file, or in Python."""

from __future__ import annotations

from typing import Literal

import msgspec

from trackbridge.domain.jobs import Compute, Launcher

EnvironmentManager = Literal["local", "venv"]
"""``local``: the job runs in the environment that is there. ``venv``: one is made of what it declares."""


class JobRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What was said; None, empty and False mean that nothing was.

    ``words`` is a source (a script, a folder, a job file, a git address) with what follows it, or the words
    of a command. ``compute`` is in the users' words, such as ``2xml.m5.large``. The other fields are those of
    JobSpec.
    """

    words: tuple[str, ...] = ()
    entry_point: str | None = None
    version: str | None = None
    parameters: dict[str, str] = msgspec.field(default_factory=dict)
    name: str | None = None
    experiment: str | None = None
    place: str | None = None
    code_dir: str | None = None
    ignore_file: str | None = None
    compute: str | Compute | None = None
    instance_count: int | None = None
    spot: bool = False
    image: str | None = None
    requirements: tuple[str, ...] = ()
    conda_file: str | None = None
    python: str | None = None
    environment_manager: EnvironmentManager | None = None
    inputs: dict[str, str] = msgspec.field(default_factory=dict)
    outputs: dict[str, str] = msgspec.field(default_factory=dict)
    checkpoints: str | None = None
    variables: dict[str, str] = msgspec.field(default_factory=dict)
    secrets: dict[str, str] = msgspec.field(default_factory=dict)
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    launcher: Launcher | None = None
    processes_per_node: int | None = None
    all_ranks_track: bool = False
    time_limit_s: int | None = None
    attempts_max: int | None = None

    def over(self, other: JobRequest) -> JobRequest:
        """Return the other request with what this one says instead; mappings are joined name by name."""
        said = {}
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if isinstance(value, dict):
                said[field] = {**getattr(other, field), **value}
            elif value not in (None, (), False):
                said[field] = value
        return msgspec.structs.replace(other, **said)
