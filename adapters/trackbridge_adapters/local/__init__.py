"""The local backend: a folder with a SQLite file and the runs' artifacts."""

from __future__ import annotations

TYPE_CHECKING = False  # that of typing, without the 4 ms that its import takes
if TYPE_CHECKING:  # a job's runner is in this package, and pays for each import with the user's time
    from trackbridge.ports.adapter import Adapter, AdapterContext


def open_adapter(uri: str, *, context: AdapterContext) -> Adapter:
    """Open the folder of a ``file:`` URI; nothing is created before the first write.

    Raises:
        ConfigError: The URI does not name an absolute folder, or an option is wrong.
    """
    from trackbridge_adapters.local.adapter import LocalAdapter
    from trackbridge_adapters.local.config import settings_of

    return LocalAdapter(settings_of(uri, context.options), context.clock_ms)
