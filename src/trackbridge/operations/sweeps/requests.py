"""What a user may say of a sweep: by flags, in a sweep file, or in Python; and the sweep that it makes.

A sweep file is a job file with one more key::

    source: train.py
    parameters: {epochs: 5}
    sweep:
      space: {lr: "loguniform(1e-4, 1e-1)", batch: [16, 32, 64]}
      metric: val_loss
      mode: min
      trials: 50
      parallel: 4
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from trackbridge.domain.ids import mint_id
from trackbridge.domain.sweeps import Choice, Mode, Space, ValueOf, dimension_of
from trackbridge.errors import InvalidInput
from trackbridge.operations.job_sources.documents import Document, read_document
from trackbridge.operations.job_sources.job_files import ENDINGS, request_of
from trackbridge.operations.job_sources.requests import JobRequest
from trackbridge.operations.job_sources.sources import JobSource
from trackbridge.operations.opening import UriArgument, find_place, user_name
from trackbridge.operations.sweeps.definition import (
    FAILURES_MAX,
    Sampler,
    SweepDefinition,
    SweepLimits,
    sweep_run_id,
)
from trackbridge.resolve.config import Settings, close_match

KEY = "sweep"
Word = TypeVar("Word", bound=Enum)


class SweepRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What was said; None means that nothing was. The words are those of the definition and the limits."""

    space: dict[str, Any] = msgspec.field(default_factory=dict)
    metric: str | None = None
    mode: str | None = None
    value_of: str | None = None
    sampler: str | None = None
    seed: int | None = None
    trials: int | None = None
    parallel: int | None = None
    max_failures: int | None = None
    register: str | None = None
    key: str | None = None

    def over(self, other: SweepRequest) -> SweepRequest:
        """Return the other request with what this one says instead; spaces are joined name by name."""
        said = {name: getattr(self, name) for name in self.__struct_fields__ if name != "space"}
        said = {name: value for name, value in said.items() if value is not None}
        return msgspec.structs.replace(other, space={**other.space, **self.space}, **said)


def with_sweep_file(sweep: SweepRequest, job: JobRequest) -> tuple[SweepRequest, JobRequest, Path | None]:
    """Return what was said together with what stands in the sweep file, where the one word names one.

    The last of the three is the folder of that file.

    Raises:
        NotFound: There is no such file.
        ConfigError: It is no YAML, or a field of it is wrong; the error says where.
    """
    if len(job.words) != 1 or not job.words[0].endswith(ENDINGS):
        return sweep, job, None
    document = read_document(Path(job.words[0]).expanduser().absolute())
    if KEY not in document.content:
        return sweep, job, None
    said = _request_of(document)
    rest = {name: value for name, value in document.content.items() if name != KEY}
    found = request_of(msgspec.structs.replace(document, content=rest))
    merged = msgspec.structs.replace(job, words=()).over(found)
    return sweep.over(said), merged, Path(document.path).parent


def _request_of(document: Document) -> SweepRequest:
    content = document.mapping(KEY)
    known = SweepRequest.__struct_fields__
    for name in content:
        if name not in known:
            raise document.wrong(
                KEY,
                f"{name[:80]!r} is no field of a sweep{close_match(name, known)}",
                f"the fields are {', '.join(sorted(known))}",
            )
    try:
        return msgspec.convert(content, SweepRequest)
    except msgspec.ValidationError as error:
        raise document.wrong(
            KEY, f"the sweep is not as it has to be: {error}", "see docs/sweeps.md"
        ) from error


def sweep_of(
    request: SweepRequest,
    source: JobSource,
    *,
    tracking_uri: UriArgument,
    experiment: str,
    place: UriArgument = None,
    tags: Mapping[str, str] | None = None,
    settings: Settings,
) -> tuple[SweepDefinition, SweepLimits]:
    """Return the sweep that was asked for; what was not said is chosen.

    Args:
        request: What was said of the sweep.
        source: What its jobs run.
        tracking_uri: Where the runs go.
        experiment: The runs' experiment, where the source names none.
        tags: Tags of the runs, besides those of the source.
        place: Where the jobs run; by default where the source says, else ``local``.
        settings: Of the surroundings.

    Raises:
        InvalidInput: A word is not known, or the space cannot be read.
    """
    space = {name: dimension_of(name, value) for name, value in request.space.items()}
    key = request.key or mint_id()
    sampler = (
        default_sampler(space) if request.sampler is None else _one_of("sampler", request.sampler, Sampler)
    )
    definition = SweepDefinition(
        key=key,
        source=source,
        space=space,
        sampler=sampler,
        seed=int(sweep_run_id(key)[-8:], 16) if request.seed is None else request.seed,
        metric=request.metric or "",
        mode=_one_of("mode", request.mode or "min", Mode),
        value_of=_one_of("value", request.value_of or "last", ValueOf),
        place=lasting_name(place or source.place or "local", settings),
        tracking_uri=lasting_name(tracking_uri, settings),
        experiment=source.experiment or experiment,
        name=source.base.name,
        user=user_name(settings),
        tags={**(tags or {}), **source.tags},
    )
    return definition, limits_of(request, SweepLimits())


def limits_of(request: SweepRequest, known: SweepLimits) -> SweepLimits:
    """Return limits with what was said instead."""
    return SweepLimits(
        trials=known.trials if request.trials is None else request.trials,
        parallel=known.parallel if request.parallel is None else request.parallel,
        failures_max=(known.failures_max or FAILURES_MAX)
        if request.max_failures is None
        else request.max_failures,
        register_as=known.register_as if request.register is None else request.register,
    )


def default_sampler(space: Space) -> Sampler:
    """Return the sampler for a space: every point of lists of values, else Optuna's first choice."""
    return Sampler.GRID if all(isinstance(item, Choice) for item in space.values()) else Sampler.TPE


def lasting_name(uri: UriArgument, settings: Settings) -> str:
    """Return how a place is named for another day and folder: a remote by its name, else by its whole URI."""
    found = find_place(uri, settings=settings)
    return found.remote or found.uri.text


def _one_of(what: str, word: str, kind: type[Word]) -> Word:
    names = [str(item.value) for item in kind]
    if word not in names:
        raise InvalidInput(
            f"there is no {what} {word!r}{close_match(word, names)}",
            operation="sweep",
            hint=f"there are {', '.join(names)}",
        )
    return kind(word)
