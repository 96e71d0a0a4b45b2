"""A ``bridge`` URI to our client.

``bridge:`` is resolved anew when ``BRIDGE_TRACKING_URI`` or ``trackbridge.set_tracking_uri`` say otherwise
than before; it never reads ``MLFLOW_TRACKING_URI``, which mlflow sets to ``bridge:`` itself.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Hashable

from trackbridge.api.client import Client, Uri
from trackbridge.api.reading import Reader
from trackbridge.resolve.config import Settings
from trackbridge.resolve.home import Surroundings
from trackbridge.resolve.uri import parse, unwrapped

PREFIXES = ("bridge:", "bridge+")
GLIMPSE_S_MAX = 3.0
"""How long a program that names its experiment waits for a backend that does not answer."""

_VARIABLE = "BRIDGE_TRACKING_URI"
_ELSEWHERE = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")


def is_ours(uri: str | None) -> bool:
    """Tell whether an address of mlflow's names this plugin."""
    return uri is not None and uri.lower().startswith(PREFIXES)


class Binding:
    """The client behind a tracking URI, and a registry URI where that is another one."""

    def __init__(self, uri: str, registry_uri: str | None = None) -> None:
        self.uri = uri
        self._registry = None if registry_uri in (None, uri) else unwrapped(str(registry_uri))
        self._inner = unwrapped(uri)
        self._client: Client | None = None
        self._glimpses: Reader | None = None
        self._made_for: Hashable = None

    @property
    def client(self) -> Client:
        """The client; of ``bridge:`` the one of what is configured now.

        Raises:
            ConfigError: The URI is wrong.
        """
        wanted = None if self._inner else (str(Client.default_uri), os.environ.get(_VARIABLE))
        if self._client is None or wanted != self._made_for:
            registry = _configured_text() if self._registry == "" else self._registry
            self._client = Client(self._inner or _configured(), registry)
            self._made_for, self._glimpses = wanted, None
        return self._client

    @property
    def glimpses(self) -> Reader:
        """Reads what a program can begin without, and so does not wait long for."""
        client = self.client
        if self._glimpses is None:
            self._glimpses = client.reader.hurried(GLIMPSE_S_MAX)
        return self._glimpses


def _configured() -> Uri:
    """Return what is set by ``trackbridge.set_tracking_uri``, else configured, else the project's folder."""
    if Client.default_uri is not None:
        return Client.default_uri
    around = Surroundings.current()
    environment = {name: value for name, value in around.environ.items() if name not in _ELSEWHERE}
    found = Settings(Surroundings(around.cwd, environment)).value("tracking_uri")
    return [uri.text for uri in found] or parse(None, around=around).text


def _configured_text() -> str:
    return Client(_configured()).session.destinations[0]


@functools.lru_cache(maxsize=100)
def binding_for(uri: str, registry_uri: str | None = None) -> Binding:
    """Return the binding of a URI, the same one each time."""
    return Binding(uri, registry_uri)


def bound_among(*uris: str | None) -> Binding:
    """Return the binding of the first URI that is ours, else of ``bridge:``."""
    return binding_for(next((uri for uri in uris if uri is not None and is_ours(uri)), "bridge:"))
