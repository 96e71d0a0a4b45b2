"""What may have been meant by a model or an endpoint that is not there: looked up once it was not found."""

from __future__ import annotations

import contextlib
import functools
import itertools
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackbridge.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from trackbridge.domain.model_references import RegisteredReference
    from trackbridge.ports.registry import ModelRegistry

MODEL_OPTIONS = ("model", "version", "left", "right", "model_uri")
NAMES_MAX = 100
"""Of models, versions and endpoints that are looked through: what is advised must not cost a long listing."""
LOOK_S_MAX = 5.0
"""How long is waited for names, in seconds."""
VERSIONS_SHOWN_MAX = 10
FILES_MAX = 1000


@contextlib.contextmanager
def near_names(options: Mapping[str, Any]) -> Iterator[None]:
    """Advise what may have been meant where the block does not find a model or an endpoint.

    Args:
        options: What the command was called with. A model is looked for in the registry of ``uri``, an
            ``endpoint`` at its ``target``.
    """
    try:
        yield
    except NotFound as error:
        hint = _advice(options)
        if hint:
            error.advise(hint)
        raise


def _advice(options: Mapping[str, Any]) -> str:
    """Return what to do instead; nothing where the names are there, or cannot be had in a moment."""
    from trackbridge.operations.asking import Asking

    if options.get("endpoint") and "target" in options:
        answer = Asking(LOOK_S_MAX).ask_one("names", "", lambda: _endpoint_advice(**_of_endpoint(options)))
        return answer.value or ""
    texts = [options[name] for name in MODEL_OPTIONS if isinstance(options.get(name), str)]
    texts += filter(None, [getattr(options.get("request"), "model", "")])
    if "uri" not in options or not texts:
        return ""
    answer = Asking(LOOK_S_MAX).ask_one("names", "", lambda: _model_advice(texts, options["uri"]))
    return answer.value or ""


# Files.


def near_file(path: Path) -> str:
    """Return ``; did you mean X?`` for the file beside it that is called nearly so, or nothing."""
    from trackbridge.resolve.config import close_match

    try:
        known = [entry.name for entry in itertools.islice(path.parent.iterdir(), FILES_MAX)]
    except OSError:
        return f"; there is no folder {path.parent} that can be read"
    return close_match(path.name, known)


# Endpoints.


def _of_endpoint(options: Mapping[str, Any]) -> dict[str, str]:
    return {"endpoint": options["endpoint"], "target": options["target"] or "local"}


def _endpoint_advice(endpoint: str, target: str) -> str:
    from trackbridge.cli.plans import named_target
    from trackbridge.operations.endpoint_requests import endpoint_address
    from trackbridge.operations.opening import open_place
    from trackbridge.resolve.config import close_match

    address = endpoint_address(endpoint)
    with contextlib.closing(open_place(address.target or target)) as place:
        known = [state.endpoint for state in place.target.list_endpoints(max_results=NAMES_MAX).items]
    meant = "" if address.name in known else close_match(address.name, known)
    return f"{meant.removeprefix('; ')} see: bridge endpoints list{named_target(place.uri)}" if meant else ""


# Models.


def meant_anywhere(name: str) -> str:
    """Return ``; did you mean X?`` of the models at all places that are known here, or nothing."""
    from trackbridge.operations.asking import Asking
    from trackbridge.operations.migrate.whereabouts import places
    from trackbridge.operations.opening import open_place
    from trackbridge.resolve.config import Settings, close_match

    settings = Settings()

    def names_at(uri: str) -> list[str]:
        with contextlib.closing(open_place(uri, settings=settings)) as place:
            return [model.name for model in place.registry.list_models(max_results=NAMES_MAX).items]

    questions = {place: functools.partial(names_at, uri) for place, uri in places(settings).items()}
    answers = Asking(LOOK_S_MAX).ask("names", questions)
    return close_match(name, [known for answer in answers for known in answer.value or ()])


def _model_advice(texts: list[str], uri: str | None) -> str:
    from trackbridge.cli.naming_models import reference_of
    from trackbridge.operations.model_source import open_registry
    from trackbridge.resolve.config import Settings

    references = []
    for text in texts:
        with contextlib.suppress(InvalidInput):  # runs:/… and paths name no registered model
            references.append(reference_of(text))
    named_uri = f" --uri {shlex.quote(uri)}" if uri else ""
    with contextlib.closing(open_registry(uri, settings=Settings())) as place:
        found = (_advice_of(reference, place.registry, named_uri) for reference in references)
        return next(filter(None, found), "")


def _advice_of(reference: RegisteredReference, registry: ModelRegistry, named_uri: str) -> str:
    from trackbridge.resolve.config import close_match

    name = reference.name
    page = registry.list_versions(name, max_results=NAMES_MAX)
    if page.items:
        versions = [version.version for version in page.items]
        return "" if page.token else _version_advice(reference, versions, registry, named_uri)
    known = [model.name for model in registry.list_models(max_results=NAMES_MAX).items]
    meant = "" if name in known else close_match(name, known)
    return f"{meant.removeprefix('; ')} see: bridge models list{named_uri}" if meant else ""


def _version_advice(
    reference: RegisteredReference, versions: list[str], registry: ModelRegistry, named_uri: str
) -> str:
    """Return which versions, or aliases, a model has instead of one that it has not."""
    see = f"see: bridge models show {shlex.quote(reference.name)}{named_uri}"
    if reference.alias is not None:
        aliases = sorted(registry.get_model(reference.name).aliases)
        if reference.alias in aliases:
            return ""
        return f"{reference.name!r} has {_listed('alias', 'aliases', aliases)}; {see}"
    number = reference.version
    if number is None or not number.isdecimal() or number in versions:  # a word is a stage, written wrongly
        return ""
    return f"{reference.name!r} has {_listed('version', 'versions', versions)}; {see}"


def _listed(one: str, many: str, names: list[str]) -> str:
    if not names:
        return f"no {many}"
    more = ", …" if len(names) > VERSIONS_SHOWN_MAX else ""
    return f"the {one if len(names) == 1 else many} {', '.join(names[:VERSIONS_SHOWN_MAX])}{more}"
