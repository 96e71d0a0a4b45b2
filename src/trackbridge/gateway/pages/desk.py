"""What the pages of models, endpoints, deliveries and doctor share beside the layout."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from trackbridge.api.client import Client
from trackbridge.domain.models import ChangeReason
from trackbridge.domain.plans import Plan
from trackbridge.errors import NotFound, PlanStale
from trackbridge.gateway.authentication import IDENTITY, Identity
from trackbridge.gateway.pages.layout import Pages, View
from trackbridge.gateway.pages.works import Works
from trackbridge.operations.asking import Asking
from trackbridge.operations.endpoint_listing import endpoint_places
from trackbridge.operations.model_matrix import places_with_models
from trackbridge.operations.opening import Opened, find_place, open_place, user_name
from trackbridge.resolve.config import Settings

WHY_CHARS_MAX = 1000


@dataclass(frozen=True)
class Desk:
    """The pages, the questions that are under way and the works of one gateway."""

    pages: Pages
    asking: Asking = field(default_factory=Asking)
    works: Works = field(default_factory=Works)
    _opened: dict[tuple[str, tuple[tuple[str, str], ...]], Opened] = field(default_factory=dict)

    @property
    def client(self) -> Client:
        """The gateway's client of the backend."""
        return self.pages.gateway.client

    def registries(self) -> dict[str, str]:
        """Return every place that may have models, by name: this gateway's, the configured one, each remote.

        The first is the registry of this gateway.
        """
        found = places_with_models(self.client.models.uri, Settings())
        for uri in self.client.session.destinations:
            found = found if uri in found.values() else {**found, uri: uri}
        return found

    def targets(self) -> dict[str, str]:
        """Return every place that may have endpoints, by name, with what opens it."""
        settings = Settings()
        found = endpoint_places(settings)
        known = {find_place(opener, settings=settings).uri.text for opener in found.values()}
        return found | {uri: uri for uri in self.client.session.destinations if uri not in known}

    def target(self, name: str) -> Opened:
        """Return a place with endpoints: one of ``targets`` alone, so that nobody is sent elsewhere.

        It stays open, and is everybody's: no caller closes it.

        Raises:
            NotFound: It is none of them.
            ConfigError: It cannot be opened.
        """
        settings = Settings()
        destination = find_place(_known(name, self.targets()), settings=settings)
        key = (destination.uri.text, tuple(sorted(destination.options.items())))
        if key not in self._opened:
            self._opened.setdefault(key, open_place(destination.uri.text, settings=settings))
        return self._opened[key]

    def registry(self, name: str) -> str:
        """Return the URI of a place with models.

        Raises:
            NotFound: It is none of ``registries``.
        """
        return _known(name, self.registries())

    def reason(self, view: View) -> ChangeReason:
        """Return who changes something, and the field ``why``, for histories."""
        return ChangeReason(user=self.user(view), why=view.value("why").strip()[:WHY_CHARS_MAX])

    def user(self, view: View) -> str:
        """Return who acts: who asks, where that is known, else the setting ``user``, else who runs this."""
        identity: Identity = view.request.scope[IDENTITY]
        return identity.name or user_name(Settings())


def address(path: str, **fields: str) -> str:
    """Return a path of ours with fields; empty ones are left out."""
    given = {name: value for name, value in fields.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def part(text: str) -> str:
    """Return a text as one part of a path."""
    return quote(text, safe="")


def refuse_stale(shown: Plan, fresh: Plan) -> None:
    """Refuse a plan that would be another one by now.

    Raises:
        PlanStale: It would.
    """
    if fresh.basis != shown.basis:
        raise PlanStale(
            "what the plan was made from has changed since it was shown",
            operation=shown.operation,
            hint="go back, open the plan again, and confirm that one",
        )


def _known(name: str, found: dict[str, str]) -> str:
    if name not in found:
        raise NotFound(
            f"{name[:120]!r} is no place that is known here",
            operation="pages",
            hint=f"known are {', '.join(found)}; add one: bridge remotes add NAME URI",
        )
    return found[name]
